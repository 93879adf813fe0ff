//! Table nodes that are damaged when a store is opened: what they must have said, told by the pages that they name.
//!
//! A store whose tables cannot be read does not open, and then nothing can be repaired; so nodes, unlike other pages, are
//! mended while they are read. Two ways, and neither is believed for its own sake:
//!
//! - *One flipped bit* follows from the checksum ([`repair`]). Taken if every page that the node then names fits
//!   the checksum in its slot (of a node above the leaves: every child, which is seen when the children are read).
//! - *A leaf of the directory*, whatever happened to it, is put together anew from the bucket pages in the file, each of
//!   which says which slots it belongs in and how old it is. The file has pages of the past as well, and pages of a
//!   checkpoint that was never finished, so what comes out may be wrong; but then it does not fit the node's
//!   checksum in its parent, which covers page numbers and checksums of all 512 slots. So a bucket is never taken
//!   for a later one, nor a lost write for one that never was: the store opens with exactly what it had, or not at all.
//!
//! Leaves of the other tables cannot be put together: an overflow page or a value page does not say its number.

use std::collections::HashSet;

use cidstore_core::crc::page_checksum;
use cidstore_core::layout::bucket::{BucketHeader, BucketPage};
use cidstore_core::layout::superblock::Superblock;
use cidstore_core::layout::table::{
    SLOT_BITS, SLOTS_PER_TABLE_PAGE, Space, TableKind, TablePage, TableSlot,
};
use cidstore_core::layout::{NO_PAGE, PAGE_BYTES, PageKind};
use cidstore_core::repair;

use crate::shared::Shared;
use crate::space::layout::FileLayout;
use crate::table::shadow::{LoadFault, NodePlace, ShadowTable};
use crate::upkeep::add;

/// Reads the tables of a superblock, and mends what it can.
pub(super) struct Mender<'a> {
    shared: &'a Shared,
    superblock: &'a Superblock,
    files: &'a FileLayout,
    /// Pages of the bucket space that the overflow table names, once that is read.
    overflow_pages: HashSet<u32>,
    /// Bucket pages that the directory may name, oldest first, once they were looked for.
    buckets: Option<Vec<FoundBucket>>,
}

/// A page in the file that is, or was, a bucket.
struct FoundBucket {
    slot: TableSlot,
    prefix: u64,
    local_depth: u32,
    generation: u64,
}

