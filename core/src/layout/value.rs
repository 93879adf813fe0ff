//! Value pages: extents of small sets, and the leaves and inner nodes of large ones.
//!
//! Value pages are reached by *logical* number through the value table, so copying one changes a
//! single table slot and nothing that points to it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{PAGE_BYTES, PAGE_WORDS};
use crate::entity::E;

/// Size of the header of every value page, in 64-bit words.
pub const VALUE_HEADER_WORDS: usize = 8;
/// Size of an extent's own header, in 64-bit words.
pub const EXTENT_HEADER_WORDS: usize = 8;
/// Values per extent, by size class.
pub const EXTENT_CAPACITIES: [u16; 6] = [8, 16, 32, 64, 122, 248];
/// Most values that a small set can hold; one more makes it a large set.
pub const SMALL_SET_MAX: usize = 244;
/// First value word of a leaf.
pub const LEAF_VALUES_WORD: usize = 12;
/// Values in a leaf.
pub const LEAF_VALUES: usize = 250;
/// Most children of an inner node.
pub const INNER_CHILDREN: usize = 168;

/// Word of `kind`, `class`/`level`, `capacity` in every value page.
pub const KIND_WORD: usize = 0;
/// Word of `generation` in every value page.
pub const GENERATION_WORD: usize = 1;

/// Header of a page of extents: which size class, and which extents are in use.
///
/// Extent `i` starts at word `8 + i * extent_words(class)`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ExtentsHeader {
    /// [`super::PageKind::Extents`].
    pub kind: u16,
    /// Index into [`EXTENT_CAPACITIES`].
    pub class: u8,
    /// Zero.
    pub reserved: [u8; 5],
    /// Generation in which this copy of the page was built.
    pub generation: u64,
    /// One bit an extent: in use. The writer's own.
    pub used: u64,
    /// Live values in all extents of the page. The writer's own.
    pub live_values: u32,
    /// Zero.
    pub reserved_tail: [u32; 9],
}

const _: () = assert!(size_of::<ExtentsHeader>() == VALUE_HEADER_WORDS * 8);

/// Header of one extent: a small set. The values follow.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ExtentHeader {
    /// The key whose set this is.
    pub owner: E,
    /// Change counter; with `count` and `sorted_count` one atomic word, the extent's *meta*.
    pub version: u32,
    /// Positions in use, tombstones included.
    pub count: u16,
    /// Positions from the start that lie in ascending order.
    pub sorted_count: u16,
    /// One bit a position: the value there was deleted.
    pub tombstones: [u64; 4],
    /// Zero.
    pub reserved: u64,
}

/// Word of the owner's upper half within an extent.
pub const EXTENT_OWNER_WORD: usize = 0;
/// Word of the extent's meta.
pub const EXTENT_META_WORD: usize = 2;
/// First word of the extent's tombstone bits.
pub const EXTENT_TOMBSTONES_WORD: usize = 3;

const _: () = assert!(size_of::<ExtentHeader>() == EXTENT_HEADER_WORDS * 8);

/// Words of an extent of this size class, header included.
#[must_use]
pub const fn extent_words(class: usize) -> usize {
    EXTENT_HEADER_WORDS + EXTENT_CAPACITIES[class] as usize * 2
}

/// Extents of this size class in a page.
#[must_use]
pub const fn extents_per_page(class: usize) -> usize {
    (PAGE_WORDS - VALUE_HEADER_WORDS) / extent_words(class)
}

/// The smallest size class that holds `values` values, if one does.
#[must_use]
pub const fn class_for(values: usize) -> Option<usize> {
    let mut class = 0;
    while class < EXTENT_CAPACITIES.len() {
        if EXTENT_CAPACITIES[class] as usize >= values {
            return Some(class);
        }
        class += 1;
    }
    None
}

