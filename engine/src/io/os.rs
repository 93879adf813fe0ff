//! The real disk: the files of the operating system.
//!
//! **Locks.** Two kinds lie on the data file. `flock(LOCK_SH)` is what programs that use libhdf5 look at: they
//! may read beside us, and are refused when they open for writing. Among ourselves a lock of the *open file
//! description* on a byte range counts, a read lock or a write lock; libhdf5 does not look at it. It
//! belongs to the opened file, not to the process, so a second open in the same process is refused too.
//! The system does not tell who holds such a lock, but it tells the range: so the range starts at
//! `LOCK_START`, where all conflict, and is as long as the process id of its holder plus one.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::sys::{self, RangeLock};
use super::{
    Disk, DiskFile, FileIdentity, FileMap, LockMode, OpenMode, PathKind, io_error, is_no_space,
};
use crate::error::{Error, Result};

/// First byte of the locked range: far beyond any byte of a file.
const LOCK_START: i64 = 1 << 62;
/// How often a lock is tried that nobody held when the holder was asked for.
const LOCK_TRIES: usize = 16;
/// Piece in which zeros are written where the file system cannot reserve space.
const ZEROS_BYTES: usize = 1 << 16;

/// What is no file is called the same however it is met: a directory opens for reading, and does not for writing.
const A_DIRECTORY: &str = "a directory";
const NO_FILE: &str = "not a regular file";

/// The file system, clock and random source of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(mode != OpenMode::ReadOnly)
            .create_new(mode == OpenMode::CreateNew);
        // O_NONBLOCK: a pipe at this path must be refused below, not waited for. (O_CLOEXEC is the
        // standard library's default.)
        options.mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
        let file = options.open(path).map_err(|error| open_error(path, error))?;
        let kind = file.metadata().map_err(|error| io_error(path, "open", error))?.file_type();
        if !kind.is_file() {
            let detail = if kind.is_dir() { A_DIRECTORY } else { NO_FILE };
            return Err(Error::NotAStore { path: path.to_path_buf(), detail: detail.into() });
        }
        Ok(Box::new(OsFile { file, path: path.to_path_buf() }))
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> Result<()> {
        let attempt = || {
            let from_c = CString::new(from.as_os_str().as_bytes())?;
            let to_c = CString::new(to.as_os_str().as_bytes())?;
            match sys::rename_noreplace(&from_c, &to_c) {
                // The file system (NFS for one) lacks the flag: a second name never replaces either.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    fs::hard_link(from, to)?;
                    fs::remove_file(from)
                }
                other => other,
            }
        };
        attempt().map_err(|error| io_error(to, "rename", error))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).map_err(|error| io_error(path, "remove", error))
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        let directory = parent(path);
        File::open(directory)
            .and_then(|opened| opened.sync_all())
            .map_err(|error| io_error(directory, "sync", error))
    }

    fn kind(&self, path: &Path) -> Result<PathKind> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_file() => Ok(PathKind::File),
            Ok(metadata) if metadata.is_dir() => Ok(PathKind::Directory),
            Ok(_) => Ok(PathKind::Other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(PathKind::Missing),
            Err(error) => Err(io_error(path, "open", error)),
        }
    }

    fn random(&self, bytes: &mut [u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match sys::random(rest) {
                Ok(filled) => rest = rest.get_mut(filled..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io_error(Path::new("getrandom"), "read", error)),
            }
        }
        Ok(())
    }

    fn now_nanos(&self) -> u64 {
        // A clock before 1970 reads as 1970; one after 2554 as 2554.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The directory that holds `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        Some(_) => Path::new("."),
        None => path,
    }
}

fn open_error(path: &Path, error: io::Error) -> Error {
    let not_a_store =
        |detail: &str| Error::NotAStore { path: path.to_path_buf(), detail: detail.to_string() };
    match error.raw_os_error() {
        Some(libc::ENOENT) => Error::NotFound { path: path.to_path_buf() },
        Some(libc::EISDIR) => not_a_store(A_DIRECTORY),
        Some(libc::ELOOP) => not_a_store("a symbolic link, which is not followed"),
        // What opening a socket, or a device without a driver, for reading and writing answers.
        Some(libc::ENXIO | libc::ENODEV) => not_a_store(NO_FILE),
        _ => io_error(path, "open", error),
    }
}

/// An open file of the operating system.
#[derive(Debug)]
struct OsFile {
    file: File,
    path: PathBuf,
}

