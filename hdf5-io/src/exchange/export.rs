//! Export: a snapshot of a store as a clean, canonical HDF5 file that is a store as well.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::{SystemTime, UNIX_EPOCH};

use cidstore_core::E;
use cidstore_core::crc::page_checksum;
use cidstore_core::hash::HashSeed;
use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::bucket::BucketPage;
use cidstore_core::layout::table::{Space, TableRoot, TableSlot};
use cidstore_core::layout::value::SMALL_SET_MAX;
use cidstore_core::protocol::bucket_seal;
use cidstore_core::protocol::content::Content;
use cidstore_core::sethash::mix;
use cidstore_engine::{Snapshot, Store};
use tempfile::NamedTempFile;
use zerocopy::{FromZeros, IntoBytes};

use super::canonical::bucket::{self, Item, Place};
use super::canonical::plan::{Plan, PlannedBucket, SCAN_END, chain};
use super::canonical::sets::{PageBytes, SetBuilder};
use super::compress::{self, Description};
use super::container::Container;
use super::error::{ExchangeError, Result};
use super::image::{Identity, Image, Part, PartPages, SlotCounts};
use super::{ExportOptions, Exported, Progress, Stage};

/// Bucket pages that are written with one call.
const RUN_PAGES: usize = 512;
/// Runs that are being built, wait, or are being written.
const RUNS: usize = 3;

