//! What the HDF5 view costs a store that is written to: `view_overhead [PAIRS] [FOLDER]`.
//!
//! Stores are filled with pairs of random ids, one insert each, with the view and without it by turns. Processor time of
//! all threads is compared, since wall time on a shared machine tells of others. As the difference is smaller than the noise
//! of any such run, the time within the emitter is taken as well: besides that, a view costs writing its bytes, which are
//! told; it has no sync of its own.

#![allow(clippy::print_stdout, reason = "figures are what it is for")]

mod shared;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use cidstore_core::E;
use cidstore_core::layout::view::{FileDescription, ViewHeader};
use cidstore_engine::view::{FileView, ViewBytes};
use cidstore_engine::{Durability, Store};
use cidstore_hdf5_emit::Emitter;

use shared::{processor_seconds, scramble};

const ROUNDS: usize = 5;

/// The usual view, and what it did so far.
#[derive(Debug, Default)]
struct Timed {
    emitter: Emitter,
    nanos: AtomicU64,
    views: AtomicU64,
    bytes: AtomicU64,
}

impl FileView for Timed {
    fn emit(&self, file: &FileDescription<'_>, body_offset: u64) -> ViewBytes {
        let started = Instant::now();
        let bytes = FileView::emit(&self.emitter, file, body_offset);
        self.nanos.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
        self.views.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes.body.len() as u64, Ordering::Relaxed);
        bytes
    }

    fn body_offset(&self, header: &ViewHeader) -> Option<u64> {
        Emitter::body_offset(header)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let pairs: u64 = arguments.next().map_or(Ok(1_500_000), |text| text.parse())?;
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let timed = Arc::new(Timed::default());
    for _ in 0..ROUNDS {
        let folder = tempfile::tempdir_in(&parent)?;
        with.push(fill(&folder.path().join("with"), Some(timed.clone()), pairs)?);
        without.push(fill(&folder.path().join("without"), None, pairs)?);
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64 / ROUNDS as f64;
    let within = count(&timed.nanos) / 1e9;
    println!("{pairs} inserts, processor seconds of {ROUNDS} rounds:");
    println!("with the view    {}", range(&mut with));
    println!("without          {}", range(&mut without));
    println!(
        "views: {:.0} a round, {:.0} KB, {:.2} ms within the emitter: {:.3} % of the median",
        count(&timed.views),
        count(&timed.bytes) / 1e3,
        within * 1e3,
        within / with[ROUNDS / 2] * 100.0
    );
    Ok(())
}

/// Median and ends of times, which it sorts.
fn range(times: &mut [f64]) -> String {
    times.sort_by(f64::total_cmp);
    format!("{:.2} ({:.2} to {:.2})", times[ROUNDS / 2], times[0], times[ROUNDS - 1])
}

/// Fills a store and closes it; answers the processor seconds.
fn fill(path: &Path, view: Option<Arc<dyn FileView>>, pairs: u64) -> Result<f64, Box<dyn Error>> {
    let options = Store::options().durability(Durability::Buffered).view(view);
    let started = processor_seconds()?;
    let store = options.open(path)?;
    for index in 0..pairs {
        store.insert(scramble(index), E::from(index))?;
    }
    store.close()?;
    Ok(processor_seconds()? - started)
}
