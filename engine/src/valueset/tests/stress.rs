//! Readers beside a writer that splits, merges, compacts, moves and reuses pages without a pause.
//!
//! Some values are there all the time, some never, some come and go; every answer must be one that an
//! ordered set could have given between the reader's question and its answer. Pages that come back from
//! limbo are filled with rubbish, so a reader that holds on to one longer than its pin allows finds out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::{Duration, Instant};

use cidstore_core::E;

use super::Keys;
use crate::valueset::mock::Arena;
use crate::valueset::{contains, count, read_all};

const KEY: E = E::new(77, 78);
const SECONDS: f32 = 1.5;
const READERS: usize = 2;
/// Times that each reader looks at least, however late it gets a processor.
const ROUNDS_MIN: u64 = 10;

/// What the readers know of the set.
struct Shared {
    arena: Arc<Arena>,
    /// The reference in the key's entry.
    reference: AtomicU64,
    /// The numbers below were given to the set in order; see each test for what became of them.
    progress: AtomicU64,
    /// What each reader has done.
    rounds: [AtomicU64; READERS],
    stop: AtomicBool,
}

impl Shared {
    fn new(keys: &Keys) -> Arc<Self> {
        Arc::new(Self {
            arena: keys.pages.arena.clone(),
            reference: AtomicU64::new(keys.sets[&KEY].reference),
            progress: AtomicU64::new(0),
            rounds: [const { AtomicU64::new(0) }; READERS],
            stop: AtomicBool::new(false),
        })
    }

    /// Runs two readers and the writer side by side until the time is up and each reader has got on.
    fn run(
        self: &Arc<Self>,
        keys: &mut Keys,
        read: fn(&Self, &mut Random),
        mut write: impl FnMut(&mut Keys, &Self),
    ) {
        let readers = (0..READERS).map(|reader| {
            let shared = self.clone();
            thread::spawn(move || {
                let mut random = Random(reader as u64 + 1);
                while !shared.stop.load(Relaxed) {
                    shared.arena.pin(reader);
                    read(&shared, &mut random);
                    shared.arena.unpin(reader);
                    shared.rounds[reader].fetch_add(1, Relaxed);
                }
            })
        });
        let readers = readers.collect::<Vec<_>>();
        let start = Instant::now();
        let goes_on = || {
            start.elapsed() < Duration::from_secs_f32(SECONDS)
                || self.rounds.iter().any(|rounds| rounds.load(Relaxed) < ROUNDS_MIN)
        };
        // A reader that has ended found something wrong.
        while goes_on() && !readers.iter().any(thread::JoinHandle::is_finished) {
            if keys.pages.is_tight() {
                thread::yield_now();
            } else {
                write(keys, self);
            }
            keys.advance();
        }
        self.stop.store(true, Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// There all the time: `STEP` apart.
const STABLE: u64 = 3000;
const STEP: u64 = 16;

fn stable(index: u64) -> E {
    E::from(index * STEP)
}

/// Given in ascending order and never taken.
fn added(index: u64) -> E {
    E::new(2, index)
}

fn read_large(shared: &Shared, random: &mut Random) {
    // Acquire: what the writer had added before it said so is there for us.
    let progress = shared.progress.load(Acquire);
    let reference = shared.reference.load(Acquire);
    let has = |value| contains(&*shared.arena, reference, value).unwrap();
    for _ in 0..20 {
        assert!(has(stable(random.below(STABLE))));
        assert!(!has(E::new(1, random.below(1000))));
        if progress > 0 {
            assert!(has(added(progress - 1)), "an insert that was acknowledged is missing");
            assert!(has(added(random.below(progress))));
        }
    }
    let mut values = Vec::new();
    read_all(&*shared.arena, reference, |chunk| values.extend_from_slice(chunk)).unwrap();
    let total = values.len();
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), total, "a value was given twice");
    let stable_count =
        values.iter().filter(|value| value.high == 0 && value.low % STEP == 0).count();
    assert_eq!(stable_count as u64, STABLE);
    let added_count = values.iter().filter(|value| value.high == 2).count() as u64;
    assert!(added_count >= progress, "{added_count} of {progress} values");
    assert!(values.iter().all(|value| value.high != 1));
}

#[test]
fn readers_of_a_large_set_see_what_is_there() {
    let mut keys = Keys::new(16_000);
    keys.create(KEY, &(0..STABLE).map(stable).collect::<Vec<_>>());
    let shared = Shared::new(&keys);
    let mut random = Random(99);
    let mut progress = 0;
    shared.run(&mut keys, read_large, |keys, shared| {
        let start = random.below(STABLE);
        let len = random.below(400);
        // Values between the stable ones come densely, so that leaves split, and go again, so that they merge.
        let value = |index: u64| E::from((start * STEP + index) % (STABLE * STEP));
        let passing = (0..len * STEP).map(value).filter(|value| value.low % STEP != 0);
        match random.below(8) {
            0..3 => passing.for_each(|value| keys.insert(KEY, value)),
            3..6 => passing.for_each(|value| keys.remove(KEY, value)),
            6 => {
                for _ in 0..100.min(1_000_000 - progress) {
                    keys.insert(KEY, added(progress));
                    progress += 1;
                    shared.progress.store(progress, Release);
                }
            }
            _ => keys.compact(KEY),
        }
        keys.pages.cut();
    });
    keys.check();
}

/// A small set with three values that stay and one token that is replaced by the next: the new one comes
/// before the old one goes.
fn read_small(shared: &Shared, _: &mut Random) {
    let least = shared.progress.load(Acquire);
    let reference = shared.reference.load(Acquire);
    let mut values = BTreeSet::<E>::new();
    let mut total = 0;
    read_all(&*shared.arena, reference, |chunk| {
        values.extend(chunk);
        total += chunk.len();
    })
    .unwrap();
    assert_eq!(values.len(), total, "a value was given twice");
    let tokens =
        values.iter().filter(|value| value.high == 1).map(|value| value.low).collect::<Vec<_>>();
    assert_eq!(total - tokens.len(), 3);
    match *tokens {
        [only] => assert!(only >= least),
        [first, second] => assert!(first >= least.saturating_sub(1) && second == first + 1),
        _ => panic!("no set ever had these tokens: {tokens:?}"),
    }
    let live = count(&*shared.arena, reference).unwrap();
    assert!(live == 4 || live == 5);
    assert!(contains(&*shared.arena, reference, E::from(2)).unwrap());
}

#[test]
fn readers_of_a_small_set_see_one_instant() {
    let mut keys = Keys::new(2_000);
    keys.create(KEY, &[E::from(1), E::from(2), E::from(3), E::new(1, 0)]);
    let shared = Shared::new(&keys);
    let mut token = 0;
    shared.run(&mut keys, read_small, |keys, shared| {
        for _ in 0..50 {
            token += 1;
            keys.insert(KEY, E::new(1, token));
            // Release: the set is whole before a reader can learn where it is.
            shared.reference.store(keys.sets[&KEY].reference, Release);
            keys.remove(KEY, E::new(1, token - 1));
            shared.progress.store(token, Release);
            if token % 7 == 0 {
                keys.pages.cut();
            }
        }
        keys.compact(KEY);
        shared.reference.store(keys.sets[&KEY].reference, Release);
    });
    keys.check();
}
