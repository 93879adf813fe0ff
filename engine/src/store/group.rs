//! A group of writes that somebody has gathered: one turn as leader, and no sync.

use std::sync::atomic::Ordering;

use super::commit::{Outcome, Patience, Write};
use super::engine::Engine;
use crate::error::{Error, Result};
use crate::options::Durability;

impl Engine {
    /// As [`sync_log`](Self::sync_log), for what readers see now, and without the writer lock.
    pub(crate) fn sync_applied(&self) -> Result<u64> {
        self.check_writable()?;
        let Some(wal) = &self.wal else { return Err(Error::ReadOnly) };
        // Acquire: a number that is seen was stored after its record was brought to the file.
        self.sync_to(wal, self.shared.counters.applied_lsn.load(Ordering::Acquire))
    }

    /// Logs and applies writes in their order, each for itself, and tells `answer` the outcome of each.
    ///
    /// Nothing is synced. With `may_wait` all are answered when it returns. Without, it stops where it would have to
    /// wait, for the present leader or for a checkpoint, and tells how many were answered.
    pub(crate) fn commit_group<'a>(
        &self,
        writes: impl Iterator<Item = &'a Write>,
        may_wait: bool,
        answer: impl FnMut(usize, Result<Outcome>),
    ) -> usize {
        let group: Vec<(&Write, Durability)> =
            writes.map(|write| (write, Durability::Buffered)).collect();
        self.step_back();
        let state = if may_wait { Some(self.writer()) } else { self.try_writer() };
        let Some(state) = state else { return 0 };
        let patience = if may_wait { Patience::InTurn } else { Patience::None };
        let (state, answered) = self.lead(state, &group, patience, answer);
        drop(state);
        answered
    }
}
