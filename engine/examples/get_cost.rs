//! What a `get` costs in nanoseconds, one that misses, and a key of a `get_many` of 64, there or not: the least of several rounds, and the
//! median.
//!
//! `cargo run --release -p cidstore-engine --example get_cost -- [KEYS] [--count]`: so many keys, in random order; 20,000 by
//! default, which the processor's caches hold, so that the instructions are what is measured. Run builds of two commits, or
//! with and without `--count`, in turns; `docs/metrics.md` and `docs/performance.md` have the figures.

#![allow(clippy::print_stdout, reason = "it is run by hand, for what it prints")]

use std::hint::black_box;
use std::time::Instant;

use cidstore_core::E;
use cidstore_engine::{Durability, Error, Store};

const READS: u64 = 1_000_000;
const BATCH: u64 = 64;
const ROUNDS: usize = 15;

fn main() -> Result<(), Error> {
    let path = std::env::temp_dir().join(format!("get_cost-{}.h5", std::process::id()));
    let options = Store::options().durability(Durability::Buffered);
    let counting = std::env::args().any(|argument| argument == "--count");
    let keys = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(20_000);
    let store = options.count_reads(counting).open(&path)?;
    let pairs: Vec<(E, E)> = (0..keys).map(|key| (E::from(key), E::from(key))).collect();
    for batch in pairs.chunks(10_000) {
        store.batch_insert(batch)?;
    }
    store.checkpoint()?;

    measure_hits(&store, keys)?;
    measure_rest(&store, keys)?;
    store.close()?;
    // Of the temporary files nothing is needed.
    let _ = std::fs::remove_file(path.with_extension("h5-wal"));
    let _ = std::fs::remove_file(path);
    Ok(())
}

/// Keys that are there, one by one: without waiting for the answer before, and waiting for it.
fn measure_hits(store: &Store, keys: u64) -> Result<(), Error> {
    measure("get", || {
        for key in random_keys(keys, READS) {
            black_box(store.get(black_box(key))?);
        }
        Ok(())
    })?;
    measure("get of a guard", || {
        let guard = store.pin();
        for key in random_keys(keys, READS) {
            black_box(guard.get(black_box(key))?);
        }
        Ok(())
    })?;
    measure("chained get", || {
        // Nothing, but told by the answer before: the whole latency of a get, of which nothing overlaps.
        let mut nothing = 0;
        for key in random_keys(keys, READS) {
            nothing = store.get(black_box(E::from(key.low ^ nothing)))?.as_slice()[0].low ^ key.low;
        }
        black_box(nothing);
        Ok(())
    })?;
    measure("chained get of a guard", || {
        let guard = store.pin();
        // Nothing, but told by the answer before: the whole latency of a get, of which nothing overlaps.
        let mut nothing = 0;
        for key in random_keys(keys, READS) {
            nothing = guard.get(black_box(E::from(key.low ^ nothing)))?.as_slice()[0].low ^ key.low;
        }
        black_box(nothing);
        Ok(())
    })
}

/// Keys that are not there, and batches of either.
fn measure_rest(store: &Store, keys: u64) -> Result<(), Error> {
    measure("miss", || {
        for key in random_keys(keys, READS) {
            black_box(store.get(black_box(E::new(1, key.low)))?);
        }
        Ok(())
    })?;
    for (name, high) in [("get_many", 0), ("get_many, misses", 1)] {
        measure(name, || {
            let mut keys = random_keys(keys, READS / BATCH * BATCH);
            for _ in 0..READS / BATCH {
                let batch: [E; BATCH as usize] =
                    std::array::from_fn(|_| E::new(high, keys.next().unwrap_or_default().low));
                store.get_many_with(&batch, |_, values| {
                    black_box(values);
                })?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The same keys each time, by a xorshift generator (Marsaglia, 2003): a few instructions a key.
fn random_keys(below: u64, count: u64) -> impl Iterator<Item = E> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..count).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        E::from(state % below)
    })
}

fn measure(name: &str, mut reads: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        reads()?;
        rounds.push(start.elapsed().as_nanos() as f64 / READS as f64);
    }
    rounds.sort_by(f64::total_cmp);
    println!("{name}: {:.2} least, {:.2} median", rounds[0], rounds[ROUNDS / 2]);
    Ok(())
}
