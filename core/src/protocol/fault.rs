//! What a bucket page can have wrong with it, found while it is read.

use core::fmt;

/// A damaged entry: bytes that no writer of this protocol publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The state mask or the flags of the entry have two flipped bits.
    Uncorrectable {
        /// Position of the entry in its page.
        index: u8,
    },
    /// The entry says that its key has a second one, and there is none.
    SecondMissing {
        /// Position of the first entry in its page.
        index: u8,
    },
    /// The entry is live with flags that exclude each other, or without a value.
    Malformed {
        /// Position of the entry in its page.
        index: u8,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uncorrectable { index } => {
                write!(f, "entry {index} has more flipped bits than can be corrected")
            }
            Self::SecondMissing { index } => write!(f, "entry {index} lacks its second entry"),
            Self::Malformed { index } => write!(f, "entry {index} contradicts itself"),
        }
    }
}

impl core::error::Error for Fault {}

/// The page has too few free positions. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFull;

impl fmt::Display for PageFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bucket page has too few free positions")
    }
}

impl core::error::Error for PageFull {}
