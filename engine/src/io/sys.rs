//! The system calls that the standard library does not offer. All unsafe code of `io` is here.
//!
//! Each function is a thin, safe cover: it takes borrowed Rust values, makes one call, and turns the
//! answer into an [`io::Result`]. Policy (fallbacks, error mapping, retries of a lock) is the caller's.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use memmap2::MmapRaw;

/// A lock on a byte range that belongs to the open file description: `F_RDLCK` or `F_WRLCK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RangeLock {
    Read,
    Write,
    /// No lock: gives back what is held.
    None,
}

/// Turns the answer of a call into a result.
fn check(answer: libc::c_int) -> io::Result<()> {
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes `flock(LOCK_SH)` without waiting.
pub(super) fn flock_shared(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open, since `file` is borrowed; the call touches no memory of ours.
    check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_SH | libc::LOCK_NB) })
}

/// Gives back what [`flock_shared`] took.
pub(super) fn flock_release(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open, since `file` is borrowed; the call touches no memory of ours.
    check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) })
}

fn range(lock: libc::c_int, start: i64, bytes: i64) -> libc::flock {
    libc::flock {
        l_type: lock as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: bytes,
        l_pid: 0,
    }
}

/// Locks `start..start + bytes` for this open file description without waiting.
pub(super) fn range_lock(file: &File, lock: RangeLock, start: i64, bytes: i64) -> io::Result<()> {
    let kind = match lock {
        RangeLock::Read => libc::F_RDLCK,
        RangeLock::Write => libc::F_WRLCK,
        RangeLock::None => libc::F_UNLCK,
    };
    let wanted = range(kind, start, bytes);
    // SAFETY: the descriptor is open, since `file` is borrowed; F_OFD_SETLK reads one `flock`, which
    // lives until the call returns.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const wanted) })
}

/// The range `(start, bytes)` of a lock that excludes a write lock on `start..start + bytes`.
pub(super) fn range_lock_holder(
    file: &File,
    start: i64,
    bytes: i64,
) -> io::Result<Option<(i64, i64)>> {
    let mut found = range(libc::F_WRLCK, start, bytes);
    // SAFETY: the descriptor is open, since `file` is borrowed; F_OFD_GETLK reads and writes one
    // `flock`, which is exclusively borrowed until the call returns.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut found) })?;
    let free = libc::c_int::from(found.l_type) == libc::F_UNLCK;
    Ok((!free).then_some((found.l_start, found.l_len)))
}

/// Reserves space for the range and extends the file to its end, or, with [`libc::FALLOC_FL_KEEP_SIZE`], does not.
pub(super) fn fallocate(file: &File, mode: libc::c_int, offset: u64, bytes: u64) -> io::Result<()> {
    let too_big = |_| io::Error::from_raw_os_error(libc::EFBIG);
    let offset = libc::off_t::try_from(offset).map_err(too_big)?;
    let bytes = libc::off_t::try_from(bytes).map_err(too_big)?;
    // SAFETY: the descriptor is open, since `file` is borrowed; the call touches no memory of ours.
    check(unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, bytes) })
}

/// Bytes that an unprivileged process may still write to the file system of a file.
pub(super) fn free_bytes(file: &File) -> io::Result<u64> {
    let mut found = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the descriptor is open, since `file` is borrowed; the call writes one `statvfs` to where the pointer leads.
    check(unsafe { libc::fstatvfs(file.as_raw_fd(), found.as_mut_ptr()) })?;
    // SAFETY: the call has succeeded, so all of it is written.
    let found = unsafe { found.assume_init() };
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Lets the kernel begin to write the dirty pages of a range. Its answer says nothing that a sync does not: without one of
/// the waits that could be asked for, the call takes no error away that an earlier write left for the sync.
pub(super) fn begin_writeback(file: &File, offset: u64, bytes: u64) {
    let (Ok(offset), Ok(bytes)) = (i64::try_from(offset), i64::try_from(bytes)) else { return };
    let (descriptor, flags) = (file.as_raw_fd(), libc::SYNC_FILE_RANGE_WRITE);
    // SAFETY: the descriptor is open, since `file` is borrowed; the call touches no memory of ours.
    unsafe { libc::sync_file_range(descriptor, offset, bytes, flags) };
}

/// Renames `from` to `to` unless `to` is in use.
pub(super) fn rename_noreplace(from: &CStr, to: &CStr) -> io::Result<()> {
    let (here, flags) = (libc::AT_FDCWD, libc::RENAME_NOREPLACE);
    // SAFETY: both paths end in a zero byte and live until the call returns; it only reads them.
    check(unsafe { libc::renameat2(here, from.as_ptr(), here, to.as_ptr(), flags) })
}

/// Fills a prefix of `bytes` with random ones and tells its length.
pub(super) fn random(bytes: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are those of one exclusively borrowed slice, which the call only writes.
    let filled = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    usize::try_from(filled).map_err(|_| io::Error::last_os_error())
}

/// Forks between this process and the one that first called [`watch_forks`].
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Runs in the child of a fork, where nothing may be called that takes a lock.
extern "C" fn count_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Which process this is, as far as forks go: a child tells another number than its parent. Counts from the first
/// [`watch_forks`] on.
#[inline]
pub(crate) fn forks() -> u32 {
    // Relaxed: a child has one thread when it changes.
    FORKS.load(Ordering::Relaxed)
}

/// Lets [`forks`] count.
pub(crate) fn watch_forks() -> io::Result<()> {
    static WATCHED: OnceLock<libc::c_int> = OnceLock::new();
    let answer = WATCHED.get_or_init(|| {
        // SAFETY: the handler is a function of this program, which does one atomic addition.
        unsafe { libc::pthread_atfork(None, None, Some(count_fork)) }
    });
    if *answer == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(*answer)) }
}

/// Runs `child` in a fork of this process; true if it answered true there.
#[cfg(test)]
pub(crate) fn in_fork(child: impl FnOnce() -> bool) -> io::Result<bool> {
    // SAFETY: the child runs on a copy of this thread alone. What it may not do is wait for a lock that another
    // thread had; the allocator's is looked after by the C library.
    let process = unsafe { libc::fork() };
    check(process)?;
    if process == 0 {
        let good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(false);
        // SAFETY: ends the child at once; nothing of the parent's is flushed or dropped twice.
        unsafe { libc::_exit(i32::from(!good)) };
    }
    let mut status = 0;
    // SAFETY: the child is ours and was not waited for; the call writes one number, which lives until it returns.
    check(unsafe { libc::waitpid(process, &raw mut status, 0) })?;
    Ok(status == 0)
}

/// `count` words of the map from byte `offset` on.
///
/// # Panics
/// If they are not inside the map, or not aligned.
pub(super) fn map_words(map: &MmapRaw, offset: usize, count: usize) -> &[AtomicU64] {
    let end = count.checked_mul(8).and_then(|bytes| bytes.checked_add(offset));
    assert!(offset.is_multiple_of(8) && end.is_some_and(|end| end <= map.len()));
    // SAFETY: `offset` is not above the length of the one allocation that the map is (checked above).
    let first = unsafe { map.as_mut_ptr().add(offset) };
    // SAFETY:
    // - aligned: maps start at a page, and `offset` is a multiple of 8 (checked above);
    // - valid for reads and writes, and initialised: inside the map (checked above), whose every byte is
    //   the file's, and which is writable and lives as long as the borrow;
    // - all accesses of this process to the map's memory go through this function, so they are atomic.
    unsafe { std::slice::from_raw_parts(first.cast(), count) }
}
