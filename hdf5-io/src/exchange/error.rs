//! What can go wrong between two files.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
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

    /// The same of a file that goes by the name `shown`: `actual` is a temporary one that nobody finds any more. What lies
    /// beside it, as its log, is renamed with it.
    pub(super) fn renamed(mut self, actual: &Path, shown: &Path) -> Self {
        use cidstore_engine::Error as Store;
        match &mut self {
            Self::Exists { path }
            | Self::Hdf5 { path, .. }
            | Self::Io { path, .. }
            | Self::Content { path, .. }
            | Self::Store(
                Store::Io { path, .. }
                | Store::NoSpace { path, .. }
                | Store::Locked { path, .. }
                | Store::NotFound { path }
                | Store::NotAStore { path, .. }
                | Store::UnsupportedVersion { path, .. }
                | Store::Corrupt { path, .. },
            ) => {
                let bytes = path.as_os_str().as_encoded_bytes();
                if let Some(rest) = bytes.strip_prefix(actual.as_os_str().as_encoded_bytes()) {
                    let mut name = shown.as_os_str().to_owned();
                    name.push(OsStr::from_bytes(rest));
                    *path = name.into();
                }
            }
            // The other answers of a store name no file, or come of a log that a new store cannot have.
            Self::Store(_) => {}
        }
        self
    }

    /// Something in a file that is not what it would have to be.
    pub(super) fn content(path: &Path, object: &str, detail: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), object: object.to_owned(), detail: detail.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_file_is_called_by_the_name_it_was_to_have() {
        let (actual, shown) = (Path::new("d/.cidstore-1/store"), Path::new("d/new.h5"));
        let io = |path: &str| {
            let failed = ExchangeError::io(Path::new(path), "write")(io::Error::other("full"));
            failed.renamed(actual, shown).to_string()
        };
        assert_eq!(io("d/.cidstore-1/store"), "d/new.h5: write: full");
        assert_eq!(io("d/.cidstore-1/store-wal"), "d/new.h5-wal: write: full");
        assert_eq!(io("d/source.h5"), "d/source.h5: write: full");
        let full = cidstore_engine::Error::NoSpace { path: actual.into(), detail: "full".into() };
        let full = ExchangeError::Store(full).renamed(actual, shown);
        assert_eq!(full.to_string(), "d/new.h5: no space: full");
    }
}
