//! Closing beside readers and writers: a read is right or refused, a write is in what is closed or refused.

use std::path::Path;
use std::sync::Arc;

use cidstore_core::E;
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use super::{KEYS, Plant, Progress, Script, arm, check, check_all, explore, open, wide};
use crate::{Error, Store};

/// Sets of their own are there.
const STEPS_BEFORE: u64 = 6 * KEYS;
/// Values of a key that is gone when the threads begin: some twenty pages.
const MANY: u64 = 3_000;
const STEPS: u64 = 6;
const READS: u64 = 12;

/// A store whose sets lie behind pages that are free again, so that closing or compacting it moves them and cuts the file.
fn with_a_tail(path: &Path) -> Store {
    let store = open(path);
    let many: Vec<(E, E)> = (0..MANY).map(|value| (wide(9_000), wide(value))).collect();
    assert_eq!(store.batch_insert(&many).unwrap(), MANY);
    store.checkpoint().unwrap();
    for step in 0..STEPS_BEFORE {
        Script::take(&store, step).unwrap();
    }
    store.checkpoint().unwrap();
    assert_eq!(store.delete(wide(9_000)).unwrap(), MANY);
    store.checkpoint().unwrap();
    store
}

fn close_beside_readers(path: &Path, plant: Plant) {
    let store = with_a_tail(path);
    let before = std::fs::metadata(path).unwrap().len();
    let progress = Progress::at(STEPS_BEFORE);
    arm(plant);
    let mut readers = Vec::new();
    for _ in 0..2 {
        let (store, progress) = (store.clone(), Arc::clone(&progress));
        readers.push(thread::spawn(move || {
            for _ in 0..READS {
                let key = thread_rng().gen_range(0..KEYS);
                match progress.around(|| store.get(key)) {
                    (Ok(seen), steps) => check(key, &seen, steps),
                    (Err(Error::Closed), _) => return,
                    (Err(error), _) => panic!("wrong answer: {error}"),
                }
            }
        }));
    }
    let writer = {
        let (store, progress) = (store.clone(), Arc::clone(&progress));
        thread::spawn(move || {
            let mut acknowledged = STEPS_BEFORE;
            for _ in 0..STEPS {
                let mut taken = Ok(());
                progress.step(|step| taken = Script::take(&store, step));
                match taken {
                    Ok(()) => acknowledged += 1,
                    Err(Error::Closed) => break,
                    Err(error) => panic!("wrong answer: {error}"),
                }
            }
            acknowledged
        })
    };
    // Pages move while the store closes, or while it goes on: a read that is misled by the former mostly finds that the store has
    // ended, and answers that.
    let closes_at_once = thread_rng().gen_ratio(1, 2);
    if closes_at_once {
        store.close().unwrap();
    } else {
        store.compact().unwrap();
    }
    for reader in readers {
        reader.join().unwrap();
    }
    let acknowledged = writer.join().unwrap();
    if !closes_at_once {
        store.close().unwrap();
    }
    assert!(std::fs::metadata(path).unwrap().len() < before, "nothing was cut off");
    arm(Plant::Sound);
    let store = open(path);
    check_all(&store, acknowledged, 0);
    store.close().unwrap();
}

#[test]
fn what_is_not_refused_is_right_and_kept() {
    explore(Plant::Sound, close_beside_readers);
}

#[test]
#[should_panic(expected = "wrong answer")]
fn caught_pages_moved_without_waiting() {
    explore(Plant::NoWait, close_beside_readers);
}
