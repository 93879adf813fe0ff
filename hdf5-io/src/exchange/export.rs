//! Export: a snapshot of a store as a clean, canonical HDF5 file that is a store as well.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use cidstore_core::E;
use cidstore_core::hash::HashSeed;
use cidstore_core::layout::table::{TableRoot, TableSlot};
use cidstore_core::sethash::mix;
use cidstore_engine::{Error, Snapshot, Store};
use tempfile::NamedTempFile;

use super::canonical::plan::{Plan, SCAN_END};
use super::compress::{self, Description};
use super::container::Container;
use super::error::{ExchangeError, Result};
use super::image::{Identity, Image, PartPages, SlotCounts};
use super::pages::{Checksums, Pages};
use super::{ExportOptions, Exported, Progress, Stage};

/// Exports what is in `store` now to a new file at `destination`.
///
/// The file is written under a temporary name beside it, synced, and renamed: it is there whole or not at all.
/// Writers of the store go on meanwhile, and are not seen.
///
/// # Errors
/// [`ExchangeError::Exists`] if something is at `destination` and [`ExportOptions::replace`] does not allow it, or a
/// log is beside it; [`ExchangeError::Io`] if a folder or `store` itself is there; [`Error::Locked`] if another store is that
/// somebody writes to; [`Error::Corrupt`] if `store` is damaged; else what the store, the library or the system said.
pub fn export(
    store: &Store,
    destination: &Path,
    options: &ExportOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Exported> {
    if !options.replace && destination.symlink_metadata().is_ok() {
        return Err(ExchangeError::Exists { path: destination.to_owned() });
    }
    if destination.is_dir() {
        let source = ErrorKind::IsADirectory.into();
        return Err(ExchangeError::io(destination, "replace")(source));
    }
    check_no_log(destination)?;
    let snapshot = store.snapshot()?;
    check_not_in_use(&snapshot, destination)?;
    // The copy gets checksums of its own, under which damage would look sound.
    snapshot.check_pages();
    let plain = temporary_beside(destination)?;
    let (image, description) = write_store(store, &snapshot, plain.path(), options, progress)
        .map_err(|error| error.renamed(plain.path(), destination))?;
    let finished = match options.compression {
        None => plain,
        Some(compression) => {
            let compressed = temporary_beside(destination)?;
            compress::compress(&image, &description, compressed.path(), compression, progress)
                .map_err(|error| error.renamed(compressed.path(), destination))?;
            compressed
        }
    };
    let bytes = publish(finished, destination, options.replace)?;
    let Identity { keys, values, .. } = description.identity;
    Ok(Exported { keys, values, bytes })
}

/// Refuses a destination with a store's log beside it: whatever file came to lie there would be refused because of it.
pub(super) fn check_no_log(destination: &Path) -> Result<()> {
    let mut log = destination.as_os_str().to_owned();
    log.push("-wal");
    let path = PathBuf::from(log);
    if path.symlink_metadata().is_ok() {
        return Err(ExchangeError::Exists { path });
    }
    Ok(())
}

/// Refuses to replace the store that is exported, or another that somebody has open for writing, whose log may lie elsewhere:
/// its writer would go on in a file that has no name any more. Who only reads keeps what was there.
fn check_not_in_use(snapshot: &Snapshot, destination: &Path) -> Result<()> {
    // Not what a link leads to: it is the link that is replaced.
    let there = destination.symlink_metadata().ok().filter(Metadata::is_file);
    let Some(there) = there else { return Ok(()) };
    if snapshot.file_identity()? == (there.dev(), there.ino()) {
        let said = "it is the store that is exported";
        let source = io::Error::new(ErrorKind::ResourceBusy, said);
        return Err(ExchangeError::io(destination, "replace")(source));
    }
    match Store::options().create(false).read_only(true).open(destination) {
        Err(locked @ Error::Locked { .. }) => Err(locked.into()),
        // Anything else is no store, or not in use.
        _ => Ok(()),
    }
}

/// An empty file of ours in the folder of `destination`; it goes away unless it is published.
pub(super) fn temporary_beside(destination: &Path) -> Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".cidstore-")
        .suffix(".tmp")
        .tempfile_in(folder(destination))
        .map_err(ExchangeError::io(destination, "create"))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Syncs a finished file and gives it its name; answers its length.
