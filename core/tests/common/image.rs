//! Builds a sealed data file by hand, from the structures alone: the engine has no part in it.
//!
//! It takes pains to be unlike what the engine would write: pages are numbered backwards, each space has two
//! segments, the spaces are mixed in the file.

use std::collections::{BTreeMap, BTreeSet};

use cidstore_core::E;
use cidstore_core::crc::{entry_checksum, page_checksum};
use cidstore_core::ecc::encode;
use cidstore_core::hash::{HashSeed, KeyHash};
use cidstore_core::layout::bucket::{BucketHeader, BucketPage, ENTRIES_PER_BUCKET};
use cidstore_core::layout::entry::{EntryFlags, HashEntry, INLINE_VALUES_MAX};
use cidstore_core::layout::superblock::{FLAG_CLEAN, SEGMENTS_START, Segment, Superblock};
use cidstore_core::layout::table::{SLOTS_PER_TABLE_PAGE, Space, TablePage, TableRoot, TableSlot};
use cidstore_core::layout::{PAGE_BYTES, PageKind};
use zerocopy::{FromZeros, IntoBytes};

use super::sets::{Fill, ValuePages};

/// What a store holds.
pub(crate) type Model = BTreeMap<E, BTreeSet<E>>;
/// A page.
pub(crate) type PageBytes = [u8; PAGE_BYTES];

/// The generation of every page.
pub(crate) const GENERATION: u64 = 7;
/// The seed of every image.
pub(crate) const SEED: HashSeed = HashSeed::new(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);

/// How an image is built.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    /// No bucket is split deeper; what does not fit is chained.
    pub(crate) depth_max: u32,
    /// How value pages are filled.
    pub(crate) fill: Fill,
}

/// The entries of one key: one, or two.
struct KeyEntries {
    hash: KeyHash,
    entries: Vec<HashEntry>,
}

/// A bucket: its prefix, its depth, its chain of pages.
struct Bucket {
    prefix: u64,
    depth: u32,
    pages: Vec<BucketPage>,
}

/// The image of a store that holds `model`.
pub(crate) fn build(model: &Model, options: Options) -> Vec<u8> {
    let mut values = ValuePages::new(options.fill);
    let keys = model.iter().map(|(&key, set)| key_entries(key, set, &mut values)).collect();
    let mut buckets = Vec::new();
    split(keys, 0, 0, options.depth_max, &mut buckets);

    let global_depth = buckets.iter().map(|bucket| bucket.depth).max().unwrap();
    let page_count: usize = buckets.iter().map(|bucket| bucket.pages.len()).sum();
    let mut bucket_pages = vec![[0; PAGE_BYTES]; page_count + 1];
    let mut directory = vec![TableSlot::default(); 1 << global_depth];
    let mut overflow = vec![TableSlot::default(); 2];
    let mut number = page_count;
    for mut bucket in buckets {
        // From the end of the chain on, since each page names the next.
        let mut next = 0;
        while let Some(mut page) = bucket.pages.pop() {
            page.header.overflow = next;
            let bytes: PageBytes = zerocopy::transmute!(page);
            let checksum = page_checksum(Space::Buckets, number as u32, &bytes);
            let slot = TableSlot { page: number as u32, checksum };
            bucket_pages[number] = bytes;
            number -= 1;
            if bucket.pages.is_empty() {
                let step = 1 << bucket.depth;
                directory.iter_mut().skip(bucket.prefix as usize).step_by(step).for_each(|named| {
                    *named = slot;
                });
            } else {
                next = overflow.len() as u32;
                overflow.push(slot);
            }
        }
    }

    let (value_pages, value_slots) = backwards(values.pages);
    let mut tables = vec![[0; PAGE_BYTES]];
    let roots = [&directory, &overflow, &value_slots].map(|slots| table(slots, &mut tables));
    let mut superblock = Superblock::new();
    superblock.file_id = *b"an image by hand";
    superblock.generation = GENERATION;
    superblock.hash_seed = SEED;
    superblock.lsn = 1000;
    superblock.wal_offset = PAGE_BYTES as u64;
    superblock.wal_salt = 42;
    superblock.global_depth = global_depth;
    superblock.key_count = model.len() as u64;
    superblock.value_count = model.values().map(|set| set.len() as u64).sum();
    superblock.roots = roots;
    assemble(superblock, [bucket_pages, value_pages, tables])
}

/// Seals a changed superblock anew: for images that are wrong in a way no checksum tells.
pub(crate) fn reseal(image: &mut [u8], change: impl FnOnce(&mut Superblock)) {
    let page: PageBytes = image[..PAGE_BYTES].try_into().unwrap();
    let mut superblock: Superblock = zerocopy::transmute!(page);
    change(&mut superblock);
    superblock.seal();
    image[..PAGE_BYTES].copy_from_slice(superblock.as_bytes());
}

