//! How a command can end other than well, and the exit code of each way.
//!
//! | code | meaning |
//! | ---: | --- |
//! | 0 | done |
//! | 1 | problems found, or nothing found |
//! | 2 | usage, or malformed input |
//! | 3 | the files are damaged, or not a store that this program can read |
//! | 4 | another process has the store |
//! | 5 | input or output failed; no such store; no space |

use std::fmt::{self, Display};
use std::io;
use std::path::{Path, PathBuf};

use cidstore::Error;

/// Exit code: problems or nothing found.
pub(crate) const NEGATIVE: u8 = 1;
/// Exit code: usage or malformed input.
pub(crate) const USAGE: u8 = 2;
/// Exit code: damaged or unreadable files.
pub(crate) const CORRUPT: u8 = 3;
/// Exit code: another process has the store.
pub(crate) const LOCKED: u8 = 4;
/// Exit code: input or output failed.
pub(crate) const IO: u8 = 5;

/// Result of a command, or of a part of one.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a command ended early. `Display` is the line that the user sees after `cidstore: `.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The answer is no: nothing found, or problems found.
    Negative(String),
    /// What the user wrote, on the command line or in a file, makes no sense.
    Usage(String),
    /// The store said no.
    Store(Error),
    /// A file other than the store's own.
    Io {
        /// The file, or what stands for it.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A file that can be read and is not what it would have to be.
    #[cfg(feature = "libhdf5")]
    Damaged(String),
    /// Standard output took no more.
    Output(io::Error),
}

impl Failure {
    /// A failed operation on a file other than the store's own, for `map_err`.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }

    /// Whoever read our output has gone: not an error of ours, and nobody is there to be told.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(source) if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Negative(_) => NEGATIVE,
            Self::Usage(_) => USAGE,
            Self::Store(error) => store_exit_code(error),
            #[cfg(feature = "libhdf5")]
            Self::Damaged(_) => CORRUPT,
            Self::Io { .. } | Self::Output(_) => IO,
        }
    }
}

fn store_exit_code(error: &Error) -> u8 {
    match error {
        Error::Corrupt { .. }
        | Error::NotAStore { .. }
        | Error::UnsupportedVersion { .. }
        | Error::WalMissing { .. }
        | Error::WalMismatch { .. } => CORRUPT,
        Error::Locked { .. } => LOCKED,
        Error::InvalidOption { .. } | Error::BatchTooLarge { .. } => USAGE,
        _ => IO,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

#[cfg(feature = "libhdf5")]
impl From<cidstore::exchange::ExchangeError> for Failure {
    fn from(error: cidstore::exchange::ExchangeError) -> Self {
        use cidstore::exchange::ExchangeError;
        match error {
            ExchangeError::Store(error) => Self::Store(error),
            ExchangeError::Io { path, action, source } => Self::Io { path, action, source },
            ExchangeError::Hdf5 { path, action, source } => {
                Self::Io { path, action, source: io::Error::other(source) }
            }
            ExchangeError::Exists { .. } => Self::Usage(error.to_string()),
            _ => Self::Damaged(error.to_string()),
        }
    }
}

impl Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Negative(message) | Self::Usage(message) => formatter.write_str(message),
            #[cfg(feature = "libhdf5")]
            Self::Damaged(message) => formatter.write_str(message),
            Self::Store(error) => write!(formatter, "{error}"),
            Self::Io { path, action, source } => {
                write!(formatter, "{}: {action}: {source}", path.display())
            }
            Self::Output(source) => write!(formatter, "standard output: {source}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_errors_have_the_promised_codes() {
        let path = PathBuf::from("s.h5");
        let io = || io::Error::from(io::ErrorKind::PermissionDenied);
        let table = [
            (Error::NotFound { path: path.clone() }, IO),
            (Error::Io { path: path.clone(), action: "open", source: io() }, IO),
            (Error::NoSpace { path: path.clone(), detail: String::new() }, IO),
            (Error::Locked { path: path.clone(), pid: Some(7) }, LOCKED),
            (Error::Corrupt { path: path.clone(), offset: 0, detail: String::new() }, CORRUPT),
            (Error::NotAStore { path: path.clone(), detail: String::new() }, CORRUPT),
            (Error::UnsupportedVersion { path: path.clone(), found: 9, supported: 1 }, CORRUPT),
            (Error::WalMissing { path: path.clone(), wal: path.clone() }, CORRUPT),
            (Error::InvalidOption { option: "wal_bytes", detail: String::new() }, USAGE),
        ];
        for (error, code) in table {
            assert_eq!(Failure::from(error).exit_code(), code);
        }
    }

    #[test]
    fn only_a_closed_pipe_is_quiet() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(Failure::Output(broken()).is_closed_pipe());
        let file = Error::Io { path: PathBuf::new(), action: "write", source: broken() };
        assert!(!Failure::from(file).is_closed_pipe());
        assert!(!Failure::Output(io::Error::from(io::ErrorKind::StorageFull)).is_closed_pipe());
        assert!(!Failure::Negative(String::new()).is_closed_pipe());
    }
}
