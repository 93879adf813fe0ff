//! A data file as an HDF5 reader sees it: the way from a key to its values that `docs/hdf5.md` tells, step by step.
//!
//! The reader of HDF5 is somebody else's, and what is done with its arrays uses the structures of a page and none of
//! the store's code paths. So this is both a test of the metadata and of the document.

use std::collections::BTreeSet;

use cidstore_core::E;
use cidstore_core::crc::page_checksum;
use cidstore_core::ecc;
use cidstore_core::hash::HashSeed;
use cidstore_core::layout::bucket::BucketPage;
use cidstore_core::layout::entry::{EntryFlags, HashEntry};
use cidstore_core::layout::table::{Space, TableSlot};
use cidstore_core::layout::value::{EXTENT_CAPACITIES, ExtentHeader, InnerPage, LeafPage};
use cidstore_core::layout::{PAGE_BYTES, PageKind};
use hdf5_reader::error::Error;
use hdf5_reader::group::Group;
use hdf5_reader::{Dataset, Hdf5File};
use zerocopy::{FromBytes, IntoBytes};

use crate::model::{Model, number};

/// Group of the parts of a virtual dataset.
const PARTS: &str = "file_segments";

/// The bytes of one space's pages.
struct Pages {
    space: Space,
    bytes: Vec<u8>,
}

/// What a file shows through HDF5.
pub struct View {
    seed: HashSeed,
    depth: u32,
    /// Number of the log record up to which it shows the store.
    pub lsn: u64,
    /// Number of the checkpoint that it shows.
    pub checkpoint: u64,
    /// Keys that it says there are.
    pub key_count: u64,
    /// Where the directory was found: `config:dir`, `dir`, or `dir/shard_xxxx`.
    pub form: &'static str,
    directory: Vec<TableSlot>,
    overflow: Vec<TableSlot>,
    values: Vec<TableSlot>,
    bucket_pages: Pages,
    value_pages: Pages,
}

impl View {
    /// Reads all metadata and all tables.
    ///
    /// # Errors
    /// If the HDF5 reader does not like the file, or an object is missing.
    ///
    /// # Panics
    /// If the objects contradict each other.
    pub fn open(bytes: &[u8]) -> Result<Self, Error> {
        let file = Hdf5File::from_bytes(bytes)?;
        visit(&file.root_group()?)?;
        let config = file.group("config")?;
        let word = |name: &str| config.attribute(name)?.read_scalar::<u64>();
        let seed = config.attribute("hash_seed")?.read_1d::<u64>()?;
        let [high, low] = seed.try_into().expect("two words of seed");
        let depth = config.attribute("global_depth")?.read_scalar::<u32>()?;
        let (form, directory) = match config.attribute("dir") {
            Ok(dir) => ("config:dir", slots(&dir.raw_data)),
            Err(_) => directory(&file)?,
        };
        assert_eq!(directory.len(), 1 << depth, "slots of the directory");
        Ok(Self {
            seed: HashSeed { high, low },
            depth,
            lsn: word("lsn")?,
            checkpoint: word("checkpoint")?,
            key_count: word("key_count")?,
            form,
            directory,
            overflow: slots(&file.dataset("buckets/overflow")?.read_raw_bytes()?),
            values: slots(&file.dataset("values/table")?.read_raw_bytes()?),
            bucket_pages: Pages::read(&file, "buckets", Space::Buckets)?,
            value_pages: Pages::read(&file, "values", Space::Values)?,
        })
    }

    /// The values of a key, by the steps of the document.
    ///
    /// # Panics
    /// If a page is not what its slot says.
    #[must_use]
    pub fn get(&self, key: E) -> BTreeSet<u128> {
        let index = self.seed.hash(key).0 & ((1 << self.depth) - 1);
        let mut slot = self.directory[index as usize];
        loop {
            let page = self.bucket(slot);
            let found: Vec<&HashEntry> = live(&page).filter(|entry| key_of(entry) == key).collect();
            if !found.is_empty() || page.header.overflow == 0 {
                return self.values_of(&found);
            }
            slot = self.overflow[page.header.overflow as usize];
        }
    }

    /// Everything, page by page.
    ///
    /// # Panics
    /// If a page is not what its slot says.
    #[must_use]
    pub fn model(&self) -> Model {
        let mut model = Model::new();
        let mut seen = BTreeSet::new();
        let named = self.directory.iter().chain(&self.overflow);
        for slot in named.filter(|slot| slot.page != 0) {
            if !seen.insert(slot.page) {
                continue;
            }
            let page = self.bucket(*slot);
            let primary = |entry: &&HashEntry| flags(entry) & EntryFlags::IS_SECOND == 0;
            for entry in live(&page).filter(primary) {
                let key = key_of(entry);
                let both: Vec<&HashEntry> =
                    live(&page).filter(|other| key_of(other) == key).collect();
                for value in self.values_of(&both) {
                    model.insert(number(key), value);
                }
            }
        }
        assert_eq!(model.len(), self.key_count, "keys in the view");
        model
    }

    fn bucket(&self, slot: TableSlot) -> BucketPage {
        let page = BucketPage::read_from_bytes(self.bucket_pages.page(slot)).expect("a page");
        assert_eq!(page.header.kind, PageKind::Bucket as u16);
        page
    }

