//! `bench`: this store alone, on this machine, with default options.
//!
//! The pairs form one ring: the value of each key is the next key, and keys look random. So a chain of
//! dependent lookups visits the whole store, and every answer can be checked. Each run starts with fresh
//! files; the median over the runs is told. The disk is the one under the directory that is used: on a
//! memory file system, what waits for the disk costs nothing.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use cidstore::{E, Store};

use crate::access::wal_beside;
use crate::args::BenchArgs;
use crate::crash::{Plan, kill_in_the_middle};
use crate::failure::{Failure, Outcome};
use crate::measure::{median, random_id};
use crate::output::Output;
use crate::progress;
use crate::report::Report;
use crate::units::{Align, Table, count, counted, nanoseconds, scaled, significant};

/// Pairs in a batch of the batched insert.
const BATCH_PAIRS: u64 = 1000;
/// Keys in one `get_many`.
const MANY_KEYS: usize = 128;
/// Lookups of each kind in a run, at most.
const LOOKUPS_MAX: u64 = 2_000_000;
/// Seed of the keys that are there.
const HIT: u64 = 1;
/// Seed of keys that are not.
const MISS: u64 = 2;

/// One thing that is measured.
struct Row {
    name: &'static str,
    what: &'static str,
    unit: Unit,
    figures: Vec<f64>,
}

/// What a figure counts.
#[derive(Clone, Copy)]
enum Unit {
    PairsPerSecond,
    Nanoseconds,
    Bytes,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::PairsPerSecond => "pairs/s",
            Self::Nanoseconds => "ns",
            Self::Bytes => "bytes",
        }
    }

    fn show(self, figure: f64) -> String {
        match self {
            Self::PairsPerSecond => format!("{} pairs/s", scaled(figure)),
            Self::Nanoseconds => nanoseconds(figure),
            Self::Bytes => format!("{} bytes", significant(figure)),
        }
    }
}

/// All figures so far, in the order in which they were first told, and the answers that were wrong.
#[derive(Default)]
struct Figures {
    rows: Vec<Row>,
    wrong: u64,
}

impl Figures {
    fn add(&mut self, name: &'static str, what: &'static str, unit: Unit, figure: f64) {
        match self.rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.figures.push(figure),
            None => self.rows.push(Row { name, what, unit, figures: vec![figure] }),
        }
    }

    fn add_rate(&mut self, name: &'static str, what: &'static str, pairs: u64, time: Duration) {
        self.add(name, what, Unit::PairsPerSecond, pairs as f64 / time.as_secs_f64().max(1e-9));
    }

    fn add_time(&mut self, name: &'static str, what: &'static str, times: u64, time: Duration) {
        let each = time.as_nanos() as f64 / times.max(1) as f64;
        self.add(name, what, Unit::Nanoseconds, each);
    }
}

pub(crate) fn run(args: &BenchArgs, output: &mut Output) -> Outcome {
    let base = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let mut figures = Figures::default();
    let spinner = progress::of_steps();
    for run in 1..=args.runs {
        spinner.set_message(format!("run {run} of {}", args.runs));
        // Only the kind: the whole error names the folder that was to be made, which nobody has named.
        let folder = tempfile::tempdir_in(&base)
            .map_err(|error| Failure::io(&base, "create")(error.kind().into()))?;
        measure_bulk(folder.path(), args.pairs, &mut figures)?;
        measure_inserts(folder.path(), args.pairs, &mut figures)?;
    }
    spinner.finish_and_clear();
    print(args, &base, &figures, output)
}

/// A store that was loaded at once: load, size, open, lookups.
fn measure_bulk(folder: &Path, pairs: u64, figures: &mut Figures) -> Outcome {
    let path = folder.join("bulk.h5");
    let store = Store::open(&path)?;
    let start = Instant::now();
    let mut loader = store.bulk_loader();
    for at in 0..pairs {
        let (key, value) = ring_pair(at, pairs);
        loader.push(key, value)?;
    }
    loader.finish(|_| {})?;
    let what = "bulk load of random pairs, on disk at the end";
    figures.add_rate("bulk_load", what, pairs, start.elapsed());
    store.close()?;
    drop(store);
    let what = "data file after bulk load and close, a pair";
    figures.add("bulk_file_bytes_per_pair", what, Unit::Bytes, file_bytes(&path)? / pairs as f64);

    let start = Instant::now();
    let store = Store::open(&path)?;
    figures.add_time("open_clean", "open after a clean close", 1, start.elapsed());
    measure_lookups(&store, pairs, figures)?;
    store.close()?;
    remove_store(&path)
}

