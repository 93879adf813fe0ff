//! Closing: the last checkpoint, the file cut to what it needs, the locks given back.

use std::sync::{Arc, PoisonError};

use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::table::Space;

use super::engine::Engine;
use crate::checkpoint::Checkpointer;
use crate::error::{Error, Result};
use crate::sync::whole::thread;
use crate::writer::pages::MOVE_PAGES;

/// Rounds of moving pages that closing a store takes at most: 4 GiB of each space. `compact` has no such limit.
const CLOSE_ROUNDS: usize = 16;

/// No bound on the room that a space is left with.
pub(crate) const ROOMY: [u32; 3] = [u32::MAX; 3];

/// Looks at what waits for readers before the file is cut: the collector lets a few batches pass at a time. Whoever
/// still reads then keeps the pages in place.
const COLLECT_ROUNDS: usize = 1000;

impl Engine {
    /// Refuses everything from now on, brings the store to a clean end and gives its locks back.
    ///
    /// Does nothing if it was closed before, or in a fork.
    pub(crate) fn close(&self) -> Result<()> {
        let span = tracing::info_span!("close", path = %self.shared.path.display());
        let _entered = span.enter();
        if self.shared.is_inherited() {
            // Files, locks and threads are those of the process that opened the store.
            self.background.forget();
            return Ok(());
        }
        if !self.background.stop() {
            return Ok(());
        }
        let mut checkpointer = self.checkpointer();
        {
            // Under the lock: a write that has begun is finished, one that has not is refused.
            let _writer = self.writer();
            if !self.shared.mark_closed() {
                return Ok(());
            }
        }
        let closed = if self.settings.read_only || self.shared.has_failed() {
            Ok(())
        } else {
            self.shrink_and_mark_clean(&mut checkpointer)
        };
        self.shared.mark_ended();
        // A read that is still going on finds zeros now, and then that the store has ended: it answers `Closed`.
        let unmapped = self.shared.regions.unmap_all();
        self.shared.file.unlock();
        closed.and_then(|()| {
            let path = self.shared.path.clone();
            unmapped.map_err(|source| Error::Io { path, action: "map", source })
        })
    }

    fn shrink_and_mark_clean(&self, checkpointer: &mut Checkpointer) -> Result<()> {
        self.checkpoint_unchecked(checkpointer, false)?;
        match self.shrink_rounds(checkpointer, CLOSE_ROUNDS, ROOMY) {
            // What cannot be moved for want of space stays where it is.
            Ok(_) | Err(Error::NoSpace { .. }) => {}
            Err(error) => return Err(error),
        }
        if let Some(log) = &mut self.writer().log {
            log.settle_growth()?;
        }
        self.checkpoint_unchecked(checkpointer, true)
    }

    /// Moves pages from the end of the file to free pages in front, and cuts the file. Answers its length.
    ///
    /// A space is left with no more pages than `pages_max` says, unless it needs them. Both superblocks tell the same state
    /// when it is called, and afterwards.
    pub(crate) fn shrink(
        &self,
        checkpointer: &mut Checkpointer,
        pages_max: [u32; 3],
    ) -> Result<u64> {
        self.shrink_rounds(checkpointer, usize::MAX, pages_max)
    }

    /// As [`shrink`](Self::shrink), with a bound on the rounds of moving pages.
    pub(super) fn shrink_rounds(
        &self,
        checkpointer: &mut Checkpointer,
        rounds: usize,
        pages_max: [u32; 3],
    ) -> Result<u64> {
        // Enough for every page to move once; where pages cannot move further down, more would not help.
        let pages = checkpointer.files().end() / PAGE_BYTES as u64;
        let rounds = rounds.min(pages as usize / MOVE_PAGES + 2);
        // What is free decides how far pages must move.
        self.collect_all();
        for _ in 0..rounds {
            if !self.move_tail(checkpointer, pages_max)? {
                break;
            }
        }
        // Once both superblocks no longer speak of it.
        self.collect_all();
        self.cut_free_end(checkpointer).map(|(_, after)| after)
    }

    /// Moves what lies beyond the room that each space needs. Answers whether there was anything.
    fn move_tail(&self, checkpointer: &mut Checkpointer, pages_max: [u32; 3]) -> Result<bool> {
        let mut moved = checkpointer.move_tables(pages_max[Space::Tables as usize]);
        for space in [Space::Buckets, Space::Values] {
            let limit = {
                let files = checkpointer.files();
                let pages = files.pages(space);
                pages.roomy().min(pages_max[space as usize].max(pages.taken_count()))
            };
            moved |= self.writer().writer.pages.move_beyond(space, limit);
        }
        if moved {
            self.checkpoint_unchecked(checkpointer, false)?;
        }
        Ok(moved)
    }

    /// Frees what a load has taken that came to nothing, and cuts it off the file if it lies at the end.
    pub(crate) fn give_back(&self, checkpointer: &mut Checkpointer) -> Result<()> {
        self.collect_all();
        let cut = self.cut_free_end(checkpointer);
        self.fail_on_error(cut).map(drop)
    }

    /// Frees all that was replaced, as soon as its readers have gone. What somebody goes on reading stays.
    fn collect_all(&self) {
        self.writer().writer.pages.limbo.seal();
        for _ in 0..COLLECT_ROUNDS {
            let mut state = self.writer();
            state.writer.collect(false);
            if !state.writer.pages.limbo.has_sealed() {
                break;
            }
            drop(state);
            thread::yield_now();
        }
        self.writer().writer.collect(true);
    }

    /// Cuts the free end off the file, both superblocks telling the same state, and what is reserved beyond it. Answers where its
    /// segments ended before and end now.
    pub(super) fn cut_free_end(&self, checkpointer: &mut Checkpointer) -> Result<(u64, u64)> {
        let (before, after) = {
            let files = Arc::clone(&checkpointer.files);
            let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
            let before = files.end();
            // The view of the shorter file must lie within it.
            checkpointer.view.prepare(&mut files);
            let after = files.cut_free_tail(&*self.shared.file, &self.shared.regions)?;
            if after == before {
                checkpointer.view.release_prepared(&mut files);
                files.length().cut_reserve(after, &*self.shared.file)?;
            }
            (before, after)
        };
        if after < before {
            checkpointer.rewrite_with_view()?;
            checkpointer.rewrite(|_| ())?;
            // Under the lock: the file may have grown again meanwhile, and then stays as long as it is.
            let files = checkpointer.files();
            if files.end() == after {
                files.length().cut(after, &*self.shared.file)?;
            }
            drop(files);
            self.shared.file.sync_all()?;
        }
        Ok((before, after))
    }
}
