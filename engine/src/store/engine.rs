//! The parts of an open store, and which lock guards which.
//!
//! Lock order: `checkpointer`, then `writer`, then the file layout inside. Readers take none of them.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use crate::checkpoint::Checkpointer;
use crate::error::Result;
use crate::options::Settings;
use crate::shared::Shared;
use crate::store::background::Background;
use crate::store::commit::Queue;
use crate::store::feeds::Feeds;
use crate::store::tuned::Tuned;
use crate::wal::{Appender, Wal};
use crate::writer::apply::Writer;

/// How often a writer yields to those who wait for the lock before it goes on regardless.
const STEP_BACK_MAX: u32 = 64;

/// An open store.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) shared: Arc<Shared>,
    pub(crate) settings: Settings,
    /// Everything that changes pages or the log.
    pub(crate) writer: Mutex<WriterState>,
    /// How many wait for the lock itself.
    pub(crate) waiting: AtomicU32,
    /// Who waits to write.
    pub(crate) queue: Queue,
    /// What is on disk. `None` for a store that was opened read-only.
    pub(crate) checkpointer: Mutex<Checkpointer>,
    /// Most log records that one group may have.
    pub(crate) records_max: u64,
    /// For syncs that do not hold the writer lock.
    pub(crate) wal: Option<Arc<Wal>>,
    pub(crate) background: Background,
    pub(crate) tuned: Tuned,
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
}

/// The writer lock. Giving it back, even by a panic, wakes somebody of those who queued up meanwhile: whoever
/// finds the lock taken relies on it.
pub(crate) struct Leading<'a> {
    /// `None` only while it is dropped.
    state: Option<MutexGuard<'a, WriterState>>,
    queue: &'a Queue,
}

impl Deref for Leading<'_> {
    type Target = WriterState;

    fn deref(&self) -> &WriterState {
        match &self.state {
            Some(state) => state,
            None => unreachable!("the lock is held until the drop"),
        }
    }
}

impl DerefMut for Leading<'_> {
    fn deref_mut(&mut self) -> &mut WriterState {
        match &mut self.state {
            Some(state) => state,
            None => unreachable!("the lock is held until the drop"),
        }
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        // First the lock, then the look at the queue: see `commit`.
        self.state = None;
        self.queue.wake_leader();
    }
}

impl Engine {
    /// The writer, once the present leader is done.
    ///
    /// A panic under the lock marks the store as failed (see `commit`), so a poisoned lock adds nothing.
    pub(crate) fn writer(&self) -> Leading<'_> {
        // Relaxed: a hint that makes writers step back (see `commit`), nothing depends on it.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let state = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Leading { state: Some(state), queue: &self.queue }
    }

    /// Lets those go first who wait for the writer lock itself: a snapshot, a checkpoint's cut. The lock is not
    /// fair, and a thread that writes in a loop would hardly ever leave it to them.
    pub(crate) fn step_back(&self) {
        for _ in 0..STEP_BACK_MAX {
            if self.waiting.load(Ordering::Relaxed) == 0 {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// The writer if nobody has it.
    pub(crate) fn try_writer(&self) -> Option<Leading<'_>> {
        let state = match self.writer.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(Leading { state: Some(state), queue: &self.queue })
    }

    /// What is on disk, once a running checkpoint is done.
    pub(crate) fn checkpointer(&self) -> MutexGuard<'_, Checkpointer> {
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
        self.waiting.load(Ordering::Relaxed) > 0 || !self.queue.is_empty()
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
