//! Maintenance beside heavy writes: is every answer right, and what does it cost?
//!
//! ```text
//! cargo run --release -p cidstore-engine --example maintained -- FOLDER [SEGMENT_SECONDS [ROUNDS]]
//! ```
//!
//! One store, and rounds of three segments (60 s unless told otherwise): without maintenance, with the default settings, and
//! with eager ones that never keep still for load and may take a fifth of a processor. In each segment two threads insert and delete in bursts of three
//! seconds, with three seconds between them so that the default settings find time; a third reads. Every answer is held
//! against a model, each writer's against its own part, the reader's against keys that never change. After each segment
//! the whole store is held against the models and verified, closed, and opened again. Ends with an error at the first difference.
//!
//! Tells for each kind of segment, over all rounds: writes a second within the bursts, latencies of reads, and what
//! maintenance did.
#![allow(clippy::print_stdout, reason = "it is here to tell figures")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cidstore_core::E;
use cidstore_engine::{Durability, Error, Histogram, Maintenance, Scale, Store};

const KINDS: [&str; 3] = ["off", "default", "eager"];
const WRITERS: u64 = 2;
/// Keys of one writer, and those that never change.
const KEYS: u64 = 40_000;
const BURST: Duration = Duration::from_secs(3);

const WRITE: u32 = 0;
const REST: u32 = 1;
const END: u32 = 2;

/// What one writer's keys hold.
type Model = BTreeMap<u64, BTreeSet<u64>>;

/// What a kind of segment gave in all rounds.
#[derive(Default)]
struct Figures {
    writes: u64,
    burst_time: Duration,
    reads: Histogram,
    steps: u64,
    chores: u64,
}

impl Figures {
    fn add(&mut self, segment: &Self) {
        self.writes += segment.writes;
        self.burst_time += segment.burst_time;
        self.reads = self.reads.plus(&segment.reads);
        self.steps += segment.steps;
        self.chores += segment.chores;
    }
}

fn maintenance(kind: usize) -> Maintenance {
    match kind {
        0 => Maintenance::off(),
        1 => Maintenance::default(),
        _ => Maintenance {
            cpu_percent: 20,
            bytes_per_second: 256 << 20,
            busy_records_per_second: u64::MAX,
            quiet: Duration::from_millis(1),
            rest: Duration::from_millis(100),
            scrub_rest: Duration::from_secs(10),
            ..Maintenance::default()
        },
    }
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
    *state >> 24
}

/// One change, held against the model.
fn change(store: &Store, model: &mut Model, writer: u64, state: &mut u64) -> Result<(), Error> {
    // One key in 64 has a large set, one in 16 a small one.
    let at = random(state) % KEYS;
    let key = 1 << 40 | writer << 32 | at;
    let values_max = if at.is_multiple_of(64) {
        3000
    } else if at.is_multiple_of(16) {
        40
    } else {
        5
    };
    let value = random(state) % values_max;
    // Deletes win in every second stretch of changes, so that there are tombstones and sparse buckets.
    let shrinking = *state >> 60 & 1 == u64::from(at & 1 == 1);
    let (found, expected) = match random(state) % 100 {
        0..2 => {
            let gone = model.remove(&key).map_or(0, |values| values.len() as u64);
            (store.delete(key)?, gone)
        }
        part if part < if shrinking { 60 } else { 25 } => {
            let gone = model.get_mut(&key).is_some_and(|values| values.remove(&value));
            if model.get(&key).is_some_and(BTreeSet::is_empty) {
                model.remove(&key);
            }
            (u64::from(store.delete_value(key, value)?), u64::from(gone))
        }
        _ => {
            let new = model.entry(key).or_default().insert(value);
            (u64::from(store.insert(key, value)?), u64::from(new))
        }
    };
    assert_eq!(found, expected, "key {key:#x}, value {value}");
    Ok(())
}

fn write_bursts(
    store: &Store,
    model: &mut Model,
    writer: u64,
    phase: &AtomicU32,
) -> Result<u64, Error> {
    let (mut state, mut writes) = (writer + 1 + model.len() as u64, 0);
    loop {
        match phase.load(Ordering::Relaxed) {
            WRITE => {
                change(store, model, writer, &mut state)?;
                writes += 1;
            }
            REST => std::thread::sleep(Duration::from_millis(1)),
            _ => return Ok(writes),
        }
    }
}

/// How many values a key that never changes has.
fn stable_count(key: u64) -> u64 {
    if key.is_multiple_of(100) { 30 } else { key % 4 + 1 }
}

fn read_stable(store: &Store, phase: &AtomicU32) -> Result<Histogram, Error> {
    let mut latencies = Histogram::new(Scale::Nanoseconds);
    let mut state = 99;
    while phase.load(Ordering::Relaxed) != END {
        let key = random(&mut state) % KEYS;
        let begin = Instant::now();
        let values = store.get(key)?;
        let nanos = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        latencies.record(nanos);
        let right = (0..stable_count(key)).all(|value| values.contains(value));
        assert!(right && values.len() as u64 == stable_count(key), "key {key}: {values:?}");
    }
    Ok(latencies)
}