/// Header of a leaf of a large set; 250 values follow at byte 96.
///
/// Leaves form a chain in ascending order (a B-link tree): a reader that looks for a value at or above
/// `high` goes on to `next`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LeafHeader {
    /// [`super::PageKind::Leaf`].
    pub kind: u16,
    /// 1 if `high` bounds the leaf, 0 for the last leaf of the set.
    pub bounded: u8,
    /// Zero.
    pub reserved: [u8; 5],
    /// Generation in which this copy of the page was built.
    pub generation: u64,
    /// Change counter; with `count` and `sorted_count` one atomic word, the leaf's *meta*.
    pub version: u32,
    /// Positions in use, tombstones included.
    pub count: u16,
    /// Positions from the start that lie in ascending order.
    pub sorted_count: u16,
    /// Logical number of the next leaf, 0 for none.
    pub next: u32,
    /// Zero.
    pub reserved_next: u32,
    /// All values of the leaf are below this one, if `bounded`.
    pub high: E,
    /// One bit a position: the value there was deleted.
    pub tombstones: [u64; 4],
    /// The key whose set this is.
    pub owner: E,
}

/// Word of the leaf's meta.
pub const LEAF_META_WORD: usize = 2;
/// Word whose low half is `next`.
pub const LEAF_NEXT_WORD: usize = 3;
/// First word of `high` (upper half, then lower).
pub const LEAF_HIGH_WORD: usize = 4;
/// First word of the tombstone bits.
pub const LEAF_TOMBSTONES_WORD: usize = 6;
/// First word of `owner`.
pub const LEAF_OWNER_WORD: usize = 10;

const _: () = assert!(size_of::<LeafHeader>() == LEAF_VALUES_WORD * 8);
const _: () = assert!(LEAF_VALUES_WORD + LEAF_VALUES * 2 == PAGE_WORDS);

/// Header of an inner node of a large set. Children follow: first all separators, then all children.
///
/// Child 0 covers values below `separators[1]`; child `i` covers `separators[i]` up to, not including,
/// `separators[i + 1]`; `separators[0]` is not used and zero. Inner nodes are replaced whole.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct InnerHeader {
    /// [`super::PageKind::Inner`].
    pub kind: u16,
    /// Distance to the leaves: 1 for the lowest inner nodes.
    pub level: u8,
    /// Zero.
    pub reserved: u8,
    /// Children in use.
    pub child_count: u32,
    /// Generation in which this copy of the page was built.
    pub generation: u64,
    /// Root only: values in the whole set. In other nodes zero.
    pub set_values: u64,
    /// Root only: tombstones in the whole set. In other nodes zero.
    pub set_tombstones: u64,
    /// The key whose set this is.
    pub owner: E,
    /// Zero.
    pub reserved_tail: [u64; 2],
}

const _: () = assert!(size_of::<InnerHeader>() == VALUE_HEADER_WORDS * 8);

/// First word of an inner node's separators.
pub const INNER_SEPARATORS_WORD: usize = VALUE_HEADER_WORDS;
/// First word of an inner node's children: two logical numbers a word, lower half first.
pub const INNER_CHILDREN_WORD: usize = INNER_SEPARATORS_WORD + INNER_CHILDREN * 2;

const _: () = assert!(INNER_CHILDREN_WORD + INNER_CHILDREN / 2 <= PAGE_WORDS);

/// An inner node as it lies in a page.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InnerPage {
    /// Kind, level, counts.
    pub header: InnerHeader,
    /// The lower bound of each child.
    pub separators: [E; INNER_CHILDREN],
    /// Logical numbers of the children.
    pub children: [u32; INNER_CHILDREN],
    /// Zero.
    pub reserved: [u8; PAGE_BYTES - 64 - INNER_CHILDREN * 20],
}

const _: () = assert!(size_of::<InnerPage>() == PAGE_BYTES);

/// A leaf as it lies in a page.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LeafPage {
    /// Kind, bounds, counters, tombstones.
    pub header: LeafHeader,
    /// The values; only the first `count` mean something.
    pub values: [E; LEAF_VALUES],
}

const _: () = assert!(size_of::<LeafPage>() == PAGE_BYTES);
