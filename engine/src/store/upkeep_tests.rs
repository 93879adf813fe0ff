//! Background maintenance on real stores, with a clock that the tests turn: no thread, no sleep.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cidstore_core::E;
use cidstore_core::layout::bucket::{COUNTS_WORD, UNSORTED_WORD};
use cidstore_core::layout::table::TableKind;

use super::upkeep::Upkeep;
use crate::handle::Store;
use crate::options::Durability;
use crate::shared::bucket_place;
use crate::upkeep::Maintenance;

type Model = BTreeMap<u64, BTreeSet<u64>>;

/// A store with a scheduler that is turned by hand. Every look at the clock takes 10 us.
struct Turned {
    store: Store,
    upkeep: Upkeep,
    now: Cell<Duration>,
}

const LOOK: Duration = Duration::from_micros(10);

impl Turned {
    fn new(store: Store, config: Maintenance) -> Self {
        let upkeep = Upkeep::new(store.engine(), config, Duration::ZERO);
        Self { store, upkeep, now: Cell::new(Duration::ZERO) }
    }

    /// One turn and the rest after it.
    fn turn(&mut self) {
        let now = &self.now;
        let clock = || {
            now.set(now.get() + LOOK);
            now.get()
        };
        let rest = self.upkeep.turn(self.store.engine(), &clock).unwrap();
        now.set(now.get() + rest);
    }

    /// Turns until so many rounds are over. Panics if that takes more than an hour of its time.
    fn run_rounds(&mut self, rounds: u64, mut each: impl FnMut(&Store, Duration)) {
        let (target, start) = (self.store.stats().maintenance.rounds + rounds, self.now.get());
        while self.store.stats().maintenance.rounds < target {
            assert!(self.now.get() - start < Duration::from_secs(3600), "{:?}", self.store.stats());
            self.turn();
            each(&self.store, self.now.get());
        }
    }
}

fn open(path: &std::path::Path, maintenance: Maintenance) -> Store {
    let options = Store::options().durability(Durability::Buffered).wal_bytes(16 << 20);
    options.maintenance(maintenance).open(path).unwrap()
}

fn insert(store: &Store, model: &mut Model, key: u64, value: u64) {
    let new = model.entry(key).or_default().insert(value);
    assert_eq!(store.insert(key, value).unwrap(), new);
}

fn delete_value(store: &Store, model: &mut Model, key: u64, value: u64) {
    let Some(values) = model.get_mut(&key) else { return };
    let there = values.remove(&value);
    if values.is_empty() {
        model.remove(&key);
    }
    assert_eq!(store.delete_value(key, value).unwrap(), there);
}

/// A store that grew and then lost most of what it had: long file, sparse buckets, sets full of tombstones.
fn untidy(store: &Store) -> Model {
    let mut model = Model::new();
    for key in 0..24_000_u64 {
        let values = match key {
            _ if key % 1000 == 0 => 6000,
            _ if key % 20 == 0 => 40,
            _ => key % 4 + 1,
        };
        for value in 0..values {
            insert(store, &mut model, key, value * 31);
        }
    }
    store.checkpoint().unwrap();
    // All but every third key, half of a large set's values, and all but three of some small sets'.
    let keys: Vec<u64> = model.keys().copied().collect();
    for key in keys {
        let values: Vec<u64> = model[&key].iter().copied().collect();
        if values.len() > 4 {
            let keep = if key % 40 == 0 { values.len() / 2 } else { 3 };
            for &value in values.iter().skip(keep) {
                delete_value(store, &mut model, key, value);
            }
        } else if key % 3 != 0 {
            model.remove(&key);
            store.delete(key).unwrap();
        }
    }
    // New keys in old buckets are out of order.
    for key in 100_000..104_000_u64 {
        insert(store, &mut model, key, key);
    }
    store.checkpoint().unwrap();
    model
}

fn assert_equals(store: &Store, model: &Model) {
    let found: BTreeSet<(E, E)> = store.iter().map(Result::unwrap).collect();
    let expected: BTreeSet<(E, E)> = model
        .iter()
        .flat_map(|(&key, values)| values.iter().map(move |&value| (key.into(), value.into())))
        .collect();
    assert_eq!(found.len() as u64, store.value_len());
    assert!(found == expected, "{} pairs, the model has {}", found.len(), expected.len());
}

/// Entries out of order, and all entries.
fn disorder(store: &Store) -> (u64, u64) {
    let engine = store.engine();
    let state = engine.writer();
    let pages = &state.writer.pages;
    let (mut unsorted, mut entries) = (0, 0);
    for index in 0..1_u32 << engine.shared.tables.depth() {
        let page = pages.bucket(pages.bucket_at(index));
        if bucket_place(page).0 == index {
            unsorted += u64::from(page[UNSORTED_WORD].load(Ordering::Relaxed).count_ones());
            entries += u64::from(page[COUNTS_WORD].load(Ordering::Relaxed) as u16);
        }
    }
    (unsorted, entries)
}

