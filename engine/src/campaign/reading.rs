//! Readers beside a writer beside checkpoints: sets that grow, move and shrink, buckets that split, pages that are copied,
//! written, swung and reused.

use std::path::Path;
use std::sync::Arc;

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use super::{
    FILLERS, KEYS, Plant, Progress, Script, answer, arm, check, check_after_close, explore, filler,
    prepared, set, wide,
};

/// Steps of the script before the threads begin: sets at their largest.
const STEPS_BEFORE: u64 = 4 * KEYS;
const STEPS: u64 = 18;
const READS: u64 = 12;
const CHECKPOINTS: u64 = 2;
/// New keys with each step: the bucket splits after a few.
const NEW_KEYS: u64 = 1;

fn read_beside_writes(path: &Path, plant: Plant) {
    let store = prepared(path, STEPS_BEFORE);
    let progress = Progress::at(STEPS_BEFORE);
    arm(plant);
    let mut threads = Vec::new();
    for _ in 0..2 {
        let (store, progress) = (store.clone(), Arc::clone(&progress));
        threads.push(thread::spawn(move || {
            for _ in 0..READS {
                let key = thread_rng().gen_range(0..KEYS);
                let (seen, steps) = progress.around(|| answer(store.get(key)));
                check(key, &seen, steps);
                let at = thread_rng().gen_range(0..FILLERS);
                let seen = answer(store.get(filler(at)));
                assert!(set(&seen).contains(&wide(at)), "wrong answer: filler {at} was not found");
            }
        }));
    }
    let checkpointing = store.clone();
    threads.push(thread::spawn(move || {
        for _ in 0..CHECKPOINTS {
            checkpointing.checkpoint().unwrap();
        }
    }));
    for _ in 0..STEPS {
        progress.step(|step| {
            Script::take(&store, step).unwrap();
            for new in 0..NEW_KEYS {
                let at = FILLERS + (step - STEPS_BEFORE) * NEW_KEYS + new;
                assert!(store.insert(filler(at), wide(at)).unwrap());
            }
        });
    }
    for thread in threads {
        thread.join().unwrap();
    }
    arm(Plant::Sound);
    check_after_close(&store, path, STEPS_BEFORE + STEPS, FILLERS + STEPS * NEW_KEYS);
}

#[test]
fn every_read_is_one_that_the_script_allows() {
    explore(Plant::Sound, read_beside_writes);
}

#[test]
#[should_panic(expected = "wrong answer")]
fn caught_pages_reused_without_waiting() {
    explore(Plant::NoWait, read_beside_writes);
}

#[test]
#[should_panic(expected = "wrong answer")]
fn caught_reader_that_does_not_look_again() {
    explore(Plant::NoSecondLook, read_beside_writes);
}
