//! Limbo: what has been replaced and waits until nobody can need it.
//!
//! Retired things gather in a batch. A sealed batch puts one deferral into the epoch collector; when that has
//! run, no reader that was pinned at sealing time is left. What then still waits for a snapshot or for a
//! superblock is *held* and looked at again when those change.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cidstore_core::layout::entry::SetReference;

use crate::sync::{AtomicBool, epoch};

/// Retired things in a batch before it is sealed by itself.
const BATCH: usize = 4096;
/// Groups of writes between two looks at whether a batch has passed.
const GROUPS_PER_LOOK: u32 = 16;

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
    passed: Arc<AtomicBool>,
    sealed: Instant,
}

/// Everything retired and not yet free. The writer's own.
#[derive(Debug, Default)]
pub(crate) struct Limbo {
    open: Vec<Waiting>,
    sealed: VecDeque<Batch>,
    held: Vec<Waiting>,
    groups: u32,
}

impl Limbo {
    /// Adds a thing that no table names any more.
    pub(crate) fn retire(&mut self, what: Retired, built: u64, retired: u64) {
        self.open.push(Waiting { what, built, retired });
        if self.open.len() >= BATCH {
            self.seal();
        }
    }

    /// Puts a thing back that has passed its epoch but waits for a snapshot or superblock.
    pub(crate) fn hold(&mut self, thing: Waiting) {
        self.held.push(thing);
    }

    /// Closes the open batch: one deferral for all of it.
    pub(crate) fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let passed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&passed);
        let guard = epoch::pin();
        // Release: pairs with the Acquire in `take_passed`. What pinned readers did before they unpinned
        // happens before this runs, by the collector's own promise.
        guard.defer(move || flag.store(true, Ordering::Release));
        guard.flush();
        self.sealed.push_back(Batch {
            things: std::mem::take(&mut self.open),
            passed,
            sealed: Instant::now(),
        });
    }

    /// True now and then while sealed batches wait: a writer then looks whether they have passed.
    pub(crate) fn is_due(&mut self) -> bool {
        self.groups = self.groups.wrapping_add(1);
        self.has_sealed() && self.groups.is_multiple_of(GROUPS_PER_LOOK)
    }

    /// True if a sealed batch waits for readers to go.
    pub(crate) fn has_sealed(&self) -> bool {
        !self.sealed.is_empty()
    }

    /// What no reader can hold any more. The caller frees or [holds](Self::hold) each.
    pub(crate) fn take_passed(&mut self) -> Vec<Waiting> {
        if !self.sealed.is_empty() {
            // Helps the collector along: without traffic nobody else would.
            epoch::pin().flush();
        }
        let mut things = Vec::new();
        while let Some(batch) = self.sealed.pop_front() {
            if !batch.passed.load(Ordering::Acquire) {
                self.sealed.push_front(batch);
                break;
            }
            things.extend(batch.things);
        }
        things
    }

    /// What was held, to be looked at again after a snapshot or a superblock went.
    pub(crate) fn take_held(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut self.held)
    }

    /// How long the oldest sealed batch has waited: a pin at least this old is still held, or nobody has
    /// looked since.
    pub(crate) fn oldest_wait(&self) -> Option<Duration> {
        self.sealed.front().map(|batch| batch.sealed.elapsed())
    }

    /// Things that wait, pinned or held.
    pub(crate) fn len(&self) -> usize {
        let sealed: usize = self.sealed.iter().map(|batch| batch.things.len()).sum();
        self.open.len() + sealed + self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_back_while_a_reader_is_pinned() {
        let mut limbo = Limbo::default();
        let guard = epoch::pin();
        limbo.retire(Retired::BucketPage(5), 1, 2);
        limbo.seal();
        for _ in 0..100 {
            assert!(limbo.take_passed().is_empty());
        }
        drop(guard);
        let mut passed = Vec::new();
        for _ in 0..10_000 {
            passed.extend(limbo.take_passed());
            if !passed.is_empty() {
                break;
            }
            std::thread::yield_now();
        }
        assert_eq!(passed[0].what, Retired::BucketPage(5));
    }
}
