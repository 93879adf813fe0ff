//! Why an image can't be read: which page, and what about it.

use core::fmt;

use crate::entity::E;
use crate::layout::superblock::{FORMAT_VERSION, SuperblockError};
use crate::layout::table::{Space, TableKind};

/// Why an image, or a part of it, can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageError {
    /// Neither superblock can be used.
    Superblock {
        /// What is wrong with the one at offset 0.
        first: SuperblockError,
        /// What is wrong with the one at offset 4096.
        second: SuperblockError,
    },
    /// A superblock is of a format version that this code can't read.
    Version {
        /// The version there.
        found: u32,
    },
    /// The image is shorter than its superblock says.
    Short {
        /// Length of the image, in bytes.
        found: u64,
        /// Length that it needs.
        expected: u64,
    },
    /// A table has no page for a number that is in use.
    Hole {
        /// The table.
        table: TableKind,
        /// The number.
        number: u32,
    },
    /// A page is not what it should be.
    Page {
        /// Its space.
        space: Space,
        /// Its number within the space.
        number: u32,
        /// What is wrong.
        fault: PageFault,
    },
    /// A number in the superblock is not what the pages add up to.
    Total {
        /// Its name.
        name: &'static str,
        /// What the pages add up to.
        found: u64,
        /// What the superblock says.
        expected: u64,
    },
}

/// What is wrong with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageFault {
    /// No segment of the space holds a page of this number.
    Missing,
    /// The page is not the one whose checksum its parent keeps.
    Checksum {
        /// The checksum of the bytes there.
        computed: u32,
        /// The checksum that the parent keeps.
        stored: u32,
    },
    /// The page is of another kind.
    Kind {
        /// The code there.
        found: u16,
    },
    /// A structure would reach beyond the end of the page.
    Bounds {
        /// Where it begins.
        offset: usize,
    },
    /// A field is out of its range, or contradicts another.
    Field {
        /// Its name.
        name: &'static str,
        /// What is there.
        found: u64,
        /// The greatest (or only) value allowed.
        limit: u64,
    },
    /// The state mask or the flags of an entry have two flipped bits.
    Code {
        /// The entry's position.
        position: usize,
    },
    /// The checksum of an entry is not that of its bytes.
    EntryChecksum {
        /// The entry's position.
        position: usize,
    },
    /// The entries of a key contradict each other.
    Entries {
        /// The key.
        key: E,
        /// What is wrong with them.
        what: &'static str,
    },
    /// A value set belongs to another key.
    Owner {
        /// The key it belongs to.
        found: E,
        /// The key that led there.
        expected: E,
    },
    /// A value lies in a leaf that does not cover it, or the leaves do not ascend.
    Order {
        /// The value or bound at fault.
        value: E,
    },
    /// The chain of bucket pages has more pages than the space.
    Cycle,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superblock { first, second } => {
                write!(f, "no usable superblock: at 0 {first}; at 4096 {second}")
            }
            Self::Version { found } => {
                write!(f, "format version {found}, this program reads {FORMAT_VERSION}")
            }
            Self::Short { found, expected } => {
                write!(f, "the image has {found} bytes, its superblock says {expected}")
            }
            Self::Hole { table, number } => {
                write!(f, "table {table:?} has no page for number {number}")
            }
            Self::Page { space, number, fault } => {
                write!(f, "page {number} of space {space:?}: {fault}")
            }
            Self::Total { name, found, expected } => {
                write!(f, "superblock field {name} is {expected}, the pages add up to {found}")
            }
        }
    }
}

impl fmt::Display for PageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(f, "no segment holds it"),
            Self::Checksum { computed, stored } => {
                write!(f, "checksum is {computed:#010x}, its parent keeps {stored:#010x}")
            }
            Self::Kind { found } => write!(f, "kind {found:#06x} does not belong here"),
            Self::Bounds { offset } => write!(f, "structure at {offset} reaches beyond the page"),
            Self::Field { name, found, limit } => {
                write!(f, "field {name} is {found}, the limit is {limit}")
            }
            Self::Code { position } => {
                write!(f, "entry {position} has a code with two flipped bits")
            }
            Self::EntryChecksum { position } => write!(f, "entry {position} has a wrong checksum"),
            Self::Entries { key, what } => write!(f, "key {key}: {what}"),
            Self::Owner { found, expected } => {
                write!(f, "the value set is that of key {found}, not of {expected}")
            }
            Self::Order { value } => write!(f, "value or bound {value} is out of order"),
            Self::Cycle => write!(f, "the chain of pages does not end"),
        }
    }
}

impl core::error::Error for ImageError {}

impl PageFault {
    /// The fault, with the page it is in.
    pub(super) const fn at(self, space: Space, number: u32) -> ImageError {
        ImageError::Page { space, number, fault: self }
    }

    /// `Ok` if `found` is at most `limit`.
    pub(super) const fn unless_at_most(
        name: &'static str,
        found: u64,
        limit: u64,
    ) -> Result<(), Self> {
        if found <= limit { Ok(()) } else { Err(Self::Field { name, found, limit }) }
    }
}
