//! A disk that remembers each change, for tests that cut the power afterwards.
//!
//! [`RecordingDisk`] passes everything on to the disk below and appends what changed to one list, shared by
//! its clones. [`super::CrashModel`] turns a prefix of that list into the files that a power cut may leave.
//!
//! A change is listed when it is done, so a sync that runs beside it is not taken to cover it. A sync is
//! listed when it is done, with the length that the list had when it began: only changes before that are
//! durable by it. A write that failed is listed too, for part of it may have reached the disk.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::os::parent;
use super::{Disk, DiskFile, FileIdentity, FileMap, LockMode, OpenMode, PathKind};
use crate::error::Result;

/// A file of the record, whatever names it has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// One change of the disk.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Operation {
    /// A file that was there before was opened for the first time; all of it is durable.
    Found {
        /// The file.
        file: FileId,
        /// Its name.
        path: PathBuf,
        /// Its content.
        content: Arc<[u8]>,
    },
    /// An empty file was created.
    Create {
        /// The file.
        file: FileId,
        /// Its name.
        path: PathBuf,
    },
    /// Bytes were written.
    Write {
        /// The file.
        file: FileId,
        /// Where.
        offset: u64,
        /// What.
        bytes: Arc<[u8]>,
        /// Through a map: the write itself may be torn at any word.
        mapped: bool,
    },
    /// Space was reserved.
    Allocate {
        /// The file.
        file: FileId,
        /// End of the range; the file is at least as long.
        end: u64,
    },
    /// The file was cut or extended.
    SetLen {
        /// The file.
        file: FileId,
        /// The length.
        bytes: u64,
    },
    /// The file's content and length were synced.
    Sync {
        /// The file.
        file: FileId,
        /// Operations before this one, by position in the list, are durable.
        covers: usize,
    },
    /// A file got another name.
    Rename {
        /// Old name.
        from: PathBuf,
        /// New name.
        to: PathBuf,
    },
    /// A name was removed.
    Remove {
        /// The name.
        path: PathBuf,
    },
    /// The names in a directory were synced.
    SyncDirectory {
        /// The directory.
        directory: PathBuf,
        /// Operations before this one, by position in the list, are durable.
        covers: usize,
    },
}

#[derive(Debug, Default)]
struct Log {
    operations: Vec<Operation>,
    files: HashMap<FileIdentity, FileId>,
    file_count: u32,
}

impl Log {
    fn new_file(&mut self, identity: FileIdentity) -> FileId {
        let file = FileId(self.file_count);
        self.file_count += 1;
        self.files.insert(identity, file);
        file
    }
}

#[derive(Clone, Debug, Default)]
struct SharedLog(Arc<Mutex<Log>>);

impl SharedLog {
    fn lock(&self) -> MutexGuard<'_, Log> {
        // A test that panicked elsewhere leaves the list as it is: whole operations.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, operation: Operation) {
        self.lock().operations.push(operation);
    }

    fn length(&self) -> usize {
        self.lock().operations.len()
    }
}

/// A disk that remembers each change. Clones share the list.
#[derive(Clone, Debug)]
pub struct RecordingDisk {
    below: Arc<dyn Disk>,
    log: SharedLog,
}

impl RecordingDisk {
    /// A recorder over `below`, with an empty list.
    #[must_use]
    pub fn new(below: Arc<dyn Disk>) -> Self {
        Self { below, log: SharedLog::default() }
    }

    /// A copy of the list.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.log.lock().operations.clone()
    }

    /// Length of the list.
    #[must_use]
    pub fn operation_count(&self) -> usize {
        self.log.length()
    }
}

impl Disk for RecordingDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>> {
        let below = self.below.open(path, mode)?;
        let identity = below.identity()?;
        let path = path.to_path_buf();
        let mut log = self.log.lock();
        let file = match (mode, log.files.get(&identity)) {
            // Even if the inode was seen before: then its file is gone, and the number is used again.
            (OpenMode::CreateNew, _) => {
                let file = log.new_file(identity);
                log.operations.push(Operation::Create { file, path });
                file
            }
            (_, Some(file)) => *file,
            (_, None) => {
                let mut content = vec![0; below.len()? as usize];
                below.read_at(0, &mut content)?;
                let file = log.new_file(identity);
                log.operations.push(Operation::Found { file, path, content: content.into() });
                file
            }
        };
        drop(log);
        Ok(Box::new(RecordingFile { below, file, log: self.log.clone() }))
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> Result<()> {
        self.below.rename_noreplace(from, to)?;
        self.log.push(Operation::Rename { from: from.to_path_buf(), to: to.to_path_buf() });
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.below.remove(path)?;
        self.log.push(Operation::Remove { path: path.to_path_buf() });
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        let covers = self.log.length();
        self.below.sync_directory(path)?;
        let directory = parent(path).to_path_buf();
        self.log.push(Operation::SyncDirectory { directory, covers });
        Ok(())
    }

    fn kind(&self, path: &Path) -> Result<PathKind> {
        self.below.kind(path)
    }

    fn random(&self, bytes: &mut [u8]) -> Result<()> {
        self.below.random(bytes)
    }

    fn now_nanos(&self) -> u64 {
        self.below.now_nanos()
    }
}

#[derive(Debug)]
struct RecordingFile {
    below: Box<dyn DiskFile>,
    file: FileId,
    log: SharedLog,
}

impl RecordingFile {
    fn record_write(&self, offset: u64, bytes: &[u8], mapped: bool) {
        let (file, bytes) = (self.file, bytes.into());
        self.log.push(Operation::Write { file, offset, bytes, mapped });
    }

    fn record_sync(&self, sync: impl FnOnce() -> Result<()>) -> Result<()> {
        let covers = self.log.length();
        sync()?;
        self.log.push(Operation::Sync { file: self.file, covers });
        Ok(())
    }
}

impl DiskFile for RecordingFile {
    fn path(&self) -> &Path {
        self.below.path()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.below.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let outcome = self.below.write_at(offset, bytes);
        self.record_write(offset, bytes, false);
        outcome
    }

    fn store(&self, map: &FileMap, offset: u64, bytes: &[u8]) -> Result<()> {
        self.below.store(map, offset, bytes)?;
        self.record_write(offset, bytes, true);
        Ok(())
    }

    fn allocate(&self, offset: u64, bytes: u64) -> Result<()> {
        self.below.allocate(offset, bytes)?;
        self.log.push(Operation::Allocate { file: self.file, end: offset + bytes });
        Ok(())
    }

    fn extend(&self, end: u64) -> Result<()> {
        self.below.extend(end)?;
        self.log.push(Operation::Allocate { file: self.file, end });
        Ok(())
    }

    fn free_bytes(&self) -> Option<u64> {
        self.below.free_bytes()
    }

    fn len(&self) -> Result<u64> {
        self.below.len()
    }

    fn set_len(&self, bytes: u64) -> Result<()> {
        self.below.set_len(bytes)?;
        self.log.push(Operation::SetLen { file: self.file, bytes });
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        self.record_sync(|| self.below.sync_data())
    }

    fn sync_all(&self) -> Result<()> {
        self.record_sync(|| self.below.sync_all())
    }

    fn lock(&self, mode: LockMode) -> Result<()> {
        self.below.lock(mode)
    }

    fn unlock(&self) {
        self.below.unlock();
    }

    fn identity(&self) -> Result<FileIdentity> {
        self.below.identity()
    }

    fn map(&self, bytes: u64) -> Result<FileMap> {
        self.below.map(bytes)
    }

    fn raw_fd(&self) -> RawFd {
        self.below.raw_fd()
    }
}
