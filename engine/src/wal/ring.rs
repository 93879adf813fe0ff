//! Where records go in the log file: arithmetic only, no I/O.
//!
//! ```text
//!  not wrapped   START ..... tail ======= head ................ end ........ end_max
//!  wrapped       START ===== head ....... tail ================ end ........ end_max
//! ```
//!
//! Invariants, for offsets that are all multiples of [`RECORD_BYTES`]:
//! - `START <= tail < end`, `START <= head < end <= end_max`: the last slot of the file is free for a wrap
//!   record, unless the file grows first, so a reader that runs off the end knows that the file was cut.
//! - The records still needed lie in `tail..head`, or in `tail..end` and `START..head` when wrapped.
//! - When wrapped, `head < tail`: one slot stays free, so `head == tail` always means empty.
//! - The file grows only when not wrapped; so a wrap record that is still needed lies in the last slot.

use cidstore_core::layout::record::{RECORD_BYTES, RING_START};

/// Size of a record.
pub(super) const SLOT: u64 = RECORD_BYTES as u64;

/// What a group of records needs before it may be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// It fits.
    Fits,
    /// The file should grow first. If it cannot, the group fits all the same or not.
    Grow { fits_without: bool },
    /// It does not fit until records are released.
    Full,
}

/// Positions in the log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    end: u64,
    end_max: u64,
    tail: u64,
    head: u64,
    wrapped: bool,
}

impl Ring {
    /// An empty ring in a file that ends at `end` and may grow to `end_max`.
    pub(super) fn new(end: u64, end_max: u64) -> Self {
        let (tail, head) = (RING_START, RING_START);
        Self { end, end_max: end_max.max(end), tail, head, wrapped: false }
    }

    /// The ring as recovery found it: records from `tail` up to, not including, `head`.
    pub(super) fn resumed(end: u64, end_max: u64, tail: u64, head: u64) -> Self {
        Self { end, end_max: end_max.max(end), tail, head, wrapped: head < tail }
    }

    /// The same, told how many records lie in it. One that has wrapped did so before the end of its file if the file had
    /// become longer, and the disk then had no blocks for it: it ends there until it is not wrapped any more.
    pub(super) fn with_records(mut self, records: u64) -> Self {
        if self.wrapped {
            let before_the_wrap = records * SLOT - (self.head - RING_START);
            self.end = (self.tail + before_the_wrap).min(self.end);
        }
        self
    }

