//! [`Interlude`]: a transaction gives the writer lock up for a checkpoint, and nobody writes in between.
//!
//! A transaction has read what its changes depend on before it knows how much room they need. If a checkpoint must make that
//! room, the lock has to be free for it: for the cut, the swings, the collector. What must not happen meanwhile is another
//! write. So whoever changes what is in the store looks here once it has the lock, and if an interlude is on gives the
//! lock back and waits until it is over. What changes no content (maintenance, snapshots, the checkpoint itself) does not look.
//!
//! The flag is set under the lock, so who has the lock later sees it. An interlude waits for the checkpointer's lock: who has that one
//! must not wait for an interlude.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use super::engine::{Engine, Leading};
use crate::sync::whole::{Condvar, Mutex};

/// Whether an interlude is on, and who waits for its end.
#[derive(Debug, Default)]
pub(crate) struct Interlude {
    /// Set under the writer lock; the mutex below has the truth.
    flag: AtomicBool,
    is_on: Mutex<bool>,
    over: Condvar,
}

/// An interlude, until it is dropped.
#[must_use]
pub(super) struct During<'a>(&'a Interlude);

impl Interlude {
    /// Begins one. The caller has the writer lock.
    pub(super) fn begin(&self) -> During<'_> {
        *self.is_on.lock().unwrap_or_else(PoisonError::into_inner) = true;
        // Relaxed: the writer lock orders it.
        self.flag.store(true, Ordering::Relaxed);
        During(self)
    }

    /// True if one is on. The caller has the writer lock.
    pub(crate) fn is_on(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// Waits for its end. The caller has neither the writer lock nor the checkpointer's.
    pub(crate) fn wait(&self) {
        let mut is_on = self.is_on.lock().unwrap_or_else(PoisonError::into_inner);
        while *is_on {
            is_on = self.over.wait(is_on).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for During<'_> {
    fn drop(&mut self) {
        let interlude = self.0;
        interlude.flag.store(false, Ordering::Relaxed);
        *interlude.is_on.lock().unwrap_or_else(PoisonError::into_inner) = false;
        interlude.over.notify_all();
    }
}

impl Engine {
    /// The writer, for who changes what is in the store: once no transaction waits for a checkpoint.
    pub(crate) fn writer_to_change(&self) -> Leading<'_> {
        self.after_interlude(self.writer())
    }

    /// The writer lock, given back and taken again if a transaction waits for a checkpoint.
    pub(super) fn after_interlude<'a>(&'a self, mut state: Leading<'a>) -> Leading<'a> {
        while self.interlude.is_on() {
            drop(state);
            self.interlude.wait();
            state = self.writer();
        }
        state
    }
}
