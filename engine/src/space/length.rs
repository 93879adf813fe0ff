//! How long the data file is: as long as its segments need, and longer where blocks were reserved before a write had to
//! wait for them.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Result;
use crate::io::DiskFile;
use crate::sync::whole::{Mutex, MutexGuard};

/// One in so many of the disk's free bytes is reserved ahead at most: the rest is for others, and for the log.
const AHEAD_PART: u64 = 8;

/// The length of the data file. Its lock comes after that of the layout.
#[derive(Debug)]
pub(crate) struct FileLength {
    /// Bytes that have their blocks. Stored with Release after the call that reserved them, and loaded with Acquire.
    allocated: AtomicU64,
    /// Bytes that the next segment would make it, 0 if nobody is to see to them.
    wanted: AtomicU64,
    /// Held by whoever makes the file longer or shorter.
    changing: Mutex<()>,
}

impl FileLength {
    /// For a file that has blocks up to `end`.
    pub(crate) fn new(end: u64) -> Self {
        Self { allocated: AtomicU64::new(end), wanted: AtomicU64::new(0), changing: Mutex::new(()) }
    }

    /// Makes sure that the file has blocks up to `end`. Waits for nothing if they were reserved ahead.
    ///
    /// # Errors
    /// As [`DiskFile::allocate`].
    pub(crate) fn reach(&self, end: u64, file: &dyn DiskFile) -> Result<()> {
        if end <= self.bytes() {
            return Ok(());
        }
        let _changing = self.changing();
        self.lengthen(end, file)
    }

    fn lengthen(&self, end: u64, file: &dyn DiskFile) -> Result<()> {
        let start = self.bytes();
        if start < end {
            file.allocate(start, end - start)?;
            self.allocated.store(end, Ordering::Release);
        }
        Ok(())
    }

    /// Bytes that have their blocks: the length of the file, but for what a killed process has left.
    pub(crate) fn bytes(&self) -> u64 {
        self.allocated.load(Ordering::Acquire)
    }

    /// Says how long the file will soon have to be.
    pub(crate) fn want(&self, end: u64) {
        // Relaxed, here and where it is read: a hint.
        self.wanted.store(end, Ordering::Relaxed);
    }

    /// True if [`reach_wanted`](Self::reach_wanted) has something to do.
    pub(crate) fn is_due(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > self.bytes()
    }

    /// Reserves the blocks that are wanted, if the disk has plenty. If not, whoever needs them asks for them, and is told.
    pub(crate) fn reach_wanted(&self, file: &dyn DiskFile) {
        let _changing = self.changing();
        let wanted = self.wanted.load(Ordering::Relaxed);
        let missing = wanted.saturating_sub(self.bytes());
        let has_plenty = file.free_bytes().is_some_and(|free| missing <= free / AHEAD_PART);
        if missing > 0 && (!has_plenty || self.lengthen(wanted, file).is_err()) {
            self.want(0);
        }
    }

    /// Cuts the file to `end`.
    ///
    /// # Errors
    /// As [`DiskFile::set_len`].
    pub(crate) fn cut(&self, end: u64, file: &dyn DiskFile) -> Result<()> {
        let _changing = self.changing();
        file.set_len(end)?;
        self.allocated.store(end, Ordering::Release);
        self.want(0);
        Ok(())
    }

    /// Gives back what lies beyond `end`: a reserve, or what a killed process has left.
    ///
    /// # Errors
    /// As [`cut`](Self::cut).
    pub(crate) fn cut_reserve(&self, end: u64, file: &dyn DiskFile) -> Result<()> {
        if file.len()? > end { self.cut(end, file) } else { Ok(()) }
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::sync::Arc;

    use super::*;
    use crate::io::faulty::{Fault, FaultyDisk, OperationKind};
    use crate::io::{Disk, OpenMode, OsDisk};

    const PAGE: u64 = 4096;

    fn on_new_file(test: impl FnOnce(&FaultyDisk, &dyn DiskFile, FileLength)) {
        let folder = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::new(Arc::new(OsDisk));
        let file = disk.open(&folder.path().join("data.h5"), OpenMode::CreateNew).unwrap();
        test(&disk, &*file, FileLength::new(0));
    }

    #[test]
    fn what_was_reserved_ahead_asks_the_disk_for_nothing() {
        on_new_file(|disk, file, length| {
            length.reach(PAGE, file).unwrap();
            length.want(5 * PAGE);
            assert!(length.is_due());
            length.reach_wanted(file);
            assert_eq!(file.len().unwrap(), 5 * PAGE);
            let calls = disk.count(OperationKind::Allocate);
            length.reach(5 * PAGE, file).unwrap();
            assert_eq!(disk.count(OperationKind::Allocate), calls);
            assert!(!length.is_due());
            length.reach(6 * PAGE, file).unwrap();
            assert_eq!(file.len().unwrap(), 6 * PAGE);
        });
    }

    #[test]
    fn a_disk_that_is_nearly_full_is_left_alone() {
        on_new_file(|disk, file, length| {
            let free = file.free_bytes().unwrap();
            length.want(free / 4);
            length.reach_wanted(file);
            assert_eq!(disk.count(OperationKind::Allocate), 0);
            assert!(!length.is_due(), "not tried again");
        });
    }

    #[test]
    fn a_refusal_is_left_to_who_needs_the_blocks() {
        on_new_file(|disk, file, length| {
            disk.inject(Fault::new(libc::ENOSPC).kind(OperationKind::Allocate).once());
            length.want(PAGE);
            length.reach_wanted(file);
            assert!(!length.is_due(), "not tried again");
            disk.inject(Fault::new(libc::ENOSPC).kind(OperationKind::Allocate).once());
            assert!(length.reach(PAGE, file).is_err(), "no blocks, no promise");
            length.reach(PAGE, file).unwrap();
            assert_eq!(file.len().unwrap(), PAGE);
        });
    }

    #[test]
    fn blocks_that_were_cut_off_are_asked_for_again() {
        on_new_file(|_, file, length| {
            length.reach(PAGE, file).unwrap();
            length.want(4 * PAGE);
            length.reach_wanted(file);
            length.cut(2 * PAGE, file).unwrap();
            assert_eq!(file.len().unwrap(), 2 * PAGE);
            assert!(!length.is_due());
            length.reach(3 * PAGE, file).unwrap();
            assert_eq!(file.len().unwrap(), 3 * PAGE);
            file.set_len(9 * PAGE).unwrap();
            length.cut_reserve(3 * PAGE, file).unwrap();
            assert_eq!(file.len().unwrap(), 3 * PAGE, "what a killed process has left");
        });
    }
}