    fn values_of(&self, entries: &[&HashEntry]) -> BTreeSet<u128> {
        let mut values = BTreeSet::new();
        for entry in entries {
            if flags(entry) & EntryFlags::SPILLED != 0 {
                self.set(entry.slots[0], key_of(entry), &mut values);
                continue;
            }
            let first = if flags(entry) & EntryFlags::IS_SECOND == 0 { 0 } else { 2 };
            let mask = ecc::decode(entry.state_mask).nibble().expect("a code word");
            for slot in (0..2).filter(|slot| mask & 1 << (first + slot) != 0) {
                values.insert(number(E::new(entry.slots[slot * 2], entry.slots[slot * 2 + 1])));
            }
        }
        values
    }

    fn set(&self, reference: u64, key: E, values: &mut BTreeSet<u128>) {
        let (logical, extent) = (reference as u32, (reference >> 32 & 0xff) as usize);
        let mut page = self.value_page(logical);
        if extent != 0 {
            let capacity = usize::from(EXTENT_CAPACITIES[usize::from(page[2])]);
            let start = 64 + (extent - 1) * (64 + 16 * capacity);
            let (header, rest) = ExtentHeader::read_from_prefix(&page[start..]).expect("an extent");
            assert_eq!(header.owner, key);
            keep_live(rest, header.count, &header.tombstones, values);
            return;
        }
        while kind(page) == PageKind::Inner as u16 {
            page = self.value_page(InnerPage::read_from_bytes(page).expect("a page").children[0]);
        }
        loop {
            assert_eq!(kind(page), PageKind::Leaf as u16);
            let leaf = LeafPage::read_from_bytes(page).expect("a page");
            assert_eq!(leaf.header.owner, key);
            keep_live(leaf.values.as_bytes(), leaf.header.count, &leaf.header.tombstones, values);
            if leaf.header.bounded == 0 {
                return;
            }
            page = self.value_page(leaf.header.next);
        }
    }

    fn value_page(&self, logical: u32) -> &[u8] {
        self.value_pages.page(self.values[logical as usize])
    }
}

impl Pages {
    /// All pages of a space. The reader has no virtual datasets, so their parts are put together here.
    fn read(file: &Hdf5File, group: &str, space: Space) -> Result<Self, Error> {
        let bytes = match file.group(&format!("{group}/{PARTS}")) {
            Err(_) => file.dataset(&format!("{group}/pages"))?.read_raw_bytes()?,
            Ok(parts) => {
                let mut parts = parts.datasets()?;
                parts.sort_by(|a, b| a.name().cmp(b.name()));
                let bytes: Result<Vec<_>, _> = parts.iter().map(Dataset::read_raw_bytes).collect();
                bytes?.concat()
            }
        };
        Ok(Self { space, bytes })
    }

    /// The page that a slot names, checked.
    fn page(&self, slot: TableSlot) -> &[u8] {
        assert_ne!(slot.page, 0, "a slot that names nothing");
        let at = slot.page as usize * PAGE_BYTES;
        let page = self.bytes.get(at..at + PAGE_BYTES).expect("a page of the space");
        let found = page_checksum(self.space, slot.page, page.try_into().expect("a page"));
        assert_eq!(found, slot.checksum, "{:?} page {}", self.space, slot.page);
        page
    }
}

/// The directory as a dataset or as shards.
fn directory(file: &Hdf5File) -> Result<(&'static str, Vec<TableSlot>), Error> {
    if let Ok(dir) = file.dataset("dir") {
        return Ok(("dir", slots(&dir.read_raw_bytes()?)));
    }
    let mut shards = file.group("dir")?.datasets()?;
    shards.sort_by(|a, b| a.name().cmp(b.name()));
    let bytes: Result<Vec<_>, _> = shards.iter().map(Dataset::read_raw_bytes).collect();
    Ok(("dir/shard_xxxx", slots(&bytes?.concat())))
}

/// Reads the attributes of the groups, and finds the root to have the children that the document says. (The reader
/// lists no group that has a virtual dataset in it.)
fn visit(root: &Group) -> Result<(), Error> {
    let (groups, datasets) = root.member_names()?;
    let mut children = [groups, datasets].concat();
    children.sort();
    children.retain(|name| name != "dir");
    assert_eq!(children, ["buckets", "config", "tables", "types", "values"]);
    for name in children {
        let group = root.group(&name)?;
        let encoding = group.attribute("encoding-type")?.read_string()?;
        assert!(!encoding.is_empty() && encoding.is_ascii());
        group.attributes()?;
    }
    assert_eq!(root.attribute("encoding-type")?.read_string()?, "cidstore");
    root.attributes().map(drop)
}

fn slots(bytes: &[u8]) -> Vec<TableSlot> {
    bytes.chunks_exact(8).map(|slot| TableSlot::read_from_bytes(slot).expect("a slot")).collect()
}

fn kind(page: &[u8]) -> u16 {
    u16::from_le_bytes([page[0], page[1]])
}

fn flags(entry: &HashEntry) -> u8 {
    ecc::decode(entry.flags).nibble().expect("a code word")
}

fn live(page: &BucketPage) -> impl Iterator<Item = &HashEntry> {
    page.entries.iter().filter(|entry| flags(entry) & EntryFlags::LIVE != 0)
}

fn key_of(entry: &HashEntry) -> E {
    E::new(entry.key_high, entry.key_low)
}

/// The first `count` values without those whose bit is set.
fn keep_live(bytes: &[u8], count: u16, tombstones: &[u64; 4], values: &mut BTreeSet<u128>) {
    for (index, value) in bytes.chunks_exact(16).take(count.into()).enumerate() {
        if tombstones[index / 64] & 1 << (index % 64) == 0 {
            values.insert(number(E::read_from_bytes(value).expect("a value")));
        }
    }
}
