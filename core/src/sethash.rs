//! The hash of a set of values that needs no order: the sum of a mix of each value.
//!
//! An insert adds, a delete subtracts, so the writer keeps it up at one addition a change, and a scrub can
//! sum a set up again in whatever order it finds it. The hash is there to find damage and mistakes; it has
//! no key, and does not withstand someone who makes values to fit.

use crate::entity::E;

/// Bits 256 to 512 of the fraction of pi, as two numbers. The factors are odd, so that multiplication
/// modulo 2^128 loses nothing.
const START: u128 = 0x4528_21e6_38d0_1377_be54_66cf_34e9_0c6c;
const FACTOR: u128 = 0xc0ac_29b7_c97c_50dd_3f84_d5b5_b547_0917;

/// Spreads each bit of a value over 128 bits. One to one, so two values never mix to the same.
#[inline]
#[must_use]
pub const fn mix(value: E) -> u128 {
    // The start keeps zero, a value like any other, from counting as nothing.
    let mut bits = value.to_u128() ^ START;
    bits = (bits ^ bits >> 64).wrapping_mul(FACTOR);
    bits = (bits ^ bits >> 59).wrapping_mul(FACTOR);
    bits ^ bits >> 64
}

/// The hash of a set: the sum modulo 2^128 of [`mix`] over its values. That of the empty set is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetHash(pub u128);

impl SetHash {
    /// Takes a value that was not in the set into account.
    #[inline]
    pub const fn add(&mut self, value: E) {
        self.0 = self.0.wrapping_add(mix(value));
    }

    /// Takes a value that was in the set out of account.
    #[inline]
    pub const fn remove(&mut self, value: E) {
        self.0 = self.0.wrapping_sub(mix(value));
    }
}

impl FromIterator<E> for SetHash {
    fn from_iter<I: IntoIterator<Item = E>>(values: I) -> Self {
        let mut hash = Self::default();
        values.into_iter().for_each(|value| hash.add(value));
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/format.md` has the same.
    const VECTORS: [(E, u128); 4] = [
        (E::ZERO, 0x5b92_0712_1abb_9d55_6266_c7f5_78c6_b3fc),
        (E::new(0, 1), 0xc4e2_6cf2_b71f_bb8b_7047_8f23_bb3f_222f),
        (E::new(1, 0), 0x7aac_cf2b_bf70_aad7_c330_4220_8316_7cd3),
        (E::new(u64::MAX, u64::MAX), 0x15f3_7aa8_b311_8934_d018_dfae_7731_11bd),
    ];

    #[test]
    fn vectors_stay() {
        for (value, mixed) in VECTORS {
            assert_eq!(mix(value), mixed, "{value:?}");
        }
    }

    #[test]
    fn order_does_not_matter_and_removal_undoes() {
        let values: Vec<_> = (0..100).map(|i| E::new(i % 3, i)).collect();
        let hash: SetHash = values.iter().copied().collect();
        let mut other: SetHash = values.iter().rev().copied().collect();
        assert_eq!(hash, other);
        values.iter().for_each(|&value| other.remove(value));
        assert_eq!(other, SetHash::default());
    }

    #[test]
    fn one_changed_bit_of_one_value_changes_the_hash_in_all_parts() {
        for bit in 0..128 {
            for value in (0..50).map(E::from) {
                let changed = mix(value) ^ mix(E::from_u128(value.to_u128() ^ 1 << bit));
                assert!(changed.count_ones() > 30, "{value:?} bit {bit}: {changed:#x}");
            }
        }
    }
}
