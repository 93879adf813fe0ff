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

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: HashSeed = HashSeed::new(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);

    /// Seed, key, hash; `docs/format.md` has the same. A change here is a change of the format.
    const VECTORS: [(HashSeed, E, u64); 7] = [
        (HashSeed::new(0, 0), E::ZERO, 0x0daa_7fac_1cbe_67ab),
        (HashSeed::new(0, 0), E::new(0, 1), 0xc2dd_6566_00ae_9862),
        (HashSeed::new(0, 0), E::new(1, 0), 0x393a_7b5e_4532_cc87),
        (HashSeed::new(0, 0), E::new(u64::MAX, u64::MAX), 0x1f0d_f3ca_6750_cf03),
        (HashSeed::new(1, 2), E::ZERO, 0x0dd3_e061_c527_6e03),
        (HashSeed::new(1, 2), E::new(3, 4), 0x803b_3ca1_e113_fd8c),
        (SEED, E::new(0xb84e_d8ed_a7b1_502f, 0x83f6_9013_2e68_adef), 0x30cf_61a7_f929_237b),
    ];

    #[test]
    fn vectors_stay() {
        for (seed, key, hash) in VECTORS {
            assert_eq!(seed.hash(key), KeyHash(hash), "{seed:?} {key:?}");
        }
    }

    #[test]
    fn each_part_comes_from_its_bits() {
        let hash = KeyHash(0xffff_ff80_0000_0000 | 0x2a << 32 | 0x8000_0005);
        assert_eq!(hash.directory_index(0), 0);
        assert_eq!(hash.directory_index(2), 1);
        assert_eq!(hash.directory_index(MAX_DEPTH), 5);
        assert_eq!(hash.scan_position(), 0xa000_0001);
        assert_eq!(hash.home(62), 61);
        assert_eq!(KeyHash(u64::MAX >> 24).home(62), 0);
        for byte in 0..256_u64 {
            assert_eq!(u64::from(KeyHash(byte << 32).tag()), byte.max(1));
        }
    }

    #[test]
    fn order_never_contradicts_home() {
        let mut hashes: Vec<_> = (0..20_000).map(|i| SEED.hash(E::from(i))).collect();
        hashes.sort_by_key(|hash| hash.order());
        for entries in [1, 3, 62] {
            assert!(hashes.is_sorted_by_key(|hash| hash.home(entries)));
        }
    }

    type Sequence = (&'static str, fn(u64) -> E);

    /// The keys that people have: counters in either half, in both, with a stride, from a far start.
    fn sequences() -> [Sequence; 6] {
        [
            ("low", |i| E::new(0, i)),
            ("high", |i| E::new(i, 0)),
            ("both", |i| E::new(i, i)),
            ("pages", |i| E::new(7, i << 12)),
            ("upper bits", |i| E::new(i << 44, 0)),
            ("from the end", |i| E::new(u64::MAX, u64::MAX - i)),
        ]
    }

    /// Chi-squared over `cells`, in standard deviations from what chance would give.
    fn deviation(counts: &[u32]) -> f64 {
        let cells = counts.len() as f64;
        let total: f64 = counts.iter().map(|&count| f64::from(count)).sum();
        let expected = total / cells;
        let sum = counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected);
        (sum.sum::<f64>() - (cells - 1.0)) / (2.0 * (cells - 1.0)).sqrt()
    }

    #[test]
    fn parts_are_uniform_on_sequential_keys() {
        for seed in [HashSeed::new(0, 0), HashSeed::new(0, 1), SEED] {
            for (name, key) in sequences() {
                let mut parts = [vec![0; 1024], vec![0; 256], vec![0; 62], vec![0; 1024]];
                for i in 0..1 << 17 {
                    let hash = seed.hash(key(i));
                    parts[0][hash.directory_index(10) as usize] += 1;
                    parts[1][(hash.0 >> 32) as usize % 256] += 1;
                    parts[2][hash.home(62)] += 1;
                    // Tag and home within one bucket must not follow from each other.
                    parts[3][(hash.0 >> 35) as usize % 1024] += 1;
                }
                for (part, counts) in parts.iter().enumerate() {
                    let off = deviation(counts);
                    assert!(off.abs() < 6.0, "{name} keys, part {part}: {off:.1} deviations off");
                }
            }
        }
    }

    #[test]
    fn each_key_bit_changes_half_of_the_hash() {
        const KEYS: u64 = 2000;
        for bit in 0..128 {
            let mut flips = [0_u32; 64];
            for i in 0..KEYS {
                let key = E::new(i, i.wrapping_mul(3));
                let other = E::from_u128(key.to_u128() ^ 1 << bit);
                let changed = SEED.hash(key).0 ^ SEED.hash(other).0;
                for (index, count) in flips.iter_mut().enumerate() {
                    *count += (changed >> index & 1) as u32;
                }
            }
            for (index, &count) in flips.iter().enumerate() {
                let share = f64::from(count) / KEYS as f64;
                assert!((0.4..0.6).contains(&share), "key bit {bit}, hash bit {index}: {share}");
            }
        }
    }

    #[test]
    fn each_seed_bit_changes_half_of_the_hash() {
        for bit in 0..128 {
            let flipped = E::from_u128(E::new(SEED.high, SEED.low).to_u128() ^ 1 << bit);
            let seed = HashSeed::new(flipped.high, flipped.low);
            let changed = (0..2000).map(|i| {
                let key = E::from(i);
                (SEED.hash(key).0 ^ seed.hash(key).0).count_ones()
            });
            let mean = changed.sum::<u32>() as f64 / 2000.0;
            assert!((30.0..34.0).contains(&mean), "seed bit {bit}: {mean} bits change");
        }
    }
}
