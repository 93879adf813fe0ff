//! One hash entry: 64 bytes, one cache line, a key with up to two inline values or a spill pointer.
//!
//! A key with three or four values has a *second* entry with the same key and tag in the same page:
//! the primary holds nibble bits 0 and 1 (slots 0..2 and 2..4), the second holds bits 2 and 3.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::entity::E;

/// Size of an entry, in bytes.
pub const ENTRY_BYTES: usize = 64;
/// Size of an entry, in 64-bit words.
pub const ENTRY_WORDS: usize = ENTRY_BYTES / 8;
/// Word of `key_high` within an entry.
pub const KEY_HIGH_WORD: usize = 0;
/// Word of `key_low` within an entry.
pub const KEY_LOW_WORD: usize = 1;
/// First of the four slot words within an entry.
pub const SLOTS_WORD: usize = 2;
/// Word of `state_mask`, `flags`, `reserved`, `version` within an entry: the *meta* word.
pub const META_WORD: usize = 6;
/// Word of `checksum` and the second reserved field within an entry.
pub const CHECKSUM_WORD: usize = 7;
/// Values that one entry can hold inline.
pub const VALUES_PER_ENTRY: usize = 2;
/// Values that a key can hold inline, in its two entries together.
pub const INLINE_VALUES_MAX: usize = 4;

/// A hash entry as it lies in a page.
///
/// A value is two slots, high half first. Which values are valid is told by `state_mask`: bit 0 is
/// `slots[0..2]` and bit 1 is `slots[2..4]` of a primary entry, bits 2 and 3 the same slots of a second.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct HashEntry {
    /// Upper half of the key.
    pub key_high: u64,
    /// Lower half of the key.
    pub key_low: u64,
    /// Two values, or one [`SpillPointer`] when `flags` says `SPILLED`.
    pub slots: [u64; 4],
    /// Extended Hamming (8,4) code word over "value 0..4 of the key is valid here"; the code word of
    /// zero for a spilled key.
    pub state_mask: u8,
    /// Extended Hamming (8,4) code word over [`EntryFlags`]; zero for a dead position.
    pub flags: u8,
    /// Zero.
    pub reserved: u16,
    /// Counts the changes of this position since the page was built; never restarts while it lives.
    pub version: u32,
    /// CRC-32C of the other 60 bytes (this field left out), final when the page is sealed.
    pub checksum: u32,
    /// Zero.
    pub reserved_tail: u32,
}

const _: () = assert!(size_of::<HashEntry>() == ENTRY_BYTES);
const _: () = assert!(core::mem::offset_of!(HashEntry, slots) == SLOTS_WORD * 8);
const _: () = assert!(core::mem::offset_of!(HashEntry, state_mask) == META_WORD * 8);
const _: () = assert!(core::mem::offset_of!(HashEntry, checksum) == CHECKSUM_WORD * 8);

/// The four flag bits of an entry, before ECC encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryFlags(pub u8);

impl EntryFlags {
    /// The position holds an entry.
    pub const LIVE: u8 = 1;
    /// The slots hold a [`SpillPointer`].
    pub const SPILLED: u8 = 2;
    /// The key has a second entry in this page.
    pub const HAS_SECOND: u8 = 4;
    /// This is the second entry of its key.
    pub const IS_SECOND: u8 = 8;
}

/// Where a key's values are when they no longer fit inline: the 32 bytes of an entry's slots.
///
/// Only `reference` is read by readers; the other fields are the writer's own.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SpillPointer {
    /// Logical value page in bits 0..32; in bits 32..40 the extent within that page plus one, or zero
    /// when the page is the root of a large set. The other bits are zero.
    pub reference: u64,
    /// Values in the sorted region, capped at `u32::MAX` (of a small set; 0 for a large one).
    pub sorted_count: u32,
    /// Values in the set, modulo 2^32.
    pub value_count: u32,
    /// Lower half of the order-independent set hash.
    pub checksum_low: u64,
    /// Upper half of the order-independent set hash.
    pub checksum_high: u64,
}

const _: () = assert!(size_of::<SpillPointer>() == 32);

/// A decoded [`SpillPointer::reference`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetReference {
    /// Logical value page number.
    pub page: u32,
    /// Extent in that page, or `None` when `page` is the root of a large set.
    pub extent: Option<u8>,
}

impl SetReference {
    /// The word that an entry stores.
    #[must_use]
    pub const fn encode(self) -> u64 {
        let extent = match self.extent {
            Some(extent) => extent as u64 + 1,
            None => 0,
        };
        self.page as u64 | extent << 32
    }

    /// Reads the word that an entry stores; `None` if its upper bits are not a reference.
    #[must_use]
    pub const fn decode(word: u64) -> Option<Self> {
        let extent = word >> 32;
        if extent > 255 || word as u32 == 0 {
            return None;
        }
        let extent = if extent == 0 { None } else { Some((extent - 1) as u8) };
        Some(Self { page: word as u32, extent })
    }
}

impl SpillPointer {
    /// The set hash as one number.
    #[must_use]
    pub const fn checksum(&self) -> u128 {
        (self.checksum_high as u128) << 64 | self.checksum_low as u128
    }

    /// The four slot words.
    #[must_use]
    pub const fn to_slots(self) -> [u64; 4] {
        let counts = self.sorted_count as u64 | (self.value_count as u64) << 32;
        [self.reference, counts, self.checksum_low, self.checksum_high]
    }

    /// Reads the four slot words.
    #[must_use]
    pub const fn from_slots(slots: [u64; 4]) -> Self {
        Self {
            reference: slots[0],
            sorted_count: slots[1] as u32,
            value_count: (slots[1] >> 32) as u32,
            checksum_low: slots[2],
            checksum_high: slots[3],
        }
    }
}

impl HashEntry {
    /// The key.
    #[must_use]
    pub const fn key(&self) -> E {
        E { high: self.key_high, low: self.key_low }
    }
}
