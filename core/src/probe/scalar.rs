//! The portable probe: eight bytes at a time in ordinary registers.

use super::{Probe, Tags};

/// Works everywhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scalar;

const LOW_SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;
const EACH_BYTE: u64 = 0x0101_0101_0101_0101;
/// Brings bit 7 of byte `i`, shifted down by seven, to bit `56 + i`; no two products meet in a bit.
const GATHER: u64 = 0x0102_0408_1020_4080;

/// Bit `i` is set exactly if byte `i` of `word` is `tag`.
#[inline(always)]
const fn equal_in_word(word: u64, tag: u8) -> u64 {
    let difference = word ^ (EACH_BYTE * tag as u64);
    // The sum sets bit 7 of a byte whose low seven bits are not all zero, and never carries out of it.
    let low_bits_differ = (difference & LOW_SEVEN) + LOW_SEVEN;
    let zero_bytes = !(low_bits_differ | difference | LOW_SEVEN);
    (zero_bytes >> 7).wrapping_mul(GATHER) >> 56
}

impl Probe for Scalar {
    #[inline(always)]
    fn equal(self, tags: &Tags, tag: u8) -> u64 {
        let mut mask = 0;
        let mut word = 0;
        while word < tags.len() {
            mask |= equal_in_word(tags[word], tag) << (8 * word);
            word += 1;
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_answers_for_each_byte() {
        for tag in 0..=255_u8 {
            for other in 0..=255_u8 {
                for byte in 0..8 {
                    let word = (EACH_BYTE * u64::from(other)) & !(0xff << (8 * byte))
                        | u64::from(tag) << (8 * byte);
                    let expected = if tag == other { 0xff } else { 1 << byte };
                    assert_eq!(equal_in_word(word, tag), expected, "{word:016x} {tag:02x}");
                }
            }
        }
    }
}
