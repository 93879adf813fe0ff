//! Maintenance: sorting, merging, collecting garbage, giving space back. Never needed for right answers.
//!
//! All of it works bucket by bucket under the writer lock and between others' writes, changes no content, and is
//! not logged: after a crash it has happened or not.

use cidstore_core::E;
use cidstore_core::layout::entry::INLINE_VALUES_MAX;
use cidstore_core::layout::table::Space;
use cidstore_core::layout::value::INNER_CHILDREN;

use crate::error::{Error, Result};
use crate::handle::Store;
use crate::report::Problem;
use crate::store::engine::WriterState;
use crate::store::tidying::{
    LARGE_SET, SPARSE_PART, STEP_PAGES, Spilled, TOMBSTONE_PART, UNSORTED_PART, sort_bucket,
    spilled_keys,
};
use crate::transaction;
use crate::valueset::Reach;
use crate::writer::pages::bucket_place;

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

/// For what needs no look beforehand.
fn nothing(_: &WriterState, _: u32) -> Result<()> {
    Ok(())
}

impl Store {
    /// Sorts all buckets and sets, drops tombstones, merges what is sparse, and cuts off the end of the file what is free there.
    ///
    /// Reads and writes go on meanwhile. Never ends with a longer file than it began with, other writes and live snapshots aside,
    /// which keep what is replaced. A page is moved to the front among those of its own kind: space that sets once had, in front
    /// of buckets that are still there, stays in the file, free for other sets. A [backup](crate::Snapshot::backup) is as short
    /// as a file can be.
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
        // The file grows on the way, for copies and for promises that are not kept; it must come back.
        let pages_before = {
            let state = engine.writer();
            let files = state.writer.pages.files();
            Space::ALL.map(|space| files.pages(space).page_count())
        };
        let mut changes = self.merge()? + self.gc()?;
        let mut large = Vec::new();
        let look = |state: &WriterState, index| {
            let mut small = Vec::new();
            for Spilled { key, set, values, .. } in spilled_keys(state, index)? {
                if values > LARGE_SET {
                    large.push(key);
                } else {
                    state.writer.check_set(key, &set, Reach::All)?;
                    small.push(key);
                }
            }
            Ok(small)
        };
        changes += self.each_bucket(look, |state, index, sets| {
            let mut changed = 0;
            for key in sets {
                changed += u64::from(state.writer.compact_set(key)?);
            }
            changed += u64::from(sort_bucket(state, index, u32::MAX)?);
            Ok(changed)
        })?;
        for key in large {
            self.compact_in_steps(key)?;
        }
        let mut checkpointer = engine.checkpointer();
        engine.checkpoint_with(&mut checkpointer, false)?;
        let bytes_after = match engine.shrink(&mut checkpointer, pages_before) {
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
            let round = self.each_bucket(nothing, |state, index, ()| {
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
        let look = |state: &WriterState, index| {
            let mut sets = spilled_keys(state, index)?;
            sets.retain(|set| {
                set.values <= INLINE_VALUES_MAX as u64
                    || set.tombstones * TOMBSTONE_PART > set.values + set.tombstones
            });
            sets.iter()
                .try_for_each(|set| state.writer.check_set(set.key, &set.set, Reach::All))?;
            Ok(sets)
        };
        let changed = self.each_bucket(look, |state, _, sets| {
            let mut changed = 0;
            for Spilled { key, values, .. } in sets {
                changed += u64::from(if values <= INLINE_VALUES_MAX as u64 {
                    state.writer.demote(key)?
                } else {
                    state.writer.compact_set(key)?
                });
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
        let sorted = self.each_bucket(nothing, |state, index, ()| {
            Ok(u64::from(sort_bucket(state, index, UNSORTED_PART)?))
        })?;
        Ok(sorted + self.merge()? + self.run_gc_once()?)
    }

    /// Damage that background maintenance has come upon since the store was opened: the newest 64 places, each once.
    /// [`Stats::maintenance`](crate::Stats::maintenance) counts all, and the log has each.
    #[must_use]
    pub fn maintenance_problems(&self) -> Vec<Problem> {
        let problems = self.engine().shared.upkeep.problem_list();
        problems.into_iter().map(|(place, detail)| Problem { place, detail }).collect()
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
        let key = key.into();
        let mut state = engine.writer();
        engine.check_writable()?;
        if !state.writer.has_set_that_fits_inline(key)? {
            return Ok(false);
        }
        engine.reserve_pages(&state, STEP_PAGES)?;
        state.writer.check_set_of(key, Reach::All)?;
        let demoted = state.writer.demote(key);
        engine.fail_on_error(demoted)
    }

    /// Compacts a large set, giving the writer lock back after each of its lowest inner nodes.
    fn compact_in_steps(&self, key: E) -> Result<()> {
        let engine = self.engine();
        let mut from = Some(E::ZERO);
        while let Some(bound) = from {
            let mut state = engine.writer();
            engine.check_writable()?;
            engine.reserve_pages(&state, STEP_PAGES + INNER_CHILDREN as u64)?;
            state.writer.check_set_of(key, Reach::Part(bound))?;
            from = engine.fail_on_error(state.writer.compact_set_step(key, bound))?;
        }
        Ok(())
    }

    fn check_maintainable(&self) -> Result<()> {
        transaction::check_not_nested(self.engine())?;
        self.engine().check_writable()
    }

    /// Runs `change` for each bucket, giving the writer lock back in between. Answers the sum of what it answers.
    ///
    /// `look` comes first, and tells what `change` is to do: what it finds damaged is answered, and the store stays as it is.
    fn each_bucket<T>(
        &self,
        mut look: impl FnMut(&WriterState, u32) -> Result<T>,
        mut change: impl FnMut(&mut WriterState, u32, T) -> Result<u64>,
    ) -> Result<u64> {
        let engine = self.engine();
        let mut sum = 0;
        let mut position = 0_u64;
        while position < 1 << 32 {
            let mut state = engine.writer();
            // With the lock, here and elsewhere: whoever closes the store meanwhile waits for it.
            engine.check_writable()?;
            let bits = (position as u32).reverse_bits();
            let index = bits & ((1_u64 << engine.shared.tables.depth()) - 1) as u32;
            engine.reserve_pages(&state, STEP_PAGES)?;
            state.writer.pages.check_chain(index)?;
            let found = look(&state, index)?;
            sum += engine.fail_on_error(change(&mut state, index, found))?;
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
            state.writer.discover_extents();
            state.writer.extents.sparse_pages(SPARSE_PART)
        };
        let mut moved = 0;
        for logical in sparse {
            let mut state = engine.writer();
            engine.check_writable()?;
            if !state.writer.extents.is_open(logical) {
                // Filled, emptied or given up since the list was made.
                continue;
            }
            engine.reserve_pages(&state, STEP_PAGES)?;
            let emptied = state.writer.empty_extents_page(logical);
            moved += engine.fail_on_error(emptied)?;
        }
        Ok(moved)
    }
}
