//! The bucket page: a header line, a line of tags, and 62 entries of one line each.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::entry::{ENTRY_WORDS, HashEntry};
use super::{PAGE_BYTES, PAGE_WORDS};

/// Entries in a bucket page.
pub const ENTRIES_PER_BUCKET: usize = 62;
/// First tag word: one tag byte a position, eight positions a word, byte 0 (least significant) first.
pub const TAGS_WORD: usize = 8;
/// Tag words in a page of 4096 bytes.
pub const TAG_WORDS: usize = 8;
/// First word of entry 0.
pub const ENTRIES_WORD: usize = 16;

/// Word of `kind`, `local_depth` and the reserved bytes beside them.
pub const KIND_WORD: usize = 0;
/// Word of `generation`.
pub const GENERATION_WORD: usize = 1;
/// Word whose low half is `sequence` (the count of moves) and whose upper half is zero.
pub const SEQUENCE_WORD: usize = 2;
/// Word whose low half is `overflow` (an overflow-table number, 0 for none) and whose upper half is zero.
pub const OVERFLOW_WORD: usize = 3;
/// Word of `entry_count` and `sorted_count`.
pub const COUNTS_WORD: usize = 4;
/// Word of `prefix`.
pub const PREFIX_WORD: usize = 5;
/// Word of `unsorted`.
pub const UNSORTED_WORD: usize = 6;

/// Number of entries in a bucket of `words` words; 62 for a page. Models use smaller pages.
#[must_use]
pub const fn entries_in(words: usize) -> usize {
    let entries = (words - ENTRIES_WORD) / ENTRY_WORDS;
    if entries > ENTRIES_PER_BUCKET { ENTRIES_PER_BUCKET } else { entries }
}

const _: () = assert!(entries_in(PAGE_WORDS) == ENTRIES_PER_BUCKET);

/// The first line of a bucket page.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct BucketHeader {
    /// [`super::PageKind::Bucket`].
    pub kind: u16,
    /// How many low bits of the hash all keys of this bucket share.
    pub local_depth: u8,
    /// Zero.
    pub reserved: [u8; 5],
    /// Generation in which this copy of the page was built.
    pub generation: u64,
    /// Counts moves of keys within the page.
    pub sequence: u32,
    /// Zero.
    pub reserved_sequence: u32,
    /// Overflow-table number of the next page of the chain, 0 for none ("spill" of a whole bucket).
    pub overflow: u32,
    /// Zero.
    pub reserved_overflow: u32,
    /// Live entries, second entries included. The writer's own.
    pub entry_count: u16,
    /// Live entries that lie in hash order. The writer's own.
    pub sorted_count: u16,
    /// Zero.
    pub reserved_counts: u32,
    /// The `local_depth` hash bits that all keys of this bucket share.
    pub prefix: u64,
    /// One bit a position: the entry there came after the page was built, out of order.
    pub unsorted: u64,
    /// Zero.
    pub reserved_tail: u64,
}

const _: () = assert!(size_of::<BucketHeader>() == 64);

/// A whole bucket page.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BucketPage {
    /// Kind, depth, counters.
    pub header: BucketHeader,
    /// One byte an entry, 0 for none.
    pub tags: [u8; ENTRIES_PER_BUCKET],
    /// Zero.
    pub tags_spare: [u8; 2],
    /// The entries; a tag of zero or `flags` of zero means that a position holds none.
    pub entries: [HashEntry; ENTRIES_PER_BUCKET],
}

const _: () = assert!(size_of::<BucketPage>() == PAGE_BYTES);