impl OsFile {
    fn error(&self, action: &'static str) -> impl FnOnce(io::Error) -> Error + '_ {
        move |source| io_error(&self.path, action, source)
    }

    /// Takes the lock on the range, or names the process that holds it.
    fn lock_range(&self, lock: RangeLock) -> Result<()> {
        let bytes = i64::from(std::process::id()) + 1;
        for _ in 0..LOCK_TRIES {
            match sys::range_lock(&self.file, lock, LOCK_START, bytes) {
                Ok(()) => return Ok(()),
                Err(error) if is_held(&error) => {}
                Err(error) => return Err(io_error(&self.path, "lock", error)),
            }
            let holder = sys::range_lock_holder(&self.file, LOCK_START, bytes);
            // None: the holder let go between the two calls, so the lock is worth another try.
            if let Some((_, bytes)) = holder.map_err(self.error("lock"))? {
                let pid = u32::try_from(bytes - 1).ok().filter(|pid| *pid != 0);
                return Err(Error::Locked { path: self.path.clone(), pid });
            }
        }
        Err(Error::Locked { path: self.path.clone(), pid: None })
    }

    /// Reserves space; if that fails half way, the file is cut to its old length again.
    fn allocate_or_undo(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let too_big = || io::Error::from_raw_os_error(libc::EFBIG);
        let end = offset.checked_add(bytes).ok_or_else(too_big)?;
        let before = self.file.metadata()?.len();
        let done = match self.fallocate(0, offset, bytes) {
            Err(error) if is_not_supported(&error) => self.write_zeros(before, end),
            other => other,
        };
        if done.is_err() && self.file.metadata()?.len() > before {
            self.file.set_len(before)?;
        }
        done
    }

    /// As [`allocate_or_undo`](Self::allocate_or_undo) from the file's end on, which moves in one step. `fallocate` alone would
    /// move it with each piece that it reserves.
    fn extend_or_undo(&self, end: u64) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        let Some(bytes) = end.checked_sub(before).filter(|bytes| *bytes > 0) else { return Ok(()) };
        let done = match self.fallocate(libc::FALLOC_FL_KEEP_SIZE, before, bytes) {
            Ok(()) => self.file.set_len(end),
            Err(error) if is_not_supported(&error) => {
                self.file.set_len(end).and_then(|()| self.write_zeros(before, end))
            }
            Err(error) => Err(error),
        };
        if done.is_err() {
            self.file.set_len(before)?;
        }
        done
    }

    fn fallocate(&self, mode: libc::c_int, offset: u64, bytes: u64) -> io::Result<()> {
        loop {
            match sys::fallocate(&self.file, mode, offset, bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// What a refusal to reserve space means.
    fn no_space_or(&self, error: io::Error, wanted: impl FnOnce() -> String) -> Error {
        if is_no_space(&error) {
            Error::NoSpace { path: self.path.clone(), detail: format!("{}: {error}", wanted()) }
        } else {
            io_error(&self.path, "allocate", error)
        }
    }

    /// Reserves space where `fallocate` is not known.
    fn write_zeros(&self, start: u64, end: u64) -> io::Result<()> {
        let zeros = vec![0; ZEROS_BYTES];
        let mut at = start;
        while at < end {
            let piece = (end - at).min(ZEROS_BYTES as u64) as usize;
            self.file.write_all_at(zeros.get(..piece).unwrap_or_default(), at)?;
            at += piece as u64;
        }
        Ok(())
    }
}

/// True if the file system cannot reserve space.
fn is_not_supported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EOPNOTSUPP)
}

/// True if the answer to a lock that does not wait means that another holds it.
fn is_held(error: &io::Error) -> bool {
    // POSIX allows both for a range lock.
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES))
}

impl DiskFile for OsFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(bytes, offset).map_err(self.error("read"))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(self.error("write"))
    }

    fn store(&self, map: &FileMap, offset: u64, bytes: &[u8]) -> Result<()> {
        map.store(offset, bytes).map_err(self.error("write"))
    }

    fn allocate(&self, offset: u64, bytes: u64) -> Result<()> {
        self.allocate_or_undo(offset, bytes)
            .map_err(|error| self.no_space_or(error, || format!("{bytes} bytes more at {offset}")))
    }

    fn extend(&self, end: u64) -> Result<()> {
        self.extend_or_undo(end)
            .map_err(|error| self.no_space_or(error, || format!("to be {end} bytes long")))
    }

    fn free_bytes(&self) -> Option<u64> {
        sys::free_bytes(&self.file).ok()
    }

    fn len(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(self.error("read"))?.len())
    }

    fn set_len(&self, bytes: u64) -> Result<()> {
        self.file.set_len(bytes).map_err(self.error("truncate"))
    }

    fn reserve(&self, end: u64) {
        let reserved = self.file.metadata().and_then(|found| {
            let bytes = end.saturating_sub(found.len());
            self.fallocate(libc::FALLOC_FL_KEEP_SIZE, found.len(), bytes)
        });
        if let Err(error) = reserved {
            tracing::debug!(path = %self.path.display(), %error, "no blocks reserved");
        }
    }

    fn begin_sync(&self, offset: u64, bytes: u64) {
        sys::begin_writeback(&self.file, offset, bytes);
    }

    fn sync_data(&self) -> Result<()> {
        self.file.sync_data().map_err(self.error("sync"))
    }

    fn sync_all(&self) -> Result<()> {
        self.file.sync_all().map_err(self.error("sync"))
    }

    fn lock(&self, mode: LockMode) -> Result<()> {
        match sys::flock_shared(&self.file) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Error::Locked { path: self.path.clone(), pid: None });
            }
            Err(error) => return Err(io_error(&self.path, "lock", error)),
        }
        self.lock_range(match mode {
            LockMode::Shared => RangeLock::Read,
            LockMode::Exclusive => RangeLock::Write,
        })
    }

    fn unlock(&self) {
        let bytes = i64::from(std::process::id()) + 1;
        let ranged = sys::range_lock(&self.file, RangeLock::None, LOCK_START, bytes);
        if let Err(error) = ranged.and_then(|()| sys::flock_release(&self.file)) {
            // The system gives it back when the file is dropped.
            tracing::warn!(path = %self.path.display(), %error, "giving a lock back");
        }
    }

    fn identity(&self) -> Result<FileIdentity> {
        let metadata = self.file.metadata().map_err(self.error("read"))?;
        Ok(FileIdentity { device: metadata.dev(), inode: metadata.ino() })
    }

    fn map(&self, bytes: u64) -> Result<FileMap> {
        FileMap::new(self.file.as_raw_fd(), bytes).map_err(self.error("map"))
    }

    fn raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}
