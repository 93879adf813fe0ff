//! Maintenance: sorting, merging, collecting garbage, giving space back. Never needed for right answers.
//!
//! All of it works bucket by bucket under the writer lock and between others' writes, changes no content, and is
//! not logged: after a crash it has happened or not.

use cidstore_core::E;
use cidstore_core::layout::bucket;
use cidstore_core::layout::entry::INLINE_VALUES_MAX;
use cidstore_core::layout::table::Space;
use cidstore_core::layout::value::INNER_CHILDREN;
use cidstore_core::protocol::content::Content;

use crate::error::{Error, Result};
use crate::handle::Store;
use crate::store::engine::{Engine, WriterState};
use crate::transaction;
use crate::valueset::ValuePages;
use crate::writer::pages::bucket_place;

/// A set is rewritten when more than one in this many of its positions is a tombstone.
const TOMBSTONE_PART: u64 = 4;
/// A page of extents is emptied when at most one in this many of its extents is in use.
const SPARSE_PART: u32 = 4;
/// A bucket is sorted when more than one in this many of its entries is out of order.
const UNSORTED_PART: u32 = 4;
/// Sets above this are compacted in steps.
const LARGE_SET: u64 = 1 << 12;
/// Pages that one step may need, beyond those of the sets it rewrites.
const STEP_PAGES: u64 = 16;

/// What [`Store::compact`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactReport {
    /// Length of the data file before, in bytes.
    pub bytes_before: u64,
    /// Length of the data file after, in bytes.
    pub bytes_after: u64,
    /// Buckets merged, sets rewritten or brought back inline, buckets sorted.
    pub changes: u64,
}

impl Store {
    /// Sorts all buckets and sets, drops tombstones, merges what is sparse, and makes the file as short as it can.
    ///
    /// Reads and writes go on meanwhile. Never ends with a longer file than it began with, other writes aside.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn compact(&self) -> Result<CompactReport> {
        self.check_maintainable()?;
        let engine = self.engine();
        let span = tracing::info_span!("compact", path = %engine.shared.path.display());
        let _entered = span.enter();
        let bytes_before = engine.file_bytes();
        let mut changes = self.merge()? + self.gc()?;
        let mut large = Vec::new();
        changes += self.each_bucket(|state, index| {
            let mut changed = 0;
            for (key, values, _) in spilled_keys(state, index)? {
                if values > LARGE_SET {
                    large.push(key);
                } else {
                    changed += u64::from(state.writer.compact_set(key)?);
                }
            }
            changed += u64::from(sort_bucket(state, index, u32::MAX)?);
            Ok(changed)
        })?;
        for key in large {
            self.compact_in_steps(key)?;
        }
        let mut checkpointer = engine.checkpointer();
        engine.checkpoint_with(&mut checkpointer, false)?;
        let bytes_after = match engine.shrink(&mut checkpointer) {
            // What found no room stays where it is.
            Err(Error::NoSpace { .. }) => checkpointer.files().end(),
            shrunk => engine.fail_on_error(shrunk)?,
        };
        Ok(CompactReport { bytes_before, bytes_after, changes })
    }

    /// Merges sparse buckets with their buddies, and halves the directory where that allows it. Answers how many
    /// merges there were.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn merge(&self) -> Result<u64> {
        self.check_maintainable()?;
        let mut merged = 0;
        loop {
            let round = self.each_bucket(|state, index| {
                Ok(u64::from(state.writer.pages.merge_if_sparse(index)?))
            })?;
            if round == 0 {
                return Ok(merged);
            }
            merged += round;
        }
    }

    /// Collects garbage until there is none: [`run_gc_once`](Self::run_gc_once) as often as it finds something.
    /// Answers the sum.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn gc(&self) -> Result<u64> {
        let mut collected = 0;
        loop {
            let round = self.run_gc_once()?;
            if round == 0 {
                return Ok(collected);
            }
            collected += round;
        }
    }

    /// One pass of garbage collection: brings sets of at most four values back inline, rewrites sets with many
    /// tombstones, moves sets out of sparse pages, frees what nothing needs any more. Answers how many
    /// sets changed their place.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn run_gc_once(&self) -> Result<u64> {
        self.check_maintainable()?;
        let changed = self.each_bucket(|state, index| {
            let mut changed = 0;
            for (key, values, tombstones) in spilled_keys(state, index)? {
                if values <= INLINE_VALUES_MAX as u64 {
                    changed += u64::from(state.writer.demote(key)?);
                } else if tombstones * TOMBSTONE_PART > values + tombstones {
                    changed += u64::from(state.writer.compact_set(key)?);
                }
            }
            Ok(changed)
        })?;
        let moved = self.empty_sparse_pages()?;
        let mut state = self.engine().writer();
        state.writer.pages.limbo.seal();
        state.writer.collect(true);
        Ok(changed + moved)
    }

    /// One pass over everything that background maintenance cares for: sorts buckets with many entries out of order,
    /// merges sparse ones, collects garbage once. Answers how much it changed; 0 means all was well.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn background_maintenance(&self) -> Result<u64> {
        self.check_maintainable()?;
        let sorted = self
            .each_bucket(|state, index| Ok(u64::from(sort_bucket(state, index, UNSORTED_PART)?)))?;
        Ok(sorted + self.merge()? + self.run_gc_once()?)
    }

    /// Brings the values of a key back inline if there are at most four. True if it did; false for a key that is not
    /// there, is inline already or has more.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn demote_if_possible(&self, key: impl Into<E>) -> Result<bool> {
        self.check_maintainable()?;
        let engine = self.engine();
        let mut state = engine.writer();
        engine.reserve_pages(&state, STEP_PAGES)?;
        let demoted = state.writer.demote(key.into());
        engine.fail_on_error(demoted)
    }

    /// Compacts a large set, giving the writer lock back after each of its lowest inner nodes.
    fn compact_in_steps(&self, key: E) -> Result<()> {
        let engine = self.engine();
        let mut from = Some(E::ZERO);
        while let Some(bound) = from {
            engine.check_writable()?;
            let mut state = engine.writer();
            engine.reserve_pages(&state, STEP_PAGES + INNER_CHILDREN as u64)?;
            from = engine.fail_on_error(state.writer.compact_set_step(key, bound))?;
        }
        Ok(())
    }

    fn check_maintainable(&self) -> Result<()> {
        transaction::check_not_nested(self.engine())?;
        self.engine().check_writable()
    }

    /// Runs `step` for each bucket, giving the writer lock back in between. Answers the sum of what it answers.
    fn each_bucket(
        &self,
        mut step: impl FnMut(&mut WriterState, u32) -> Result<u64>,
    ) -> Result<u64> {
        let engine = self.engine();
        let mut sum = 0;
        let mut position = 0_u64;
        while position < 1 << 32 {
            engine.check_writable()?;
            let mut state = engine.writer();
            let bits = (position as u32).reverse_bits();
            let index = bits & ((1_u64 << engine.shared.tables.depth()) - 1) as u32;
            engine.reserve_pages(&state, STEP_PAGES)?;
            // Nothing has changed yet, so a damaged page leaves the store as it is.
            state.writer.pages.check_chain(index)?;
            sum += engine.fail_on_error(step(&mut state, index))?;
            // The bucket may have grown by a merge or shrunk by a split: go on behind what it covers now.
            let index = bits & ((1_u64 << engine.shared.tables.depth()) - 1) as u32;
            let page = state.writer.pages.bucket_at(index);
            let (prefix, local_depth) = bucket_place(state.writer.pages.bucket(page));
            position = u64::from(prefix.reverse_bits()) + ((1 << 32) >> local_depth);
        }
        Ok(sum)
    }

    /// Moves the sets out of pages of which few extents are in use.
    fn empty_sparse_pages(&self) -> Result<u64> {
        let engine = self.engine();
        let sparse = {
            let mut state = engine.writer();
            let found = state.writer.discover_extents();
            engine.fail_on_error(found)?;
            state.writer.extents.sparse_pages(SPARSE_PART)
        };
        let mut moved = 0;
        for logical in sparse {
            engine.check_writable()?;
            let mut state = engine.writer();
            engine.reserve_pages(&state, STEP_PAGES)?;
            let emptied = state.writer.empty_extents_page(logical);
            moved += engine.fail_on_error(emptied)?;
        }
        Ok(moved)
    }
}

