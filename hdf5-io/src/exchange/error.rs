//! What can go wrong between two files.

use std::io;
use std::path::{Path, PathBuf};

/// Why an export or import came to nothing. Whatever it says, nothing was left behind and nothing was half done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The store said no: the one that is exported, or the one that takes the import.
    #[error(transparent)]
    Store(#[from] cidstore_engine::Error),
    /// Something is at the destination, and it was not said that it may be replaced.
    #[error("{}: exists already", path.display())]
    Exists {
        /// The destination.
        path: PathBuf,
    },
    /// The HDF5 library could not do something that has nothing to do with what is in the file.
    #[error("{}: {action}: {source}", path.display())]
    Hdf5 {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The library's answer.
        #[source]
        source: hdf5::Error,
    },
    /// An operation of the system failed.
    #[error("{}: {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The file can be read and is not what it would have to be.
    #[error("{}: {object}: {detail}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The HDF5 object at fault; `/` for the file as a whole.
        object: String,
        /// What was found, and what was expected.
        detail: String,
    },
}

/// Result of an export or import, or of a part of one.
pub type Result<T> = std::result::Result<T, ExchangeError>;

impl ExchangeError {
    /// A failed operation of the system, for `map_err`.
    pub(super) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }

    /// A failed call of the library, for `map_err`.
    pub(super) fn hdf5(path: &Path, action: &'static str) -> impl FnOnce(hdf5::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Hdf5 { path, action, source }
    }

    /// Something in a file that is not what it would have to be.
    pub(super) fn content(path: &Path, object: &str, detail: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), object: object.to_owned(), detail: detail.into() }
    }
}
