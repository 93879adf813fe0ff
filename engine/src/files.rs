//! [`Storage`] and [`Wal`]: the two files of a store, named before it is opened and looked at while it is.

use std::path::{Path, PathBuf};

#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::handle::Store;
use crate::io::{Disk, DiskFile, OpenMode, OsDisk, PathKind};
use crate::store::open::read_superblocks;
use crate::wal;

/// The data file of a store: buckets, value sets, tables.
///
/// Holds no lock and nothing open: it says which file is meant, and how long it was at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Storage {
    /// Where the file lies.
    pub path: PathBuf,
    /// Its length in bytes; 0 if it does not exist.
    pub bytes: u64,
}

/// The write-ahead log of a store.
///
/// Like [`Storage`], it names a file and holds nothing open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wal {
    /// Where the file lies.
    pub path: PathBuf,
    /// Its length in bytes; 0 if it does not exist.
    pub bytes: u64,
}

impl Storage {
    /// Names a data file. It need not exist; nothing is created or changed.
    ///
    /// # Errors
    ///
    /// [`Error::NotAStore`], [`Error::UnsupportedVersion`] or [`Error::Corrupt`] if there is something else at the
    /// path, [`Error::Io`] if it can't be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = length_of(path, |file| read_superblocks(file).map(drop))?;
        Ok(Self { path: path.into(), bytes })
    }
}

impl Wal {
    /// Names a log. It need not exist; nothing is created or changed.
    ///
    /// # Errors
    ///
    /// As [`Storage::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = length_of(path, |file| wal::read_header(file).map(drop))?;
        Ok(Self { path: path.into(), bytes })
    }
}

/// Length of the file at a path, once `check` has found it to be what it should; 0 if there is none.
fn length_of(path: &Path, check: impl FnOnce(&dyn DiskFile) -> Result<()>) -> Result<u64> {
    if OsDisk.kind(path)? == PathKind::Missing {
        return Ok(0);
    }
    let file = OsDisk.open(path, OpenMode::ReadOnly)?;
    check(&*file)?;
    file.len()
}

impl Store {
    /// Opens the store in these two files with default options: creates it if neither exists, recovers it if it was not
    /// closed.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn new(storage: Storage, wal: Wal) -> Result<Self> {
        Self::options().wal_path(wal.path).open(storage.path)
    }

    /// The data file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if its length can't be read. Else see [`Store`].
    pub fn storage(&self) -> Result<Storage> {
        let shared = &self.engine().shared;
        shared.check_open()?;
        Ok(Storage { path: shared.path.clone(), bytes: shared.file.len()? })
    }

    /// The log. A store that is only read has none open: it looks at the path again, and tells 0 bytes if nothing is there.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if its length can't be read. Else see [`Store`].
    pub fn wal(&self) -> Result<Wal> {
        let engine = self.engine();
        engine.shared.check_open()?;
        let path = &engine.settings.wal_path;
        match &engine.wal {
            // Not by its path, which leads elsewhere if it is relative and the current directory has changed.
            Some(wal) => Ok(Wal { path: path.clone(), bytes: wal.bytes()? }),
            None => Wal::open(path),
        }
    }
}
