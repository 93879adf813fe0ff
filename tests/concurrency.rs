//! Readers beside writers, for seconds: every answer must be one that the model allows.
//!
//! A writer takes each key through a script: a list of states that everybody knows. It publishes how many
//! of a key's steps it has begun, and how many are done. A reader notes `done` before a read and `begun`
//! after it; the answer must be the state after some number of steps between the two. That is
//! linearizability for a single writer, checked at every read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test reports"
)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cidstore::{Durability, E, Store, Values};
use cidstore_testkit::content::{assert_store, assert_verified, set_of};
use cidstore_testkit::model::{element, number};
use cidstore_testkit::random::{Random, scramble};
use cidstore_testkit::{Model, Scratch};

const RUN: Duration = Duration::from_secs(3);
const READERS: u64 = 2;

fn empty() -> (Scratch, Store) {
    let scratch = Scratch::new();
    let options = Store::options().durability(Durability::Buffered).wal_bytes(4 << 20);
    let store = options.open(scratch.data()).unwrap();
    (scratch, store)
}

/// How far a key's script has come.
#[derive(Default)]
struct Progress {
    begun: AtomicU64,
    done: AtomicU64,
}

impl Progress {
    /// The writer is about to take a step; answers its number.
    fn begin(&self) -> u64 {
        // SeqCst: a reader that sees anything of the step in the store must find it begun afterwards. The
        // store's own Release of the step follows this store, so Release would do; tests need not be fast.
        self.begun.fetch_add(1, Ordering::SeqCst)
    }