fn tombstones(store: &Store, model: &Model) -> u64 {
    model.keys().map(|&key| store.get_tombstone_count(key).unwrap()).sum()
}

/// Reads all that never changes, again and again, until it is told to stop; answers how many reads that were.
fn read_until(done: &AtomicBool, store: &Store, stable: &Model, skip: usize) -> u64 {
    let mut reads = 0_u64;
    while !done.load(Ordering::Relaxed) {
        for (&key, values) in stable.iter().skip(skip).step_by(7) {
            let found = store.get(key).unwrap().sorted();
            let same = found.iter().eq(values.iter().map(|&value| value.into()));
            assert!(same, "key {key}: {} values", found.len());
            reads += 1;
        }
    }
    reads
}

/// The whole promise at once: an untidy store becomes tidy by itself within its budget, while readers find at every
/// time what the model has, and somebody writes a little.
#[test]
fn a_store_becomes_tidy_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("untidy.h5");
    let store = open(&path, Maintenance::off());
    let mut model = untidy(&store);
    let before = (store.stats(), disorder(&store), tombstones(&store, &model));
    assert!(before.1.0 * 8 > before.1.1 && before.2 > 10_000, "{:?} {}", before.1, before.2);

    let config = Maintenance { bytes_per_second: 64 << 20, ..Maintenance::default() };
    let mut turned = Turned::new(store.clone(), config);
    let done = AtomicBool::new(false);
    let stable = model.clone();
    let reads = std::thread::scope(|scope| {
        let readers = [0, 1].map(|skip| {
            let (store, stable, done) = (store.clone(), &stable, &done);
            scope.spawn(move || read_until(done, &store, stable, skip))
        });
        let mut turns = 0_u64;
        turned.run_rounds(12, |store, _| {
            turns += 1;
            if turns.is_multiple_of(40) {
                let key = 1_000_000 + turns / 40 % 97;
                insert(store, &mut model, key, turns);
                if turns.is_multiple_of(120) {
                    delete_value(store, &mut model, key, turns);
                }
            }
        });
        done.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum::<u64>()
    });
    assert!(reads > 1000, "{reads}");
    let after = (store.stats(), disorder(&store), tombstones(&store, &model));
    let did = after.0.maintenance;
    assert!(after.1.0 * 4 <= after.1.1 && after.1.0 * 2 < before.1.0, "{before:?} {after:?}");
    assert!(after.0.buckets * 5 < before.0.buckets * 4, "{before:?} {after:?}");
    assert!(after.2 * 10 < before.2, "{before:?} {after:?}");
    assert!(after.0.file_bytes * 4 < before.0.file_bytes * 3, "{before:?} {after:?}");
    assert_eq!(before.0.file_bytes - after.0.file_bytes, did.bytes_cut);
    for (what, count) in [
        ("sorted", did.buckets_sorted),
        ("merged", did.buckets_merged),
        ("compacted", did.sets_compacted),
        ("demoted", did.sets_demoted),
        ("collected", did.collections),
        ("moved", did.pages_moved),
        ("cut", did.shrinks),
    ] {
        assert!(count > 0, "{what}: {did:?}");
    }
    assert_eq!((did.errors, did.problems), (0, 0), "{did:?}");
    // What the steps took by the clock, against what it allows.
    let allowed = turned.now.get() * config.cpu_percent / 100 + Duration::from_millis(3);
    assert!(did.busy <= allowed, "{:?} of {:?}", did.busy, turned.now.get());
    let bytes_max = turned.now.get().as_secs_f64() * config.bytes_per_second as f64;
    // The checkpoint that shrinking needs is charged after it.
    assert!(did.bytes as f64 <= bytes_max + (32 << 20) as f64, "{did:?}");

    assert_equals(&store, &model);
    assert_eq!(store.verify().unwrap().problems, []);
    drop(turned);
    store.close().unwrap();
    drop(store);
    assert_equals(&open(&path, Maintenance::off()), &model);
}