pub(super) fn publish(finished: NamedTempFile, destination: &Path, replace: bool) -> Result<u64> {
    // The library may have made the file anew, so it is opened by name.
    let io = |action| ExchangeError::io(destination, action);
    let file = File::open(finished.path()).map_err(io("open"))?;
    file.sync_all().map_err(io("sync"))?;
    let bytes = file.metadata().map_err(io("read"))?.len();
    let persisted = if replace {
        finished.persist(destination)
    } else {
        finished.persist_noclobber(destination)
    };
    if let Err(error) = persisted {
        let path = destination.to_owned();
        return Err(match error.error.kind() {
            ErrorKind::AlreadyExists => ExchangeError::Exists { path },
            _ => ExchangeError::Io { path, action: "rename", source: error.error },
        });
    }
    let folder = File::open(folder(destination)).map_err(io("open folder"))?;
    folder.sync_all().map_err(io("sync folder"))?;
    Ok(bytes)
}

/// Writes a snapshot as an uncompressed export over the file at `path`.
fn write_store(
    store: &Store,
    snapshot: &Snapshot,
    path: &Path,
    options: &ExportOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Image, Description)> {
    let mut tell = |stage, done, total| progress(Progress { stage, done, total });
    let plan = Plan::make(store, snapshot, &mut |done| tell(Stage::Plan, done, SCAN_END))?;
    let slots = SlotCounts {
        directory: 1 << plan.global_depth,
        overflow: if plan.overflow_pages == 0 { 0 } else { 1 + plan.overflow_pages },
        values: if plan.value_pages == 1 { 0 } else { plan.value_pages },
    };
    let [nodes, directory, value_table, overflow] = slots.pages();
    let pages: PartPages =
        [nodes, directory, value_table, overflow, plan.bucket_pages, plan.value_pages];
    let container = Container::create(path, pages, None)?;
    let offsets = container.offsets()?;
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(ExchangeError::io(path, "open"))?;
    let image = Image::new(path, file, offsets, pages)?;
    let seed = store.hash_seed();
    let checksums = {
        let mut told = |done| tell(Stage::Write, done, plan.buckets.len() as u64);
        Pages { image: &image, snapshot, plan: &plan, seed }.write(&mut told)?
    };
    let tables = Tables::of(&plan, &checksums);
    let roots = image.write_tables(&tables.directory, &tables.overflow, &tables.values)?;
    let mut identity = Identity {
        file_id: [0; 16],
        hash_seed: seed,
        created_nanos: options.created.unwrap_or_else(now_nanos),
        global_depth: plan.global_depth,
        keys: plan.keys,
        values: snapshot.value_len(),
    };
    identity.file_id = file_id(&identity, &roots);
    let directory = tables.directory;
    container.describe(&identity, &roots, &directory)?;
    image.write_superblocks(&identity, roots)?;
    Ok((image, Description { identity, roots, directory }))
}

fn now_nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// An id that follows from the content: the roots' checksums cover every page.
fn file_id(identity: &Identity, roots: &[TableRoot; 3]) -> [u8; 16] {
    let checksum = |root: &TableRoot| u64::from(root.slot.checksum);
    let HashSeed { high, low } = identity.hash_seed;
    [
        E::new(identity.keys, identity.values),
        E::new(checksum(&roots[0]) << 32 | checksum(&roots[2]), checksum(&roots[1])),
        E::new(high, low),
    ]
    .into_iter()
    .fold(0_u128, |sum, part| sum.rotate_left(1).wrapping_add(mix(part)))
    .to_be_bytes()
}

/// The slots of the three tables.
struct Tables {
    directory: Vec<TableSlot>,
    overflow: Vec<TableSlot>,
    values: Vec<TableSlot>,
}

impl Tables {
    fn of(plan: &Plan, checksums: &Checksums) -> Self {
        let slot = |page: u32| TableSlot {
            page,
            checksum: checksums.buckets.get(page as usize).copied().unwrap_or(0),
        };
        let mut directory = vec![TableSlot::default(); 1 << plan.global_depth];
        let mut overflow = Vec::new();
        let mut page = 1;
        for planned in &plan.buckets {
            let first = planned.prefix as usize;
            let named = directory.iter_mut().skip(first).step_by(1 << planned.local_depth);
            named.for_each(|place| *place = slot(page));
            for link in 1..planned.pages {
                if overflow.is_empty() {
                    overflow.push(TableSlot::default());
                }
                overflow.push(slot(page + link));
            }
            page += planned.pages;
        }
        let values = match checksums.values.as_slice() {
            [_] => Vec::new(),
            all => {
                let slots =
                    all.iter().zip(0..).map(|(&checksum, page)| TableSlot { page, checksum });
                slots.collect()
            }
        };
        Self { directory, overflow, values }
    }
}
