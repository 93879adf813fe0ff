//! Making the file shorter in steps: pages from its end to its front by way of memory, then the cut.

use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::table::{Space, TableKind};

use super::engine::{Engine, WriterState};
use super::upkeep::{Stepped, touch};
use crate::error::Result;
use crate::space::is_pool;
use crate::table::slots::SLOTS_MAX;
use crate::upkeep::{Outcome, ScrubPlace, ShrinkStage, add};
use crate::valueset::ValuePages;

/// The file is cut only if at least one in this many of its bytes would go, and at least `CUT_BYTES_MIN`: so what goes
/// is not needed again at once.
const CUT_PART: u64 = 4;
const CUT_BYTES_MIN: u64 = 1 << 20;
/// Slots that one step looks at, and pages that it copies.
const MOVE_SLOTS: u32 = 1024;
const MOVE_PAGES: usize = 32;
/// How often the cut is tried while readers hold what was replaced.
const CUT_TRIES: u32 = 16;

impl Engine {
    pub(super) fn shrink_step(&self, stage: ShrinkStage) -> Stepped {
        match stage {
            ShrinkStage::Check => Ok((self.check_shrink(), 0)),
            ShrinkStage::Move { from, limits } => self.move_some(from, limits),
            ShrinkStage::Checkpoint => self.checkpoint_to_front(),
            ShrinkStage::Cut { tries } => self.cut_end(tries),
        }
    }

    /// Pages beyond which each space, buckets and values, needs none: what is taken and an eighth.
    fn check_shrink(&self) -> Outcome {
        let Some(state) = self.idle_writer() else { return Outcome::Deferred };
        let files = state.writer.pages.files();
        let mut saved = 0;
        let limits = [Space::Buckets, Space::Values].map(|space| {
            let pages = files.pages(space);
            let limit = pages.roomy();
            saved += u64::from(pages.page_count().saturating_sub(limit)) * PAGE_BYTES as u64;
            limit
        });
        let worth_it = saved >= CUT_BYTES_MIN && saved >= files.end() / CUT_PART;
        let next = worth_it.then_some(ShrinkStage::Move { from: ScrubPlace::START, limits });
        Outcome::Shrunk { changed: false, next }
    }

    /// Copies a few pages that lie beyond the limits to the pool.
    fn move_some(&self, from: ScrubPlace, limits: [u32; 2]) -> Stepped {
        let ScrubPlace { kind, index } = from;
        let limit = limits[usize::from(kind.space() == Space::Values)];
        let table = self.shared.tables.of(kind);
        let Some(checkpointer) = self.try_checkpointer() else { return Ok((Outcome::Deferred, 0)) };
        let beyond = self.find_beyond(from, limit);
        let sound: Vec<u32> = beyond
            .iter()
            .copied()
            .filter(|&slot| self.may_copy(&checkpointer, kind, slot))
            .collect();
        let Some(mut state) = self.idle_writer() else { return Ok((Outcome::Deferred, 0)) };
        self.check_writable()?;
        self.reserve_pages(&state, MOVE_PAGES as u64)?;
        let mut moved = 0;
        for &slot in &sound {
            if is_beyond(table.get(slot), limit) && copy_to_pool(&mut state, kind, slot) {
                moved += 1;
            }
        }
        self.note_due(&state);
        let slots_end = match kind {
            TableKind::Directory => 1 << self.shared.tables.depth(),
            TableKind::Overflow => state.writer.pages.overflow_numbers.end(),
            TableKind::Values => state.writer.pages.value_numbers.end(),
        };
        drop(state);
        add(&self.shared.upkeep.pages_moved, moved);
        // A full list ends the step where the next one goes on.
        let full = beyond.len() == MOVE_PAGES;
        let end = match beyond.last() {
            Some(last) if full => last + 1,
            _ => index.saturating_add(MOVE_SLOTS),
        };
        let place = if end < slots_end {
            Some(ScrubPlace { kind, index: end })
        } else {
            let following = TableKind::ALL.into_iter().find(|next| *next as usize > kind as usize);
            following.map(|kind| ScrubPlace { kind, index: 0 })
        };
        let next = place.map_or(ShrinkStage::Checkpoint, |from| ShrinkStage::Move { from, limits });
        let outcome = Outcome::Shrunk { changed: false, next: Some(next) };
        Ok((outcome, 2 * moved * PAGE_BYTES as u64))
    }

