//! What the store counts while it works.
//!
//! Most of it is counted under the writer lock, where a count is a load and a store. What threads count without the
//! lock (latencies, syncs) they add atomically. Readers count nothing here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cidstore_core::layout::record::RECORD_BYTES;

use super::{CommitLatency, Histogram, Metrics, Operations, Recorder, Scale};
use crate::inspect::Stats;
use crate::options::Durability;
use crate::writer::apply::Operation;

/// A count that one thread at a time changes: whoever has the writer lock, or the checkpointer's.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Adds to it.
    pub(crate) fn add(&self, amount: u64) {
        // Relaxed: nobody concludes anything from it. The lock orders the changes, so none is lost.
        let now = self.0.load(Ordering::Relaxed) + amount;
        self.0.store(now, Ordering::Relaxed);
    }

    /// The count.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What has happened since the store was opened.
#[derive(Debug)]
pub(crate) struct Events {
    opened: Instant,
    inserts: Count,
    deletes: Count,
    value_deletes: Count,
    pairs_added: Count,
    pairs_removed: Count,
    pub(crate) commits: Count,
    pub(crate) commits_failed: Count,
    pub(crate) batch_sizes: Recorder,
    pub(crate) group_sizes: Recorder,
    commit_latency: [Recorder; 3],
    pub(crate) data_sync_latency: Recorder,
    pub(crate) checkpoint_latency: Recorder,
    pub(crate) checkpoint_bytes: Count,
    pub(crate) checkpoints_failed: Count,
    pub(crate) bulk_loads: Count,
    pub(crate) bulk_pairs: Count,
    pub(crate) splits: Count,
    pub(crate) merges: Count,
    pub(crate) doublings: Count,
    pub(crate) halvings: Count,
    pub(crate) promotions: Count,
    pub(crate) demotions: Count,
    pub(crate) recovered_operations: Count,
}

/// What the log counts by itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogEvents {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) flushes: u64,
    pub(crate) sync_latency: Histogram,
}

impl LogEvents {
    /// What the log's [appender](crate::wal::Appender::counts) and its syncs counted.
    pub(crate) fn new((records, flushes): (u64, u64), sync_latency: Histogram) -> Self {
        Self { records, bytes: records * RECORD_BYTES as u64, flushes, sync_latency }
    }
}

impl Default for Events {
    fn default() -> Self {
        let latency = || Recorder::new(Scale::Nanoseconds);
        let sizes = || Recorder::new(Scale::Count);
        Self {
            opened: Instant::now(),
            inserts: Count::default(),
            deletes: Count::default(),
            value_deletes: Count::default(),
            pairs_added: Count::default(),
            pairs_removed: Count::default(),
            commits: Count::default(),
            commits_failed: Count::default(),
            batch_sizes: sizes(),
            group_sizes: sizes(),
            commit_latency: [latency(), latency(), latency()],
            data_sync_latency: latency(),
            checkpoint_latency: latency(),
            checkpoint_bytes: Count::default(),
            checkpoints_failed: Count::default(),
            bulk_loads: Count::default(),
            bulk_pairs: Count::default(),
            splits: Count::default(),
            merges: Count::default(),
            doublings: Count::default(),
            halvings: Count::default(),
            promotions: Count::default(),
            demotions: Count::default(),
            recovered_operations: Count::default(),
        }
    }
}

impl Events {
    /// Counts an operation that was applied, with how many pairs it changed. The caller has the writer lock.
    pub(crate) fn note_operation(&self, operation: Operation, changed: u64) {
        let (kind, pairs) = match operation {
            Operation::Insert(..) => (&self.inserts, &self.pairs_added),
            Operation::DeleteValue(..) => (&self.value_deletes, &self.pairs_removed),
            Operation::DeleteKey(..) => (&self.deletes, &self.pairs_removed),
        };
        kind.add(1);
        pairs.add(changed);
    }

    /// The clock at the begin of a write, if the write is to be measured.
    pub(crate) fn start_of_write(&self, durability: Durability) -> Option<Instant> {
        let measured = durability == Durability::Immediate
            || self.commits.get().is_multiple_of(Metrics::SAMPLED_PART);
        measured.then(Instant::now)
    }

    /// Notes how long a write took that was answered with success.
    pub(crate) fn end_of_write(&self, durability: Durability, start: Option<Instant>) {
        if let Some(start) = start {
            self.note_latency(durability, start.elapsed());
        }
    }

    /// Notes how long a write took.
    pub(crate) fn note_latency(&self, durability: Durability, took: Duration) {
        let place = match durability {
            Durability::Immediate => 0,
            Durability::Interval(_) => 1,
            Durability::Buffered => 2,
        };
        self.commit_latency[place].record_latency(took);
    }

    /// All of it, with what others count.
    pub(crate) fn snapshot(&self, log: LogEvents, stats: Stats) -> Metrics {
        let [immediate, interval, buffered] = &self.commit_latency;
        Metrics {
            window: self.opened.elapsed(),
            reads: 0,
            operations: Operations {
                inserts: self.inserts.get(),
                deletes: self.deletes.get(),
                value_deletes: self.value_deletes.get(),
            },
            pairs_added: self.pairs_added.get(),
            pairs_removed: self.pairs_removed.get(),
            commits: self.commits.get(),
            commits_failed: self.commits_failed.get(),
            commit_latency: CommitLatency {
                immediate: immediate.snapshot(),
                interval: interval.snapshot(),
                buffered: buffered.snapshot(),
            },
            batch_sizes: self.batch_sizes.snapshot(),
            group_sizes: self.group_sizes.snapshot(),
            log_sync_latency: log.sync_latency,
            data_sync_latency: self.data_sync_latency.snapshot(),
            log_records: log.records,
            log_bytes: log.bytes,
            log_flushes: log.flushes,
            checkpoint_latency: self.checkpoint_latency.snapshot(),
            checkpoint_bytes: self.checkpoint_bytes.get(),
            checkpoints_failed: self.checkpoints_failed.get(),
            bulk_loads: self.bulk_loads.get(),
            bulk_pairs: self.bulk_pairs.get(),
            splits: self.splits.get(),
            merges: self.merges.get(),
            doublings: self.doublings.get(),
            halvings: self.halvings.get(),
            promotions: self.promotions.get(),
            demotions: self.demotions.get(),
            recovered_operations: self.recovered_operations.get(),
            stats,
        }
    }
}
