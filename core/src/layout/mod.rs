//! The bytes of the store: one file per structure, in the order in which they contain each other.
//!
//! Everything here is plain data: fixed width, little-endian, no padding, no pointers. The structures
//! are what lies in a *sealed* page (one that a checkpoint wrote); the lock-free protocol reads and
//! writes the same bytes as aligned 64-bit words, by the `*_WORD` constants beside each structure.
//! `docs/format.md` tells the same bytes to people; a test ties the two together.

pub mod bucket;
pub mod entry;
pub mod record;
pub mod superblock;
pub mod table;
pub mod value;
pub mod view;

/// Size of a page, in bytes.
pub const PAGE_BYTES: usize = 4096;
/// Size of a page, in 64-bit words.
pub const PAGE_WORDS: usize = PAGE_BYTES / 8;
/// Page number that stands for "no page". The first page of each space is never used.
pub const NO_PAGE: u32 = 0;

/// What a bucket or value page holds: its first two bytes. A page of zeros is [`PageKind::Free`].
///
/// Table pages have no kind: they are slots from end to end, and only ever reached through a parent that
/// carries their checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum PageKind {
    /// Never written, or wiped.
    Free = 0,
    /// A page of hash entries, reached from the directory or as overflow of another bucket page.
    Bucket = 0x4243,
    /// A page of equally sized extents, each a small value set.
    Extents = 0x4556,
    /// A leaf of a large value set.
    Leaf = 0x4c56,
    /// An inner node of a large value set.
    Inner = 0x4956,
}

impl PageKind {
    /// The kind with this code, if there is one.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            0 => Self::Free,
            0x4243 => Self::Bucket,
            0x4556 => Self::Extents,
            0x4c56 => Self::Leaf,
            0x4956 => Self::Inner,
            _ => return None,
        })
    }
}
