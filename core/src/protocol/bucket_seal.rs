//! Making a bucket page ready for the file, and checking one that came from there.
//!
//! A checkpoint copies a page that is no longer written to and *seals* the copy: dead positions become
//! zeros, so that nothing deleted reaches the file, and each live entry gets its checksum. A sealed page
//! has one meaning for each of its bytes, and [`check_sealed`] finds any that is off.

use core::fmt;

use super::entry::State;
pub use crate::crc::entry_checksum;
use crate::ecc;
use crate::hash::{HashSeed, KeyHash, MAX_DEPTH};
use crate::layout::bucket::{BucketHeader, BucketPage, ENTRIES_PER_BUCKET};
use crate::layout::entry::{HashEntry, SetReference};
use crate::layout::{PAGE_WORDS, PageKind};

/// Seals a copy of a page, word by word as it was loaded.
pub fn seal_words(words: &mut [u64; PAGE_WORDS]) {
    seal(zerocopy::transmute_mut!(words));
}

/// Seals a copy of a page.
pub fn seal(page: &mut BucketPage) {
    for (entry, &tag) in page.entries.iter_mut().zip(&page.tags) {
        if tag == 0 {
            *entry = HashEntry::default();
        } else {
            entry.checksum = entry_checksum(entry);
        }
    }
}

/// What is wrong with a page that should be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealFault {
    /// The page is of another kind.
    Kind {
        /// The code found.
        found: u16,
    },
    /// The header contradicts itself, or a byte that must be zero is not.
    Header,
    /// A position without a tag is not all zero.
    NotWiped {
        /// The position.
        index: u8,
    },
    /// The entry's bytes do not fit its checksum.
    Checksum {
        /// Position of the entry.
        index: u8,
        /// The checksum of the bytes.
        expected: u32,
        /// The checksum in the entry.
        found: u32,
    },
    /// The state mask and the flags are no state of a live entry.
    State {
        /// Position of the entry.
        index: u8,
    },
    /// The tag is not the key's.
    Tag {
        /// Position of the entry.
        index: u8,
        /// The key's tag.
        expected: u8,
        /// The tag in the page.
        found: u8,
    },
    /// The key's hash does not have the bucket's prefix.
    Prefix {
        /// Position of the entry.
        index: u8,
    },
    /// The key has another entry that does not go with this one, or lacks one.
    Pair {
        /// Position of the entry.
        index: u8,
    },
    /// The entry is marked as in hash order and is not.
    Order {
        /// Position of the entry.
        index: u8,
    },
    /// The header's counts are not those of the entries.
    Counts,
}

impl fmt::Display for SealFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind { found } => write!(f, "page kind {found:#06x} is not that of a bucket"),
            Self::Header => f.write_str("the header contradicts itself"),
            Self::NotWiped { index } => write!(f, "position {index} is free but not zero"),
            Self::Checksum { index, expected, found } => {
                write!(f, "entry {index} has checksum {found:08x}, its bytes {expected:08x}")
            }
            Self::State { index } => write!(f, "entry {index} has an impossible state"),
            Self::Tag { index, expected, found } => {
                write!(f, "entry {index} has tag {found:02x}, its key {expected:02x}")
            }
            Self::Prefix { index } => write!(f, "entry {index} belongs to another bucket"),
            Self::Pair { index } => write!(f, "entry {index} does not go with its key's others"),
            Self::Order { index } => write!(f, "entry {index} is not in hash order"),
            Self::Counts => f.write_str("the header miscounts the entries"),
        }
    }
}

impl core::error::Error for SealFault {}

