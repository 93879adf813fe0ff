//! Measures export and import: `exchange_rates [PAIRS] [FOLDER]`.
//!
//! One value a key, ids that look random. The exported file is synced, and read back from the page cache; rates are of
//! wall time, syncs and renames included; processor time of all threads stands beside them, for machines that are shared. Three rounds, because the first writes to memory that the kernel has to find.

#![allow(clippy::print_stdout, reason = "figures are what it is for")]

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use cidstore_core::E;
use cidstore_engine::Store;
use cidstore_hdf5::exchange::{self, ExportOptions, ImportOptions};

const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let pairs: u64 = arguments.next().map_or(Ok(5_000_000), |text| text.parse())?;
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(parent)?;
    let [store, export, import] =
        ["store", "export", "import"].map(|name| folder.path().join(name));
    let store = Store::open(store)?;
    store.bulk_load((0..pairs).map(|index| (scramble(index), E::from(index))))?;
    for _ in 0..ROUNDS {
        let options = ExportOptions { replace: true, ..ExportOptions::default() };
        let start = Clock::start()?;
        let exported = exchange::export(&store, &export, &options, &mut |_| ())?;
        let (seconds, busy) = start.elapsed()?;
        let gib = exported.bytes as f64 / f64::from(1 << 30);
        println!(
            "export {gib:.2} GiB in {seconds:.2} s (processors {busy:.2} s): {:.2} GiB/s",
            gib / seconds
        );
        let start = Clock::start()?;
        let imported = exchange::import(&export, &import, &ImportOptions::default(), &mut |_| ())?;
        let (seconds, busy) = start.elapsed()?;
        let millions = imported.pairs as f64 / 1e6;
        println!(
            "import {millions:.1} M pairs in {seconds:.2} s (processors {busy:.2} s): {:.2} M/s",
            millions / seconds
        );
        std::fs::remove_file(&import)?;
    }
    Ok(())
}

/// Wall and processor time.
struct Clock {
    wall: Instant,
    busy: f64,
}

impl Clock {
    fn start() -> Result<Self, Box<dyn Error>> {
        Ok(Self { wall: Instant::now(), busy: processor_seconds()? })
    }

    fn elapsed(&self) -> Result<(f64, f64), Box<dyn Error>> {
        Ok((self.wall.elapsed().as_secs_f64(), processor_seconds()? - self.busy))
    }
}

/// What this process has used of all processors, by `/proc`: in ticks of 10 ms.
fn processor_seconds() -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = text.rsplit_once(')').ok_or("/proc/self/stat has another form")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(ticks.sum::<Result<u64, _>>()? as f64 / 100.0)
}

/// A key that looks random: two rounds of a well-known mixer.
fn scramble(index: u64) -> E {
    let mix = |seed: u64| {
        let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    };
    E::new(mix(index), mix(!index))
}
