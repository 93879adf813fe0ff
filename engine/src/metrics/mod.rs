//! What a store has done: counters and latencies, to look at, to tune by, and as text for Prometheus.
//!
//! [`Metrics`] is a copy of all of it at one time, and with [`Metrics::since`] of what happened between two times.
//! Reads count nothing unless the store was opened to count them: see `docs/metrics.md`.

#[cfg(feature = "metrics")]
mod catalog;
mod events;
#[cfg(feature = "metrics")]
mod expose;
mod histogram;
mod reads;
#[cfg(feature = "metrics")]
mod upkeep;

use std::time::Duration;

use cidstore_core::layout::PAGE_BYTES;

pub(crate) use events::{Events, LogEvents};
pub(crate) use histogram::Recorder;
pub use histogram::{Histogram, Scale};
pub(crate) use reads::ReadCounts;

use crate::handle::Store;
use crate::inspect::Stats;

/// Operations that writes asked for, those within batches and transactions included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operations {
    /// Pairs to add, whether or not they were there.
    pub inserts: u64,
    /// Keys to remove, whether or not they were there.
    pub deletes: u64,
    /// Pairs to remove, whether or not they were there.
    pub value_deletes: u64,
}

impl Operations {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.inserts + self.deletes + self.value_deletes
    }
}

/// How long writes took, from the call to the answer, by what they waited for. In nanoseconds.
///
/// Every `Immediate` write is measured; of the others, which take less time than the measuring would be worth, one in
/// [`Metrics::SAMPLED_PART`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommitLatency {
    /// Writes with [`Durability::Immediate`](crate::Durability::Immediate).
    pub immediate: Histogram,
    /// Writes with [`Durability::Interval`](crate::Durability::Interval), a part of them.
    pub interval: Histogram,
    /// Writes with [`Durability::Buffered`](crate::Durability::Buffered), a part of them.
    pub buffered: Histogram,
}

/// What a store has done since it was opened, or between two such snapshots, with how it stands at the end.
///
/// `store.metrics()` gives one from the opening on; [`since`](Self::since) makes a window of two.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// Time that this covers.
    pub window: Duration,
    /// Calls that read keys, scans and snapshots aside; 0 unless the store was opened with
    /// [`count_reads`](crate::OpenOptions::count_reads). A batch is one.
    pub reads: u64,
    /// Operations that writes asked for.
    pub operations: Operations,
    /// Pairs that were new; bulk loads aside.
    pub pairs_added: u64,
    /// Pairs that went.
    pub pairs_removed: u64,
    /// Writes that were answered with success; a batch or transaction is one.
    pub commits: u64,
    /// Writes that were refused or failed once the log had been asked for room.
    pub commits_failed: u64,
    /// How long writes took.
    pub commit_latency: CommitLatency,
    /// Operations in each batch and transaction.
    pub batch_sizes: Histogram,
    /// Writes in each group that was logged, and where needed synced, together.
    pub group_sizes: Histogram,
    /// How long each fdatasync of the log took, in nanoseconds.
    pub log_sync_latency: Histogram,
    /// How long each fdatasync of the data file took, in nanoseconds.
    pub data_sync_latency: Histogram,
    /// Records appended to the log, those that frame batches included.
    pub log_records: u64,
    /// Bytes of these records.
    pub log_bytes: u64,
    /// Writes to the log file; one brings all records of a group, or a mebibyte of them.
    pub log_flushes: u64,
    /// How long each checkpoint took, in nanoseconds.
    pub checkpoint_latency: Histogram,
    /// Bytes of pages that checkpoints wrote; table nodes and superblocks aside.
    pub checkpoint_bytes: u64,
    /// Checkpoints that failed, for want of space or for good.
    pub checkpoints_failed: u64,
    /// Bulk loads.
    pub bulk_loads: u64,
    /// Pairs that bulk loads were given, those that were there or came twice included.
    pub bulk_pairs: u64,
    /// Buckets split in two.
    pub splits: u64,
    /// Buckets merged with their buddies.
    pub merges: u64,
    /// Doublings of the directory.
    pub doublings: u64,
    /// Halvings of the directory.
    pub halvings: u64,
    /// Keys whose values moved to a set of their own.
    pub promotions: u64,
    /// Keys whose values came back inline.
    pub demotions: u64,
    /// Operations replayed from the log when the store was opened. The same in every window.
    pub recovered_operations: u64,
    /// How the store stands at the end of the window.
    pub stats: Stats,
}

impl Default for Metrics {
    /// Of a store that has done nothing.
    fn default() -> Self {
        let metrics = Events::default().snapshot(LogEvents::default(), Stats::default());
        Self { window: Duration::ZERO, ..metrics }
    }
}

impl Metrics {
    /// Of writes that wait for no sync, one in so many is measured.
    pub const SAMPLED_PART: u64 = 16;

