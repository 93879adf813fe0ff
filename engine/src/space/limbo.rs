//! Limbo: what has been replaced and waits until nobody can need it.
//!
//! Retired things gather in a batch. Sealing one marks the moment; when the [mark has passed](crate::pins), no reader that
//! was pinned then is left. What then still waits for a snapshot or for a superblock is *held* and looked at again when
//! those change.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cidstore_core::layout::entry::SetReference;

use crate::sync::pins::{Mark, Pins};

/// Retired things in a batch before it is sealed by itself.
const BATCH: usize = 4096;
/// Groups of writes between two looks at whether a batch has passed.
const GROUPS_PER_LOOK: u32 = 16;
/// What has passed is freed by writes in parts: one in so many of what waits, and [`PART_MIN`] more.
const TAKEN_PART: usize = 64;
/// Things that are freed together in any case: a few microseconds.
const PART_MIN: usize = 32;
/// Held things that a write looks at again.
const HELD_PART: usize = 64;

/// Something that was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retired {
    /// A bucket-space page, file or pool.
    BucketPage(u32),
    /// A value-space page, file or pool.
    ValuePage(u32),
    /// A number of the overflow table.
    OverflowNumber(u32),
    /// A number of the value table.
    ValueNumber(u32),
    /// An extent of a page of extents.
    Extent(SetReference),
}

/// When the thing was in use: generations `built` up to, not including, `retired`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) what: Retired,
    pub(crate) built: u64,
    pub(crate) retired: u64,
}

#[derive(Debug)]
struct Batch {
    things: Vec<Waiting>,
    mark: Mark,
    sealed: Instant,
}

/// Everything retired and not yet free. The writer's own.
#[derive(Debug)]
pub(crate) struct Limbo {
    pins: Arc<Pins>,
    open: Vec<Waiting>,
    sealed: VecDeque<Batch>,
    /// Of batches that have passed: what is still to be freed.
    passed: Vec<Waiting>,
    /// Those that were looked at longest ago first.
    held: VecDeque<Waiting>,
    /// So many of them are to be looked at again.
    to_look_at: usize,
    groups: u32,
    /// The last look took less than there may be.
    has_more: bool,
}

impl Limbo {
    /// Nothing retired yet. `pins` are those of the store's readers.
    pub(crate) fn new(pins: Arc<Pins>) -> Self {
        Self {
            pins,
            open: Vec::new(),
            sealed: VecDeque::new(),
            passed: Vec::new(),
            held: VecDeque::new(),
            to_look_at: 0,
            groups: 0,
            has_more: false,
        }
    }

    /// Adds a thing that no table names any more.
    pub(crate) fn retire(&mut self, what: Retired, built: u64, retired: u64) {
        self.open.push(Waiting { what, built, retired });
        if self.open.len() >= BATCH {
            self.seal();
        }
    }

    /// Puts a thing back that no reader holds any more but waits for a snapshot or superblock.
    pub(crate) fn hold(&mut self, thing: Waiting) {
        self.held.push_back(thing);
    }

