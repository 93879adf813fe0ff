//! A disk whose random bytes and clock are always the same, so that a store built twice is the same twice.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use cidstore_engine::error::Result;
use cidstore_engine::io::{Disk, DiskFile, OpenMode, OsDisk, PathKind};

use crate::random::Random;

/// The real disk, except that nothing about it is left to chance.
#[derive(Debug)]
pub struct FixedDisk {
    random: Mutex<Random>,
    nanos: AtomicU64,
}

impl FixedDisk {
    /// The disk with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: Mutex::new(Random::new(seed)), nanos: AtomicU64::new(0) }
    }
}

impl Disk for FixedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>> {
        OsDisk.open(path, mode)
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> Result<()> {
        OsDisk.rename_noreplace(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        OsDisk.remove(path)
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        OsDisk.sync_directory(path)
    }

    fn kind(&self, path: &Path) -> Result<PathKind> {
        OsDisk.kind(path)
    }

    fn random(&self, bytes: &mut [u8]) -> Result<()> {
        let mut random = self.random.lock().expect("no panic under the lock");
        bytes.fill_with(|| random.word() as u8);
        Ok(())
    }

    fn now_nanos(&self) -> u64 {
        // Relaxed: a clock that only has to go on.
        self.nanos.fetch_add(1, Ordering::Relaxed)
    }
}
