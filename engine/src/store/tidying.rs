//! Pieces of maintenance, each under one hold of the writer lock: what `maintenance` does for a caller at once and
//! `upkeep` does bit by bit in the background.

use std::sync::atomic::Ordering;

use cidstore_core::E;
use cidstore_core::layout::bucket;
use cidstore_core::layout::entry::SpillPointer;
use cidstore_core::layout::table::Space;
use cidstore_core::protocol::content::Content;

use super::engine::{Engine, WriterState};
use crate::error::Result;
use crate::valueset::ValuePages;

/// A set is rewritten when more than one in this many of its positions is a tombstone.
pub(crate) const TOMBSTONE_PART: u64 = 4;
/// A page of extents is emptied when at most one in this many of its extents is in use.
pub(crate) const SPARSE_PART: u32 = 4;
/// A bucket is sorted when more than one in this many of its entries is out of order.
pub(crate) const UNSORTED_PART: u32 = 4;
/// Sets above this are compacted in steps.
pub(crate) const LARGE_SET: u64 = 1 << 12;
/// Pages that one step may need, beyond those of the sets it rewrites.
pub(crate) const STEP_PAGES: u64 = 16;

/// A key whose values lie in a set.
pub(crate) struct Spilled {
    pub(crate) key: E,
    pub(crate) set: SpillPointer,
    pub(crate) values: u64,
    pub(crate) tombstones: u64,
}

/// The keys of a bucket whose values lie in sets.
pub(crate) fn spilled_keys(state: &WriterState, index: u32) -> Result<Vec<Spilled>> {
    let mut spilled = Vec::new();
    for item in state.writer.pages.items(index)? {
        if let Content::Spilled(set) = item.content {
            let (values, tombstones) = state.writer.set_counts(&set)?;
            spilled.push(Spilled { key: item.key, set, values, tombstones });
        }
    }
    Ok(spilled)
}

/// Rebuilds a bucket in hash order if more than one in `part` of its entries is out of order.
pub(crate) fn sort_bucket(state: &mut WriterState, index: u32, part: u32) -> Result<bool> {
    let page = state.writer.pages.bucket(state.writer.pages.bucket_at(index));
    let unsorted = page[bucket::UNSORTED_WORD].load(Ordering::Relaxed).count_ones();
    let entries = page[bucket::COUNTS_WORD].load(Ordering::Relaxed) as u16;
    if unsorted == 0 || unsorted.saturating_mul(part) <= u32::from(entries) {
        return Ok(false);
    }
    state.writer.pages.sort_chain(index)?;
    Ok(true)
}

impl Engine {
    /// Makes sure that the changed pages and `more` have a place in the file.
    pub(crate) fn reserve_pages(&self, state: &WriterState, more: u64) -> Result<()> {
        let needed = |space| (space, state.writer.pages.pages_to_write(space) + more);
        self.ensure_free(state, &[needed(Space::Buckets), needed(Space::Values)])
    }

    /// A change that stopped half way leaves pages that nobody knows: the store fails.
    pub(crate) fn fail_on_error<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| {
            self.shared.mark_failed(error);
        })
    }

    /// Length of the data file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_length.bytes()
    }
}

impl crate::writer::apply::Writer {
    /// Looks at all pages of extents once, so that their free extents are known. Of a damaged page they are not.
    pub(crate) fn discover_extents(&mut self) {
        if std::mem::replace(&mut self.extents_known, true) {
            return;
        }
        for logical in self.pages.value_numbers.in_use() {
            if let Err(fault) = self.extents.discover(logical, self.pages.page(logical)) {
                let fault = self.set_fault(format!("value page {logical}: {fault}"));
                tracing::warn!(%fault, "the free extents of a page stay unknown");
            }
        }
    }

    /// Moves all sets out of a page of extents, but for those of damaged buckets. Answers how many: none of a damaged page.
    pub(crate) fn empty_extents_page(&mut self, logical: u32) -> Result<u64> {
        if !self.pages.is_sound(logical) {
            self.extents.close_page(logical);
            return Ok(0);
        }
        let owners = crate::valueset::extent_owners(&self.pages.shared.view(), logical)
            .map_err(|fault| self.set_fault(fault))?;
        self.extents.close_page(logical);
        let mut moved = 0;
        for (set, owner) in owners {
            // Its bucket is copied, too.
            if self.check_bucket_of(self.pages.shared.seed.hash(owner)).is_ok() {
                moved += u64::from(self.move_set(owner, set)?);
            }
        }
        Ok(moved)
    }
}
