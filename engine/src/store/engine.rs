//! The parts of an open store, and which lock guards which.
//!
//! Lock order: `checkpointer`, then `writer`, then the file layout inside. Readers take none of them.

use std::sync::{Arc, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::checkpoint::Checkpointer;
use crate::error::Result;
use crate::options::Settings;
use crate::shared::Shared;
use crate::space::length::FileLength;
use crate::store::background::Background;
use crate::store::commit::{Answer, Request};
use crate::store::feeds::Feeds;
use crate::store::gathering::Gathering;
use crate::store::interlude::Interlude;
use crate::store::tuned::Tuned;
use crate::store::turns::{self, Turns};
use crate::sync::whole::{Mutex, MutexGuard};
use crate::wal::{Appender, Wal};
use crate::writer::apply::Writer;

/// How long background work that comes in steps keeps the writer lock at once, and so a write waiting.
const SHORT_HOLD: Duration = Duration::from_micros(10);

/// An open store.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) shared: Arc<Shared>,
    pub(crate) settings: Settings,
    /// Everything that changes pages or the log.
    pub(crate) turns: Turns<WriterState, Request, Answer>,
    /// Keeps other writes away while a transaction waits for a checkpoint.
    pub(crate) interlude: Interlude,
    /// What is on disk. `None` for a store that was opened read-only.
    pub(crate) checkpointer: Mutex<Checkpointer>,
    /// Held by whoever is next to have the checkpointer, so that checkpoint after checkpoint keeps nobody away from it.
    pub(crate) next_checkpointer: Mutex<()>,
    /// Most log records that one group may have.
    pub(crate) records_max: u64,
    /// For syncs that do not hold the writer lock.
    pub(crate) wal: Option<Arc<Wal>>,
    pub(crate) background: Background,
    pub(crate) tuned: Tuned,
    /// How long the data file is.
    pub(crate) file_length: Arc<FileLength>,
    /// Who reads the log while it is written.
    pub(crate) feeds: Feeds,
}

/// The writer and its log.
#[derive(Debug)]
pub(crate) struct WriterState {
    pub(crate) writer: Writer,
    /// `None` for a store that was opened read-only.
    pub(crate) log: Option<Appender>,
    /// LSN at the last checkpoint's cut.
    pub(crate) cut_lsn: u64,
    /// Who is expected for the next sync.
    pub(crate) gathering: Gathering,
}

/// The writer lock, held.
pub(crate) type Leading<'a> = turns::Leading<'a, WriterState, Request, Answer>;

impl Engine {
    /// The writer, once the present leader is done.
    ///
    /// A panic under the lock marks the store as failed (see `commit`), so a poisoned lock adds nothing.
    pub(crate) fn writer(&self) -> Leading<'_> {
        self.turns.lock()
    }

    /// Has work done in steps under the writer lock, until one answers that there is no more. The lock is held for some
    /// microseconds at a time, and those who wait to write go in between.
    pub(crate) fn in_short_holds(&self, mut step: impl FnMut(&mut WriterState) -> bool) {
        loop {
            let mut state = self.turns.lock_shortly();
            let begin = Instant::now();
            while begin.elapsed() < SHORT_HOLD {
                if !step(&mut state) {
                    return;
                }
            }
        }
    }

    /// Lets those go first who wait for the writer lock itself.
    pub(crate) fn step_back(&self) {
        self.turns.step_back();
    }

    /// The writer if nobody has it.
    pub(crate) fn try_writer(&self) -> Option<Leading<'_>> {
        self.turns.try_lock()
    }

    /// What is on disk, once a running checkpoint is done.
    pub(crate) fn checkpointer(&self) -> MutexGuard<'_, Checkpointer> {
        let _next = self.next_checkpointer.lock().unwrap_or_else(PoisonError::into_inner);
        self.checkpointer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is on disk, if no checkpoint is running.
    pub(crate) fn try_checkpointer(&self) -> Option<MutexGuard<'_, Checkpointer>> {
        match self.checkpointer.try_lock() {
            Ok(checkpointer) => Some(checkpointer),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// True if somebody waits to write, or for the writer lock.
    pub(crate) fn is_contended(&self) -> bool {
        self.turns.is_contended()
    }

    /// `Closed`, `Failed` or `ReadOnly` if the store takes no writes.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.settings.read_only {
            self.shared.check_open()?;
            return Err(crate::Error::ReadOnly);
        }
        self.shared.check_writable()
    }
}
