//! What can go wrong, named so that a caller can act on it.

use std::io;
use std::path::{Path, PathBuf};

/// Result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. `Display` is for people; [`std::error::Error::source`] keeps the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation on a file failed. The store may be [`Error::Failed`] afterwards; it says so itself.
    #[error("{}: {action}: {source}", path.display())]
    Io {
        /// The file; of `serve_metrics` the address.
        path: PathBuf,
        /// What was tried: `open`, `create`, `read`, `write`, `sync`, `allocate`, `map`, `unmap`, `rename`, `remove`,
        /// `truncate`, `lock`, `dump`, `listen at`, `start a thread for`.
        action: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The disk (or `max_bytes`) is full. The store stays healthy: reads and deletes go on.
    #[error("{}: no space: {detail}", path.display())]
    NoSpace {
        /// The file that could not grow.
        path: PathBuf,
        /// Which limit was hit, and what holds space back if it is a long pin or snapshot.
        detail: String,
    },
    /// Another opener, in this process or another, has the store.
    #[error("{}: locked by {}", path.display(), match pid { Some(pid) => format!("process {pid}"), None => "another process".to_string() })]
    Locked {
        /// The data file.
        path: PathBuf,
        /// The holder, where the system tells.
        pid: Option<u32>,
    },
    /// The file does not exist and `create(false)` was given, or the open is read-only.
    #[error("{}: no such store", path.display())]
    NotFound {
        /// The data file.
        path: PathBuf,
    },
    /// The file is not a store of ours (a directory, a text file, an empty file, a foreign magic).
    #[error("{}: not a CIDStore file: {detail}", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        detail: String,
    },
    /// The file was written by a newer version of the format.
    #[error("{}: format version {found}, this program reads up to {supported}", path.display())]
    UnsupportedVersion {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Newest version that this program knows.
        supported: u32,
    },
    /// Bytes that a checkpoint or an acknowledged write put there are damaged.
    #[error("{}: corrupt{}: {detail}", path.display(), match offset { 0 => String::new(), at => format!(" at byte {at}") })]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in the file; 0 if the detail names the page instead.
        offset: u64,
        /// What was found and what was expected.
        detail: String,
    },
    /// The log is missing and the store was not closed cleanly: acknowledged writes may be in it.
    #[error("{}: the log is missing, and {} was not closed cleanly", wal.display(), path.display())]
    WalMissing {
        /// The data file.
        path: PathBuf,
        /// The log that was expected.
        wal: PathBuf,
    },
    /// The log belongs to another store, or to one whose data file is gone, or is an older log of this store, which was not
    /// closed cleanly: acknowledged writes may be in the log that it was last opened with.
    #[error(
        "{}: this log belongs to another store than {}, to an earlier time of it, or to one that was there before",
        wal.display(), path.display()
    )]
    WalMismatch {
        /// The data file.
        path: PathBuf,
        /// The log.
        wal: PathBuf,
    },
    /// A read-only open found that the log must be replayed first.
    #[error("{}: was not closed cleanly; open it for writing once to recover", path.display())]
    NeedsRecovery {
        /// The data file.
        path: PathBuf,
    },
    /// An option is out of its range.
    #[error("option {option}: {detail}")]
    InvalidOption {
        /// The option's name.
        option: &'static str,
        /// What is wrong with the value, and the range.
        detail: String,
    },
    /// A change feed asks for records of the log that were given up: it began too late, or fell behind.
    #[error(
        "the log begins at {oldest}, the change feed is at {from}; take a snapshot and subscribe from its number"
    )]
    Lagged {
        /// The first number that the feed has not given.
        from: u64,
        /// The oldest number that the log has.
        oldest: u64,
    },
    /// A batch needs more log than the ring can ever give it. Nothing was written.
    #[error(
        "batch of {operations} operations is too large: the log of this store takes {operations_max}"
    )]
    BatchTooLarge {
        /// Operations in the batch.
        operations: u64,
        /// Most that fit.
        operations_max: u64,
    },
    /// A write from within `Store::write`'s closure, outside the transaction handle.
    #[error("a write on the store from within its own transaction")]
    Nested,
    /// A write on a store that was opened read-only.
    #[error("the store is open read-only")]
    ReadOnly,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// This process is a fork of the one that opened the store. Nothing of the store may be used here but
    /// dropped, which changes nothing.
    #[error("{}: belongs to the process that opened it, of which this one is a fork", path.display())]
    Forked {
        /// The data file.
        path: PathBuf,
    },
    /// An earlier write or sync failed: what is on disk is unknown until the store is opened again.
    #[error("the store has failed ({cause}); open it again to go on from what is on disk")]
    Failed {
        /// The first failure.
        cause: String,
    },
    /// This write was in flight when a write or sync failed: it may or may not be on disk.
    #[error("outcome unknown: {cause}")]
    OutcomeUnknown {
        /// The failure.
        cause: String,
    },
    /// The transaction's closure asked for a rollback, or failed.
    #[error("transaction rolled back: {0}")]
    RolledBack(String),
}

impl Error {
    /// Of a file that is made under a temporary name: tells of `path`, the name that the caller gave.
    #[must_use]
    pub(crate) fn of_new_file(self, temporary: &Path, path: &Path) -> Self {
        let path = || path.to_path_buf();
        match self {
            Self::Io { path: at, action, source } if at == temporary => {
                let action = if action == "open" { "create" } else { action };
                Self::Io { path: path(), action, source }
            }
            Self::NoSpace { path: at, detail } if at == temporary => {
                Self::NoSpace { path: path(), detail }
            }
            // A new file is never missing: its directory is.
            Self::NotFound { path: at } if at == temporary => {
                let source = io::Error::new(io::ErrorKind::NotFound, "no such directory");
                Self::Io { path: path(), action: "create", source }
            }
            other => other,
        }
    }

    /// True if bytes on disk are damaged.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Corrupt { .. })
    }

    /// True if the same call may succeed later without the caller changing anything in the store.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Locked { .. } | Self::NoSpace { .. })
    }
}
