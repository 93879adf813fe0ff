//! The whole store under a scheduler that draws the order of its threads' steps at random.
//!
//! What the loom models prove of the parts in every order, a campaign looks for in the whole, in many orders: files, log,
//! maps, recovery, the store's own threads and its public face are all there. An execution makes a store, lets a few
//! threads loose on it, compares every answer with a [`Script`] that everybody knows, closes the store, opens it
//! again and compares what is in it. Most schedules give the threads priorities and change them at a few points (PCT): that
//! finds what needs few interruptions, but long ones, and found most of the planted bugs. In some each step is drawn.
//!
//! What is not there: bulk loads, whose threads speak through channels of the standard library; time, so that a sync
//! that is due only later comes when somebody rings; and memory weaker than one order for all, see `sync/scheduled.rs`.
//!
//! Each scenario has twins with a planted bug. Run one with
//! `RUSTFLAGS="--cfg shuttle" cargo test -p cidstore-engine --release --lib campaign::reading`; `CAMPAIGN_EXECUTIONS` says
//! how many schedules a sound scenario has, `CAMPAIGN_SEED` which ones.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends at the first surprise, a helper of one fails it, and it tells what it did"
)]

mod closing;
mod feed;
mod reading;
mod snapshot;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use cidstore_core::E;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};

use crate::scratch;
use crate::sync::Plant;
use crate::sync::scheduled::{arm, begin};
use crate::{Durability, Maintenance, Store, Values};

/// Schedules, unless the environment says otherwise.
const EXECUTIONS: u64 = 100;
/// Schedules within which a planted bug must be found.
const EXECUTIONS_OF_A_TWIN: u64 = 10_000;
/// One in so many is drawn step by step.
const DRAWN_APART: u64 = 5;
/// Points at which priorities change.
const PRIORITY_CHANGES: usize = 4;
/// A reader's pages lie on its stack.
const STACK_BYTES: usize = 1 << 18;

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Runs a scenario under many schedules. It gets the path of its store, which does not exist, and arms its plant itself.
fn explore(plant: Plant, scenario: impl Fn(&Path, Plant) + Send + Sync + 'static) {
    let sound = plant == Plant::Sound;
    let executions = if sound {
        from_environment("CAMPAIGN_EXECUTIONS", EXECUTIONS)
    } else {
        EXECUTIONS_OF_A_TWIN
    };
    let seed = from_environment("CAMPAIGN_SEED", 1);
    // Outlives an execution that fails, whose threads are never unwound.
    let folder = scratch::in_memory();
    let path = folder.path().join("store.h5");
    let scenario = Arc::new(scenario);
    let started = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let (scenario, started, path) = (Arc::clone(&scenario), Arc::clone(&started), path.clone());
        let mut config = shuttle::Config::new();
        config.stack_size = STACK_BYTES;
        config.silence_warnings = true;
        if !sound {
            config.failure_persistence = shuttle::FailurePersistence::None;
        }
        shuttle::Runner::new(scheduler, config).run(move || {
            let number = started.fetch_add(1, Ordering::Relaxed);
            begin();
            // A name of its own: an execution that failed may have left its store open.
            let path = path.with_extension(format!("{number}.h5"));
            scenario(&path, plant);
            remove(&path);
        });
    };
    let told = Told { plant, started: Arc::clone(&started), begun };
    let drawn = (executions / DRAWN_APART) as usize;
    let by_priority = executions as usize - drawn;
    run(Box::new(PctScheduler::new_from_seed(seed, PRIORITY_CHANGES, by_priority)));
    run(Box::new(RandomScheduler::new_from_seed(seed, drawn)));
    drop(told);
}

/// Tells at the end, also of a failure, how many executions there were.
struct Told {
    plant: Plant,
    started: Arc<AtomicU64>,
    begun: Instant,
}

impl Drop for Told {
    fn drop(&mut self) {
        let (executions, took) = (self.started.load(Ordering::Relaxed), self.begun.elapsed());
        println!("{:?}: {executions} executions, {:.1} s", self.plant, took.as_secs_f64());
    }
}

fn remove(path: &Path) {
    std::fs::remove_file(path).unwrap();
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::remove_file(PathBuf::from(log)).unwrap();
}

fn open(path: &Path) -> Store {
    let options = Store::options()
        .durability(Durability::Buffered)
        .wal_bytes(1 << 20)
        .maintenance(Maintenance::off());
    options.open(path).unwrap()
}

/// Keys that the script takes through their states.
const KEYS: u64 = 3;
/// Most values that each key of the script has: two get sets of their own, one keeps its values in its bucket.
const TOPS: [u64; KEYS as usize] = [6, 6, 3];
/// Keys with one value each that are there from the beginning: with a few more, the first bucket splits.
const FILLERS: u64 = 56;

