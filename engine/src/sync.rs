//! The one door to shared memory and locks, for what a model checker is to run.
//!
//! Shipped, these names are those of the standard library and of `crossbeam-epoch`. Built with `--cfg loom`
//! they are the checker's, with the bugs in them that the models' twins plant (see `sync/checked.rs`).
//! So the models, which lie beside the code in modules called `interleavings`, run the very code that ships. A part
//! that no model runs takes what it needs from the standard library.

#[cfg(not(loom))]
mod shipped {
    pub(crate) use cidstore_core::protocol::word::Page;
    pub(crate) use crossbeam_epoch as epoch;
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicU64 as PageWord,
    };
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};

    /// A lock that some only try: see `checked`.
    pub(crate) use std::sync::{Mutex as TryMutex, MutexGuard as TryMutexGuard};
}

pub(crate) use std::sync::atomic::Ordering;

#[cfg(loom)]
pub(crate) mod checked;

#[cfg(loom)]
pub(crate) use checked::*;
#[cfg(not(loom))]
pub(crate) use shipped::*;

/// Locks, whatever a panic left behind: for values that are whole at every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
