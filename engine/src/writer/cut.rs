//! Cuts: the end of a generation, and what a checkpoint must write for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cidstore_core::layout::table::{Space, TableKind};

use super::apply::Writer;
use super::pages::Pages;
use crate::space::limbo::Retired;
use crate::table::FrozenTables;

/// Pages of each space that are settled at once, within a microsecond or two.
const SETTLED_TOGETHER: usize = 64;

/// A pool page that a checkpoint writes, and whose page it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CutPage {
    /// The pool page.
    pub(crate) page: u32,
    /// Overflow or value number; 0 for a page of the directory.
    pub(crate) owner: u32,
}

/// What changed between two checkpoints, as of the end of a generation.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) generation: u64,
    /// All log records up to this one are in.
    pub(crate) lsn: u64,
    /// Where in the log the next record lies.
    pub(crate) wal_offset: u64,
    pub(crate) depth: u32,
    pub(crate) keys: u64,
    pub(crate) values: u64,
    /// Buckets, without overflow pages.
    pub(crate) buckets: u64,
    /// The pages that a checkpoint must write, once the cut is [settled](Writer::settle_some).
    pub(crate) bucket_pages: Vec<CutPage>,
    pub(crate) value_pages: Vec<CutPage>,
    /// Pages of which it is not settled yet, buckets and values.
    unsettled: [std::vec::IntoIter<u32>; 2],
    /// How many of all were needed at the cut.
    needed: usize,
    pub(crate) overflow_given_up: Vec<u32>,
    pub(crate) values_given_up: Vec<u32>,
    pub(crate) overflow_end: u32,
    pub(crate) value_end: u32,
}

impl Cut {
    /// True if no page and no number changed since the cut before.
    pub(crate) fn is_empty(&self) -> bool {
        self.bucket_pages.is_empty()
            && self.value_pages.is_empty()
            && self.overflow_given_up.is_empty()
            && self.values_given_up.is_empty()
    }
}

/// A page that a checkpoint has written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrittenPage {
    /// The pool page it was written from.
    pub(crate) from: u32,
    /// The file page it lies in now.
    pub(crate) to: u32,
    /// Overflow or value number; 0 for a page of the directory.
    pub(crate) owner: u32,
    /// CRC-32C of the page, bound to its place.
    pub(crate) checksum: u32,
}

impl Writer {
    /// Ends the generation. The caller holds the writer lock between two groups, and has the cut settled before it uses it.
    pub(crate) fn cut(&mut self, lsn: u64, wal_offset: u64) -> Cut {
        let shared = Arc::clone(&self.pages.shared);
        let pages = &mut self.pages;
        let generation = pages.end_generation();
        pages.checkpoint = Some(generation);
        shared.activity.reset();
        let (buckets, bucket_count) = pages.bucket_pool.cut();
        let (values, value_count) = pages.value_pool.cut();
        let unwritten = &shared.counters.cut_unwritten;
        unwritten[0].store(bucket_count as u64, Ordering::Relaxed);
        unwritten[1].store(value_count as u64, Ordering::Relaxed);
        Cut {
            generation,
            lsn,
            wal_offset,
            depth: shared.tables.depth(),
            keys: shared.counters.keys.load(Ordering::Relaxed),
            values: shared.counters.values.load(Ordering::Relaxed),
            buckets: pages.bucket_count(),
            bucket_pages: Vec::new(),
            value_pages: Vec::new(),
            unsettled: [buckets, values].map(Vec::into_iter),
            needed: bucket_count + value_count,
            overflow_given_up: pages.overflow_numbers.cut(),
            values_given_up: pages.value_numbers.cut(),
            overflow_end: pages.overflow_numbers.end(),
            value_end: pages.value_numbers.end(),
        }
    }

    /// Finds out which of the next pages of a cut a checkpoint must write: not those that were replaced before the cut. Answers
    /// whether there may be more. All it looks at stays as it is until the checkpoint is over.
    pub(crate) fn settle_some(&self, cut: &mut Cut) -> bool {
        let pools = [&self.pages.bucket_pool, &self.pages.value_pool];
        let settled = [&mut cut.bucket_pages, &mut cut.value_pages];
        for ((pool, pages), unsettled) in pools.into_iter().zip(settled).zip(&mut cut.unsettled) {
            let some = unsettled.take(SETTLED_TOGETHER).filter(|&page| pool.is_in_cut(page));
            pages.extend(some.map(|page| CutPage { page, owner: pool.owner(page) }));
        }
        let is_more = cut.unsettled.iter().any(|pages| pages.len() > 0);
        debug_assert!(is_more || cut.bucket_pages.len() + cut.value_pages.len() == cut.needed);
        is_more
    }

    /// Takes a cut back whose checkpoint could not be written for want of space.
    pub(crate) fn restore_cut(&mut self, cut: Cut) {
        let pages = &mut self.pages;
        pages.checkpoint = None;
        for unwritten in &pages.shared.counters.cut_unwritten {
            unwritten.store(0, Ordering::Relaxed);
        }
        pages.bucket_pool.restore_cut(cut.bucket_pages.iter().map(|page| page.page).collect());
        pages.value_pool.restore_cut(cut.value_pages.iter().map(|page| page.page).collect());
        pages.overflow_numbers.restore_cut(cut.overflow_given_up);
        pages.value_numbers.restore_cut(cut.values_given_up);
    }

    /// Ends the generation for a snapshot.
    pub(crate) fn freeze(&mut self) -> Arc<FrozenTables> {
        let shared = Arc::clone(&self.pages.shared);
        let generation = self.pages.end_generation();
        let ends = [self.pages.overflow_numbers.end(), self.pages.value_numbers.end()];
        self.pages.tables.freeze(&shared.tables, generation, ends)
    }
}

impl Pages {
    /// Lets the tables name the file's copy of a page that a checkpoint wrote.
    pub(crate) fn swing_written_bucket(&mut self, written: &WrittenPage) {
        self.shared.note_checksum(Space::Buckets, written.to, written.checksum);
        let named = if written.owner == 0 {
            self.swing_bucket(written.from, written.to)
        } else {
            let live = &self.shared.tables;
            self.tables.swing(live, TableKind::Overflow, written.owner, written.from, written.to)
        };
        // The slot of a number that was given up meanwhile names a page that is retired already.
        let named = named && self.bucket_pool.is_live(written.from);
        let now = self.current_generation();
        if named {
            self.bucket_pool.retire(written.from);
            // Equal generations: no snapshot needs the pool page, its slots were swung as well.
            self.limbo.retire(Retired::BucketPage(written.from), now, now);
        } else {
            // Replaced while it was being written: only this checkpoint and older snapshots have it.
            self.limbo.retire(Retired::BucketPage(written.to), 0, now);
        }
    }

    /// As [`swing_written_bucket`](Self::swing_written_bucket), for a value page.
    pub(crate) fn swing_written_value(&mut self, written: &WrittenPage) {
        let WrittenPage { from, to, owner, checksum } = *written;
        self.shared.note_checksum(Space::Values, to, checksum);
        let live = &self.shared.tables;
        let named = self.tables.swing(live, TableKind::Values, owner, from, to);
        let named = named && self.value_pool.is_live(from);
        let now = self.current_generation();
        if named {
            self.value_pool.retire(from);
            self.limbo.retire(Retired::ValuePage(from), now, now);
        } else {
            self.limbo.retire(Retired::ValuePage(to), 0, now);
        }
    }
}
