//! The log's growth: ahead of need and without the writer lock, or in haste.
//!
//! A thread of the store's own begins a growth when three quarters of the file are used, writes zeros, syncs them, and tells when all is
//! durable. From then on the ring has the new part, and nothing is special about it.
//!
//! A write that needs the new part earlier does not wait for the disk, which may take seconds if it is kept busy. It takes what zeros there
//! are, or writes the next piece itself, and goes on there. Then a power cut may leave the file as long as it was before, though records
//! went on behind that end (none of them durable: a sync of records makes the length durable as well). So that recovery can tell this from
//! a log that somebody has cut, the last slot before such an end gets a Grow record: where the file ends behind one, so does the log.
//! What can take a busy disk long even so is to find blocks for a longer file. They are reserved ahead, from the first record on, without
//! making the file longer: for four times as much as there is.
//!
//! The length changes in one step ([`DiskFile::extend`](crate::io::DiskFile::extend)), so these are the only ends that there can be.

use std::sync::Arc;

use cidstore_core::layout::record::RING_START;

use super::append::Appender;
use super::file::Wal;
use super::ring::SLOT;
use crate::error::Result;

/// What the one who appends knows of the file's growth.
#[derive(Debug, Default)]
pub(super) struct LogGrowth {
    /// Where the file ends or soon will, while the ring ends before that. It does not wrap then.
    goal: Option<u64>,
    /// Where a power cut may end the file, though records may go on behind.
    cuts: Vec<u64>,
    /// Somebody carries a growth out.
    is_carried_out: bool,
    /// There was no space when that was last tried.
    is_refused: bool,
    /// Blocks were asked for up to here.
    reserved: u64,
}

impl LogGrowth {
    /// True if the ring ends before the file does, or soon will.
    pub(super) fn is_going_on(&self) -> bool {
        self.goal.is_some()
    }

    /// How many slots Grow records may take on the way once round the ring.
    pub(super) fn marks(&self) -> u64 {
        self.cuts.len() as u64
    }

    /// True if this slot is for one.
    pub(super) fn is_mark_due(&self, head: u64) -> bool {
        self.cuts.contains(&(head + SLOT))
    }

    /// True if all that the file has grown by is durable.
    pub(super) fn is_durable(&self) -> bool {
        self.cuts.is_empty()
    }

    /// From now on the file may end at `goal`. The ring ends at `end`.
    fn aim(&mut self, end: u64, goal: u64) {
        let before = self.goal.unwrap_or(end);
        if goal > before {
            self.goal = Some(goal);
            if !self.cuts.contains(&before) {
                self.cuts.push(before);
            }
        }
    }
}

/// Blocks are reserved for so many times the length of the ring, and for so many bytes at least.
const RESERVED_TIMES: u64 = 4;
const RESERVED_BYTES_MIN: u64 = 16 << 20;

/// Blocks to be reserved for the log, without the writer lock.
#[derive(Debug)]
#[must_use]
pub(crate) struct Reservation {
    wal: Arc<Wal>,
    start: u64,
    end: u64,
}

impl Reservation {
    /// Has the disk reserve them, if it has enough. Takes as long as the disk takes to find them.
    pub(crate) fn carry_out(&self) {
        self.wal.reserve(self.start, self.end);
    }
}

/// A growth of the log that is carried out without the writer lock.
#[derive(Debug)]
#[must_use]
pub(crate) struct Growth {
    wal: Arc<Wal>,
    start: u64,
    end: u64,
}

impl Growth {
    /// Makes the file longer, and that durable. Takes as long as writing so much takes. Answers where it ends.
    ///
    /// # Errors
    /// As [`Appender::end_growth`], which is to be told.
    pub(crate) fn carry_out(&self) -> Result<u64> {
        self.wal.grow(self.start, self.end)
    }
}

impl Appender {
    /// Where blocks should be reserved up to.
    fn reserve_wanted(&self) -> u64 {
        if self.is_unused() {
            return 0;
        }
        let bytes = ((self.ring.end() - RING_START) * RESERVED_TIMES).max(RESERVED_BYTES_MIN);
        (RING_START + bytes).min(self.ring.end_max())
    }