    /// Closes the open batch: one mark for all of it.
    pub(crate) fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        self.sealed.push_back(Batch {
            things: std::mem::take(&mut self.open),
            mark: self.pins.mark(),
            sealed: Instant::now(),
        });
    }

    /// True now and then while sealed batches wait, and while the last look has left some: a writer then looks whether they
    /// have passed.
    pub(crate) fn is_due(&mut self) -> bool {
        self.groups = self.groups.wrapping_add(1);
        self.has_sealed() && (self.has_more || self.groups.is_multiple_of(GROUPS_PER_LOOK))
    }

    /// True if something waits for readers to go, or to be taken now that they are gone.
    pub(crate) fn has_sealed(&self) -> bool {
        !self.sealed.is_empty() || !self.passed.is_empty()
    }

    /// How much a write takes at once: so little that it is not held up, so much that the list gets shorter however fast it
    /// grows.
    pub(crate) fn part(&self) -> usize {
        (self.sealed.len() * BATCH + self.passed.len()) / TAKEN_PART + PART_MIN
    }

    /// At most so many of what no reader can hold any more, and whether there may be more of it. The caller frees or
    /// [holds](Self::hold) each.
    pub(crate) fn take_passed(&mut self, count_max: usize) -> (Vec<Waiting>, bool) {
        // A batch that has not passed keeps those behind it from passing: they were marked later.
        while self.passed.len() < count_max
            && let Some(batch) = self.sealed.front()
            && self.pins.has_passed(batch.mark)
        {
            self.passed.extend(self.sealed.pop_front().into_iter().flat_map(|batch| batch.things));
        }
        let is_full = self.passed.len() >= count_max;
        let things = self.passed.split_off(self.passed.len().saturating_sub(count_max));
        self.has_more = is_full && self.has_sealed();
        (things, self.has_more)
    }

    /// What was held, to be looked at again after a snapshot or a superblock went.
    pub(crate) fn take_held(&mut self) -> Vec<Waiting> {
        self.to_look_at = 0;
        std::mem::take(&mut self.held).into()
    }

    /// A snapshot went: what is held now is to be looked at again, by [`take_some_held`](Self::take_some_held).
    pub(crate) fn snapshot_went(&mut self) {
        self.to_look_at = self.held.len();
    }

    /// The next few of what is held and to be looked at again: so many that a snapshot for each write leaves no more behind than
    /// that write retires, so few that no write is held up.
    pub(crate) fn take_some_held(&mut self) -> Vec<Waiting> {
        let count = self.to_look_at.min(HELD_PART);
        self.to_look_at -= count;
        self.held.drain(..count).collect()
    }

    /// How long the oldest sealed batch has waited: a pin at least this old is still held, or nobody has
    /// looked since.
    pub(crate) fn oldest_wait(&self) -> Option<Duration> {
        self.sealed.front().map(|batch| batch.sealed.elapsed())
    }

    /// Things that wait, pinned or held.
    pub(crate) fn len(&self) -> usize {
        let sealed: usize = self.sealed.iter().map(|batch| batch.things.len()).sum();
        self.open.len() + sealed + self.passed.len() + self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_back_while_a_reader_is_pinned() {
        let pins = Pins::new();
        let mut limbo = Limbo::new(Arc::clone(&pins));
        let pin = pins.pin();
        limbo.retire(Retired::BucketPage(5), 1, 2);
        limbo.seal();
        for _ in 0..100 {
            assert!(limbo.take_passed(9).0.is_empty());
        }
        drop(pin);
        assert_eq!(limbo.take_passed(9).0[0].what, Retired::BucketPage(5));
    }

    #[test]
    fn some_at_a_time_are_all_in_the_end() {
        let mut limbo = Limbo::new(Pins::new());
        for page in 0..40 {
            limbo.retire(Retired::BucketPage(page), 1, 2);
            if page % 3 == 0 {
                limbo.seal();
            }
        }
        let mut pages = Vec::new();
        loop {
            let waiting = limbo.len();
            let (things, more) = limbo.take_passed(7);
            assert!(things.len() == 7 || !more, "{} at once", things.len());
            assert_eq!(limbo.len(), waiting - things.len());
            pages.extend(things.iter().map(|it| it.what));
            assert_eq!(more, limbo.has_sealed());
            if !more {
                break;
            }
            assert!(limbo.is_due(), "the next group looks again");
        }
        assert_eq!(pages.len(), 40);
        assert!((0..40).all(|page| pages.contains(&Retired::BucketPage(page))));
    }

    #[test]
    fn a_reader_that_came_later_holds_nothing_back() {
        let pins = Pins::new();
        let mut limbo = Limbo::new(Arc::clone(&pins));
        limbo.retire(Retired::BucketPage(5), 1, 2);
        limbo.seal();
        let _pin = pins.pin();
        limbo.retire(Retired::BucketPage(6), 1, 2);
        limbo.seal();
        let passed: Vec<Retired> = limbo.take_passed(9).0.iter().map(|it| it.what).collect();
        assert_eq!(passed, [Retired::BucketPage(5)]);
    }
}
