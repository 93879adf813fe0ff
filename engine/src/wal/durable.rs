//! [`Durable`]: how far the log is on the disk, and that this was never said wrongly.
//!
//! Syncs come from the leader, from the thread that syncs for `Interval` writes and from checkpoints. They take turns:
//! a system tells of a failed write-back once, to one of those who ask, and the next sync succeeds although
//! what was lost stays lost. So nobody may sync between a failure and its being remembered here.

use crate::error::{Error, Result};
use crate::sync::{AtomicU64, Mutex, OnceLock, Ordering, lock};

/// The last durable LSN, or why there will be no later one.
#[derive(Debug)]
pub(crate) struct Durable {
    lsn: AtomicU64,
    failure: OnceLock<String>,
    /// Held while the system is asked to sync.
    syncing: Mutex<()>,
}

impl Default for Durable {
    fn default() -> Self {
        let (failure, syncing) = (OnceLock::new(), Mutex::new(()));
        Self { lsn: AtomicU64::new(0), failure, syncing }
    }
}

impl Durable {
    /// Makes all records up to `lsn` durable by `sync`, unless they are, and tells how far the log is durable now. The
    /// records were written before the call.
    ///
    /// # Errors
    /// That of `sync`; [`Error::Failed`] if a write or sync has failed before.
    pub(crate) fn reach(&self, lsn: u64, sync: impl FnOnce() -> Result<()>) -> Result<u64> {
        self.check_failed()?;
        if self.lsn() < lsn {
            let _turn = lock(&self.syncing);
            // Whoever had the turn before may have done it, or have failed.
            self.check_failed()?;
            if self.lsn() < lsn {
                sync().map_err(|error| self.fail(error))?;
                self.raise(lsn);
            }
        }
        Ok(self.lsn())
    }

    /// Syncs for another purpose than records.
    ///
    /// # Errors
    /// As [`reach`](Self::reach).
    pub(crate) fn alone(&self, sync: impl FnOnce() -> Result<()>) -> Result<()> {
        let _turn = lock(&self.syncing);
        self.check_failed()?;
        sync().map_err(|error| self.fail(error))
    }

    /// All records up to this LSN are durable.
    pub(crate) fn lsn(&self) -> u64 {
        // Acquire: pairs with the Release in `raise`.
        self.lsn.load(Ordering::Acquire)
    }

    /// Says that all records up to this LSN are durable.
    pub(crate) fn raise(&self, lsn: u64) {
        // Release: who sees the number may rely on the sync.
        self.lsn.fetch_max(lsn, Ordering::Release);
    }

    /// Remembers the first failure and passes the error on.
    pub(crate) fn fail(&self, error: Error) -> Error {
        self.failure.get_or_init(|| error.to_string());
        error
    }

    /// # Errors
    /// [`Error::Failed`] if a write or sync has failed before.
    pub(crate) fn check_failed(&self) -> Result<()> {
        match self.failure.get() {
            Some(cause) => Err(Error::Failed { cause: cause.clone() }),
            None => Ok(()),
        }
    }
}