fn run_segment(
    store: &Store,
    models: &mut [Model],
    time: Duration,
    figures: &mut Figures,
) -> Result<(), Error> {
    let phase = AtomicU32::new(WRITE);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let phase = &phase;
        let writers: Vec<_> = (0..WRITERS)
            .zip(models)
            .map(|(writer, model)| scope.spawn(move || write_bursts(store, model, writer, phase)))
            .collect();
        let reader = scope.spawn(move || read_stable(store, phase));
        while begin.elapsed() < time {
            for next in [WRITE, REST] {
                phase.store(next, Ordering::Relaxed);
                let from = Instant::now();
                std::thread::sleep(BURST);
                figures.burst_time += if next == WRITE { from.elapsed() } else { Duration::ZERO };
            }
        }
        phase.store(END, Ordering::Relaxed);
        for writer in writers {
            // A thread that panicked has told why.
            figures.writes += writer.join().unwrap_or(Err(Error::Closed))?;
        }
        let reads = reader.join().unwrap_or(Err(Error::Closed))?;
        figures.reads = figures.reads.plus(&reads);
        Ok(())
    })
}

/// Holds the whole store against the models.
fn check(store: &Store, models: &[Model]) -> Result<(), Error> {
    let changing = models.iter().flatten().map(|(&key, values)| (key, values.clone()));
    let stable = (0..KEYS).map(|key| (key, (0..stable_count(key)).collect()));
    let mut pairs = 0;
    for (key, values) in changing.chain(stable) {
        let found: BTreeSet<E> = store.get(key)?.into_iter().collect();
        assert!(found.into_iter().eq(values.iter().map(|&value| E::from(value))), "key {key:#x}");
        pairs += values.len() as u64;
    }
    assert_eq!(store.value_len(), pairs);
    let report = store.verify()?;
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(report.values, pairs);
    assert!(store.maintenance_problems().is_empty(), "{:?}", store.maintenance_problems());
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("which folder?")?;
    let seconds: u64 = arguments.next().map_or(Ok(60), |text| text.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let path = Path::new(&folder).join("maintained.h5");
    let options = Store::options().durability(Durability::Buffered).wal_bytes(64 << 20);
    fill(options.open(&path)?)?;
    let mut models = vec![Model::new(); WRITERS as usize];
    let mut figures = [Figures::default(), Figures::default(), Figures::default()];
    // The first segment fills the store and counts for none.
    for (at, kind) in [0].into_iter().chain((0..rounds).flat_map(|_| 0..KINDS.len())).enumerate() {
        let store = options.clone().maintenance(maintenance(kind)).open(&path)?;
        let mut segment = Figures::default();
        run_segment(&store, &mut models, Duration::from_secs(seconds), &mut segment)?;
        let did = store.stats().maintenance;
        assert_eq!((did.errors, did.problems), (0, 0), "{did:?}");
        check(&store, &models)?;
        store.close()?;
        segment.steps = did.steps;
        segment.chores = did.buckets_sorted
            + did.buckets_merged
            + did.sets_compacted
            + did.sets_demoted
            + did.sets_moved;
        let per_second = segment.writes as f64 / segment.burst_time.as_secs_f64();
        println!(
            "segment {at}, {:<8} {per_second:>9.0} writes/s, read p99.9 {:?}, {} chores, {} pages scrubbed, {} cuts; all right",
            KINDS[kind],
            segment.reads.p999(),
            segment.chores,
            did.pages_scrubbed,
            did.shrinks,
        );
        if at > 0 {
            figures[kind].add(&segment);
        }
    }
    tell(&figures);
    std::fs::remove_file(&path)?;
    std::fs::remove_file(path.with_extension("h5-wal"))?;
    Ok(())
}

/// Loads the keys that never change.
fn fill(store: Store) -> Result<(), Error> {
    store.bulk_load(
        (0..KEYS).flat_map(|key| {
            (0..stable_count(key)).map(move |value| (E::from(key), E::from(value)))
        }),
    )?;
    store.close()
}

/// The figures of each kind of segment.
fn tell(figures: &[Figures; 3]) {
    for (name, sum) in KINDS.iter().zip(figures) {
        println!(
            "{name:<8} {:>9.0} writes/s, reads: {} p50 {:?} p99 {:?} p99.9 {:?}; {} steps, {} chores",
            sum.writes as f64 / sum.burst_time.as_secs_f64(),
            sum.reads.count(),
            sum.reads.p50(),
            sum.reads.p99(),
            sum.reads.p999(),
            sum.steps,
            sum.chores,
        );
    }
}
