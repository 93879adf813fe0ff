//! The one door to shared memory and locks, for what a checker is to run.
//!
//! Shipped, these names are those of the standard library and [`pins`](crate::pins). Three builds exchange them:
//!
//! - `--cfg loom`: the model checker's, with the bugs in them that the models' twins plant (see `sync/checked.rs`). So the
//!   models, which lie beside the code in modules called `interleavings`, run the very code that ships.
//! - `--cfg shuttle`: those of a scheduler that runs the whole store, files and all, in random orders (see
//!   `sync/scheduled.rs` and `campaign`).
//! - `--cfg tsan`: those of the standard library, which tell a race detector what they order (see `sync/told.rs`).
//!
//! A part that no loom model runs takes its locks and threads from [`whole`], which only the latter two exchange.

#[cfg(not(any(loom, shuttle)))]
mod shipped {
    pub(crate) use crate::pins;
    pub(crate) use cidstore_core::protocol::word::Page;
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicU64 as PageWord,
    };
    /// Atomics that others than the writer store to, too: see `checked`.
    pub(crate) use std::sync::atomic::{AtomicBool as SharedBool, AtomicU64 as SharedU64, fence};

    #[cfg(not(tsan))]
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};
    /// A lock that some only try: see `checked`.
    #[cfg(not(tsan))]
    pub(crate) use std::sync::{Mutex as TryMutex, MutexGuard as TryMutexGuard};

    #[cfg(tsan)]
    pub(crate) use super::told::{
        Condvar, Mutex, Mutex as TryMutex, MutexGuard, MutexGuard as TryMutexGuard, OnceLock,
    };
}

/// Locks and threads of the parts that no loom model runs.
pub(crate) mod whole {
    #[cfg(shuttle)]
    pub(crate) use shuttle::{
        sync::{Condvar, Mutex, MutexGuard},
        thread,
    };

    #[cfg(not(any(shuttle, tsan)))]
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
    #[cfg(not(shuttle))]
    pub(crate) use std::thread;

    #[cfg(all(tsan, not(shuttle)))]
    pub(crate) use super::told::{Condvar, Mutex, MutexGuard};
}

pub(crate) use std::sync::atomic::Ordering;

#[cfg(all(test, tsan))]
mod canary;
#[cfg(loom)]
pub(crate) mod checked;
#[cfg(shuttle)]
pub(crate) mod scheduled;
#[cfg(tsan)]
mod told;

#[cfg(loom)]
pub(crate) use checked::*;
#[cfg(shuttle)]
pub(crate) use scheduled::*;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use shipped::*;

/// Locks, whatever a panic left behind: for values that are whole at every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