fn measure_lookups(store: &Store, pairs: u64, figures: &mut Figures) -> Outcome {
    let lookups = pairs.min(LOOKUPS_MAX);
    // Every `stride`-th key, so that all of the store is visited; keys look random anyway.
    let stride = pairs / lookups;

    let start = Instant::now();
    for at in 0..lookups {
        let (key, value) = ring_pair(at * stride, pairs);
        let values = store.get(key)?;
        figures.wrong += u64::from(values.as_slice() != [value]);
    }
    figures.add_time("get_hit", "get, key is there", lookups, start.elapsed());

    let start = Instant::now();
    for at in 0..lookups {
        figures.wrong += u64::from(!store.get(random_id(MISS, at))?.is_empty());
    }
    figures.add_time("get_miss", "get, key is not there", lookups, start.elapsed());

    let start = Instant::now();
    let mut key = random_id(HIT, 0);
    for _ in 0..lookups {
        key = store.get(key)?.iter().next().unwrap_or_default();
    }
    figures.wrong += u64::from(key != random_id(HIT, lookups % pairs));
    let what = "get, key is the answer before (chained)";
    figures.add_time("get_chained", what, lookups, start.elapsed());

    let mut keys = Vec::with_capacity(MANY_KEYS);
    let mut wrong = 0;
    let start = Instant::now();
    for first in (0..lookups).step_by(MANY_KEYS) {
        let last = lookups.min(first + MANY_KEYS as u64);
        keys.clear();
        keys.extend((first..last).map(|at| random_id(HIT, at * stride)));
        store.get_many_with(&keys, |at, values| {
            let (_, value) = ring_pair((first + at as u64) * stride, pairs);
            wrong += u64::from(values.as_slice() != [value]);
        })?;
    }
    figures.wrong += wrong;
    figures.add_time("get_many", "get_many of 128 keys, a key", lookups, start.elapsed());
    Ok(())
}

/// A store that grew by batches: insert, size, kill -9, open.
fn measure_inserts(folder: &Path, pairs: u64, figures: &mut Figures) -> Outcome {
    let path = folder.join("insert.h5");
    let store = Store::open(&path)?;
    let mut batch = Vec::with_capacity(BATCH_PAIRS as usize);
    let mut new = 0;
    let start = Instant::now();
    for first in (0..pairs).step_by(BATCH_PAIRS as usize) {
        batch.clear();
        batch.extend((first..pairs.min(first + BATCH_PAIRS)).map(|at| ring_pair(at, pairs)));
        new += store.batch_insert(&batch)?;
    }
    let what = "insert of random pairs in batches of 1,000, each batch on disk";
    figures.add_rate("batched_insert", what, pairs, start.elapsed());
    figures.wrong += pairs - new.min(pairs);
    let live = store.stats().live_bytes as f64;
    figures.add(
        "live_bytes_per_pair",
        "live pages after inserts, a pair",
        Unit::Bytes,
        live / pairs as f64,
    );
    store.close()?;
    drop(store);
    let what = "data file after inserts and close, a pair";
    figures.add("file_bytes_per_pair", what, Unit::Bytes, file_bytes(&path)? / pairs as f64);

    let plan =
        Plan { threads: 1, batch: BATCH_PAIRS, pairs_min: pairs / 10, time_min: Duration::ZERO };
    let killed = kill_in_the_middle(&path, plan)?;
    let start = Instant::now();
    let store = Store::open(&path)?;
    let what = "open after kill -9 in the middle of inserts (a tenth more pairs)";
    figures.add_time("open_killed", what, 1, start.elapsed());
    figures.wrong += killed.missing(&store)?;
    store.close()?;
    remove_store(&path)
}

/// Pair number `at` of a ring of `pairs` pairs.
fn ring_pair(at: u64, pairs: u64) -> (E, E) {
    let next = if at + 1 == pairs { 0 } else { at + 1 };
    (random_id(HIT, at), random_id(HIT, next))
}

fn file_bytes(path: &Path) -> Outcome<f64> {
    Ok(fs::metadata(path).map_err(Failure::io(path, "read"))?.len() as f64)
}

/// Gives the space back before the next measurement.
fn remove_store(path: &Path) -> Outcome {
    for file in [path.to_owned(), wal_beside(path)] {
        fs::remove_file(&file).map_err(Failure::io(&file, "remove"))?;
    }
    Ok(())
}

fn print(args: &BenchArgs, base: &Path, figures: &Figures, output: &mut Output) -> Outcome {
    let mut report = Report::new(output);
    report.text(format_args!(
        "{} random pairs, median of {}, files in {}",
        count(args.pairs),
        counted(u64::from(args.runs), "run"),
        base.display()
    ))?;
    report.text("")?;
    let mut table = Table::new(&[Align::Right, Align::Left]);
    for row in &figures.rows {
        let middle = median(row.figures.clone());
        table.row([&row.unit.show(middle), row.what]);
        report.figure(row.name, middle, row.unit.name())?;
    }
    for line in table.lines() {
        report.text(format_args!("  {line}"))?;
    }
    report.text("")?;
    report.check("every answer was right", figures.wrong == 0)?;
    report.finish()
}
