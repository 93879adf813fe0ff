//! A table as the last checkpoint wrote it: a radix tree of 512-slot nodes, checksums in the parents.
//!
//! The checkpointer owns it. It changes slots as the cut says, then writes the nodes above them, leaves
//! first, each to a fresh page; what was replaced is handed back to be freed once no superblock needs it.

use std::collections::BTreeSet;

use cidstore_core::crc::page_checksum;

use cidstore_core::layout::table::{SLOTS_PER_TABLE_PAGE, Space, TablePage, TableRoot, TableSlot};
use zerocopy::IntoBytes;

use super::slots::SLOTS_MAX;
use crate::error::Result;

/// Most nodes that are read with one call.
const READ_PAGES: usize = 16;

/// What a tree needs from the file. Page numbers are those of the tables space.
pub(crate) trait TableFile {
    /// Takes a free page.
    fn allocate(&mut self) -> Result<u32>;
    /// Writes a page.
    fn write(&mut self, page: u32, bytes: &[u8]) -> Result<()>;
    /// A page that no node names any more.
    fn retire(&mut self, page: u32);
}

/// A table on disk.
#[derive(Debug, Default)]
pub(crate) struct ShadowTable {
    slots: Vec<TableSlot>,
    /// `levels[0]` says where the leaves lie, `levels[1]` the nodes above, and so on; the last has one
    /// element, the root. Empty for a table without slots.
    levels: Vec<Vec<TableSlot>>,
    dirty_leaves: BTreeSet<u32>,
}

/// Damage found while a tree was read: which page of the tables space, and what is wrong with it.
#[derive(Debug)]
pub(crate) enum LoadFault {
    /// The page could not be read.
    Read(crate::error::Error),
    /// The page's content contradicts its parent.
    Damaged { page: u32, detail: String },
}

/// What is known of a node before it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodePlace {
    /// Where it lies and what it must sum up to, by its parent.
    pub(crate) at: TableSlot,
    /// 0 for a leaf.
    pub(crate) level: usize,
    /// Its number within its level.
    pub(crate) node: u32,
    /// Slots that it has; those behind are zero.
    pub(crate) slot_count: usize,
}

impl ShadowTable {
    /// Slots of the table.
    pub(crate) fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    /// A slot; an absent one is all zeros.
    pub(crate) fn get(&self, index: u32) -> TableSlot {
        self.slots.get(index as usize).copied().unwrap_or_default()
    }

    /// All slots.
    pub(crate) fn slots(&self) -> &[TableSlot] {
        &self.slots
    }

