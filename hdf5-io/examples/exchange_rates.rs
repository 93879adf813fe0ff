//! Measures export and import: `exchange_rates [PAIRS] [FOLDER]`.
//!
//! One value a key, ids that look random. The exported file is synced, and read back from the page cache; rates are of
//! wall time, syncs and renames included; processor time of all threads stands beside them, for machines that are shared.
//! Before each, as many bytes as the export has are written to a fresh file beside it and synced, by one thread, with
//! nothing to work out: no export is faster than that by much, and where the kernel has to find the memory first, as on
//! a memory file system, that is most of the time. Three rounds.

#![allow(clippy::print_stdout, reason = "figures are what it is for")]

mod shared;

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use cidstore_core::E;
use cidstore_engine::Store;
use cidstore_hdf5::exchange::{self, ExportOptions, ImportOptions};

use shared::{processor_seconds, scramble};

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
    let options = ExportOptions::default();
    let bytes = exchange::export(&store, &export, &options, &mut |_| ())?.bytes;
    for _ in 0..ROUNDS {
        std::fs::remove_file(&export)?;
        let raw = raw_write(&folder.path().join("raw"), bytes)?;
        let clock = Clock::start()?;
        exchange::export(&store, &export, &options, &mut |_| ())?;
        let taken = clock.elapsed()?;
        let gib = bytes as f64 / f64::from(1 << 30);
        println!(
            "export {gib:.2} GiB in {taken}: {:.2} GiB/s, {}",
            gib / taken.wall,
            taken.against(raw)
        );
        let raw = raw_write(&folder.path().join("raw"), bytes)?;
        let clock = Clock::start()?;
        let imported = exchange::import(&export, &import, &ImportOptions::default(), &mut |_| ())?;
        let taken = clock.elapsed()?;
        let millions = imported.pairs as f64 / 1e6;
        println!(
            "import {millions:.1} M pairs in {taken}: {:.2} M/s, {}",
            millions / taken.wall,
            taken.against(raw)
        );
        std::fs::remove_file(&import)?;
    }
    Ok(())
}

/// Seconds that it takes to write so many bytes to a fresh file, in pieces of the size that an export has, and to sync it.
fn raw_write(path: &Path, bytes: u64) -> Result<f64, Box<dyn Error>> {
    let piece: Vec<u8> = (0..128 << 10).map(|index: u32| (index >> 3) as u8).collect();
    let start = Instant::now();
    let mut file = File::create_new(path)?;
    let mut left = bytes;
    while left > 0 {
        let now = left.min(piece.len() as u64);
        file.write_all(&piece[..now as usize])?;
        left -= now;
    }
    file.sync_all()?;
    let seconds = start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(seconds)
}

/// Wall and processor seconds.
struct Taken {
    wall: f64,
    busy: f64,
}

impl Taken {
    fn against(&self, raw: f64) -> String {
        format!("{:.1} times a raw write of the file ({raw:.2} s)", self.wall / raw)
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} s (processors {:.2} s)", self.wall, self.busy)
    }
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

    fn elapsed(&self) -> Result<Taken, Box<dyn Error>> {
        let busy = processor_seconds()? - self.busy;
        Ok(Taken { wall: self.wall.elapsed().as_secs_f64(), busy })
    }
}
