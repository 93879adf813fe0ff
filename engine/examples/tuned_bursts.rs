//! What auto-tuning gains where much is written at once, then nothing for a while, and the disk is slow.
//!
//! ```text
//! cargo run --release -p cidstore-engine --features testing --example tuned_bursts -- FOLDER [SECONDS [ROUNDS]]
//! ```
//!
//! Each second eight threads write a burst of batches, 0.85 of what the log takes in all; and 0.7 s later one
//! thread writes 0.3 of that. Each round runs such seconds (30 unless told otherwise) on three new stores in
//! turn: with fixed settings; tuned, with half of the fixed run's p99 as target; with fixed settings again, which shows how much two
//! runs of the same differ. Tells how long the bursts and their batches took, in the second half of each run.
//!
//! The disk is that of FOLDER with each sync of the data file 60 ms slower, so that a checkpoint takes longer than what
//! half of the log takes to fill. Best a folder in memory: then no other program's writes count.
#![allow(clippy::print_stdout, reason = "it is here to tell figures")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cidstore_core::E;
use cidstore_engine::io::OsDisk;
use cidstore_engine::io::faulty::{FaultyDisk, OperationKind};
use cidstore_engine::{Durability, Error, Store, Tuning};

const LOG_BYTES: u64 = 8 << 20;
const DATA_SYNC: Duration = Duration::from_millis(60);
/// Pairs that are there all the time, so that a checkpoint has pages to write.
const PAIRS_BELOW: u64 = 200_000;
const THREADS: u64 = 8;
const BATCH: u64 = 512;
/// Batches of a thread in a burst: with their frames 0.85 of the log.
const BURST: u64 = 27;
/// Batches of the one thread between two bursts: 0.3 of the log.
const BETWEEN: u64 = 76;
/// From the begin of a burst to that of the next, and to what comes between.
const PERIOD: Duration = Duration::from_secs(1);
const TILL_BETWEEN: Duration = Duration::from_millis(700);

/// Keys are spread by a mixing step, so that pages change all over the store.
fn key(thread: u64, at: u64) -> E {
    E::from(((thread << 40) | at).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Adds pairs in so many batches if `adds`, else removes them. How long each batch took.
fn write(store: &Store, thread: u64, count: u64, adds: bool) -> Result<Vec<Duration>, Error> {
    let mut times = Vec::with_capacity(count as usize);
    for batch in 0..count {
        let keys: Vec<E> =
            (batch * BATCH..(batch + 1) * BATCH).map(|at| key(thread + 1, at)).collect();
        let pairs: Vec<(E, E)> = keys.iter().map(|&key| (key, key)).collect();
        let start = Instant::now();
        if adds { store.batch_insert(&pairs) } else { store.batch_delete(&keys) }?;
        times.push(start.elapsed());
    }
    Ok(times)
}

fn burst(store: &Store, adds: bool) -> Result<Vec<Duration>, Error> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || write(store, thread, BURST, adds)))
            .collect();
        let mut times = Vec::new();
        for thread in threads {
            // A thread that panicked has told why.
            times.extend(thread.join().unwrap_or(Err(Error::Closed))?);
        }
        Ok(times)
    })
}

/// Runs bursts on a new store and tells what they gave. Answers the p99 of batches.
fn measure(path: &Path, tuned: Option<Tuning>, count: u32) -> Result<Duration, Error> {
    let mut options = Store::options().wal_bytes(LOG_BYTES).durability(Durability::Immediate);
    if let Some(target) = tuned {
        options = options.tuning(target);
        println!("  tuned, {target:?}");
    } else {
        println!("  fixed");
    }
    let disk = FaultyDisk::new(Arc::new(OsDisk));
    let store = options.open_on(Arc::new(disk.clone()), path)?;
    store.bulk_load((0..PAIRS_BELOW).map(|at| (key(0, at), E::from(at))))?;
    let storage = store.storage()?;
    disk.slow_down(OperationKind::SyncData, &storage.path, DATA_SYNC);
    let (mut batches, mut bursts) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    for number in 0..count {
        let start = Instant::now();
        // In turn, so that the store stays as large as it is.
        let adds = number.is_multiple_of(2);
        let times = burst(&store, adds)?;
        if number >= count / 2 {
            batches.extend(times);
            bursts.push(start.elapsed());
        }
        std::thread::sleep((PERIOD * number + TILL_BETWEEN).saturating_sub(begin.elapsed()));
        write(&store, THREADS, BETWEEN, adds)?;
        std::thread::sleep((PERIOD * (number + 1)).saturating_sub(begin.elapsed()));
    }
    for decision in store.tuning_decisions().iter().filter(|decision| decision.change.is_some()) {
        println!("    {decision}");
    }
    let settings = store.tuned_settings();
    store.close()?;
    drop(store);
    std::fs::remove_file(path)
        .and_then(|()| std::fs::remove_file(path.with_extension("h5-wal")))
        .map_err(|source| Error::Io { path: path.into(), action: "remove", source })?;
    batches.sort_unstable();
    bursts.sort_unstable();
    let at = |times: &[Duration], part: usize| times[(times.len() - 1) * part / 100];
    let [p50, p99, longest] = [50, 99, 100].map(|part| at(&batches, part));
    println!("    batches: p50 {p50:?}, p99 {p99:?}, longest {longest:?}");
    let [median, longest] = [50, 100].map(|part| at(&bursts, part));
    println!("    bursts: median {median:?}, longest {longest:?}; {settings:?}");
    Ok(p99)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("which folder?")?;
    let seconds: u32 = arguments.next().map_or(Ok(30), |text| text.parse())?;
    let rounds: u32 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let seconds = seconds.max(8);
    for round in 1..=rounds {
        println!("round {round}");
        let path = Path::new(&folder).join("tuned-bursts.h5");
        let p99 = measure(&path, None, seconds)?;
        measure(&path, Some(Tuning::P99(p99 / 2)), seconds)?;
        measure(&path, None, seconds)?;
    }
    Ok(())
}
