//! Counting reads, for a store that was opened to do so: a counter for each thread, or nearly.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads that count beside each other without sharing a cache line; more share.
const SHARDS: usize = 64;

thread_local! {
    /// Which counter is this thread's, once it has counted.
    static SHARD: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The next thread's counter.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Two cache lines: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(AtomicU64);

/// Reads since the store was opened.
#[derive(Debug)]
pub(crate) struct ReadCounts(Box<[Shard]>);

impl Default for ReadCounts {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Shard::default()).collect())
    }
}

impl ReadCounts {
    /// Counts one.
    pub(crate) fn add(&self) {
        let shard = SHARD.get().unwrap_or_else(|| {
            // Relaxed: any number will do.
            let shard = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
            SHARD.set(Some(shard));
            shard
        });
        // Relaxed: a sum that nobody concludes anything from.
        self.0[shard].0.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them.
    pub(crate) fn sum(&self) -> u64 {
        self.0.iter().map(|shard| shard.0.load(Ordering::Relaxed)).sum()
    }
}