    /// Where the leaves lie.
    pub(crate) fn leaves(&self) -> &[TableSlot] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }

    /// Nodes of the tree.
    #[cfg(test)]
    pub(crate) fn node_count(&self) -> usize {
        self.levels.iter().map(Vec::len).sum()
    }

    /// Pages of the tables space that the nodes lie in.
    pub(crate) fn node_pages(&self) -> impl Iterator<Item = u32> {
        self.levels.iter().flatten().map(|slot| slot.page)
    }

    /// Where each node lies, with the first of the leaves below it (itself, if it is a leaf).
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (u32, TableSlot)> {
        self.levels.iter().enumerate().flat_map(|(level, nodes)| {
            let leaves_per_node = SLOTS_PER_TABLE_PAGE.pow(level as u32);
            let leaf = move |node: usize| (node * leaves_per_node) as u32;
            nodes.iter().enumerate().map(move |(node, &slot)| (leaf(node), slot))
        })
    }

    /// Lets the next [`write`](Self::write) write a leaf, and all nodes above it, whether or not they have changed.
    pub(crate) fn rewrite_leaf(&mut self, leaf: u32) {
        self.dirty_leaves.insert(leaf);
    }

    /// Changes a slot; the table grows if it must.
    pub(crate) fn set(&mut self, index: u32, slot: TableSlot) {
        if index as usize >= self.slots.len() {
            self.resize(index + 1);
        }
        if self.slots[index as usize] != slot {
            self.slots[index as usize] = slot;
            self.dirty_leaves.insert(index / SLOTS_PER_TABLE_PAGE as u32);
        }
    }

    /// True if the next [`write`](Self::write) has something to write.
    pub(crate) fn is_changed(&self) -> bool {
        !self.dirty_leaves.is_empty()
    }

    /// Lets the next [`write`](Self::write) write every node that lies in a page at or beyond `limit`, and so move it.
    /// Answers whether there was any.
    pub(crate) fn move_beyond(&mut self, limit: u32) -> bool {
        let mut moved = false;
        let mut leaves_per_node = 1;
        for level in &self.levels {
            for (node, slot) in level.iter().enumerate() {
                if slot.page >= limit {
                    // Its first leaf takes all nodes above along.
                    self.dirty_leaves.insert((node * leaves_per_node) as u32);
                    moved = true;
                }
            }
            leaves_per_node *= SLOTS_PER_TABLE_PAGE;
        }
        moved
    }

    /// Makes the table this long; new slots are zero.
    pub(crate) fn resize(&mut self, slot_count: u32) {
        let old = self.slots.len() as u32;
        self.slots.resize(slot_count as usize, TableSlot::default());
        if slot_count != old {
            // The leaf that was (or becomes) the partial last one changes, and so do all new ones.
            let first = old.min(slot_count).saturating_sub(1) / SLOTS_PER_TABLE_PAGE as u32;
            let end = slot_count.div_ceil(SLOTS_PER_TABLE_PAGE as u32);
            self.dirty_leaves.extend(first..end);
        }
    }

    /// Fits the directory to a depth: each doubling copies the lower half into the upper.
    pub(crate) fn set_depth(&mut self, depth: u32) {
        let wanted = 1_u32 << depth;
        while self.len() < wanted {
            let old = self.len();
            let new = if old == 0 { 1 } else { old * 2 };
            self.resize(new);
            self.slots.copy_within(0..(new - old) as usize, old as usize);
        }
        if self.len() > wanted {
            self.resize(wanted);
        }
    }

    /// Most pages that the next [`write`](Self::write) can take.
    pub(crate) fn pages_needed_max(slot_count: u32) -> u64 {
        let mut nodes = 0;
        let mut level = slot_count as u64;
        while level > 1 || nodes == 0 {
            level = level.div_ceil(SLOTS_PER_TABLE_PAGE as u64).max(1);
            nodes += level;
        }
        nodes
    }

    /// Writes what changed; answers the root for the superblock.
    pub(crate) fn write(&mut self, file: &mut impl TableFile) -> Result<TableRoot> {
        let mut dirty = std::mem::take(&mut self.dirty_leaves);
        let mut children = self.slots.len();
        let mut level = 0;
        while children > 0 {
            let nodes = children.div_ceil(SLOTS_PER_TABLE_PAGE);
            if self.levels.len() <= level {
                self.levels.push(Vec::new());
            }
            let had = self.levels[level].len();
            for slot in self.levels[level].drain(nodes.min(had)..) {
                file.retire(slot.page);
            }
            dirty.extend(had as u32..nodes as u32);
            dirty.retain(|&node| (node as usize) < nodes);
            self.levels[level].resize(nodes, TableSlot::default());
            self.write_level(level, &dirty, file)?;
            dirty = dirty.iter().map(|node| node / SLOTS_PER_TABLE_PAGE as u32).collect();
            level += 1;
            if nodes == 1 {
                break;
            }
            children = nodes;
        }
        for slot in self.levels.drain(level..).flatten() {
            file.retire(slot.page);
        }
        Ok(self.root())
    }

    /// Writes the nodes of one level that changed.
    fn write_level(
        &mut self,
        level: usize,
        dirty: &BTreeSet<u32>,
        file: &mut impl TableFile,
    ) -> Result<()> {
        for &node in dirty {
            let mut page = TablePage::EMPTY;
            let first = node as usize * SLOTS_PER_TABLE_PAGE;
            let below = if level == 0 { &self.slots } else { &self.levels[level - 1] };
            let end = below.len().min(first + SLOTS_PER_TABLE_PAGE);
            page.slots[..end - first].copy_from_slice(&below[first..end]);
            let number = file.allocate()?;
            file.write(number, page.as_bytes())?;
            let checksum = page_checksum(Space::Tables, number, zerocopy::transmute_ref!(&page));
            let new = TableSlot { page: number, checksum };
            let old = std::mem::replace(&mut self.levels[level][node as usize], new);
            if old.page != 0 {
                file.retire(old.page);
            }
        }
        Ok(())
    }

    /// The root as last written.
    pub(crate) fn root(&self) -> TableRoot {
        TableRoot {
            slot: self.levels.last().and_then(|level| level.first()).copied().unwrap_or_default(),
            height: self.levels.len() as u32,
            slot_count: self.slots.len() as u64,
            ..TableRoot::default()
        }
    }

    /// Reads a tree from the file, checking each node against its parent. `read` reads pages that follow each other, from a
    /// page on.
    ///
    /// A node that differs is handed to `mend`. What that makes of it is taken if it fits the checksum, and
    /// the next [`write`](Self::write) writes it again.
    pub(crate) fn load(
        root: &TableRoot,
        mut read: impl FnMut(u32, &mut [u8]) -> std::result::Result<(), LoadFault>,
        mut mend: impl FnMut(NodePlace, &mut TablePage),
    ) -> std::result::Result<Self, LoadFault> {
        let (slot_count, counts) = node_counts(root)?;
        let mut levels: Vec<Vec<TableSlot>> = Vec::new();
        let mut dirty_leaves = BTreeSet::new();
        let mut current = vec![root.slot];
        let mut pages = [TablePage::EMPTY; READ_PAGES];
        for level in (0..counts.len()).rev() {
            require_distinct(&current)?;
            let below = if level == 0 { slot_count } else { counts[level - 1] };
            let mut slots = Vec::with_capacity(below);
            let mut number = 0;
            // Nodes that were written together lie together, as a rule.
            let runs = current.chunk_by(|node, next| next.page == node.page.wrapping_add(1));
            for run in runs.flat_map(|run| run.chunks(READ_PAGES)) {
                let pages = &mut pages[..run.len()];
                read(run[0].page, pages.as_mut_bytes())?;
                for (&at, page) in run.iter().zip(pages) {
                    let slot_count = (below - slots.len()).min(SLOTS_PER_TABLE_PAGE);
                    let node = NodePlace { at, level, node: number, slot_count };
                    if !check_node(node, page, &mut mend)? {
                        let leaves_per_node = SLOTS_PER_TABLE_PAGE.pow(level as u32);
                        dirty_leaves.insert((number as usize * leaves_per_node) as u32);
                    }
                    slots.extend_from_slice(&page.slots[..slot_count]);
                    number += 1;
                }
            }
            levels.push(std::mem::replace(&mut current, slots));
        }
        levels.reverse();
        let slots = if counts.is_empty() { Vec::new() } else { current };
        Ok(Self { slots, levels, dirty_leaves })
    }
}

