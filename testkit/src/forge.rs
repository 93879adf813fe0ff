//! Files that somebody has changed and given checksums that fit: what no bit rot makes, and a program that means ill does.

use std::collections::HashMap;
use std::path::Path;

use cidstore_core::crc::page_checksum;
use cidstore_core::layout::PAGE_BYTES;
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
            let nodes = named.into_iter().filter(|&page| page != 0);
            named = nodes.flat_map(|node| self.node(node).slots.map(|slot| slot.page)).collect();
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

    /// Numbers of pages of the tables' space that are no nodes, highest first.
    pub fn free_table_pages(&self) -> Vec<u32> {
        let count: u32 = self.superblock.segments(Space::Tables).iter().map(|s| s.page_count).sum();
        let mut nodes = Vec::new();
        for root in self.superblock.roots {
            let mut level = vec![root.slot.page];
            for _ in 1..root.height {
                nodes.extend_from_slice(&level);
                level =
                    level.iter().flat_map(|&node| self.node(node).slots.map(|s| s.page)).collect();
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
        let mut sealed = HashMap::new();
        for kind in TableKind::ALL {
            let root = self.superblock.roots[kind as usize];
            if root.height > 0 {
                let checksum = self.seal(kind, root.slot.page, root.height, &mut sealed);
                self.superblock.roots[kind as usize].slot.checksum = checksum.unwrap_or_default();
            }
        }
        for (slot, offset) in (0..).zip(SUPERBLOCK_OFFSETS) {
            let mut superblock = self.superblock;
            superblock.checkpoint_number = superblock.checkpoint_number & !1 | slot;
            superblock.seal();
            self.bytes[offset as usize..][..PAGE_BYTES].copy_from_slice(superblock.as_bytes());
        }
        std::fs::write(path, &self.bytes).expect("write a forged file");
    }

    /// The checksum of a page or node, after those below a node were put into it; `None` if there is no such page.
    fn seal(
        &mut self,
        kind: TableKind,
        page: u32,
        level: u32,
        sealed: &mut HashMap<(u32, u32), u32>,
    ) -> Option<u32> {
        let space = if level == 0 { kind.space() } else { Space::Tables };
        if let Some(&checksum) = sealed.get(&(space as u32, page)) {
            return Some(checksum);
        }
        let offset = self.offset(space, page)?;
        let slots = if level == 0 { Vec::new() } else { self.node(page).slots.to_vec() };
        for (index, slot) in slots.into_iter().enumerate().filter(|(_, slot)| slot.page != 0) {
            if let Some(checksum) = self.seal(kind, slot.page, level - 1, sealed) {
                let place = offset + index * size_of::<TableSlot>() + size_of::<u32>();
                self.bytes[place..][..size_of::<u32>()].copy_from_slice(&checksum.to_le_bytes());
            }
        }
        let checksum = page_checksum(space, page, self.page(space, page));
        sealed.insert((space as u32, page), checksum);
        Some(checksum)
    }

    fn node(&self, page: u32) -> TablePage {
        let offset = self.offset(Space::Tables, page).expect("a node that there is");
        TablePage::read_from_bytes(&self.bytes[offset..][..PAGE_BYTES]).expect("a page is a node")
    }

    fn offset(&self, space: Space, page: u32) -> Option<usize> {
        let mut rest = page;
        for segment in self.superblock.segments(space) {
            if rest < segment.page_count {
                return Some(segment.offset() as usize + rest as usize * PAGE_BYTES);
            }
            rest -= segment.page_count;
        }
        None
    }
}
