//! The keyed hash of a key, and what each of its 64 bits is for.
//!
//! ```text
//! bit  0..28   directory index: the lowest `depth` bits
//! bit 32..40   tag: one byte that a probe compares before it looks at an entry
//! bit 40..64   home slot within the page
//! ```
//!
//! The hash is a two-multiply fold of the key with a random 128-bit seed per store. It is part of the
//! format: `docs/format.md` writes it down with test vectors, and it never changes within a format
//! version. Raw key bits are never used for placement, since sequential keys share their upper bits and
//! chosen keys must not be able to fill one bucket.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::entity::E;

/// The deepest directory: 2^28 slots.
pub const MAX_DEPTH: u32 = 28;

/// The first 256 bits of the fraction of pi, as four 64-bit numbers with the lowest bit set: numbers
/// with no structure that nobody had a chance to choose.
const PI: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345, 0xa409_3822_299f_31d1, 0x082e_fa98_ec4e_6c89];

/// The random seed of a store, as it lies in the superblock.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct HashSeed {
    /// Upper 64 bits.
    pub high: u64,
    /// Lower 64 bits.
    pub low: u64,
}

/// The hash of a key under the seed of its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u64);

impl HashSeed {
    /// The seed `high * 2^64 + low`.
    #[must_use]
    pub const fn new(high: u64, low: u64) -> Self {
        Self { high, low }
    }

    /// Hashes a key.
    #[inline]
    #[must_use]
    pub const fn hash(self, key: E) -> KeyHash {
        let (low, high) = multiply(key.high ^ self.high ^ PI[0], key.low ^ self.low ^ PI[1]);
        let (low, high) = multiply(low ^ PI[2] ^ self.low, high ^ PI[3]);
        KeyHash(low ^ high)
    }
}

/// The lower and the upper half of the 128-bit product.
#[inline]
const fn multiply(a: u64, b: u64) -> (u64, u64) {
    let product = a as u128 * b as u128;
    (product as u64, (product >> 64) as u64)
}

impl KeyHash {
    /// The directory slot at this depth: the lowest `depth` bits. `depth` is at most [`MAX_DEPTH`].
    #[inline]
    #[must_use]
    pub const fn directory_index(self, depth: u32) -> u32 {
        debug_assert!(depth <= MAX_DEPTH);
        (self.0 & ((1 << depth) - 1)) as u32
    }

    /// The tag byte, 1 to 255. Zero means "no entry", so the hash byte zero shares the tag 1.
    #[inline]
    #[must_use]
    pub const fn tag(self) -> u8 {
        let byte = (self.0 >> 32) as u8;
        byte | (byte == 0) as u8
    }

    /// The position, of `entries`, at which probing for this key begins.
    #[inline]
    #[must_use]
    pub const fn home(self, entries: usize) -> usize {
        (((self.0 >> 40) * entries as u64) >> 24) as usize
    }

    /// The rank of a key within a page whose entries lie in hash order. The home bits are the uppermost
    /// of the hash, so a greater hash never has a smaller home, whatever the number of entries.
    #[inline]
    #[must_use]
    pub const fn order(self) -> u64 {
        self.0
    }

    /// The rank of a key within a scan. Reversed, the directory bits become the uppermost, so a split
    /// divides a bucket's range of positions in two and moves none.
    #[inline]
    #[must_use]
    pub const fn scan_position(self) -> u32 {
        (self.0 as u32).reverse_bits()
    }
}