/// Slots of the table that a root tells of, and nodes of each level, leaves first.
fn node_counts(root: &TableRoot) -> std::result::Result<(usize, Vec<usize>), LoadFault> {
    let slot_count = usize::try_from(root.slot_count).unwrap_or(usize::MAX);
    let mut counts = Vec::new();
    let mut nodes = slot_count;
    while nodes > 0 && slot_count <= SLOTS_MAX {
        nodes = nodes.div_ceil(SLOTS_PER_TABLE_PAGE);
        counts.push(nodes);
        if nodes == 1 {
            break;
        }
    }
    if slot_count > SLOTS_MAX || counts.len() != root.height as usize {
        let detail = format!("a table of {slot_count} slots and height {} cannot be", root.height);
        return Err(LoadFault::Damaged { page: root.slot.page, detail });
    }
    Ok((slot_count, counts))
}

/// What a node repeats would multiply level by level.
fn require_distinct(nodes: &[TableSlot]) -> std::result::Result<(), LoadFault> {
    let mut pages: Vec<u32> =
        nodes.iter().map(|node| node.page).filter(|&page| page != 0).collect();
    pages.sort_unstable();
    match pages.windows(2).find(|pair| pair.first() == pair.last()) {
        Some(pair) => {
            Err(LoadFault::Damaged { page: pair[0], detail: "is two nodes of one table".into() })
        }
        None => Ok(()),
    }
}

