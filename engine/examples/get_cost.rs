//! What a `get` costs in nanoseconds: the least of several rounds, and the median.
//!
//! Run builds of two commits, or with and without `--count`, in turns; `docs/metrics.md` has the figures.

#![allow(clippy::print_stdout, reason = "it is run by hand, for what it prints")]

use std::hint::black_box;
use std::time::Instant;

use cidstore_engine::{Durability, Error, Store};

const KEYS: u64 = 20_000;
const READS: u64 = 1_000_000;
const ROUNDS: usize = 15;

fn main() -> Result<(), Error> {
    let path = std::env::temp_dir().join(format!("get_cost-{}.h5", std::process::id()));
    let options = Store::options().durability(Durability::Buffered);
    let counting = std::env::args().any(|argument| argument == "--count");
    let store = options.count_reads(counting).open(&path)?;
    for key in 0..KEYS {
        store.insert(key, key)?;
    }
    store.checkpoint()?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut key = 1_u64;
        for _ in 0..READS {
            key = (key * 5 + 3) % KEYS;
            black_box(store.get(black_box(key))?);
        }
        rounds.push(start.elapsed().as_nanos() as f64 / READS as f64);
    }
    rounds.sort_by(f64::total_cmp);
    println!("{:.2} least, {:.2} median", rounds[0], rounds[ROUNDS / 2]);
    store.close()?;
    // Of the temporary files nothing is needed.
    let _ = std::fs::remove_file(path.with_extension("h5-wal"));
    let _ = std::fs::remove_file(path);
    Ok(())
}