    fn end(&self) {
        // SeqCst: whoever reads this number reads the store afterwards, and must see the step there.
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    /// Runs a read; answers it with the range of states that it may show.
    fn around<T>(&self, read: impl FnOnce() -> T) -> (T, std::ops::RangeInclusive<u64>) {
        let done = self.done.load(Ordering::SeqCst);
        let answer = read();
        (answer, done..=self.begun.load(Ordering::SeqCst))
    }
}

/// Runs `write` beside `READERS` times `read`, until time is up and each reader has got on.
fn beside(write: impl FnOnce(&dyn Fn() -> bool) + Send, read: impl Fn(u64) + Sync) {
    let stop = AtomicBool::new(false);
    // Relaxed: only ends loops; the joins order everything else.
    let going = || !stop.load(Ordering::Relaxed);
    let late = AtomicU64::new(READERS);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let (read, going, late) = (&read, &going, &late);
                scope.spawn(move || {
                    let mut reads = 0_u64;
                    while going() {
                        for _ in 0..100 {
                            read(scramble(reads << 8 | reader));
                            reads += 1;
                        }
                        if reads == 100 {
                            late.fetch_sub(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        let begin = Instant::now();
        // On a machine with much else to do a reader may get its first turn after the time is up. One that has ended
        // found something wrong.
        let timed = || {
            (begin.elapsed() < RUN || late.load(Ordering::Relaxed) > 0)
                && readers.iter().all(|reader| !reader.is_finished())
        };
        write(&timed);
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

/// The set after `step` steps of a script that grows a set to `top` values and empties it again, always in
/// another order.
fn tide(key: u64, step: u64, top: u64) -> BTreeSet<u128> {
    let (round, phase) = (step / (2 * top), step % (2 * top));
    let ranks = if phase <= top { 0..phase } else { phase - top..top };
    ranks.map(|rank| tide_value(key, round, rank)).collect()
}

/// The value of rank `rank` in round `round` of a key's tides: wide, and both halves of the same seed, so
/// that a torn one shows.
fn tide_value(key: u64, round: u64, rank: u64) -> u128 {
    let seed = scramble(key << 48 | round << 16 | rank);
    u128::from(seed) << 64 | u128::from(scramble(seed))
}

/// The change that leads from `step` to `step + 1`, done to the store.
fn turn_tide(store: &Store, key: u64, step: u64, top: u64) {
    let (before, after) = (tide(key, step, top), tide(key, step + 1, top));
    for value in after.difference(&before) {
        assert!(store.insert(key, element(*value)).unwrap());
    }
    for value in before.difference(&after) {
        assert!(store.delete_value(key, element(*value)).unwrap());
    }
}

/// Every set between nothing and seven values, over the limits at two, four and five, with demotions,
/// relocations, checkpoints and snapshots in between.
#[test]
fn small_sets_are_read_as_of_one_instant() {
    const KEYS: u64 = 12;
    const TOP: u64 = 7;
    let (_scratch, store) = empty();
    let progress: Vec<Progress> = (0..KEYS).map(|_| Progress::default()).collect();
    let write = |going: &dyn Fn() -> bool| {
        let mut random = Random::new(7);
        let mut kept = Vec::new();
        while going() {
            let key = random.below(KEYS);
            let step = progress[key as usize].begin();
            turn_tide(&store, key, step, TOP);
            progress[key as usize].end();
            match random.below(2000) {
                0 => store.checkpoint().unwrap(),
                1 => drop(store.compact().unwrap()),
                2 => drop(store.run_gc_once().unwrap()),
                3 => drop(store.background_maintenance().unwrap()),
                4 => kept.push(store.snapshot().unwrap()),
                5 => kept.clear(),
                6..400 => drop(store.demote_if_possible(key).unwrap()),
                _ => {}
            }
        }
    };
    let read = |seed: u64| {
        let key = seed % KEYS;
        let progress = &progress[key as usize];
        let states =
            |range: std::ops::RangeInclusive<u64>| range.map(move |step| tide(key, step, TOP));
        match seed >> 60 {
            0 => {
                let (count, range) = progress.around(|| store.value_count(key).unwrap());
                let fits = states(range.clone()).any(|state| state.len() as u64 == count);
                assert!(fits, "{count} values of key {key} after {range:?} steps");
            }
            1 => {
                // One value of the script, there or not.
                let step = progress.done.load(Ordering::SeqCst);
                let value = tide(key, step / (2 * TOP) * (2 * TOP) + TOP, TOP);
                let value = *value.iter().nth(seed as usize >> 8 & 3).unwrap();
                let (found, range) =
                    progress.around(|| store.contains(key, element(value)).unwrap());
                let fits = states(range.clone()).any(|state| state.contains(&value) == found);
                assert!(fits, "{value:#x} of key {key}: {found} after {range:?} steps");
            }
            2 => {
                let keys = [E::from(key), E::from(1 << 40)];
                let (values, range) = progress.around(|| store.get_many(&keys).unwrap());
                assert_allowed(&values[0], key, range, states);
                assert!(values[1].is_empty());
            }
            3 => {
                let guard = store.pin();
                let (values, range) = progress.around(|| guard.get(key).unwrap());
                assert_allowed(&values, key, range, states);
            }
            _ => {
                let (values, range) = progress.around(|| store.get(key).unwrap());
                assert_allowed(&values, key, range, states);
            }
        }
    };
    beside(write, read);
    let model: Model = (0..KEYS)
        .flat_map(|key| {
            let step = progress[key as usize].done.load(Ordering::SeqCst);
            tide(key, step, TOP).into_iter().map(move |value| (u128::from(key), value))
        })
        .collect();
    assert_store(&store, &model);
    assert_verified(&store, &model);
}

fn assert_allowed<S: Iterator<Item = BTreeSet<u128>>>(
    values: &Values,
    key: u64,
    range: std::ops::RangeInclusive<u64>,
    states: impl Fn(std::ops::RangeInclusive<u64>) -> S,
) {
    let found = set_of(values);
    let allowed = states(range.clone()).any(|state| state == found);
    assert!(allowed, "key {key} after {range:?} steps: {found:#x?}");
}

/// Sets that grow from one extent into trees and back: a value that is there throughout a read is answered
/// once, a value that is there at no time during it is not answered.
#[test]
fn large_sets_never_lose_a_value_that_stays() {
    const KEYS: u64 = 3;
    const TOP: u64 = 1500;
    let (_scratch, store) = empty();
    let progress: Vec<Progress> = (0..KEYS).map(|_| Progress::default()).collect();
    let write = |going: &dyn Fn() -> bool| {
        let mut random = Random::new(8);
        while going() {
            let key = random.below(KEYS);
            for _ in 0..random.below(40) {
                let step = progress[key as usize].begin();
                turn_step(&store, key, step, TOP);
                progress[key as usize].end();
            }
            match random.below(200) {
                0 => store.checkpoint().unwrap(),
                1 => drop(store.compact().unwrap()),
                2 => drop(store.gc().unwrap()),
                _ => {}
            }
        }
    };
    let read = |seed: u64| {
        let key = seed % KEYS;
        let progress = &progress[key as usize];
        let ((found, counted), range) = progress.around(|| match seed >> 62 {
            0 => {
                let guard = store.pin();
                let values = guard.values(key).unwrap().map(|value| number(value.unwrap()));
                let values: Vec<u128> = values.collect();
                let count = values.len();
                (values.into_iter().collect::<BTreeSet<_>>(), count)
            }
            _ => {
                let values = store.get(key).unwrap();
                (values.iter().map(number).collect(), values.len())
            }
        });
        assert_eq!(found.len(), counted, "key {key}: a value came twice");
        for step in cycle_values(key, &range, TOP) {
            let (value, always, ever) = step;
            assert!(!always || found.contains(&value), "key {key}, {range:?}: lost {value:#x}");
            assert!(ever || !found.contains(&value), "key {key}, {range:?}: ghost {value:#x}");
        }
    };
    beside(write, read);
    for key in 0..KEYS {
        let step = progress[key as usize].done.load(Ordering::SeqCst);
        assert_eq!(set_of(&store.get(key).unwrap()), tide(key, step, TOP));
    }
    assert!(store.verify().unwrap().problems.is_empty());
}

/// [`turn_tide`] without building two sets for one difference.
fn turn_step(store: &Store, key: u64, step: u64, top: u64) {
    let (round, phase) = (step / (2 * top), step % (2 * top));
    if phase < top {
        assert!(store.insert(key, element(tide_value(key, round, phase))).unwrap());
    } else {
        let value = tide_value(key, round, phase - top);
        assert!(store.delete_value(key, element(value)).unwrap());
    }
}

/// The values of the rounds in `range`, each with: is it there throughout, and is it there at any time?
fn cycle_values(
    key: u64,
    range: &std::ops::RangeInclusive<u64>,
    top: u64,
) -> impl Iterator<Item = (u128, bool, bool)> {
    let (first, last) = (*range.start(), *range.end());
    let rounds = first / (2 * top)..=last / (2 * top);
    rounds.flat_map(move |round| {
        (0..top).map(move |rank| {
            // There from the step after its insertion up to its deletion.
            let (from, until) = (round * 2 * top + rank + 1, round * 2 * top + top + rank);
            let always = from <= first && last <= until;
            let ever = from <= last && first <= until;
            (tide_value(key, round, rank), always, ever)
        })
    })
}

/// Buckets split, the directory doubles, buddies merge, pages move to the file: who stays is always found,
/// who was never there never is.
#[test]
fn splits_and_merges_lose_nobody() {
    const STAYING: u64 = 2000;
    const PASSING: u64 = 60_000;
    let (_scratch, store) = empty();
    let stay = |index: u64| (E::new(1, index), E::new(index, 7));
    let pairs: Vec<_> = (0..STAYING).map(stay).collect();
    store.batch_insert(&pairs).unwrap();
    let write = |going: &dyn Fn() -> bool| {
        for round in 0.. {
            for chunk in 0..PASSING / 500 {
                if !going() {
                    return;
                }
                let keys = (0..500).map(|index| E::new(2, chunk * 500 + index));
                if round % 2 == 0 {
                    let pairs: Vec<_> = keys.map(|key| (key, key)).collect();
                    assert_eq!(store.batch_insert(&pairs).unwrap(), 500);
                } else {
                    let keys: Vec<_> = keys.collect();
                    assert_eq!(store.batch_delete(&keys).unwrap(), 500);
                }
                match chunk % 40 {
                    7 => drop(store.merge().unwrap()),
                    17 => store.checkpoint().unwrap(),
                    27 if round % 2 == 1 => drop(store.compact().unwrap()),
                    37 => drop(store.background_maintenance().unwrap()),
                    _ => {}
                }
            }
        }
    };
    let read = |seed: u64| {
        let (key, value) = stay(seed % STAYING);
        assert_eq!(store.get(key).unwrap().as_slice(), [value], "{key:?} stays");
        assert!(store.contains_key(key).unwrap());
        let absent = E::new(3, seed);
        assert!(store.get(absent).unwrap().is_empty(), "{absent:?} was never there");
        let passing = E::new(2, seed % PASSING);
        let values = store.get(passing).unwrap();
        assert!(
            matches!(values.as_slice(), [] | [_]) && values.iter().all(|value| value == passing)
        );
        if seed.is_multiple_of(20_000) {
            assert_scan_sees_those_who_stay(&store, STAYING);
        }
    };
    beside(write, read);
    assert_scan_sees_those_who_stay(&store, STAYING);
    assert!(store.verify().unwrap().problems.is_empty());
}

fn assert_scan_sees_those_who_stay(store: &Store, staying: u64) {
    let mut seen = vec![0_u8; staying as usize];
    for item in store.iter() {
        let (key, _) = item.unwrap();
        if key.high == 1 {
            seen[key.low as usize] += 1;
        } else {
            assert_eq!(key.high, 2, "a scan gave {key:?}");
        }
    }
    assert!(
        seen.iter().all(|&times| times == 1),
        "a scan beside a writer: each who stays comes once"
    );
}

/// Tokens move between keys by transactions; a snapshot sees each of them in exactly one place.
#[test]
fn snapshots_never_see_half_a_transaction() {
    const TOKENS: u64 = 400;
    const PLACES: u64 = 30;
    let (_scratch, store) = empty();
    let pairs: Vec<_> =
        (0..TOKENS).map(|token| (E::from(token % PLACES), E::from(token))).collect();
    store.batch_insert(&pairs).unwrap();
    let write = |going: &dyn Fn() -> bool| {
        let mut random = Random::new(9);
        let mut place: Vec<u64> = (0..TOKENS).map(|token| token % PLACES).collect();
        let mut moves = 0_u64;
        while going() {
            store
                .write(|transaction| {
                    for _ in 0..random.below(20) {
                        let token = random.below(TOKENS);
                        let to = random.below(PLACES);
                        let from = std::mem::replace(&mut place[token as usize], to);
                        assert!(transaction.delete_value(from, token)?);
                        assert!(transaction.insert(to, token)?);
                    }
                    Ok(())
                })
                .unwrap();
            moves += 1;
            match moves % 500 {
                100 => store.checkpoint().unwrap(),
                300 => drop(store.compact().unwrap()),
                _ => {}
            }
        }
    };
    let read = |seed: u64| {
        if !seed.is_multiple_of(16) {
            return;
        }
        let snapshot = store.snapshot().unwrap();
        assert_eq!(snapshot.value_len(), TOKENS);
        let scanned: Vec<(E, E)> = snapshot.iter().map(|item| item.unwrap()).collect();
        assert_eq!(scanned.len() as u64, TOKENS);
        let tokens: BTreeSet<u64> = scanned.iter().map(|(_, token)| token.low).collect();
        assert_eq!(tokens.len() as u64, TOKENS, "a token in two places");
        // Asked again, later, key by key: the same moment.
        for place in 0..PLACES {
            let got: BTreeSet<E> = snapshot.get(place).unwrap().iter().collect();
            let of_scan = scanned.iter().filter(|(key, _)| *key == E::from(place));
            assert_eq!(got, of_scan.map(|(_, token)| *token).collect(), "place {place}");
        }
    };
    beside(write, read);
    assert_eq!(store.value_len(), TOKENS);
}

/// Four writers at once: of several that insert the same pair exactly one is told that it was new, and a kill
/// afterwards takes nothing.
#[test]
fn four_writers_agree_on_who_was_first() {
    const WRITERS: u64 = 4;
    const PAIRS: u64 = 6000;
    let (scratch, store) = empty();
    let durability = |writer: u64, index: u64| match (writer + index) % 8 {
        0 => Durability::Immediate,
        1 => Durability::Interval(Duration::from_millis(5)),
        _ => Durability::Buffered,
    };
    let firsts: u64 = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || {
                    let mut order: Vec<u64> = (0..PAIRS).collect();
                    Random::new(writer).shuffle(&mut order);
                    let mut firsts = 0;
                    for index in order {
                        // Shared pairs, six to a key; and a pair of one's own.
                        let durability = durability(writer, index);
                        let shared = store.insert_with(index / 6, index, durability).unwrap();
                        firsts += u64::from(shared.new);
                        assert!(store.contains(index / 6, index).unwrap(), "read your writes");
                        assert!(store.insert(E::new(writer + 1, index), index).unwrap());
                        if durability == Durability::Immediate {
                            assert!(store.durable_lsn() >= shared.lsn);
                        }
                    }
                    firsts
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    assert_eq!(firsts, PAIRS, "each shared pair was new to exactly one");
    let shared = (0..PAIRS).map(|index| (u128::from(index / 6), u128::from(index)));
    let own = (1..=WRITERS).flat_map(|writer| {
        (0..PAIRS)
            .map(move |index| (u128::from(writer) << 64 | u128::from(index), u128::from(index)))
    });
    let model: Model = shared.chain(own).collect();
    assert_store(&store, &model);
    let killed = scratch.copy_as_killed(&store);
    assert_store(&Store::open(killed.data()).unwrap(), &model);
}

/// Counts up the number of key 0 in a transaction, `rounds` times, with `padding` other pairs each time.
fn count_up(store: &Store, rounds: u64, padding: u64) {
    for round in 0..rounds {
        let count = store.write(|transaction| {
            let values = transaction.get(E::ZERO)?;
            assert_eq!(values.len(), 1);
            let count = values.as_slice()[0].low;
            transaction.delete_value(E::ZERO, count)?;
            transaction.insert(E::ZERO, count + 1)?;
            for number in 0..padding {
                transaction.insert(1 + round % 100, round + number)?;
            }
            Ok(count)
        });
        count.unwrap();
    }
}

/// Four transactions at once count up the same number: none of the increments is lost.
#[test]
fn transactions_are_serial() {
    const WRITERS: u64 = 4;
    const ROUNDS: u64 = 500;
    let (_scratch, store) = empty();
    store.insert(E::ZERO, E::ZERO).unwrap();
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| count_up(&store, ROUNDS, 0));
        }
    });
    assert_eq!(store.get(E::ZERO).unwrap().as_slice(), [E::from(WRITERS * ROUNDS)]);
}

/// As before, where a log that is soon full makes each tenth or so wait for a checkpoint. Nobody writes meanwhile, and nobody
/// waits for ever: not who writes by other ways, nor a load, which has the checkpointer itself.
#[test]
fn transactions_that_wait_for_a_checkpoint_are_serial() {
    const WRITERS: u64 = 3;
    const ROUNDS: u64 = 1000;
    let scratch = Scratch::new();
    let options = Store::options().durability(Durability::Buffered).wal_bytes(1 << 16);
    let store = options.open(scratch.data()).unwrap();
    store.insert(E::ZERO, E::ZERO).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let counting: Vec<_> =
            (0..WRITERS).map(|_| scope.spawn(|| count_up(&store, ROUNDS, 20))).collect();
        scope.spawn(|| {
            for number in 0.. {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                store.insert(1_000_000 + number, 1).unwrap();
                if number % 512 == 0 {
                    store.bulk_load([(E::from(2_000_000 + number), E::ZERO)]).unwrap();
                    store.batch_insert(&[(E::from(3_000_000 + number), E::ZERO); 3]).unwrap();
                }
            }
        });
        for counting in counting {
            counting.join().unwrap();
        }
        over.store(true, Ordering::SeqCst);
    });
    assert!(store.stats().checkpoints > 20);
    assert_eq!(store.get(E::ZERO).unwrap().as_slice(), [E::from(WRITERS * ROUNDS)]);
}