fn key_entries(key: E, set: &BTreeSet<E>, values: &mut ValuePages) -> KeyEntries {
    let list: Vec<E> = set.iter().copied().collect();
    let entry = |slots, mask, flags| {
        let mut entry = HashEntry {
            key_high: key.high,
            key_low: key.low,
            slots,
            state_mask: encode(mask),
            flags: encode(flags | EntryFlags::LIVE),
            version: 5,
            ..HashEntry::default()
        };
        entry.checksum = entry_checksum(&entry);
        entry
    };
    let slots = |pair: &[E]| {
        let at = |index| pair.get(index).copied().unwrap_or(E::new(!0, !0));
        [at(0).high, at(0).low, at(1).high, at(1).low]
    };
    let hash = SEED.hash(key);
    let entries = match list.len() {
        1 => vec![entry(slots(&list), 0b01, 0)],
        2 => vec![entry(slots(&list), 0b11, 0)],
        // An entry may have a hole in front, and a primary none of its own.
        3 if key.low.is_multiple_of(2) => vec![
            entry(slots(&[list[1], list[0]]), 0b10, EntryFlags::HAS_SECOND),
            entry(slots(&list[1..]), 0b1100, EntryFlags::IS_SECOND),
        ],
        3 | 4 => vec![
            entry(slots(&list[..2]), 0b11, EntryFlags::HAS_SECOND),
            entry(
                slots(&list[2..]),
                if list.len() == 3 { 0b0100 } else { 0b1100 },
                EntryFlags::IS_SECOND,
            ),
        ],
        _ => vec![entry(values.store(key, &list).to_slots(), 0, EntryFlags::SPILLED)],
    };
    assert!(list.len() > INLINE_VALUES_MAX || entries[0].state_mask != 0);
    KeyEntries { hash, entries }
}

/// Splits until each bucket fits one page or is as deep as may be.
fn split(keys: Vec<KeyEntries>, prefix: u64, depth: u32, depth_max: u32, out: &mut Vec<Bucket>) {
    let entries: usize = keys.iter().map(|key| key.entries.len()).sum();
    if entries > ENTRIES_PER_BUCKET && depth < depth_max {
        let (upper, lower) = keys.into_iter().partition(|key| key.hash.0 >> depth & 1 == 1);
        split(lower, prefix, depth + 1, depth_max, out);
        return split(upper, prefix | 1 << depth, depth + 1, depth_max, out);
    }
    let mut pages = vec![empty_page(prefix, depth)];
    for key in keys {
        let last = pages.last().unwrap();
        if last.header.entry_count as usize + key.entries.len() > ENTRIES_PER_BUCKET {
            pages.push(empty_page(prefix, depth));
        }
        let page = pages.last_mut().unwrap();
        key.entries.iter().for_each(|&entry| place(page, key.hash, entry));
    }
    out.push(Bucket { prefix, depth, pages });
}

fn empty_page(prefix: u64, depth: u32) -> BucketPage {
    let mut page = BucketPage::new_zeroed();
    page.header = BucketHeader {
        kind: PageKind::Bucket as u16,
        local_depth: depth as u8,
        generation: GENERATION,
        prefix,
        ..BucketHeader::default()
    };
    page
}

/// Puts an entry at its home or the next free position after it.
fn place(page: &mut BucketPage, hash: KeyHash, entry: HashEntry) {
    let mut position = hash.home(ENTRIES_PER_BUCKET);
    while page.tags[position] != 0 {
        position = (position + 1) % ENTRIES_PER_BUCKET;
    }
    page.tags[position] = hash.tag();
    page.entries[position] = entry;
    page.header.entry_count += 1;
}

/// Gives logical page `n` of `count` the page number `count - n`.
fn backwards(mut pages: Vec<PageBytes>) -> (Vec<PageBytes>, Vec<TableSlot>) {
    let count = pages.len();
    pages[1..].reverse();
    let mut slots = vec![TableSlot::default()];
    for logical in 1..count {
        let page = (count - logical) as u32;
        let checksum = page_checksum(Space::Values, page, &pages[page as usize]);
        slots.push(TableSlot { page, checksum });
    }
    (pages, slots)
}

/// Writes the nodes of a table, level by level.
fn table(slots: &[TableSlot], tables: &mut Vec<PageBytes>) -> TableRoot {
    let mut level = slots.to_vec();
    let mut height = 0;
    while height == 0 || level.len() > 1 {
        height += 1;
        level = level
            .chunks(SLOTS_PER_TABLE_PAGE)
            .map(|chunk| {
                if chunk.iter().all(|&slot| slot == TableSlot::default()) {
                    return TableSlot::default();
                }
                let mut node = TablePage::EMPTY;
                node.slots[..chunk.len()].copy_from_slice(chunk);
                let bytes: PageBytes = zerocopy::transmute!(node);
                let page = tables.len() as u32;
                tables.push(bytes);
                TableSlot { page, checksum: page_checksum(Space::Tables, page, &bytes) }
            })
            .collect();
    }
    TableRoot { slot: level[0], height, reserved: 0, slot_count: slots.len() as u64 }
}

/// Lays the spaces out as two segments each, mixed, and writes both superblocks.
fn assemble(mut superblock: Superblock, spaces: [Vec<PageBytes>; 3]) -> Vec<u8> {
    let mut image = vec![0; SEGMENTS_START as usize];
    let mut segments = [const { Vec::new() }; 3];
    for half in 0..2 {
        for index in 0..3 {
            let space = if half == 0 { index } else { 2 - index };
            let middle = spaces[space].len().div_ceil(2);
            let (first, second) = spaces[space].split_at(middle);
            let pages = if half == 0 { first } else { second };
            if !pages.is_empty() {
                let first_file_page = (image.len() / PAGE_BYTES) as u32;
                segments[space].push(Segment { first_file_page, page_count: pages.len() as u32 });
                image.extend_from_slice(pages.as_flattened());
            }
        }
    }
    superblock.file_bytes = image.len() as u64;
    let [buckets, values, tables] = &segments;
    superblock.set_segments([buckets, values, tables]).unwrap();
    superblock.checkpoint_number = 5;
    superblock.seal();
    let previous_checksum = superblock.checksum;
    image[PAGE_BYTES..PAGE_BYTES * 2].copy_from_slice(superblock.as_bytes());
    superblock.checkpoint_number = 6;
    superblock.flags = FLAG_CLEAN;
    superblock.previous_checksum = previous_checksum;
    superblock.seal();
    image[..PAGE_BYTES].copy_from_slice(superblock.as_bytes());
    image
}
