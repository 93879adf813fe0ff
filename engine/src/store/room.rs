//! Room for writes: in memory, in the file and in the log, made sure of before anything is promised.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cidstore_core::layout::table::Space;

use super::closing::ROOMY;
use super::commit::{DIRTY_PAGES_MAX, Write};
use super::engine::{Engine, WriterState};
use crate::checkpoint::Checkpointer;
use crate::error::{Error, Result};
use crate::options::Durability;
use crate::sync::whole::thread;
use crate::table::shadow::ShadowTable;
use crate::wal::{Appender, Room};
use crate::writer::ahead::Ahead;
use crate::writer::apply::Operation;

/// Pool pages in use at which writers wait for the checkpoint: 6 GiB in each space.
const POOL_PAGES_MAX: usize = 3 << 19;
/// How often, and how long each time, a write that needs room waits for readers to let go of it.
const WAITS_FOR_READERS: u32 = 20;
const WAIT_FOR_READERS: Duration = Duration::from_millis(1);
/// Free pages that inserts leave to deletes.
const DELETE_SLACK_PAGES: u64 = 32;
/// Rounds of moving pages, each under one hold of the writer lock, before the file is cut for a write.
const SPARE_ROUNDS: usize = 1;
/// Why a group cannot be logged yet.
pub(super) enum NotYet {
    /// A checkpoint may make room; if it does not, this is the answer.
    NeedsCheckpoint(Error),
    Refused(Error),
}

impl From<Error> for NotYet {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// What [`Engine::prepare`] answers.
type Prepared = std::result::Result<(), NotYet>;

impl Engine {
    /// Makes sure that a group can be logged and applied, before anything is promised.
    pub(super) fn prepare(
        &self,
        state: &mut WriterState,
        part: &[(&Write, Durability)],
    ) -> Prepared {
        self.check_writable()?;
        self.limit_pool(state)?;
        let operations = || part.iter().flat_map(|(write, _)| write.operations());
        let mut ahead = Ahead::of(operations(), &state.writer);
        for operation in operations() {
            ahead.step(&state.writer);
            state.writer.check(operation)?;
        }
        let inserts = operations().filter(|op| matches!(op, Operation::Insert(..))).count() as u64;
        self.reserve_file(state, inserts, operations().count() as u64)?;
        self.reserve_log(state, part.iter().map(|(write, _)| write.records()).sum())
    }

    /// Keeps the memory for changed pages within its bounds.
    fn limit_pool(&self, state: &mut WriterState) -> Prepared {
        let pages = &mut state.writer.pages;
        let in_use = pages.bucket_pool.used_pages().max(pages.value_pool.used_pages());
        if in_use > POOL_PAGES_MAX {
            pages.collect();
            let in_use = pages.bucket_pool.used_pages().max(pages.value_pool.used_pages());
            let changed = pages.bucket_pool.live_pages().max(pages.value_pool.live_pages());
            if in_use > POOL_PAGES_MAX && changed as u64 > DIRTY_PAGES_MAX / 2 {
                let detail = "too much memory for changed pages, even after checkpoints".into();
                let path = self.shared.path.clone();
                return Err(NotYet::NeedsCheckpoint(Error::NoSpace { path, detail }));
            }
        }
        Ok(())
    }

    /// Makes sure that the file has a place for each page that is changed already, and that this many operations may
    /// change.
    fn reserve_file(&self, state: &mut WriterState, inserts: u64, all: u64) -> Prepared {
        let pages = &state.writer.pages;
        let slack = if inserts > 0 { DELETE_SLACK_PAGES } else { 0 };
        // Copies of the pages that are changed, and what splits add. A good hash fills all buckets at about
        // the same time, so a few inserts can split as many buckets; only after that a split takes 31 more.
        let splits = inserts.min(pages.bucket_count() + inserts / 31);
        let buckets = all.min(pages.bucket_count()) + splits + 4 + slack;
        // A set that moves touches the page it leaves and the one it goes to, which may be new.
        let values = (3 * all).min(pages.value_numbers.used() + all / 16 + 64) + 4 + slack;
        let needs = [
            (Space::Buckets, pages.pages_to_write(Space::Buckets) + buckets),
            (Space::Values, pages.pages_to_write(Space::Values) + values),
            (Space::Tables, self.table_pages_max(state, self.shared.tables.depth()) + slack / 8),
        ];
        self.ensure_free(state, &needs).map_err(|error| match error {
            // Changed pages that a checkpoint brings to the file leave as many free behind.
            Error::NoSpace { .. } => NotYet::NeedsCheckpoint(error),
            _ => NotYet::Refused(error),
        })
    }

