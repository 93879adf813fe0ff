//! What auto-tuning gains over the fixed settings when the load changes its kind, on the disk under a folder.
//!
//! ```text
//! cargo run --release -p cidstore-engine --example auto_tune -- FOLDER [PHASE_SECONDS [CYCLES [ROUNDS]]]
//! ```
//!
//! A cycle has two phases: four threads that insert pair by pair and wait for the disk each time; then two that insert
//! batches of 1,024 pairs without waiting, beside one that waits. Each round runs the cycles (6 phases of 20 s unless told
//! otherwise) three times, on a new store each: with fixed settings, with a target for latency and with one for the rate.
//! The targets come from the fixed run of the same round: half of the p99 of all its writes and one and a half times its
//! rate, both of its batches. So the goal is a stretch on any machine, and not out of sight.
//!
//! Tells for each kind of phase the median over all but the first cycle of: operations a second, and latencies. Half of each
//! phase is not counted: it is there to settle.
#![allow(clippy::print_stdout, reason = "it is here to tell figures")]

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cidstore_core::E;
use cidstore_engine::{Durability, Error, Metrics, Store, Tuning};

const SMALL: u32 = 0;
const BATCHES: u32 = 1;
const END: u32 = 2;
/// Kinds of phases, by number.
const NAMES: [&str; 2] = ["small durable", "big batches"];
const BATCH: u64 = 1024;
/// Writers of the small phase; of these the first goes on waiting in the other phase, and two write batches.
const THREADS: u64 = 4;

/// Keys are spread by a mixing step, so that pages change all over the store.
fn key(thread: u64, at: u64) -> u64 {
    ((thread << 40) | (at % 2_000_000)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn write(store: &Store, thread: u64, phase: &AtomicU32) -> Result<(), Error> {
    let mut at = 0;
    loop {
        match (phase.load(Ordering::Relaxed), thread) {
            (END, _) => return Ok(()),
            (SMALL, _) | (_, 0) => {
                store.insert_with(key(thread, at), at, Durability::Immediate)?;
                at += 1;
            }
            (_, 1 | 2) => {
                let pairs: Vec<(E, E)> =
                    (at..at + BATCH).map(|at| (key(thread, at).into(), at.into())).collect();
                store.batch_insert(&pairs)?;
                at += BATCH;
            }
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// What a phase gave: operations a second; of the writes that wait p50 and p99, and p99 of all, which is what a target for
/// latency speaks of.
struct Figures {
    rate: f64,
    latency: [Duration; 3],
}

impl Figures {
    fn of(window: &Metrics) -> Self {
        let waits = &window.commit_latency.immediate;
        let all = window.commit_latency_all().p99();
        let latency = [waits.p50(), waits.p99(), all];
        Self { rate: window.operations_per_second(), latency }
    }

    /// The median of each figure.
    fn median(all: &[Self]) -> Self {
        let middle = all.len() / 2;
        let mut rates: Vec<f64> = all.iter().map(|figures| figures.rate).collect();
        rates.sort_unstable_by(f64::total_cmp);
        let latency = [0, 1, 2].map(|at| {
            let mut times: Vec<Duration> = all.iter().map(|figures| figures.latency[at]).collect();
            times.sort_unstable();
            times[middle]
        });
        Self { rate: rates[middle], latency }
    }
}

/// Runs the cycles on a new store; the medians of the two kinds of phases.
fn measure(
    path: &Path,
    tuned: Option<Tuning>,
    (phase_time, cycles): (Duration, u32),
) -> Result<[Figures; 2], Error> {
    let mut options = Store::options().wal_bytes(64 << 20).durability(Durability::Buffered);
    if let Some(target) = tuned {
        options = options.tuning(target);
    }
    let store = options.open(path)?;
    let phase = AtomicU32::new(SMALL);
    let mut found = [Vec::new(), Vec::new()];
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (store, phase) = (&store, &phase);
                scope.spawn(move || write(store, thread, phase))
            })
            .collect();
        for cycle in 0..cycles {
            for kind in [SMALL, BATCHES] {
                phase.store(kind, Ordering::Relaxed);
                std::thread::sleep(phase_time / 2);
                let before = store.metrics();
                std::thread::sleep(phase_time / 2);
                if cycle > 0 || cycles == 1 {
                    found[kind as usize].push(Figures::of(&store.metrics().since(&before)));
                }
            }
        }
        phase.store(END, Ordering::Relaxed);
        writers.into_iter().try_for_each(|writer| {
            // A thread that panicked has told why.
            writer.join().unwrap_or(Err(Error::Closed))
        })
    })?;
    for decision in store.tuning_decisions() {
        println!("    {decision}");
    }
    store.close()?;
    drop(store);
    std::fs::remove_file(path)
        .and_then(|()| std::fs::remove_file(path.with_extension("h5-wal")))
        .map_err(|source| Error::Io { path: path.into(), action: "remove", source })?;
    Ok(found.each_ref().map(|figures| Figures::median(figures)))
}

fn print(start: Instant, name: &str, figures: &[Figures; 2]) {
    for (kind, Figures { rate, latency: [p50, p99, all] }) in NAMES.iter().zip(figures) {
        println!(
            "{:>6.0} s  {name:<8} {kind:<14} {rate:>9.0} inserts/s  waiting: p50 {p50:?} p99 {p99:?}  all: p99 {all:?}",
            start.elapsed().as_secs_f64(),
        );
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("which folder?")?;
    let phase_seconds: u64 = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let cycles: u32 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let rounds: u32 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let phases = (Duration::from_secs(phase_seconds.max(2)), cycles.max(1));
    let start = Instant::now();
    for round in 0..rounds {
        let path = |name: &str| Path::new(&folder).join(format!("auto-tune-{name}-{round}.h5"));
        let fixed = measure(&path("fixed"), None, phases)?;
        print(start, "fixed", &fixed);
        let Figures { rate, latency: [_, _, p99] } = fixed[BATCHES as usize];
        let targets =
            [("latency", Tuning::P99(p99 / 2)), ("rate", Tuning::OperationsPerSecond(rate * 1.5))];
        for (name, target) in targets {
            println!("    target: {target:?}");
            print(start, name, &measure(&path(name), Some(target), phases)?);
        }
    }
    Ok(())
}