impl<'a> Mender<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        superblock: &'a Superblock,
        files: &'a FileLayout,
    ) -> Self {
        let overflow_pages = HashSet::new();
        Self { shared, superblock, files, overflow_pages, buckets: None }
    }

    /// Reads one table.
    pub(super) fn load(&mut self, kind: TableKind) -> Result<ShadowTable, LoadFault> {
        let (shared, files, root) = (self.shared, self.files, self.superblock.root(kind));
        let read = |mut page: u32, mut out: &mut [u8]| {
            while !out.is_empty() {
                let place = files.place_of(Space::Tables, page).filter(|_| page != NO_PAGE);
                let Some((offset, together)) = place else {
                    let detail = "no such page in the file".into();
                    return Err(LoadFault::Damaged { page, detail });
                };
                let here = out.len().min(together as usize * PAGE_BYTES);
                let (now, later) = out.split_at_mut(here);
                shared.file.read_at(offset, now).map_err(LoadFault::Read)?;
                page += (here / PAGE_BYTES) as u32;
                out = later;
            }
            Ok(())
        };
        let mend = |node, page: &mut TablePage| {
            if let Some(mended) = self.mend(kind, node, page) {
                *page = mended;
                add(&shared.upkeep.repairs, 1);
                tracing::warn!(path = %shared.path.display(), ?kind, ?node, "mended a table node");
            }
        };
        let table = ShadowTable::load(root, read, mend)?;
        if kind == TableKind::Overflow {
            self.overflow_pages = table.slots().iter().map(|slot| slot.page).collect();
        }
        Ok(table)
    }

    /// What a node must have said, if that can be told.
    fn mend(&mut self, kind: TableKind, node: NodePlace, page: &TablePage) -> Option<TablePage> {
        let mut bytes: [u8; PAGE_BYTES] = zerocopy::transmute!(*page);
        let TableSlot { page: number, checksum } = node.at;
        if repair::repair(Space::Tables, number, checksum, &mut bytes).is_some() {
            let turned_back: TablePage = zerocopy::transmute!(bytes);
            if node.level > 0 || self.names_sound_pages(kind, &turned_back) {
                return Some(turned_back);
            }
        }
        if kind != TableKind::Directory || node.level > 0 {
            return None;
        }
        let rebuilt = self.directory_leaf(node);
        let fits = page_checksum(Space::Tables, number, zerocopy::transmute_ref!(&rebuilt));
        (fits == checksum).then_some(rebuilt)
    }

    /// Whether each page that a leaf names is what its slot says.
    fn names_sound_pages(&self, kind: TableKind, leaf: &TablePage) -> bool {
        let space = kind.space();
        let is_sound = |slot: &TableSlot| {
            let bytes = self.page(space, slot.page);
            bytes.is_some_and(|bytes| page_checksum(space, slot.page, &bytes) == slot.checksum)
        };
        leaf.slots.iter().filter(|slot| **slot != TableSlot::default()).all(is_sound)
    }

    /// A leaf of the directory with the newest bucket of each slot.
    fn directory_leaf(&mut self, node: NodePlace) -> TablePage {
        if self.buckets.is_none() {
            self.buckets = Some(self.find_buckets());
        }
        let mut leaf = TablePage::EMPTY;
        let leaf_bits = u64::from(node.node) << SLOT_BITS;
        for bucket in self.buckets.iter().flatten() {
            // Of the prefix, the part that says which leaf; and the part that says where in it, which comes again and
            // again if the bucket is that of several slots.
            let within_mask = (1_u64 << bucket.local_depth.min(SLOT_BITS)) - 1;
            let mask = (1_u64 << bucket.local_depth) - 1;
            if (leaf_bits ^ bucket.prefix) & mask & !within_mask != 0 {
                continue;
            }
            let first = (bucket.prefix & within_mask) as usize;
            let slots = leaf.slots.iter_mut().take(node.slot_count.min(SLOTS_PER_TABLE_PAGE));
            slots.skip(first).step_by(within_mask as usize + 1).for_each(|at| *at = bucket.slot);
        }
        leaf
    }

    /// All pages in the file that the directory may name, oldest first.
    fn find_buckets(&self) -> Vec<FoundBucket> {
        let mut found: Vec<FoundBucket> = (1..self.files.pages(Space::Buckets).page_count())
            .filter_map(|page| self.bucket(page))
            .collect();
        found.sort_by_key(|bucket| bucket.generation);
        found
    }

    /// A page as a bucket that the directory may name.
    fn bucket(&self, number: u32) -> Option<FoundBucket> {
        if self.overflow_pages.contains(&number) {
            return None;
        }
        let bytes = self.page(Space::Buckets, number)?;
        let page: BucketPage = zerocopy::transmute!(bytes);
        let BucketHeader { kind, local_depth, generation, prefix, .. } = page.header;
        let local_depth = u32::from(local_depth);
        let may_be = kind == PageKind::Bucket as u16
            && local_depth <= self.superblock.global_depth
            && prefix >> local_depth == 0
            && generation <= self.superblock.generation;
        let slot =
            TableSlot { page: number, checksum: page_checksum(Space::Buckets, number, &bytes) };
        may_be.then_some(FoundBucket { slot, prefix, local_depth, generation })
    }

    /// A page as it lies in the file; `None` if it cannot be read.
    fn page(&self, space: Space, number: u32) -> Option<[u8; PAGE_BYTES]> {
        let (offset, _) = self.files.place_of(space, number)?;
        let mut bytes = [0; PAGE_BYTES];
        self.shared.file.read_at(offset, &mut bytes).ok()?;
        Some(bytes)
    }
}