    /// What happened between an earlier snapshot of the same store and this one.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let less = |now: u64, then: u64| now.saturating_sub(then);
        let (now, then) = (self, earlier);
        Self {
            window: now.window.saturating_sub(then.window),
            reads: less(now.reads, then.reads),
            operations: Operations {
                inserts: less(now.operations.inserts, then.operations.inserts),
                deletes: less(now.operations.deletes, then.operations.deletes),
                value_deletes: less(now.operations.value_deletes, then.operations.value_deletes),
            },
            pairs_added: less(now.pairs_added, then.pairs_added),
            pairs_removed: less(now.pairs_removed, then.pairs_removed),
            commits: less(now.commits, then.commits),
            commits_failed: less(now.commits_failed, then.commits_failed),
            commit_latency: CommitLatency {
                immediate: now.commit_latency.immediate.since(&then.commit_latency.immediate),
                interval: now.commit_latency.interval.since(&then.commit_latency.interval),
                buffered: now.commit_latency.buffered.since(&then.commit_latency.buffered),
            },
            batch_sizes: now.batch_sizes.since(&then.batch_sizes),
            group_sizes: now.group_sizes.since(&then.group_sizes),
            log_sync_latency: now.log_sync_latency.since(&then.log_sync_latency),
            data_sync_latency: now.data_sync_latency.since(&then.data_sync_latency),
            log_records: less(now.log_records, then.log_records),
            log_bytes: less(now.log_bytes, then.log_bytes),
            log_flushes: less(now.log_flushes, then.log_flushes),
            checkpoint_latency: now.checkpoint_latency.since(&then.checkpoint_latency),
            checkpoint_bytes: less(now.checkpoint_bytes, then.checkpoint_bytes),
            checkpoints_failed: less(now.checkpoints_failed, then.checkpoints_failed),
            bulk_loads: less(now.bulk_loads, then.bulk_loads),
            bulk_pairs: less(now.bulk_pairs, then.bulk_pairs),
            splits: less(now.splits, then.splits),
            merges: less(now.merges, then.merges),
            doublings: less(now.doublings, then.doublings),
            halvings: less(now.halvings, then.halvings),
            promotions: less(now.promotions, then.promotions),
            demotions: less(now.demotions, then.demotions),
            recovered_operations: now.recovered_operations,
            stats: now.stats.clone(),
        }
    }

    /// Latency of all measured writes together. Where durabilities are mixed it leans to the `Immediate` ones: the
    /// others are sampled.
    #[must_use]
    pub fn commit_latency_all(&self) -> Histogram {
        let CommitLatency { immediate, interval, buffered } = &self.commit_latency;
        immediate.plus(interval).plus(buffered)
    }

    /// Operations a second.
    #[must_use]
    pub fn operations_per_second(&self) -> f64 {
        match self.window.as_secs_f64() {
            0.0 => 0.0,
            seconds => self.operations.total() as f64 / seconds,
        }
    }

    /// Part of the writes that failed: 0 to 1.
    #[must_use]
    pub fn failed_share(&self) -> f64 {
        match self.commits + self.commits_failed {
            0 => 0.0,
            all => self.commits_failed as f64 / all as f64,
        }
    }

    /// Part of the log, at its largest, that holds records which are still needed: 0 to 1.
    #[must_use]
    pub fn log_fill(&self) -> f64 {
        match self.stats.wal_bytes_max {
            0 => 0.0,
            bytes_max => self.stats.wal_used_bytes as f64 / bytes_max as f64,
        }
    }

    /// Pages of memory that hold changes which are not in the data file, or wait for readers.
    #[must_use]
    pub fn pool_pages(&self) -> u64 {
        self.stats.pool_bytes / PAGE_BYTES as u64
    }
}

impl Store {
    /// What made the store refuse all further writes, if something did: a failed write or sync. Takes no lock.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.engine().shared.failure()
    }

    /// What the store has done since it was opened, and how it stands. Takes the writer lock for a moment, as
    /// [`stats`](Self::stats) does.
    ///
    /// ```
    /// # use cidstore_engine::{Error, Store};
    /// # fn main() -> Result<(), Error> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let store = Store::open(folder.path().join("measured.h5"))?;
    /// let before = store.metrics();
    /// store.insert(1, 10)?;
    /// let window = store.metrics().since(&before);
    /// assert_eq!((window.operations.inserts, window.commits), (1, 1));
    /// println!("p99 {:?}", window.commit_latency.immediate.p99());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let engine = self.engine();
        let syncs = engine.log_syncs();
        let figures = self.writer_figures();
        let log = LogEvents::new(figures.log_counts, syncs);
        let stats = self.stats_of(&figures);
        let reads = engine.shared.reads.as_ref().map_or(0, ReadCounts::sum);
        Metrics { reads, ..engine.shared.events.snapshot(log, stats) }
    }
}