/// Checks all that a sealed page says against itself.
///
/// # Errors
///
/// The first [`SealFault`] found.
pub fn check_sealed(page: &BucketPage, seed: HashSeed) -> Result<(), SealFault> {
    check_header(&page.header, page.tags_spare)?;
    let mut entry_count = 0;
    let mut sorted_count = 0;
    let mut sorted_up_to = 0;
    for (position, (entry, &tag)) in page.entries.iter().zip(&page.tags).enumerate() {
        let index = position as u8;
        let unsorted = page.header.unsorted >> position & 1 != 0;
        if tag == 0 {
            if *entry != HashEntry::default() || unsorted {
                return Err(SealFault::NotWiped { index });
            }
            continue;
        }
        let hash = seed.hash(entry.key());
        check_entry(&page.header, entry, index, tag, hash)?;
        check_pair(page, position)?;
        entry_count += 1;
        if !unsorted {
            sorted_count += 1;
            if hash.order() < sorted_up_to {
                return Err(SealFault::Order { index });
            }
            sorted_up_to = hash.order();
        }
    }
    if (page.header.entry_count, page.header.sorted_count) != (entry_count, sorted_count) {
        return Err(SealFault::Counts);
    }
    Ok(())
}

fn check_header(header: &BucketHeader, tags_spare: [u8; 2]) -> Result<(), SealFault> {
    if header.kind != PageKind::Bucket as u16 {
        return Err(SealFault::Kind { found: header.kind });
    }
    let zeros = header.reserved == [0; 5]
        && header.reserved_sequence == 0
        && header.reserved_overflow == 0
        && header.reserved_counts == 0
        && header.reserved_tail == 0
        && tags_spare == [0; 2];
    let depth = u32::from(header.local_depth);
    let sound = depth <= MAX_DEPTH
        && header.prefix >> depth == 0
        && header.unsorted >> ENTRIES_PER_BUCKET == 0;
    if zeros && sound { Ok(()) } else { Err(SealFault::Header) }
}

fn check_entry(
    header: &BucketHeader,
    entry: &HashEntry,
    index: u8,
    tag: u8,
    hash: KeyHash,
) -> Result<(), SealFault> {
    let expected = entry_checksum(entry);
    if entry.checksum != expected {
        return Err(SealFault::Checksum { index, expected, found: entry.checksum });
    }
    if entry.reserved != 0 || entry.reserved_tail != 0 || !is_live_state(entry) {
        return Err(SealFault::State { index });
    }
    if tag != hash.tag() {
        return Err(SealFault::Tag { index, expected: hash.tag(), found: tag });
    }
    if hash.directory_index(u32::from(header.local_depth)) as u64 != header.prefix {
        return Err(SealFault::Prefix { index });
    }
    Ok(())
}

/// The state of an entry, if its mask and flags are code words.
fn clean_state(entry: &HashEntry) -> Option<State> {
    let ecc::Decoded::Clean(mask) = ecc::decode(entry.state_mask) else { return None };
    let ecc::Decoded::Clean(flags) = ecc::decode(entry.flags) else { return None };
    Some(State { mask, flags })
}

/// Whether an entry is in one of the states that a writer publishes.
fn is_live_state(entry: &HashEntry) -> bool {
    let Some(state) = clean_state(entry) else { return false };
    let kinds = [state.is_spilled(), state.has_second(), state.is_second()];
    if !state.is_live() || kinds.into_iter().filter(|&kind| kind).count() > 1 {
        return false;
    }
    if state.is_spilled() {
        return state.mask == 0 && SetReference::decode(entry.slots[0]).is_some();
    }
    let other_half = if state.is_second() { state.mask & 3 } else { state.mask >> 2 };
    other_half == 0 && (state.mask != 0 || state.has_second())
}

/// Checks that the key of the entry at `position` has the one other entry it should have, or none.
fn check_pair(page: &BucketPage, position: usize) -> Result<(), SealFault> {
    let fault = SealFault::Pair { index: position as u8 };
    let entry = &page.entries[position];
    let (key, tag) = (entry.key(), page.tags[position]);
    let state = clean_state(entry).ok_or(fault)?;
    let mut others = page.entries.iter().enumerate().filter(|&(other, entry)| {
        other != position && page.tags[other] == tag && entry.key() == key
    });
    let Some((_, other)) = others.next() else {
        return if state.has_second() || state.is_second() { Err(fault) } else { Ok(()) };
    };
    let other = clean_state(other).ok_or(fault)?;
    let paired = state.has_second() && other.is_second() || state.is_second() && other.has_second();
    if paired && others.next().is_none() { Ok(()) } else { Err(fault) }
}
