//! Creating a store: whole under a temporary name first, then renamed, so that no crash leaves half of one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use cidstore_core::crc::page_checksum;
use cidstore_core::hash::HashSeed;
use cidstore_core::layout::superblock::{FLAG_CLEAN, SEGMENTS_START, Superblock};
use cidstore_core::layout::table::{Space, TableKind, TableSlot};
use cidstore_core::layout::{PAGE_BYTES, PAGE_WORDS};
use cidstore_core::protocol::bucket_build::{self, Header};
use cidstore_core::protocol::bucket_seal;
use zerocopy::IntoBytes;

use crate::checkpoint::Checkpointer;
use crate::error::{Error, Result};
use crate::io::os::parent;
use crate::io::{Disk, DiskFile, OpenMode, PathKind};
use crate::options::Settings;
use crate::shared::{Checksums, Shared};
use crate::space::layout::{FileLayout, Regions};
use crate::space::region::Region;
use crate::sync::whole::Mutex;
use crate::table::LiveTables;
use crate::table::shadow::ShadowTable;
use crate::view::ViewKeeper;
use crate::wal;

/// Creates an empty, cleanly closed store at `path`, where nothing was a moment ago. Its log comes with the first
/// open. If somebody else creates one meanwhile, that one stays.
pub(crate) fn create(disk: &dyn Disk, path: &Path, settings: &Settings) -> Result<()> {
    if !is_free_for_log(disk, path, &settings.wal_path)? {
        return Ok(());
    }
    let temporary = temporary_name(disk, path)?;
    let built = build(disk, &temporary, settings).and_then(|()| {
        match disk.rename_noreplace(&temporary, path) {
            // Another process was faster; its store is as good as ours.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
                disk.remove(&temporary)
            }
            renamed => renamed,
        }
    });
    if let Err(error) = built {
        // What failed is the error to tell; a temporary file that stays harms nobody.
        if let Err(left) = disk.remove(&temporary) {
            tracing::warn!(%left, "a temporary file was left behind");
        }
        return Err(error.of_new_file(&temporary, path));
    }
    disk.sync_directory(path)
}

/// Whether the log can come where it is to be. Looked at first, since the log comes after the data file, which would be
/// left behind alone.
///
/// False if another opener has made the store, and its log, since the caller looked: a log never comes first.
fn is_free_for_log(disk: &dyn Disk, path: &Path, wal_path: &Path) -> Result<bool> {
    if disk.kind(wal_path)? != PathKind::Missing {
        if disk.kind(path)? != PathKind::Missing {
            return Ok(false);
        }
        // What is no log is called what it is.
        wal::read_header(&*disk.open(wal_path, OpenMode::ReadOnly)?)?;
        // A log without its data file is somebody's last hope: it is not ours to overwrite.
        return Err(Error::WalMismatch { path: path.into(), wal: wal_path.into() });
    }
    for file in [path, wal_path] {
        // The dot has a link to the directory followed.
        if disk.kind(&parent(file).join("."))? == PathKind::Missing {
            return Err(Error::NotFound { path: file.into() }.of_new_file(file, file));
        }
    }
    Ok(true)
}

/// A name beside `path` that nothing has.
pub(crate) fn temporary_name(disk: &dyn Disk, path: &Path) -> Result<PathBuf> {
    let mut random = [0; 8];
    disk.random(&mut random)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".new-{:016x}", u64::from_le_bytes(random)));
    Ok(name.into())
}

/// Writes an empty store to a new file and syncs it.
fn build(disk: &dyn Disk, path: &Path, settings: &Settings) -> Result<()> {
    let file: Arc<dyn DiskFile> = Arc::from(disk.open(path, OpenMode::CreateNew)?);
    file.allocate(0, SEGMENTS_START)?;
    let map_error = |source| Error::Io { path: path.into(), action: "map", source };
    let regions = Regions {
        buckets: Region::reserve().map_err(map_error)?,
        values: Region::reserve().map_err(map_error)?,
    };
    let mut files = FileLayout::empty(settings.max_bytes);
    for space in Space::ALL {
        files.ensure_free(space, 1, &*file, &regions)?;
    }
    let slot = write_first_bucket(&*file, &mut files)?;
    let mut superblock = Superblock::new();
    fill_random(disk, &mut superblock)?;
    if let Some(seed) = settings.hash_seed {
        superblock.hash_seed = seed;
    }
    superblock.created_nanos = disk.now_nanos();
    superblock.flags = FLAG_CLEAN;
    let tables = LiveTables::reserve().map_err(map_error)?;
    let checks = (Checksums::reserve().map_err(map_error)?, false);
    let shared = Shared::new(path.into(), file, regions, tables, superblock.hash_seed, checks);
    let mut checkpointer = Checkpointer {
        shared: Arc::new(shared),
        files: Arc::new(Mutex::new(files)),
        shadows: [ShadowTable::default(), ShadowTable::default(), ShadowTable::default()],
        newest: superblock,
        older: superblock,
        retired_tables: Vec::new(),
        view: ViewKeeper::new(settings.view.clone()),
        bucket_count: 1,
        spare_in_vain: 0,
    };
    checkpointer.shadows[TableKind::Directory as usize].set(0, slot);
    checkpointer.write_superblock(superblock)?;
    checkpointer.rewrite(|_| ())?;
    checkpointer.shared.file.sync_all()
}

/// File id, hash seed and log salt.
fn fill_random(disk: &dyn Disk, superblock: &mut Superblock) -> Result<()> {
    let mut random = [0; 24];
    disk.random(&mut superblock.file_id)?;
    disk.random(&mut random)?;
    let [high, low, salt]: [u64; 3] = zerocopy::transmute!(random);
    superblock.hash_seed = HashSeed { high, low };
    superblock.wal_salt = salt;
    Ok(())
}

/// Writes the bucket page of a directory of depth 0.
fn write_first_bucket(file: &dyn DiskFile, files: &mut FileLayout) -> Result<TableSlot> {
    let page: Box<[AtomicU64; PAGE_WORDS]> = Box::new([const { AtomicU64::new(0) }; PAGE_WORDS]);
    let header = Header { local_depth: 0, prefix: 0, generation: 0, overflow: 0 };
    if bucket_build::build(&page, &header, &[]).is_err() {
        unreachable!("an empty bucket fits a page");
    }
    let mut words = page.each_ref().map(|word| word.load(std::sync::atomic::Ordering::Relaxed));
    bucket_seal::seal_words(&mut words);
    let Some((run, offset)) = files.take_run(Space::Buckets, 1) else {
        unreachable!("a free page was made sure of");
    };
    file.write_at(offset, words.as_bytes())?;
    let bytes: &[u8; PAGE_BYTES] = zerocopy::transmute_ref!(&words);
    Ok(TableSlot { page: run.start, checksum: page_checksum(Space::Buckets, run.start, bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::Store;
    use crate::io::OsDisk;

    #[test]
    fn an_opener_that_comes_late_leaves_the_store_of_the_first_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.h5");
        let store = Store::options().open(&path).unwrap();
        store.insert(1, 2).unwrap();
        let before = std::fs::read(&path).unwrap();
        // It saw nothing at `path`; by the time it creates, file and log are there.
        create(&OsDisk, &path, &Store::options().settings(&path).unwrap()).unwrap();
        assert!(std::fs::read(&path).unwrap() == before);
        store.close().unwrap();
        std::fs::remove_file(&path).unwrap();
        let orphaned = create(&OsDisk, &path, &Store::options().settings(&path).unwrap());
        assert!(matches!(orphaned, Err(Error::WalMismatch { .. })));
    }
}