    /// True if [`begin_reservation`](Self::begin_reservation) has something to do.
    pub(crate) fn is_reservation_due(&self) -> bool {
        self.growth.reserved < self.reserve_wanted()
    }

    /// Begins to reserve blocks for what the file will need. `None` if there are enough.
    pub(crate) fn begin_reservation(&mut self) -> Option<Reservation> {
        let (start, end) = (self.growth.goal.unwrap_or(self.ring.end()), self.reserve_wanted());
        let is_due = self.is_reservation_due();
        self.growth.reserved = self.growth.reserved.max(end);
        is_due.then(|| Reservation { wal: Arc::clone(&self.wal), start, end })
    }

    /// True if [`begin_growth`](Self::begin_growth) has something to do.
    pub(crate) fn is_growth_due(&self) -> bool {
        let LogGrowth { is_carried_out, is_refused, .. } = self.growth;
        let is_due = !self.growth.is_durable() || self.ring.growth_ahead().is_some();
        is_due && !is_carried_out && !is_refused
    }

    /// Begins to grow the log before it must, or to make durable what writes in haste have grown it by: the answer is to be carried
    /// out without the writer lock, and told to [`end_growth`](Self::end_growth). `None` if no growth is due.
    pub(crate) fn begin_growth(&mut self) -> Option<Growth> {
        if !self.is_growth_due() {
            return None;
        }
        let start = self.ring.end();
        let end = self.growth.goal.or_else(|| self.ring.growth_ahead()).unwrap_or(start);
        self.growth.aim(start, end);
        self.growth.is_carried_out = true;
        Some(Growth { wal: Arc::clone(&self.wal), start, end })
    }

    /// Ends what [`begin_growth`](Self::begin_growth) began.
    ///
    /// # Errors
    /// [`NoSpace`](crate::Error::NoSpace): not tried again, but when there is no other way. [`Io`](crate::Error::Io): the log has failed.
    pub(crate) fn end_growth(&mut self, made: Result<u64>) -> Result<()> {
        self.growth.is_carried_out = false;
        self.growth.is_refused = made.is_err();
        let durable = self.adopt(made)?;
        self.growth.cuts.retain(|cut| *cut >= durable);
        Ok(())
    }

    /// Makes what the log has grown by durable, before nobody knows of it any more, and gives back what is reserved.
    ///
    /// # Errors
    /// [`Io`](crate::Error::Io): the log has failed.
    pub(crate) fn settle_growth(&mut self) -> Result<()> {
        if !self.growth.is_durable() {
            self.wal.sync_all()?;
            self.growth.cuts.clear();
        }
        if std::mem::take(&mut self.growth.reserved) > 0 {
            self.wal.give_reserve_back()?;
        }
        Ok(())
    }

    /// Grows the file in haste, until so many records, Grow records included, fit before the ring's end, or as far as it may.
    ///
    /// # Errors
    /// [`NoSpace`](crate::Error::NoSpace), [`Io`](crate::Error::Io).
    pub(super) fn grow_for(&mut self, records: u64) -> Result<()> {
        let start = self.ring.end();
        let goal = self.ring.end_for(records, self.growth.goal.unwrap_or(start));
        let grown = self.wal.grow_hastily(start, self.ring.end_needed(records), goal);
        if grown.is_ok() {
            self.growth.aim(start, goal);
            self.growth.is_refused = false;
        }
        self.adopt(grown).map(drop)
    }

    /// Lets the ring end where the file was made ready to, if that is further than it does. If that went wrong it stays
    /// as it is, and may wrap there.
    fn adopt(&mut self, made: Result<u64>) -> Result<u64> {
        let Some(goal) = self.growth.goal else { return made };
        let end = made.inspect_err(|_| self.growth.goal = None)?;
        if end > self.ring.end() {
            self.map.set_usable(end);
            self.ring.set_end(end);
        }
        if end >= goal {
            self.growth.goal = None;
        }
        Ok(end)
    }
}
