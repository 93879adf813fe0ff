//! What auto-tuning gains over the fixed settings, on the disk under a folder.
//!
//! ```text
//! cargo run --release -p cidstore-engine --example auto_tune -- FOLDER SECONDS TARGET_MS
//! ```
//!
//! Three times each, in turn: two threads insert without waiting for the disk, one waits for it with each insert, for
//! so many seconds; first with fixed settings, then tuned for the latency. Tells the rates, and latencies of the
//! writes that wait, over the second half of the run.
#![allow(clippy::print_stdout, reason = "it is here to tell figures")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cidstore_engine::{Durability, Error, Metrics, Store, Tuning};

/// Keys are spread by a mixing step, so that pages change all over the store.
fn key(thread: u64, at: u64) -> u64 {
    ((thread << 40) | (at % 2_000_000)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn insert_while(
    store: &Store,
    thread: u64,
    durability: Durability,
    run: &AtomicBool,
) -> Result<(), Error> {
    let mut at = 0;
    while run.load(Ordering::Relaxed) {
        store.insert_with(key(thread, at), at, durability)?;
        at += 1;
    }
    Ok(())
}

fn measure(path: &Path, seconds: u64, tuned: Option<Tuning>) -> Result<Metrics, Error> {
    let mut options = Store::options().wal_bytes(64 << 20);
    if let Some(target) = tuned {
        options = options.tuning(target);
    }
    let store = options.open(path)?;
    let run = AtomicBool::new(true);
    let window = std::thread::scope(|scope| {
        let writers: Vec<_> = [Durability::Immediate, Durability::Buffered, Durability::Buffered]
            .into_iter()
            .enumerate()
            .map(|(thread, durability)| {
                let (store, run) = (&store, &run);
                scope.spawn(move || insert_while(store, thread as u64, durability, run))
            })
            .collect();
        let half = Duration::from_secs(seconds) / 2;
        std::thread::sleep(half);
        let before = store.metrics();
        std::thread::sleep(half);
        let window = store.metrics().since(&before);
        run.store(false, Ordering::Relaxed);
        for writer in writers {
            // A thread that panicked has told why.
            writer.join().unwrap_or(Err(Error::Closed))?;
        }
        Ok::<_, Error>(window)
    })?;
    for decision in store.tuning_decisions() {
        println!("    {decision}");
    }
    store.close()?;
    Ok(window)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("which folder?")?;
    let seconds: u64 = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let target_ms: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let target = Tuning::P99(Duration::from_millis(target_ms));
    let start = Instant::now();
    for round in 0..3 {
        for (name, tuned) in [("fixed", None), ("tuned", Some(target))] {
            let path = Path::new(&folder).join(format!("{name}-{round}.h5"));
            let window = measure(&path, seconds, tuned)?;
            let waits = &window.commit_latency.immediate;
            println!(
                "{:>6.1} s  {name}  {:>9.0} inserts/s  durable: {:>6} p50 {:?} p99 {:?} p99.9 {:?}  \
                 {} checkpoints",
                start.elapsed().as_secs_f64(),
                window.operations_per_second(),
                waits.count(),
                waits.latency(0.5),
                waits.latency(0.99),
                waits.latency(0.999),
                window.checkpoint_latency.count(),
            );
            std::fs::remove_file(&path)?;
            std::fs::remove_file(path.with_extension("h5-wal"))?;
        }
    }
    Ok(())
}
