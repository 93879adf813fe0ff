//! Files that somebody has changed and given checksums that fit: what no bit rot makes, and a program that means ill does.
//!
//! What was changed may be anything: nodes that name no page, or each other. Such names keep the checksum that they have.

use std::collections::HashMap;
use std::path::Path;

use cidstore_core::crc::{entry_checksum, page_checksum};
use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::bucket::BucketPage;
use cidstore_core::layout::superblock::{SUPERBLOCK_OFFSETS, Superblock};
use cidstore_core::layout::table::{Space, TableKind, TablePage, TableSlot};
use zerocopy::{FromBytes, IntoBytes};

/// A data file that was closed cleanly, in memory.
#[derive(Clone, Debug)]
pub struct Forge {
    bytes: Vec<u8>,
    superblock: Superblock,
}

impl Forge {
    /// The file's bytes as they are.
    ///
    /// # Panics
    ///
    /// If there are no superblocks.
    pub fn new(bytes: Vec<u8>) -> Self {
        let read = |offset: u64| {
            let page = bytes[offset as usize..].first_chunk::<PAGE_BYTES>().expect("a superblock");
            Superblock::read_from_bytes(page).expect("a page is as long as a superblock")
        };
        let superblock = SUPERBLOCK_OFFSETS
            .map(read)
            .into_iter()
            .max_by_key(|superblock| superblock.checkpoint_number)
            .expect("two superblocks");
        Self { bytes, superblock }
    }

    /// The newest superblock, to be changed. Both are written like that, each with the number of its slot.
    pub fn superblock(&mut self) -> &mut Superblock {
        &mut self.superblock
    }

    /// The pages that a table names, in the order of its slots; each as often as it is named.
    pub fn pages(&self, kind: TableKind) -> Vec<u32> {
        let root = self.superblock.roots[kind as usize];
        let mut named = vec![root.slot.page];
        for _ in 0..root.height {
            let nodes = named.into_iter().filter_map(|page| self.node(page));
            named = nodes.flat_map(|node| node.slots.map(|slot| slot.page)).collect();
        }
        named.truncate(root.slot_count as usize);
        named
    }

    /// A page's bytes.
    ///
    /// # Panics
    ///
    /// If the space has no such page.
    pub fn page(&mut self, space: Space, page: u32) -> &mut [u8; PAGE_BYTES] {
        let offset = self.offset(space, page).expect("a page that there is");
        self.bytes[offset..].first_chunk_mut().expect("a segment lies in the file")
    }

    /// Changes a page of a bucket.
    ///
    /// # Panics
    ///
    /// If there is no such page.
    pub fn change_bucket(&mut self, page: u32, change: impl FnOnce(&mut BucketPage)) {
        let bytes = self.page(Space::Buckets, page);
        let mut bucket = BucketPage::read_from_bytes(bytes).expect("a page is a bucket");
        change(&mut bucket);
        bytes.copy_from_slice(bucket.as_bytes());
    }

    /// Numbers of pages of the tables' space that are no nodes, highest first.
    pub fn free_table_pages(&self) -> Vec<u32> {
        let count: u32 = self.superblock.segments(Space::Tables).iter().map(|s| s.page_count).sum();
        let mut nodes = Vec::new();
        for root in self.superblock.roots {
            let mut level = vec![root.slot.page];
            for _ in 1..root.height {
                nodes.extend_from_slice(&level);
                let below = level.into_iter().filter_map(|page| self.node(page));
                level = below.flat_map(|node| node.slots.map(|slot| slot.page)).collect();
            }
            nodes.extend(level);
        }
        (1..count).rev().filter(|page| !nodes.contains(page)).collect()
    }

    /// Makes all checksums fit, and writes the file.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn write(&mut self, path: &Path) {
        std::fs::write(path, self.seal()).expect("write a forged file");
    }

    /// Makes the checksums of all entries, pages, nodes and superblocks fit; answers the file's bytes.
    pub fn seal(&mut self) -> &[u8] {
        let mut sealed = HashMap::new();
        for kind in TableKind::ALL {
            let root = self.superblock.roots[kind as usize];
            if root.height > 0 {
                let checksum = self.seal_below(kind, root.slot.page, root.height, &mut sealed);
                self.superblock.roots[kind as usize].slot.checksum = checksum.unwrap_or_default();
            }
        }
        for (slot, offset) in (0..).zip(SUPERBLOCK_OFFSETS) {
            let mut superblock = self.superblock;
            superblock.checkpoint_number = superblock.checkpoint_number & !1 | slot;
            superblock.seal();
            self.bytes[offset as usize..][..PAGE_BYTES].copy_from_slice(superblock.as_bytes());
        }
        &self.bytes
    }

    /// The checksum of a page or node, after those below a node were put into it; `None` if there is no such page, or the
    /// node lies below itself.
    fn seal_below(
        &mut self,
        kind: TableKind,
        page: u32,
        level: u32,
        sealed: &mut HashMap<(u32, u32), Option<u32>>,
    ) -> Option<u32> {
        let space = if level == 0 { kind.space() } else { Space::Tables };
        if let Some(&checksum) = sealed.get(&(space as u32, page)) {
            return checksum;
        }
        let offset = self.offset(space, page)?;
        sealed.insert((space as u32, page), None);
        if space == Space::Buckets {
            self.change_bucket(page, Self::seal_entries);
        }
        let node = if level == 0 { None } else { self.node(page) };
        let slots = node.into_iter().flat_map(|node| node.slots).enumerate();
        for (index, slot) in slots.filter(|(_, slot)| slot.page != 0) {
            if let Some(checksum) = self.seal_below(kind, slot.page, level - 1, sealed) {
                let place = offset + index * size_of::<TableSlot>() + size_of::<u32>();
                self.bytes[place..][..size_of::<u32>()].copy_from_slice(&checksum.to_le_bytes());
            }
        }
        let checksum = page_checksum(space, page, self.page(space, page));
        sealed.insert((space as u32, page), Some(checksum));
        Some(checksum)
    }

    fn seal_entries(bucket: &mut BucketPage) {
        for (entry, _) in bucket.entries.iter_mut().zip(bucket.tags).filter(|(_, tag)| *tag != 0) {
            entry.checksum = entry_checksum(entry);
        }
    }

    fn node(&self, page: u32) -> Option<TablePage> {
        let offset = self.offset(Space::Tables, page)?;
        TablePage::read_from_bytes(&self.bytes[offset..][..PAGE_BYTES]).ok()
    }

    /// Where a page lies in the file, if all of it does.
    fn offset(&self, space: Space, page: u32) -> Option<usize> {
        let mut rest = page;
        for segment in self.superblock.segments(space) {
            if rest < segment.page_count {
                let offset = segment.offset() as usize + rest as usize * PAGE_BYTES;
                return (offset + PAGE_BYTES <= self.bytes.len()).then_some(offset);
            }
            rest -= segment.page_count;
        }
        None
    }
}