#[test]
fn it_keeps_still_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("busy.h5"), Maintenance::off());
    for key in 0..3000_u64 {
        store.insert(key, key).unwrap();
    }
    let mut turned = Turned::new(store.clone(), Maintenance::default());
    let steps = |store: &Store| store.stats().maintenance.steps;
    while steps(&store) < 3 {
        turned.turn();
    }
    // Somebody waits for the writer lock. (`stats` would do so itself for a moment.)
    let engine = store.engine();
    engine.turns.waiting.fetch_add(1, Ordering::Relaxed);
    let (before, start) = (steps(&store), turned.now.get());
    while turned.now.get() - start < Duration::from_secs(30) {
        turned.turn();
    }
    engine.turns.waiting.fetch_sub(1, Ordering::Relaxed);
    assert_eq!(steps(&store), before);
    assert!(store.stats().maintenance.paused);
    let start = turned.now.get();
    while steps(&store) == before {
        turned.turn();
    }
    assert!(turned.now.get() - start >= Duration::from_millis(1700), "{:?}", turned.now.get());
    assert!(!store.stats().maintenance.paused);
    // Somebody writes a lot.
    for key in 0..3000_u64 {
        store.insert(key, key + 1).unwrap();
    }
    let (before, start) = (steps(&store), turned.now.get());
    while turned.now.get() - start < Duration::from_secs(1) {
        turned.turn();
    }
    assert_eq!(steps(&store), before);
    assert_eq!(store.stats().maintenance.pauses, 3, "opening, waiting, writing");
    // Whoever holds the lock is not waited for.
    while !matches!(steps(&store), found if found > before) {
        turned.turn();
    }
    let held = engine.writer();
    let deferred = || engine.shared.upkeep.steps_deferred.load(Ordering::Relaxed);
    let before = deferred();
    for _ in 0..10_000 {
        turned.turn();
    }
    drop(held);
    assert!(deferred() > before, "some step needs the lock");
}

/// Damage is told of, and the store goes on.
#[test]
fn damage_is_reported_and_fails_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.h5");
    let store = open(&path, Maintenance::off());
    for key in 0..20_000_u64 {
        store.insert(key, key).unwrap();
    }
    store.checkpoint().unwrap();
    let place = |index: u32| {
        let checkpointer = store.engine().checkpointer();
        let slot = checkpointer.shadows[TableKind::Directory as usize].get(index);
        let files = checkpointer.files();
        (files.place_of(TableKind::Directory.space(), slot.page).unwrap().0, slot.page)
    };
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    // A value: only the page's checksum tells. And states that no code word is near to.
    let ((value, page), (states, _)) = (place(3), place(5));
    file.write_all_at(&[0x55; 2], value + 128 + 16).unwrap();
    for entry in 0..62 {
        file.write_all_at(&[0x56; 2], states + 128 + entry * 64 + 48).unwrap();
    }
    let mut turned = Turned::new(store.clone(), Maintenance::default());
    while store.stats().maintenance.scrubs == 0 {
        turned.turn();
    }
    let stats = store.stats().maintenance;
    assert!(stats.pages_scrubbed >= store.stats().buckets, "{stats:?}");
    let problems = store.maintenance_problems();
    for name in [format!("Directory slot 3, page {page}"), "Directory slot 5".into()] {
        assert!(problems.iter().any(|found| found.place.starts_with(&name)), "{problems:?}");
    }
    assert!(stats.problems >= problems.len() as u64);
    // No step has copied the damage into a page with a checksum of its own.
    let report = store.verify().unwrap();
    let name = format!("bucket page {page}");
    assert!(report.problems.iter().any(|found| found.place == name), "{:?}", report.problems);
    assert!(!store.engine().shared.has_failed());
    let seed = store.engine().shared.seed;
    let sound = (1_000_000..).find(|&key: &u64| seed.hash(key.into()).0.is_multiple_of(8)).unwrap();
    assert!(store.insert(sound, 1).unwrap());
}

/// With its thread, and ended by a close that does not wait for a rest.
#[test]
fn the_thread_tidies_and_ends_with_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thread.h5");
    let eager = Maintenance {
        cpu_percent: 100,
        bytes_per_second: 1 << 30,
        quiet: Duration::ZERO,
        rest: Duration::from_millis(50),
        scrub_rest: Duration::from_millis(50),
        busy_records_per_second: u64::MAX,
        ..Maintenance::default()
    };
    let store = open(&path, eager);
    let model = untidy(&store);
    store.insert(5_000_000, 1).unwrap();
    let start = Instant::now();
    while store.stats().maintenance.buckets_merged == 0 || store.stats().maintenance.scrubs == 0 {
        let problems = store.maintenance_problems();
        assert_eq!(problems, [], "{:?} {:?}", store.stats(), store.verify());
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", store.stats());
        std::thread::sleep(Duration::from_millis(5));
    }
    store.delete(5_000_000).unwrap();
    assert_equals(&store, &model);
    assert_eq!(store.stats().maintenance.errors, 0);
    store.close().unwrap();
    let store = open(&path, Maintenance { quiet: Duration::from_secs(3600), ..eager });
    let start = Instant::now();
    store.close().unwrap();
    assert!(start.elapsed() < Duration::from_secs(30), "the thread rests for minutes here");
}
