//! The three tables on disk: radix trees of 4096-byte nodes with 512 slots each.
//!
//! A table maps a small number to a page. Slot `i` of a leaf names the page of number
//! `leaf index * 512 + i`; slot `i` of a higher node names the node below it. A slot carries the checksum
//! of the page it names, so whoever trusts the root can trust every page of the checkpoint.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::PAGE_BYTES;

/// Slots in a table page.
pub const SLOTS_PER_TABLE_PAGE: usize = 512;
/// Binary logarithm of [`SLOTS_PER_TABLE_PAGE`].
pub const SLOT_BITS: u32 = 9;
/// The tallest table: four levels hold 2^36 slots, more than there are page numbers.
pub const MAX_TABLE_HEIGHT: u32 = 4;

/// The pages of a data file by what they are for. Each space numbers its pages from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Space {
    /// Bucket pages, overflow pages included.
    Buckets = 0,
    /// Extents, leaves and inner nodes.
    Values = 1,
    /// Nodes of the tables.
    Tables = 2,
}

impl Space {
    /// All spaces, in the order in which the superblock lists their segments.
    pub const ALL: [Self; 3] = [Self::Buckets, Self::Values, Self::Tables];
}

/// The tables of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TableKind {
    /// Directory index to bucket page.
    Directory = 0,
    /// Overflow number to bucket page.
    Overflow = 1,
    /// Logical value page number to value page.
    Values = 2,
}

impl TableKind {
    /// All tables, in the order of the superblock's roots.
    pub const ALL: [Self; 3] = [Self::Directory, Self::Overflow, Self::Values];

    /// The space of the pages that the leaves of this table name.
    #[must_use]
    pub const fn space(self) -> Space {
        match self {
            Self::Directory | Self::Overflow => Space::Buckets,
            Self::Values => Space::Values,
        }
    }
}

/// A page by number, with its checksum.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TableSlot {
    /// Page number within its space; [`super::NO_PAGE`] for none.
    pub page: u32,
    /// [`crate::crc::page_checksum`] of the page; zero for none.
    pub checksum: u32,
}

const _: () = assert!(size_of::<TableSlot>() == 8);

/// A node of a table: slots and nothing else. Who reached it knows its level and has its checksum.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TablePage {
    /// The pages or nodes below.
    pub slots: [TableSlot; SLOTS_PER_TABLE_PAGE],
}

const _: () = assert!(size_of::<TablePage>() == PAGE_BYTES);
const _: () = assert!(1 << SLOT_BITS == SLOTS_PER_TABLE_PAGE);

impl TablePage {
    /// A node with no page below it.
    pub const EMPTY: Self =
        Self { slots: [TableSlot { page: 0, checksum: 0 }; SLOTS_PER_TABLE_PAGE] };
}

/// Where a table begins: part of the superblock.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TableRoot {
    /// The root node, in [`Space::Tables`]; none if no number of the table is in use.
    pub slot: TableSlot,
    /// Levels of nodes: 0 for an empty table, 1 if the root is a leaf.
    pub height: u32,
    /// Zero.
    pub reserved: u32,
    /// Numbers that the table maps: `0..slot_count`.
    pub slot_count: u64,
}

const _: () = assert!(size_of::<TableRoot>() == 24);

impl TableRoot {
    /// The height of a table of this many slots: the least that reaches them all.
    #[must_use]
    pub const fn height_for(slot_count: u64) -> u32 {
        if slot_count == 0 {
            return 0;
        }
        let bits = u64::BITS - (slot_count - 1).leading_zeros();
        if bits == 0 { 1 } else { bits.div_ceil(SLOT_BITS) }
    }
}

/// The slot within a node at `level` (1 for leaves) on the way to table number `number`.
#[inline]
#[must_use]
pub const fn slot_index(number: u32, level: u32) -> usize {
    (number as u64 >> (SLOT_BITS * (level - 1))) as usize % SLOTS_PER_TABLE_PAGE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_height_is_the_least_that_suffices() {
        for (slots, height) in [
            (0, 0),
            (1, 1),
            (512, 1),
            (513, 2),
            (1 << 18, 2),
            ((1 << 18) + 1, 3),
            (1 << 27, 3),
            (1 << 28, 4),
            (1 << 32, 4),
        ] {
            assert_eq!(TableRoot::height_for(slots), height, "{slots} slots");
        }
    }

    #[test]
    fn indexes_are_the_digits_of_the_number() {
        let number = ((3 * 512 + 511) * 512 + 7) * 512 + 42;
        assert_eq!([4, 3, 2, 1].map(|level| slot_index(number, level)), [3, 511, 7, 42]);
    }
}