/// The keys of a bucket whose values lie in sets, with their counts of values and tombstones.
fn spilled_keys(state: &mut WriterState, index: u32) -> Result<Vec<(E, u64, u64)>> {
    let mut spilled = Vec::new();
    for item in state.writer.pages.items(index)? {
        if let Content::Spilled(pointer) = item.content {
            let (values, tombstones) = state.writer.set_counts(&pointer)?;
            spilled.push((item.key, values, tombstones));
        }
    }
    Ok(spilled)
}

/// Rebuilds a bucket in hash order if more than one in `part` of its entries is out of order.
fn sort_bucket(state: &mut WriterState, index: u32, part: u32) -> Result<bool> {
    use std::sync::atomic::Ordering;
    let page = state.writer.pages.bucket(state.writer.pages.bucket_at(index));
    let unsorted = page[bucket::UNSORTED_WORD].load(Ordering::Relaxed).count_ones();
    let entries = page[bucket::COUNTS_WORD].load(Ordering::Relaxed) as u16;
    if unsorted == 0 || unsorted.saturating_mul(part) <= u32::from(entries) {
        return Ok(false);
    }
    state.writer.pages.relay_chain(index)?;
    Ok(true)
}

impl Engine {
    /// Makes sure that the changed pages and `more` have a place in the file.
    pub(crate) fn reserve_pages(&self, state: &WriterState, more: u64) -> Result<()> {
        let pages = &state.writer.pages;
        for space in [Space::Buckets, Space::Values] {
            let needed = pages.pages_to_write(space) + more;
            let mut files = pages.files();
            let free = files.ensure_free(space, needed, &*self.shared.file, &self.shared.regions);
            if let Err(error) = free {
                if !matches!(error, Error::NoSpace { .. }) {
                    self.shared.mark_failed(&error);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// A change that stopped half way leaves pages that nobody knows: the store fails.
    pub(crate) fn fail_on_error<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| {
            self.shared.mark_failed(error);
        })
    }

    /// Length of the data file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.writer().writer.pages.files().end()
    }
}

impl crate::writer::apply::Writer {
    /// Looks at all pages of extents once, so that their free extents are known.
    fn discover_extents(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.extents_known, true) {
            return Ok(());
        }
        for logical in self.pages.value_numbers.in_use() {
            let known = self.extents.discover(logical, self.pages.page(logical));
            known.map_err(|fault| self.set_fault(format!("value page {logical}: {fault}")))?;
        }
        Ok(())
    }

    /// Moves all sets out of a page of extents. Answers how many.
    fn empty_extents_page(&mut self, logical: u32) -> Result<u64> {
        let owners = crate::valueset::extent_owners(&self.pages.shared.view(), logical)
            .map_err(|fault| self.set_fault(fault))?;
        self.extents.close_page(logical);
        let mut moved = 0;
        for (set, owner) in owners {
            moved += u64::from(self.move_set(owner, set)?);
        }
        Ok(moved)
    }
}