/// Exports what is in `store` now to a new file at `destination`.
///
/// The file is written under a temporary name beside it, synced, and renamed: it is there whole or not at all.
/// Writers of the store go on meanwhile, and are not seen.
///
/// # Errors
/// [`ExchangeError::Exists`] if something is at `destination` and [`ExportOptions::replace`] does not allow it, or a
/// log is beside it; else what the store, the library or the system said.
pub fn export(
    store: &Store,
    destination: &Path,
    options: &ExportOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Exported> {
    if !options.replace && destination.symlink_metadata().is_ok() {
        return Err(ExchangeError::Exists { path: destination.to_owned() });
    }
    check_no_log(destination)?;
    let snapshot = store.snapshot()?;
    let plain = temporary_beside(destination)?;
    let (image, description) = write_store(store, &snapshot, plain.path(), options, progress)?;
    let finished = match options.compression {
        None => plain,
        Some(compression) => {
            let compressed = temporary_beside(destination)?;
            compress::compress(&image, &description, compressed.path(), compression, progress)?;
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

/// Checksums of the pages of both spaces, by page number; page 0 has none.
struct Checksums {
    buckets: Vec<u32>,
    values: Vec<u32>,
}

/// A run of bucket pages on its way to the file.
struct Run {
    first: u32,
    pages: Vec<BucketPage>,
}

/// Everything that pass two needs.
struct Pages<'a> {
    image: &'a Image,
    snapshot: &'a Snapshot,
    plan: &'a Plan,
    seed: HashSeed,
}

impl Pages<'_> {
    /// Writes all pages of both spaces. Bucket pages are sealed and written on a thread of their own.
    fn write(&self, progress: &mut dyn FnMut(u64)) -> Result<Checksums> {
        let mut values = vec![0; self.plan.value_pages as usize];
        let buckets = std::thread::scope(|scope| -> Result<Vec<u32>> {
            let (send, runs) = sync_channel::<Run>(1);
            let (give_back, spare) = channel();
            for _ in 0..RUNS {
                // The other end is held right here.
                let _ = give_back.send(Vec::with_capacity(RUN_PAGES));
            }
            let image = self.image;
            let page_count = self.plan.bucket_pages as usize;
            let writer = scope.spawn(move || -> Result<Vec<u32>> {
                let mut checksums = vec![0; page_count];
                for run in runs {
                    let pages = write_run(image, run, &mut checksums)?;
                    // Nobody waits for the last ones.
                    let _ = give_back.send(pages);
                }
                Ok(checksums)
            });
            let built = self.build(Outlet { send, spare, run: None }, &mut values, progress);
            let written = match writer.join() {
                Ok(written) => written,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            // What the writer met comes first: without it the builder only knows that nobody listens.
            let buckets = written?;
            built?;
            Ok(buckets)
        });
        Ok(Checksums { buckets: buckets?, values })
    }

    /// Builds the pages of all buckets, in directory order, and those of their value sets.
    fn build(
        &self,
        mut outlet: Outlet,
        checksums: &mut [u32],
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let mut sets = SetBuilder::default();
        let mut items = Vec::new();
        let (mut page, mut overflow) = (1, 0);
        for (index, planned) in self.plan.buckets.iter().enumerate() {
            self.read_items(planned, &mut items)?;
            for item in &mut items {
                if let Content::Spilled(pointer) = &mut item.content {
                    *pointer = self.copy_set(item.key, pointer.reference, &mut sets, checksums)?;
                }
            }
            let chain = chain(items.iter().map(|item| item.content.entries()));
            if chain.len() != planned.pages as usize {
                return Err(self.contradiction(format!("bucket {index} changed while it was read")));
            }
            let mut rest = items.as_slice();
            for (link, count) in chain.iter().enumerate() {
                let more = link + 1 < chain.len();
                overflow += u32::from(more);
                let place = Place {
                    prefix: planned.prefix,
                    local_depth: planned.local_depth,
                    overflow: if more { overflow } else { 0 },
                };
                let (now, later) = rest.split_at(*count);
                rest = later;
                outlet.add(page, |page| bucket::build(page, place, now, self.seed))?;
                page += 1;
            }
            if index.is_multiple_of(1024) {
                progress(index as u64);
            }
        }
        if sets.page_count() != self.plan.value_pages {
            return Err(self.contradiction("value sets changed while they were read".to_owned()));
        }
        sets.finish(&mut |number, page| self.write_value_page(number, page, checksums))?;
        outlet.finish()
    }

    /// Reads the keys of a bucket of the plan, in ascending order.
    fn read_items(&self, planned: &PlannedBucket, items: &mut Vec<Item>) -> Result<()> {
        items.clear();
        let (start, end) = planned.stretch();
        let mut position = start;
        while position < end {
            position = self.snapshot.visit_bucket(position, |key, content| {
                // A bucket of the store may be larger than one of the plan, if it has a chain.
                let at = u64::from(self.seed.hash(key).scan_position());
                if at >= position && at < end {
                    items.push(match content {
                        Content::Inline(values) => Item::inline(key, values),
                        Content::Spilled(pointer) => {
                            Item { key, content: Content::Spilled(*pointer) }
                        }
                    });
                }
            })?;
        }
        items.sort_unstable_by_key(|item| item.key);
        Ok(())
    }

    /// Copies a value set; answers the pointer to the copy.
    fn copy_set(
        &self,
        key: E,
        reference: u64,
        sets: &mut SetBuilder,
        checksums: &mut [u32],
    ) -> Result<cidstore_core::layout::entry::SpillPointer> {
        let mut take =
            |number: u32, page: &PageBytes| self.write_value_page(number, page, &mut *checksums);
        let count = self.snapshot.set_count(reference)?;
        if count <= SMALL_SET_MAX as u64 {
            let mut values = Vec::with_capacity(count as usize);
            self.snapshot.visit_set(reference, |part| values.extend_from_slice(part))?;
            if values.len() as u64 != count {
                return Err(
                    self.contradiction(format!("the set of key {key} miscounts its values"))
                );
            }
            return sets.add_small(key, &mut values, &mut take);
        }
        let mut large = sets.begin_large(key, count);
        let mut part = Vec::new();
        let mut added = Ok(true);
        self.snapshot.visit_set(reference, |values| {
            if matches!(added, Ok(true)) {
                part.clear();
                part.extend_from_slice(values);
                added = large.add(&mut part, &mut take);
            }
        })?;
        if !added? || !large.is_complete() {
            return Err(self.contradiction(format!("the set of key {key} miscounts its values")));
        }
        sets.finish_large(large, &mut take)
    }

    fn write_value_page(&self, number: u32, page: &PageBytes, checksums: &mut [u32]) -> Result<()> {
        let Some(place) = checksums.get_mut(number as usize) else {
            return Err(self.contradiction(format!("there is no value page {number} in the plan")));
        };
        *place = page_checksum(Space::Values, number, page);
        self.image.write(Part::Values, number.into(), page)
    }

    /// The snapshot gave two different answers: its store is damaged.
    fn contradiction(&self, detail: String) -> ExchangeError {
        ExchangeError::content(&self.image.path, "/", detail)
    }
}

/// Seals a run, writes it, notes its checksums, and answers the memory for another.
fn write_run(image: &Image, mut run: Run, checksums: &mut [u32]) -> Result<Vec<BucketPage>> {
    for (page, number) in run.pages.iter_mut().zip(run.first..) {
        bucket_seal::seal(page);
        let bytes: &[u8; PAGE_BYTES] = zerocopy::transmute_ref!(page);
        if let Some(place) = checksums.get_mut(number as usize) {
            *place = page_checksum(Space::Buckets, number, bytes);
        }
    }
    image.write(Part::Buckets, run.first.into(), run.pages.as_bytes())?;
    run.pages.clear();
    Ok(run.pages)
}

/// Where finished bucket pages go.
struct Outlet {
    send: SyncSender<Run>,
    spare: Receiver<Vec<BucketPage>>,
    run: Option<Run>,
}

impl Outlet {
    /// Lets `build` fill the page of this number; numbers come without a gap.
    fn add(&mut self, number: u32, build: impl FnOnce(&mut BucketPage)) -> Result<()> {
        let mut run = match self.run.take() {
            Some(run) => run,
            None => Run { first: number, pages: self.spare.recv().map_err(|_| writer_is_gone())? },
        };
        let mut page = BucketPage::new_zeroed();
        build(&mut page);
        run.pages.push(page);
        if run.pages.len() == RUN_PAGES {
            return self.send.send(run).map_err(|_| writer_is_gone());
        }
        self.run = Some(run);
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        match self.run.take() {
            Some(run) => self.send.send(run).map_err(|_| writer_is_gone()),
            None => Ok(()),
        }
    }
}

/// Stands in until the writer's own error is known.
fn writer_is_gone() -> ExchangeError {
    ExchangeError::Store(cidstore_engine::Error::Closed)
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
