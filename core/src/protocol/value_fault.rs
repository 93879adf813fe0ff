//! What a value page can have wrong with it.

use core::fmt;

/// What is wrong with a value page. Only a damaged file, or a stale number, gives one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueFault {
    /// The page is of another kind than its parent says; holds the kind word's low half.
    Kind(u16),
    /// No size class has this number.
    Class(u8),
    /// The page has no extent of this number.
    Extent(u8),
    /// `count` or `sorted_count` exceeds what the page holds.
    Count(u16),
    /// An inner node says that it has this many children.
    Children(u32),
    /// The level is not one below the parent's, or too high.
    Level(u8),
    /// A reference has bits that no reference has.
    Reference(u64),
    /// No page has this logical number.
    Missing,
    /// The set belongs to another key.
    Owner,
    /// A value lies outside of the bounds of its leaf, or bounds do not ascend.
    Bounds,
    /// The sorted region does not ascend.
    Order,
    /// A value is there twice, or a page is.
    Duplicate,
    /// Positions beyond the count have tombstones, or words that must be zero are not.
    Tombstones,
    /// A leaf's successor is not the next leaf.
    Chain,
    /// A counter does not match what it counts.
    Counter,
    /// The set hash does not match the values.
    Checksum,
    /// The extent is in use, but its page says that it is free.
    Unused,
}

impl fmt::Display for ValueFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(found) => write!(out, "the page kind 0x{found:04x} is not the expected one"),
            Self::Class(found) => write!(out, "{found} is not a size class"),
            Self::Extent(found) => write!(out, "the page has no extent {found}"),
            Self::Count(found) => write!(out, "the count {found} is more than the page holds"),
            Self::Children(found) => write!(out, "{found} is not a number of children"),
            Self::Level(found) => write!(out, "level {found} does not follow from the parent's"),
            Self::Reference(found) => write!(out, "0x{found:x} is not a set reference"),
            Self::Missing => out.write_str("no page has this number, or its checksum is wrong"),
            Self::Owner => out.write_str("the set belongs to another key"),
            Self::Bounds => out.write_str("a value or bound lies outside of its parent's bounds"),
            Self::Order => out.write_str("the sorted region does not ascend"),
            Self::Duplicate => out.write_str("a value or page is there twice"),
            Self::Tombstones => out.write_str("an unused position has a tombstone"),
            Self::Chain => out.write_str("the leaf's successor is not the next leaf"),
            Self::Counter => out.write_str("a counter does not match what it counts"),
            Self::Checksum => out.write_str("the set hash does not match the values"),
            Self::Unused => out.write_str("the extent is marked as free"),
        }
    }
}

impl core::error::Error for ValueFault {}