    /// Most pages that a checkpoint can need for the tables, the directory being of this depth.
    pub(crate) fn table_pages_max(&self, state: &WriterState, depth: u32) -> u64 {
        let pages = &state.writer.pages;
        let slots = [1 << depth, pages.overflow_numbers.end(), pages.value_numbers.end()];
        slots.into_iter().map(ShadowTable::pages_needed_max).sum()
    }

    /// Makes sure that spaces of the file have so many free pages.
    ///
    /// # Errors
    ///
    /// `NoSpace`; any other failure ends the store's life.
    pub(crate) fn ensure_free(&self, state: &WriterState, needs: &[(Space, u64)]) -> Result<()> {
        for &(space, needed) in needs {
            let mut files = state.writer.pages.files();
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

    /// Makes sure that the log takes this many records.
    fn reserve_log(&self, state: &mut WriterState, records: u64) -> Prepared {
        let Some(log) = &mut state.log else { return Err(Error::ReadOnly.into()) };
        match log.reserve(records) {
            Ok(Room::Granted) => Ok(()),
            Ok(Room::Full) => {
                let detail = "the log is full until a checkpoint finds space".into();
                let path = self.settings.wal_path.clone();
                Err(NotYet::NeedsCheckpoint(Error::NoSpace { path, detail }))
            }
            Err(error @ (Error::NoSpace { .. } | Error::BatchTooLarge { .. })) => {
                Err(NotYet::Refused(error))
            }
            Err(error) => {
                self.shared.mark_failed(&error);
                Err(NotYet::Refused(error))
            }
        }
    }

    /// Frees log space, pool pages and file pages by a checkpoint, unless another thread just did. False if there is no more room
    /// to be made: who is refused tries again and again, and must not keep the disk busy in vain.
    pub(super) fn make_room(&self, part: &[(&Write, Durability)]) -> Result<bool> {
        let mut checkpointer = self.checkpointer();
        let needs_room = |state: &mut WriterState| {
            let prepared = self.prepare(state, part);
            // The log may have noted what is durable, and the lock is given back: who syncs next counts on all to be in the file.
            if let Some(Err(error)) = state.log.as_mut().map(Appender::flush) {
                self.shared.mark_failed(&error);
            }
            matches!(prepared, Err(NotYet::NeedsCheckpoint(_)))
        };
        {
            let mut state = self.writer();
            if !needs_room(&mut state) {
                return Ok(true);
            }
            if self.has_nothing_to_free(&state, &checkpointer) {
                return Ok(false);
            }
        }
        self.checkpoint_with(&mut checkpointer, false)?;
        // What the checkpoint replaced is free when the readers of this moment have gone. They mostly have in a moment,
        // and a refusal is worse than a wait.
        for _ in 0..WAITS_FOR_READERS {
            let mut state = self.writer();
            state.writer.collect(true);
            if !needs_room(&mut state) {
                return Ok(true);
            }
            if state.writer.pages.limbo.len() == 0 {
                break;
            }
            drop(state);
            thread::sleep(WAIT_FOR_READERS);
        }
        let spare = checkpointer.files().spare_pages();
        if spare > checkpointer.spare_in_vain {
            self.cut_spare(&mut checkpointer)?;
            let in_vain = needs_room(&mut self.writer());
            checkpointer.spare_in_vain = if in_vain { spare } else { 0 };
        }
        Ok(!self.has_nothing_to_free(&self.writer(), &checkpointer))
    }

    /// Whether both superblocks have all there is and nothing replaced waits any more, for a reader or a superblock: then a
    /// checkpoint frees nothing.
    fn has_nothing_to_free(&self, state: &WriterState, checkpointer: &Checkpointer) -> bool {
        let pages = &state.writer.pages;
        let applied = self.shared.counters.applied_lsn.load(Ordering::Relaxed);
        let changed = pages.pages_to_write(Space::Buckets) + pages.pages_to_write(Space::Values);
        let is_whole = changed == 0
            && checkpointer.newest.lsn >= applied
            && checkpointer.older.lsn == checkpointer.newest.lsn;
        is_whole
            && pages.limbo.len() == 0
            && checkpointer.retired_tables.is_empty()
            && checkpointer.files().spare_pages() <= checkpointer.spare_in_vain
    }

    /// Cuts off the file what some space has and does not need, so that another can grow: one that a long reader has
    /// made large would keep its free pages to itself.
    fn cut_spare(&self, checkpointer: &mut Checkpointer) -> Result<()> {
        match self.shrink_rounds(checkpointer, SPARE_ROUNDS, ROOMY) {
            // What cannot be moved for want of space stays where it is.
            Ok(_) | Err(Error::NoSpace { .. }) => Ok(()),
            Err(error) => self.fail_on_error(Err(error)),
        }
    }
}