    /// The slots of the next pages that lie beyond a limit, in memory by then: what must come from the disk comes without
    /// the lock.
    fn find_beyond(&self, from: ScrubPlace, limit: u32) -> Vec<u32> {
        let ScrubPlace { kind, index } = from;
        let table = self.shared.tables.of(kind);
        let region = match kind.space() {
            Space::Values => &self.shared.regions.values,
            _ => &self.shared.regions.buckets,
        };
        let _pin = self.shared.pins.pin();
        let end = match kind {
            TableKind::Directory => 1 << self.shared.tables.depth(),
            // Slots beyond the last number name no page.
            TableKind::Overflow | TableKind::Values => SLOTS_MAX as u32,
        };
        let slots = index..end.min(index.saturating_add(MOVE_SLOTS));
        let found = slots.filter(|&slot| is_beyond(table.get(slot), limit));
        found.take(MOVE_PAGES).inspect(|&slot| touch(region.page(table.get(slot)))).collect()
    }

    /// A checkpoint that fills the front of the file. Writers and readers go on meanwhile, as in every checkpoint.
    fn checkpoint_to_front(&self) -> Stepped {
        let Some(mut to) = self.try_checkpointer() else { return Ok((Outcome::Deferred, 0)) };
        let pages = {
            let Some(state) = self.idle_writer() else { return Ok((Outcome::Deferred, 0)) };
            let pages = &state.writer.pages;
            let mut files = pages.files();
            files.pages_mut(Space::Buckets).start_over();
            files.pages_mut(Space::Values).start_over();
            drop(files);
            pages.pages_to_write(Space::Buckets) + pages.pages_to_write(Space::Values)
        };
        to.move_tables(u32::MAX);
        self.checkpoint_with(&mut to, false)?;
        let next = Some(ShrinkStage::Cut { tries: 0 });
        Ok((Outcome::Shrunk { changed: false, next }, pages * PAGE_BYTES as u64))
    }

    /// Cuts what is free at the end, unless readers still hold some of what was replaced.
    fn cut_end(&self, tries: u32) -> Stepped {
        let Some(mut to) = self.try_checkpointer() else { return Ok((Outcome::Deferred, 0)) };
        {
            let Some(mut state) = self.idle_writer() else { return Ok((Outcome::Deferred, 0)) };
            state.writer.pages.limbo.seal();
            state.writer.collect(true);
            if state.writer.pages.limbo.has_sealed() && tries < CUT_TRIES {
                let next = Some(ShrinkStage::Cut { tries: tries + 1 });
                return Ok((Outcome::Shrunk { changed: false, next }, 0));
            }
        }
        self.check_writable()?;
        let cut: Result<(u64, u64)> = self.cut_free_end(&mut to);
        let (before, after) = self.fail_on_error(cut)?;
        let counters = &self.shared.upkeep;
        add(&counters.shrinks, u64::from(after < before));
        add(&counters.bytes_cut, before.saturating_sub(after));
        if after < before {
            tracing::info!(before, after, "cut the data file");
        }
        Ok((Outcome::Shrunk { changed: after < before, next: None }, 0))
    }
}

/// True for a page of the file that lies beyond the limit.
fn is_beyond(page: u32, limit: u32) -> bool {
    page >= limit && !is_pool(page)
}

/// Copies the page of a slot to the pool; false if nothing refers to the slot.
fn copy_to_pool(state: &mut WriterState, kind: TableKind, slot: u32) -> bool {
    let pages = &mut state.writer.pages;
    match kind {
        // A directory that was halved goes on naming pages of before in its upper half.
        TableKind::Directory if slot < 1 << pages.shared.tables.depth() => {
            pages.bucket_for_change(slot);
        }
        TableKind::Overflow if pages.overflow_numbers.is_in_use(slot) => {
            pages.overflow_for_change(slot);
        }
        TableKind::Values if pages.value_numbers.is_in_use(slot) => {
            pages.page_mut(slot);
        }
        TableKind::Directory | TableKind::Overflow | TableKind::Values => return false,
    }
    true
}
