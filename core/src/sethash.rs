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
    let mut bits = ((value.high as u128) << 64 | value.low as u128) ^ START;
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
