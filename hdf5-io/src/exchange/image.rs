//! The store file around canonical pages: where each space lies, the tables, the two superblocks.
//!
//! An uncompressed export is both an HDF5 file and a cleanly closed store: its datasets *are* the segments. The tables space
//! consists of four of them, in this order: page 0 and the upper nodes, which hardly anyone looks at, and the leaves of the
//! directory, of the value table and of the overflow table, which are what people take for the tables.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cidstore_core::crc::page_checksum;
use cidstore_core::hash::HashSeed;
use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::superblock::{FLAG_CLEAN, SUPERBLOCK_OFFSETS, Segment, Superblock};
use cidstore_core::layout::table::{SLOTS_PER_TABLE_PAGE, Space, TablePage, TableRoot, TableSlot};
use zerocopy::IntoBytes;

use super::canonical::GENERATION;
use super::error::{ExchangeError, Result};

/// The parts of a file, in the order in which they lie there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Part {
    Nodes = 0,
    Directory = 1,
    ValueTable = 2,
    Overflow = 3,
    Buckets = 4,
    Values = 5,
}

impl Part {
    pub(super) const ALL: [Self; PARTS] = [
        Self::Nodes,
        Self::Directory,
        Self::ValueTable,
        Self::Overflow,
        Self::Buckets,
        Self::Values,
    ];

    /// The dataset that the part is.
    pub(super) const fn object(self) -> &'static str {
        match self {
            Self::Nodes => "/tables/nodes",
            Self::Directory => "/dir",
            Self::ValueTable => "/values/table",
            Self::Overflow => "/buckets/overflow",
            Self::Buckets => "/buckets/pages",
            Self::Values => "/values/pages",
        }
    }
}

/// Pages of each part.
pub(super) type PartPages = [u64; PARTS];

/// How many parts there are.
pub(super) const PARTS: usize = 6;

/// Numbers of slots of the three tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotCounts {
    pub(super) directory: u64,
    pub(super) overflow: u64,
    pub(super) values: u64,
}

impl SlotCounts {
    /// Pages of the four parts that hold the tables.
    pub(super) fn pages(&self) -> [u64; 4] {
        let leaves = |slots: u64| slots.div_ceil(SLOTS_PER_TABLE_PAGE as u64);
        let upper = |slots: u64| nodes(slots) - leaves(slots);
        let tables = [self.directory, self.values, self.overflow];
        let shared = 1 + tables.map(upper).iter().sum::<u64>();
        let [directory, values, overflow] = tables.map(|slots| leaves(slots).max(1));
        [shared, directory, values, overflow]
    }
}

/// Nodes of a table, leaves included.
fn nodes(slots: u64) -> u64 {
    let (mut level, mut sum) = (slots, 0);
    while level > 0 {
        level = level.div_ceil(SLOTS_PER_TABLE_PAGE as u64);
        sum += level;
        if level == 1 {
            break;
        }
    }
    sum
}

/// What the superblock says besides where things lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) file_id: [u8; 16],
    pub(super) hash_seed: HashSeed,
    pub(super) created_nanos: u64,
    pub(super) global_depth: u32,
    pub(super) keys: u64,
    pub(super) values: u64,
}

/// A file whose parts have their places and wait for their bytes.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) offsets: [u64; PARTS],
    pub(super) pages: PartPages,
}

impl Image {
    /// A file with these parts.
    ///
    /// # Errors
    /// If a part does not lie at a page boundary, or not behind the one before.
    pub(super) fn new(
        path: &Path,
        file: File,
        offsets: [u64; PARTS],
        pages: PartPages,
    ) -> Result<Self> {
        let mut end = cidstore_core::layout::superblock::SEGMENTS_START;
        for part in Part::ALL {
            let offset = offsets[part as usize];
            if offset < end || !offset.is_multiple_of(PAGE_BYTES as u64) {
                let detail = format!("lies at byte {offset}, not on a page at or after {end}");
                return Err(ExchangeError::content(path, part.object(), detail));
            }
            end = offset + pages[part as usize] * PAGE_BYTES as u64;
        }
        Ok(Self { path: path.to_owned(), file, offsets, pages })
    }

    /// Writes whole pages of a part.
    pub(super) fn write(&self, part: Part, first: u64, bytes: &[u8]) -> Result<()> {
        let offset = self.offsets[part as usize] + first * PAGE_BYTES as u64;
        self.file.write_all_at(bytes, offset).map_err(ExchangeError::io(&self.path, "write"))
    }

