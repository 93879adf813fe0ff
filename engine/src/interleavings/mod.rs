//! The store's parts under every interleaving: readers beside the writer, checkpoints, snapshots and the end.
//!
//! What runs is what ships: tables, limbo, pools, the single writer, value sets, readers. A [`Little`] store puts them
//! together over pages in memory (`space/region_checked.rs`) and without a file; what `store` does to files between
//! two steps, the models do in a line. Where a twin has a planted bug, it is in the atomics (`sync/checked.rs`) or in the
//! order in which a model calls the shipped steps.
//!
//! Each model's comment has its bound and cost. Run one with
//! `RUSTFLAGS="--cfg loom" cargo test -p cidstore-engine --release --lib interleavings::swing`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at the first surprise, and a helper of one fails it"
)]

mod closing;
mod cut;
mod sets;
mod snapshot;
mod swing;
mod tag_copies;
mod value_pages;

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;

use cidstore_core::E;
use cidstore_core::crc::page_checksum;
use cidstore_core::hash::HashSeed;
use cidstore_core::layout::PAGE_WORDS;
use cidstore_core::layout::bucket::{ENTRIES_PER_BUCKET, ENTRIES_WORD, SEQUENCE_WORD};
use cidstore_core::layout::entry::{CHECKSUM_WORD, ENTRY_WORDS};
use cidstore_core::layout::superblock::Segment;
use cidstore_core::layout::table::{Space, TableKind};
use cidstore_core::protocol::bucket_build::{self, Header};
use cidstore_core::protocol::lookup::View;

use crate::checkpoint::Written;
use crate::error::{Error, Result};
use crate::io::{DiskFile, FileIdentity, FileMap, LockMode};
use crate::read::Reader;
use crate::shared::{Checksums, Shared};
use crate::space::POOL_BASE;
use crate::space::layout::{FileLayout, Regions};
use crate::space::region::Region;
use crate::sync::checked::COPIES;
use crate::table::LiveTables;
use crate::valueset::{ExtentAllocator, SetView};
use crate::writer::apply::{Operation, Writer};
use crate::writer::cut::{Cut, CutPage, WrittenPage};
use crate::writer::numbers::Numbers;
use crate::writer::pages::{Pages, SuperblockGenerations};

const SEED: HashSeed = HashSeed { high: 1, low: 2 };
/// The key that readers look for.
const KEY: E = E::new(7, 1);
/// What a page has that was made anew from one that a reader may still hold.
const REUSED: E = E::new(66, 66);
/// Pages of the pool that a model may use.
const POOL_PAGES: u32 = 24;
/// Pages of the file that a model may use, but for one that it names.
const FILE_PAGES_USED: u32 = 16;
/// Pages of each space of the file.
const FILE_PAGES: u32 = 48;

/// The writer's side of a store with one bucket.
struct Little {
    writer: Writer,
}

impl Little {
    /// A store whose watched key has these values.
    fn new(values: impl IntoIterator<Item = u64>) -> Self {
        let regions =
            Regions { buckets: Region::reserve().unwrap(), values: Region::reserve().unwrap() };
        // All pages are there before the threads are, as memory is.
        for page in (1..FILE_PAGES_USED).chain(POOL_BASE..POOL_BASE + POOL_PAGES) {
            regions.buckets.page(page);
            regions.values.page(page);
        }
        let file: Arc<dyn DiskFile> = Arc::new(NoFile);
        // The buckets lie last, so that their end can be cut off.
        let segments = [2, 1, 0].map(|before| {
            [Segment { first_file_page: 4 + before * FILE_PAGES, page_count: FILE_PAGES }]
        });
        let files = FileLayout::from_segments(
            |space| &segments[space as usize],
            u64::MAX,
            &*file,
            &regions,
        )
        .unwrap();
        let tables = LiveTables::reserve().unwrap();
        let checksums = Checksums::reserve().unwrap();
        let shared = Shared::new(PathBuf::new(), file, regions, tables, SEED, (checksums, false));
        let numbers = || Numbers::new(0, Vec::new());
        let pages = Pages::new(
            Arc::new(shared),
            Arc::new(std::sync::Mutex::new(files)),
            numbers(),
            numbers(),
            1,
            SuperblockGenerations([0, 0]),
        );
        let extents = ExtentAllocator::default();
        let mut little = Self { writer: Writer { pages, extents, extents_known: true } };
        let pages = &mut little.writer.pages;
        pages.depth_counts[0] = 1;
        let bucket = pages.fresh_bucket(0);
        let header = Header { local_depth: 0, prefix: 0, generation: 1, overflow: 0 };
        bucket_build::build(pages.bucket(bucket), &header, &[]).unwrap();
        pages.set_slot(TableKind::Directory, 0, bucket);
        for value in values {
            little.insert(value);
        }
        little
    }

    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.writer.pages.shared)
    }

    fn insert(&mut self, value: u64) {
        self.writer.apply(Operation::Insert(KEY, wide(value))).unwrap();
    }

    fn delete(&mut self, value: u64) {
        self.writer.apply(Operation::DeleteValue(KEY, wide(value))).unwrap();
    }

    /// A free page of a space of the file.
    fn free_file_page(&self, space: Space) -> u32 {
        let run = self.writer.pages.files().take_run(space, 1);
        run.unwrap().0.start
    }

    /// Ends the generation.
    fn cut(&mut self, lsn: u64) -> Cut {
        let mut cut = self.writer.cut(lsn, 0);
        while self.writer.settle_some(&mut cut) {}
        cut
    }

    /// Writes the pages of a cut to free pages of the file.
    fn write_cut(&self, cut: &Cut) -> Written {
        let write = |space: Space, page: &CutPage| {
            let shared = &self.writer.pages.shared;
            let mut words = [0; PAGE_WORDS];
            region(shared, space).copy_out(page.page, &mut words);
            let written = write_page(shared, space, *page, self.free_file_page(space), &words);
            if space == Space::Buckets {
                shared.copy_tags(written.to, &words);
            }
            written
        };
        let buckets = cut.bucket_pages.iter();
        let values = cut.value_pages.iter();
        Written {
            buckets: buckets.map(|page| write(Space::Buckets, page)).collect(),
            values: values.map(|page| write(Space::Values, page)).collect(),
        }
    }

    /// What a checkpoint does when it has written its superblocks.
    fn finish(&mut self, cut: &Cut, written: &Written) {
        for page in &written.buckets {
            self.writer.pages.swing_written_bucket(page);
        }
        for page in &written.values {
            self.writer.pages.swing_written_value(page);
        }
        let pages = &mut self.writer.pages;
        pages.checkpoint = None;
        pages.superblocks = SuperblockGenerations([cut.generation; 2]);
        pages.limbo.seal();
        self.writer.collect(true);
    }

    /// Frees what nobody may need, and fills every pool page of the buckets that is free now with something else.
    fn reuse(&mut self) {
        self.writer.pages.limbo.seal();
        self.writer.collect(true);
        let pages = &mut self.writer.pages;
        // More than any model builds, each as a split or a copy would make it.
        for _ in 0..4 {
            let page = pages.fresh_bucket(0);
            let generation = pages.current_generation();
            let header = Header { local_depth: 0, prefix: 0, generation, overflow: 0 };
            bucket_build::build(pages.bucket(page), &header, &[]).unwrap();
            let hash = SEED.hash(KEY);
            pages.bucket_writer(page).insert_new(KEY, hash, REUSED).unwrap();
        }
    }
}

