//! Snapshots beside a writer and checkpoints: each shows the store after one number of steps, for as long as it lives.

use std::path::Path;
use std::sync::Arc;

use shuttle::thread;

use super::{
    FILLERS, KEYS, Plant, Progress, Script, answer, arm, check, check_after_close, explore,
    prepared,
};
use crate::{Snapshot, Values};

const STEPS_BEFORE: u64 = 4 * KEYS;
const STEPS: u64 = 12;
const SNAPSHOTS: u64 = 2;
/// Looks at each snapshot.
const LOOKS: u64 = 3;

fn all(snapshot: &Snapshot) -> Vec<Values> {
    (0..KEYS).map(|key| answer(snapshot.get(key))).collect()
}

fn snapshots_beside_writes(path: &Path, plant: Plant) {
    let store = prepared(path, STEPS_BEFORE);
    let progress = Progress::at(STEPS_BEFORE);
    arm(plant);
    let looking = {
        let (store, progress) = (store.clone(), Arc::clone(&progress));
        thread::spawn(move || {
            for _ in 0..SNAPSHOTS {
                let (snapshot, steps) = progress.around(|| store.snapshot().unwrap());
                let states = |steps: u64| {
                    (0..KEYS).map(move |key| Script::values(key, Script::turns(key, steps)))
                };
                let mut shown = None;
                for _ in 0..LOOKS {
                    let seen: Vec<_> = all(&snapshot).iter().map(super::set).collect();
                    let step = steps.clone().find(|steps| states(*steps).eq(seen.iter().cloned()));
                    assert!(
                        step.is_some(),
                        "wrong answer: the snapshot shows no state in {steps:?}: {seen:?}"
                    );
                    let first = shown.get_or_insert_with(|| seen.clone());
                    assert!(*first == seen, "wrong answer: the snapshot is no longer what it was");
                }
            }
        })
    };
    let checkpointing = {
        let store = store.clone();
        thread::spawn(move || store.checkpoint().unwrap())
    };
    for _ in 0..STEPS {
        progress.step(|step| Script::take(&store, step).unwrap());
    }
    looking.join().unwrap();
    checkpointing.join().unwrap();
    arm(Plant::Sound);
    let steps = STEPS_BEFORE + STEPS;
    check(0, &store.get(0_u64).unwrap(), steps..=steps);
    check_after_close(&store, path, steps, FILLERS);
}

#[test]
fn a_snapshot_shows_one_state_and_keeps_it() {
    explore(Plant::Sound, snapshots_beside_writes);
}

#[test]
#[should_panic(expected = "wrong answer")]
fn caught_slots_that_are_not_kept() {
    explore(Plant::NothingKept, snapshots_beside_writes);
}

#[test]
#[should_panic(expected = "wrong answer")]
fn caught_pages_reused_without_waiting() {
    explore(Plant::NoWait, snapshots_beside_writes);
}