    /// Writes the nodes of all tables, and answers their roots.
    pub(super) fn write_tables(
        &self,
        directory: &[TableSlot],
        overflow: &[TableSlot],
        values: &[TableSlot],
    ) -> Result<[TableRoot; 3]> {
        let first_directory = self.pages[Part::Nodes as usize] as u32;
        let first_values = first_directory + self.pages[Part::Directory as usize] as u32;
        let first_overflow = first_values + self.pages[Part::ValueTable as usize] as u32;
        let mut nodes = Nodes { image: self, next: 1 };
        Ok([
            nodes.write_table(directory, (Part::Directory, first_directory))?,
            nodes.write_table(overflow, (Part::Overflow, first_overflow))?,
            nodes.write_table(values, (Part::ValueTable, first_values))?,
        ])
    }

    /// Writes both superblocks: the file is a store from then on.
    pub(super) fn write_superblocks(&self, id: &Identity, roots: [TableRoot; 3]) -> Result<()> {
        let io = |action| ExchangeError::io(&self.path, action);
        let mut superblock = Superblock::new();
        superblock.file_id = id.file_id;
        superblock.generation = GENERATION;
        superblock.hash_seed = id.hash_seed;
        superblock.created_nanos = id.created_nanos;
        superblock.wal_offset = cidstore_core::layout::record::RING_START;
        superblock.flags = FLAG_CLEAN;
        superblock.global_depth = id.global_depth;
        superblock.key_count = id.keys;
        superblock.value_count = id.values;
        superblock.file_bytes = self.file.metadata().map_err(io("read"))?.len();
        superblock.roots = roots;
        let segment = |part: Part| Segment {
            first_file_page: (self.offsets[part as usize] / PAGE_BYTES as u64) as u32,
            page_count: self.pages[part as usize] as u32,
        };
        let tables = [Part::Nodes, Part::Directory, Part::ValueTable, Part::Overflow].map(segment);
        let segments = [&[segment(Part::Buckets)][..], &[segment(Part::Values)][..], &tables[..]];
        superblock
            .set_segments(segments)
            .map_err(|error| ExchangeError::content(&self.path, "/", error.to_string()))?;
        for number in [1, 2] {
            superblock.checkpoint_number = number;
            superblock.seal();
            let offset = SUPERBLOCK_OFFSETS[usize::from(superblock.slot())];
            self.file.write_all_at(superblock.as_bytes(), offset).map_err(io("write"))?;
            superblock.previous_checksum = superblock.checksum;
        }
        Ok(())
    }
}

/// Writes table nodes, upper ones one after another.
struct Nodes<'a> {
    image: &'a Image,
    next: u32,
}

impl Nodes<'_> {
    /// Writes a table from its leaves up; they go to `leaves`, a part with the number of its first page.
    fn write_table(&mut self, slots: &[TableSlot], leaves: (Part, u32)) -> Result<TableRoot> {
        let mut current = slots.to_vec();
        let mut height = 0;
        while !slots.is_empty() && (height == 0 || current.len() > 1) {
            let mut above = Vec::with_capacity(current.len().div_ceil(SLOTS_PER_TABLE_PAGE));
            for (index, chunk) in current.chunks(SLOTS_PER_TABLE_PAGE).enumerate() {
                let mut node = TablePage::EMPTY;
                node.slots[..chunk.len()].copy_from_slice(chunk);
                let (part, page, number) = if height == 0 {
                    (leaves.0, index as u64, leaves.1 + index as u32)
                } else {
                    self.next += 1;
                    (Part::Nodes, u64::from(self.next - 1), self.next - 1)
                };
                self.image.write(part, page, node.as_bytes())?;
                let bytes: &[u8; PAGE_BYTES] = zerocopy::transmute_ref!(&node);
                let checksum = page_checksum(Space::Tables, number, bytes);
                above.push(TableSlot { page: number, checksum });
            }
            current = above;
            height += 1;
        }
        let slot = if slots.is_empty() { TableSlot::default() } else { current[0] };
        Ok(TableRoot { slot, height, slot_count: slots.len() as u64, ..TableRoot::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_counted_as_they_are_written() {
        assert_eq!([0, 1, 512, 513, 512 * 512 + 1].map(nodes), [0, 1, 1, 3, 516]);
        let counts = SlotCounts { directory: 1, overflow: 0, values: 0 };
        assert_eq!(counts.pages(), [1, 1, 1, 1]);
        let counts = SlotCounts { directory: 1024, overflow: 2, values: 513 };
        assert_eq!(counts.pages(), [1 + 1 + 1, 2, 2, 1]);
    }
}