/// What each step of the one who writes makes of the store: the steps take turns with the keys, whose sets grow to
/// their [`TOPS`], shrink again, and begin anew with other values.
#[derive(Clone, Copy)]
struct Script;

impl Script {
    fn key(step: u64) -> E {
        E::from(step % KEYS)
    }

    /// The values of a key after so many of its own steps.
    fn values(key: u64, turns: u64) -> BTreeSet<E> {
        let top = TOPS[key as usize];
        let (round, phase) = (turns / (2 * top), turns % (2 * top));
        let ranks = if phase <= top { 0..phase } else { phase - top..top };
        ranks.map(|rank| wide(100 + 10 * round + rank)).collect()
    }

    /// How many of the first steps concern this key.
    fn turns(key: u64, steps: u64) -> u64 {
        (steps + KEYS - 1 - key) / KEYS
    }

    /// Does step number `step`.
    fn take(store: &Store, step: u64) -> crate::Result<()> {
        let key = step % KEYS;
        let turns = Self::turns(key, step);
        let (before, after) = (Self::values(key, turns), Self::values(key, turns + 1));
        for &value in after.difference(&before) {
            assert!(store.insert(Self::key(step), value)?);
        }
        for &value in before.difference(&after) {
            assert!(store.delete_value(Self::key(step), value)?);
        }
        Ok(())
    }
}

/// A number whose halves both tell which it is.
fn wide(number: u64) -> E {
    E::new(number, number)
}

fn filler(number: u64) -> E {
    wide(1_000 + number)
}

/// A new store with the fillers and the first steps of the script, all of it brought to the file.
fn prepared(path: &Path, steps: u64) -> Store {
    let store = open(path);
    let pairs: Vec<(E, E)> = (0..FILLERS).map(|at| (filler(at), wide(at))).collect();
    assert_eq!(store.batch_insert(&pairs).unwrap(), FILLERS);
    for step in 0..steps {
        Script::take(&store, step).unwrap();
    }
    store.checkpoint().unwrap();
    store
}

/// How many steps were begun, and how many done. Not the scheduler's: what a thread notes of itself is no event.
#[derive(Default)]
struct Progress {
    begun: AtomicU64,
    done: AtomicU64,
}

impl Progress {
    fn at(steps: u64) -> Arc<Self> {
        Arc::new(Self { begun: AtomicU64::new(steps), done: AtomicU64::new(steps) })
    }

    fn step(&self, take: impl FnOnce(u64)) {
        take(self.begun.fetch_add(1, Ordering::SeqCst));
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    /// Runs a read; answers it with the numbers of steps that it may show.
    fn around<T>(&self, read: impl FnOnce() -> T) -> (T, RangeInclusive<u64>) {
        let done = self.done.load(Ordering::SeqCst);
        let answer = read();
        (answer, done..=self.begun.load(Ordering::SeqCst))
    }
}

/// The answer to a read, which has no reason to fail.
fn answer<T>(answer: crate::Result<T>) -> T {
    answer.unwrap_or_else(|error| panic!("wrong answer: {error}"))
}

fn set(values: &Values) -> BTreeSet<E> {
    for value in values.iter() {
        assert_eq!(value.high, value.low, "wrong answer: a torn value");
    }
    let set: BTreeSet<E> = values.iter().collect();
    assert_eq!(set.len(), values.len(), "wrong answer: a value came twice");
    set
}

/// Checks one answer about a key of the script.
fn check(key: u64, seen: &Values, steps: RangeInclusive<u64>) {
    let seen = set(seen);
    let mut may_be = steps.clone().map(|steps| Script::values(key, Script::turns(key, steps)));
    assert!(
        may_be.any(|state| state == seen),
        "wrong answer: key {key} never had {seen:?} in {steps:?}"
    );
}

/// Checks the whole store, after so many steps.
fn check_all(store: &Store, steps: u64, fillers: u64) {
    for key in 0..KEYS {
        check(key, &store.get(key).unwrap(), steps..=steps);
    }
    for at in 0..fillers {
        let seen = set(&store.get(filler(at)).unwrap());
        assert_eq!(seen, BTreeSet::from([wide(at)]), "filler {at}");
    }
    assert!(store.verify().unwrap().problems.is_empty(), "the file is not sound");
}

/// Closes the store, opens it again and checks that nothing is missing.
fn check_after_close(store: &Store, path: &Path, steps: u64, fillers: u64) {
    store.close().unwrap();
    let store = open(path);
    check_all(&store, steps, fillers);
    store.close().unwrap();
}
