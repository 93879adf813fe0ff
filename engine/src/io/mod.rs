//! The disk: two traits through which every byte of the store passes, mapped stores included.
//!
//! [`OsDisk`] is the real one. With the feature `testing` come `RecordingDisk`, which remembers each
//! change so that a test can rebuild what a power cut would have left, and `FaultyDisk`, which fails
//! chosen operations. All of them keep real files underneath, so a descriptor is always there for `mmap`.
//!
//! Contract of an implementation:
//! - A read or write does all of what it was asked or fails; short transfers and interrupts stay inside.
//! - Nothing is retried after a failed sync: what reached the disk is then unknown, and the caller fails.
//! - Only [`DiskFile::allocate`] answers [`Error::NoSpace`]; a full disk met anywhere else is an I/O error,
//!   because something was already promised.
//! - No operation follows a symbolic link in the last component of a path, creates a file that others
//!   may read, or leaves a descriptor open across `exec`.

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::path::Path;

use crate::error::{Error, Result};

#[cfg(any(test, feature = "testing"))]
pub mod crash;
#[cfg(any(test, feature = "testing"))]
pub mod faulty;
pub mod map;
pub mod os;
#[cfg(any(test, feature = "testing"))]
pub mod record;
mod sys;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use sys::in_fork;
pub(crate) use sys::{forks, watch_forks};

#[cfg(any(test, feature = "testing"))]
pub use crash::{Choice, CrashImage, CrashModel};
#[cfg(any(test, feature = "testing"))]
pub use faulty::{Fault, FaultyDisk, OperationKind};
pub use map::FileMap;
pub use os::OsDisk;
#[cfg(any(test, feature = "testing"))]
pub use record::{FileId, Operation, RecordingDisk};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    ReadOnly,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A file that must not exist yet, for reading and writing, with mode 0600.
    CreateNew,
}

/// What a lock keeps out. It is held until the file is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Keeps writers out; others may hold it too.
    Shared,
    /// Keeps everybody else out who takes a lock of ours; programs that read HDF5 files may still read.
    Exclusive,
}

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// Nothing.
    Missing,
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, device, pipe or socket.
    Other,
}

/// Which file a path led to, however it was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileIdentity {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
}

/// A file system, a clock and a source of random bytes.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens the regular file at `path`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if nothing is there, [`Error::NotAStore`] if it is no regular file, else
    /// [`Error::Io`].
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>>;

    /// Gives the file at `from` the name `to`, which must not be in use.
    ///
    /// # Errors
    /// [`Error::Io`]; its source is [`io::ErrorKind::AlreadyExists`] if `to` is in use.
    fn rename_noreplace(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes the name `path`.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn remove(&self, path: &Path) -> Result<()>;

    /// Makes the names in the directory that holds `path` durable.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn sync_directory(&self, path: &Path) -> Result<()>;

    /// What lies at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if that cannot be told, as in a directory that may not be searched.
    fn kind(&self, path: &Path) -> Result<PathKind>;

    /// Fills `bytes` with random ones, fit for salts and seeds that an attacker must not guess.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn random(&self, bytes: &mut [u8]) -> Result<()>;

    /// Nanoseconds since 1970. May stand still or step back.
    fn now_nanos(&self) -> u64;
}

/// An open file. All methods take `&self`: positions are explicit and callers divide the file up.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// The path that it was opened by, for messages.
    fn path(&self) -> &Path;

    /// Fills `bytes` from `offset` on.
    ///
    /// # Errors
    /// [`Error::Io`]; its source is [`io::ErrorKind::UnexpectedEof`] if the file ends before that.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// [`Error::Io`]; then any part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Copies `bytes` into the file through `map`, a map of this file. Survives the end of the process
    /// when it returns, and a power cut after the next sync.
    ///
    /// # Errors
    /// [`Error::Io`] if the range is not aligned to 8 bytes or not [usable](FileMap::set_usable).
    fn store(&self, map: &FileMap, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Reserves real space for the range and extends the file to its end. Bytes that were not there
    /// before read as zero.
    ///
    /// # Errors
    /// [`Error::NoSpace`] if the disk, the quota or the largest file size does not allow it; the file
    /// is as long as before. Else [`Error::Io`].
    fn allocate(&self, offset: u64, bytes: u64) -> Result<()>;

    /// As [`allocate`](Self::allocate) from the file's end on, up to `end`, but in one step: a power cut leaves the file as
    /// long as before or as after, and never of a length in between.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    fn extend(&self, end: u64) -> Result<()>;

    /// Length of the file.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn len(&self) -> Result<u64>;

    /// True if the file has no bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Bytes that whoever runs this may still write to the file system, as far as it tells. A hint.
    fn free_bytes(&self) -> Option<u64> {
        None
    }

    /// Cuts or extends the file to this length, without reserving space.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn set_len(&self, bytes: u64) -> Result<()>;

    /// Reserves blocks for the file up to `end` without making it longer, so that [`extend`](Self::extend) finds them. A hint: it
    /// promises nothing. What was reserved is given back by [`set_len`](Self::set_len).
    fn reserve(&self, _end: u64) {}

    /// Lets the disk begin with what was written to a range, so that a later sync has less to wait for. A hint: it promises
    /// nothing, waits for nothing, and a failure of the disk is told by the sync all the same.
    fn begin_sync(&self, _offset: u64, _bytes: u64) {}

    /// Makes the content, and the length as far as it is needed to read it, durable (`fdatasync`).
    ///
    /// # Errors
    /// [`Error::Io`]; then what is on disk is unknown, and trying again tells nothing.
    fn sync_data(&self) -> Result<()>;

    /// Makes the content and all about the file durable (`fsync`).
    ///
    /// # Errors
    /// As [`sync_data`](Self::sync_data).
    fn sync_all(&self) -> Result<()>;

    /// Takes the lock without waiting, until it is [given back](Self::unlock) or the file is dropped.
    ///
    /// # Errors
    /// [`Error::Locked`] if another open file, of this process or another, has a lock that excludes it.
    /// Else [`Error::Io`].
    fn lock(&self, mode: LockMode) -> Result<()>;

    /// Gives the lock back before the file is dropped: others may hold on to a file that is closed.
    fn unlock(&self);

    /// Which file this is.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn identity(&self) -> Result<FileIdentity>;

    /// Maps the first `bytes` bytes for [`store`](Self::store). They may reach past the end of the file:
    /// only address space is taken, and nothing is usable until [`FileMap::set_usable`] says so.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn map(&self, bytes: u64) -> Result<FileMap>;

    /// The descriptor, open as long as this file is, for the code that maps segments.
    fn raw_fd(&self) -> RawFd;
}

/// The error of `action` on `path`.
pub(crate) fn io_error(path: &Path, action: &'static str, source: io::Error) -> Error {
    Error::Io { path: path.to_path_buf(), action, source }
}

/// True for the answers by which a system says that a file cannot get more space.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG))
}