/// Whether a node is what its parent says; false if it is now, and was not before it was mended.
fn check_node(
    node: NodePlace,
    page: &mut TablePage,
    mend: &mut impl FnMut(NodePlace, &mut TablePage),
) -> std::result::Result<bool, LoadFault> {
    let TableSlot { page: number, checksum: expected } = node.at;
    let sum =
        |page: &TablePage| page_checksum(Space::Tables, number, zerocopy::transmute_ref!(page));
    let found = sum(page);
    if found == expected {
        return Ok(true);
    }
    mend(node, page);
    if sum(page) != expected {
        let detail = format!("checksum {found:#010x}, its parent says {expected:#010x}");
        return Err(LoadFault::Damaged { page: number, detail });
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cidstore_core::layout::PAGE_BYTES;

    use super::*;

    #[derive(Default)]
    struct MemoryFile {
        pages: BTreeMap<u32, Vec<u8>>,
        next: u32,
    }

    impl MemoryFile {
        fn read(&self, first: u32, out: &mut [u8]) {
            for (page, out) in (first..).zip(out.chunks_exact_mut(PAGE_BYTES)) {
                out.copy_from_slice(&self.pages[&page]);
            }
        }
    }

    impl TableFile for MemoryFile {
        fn allocate(&mut self) -> Result<u32> {
            self.next += 1;
            Ok(self.next)
        }
        fn write(&mut self, page: u32, bytes: &[u8]) -> Result<()> {
            assert!(self.pages.insert(page, bytes.to_vec()).is_none(), "a page written twice");
            Ok(())
        }
        fn retire(&mut self, page: u32) {
            self.pages.remove(&page).expect("a page retired that was never written");
        }
    }

    fn reload(root: &TableRoot, file: &MemoryFile) -> ShadowTable {
        let read = |page, out: &mut [u8]| {
            file.read(page, out);
            Ok(())
        };
        ShadowTable::load(root, read, |node, _| unreachable!("{node:?} is sound")).unwrap()
    }

    #[test]
    fn a_written_tree_reads_back_through_growth_and_shrinking() {
        let mut table = ShadowTable::default();
        let mut file = MemoryFile::default();
        for &len in &[1_u32, 511, 512, 513, 300_000, 262_144, 262_145, 512, 2] {
            table.resize(len);
            table.set(len / 2, TableSlot { page: len, checksum: len ^ 7 });
            let root = table.write(&mut file).unwrap();
            let again = reload(&root, &file);
            assert_eq!(again.slots(), table.slots());
            assert_eq!(file.pages.len(), table.node_count(), "nodes leaked at length {len}");
            assert!(table.node_count() as u64 <= ShadowTable::pages_needed_max(len));
        }
    }

    #[test]
    fn every_node_beyond_a_limit_moves() {
        let mut table = ShadowTable::default();
        let mut file = MemoryFile::default();
        table.resize(300_000);
        table.write(&mut file).unwrap();
        let (nodes, limit) = (table.node_count() as u32, file.next);
        for kept in [limit - 1, limit - 2, limit / 2, 1] {
            let limit = file.next;
            assert!(!table.move_beyond(limit + 1));
            // The last pages written hold the root and what lies below it.
            assert!(table.move_beyond(limit - nodes + kept.min(nodes - 1)));
            let root = table.write(&mut file).unwrap();
            assert!(table.node_pages().all(|page| page < limit - nodes + kept || page > limit));
            assert_eq!(reload(&root, &file).slots(), table.slots());
            assert_eq!(file.pages.len(), table.node_count());
        }
    }

    #[test]
    fn doubling_copies_the_lower_half() {
        let mut table = ShadowTable::default();
        table.set(0, TableSlot { page: 9, checksum: 1 });
        table.set_depth(3);
        assert!(table.slots().iter().all(|slot| slot.page == 9));
        assert_eq!(table.len(), 8);
        table.set_depth(1);
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_flipped_bit_in_a_node_is_found() {
        let mut table = ShadowTable::default();
        let mut file = MemoryFile::default();
        table.set(1000, TableSlot { page: 5, checksum: 5 });
        let root = table.write(&mut file).unwrap();
        file.pages.get_mut(&1).unwrap()[17] ^= 4;
        let load = |mend: fn(NodePlace, &mut TablePage)| {
            let read = |page, out: &mut [u8]| {
                file.read(page, out);
                Ok(())
            };
            ShadowTable::load(&root, read, mend)
        };
        let result = load(|_, _| ());
        assert!(matches!(result, Err(LoadFault::Damaged { page: 1, .. })));
        let result = load(|_, page| page.as_mut_bytes()[18] ^= 4);
        assert!(matches!(result, Err(LoadFault::Damaged { page: 1, .. })), "mended wrongly");
        let mended = load(|node, page| {
            assert_eq!((node.at.page, node.level, node.node, node.slot_count), (1, 0, 0, 512));
            page.as_mut_bytes()[17] ^= 4;
        });
        let mended = mended.unwrap();
        assert!(mended.is_changed() && mended.slots() == table.slots());
    }
}