    pub(super) fn head(&self) -> u64 {
        self.head
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn end_max(&self) -> u64 {
        self.end_max
    }

    pub(super) fn set_end(&mut self, end: u64) {
        debug_assert!(!self.wrapped && end >= self.end && end <= self.end_max);
        self.end = end;
    }

    /// Slots of the ring at its largest.
    fn slots_max(&self) -> u64 {
        (self.end_max - RING_START) / SLOT
    }

    /// Most records that one group may have: what an empty ring is sure to take, wherever its head is.
    pub(super) fn records_max(&self) -> u64 {
        (self.slots_max() / 2).saturating_sub(2)
    }

    /// Bytes of records that are still needed.
    pub(super) fn used_bytes(&self) -> u64 {
        if self.wrapped {
            self.end - self.tail + self.head - RING_START
        } else {
            self.head - self.tail
        }
    }

    /// Records that fit before the ring would wrap or the file grow.
    pub(super) fn records_ahead(&self) -> u64 {
        if self.wrapped { 0 } else { self.slots_ahead(self.end) }
    }

    /// Where the file should end soon: when three quarters of it are behind the head and a wrap would not pay.
    pub(super) fn growth_ahead(&self) -> Option<u64> {
        let near_the_end = self.head - RING_START >= (self.end - RING_START) / 4 * 3;
        let due = !self.wrapped && near_the_end && !self.wrap_pays() && self.end < self.end_max;
        due.then(|| self.doubled(self.end))
    }

    /// Wrapping pays if it gains half a ring or more; a small file that wraps into a little free space would have to
    /// wait for a checkpoint soon, where growth is still possible.
    fn wrap_pays(&self) -> bool {
        self.slots_behind() * SLOT >= (self.end - RING_START) / 2
    }

    /// Where a file should end that takes so many records before it wraps, if it ends at `end` otherwise: no further than it may.
    pub(super) fn end_for(&self, records: u64, mut end: u64) -> u64 {
        while end < self.end_max && records > self.slots_ahead(end) {
            end = self.doubled(end);
        }
        end
    }

    /// The least end before which so many records fit.
    pub(super) fn end_needed(&self, records: u64) -> u64 {
        self.head + (records + 1) * SLOT
    }

    fn doubled(&self, end: u64) -> u64 {
        (RING_START + (end - RING_START) * 2).min(self.end_max)
    }

    /// Slots from the head to the end of the file, less the last.
    fn slots_ahead(&self, end: u64) -> u64 {
        (end - self.head) / SLOT - 1
    }

    /// Slots between the start of the ring and the tail, less the one that stays free.
    fn slots_behind(&self) -> u64 {
        ((self.tail - RING_START) / SLOT).saturating_sub(1)
    }

    /// Records that fit if the file ends at `end`.
    fn slots_free(&self, end: u64) -> u64 {
        if self.wrapped {
            (self.tail - self.head) / SLOT - 1
        } else {
            self.slots_ahead(end) + self.slots_behind()
        }
    }

    /// Bytes of records that fit before some must be released, growth included.
    #[cfg(test)]
    pub(super) fn free_bytes(&self) -> u64 {
        self.slots_free(self.end_max) * SLOT
    }

    /// What it takes to log `records` more.
    pub(super) fn plan(&self, records: u64) -> Plan {
        let fits = records <= self.slots_free(self.end);
        if self.wrapped || records <= self.slots_ahead(self.end) || (fits && self.wrap_pays()) {
            return if fits { Plan::Fits } else { Plan::Full };
        }
        let end = self.end_for(records, self.end);
        if end > self.end && records <= self.slots_free(end) {
            Plan::Grow { fits_without: fits }
        } else if fits {
            Plan::Fits
        } else {
            Plan::Full
        }
    }

    /// True if the next slot is the last of the file: it takes the wrap record.
    pub(super) fn at_last_slot(&self) -> bool {
        self.head + SLOT == self.end
    }

    /// True if the next slot may be written to, and the head go on behind it. Whoever has planned well need not ask; a log that
    /// was overwritten would be found only after a crash.
    pub(super) fn has_room(&self) -> bool {
        if self.wrapped {
            self.head + SLOT < self.tail
        } else {
            !self.at_last_slot() || self.tail > RING_START
        }
    }

    /// Goes on to the next slot, which has room; from the last one, to the start of the ring.
    pub(super) fn advance(&mut self) {
        debug_assert!(self.has_room());
        if self.at_last_slot() {
            self.head = RING_START;
            self.wrapped = true;
        } else {
            self.head += SLOT;
        }
    }

    /// Gives up the records before `offset`, a position that the head has had. False, and no change, if
    /// that is no place between tail and head.
    pub(super) fn release(&mut self, offset: u64) -> bool {
        let ahead = offset >= self.tail && offset < self.end;
        let behind = offset >= RING_START && offset <= self.head;
        if !offset.is_multiple_of(SLOT)
            || !(if self.wrapped { ahead || behind } else { ahead && behind })
        {
            return false;
        }
        self.wrapped = self.wrapped && ahead;
        self.tail = offset;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: u64 = 64 * SLOT;
    const END: u64 = RING_START + RING;

    fn advanced(ring: &mut Ring, records: u64) {
        for _ in 0..records {
            ring.advance();
        }
    }

    #[test]
    fn an_empty_ring_takes_records_max_wherever_its_head_is() {
        for head in 0..63 {
            let mut ring = Ring::new(END, END);
            advanced(&mut ring, head);
            assert!(ring.release(ring.head()));
            assert_eq!(ring.used_bytes(), 0);
            assert_eq!(ring.plan(ring.records_max()), Plan::Fits, "head {head}");
        }
    }

    #[test]
    fn the_head_never_reaches_the_tail() {
        let mut ring = Ring::new(END, END);
        advanced(&mut ring, 40);
        assert!(ring.release(RING_START + 30 * SLOT));
        // 23 ahead of the last slot, 29 of the 30 behind.
        assert_eq!(ring.plan(23 + 29), Plan::Fits);
        assert_eq!(ring.plan(23 + 30), Plan::Full);
        advanced(&mut ring, 23 + 1 + 29);
        assert_eq!(ring.head(), RING_START + 29 * SLOT);
        assert_eq!(ring.plan(1), Plan::Full);
        assert_eq!(ring.used_bytes(), 63 * SLOT);
        assert_eq!(ring.free_bytes(), 0);
    }

    #[test]
    fn grows_instead_of_wrapping_into_a_little_space() {
        let mut ring = Ring::new(END, RING_START + 3 * RING);
        advanced(&mut ring, 60);
        assert!(ring.release(RING_START + 10 * SLOT));
        assert_eq!(ring.plan(3), Plan::Fits);
        assert_eq!(ring.plan(4), Plan::Grow { fits_without: true });
        assert_eq!(ring.plan(20), Plan::Grow { fits_without: false });
        assert_eq!(ring.plan(100), Plan::Grow { fits_without: false });
        assert_eq!(ring.plan(200), Plan::Full);
        assert_eq!(ring.end_for(20, ring.end), RING_START + 2 * RING);
        assert_eq!(ring.end_for(100, ring.end), ring.end_max);
        assert!(ring.release(RING_START + 40 * SLOT));
        assert_eq!(ring.plan(4), Plan::Fits);
    }

    #[test]
    fn asks_for_growth_before_it_must() {
        let mut ring = Ring::new(END, RING_START + 3 * RING);
        advanced(&mut ring, 47);
        assert_eq!(ring.growth_ahead(), None, "not yet three quarters");
        advanced(&mut ring, 1);
        assert_eq!(ring.growth_ahead(), Some(RING_START + 2 * RING));
        let mut released = ring;
        assert!(released.release(RING_START + 40 * SLOT));
        assert_eq!(released.growth_ahead(), None, "a wrap pays");
        ring.set_end(RING_START + 2 * RING);
        advanced(&mut ring, 60);
        assert_eq!(ring.growth_ahead(), Some(RING_START + 3 * RING), "no further than it may");
        ring.set_end(RING_START + 3 * RING);
        advanced(&mut ring, 60);
        assert_eq!(ring.growth_ahead(), None, "as large as it may be");
    }

    #[test]
    fn releases_in_either_lap_but_not_outside() {
        let mut ring = Ring::new(END, END);
        advanced(&mut ring, 50);
        assert!(!ring.release(RING_START + 51 * SLOT));
        assert!(!ring.release(RING_START + 1));
        assert!(ring.release(RING_START + 40 * SLOT));
        assert!(!ring.release(RING_START + 39 * SLOT));
        advanced(&mut ring, 20);
        assert!(ring.wrapped);
        assert!(!ring.release(RING_START + 20 * SLOT));
        assert!(ring.release(RING_START + 60 * SLOT) && ring.wrapped);
        assert!(ring.release(RING_START + 2 * SLOT) && !ring.wrapped);
    }
}
