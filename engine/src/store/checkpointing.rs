//! Running a checkpoint beside the writer: the steps that need the writer lock, and in what order.

use std::sync::atomic::Ordering;
use std::time::Instant;

use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::superblock::{FLAG_CLEAN, Superblock};

use super::engine::{Engine, WriterState};
use crate::checkpoint::{Checkpointer, Written};
use crate::error::{Error, Result};
use crate::writer::cut::Cut;

/// Pages that are swung, or things that are freed, before the next look at how long the writer lock has been held.
const STEP: usize = 8;

impl Engine {
    /// Brings everything that is applied now to the data file. Waits for a checkpoint that runs already.
    ///
    /// # Errors
    /// `NoSpace`: nothing was written, the store stays healthy. Any other failure poisons the store.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        let mut checkpointer = self.checkpointer();
        self.checkpoint_with(&mut checkpointer, false)
    }

    /// As [`checkpoint`](Self::checkpoint), for a caller that has the lock; `clean` marks the store as closed.
    pub(crate) fn checkpoint_with(&self, to: &mut Checkpointer, clean: bool) -> Result<()> {
        self.check_writable()?;
        self.checkpoint_unchecked(to, clean)
    }

    /// As [`checkpoint_with`](Self::checkpoint_with), also while the store is being closed.
    pub(crate) fn checkpoint_unchecked(&self, to: &mut Checkpointer, clean: bool) -> Result<()> {
        let cut = self.cut_under_lock(&mut self.writer())?;
        match self.write_cut(to, cut, clean) {
            Err(error @ Error::NoSpace { .. }) => {
                Err(self.writer().writer.pages.with_holder(error))
            }
            Err(error) => {
                self.shared.mark_failed(&error);
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Ends the generation between two groups of writes.
    pub(crate) fn cut_under_lock(&self, state: &mut WriterState) -> Result<Cut> {
        // Under the lock: a write that failed while this waited for it has left pages half changed, which must not reach the file.
        self.shared.check_healthy()?;
        let Some(log) = &state.log else { return Err(Error::ReadOnly) };
        let (lsn, offset) = (log.last_lsn(), log.position());
        state.cut_lsn = lsn;
        Ok(state.writer.cut(lsn, offset))
    }

    /// Writes a cut to the file and lets the tables name it.
    pub(crate) fn write_cut(&self, to: &mut Checkpointer, mut cut: Cut, clean: bool) -> Result<()> {
        self.in_short_holds(|state| state.writer.settle_some(&mut cut));
        let span = tracing::info_span!("checkpoint", generation = cut.generation, lsn = cut.lsn);
        let _entered = span.enter();
        let start = Instant::now();
        let events = &self.shared.events;
        let written = self.write_cut_pages(to, cut, clean).inspect_err(|_| {
            events.checkpoints_failed.add(1);
        })?;
        self.finish(to, &written);
        self.shared.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
        let pages = (written.buckets.len() + written.values.len()) as u64;
        events.checkpoint_bytes.add(pages * PAGE_BYTES as u64);
        events.checkpoint_latency.record_latency(start.elapsed());
        tracing::debug!(
            bucket_pages = written.buckets.len(),
            value_pages = written.values.len(),
            "checkpoint"
        );
        Ok(())
    }

    /// Writes the pages of a cut, and superblocks that name them.
    fn write_cut_pages(&self, to: &mut Checkpointer, cut: Cut, clean: bool) -> Result<Written> {
        // The log up to the cut must be on disk before a superblock makes recovery begin behind it.
        if let Some(wal) = &self.wal {
            self.shared.durable_waiters.wake_up_to(wal.sync(cut.lsn)?);
        }
        if let Err(error) = to.reserve(&cut) {
            self.writer().writer.restore_cut(cut);
            return Err(error);
        }
        // From here on nothing can be taken back, and all room was made sure of: what finds none after all ends the store's life.
        self.write_reserved(to, &cut, clean).map_err(|error| match error {
            Error::NoSpace { path, detail } => {
                let source = std::io::Error::other(detail);
                Error::Io { path, action: "allocate", source }
            }
            error => error,
        })
    }

    /// Writes the pages of a cut that have places in the file, and both superblocks.
    fn write_reserved(&self, to: &mut Checkpointer, cut: &Cut, clean: bool) -> Result<Written> {
        let written = to.write_pages(cut)?;
        to.bucket_count = cut.buckets;
        let mut next = to.superblock_for(cut, to.newest.wal_salt);
        if clean {
            next.flags |= FLAG_CLEAN;
        }
        if cut.is_empty() && cut.lsn == to.newest.lsn && !to.has_changed_tables() {
            // Nothing to write but the flags: the tables on disk are those of the cut.
            let Superblock { generation, flags, wal_offset, .. } = next;
            to.rewrite(|superblock| {
                (superblock.generation, superblock.flags) = (generation, flags);
                superblock.wal_offset = wal_offset;
            })?;
        } else {
            to.write_superblock(next)?;
        }
        // Both slots tell the same state from here on: losing one of them loses nothing, and what only the
        // state before needed is free at once instead of one checkpoint later.
        to.rewrite(|_| ())?;
        Ok(written)
    }

    /// Lets the tables name the written pages, and frees what the superblocks no longer need.
    fn finish(&self, to: &Checkpointer, written: &Written) {
        let mut buckets = written.buckets.chunks(STEP);
        self.in_short_holds(|state| {
            let pages = buckets.next().unwrap_or_default();
            pages.iter().for_each(|page| state.writer.pages.swing_written_bucket(page));
            !pages.is_empty()
        });
        let mut values = written.values.chunks(STEP);
        self.in_short_holds(|state| {
            let pages = values.next().unwrap_or_default();
            pages.iter().for_each(|page| state.writer.pages.swing_written_value(page));
            !pages.is_empty()
        });
        let held = {
            let mut state = self.turns.lock_shortly();
            if let Some(log) = &mut state.log {
                let released = log.release_keeping(to.older.wal_offset, &self.feeds.places());
                debug_assert!(released, "the older superblock's cut lies outside the log");
            }
            let pages = &mut state.writer.pages;
            pages.checkpoint = None;
            pages.superblocks.0 = [to.older.generation, to.newest.generation];
            pages.limbo.seal();
            pages.take_held()
        };
        let mut held = held.chunks(STEP);
        self.in_short_holds(|state| {
            let things = held.next().unwrap_or_default();
            state.writer.free(things);
            !things.is_empty()
        });
        self.in_short_holds(|state| state.writer.collect_some(STEP));
        self.trim_pools();
    }

    /// Gives memory of pool pages back that was not needed since the last call. It is sorted and given back without the
    /// writer lock.
    pub(crate) fn trim_pools(&self) {
        let regions = &self.shared.regions;
        let begun = self.turns.lock_shortly().writer.pages.bucket_pool.begin_trim();
        if let Some(mut trim) = begun {
            trim.discard(|first, count| regions.buckets.discard_pool(first, count));
            self.turns.lock_shortly().writer.pages.bucket_pool.end_trim(trim);
        }
        let begun = self.turns.lock_shortly().writer.pages.value_pool.begin_trim();
        if let Some(mut trim) = begun {
            trim.discard(|first, count| regions.values.discard_pool(first, count));
            self.turns.lock_shortly().writer.pages.value_pool.end_trim(trim);
        }
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use crate::error::Error;
    use crate::{Durability, Store};

    /// The write that it waits for leaves half of a batch in the pages.
    #[test]
    fn a_checkpoint_brings_nothing_of_a_write_that_failed_to_the_file() {
        let folder = crate::scratch::in_memory();
        let open = || {
            let options = Store::options().durability(Durability::Buffered);
            options.open(folder.path().join("data.h5")).unwrap()
        };
        let store = open();
        let engine = store.engine();
        let mut state = engine.writer();
        std::thread::scope(|scope| {
            let checkpoint = scope.spawn(|| engine.checkpoint());
            while !engine.is_contended() {
                std::thread::yield_now();
            }
            let half = crate::writer::apply::Operation::Insert(1.into(), 2.into());
            state.writer.apply(half).unwrap();
            engine.shared.mark_failed(&Error::Closed);
            drop(state);
            assert!(matches!(checkpoint.join().unwrap(), Err(Error::Failed { .. })));
        });
        drop(store);
        assert!(open().is_empty());
    }
}