/// The pages of a space.
fn region(shared: &Shared, space: Space) -> &Region {
    if space == Space::Values { &shared.regions.values } else { &shared.regions.buckets }
}

/// Writes the copy of a page of the pool to the file, as a checkpoint does.
fn write_page(
    shared: &Shared,
    space: Space,
    page: CutPage,
    to: u32,
    words: &[u64; PAGE_WORDS],
) -> WrittenPage {
    let region = region(shared, space);
    region.write_file_page(to, words);
    let checksum = page_checksum(space, to, zerocopy::transmute_ref!(words));
    WrittenPage { from: page.page, to, owner: page.owner, checksum }
}

/// A value whose halves both tell which it is.
const fn wide(value: u64) -> E {
    E::new(value, value)
}

/// What the watched key has, by the shipped reader; no values for a key that is not there.
fn look<V: View<PAGE_WORDS> + SetView>(shared: &Shared, view: V) -> Vec<u64> {
    let values = Reader { shared, view }.get(KEY).unwrap();
    let mut values: Vec<u64> = values
        .iter()
        .map(|value| {
            assert_eq!(value.high, value.low, "a torn value");
            value.low
        })
        .collect();
    values.sort_unstable();
    values
}

/// A look under a pin.
fn look_pinned(shared: &Shared) -> Vec<u64> {
    let _pin = shared.pins.pin();
    look(shared, shared.view())
}

/// Of a bucket page, what a reader of the watched key decides by: its entry and the page's sequence.
fn bucket_words(page: u32, word: usize) -> bool {
    static HOME: OnceLock<usize> = OnceLock::new();
    let home = *HOME.get_or_init(|| SEED.hash(KEY).home(ENTRIES_PER_BUCKET));
    let entry = ENTRIES_WORD + home * ENTRY_WORDS;
    page < COPIES && (word == SEQUENCE_WORD || (entry..entry + CHECKSUM_WORD).contains(&word))
}

/// No file: what is asked of it in a model has no answer that matters.
#[derive(Debug)]
struct NoFile;

fn none<T>() -> Result<T> {
    Err(Error::ReadOnly)
}

impl DiskFile for NoFile {
    fn path(&self) -> &Path {
        Path::new("")
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> Result<()> {
        none()
    }

    fn write_at(&self, _: u64, _: &[u8]) -> Result<()> {
        none()
    }

    fn store(&self, _: &FileMap, _: u64, _: &[u8]) -> Result<()> {
        none()
    }

    fn allocate(&self, _: u64, _: u64) -> Result<()> {
        none()
    }

    fn extend(&self, _: u64) -> Result<()> {
        none()
    }

    fn len(&self) -> Result<u64> {
        none()
    }

    fn set_len(&self, _: u64) -> Result<()> {
        none()
    }

    fn sync_data(&self) -> Result<()> {
        none()
    }

    fn sync_all(&self) -> Result<()> {
        none()
    }

    fn lock(&self, _: LockMode) -> Result<()> {
        none()
    }

    fn unlock(&self) {}

    fn identity(&self) -> Result<FileIdentity> {
        none()
    }

    fn map(&self, _: u64) -> Result<FileMap> {
        none()
    }

    fn raw_fd(&self) -> RawFd {
        -1
    }
}
