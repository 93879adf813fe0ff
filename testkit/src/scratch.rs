//! Directories in which stores live for the length of a test, and what their files look like from outside.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cidstore_engine::Store;
use tempfile::TempDir;

/// A memory file system must have this much free before tests rely on it: containers often get 64 MiB.
const MEMORY_BYTES_WANTED: u64 = 4 << 30;
/// Times that a copy of a live store is tried before the test gives up.
const COPY_ATTEMPTS: usize = 20;

/// A directory of a test's own with room for one store; gone when dropped.
#[derive(Debug)]
pub struct Scratch {
    directory: TempDir,
}

impl Scratch {
    /// A directory in memory where the machine has enough of it, else on disk. For tests that sync often.
    #[must_use]
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let roomy = rustix::fs::statvfs(memory)
            .is_ok_and(|space| space.f_bavail * space.f_frsize >= MEMORY_BYTES_WANTED);
        if roomy { Self::within(memory) } else { Self::on_disk() }
    }

    /// A directory where the system keeps temporary files.
    #[must_use]
    pub fn on_disk() -> Self {
        Self::within(&std::env::temp_dir())
    }

    /// A directory below `parent`.
    #[must_use]
    pub fn within(parent: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("cidstore-test-").tempdir_in(parent);
        Self { directory: directory.expect("a scratch directory") }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The data file of the store.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path().join("data.h5")
    }

    /// The log of the store.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path().join("data.h5-wal")
    }

    /// The bytes of the data file.
    #[must_use]
    pub fn data_bytes(&self) -> Vec<u8> {
        fs::read(self.data()).expect("the data file")
    }

    /// The bytes of the log.
    #[must_use]
    pub fn log_bytes(&self) -> Vec<u8> {
        fs::read(self.log()).expect("the log")
    }

    /// The files of this directory in a fresh one of the same kind.
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::within(self.path().parent().expect("a parent"));
        self.copy_into(&copy);
        copy
    }

    /// The files of a store that is open, as a `kill -9` at this moment would leave them.
    ///
    /// A kill takes nothing from the page cache, so copying the files is the same as killing, provided that
    /// nobody writes meanwhile. The caller's own threads are its own business; a checkpoint in the background
    /// is harmless until it is done, because it writes only to pages that are free in both superblocks. If one
    /// is done before the copy is, the next may reuse what the copy's superblock names: the copy is made again.
    #[must_use]
    pub fn copy_as_killed(&self, store: &Store) -> Self {
        for _ in 0..COPY_ATTEMPTS {
            let before = store.stats().checkpoints;
            let copy = self.copy();
            if store.stats().checkpoints == before {
                return copy;
            }
        }
        panic!("checkpoints never paused for as long as a copy takes");
    }

    /// What lies in the directory, to the byte.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.path())
    }

    fn copy_into(&self, copy: &Self) {
        // The data file first: a log that is younger than the superblock replays, an older one does not.
        let mut names: Vec<_> = entries(self.path());
        names.sort();
        for path in names {
            let name = path.file_name().expect("a name");
            fs::copy(&path, copy.path().join(name)).expect("copy a file");
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// The files of a directory: names, bytes and times of change. Equal means that nobody wrote.
#[derive(PartialEq, Eq)]
pub struct Fingerprint {
    files: BTreeMap<PathBuf, (Vec<u8>, SystemTime)>,
}

impl Fingerprint {
    /// What lies in `directory` now.
    #[must_use]
    pub fn of(directory: &Path) -> Self {
        let read = |path: PathBuf| {
            let about = fs::symlink_metadata(&path).expect("metadata");
            let bytes = if about.is_file() { fs::read(&path).expect("bytes") } else { Vec::new() };
            (path, (bytes, about.modified().expect("a time of change")))
        };
        Self { files: entries(directory).into_iter().map(read).collect() }
    }
}

impl std::fmt::Debug for Fingerprint {
    /// Names, lengths and times: the bytes would drown the message of a failed assertion.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let brief = self.files.iter().map(|(path, (bytes, time))| (path, (bytes.len(), time)));
        out.debug_map().entries(brief).finish()
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}
