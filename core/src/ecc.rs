//! The extended Hamming (8,4) code of an entry's state mask and flags.
//!
//! Four data bits in a byte; one flipped bit is corrected, two are found out. From bit 0 up the byte is
//!
//! ```text
//! P1 P2 D1 P3 D2 D3 D4 P0
//! ```
//!
//! Bit `i` below the last is position `i + 1` of the Hamming code: `P1` makes the parity of positions 1, 3,
//! 5, 7 even, `P2` of 2, 3, 6, 7, `P3` of 4, 5, 6, 7, and `P0` of the whole byte. So zero is the code word of
//! zero, and a wiped byte is sound. `D1` is the lowest bit of the nibble.

use crate::layout::bucket::BucketPage;

/// Bits of the byte that hold D1 to D4.
const DATA_BITS: [u32; 4] = [2, 4, 5, 6];
/// Bits of the byte that each of P1, P2, P3 makes even, itself included.
const GROUPS: [u8; 3] = [0b101_0101, 0b110_0110, 0b111_1000];

/// Bit of a [`DECODE`] entry: one bit was flipped, the nibble is corrected.
pub const CORRECTED: u8 = 0x40;
/// Bit of a [`DECODE`] entry: two bits were flipped, the nibble means nothing.
pub const DOUBLE: u8 = 0x80;

/// The code word of each nibble.
pub const ENCODE: [u8; 16] = encode_table();
/// For each byte the nibble in the lower half, with [`CORRECTED`] or [`DOUBLE`] or neither.
pub const DECODE: [u8; 256] = decode_table();

/// What a byte says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A code word.
    Clean(u8),
    /// One bit away from the code word of this nibble.
    Corrected(u8),
    /// Two bits away from several code words.
    Double,
}

impl Decoded {
    /// The nibble, if it is known.
    #[inline]
    #[must_use]
    pub const fn nibble(self) -> Option<u8> {
        match self {
            Self::Clean(nibble) | Self::Corrected(nibble) => Some(nibble),
            Self::Double => None,
        }
    }
}

/// The code word of the lowest four bits of `nibble`.
#[inline]
#[must_use]
pub const fn encode(nibble: u8) -> u8 {
    ENCODE[(nibble & 15) as usize]
}

/// Decodes a byte.
#[inline]
#[must_use]
pub const fn decode(byte: u8) -> Decoded {
    let entry = DECODE[byte as usize];
    let nibble = entry & 15;
    match entry & (CORRECTED | DOUBLE) {
        0 => Decoded::Clean(nibble),
        CORRECTED => Decoded::Corrected(nibble),
        _ => Decoded::Double,
    }
}

/// Which positions of a bucket page have sound codes: one bit a position, each position in one set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageCheck {
    /// State mask and flags are code words.
    pub clean: u64,
    /// One of them, or each, has one flipped bit.
    pub corrected: u64,
    /// One of them has two flipped bits.
    pub uncorrectable: u64,
}

/// Checks the codes of all entries of a page, live or dead.
#[must_use]
pub fn check_page(page: &BucketPage) -> PageCheck {
    #[cfg(target_arch = "x86_64")]
    if let Some(check) = crate::ecc_simd::check_page(page) {
        return check;
    }
    check_page_scalar(page)
}

/// [`check_page`] in plain code: the oracle of the fast one.
pub(crate) fn check_page_scalar(page: &BucketPage) -> PageCheck {
    let mut check = PageCheck::default();
    for (position, entry) in page.entries.iter().enumerate() {
        let status = DECODE[entry.state_mask as usize] | DECODE[entry.flags as usize];
        let set = if status & DOUBLE != 0 {
            &mut check.uncorrectable
        } else if status & CORRECTED != 0 {
            &mut check.corrected
        } else {
            &mut check.clean
        };
        *set |= 1 << position;
    }
    check
}

const fn encode_table() -> [u8; 16] {
    let mut table = [0; 16];
    let mut nibble = 0;
    while nibble < 16 {
        let mut word = 0_u8;
        let mut data = 0;
        while data < 4 {
            word |= ((nibble >> data) as u8 & 1) << DATA_BITS[data];
            data += 1;
        }
        let mut group = 0;
        while group < 3 {
            // The parity bit of a group is the group's lowest; it is still zero here.
            word |=
                ((word & GROUPS[group]).count_ones() as u8 & 1) << GROUPS[group].trailing_zeros();
            group += 1;
        }
        word |= (word.count_ones() as u8 & 1) << 7;
        table[nibble] = word;
        nibble += 1;
    }
    table
}

const fn decode_table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = decode_by_syndrome(byte as u8);
        byte += 1;
    }
    table
}

/// The bits P1 to P3 that are wrong, as a number: the position of the flipped bit, if just one flipped.
/// Bit 3 is set if the parity of the whole byte is odd.
pub(crate) const fn syndrome(byte: u8) -> u8 {
    let mut syndrome = (byte.count_ones() as u8 & 1) << 3;
    let mut group = 0;
    while group < 3 {
        syndrome |= ((byte & GROUPS[group]).count_ones() as u8 & 1) << group;
        group += 1;
    }
    syndrome
}

const fn decode_by_syndrome(byte: u8) -> u8 {
    let syndrome = syndrome(byte);
    let (word, status) = match syndrome {
        0 => (byte, 0),
        1..8 => return DOUBLE,
        // Only P0 itself is wrong.
        8 => (byte, CORRECTED),
        _ => (byte ^ 1 << (syndrome - 9), CORRECTED),
    };
    let mut nibble = 0;
    let mut data = 0;
    while data < 4 {
        nibble |= (word >> DATA_BITS[data] & 1) << data;
        data += 1;
    }
    nibble | status
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    /// The code as a text book gives it: position 1 to 7 of the Hamming code is bit 0 to 6.
    fn is_code_word(word: u8) -> bool {
        let bit = |position: u32| word >> (position - 1) & 1;
        bit(1) ^ bit(3) ^ bit(5) ^ bit(7) == 0
            && bit(2) ^ bit(3) ^ bit(6) ^ bit(7) == 0
            && bit(4) ^ bit(5) ^ bit(6) ^ bit(7) == 0
            && (1..=8).fold(0, |parity, position| parity ^ bit(position)) == 0
    }

    fn data_of(word: u8) -> u8 {
        (word >> 2 & 1) | (word >> 4 & 1) << 1 | (word >> 5 & 1) << 2 | (word >> 6 & 1) << 3
    }

    #[test]
    fn encoding_gives_the_one_code_word_with_the_data() {
        for nibble in 0..16 {
            let words: Vec<_> =
                (0..=255).filter(|&word| is_code_word(word) && data_of(word) == nibble).collect();
            assert_eq!(words, [encode(nibble)]);
        }
        assert_eq!(encode(0), 0);
    }

    #[test]
    fn decoding_gives_the_nearest_code_word() {
        for byte in 0..=255_u8 {
            let at_distance = |distance| {
                let near = (0..=255_u8).filter(move |&word| is_code_word(word));
                near.filter(move |&word| (word ^ byte).count_ones() == distance).collect::<Vec<_>>()
            };
            let expected = match (&*at_distance(0), &*at_distance(1)) {
                (&[word], []) => Decoded::Clean(data_of(word)),
                ([], &[word]) => Decoded::Corrected(data_of(word)),
                _ => Decoded::Double,
            };
            assert_eq!(decode(byte), expected, "{byte:#010b}");
        }
    }

    #[test]
    fn page_check_agrees_with_the_decoder_for_every_byte_everywhere() {
        let mut page = BucketPage::new_zeroed();
        // Two bytes side by side run through all pairs of 256 words, at shifting positions.
        for round in 0..=255_u8 {
            for (position, entry) in page.entries.iter_mut().enumerate() {
                entry.state_mask = round.wrapping_add(position as u8);
                entry.flags = round.wrapping_mul(31).wrapping_add((position * 7) as u8);
                entry.version = u32::MAX;
                entry.reserved = u16::MAX;
            }
            let mut expected = PageCheck::default();
            for (position, entry) in page.entries.iter().enumerate() {
                let set = match (decode(entry.state_mask), decode(entry.flags)) {
                    (Decoded::Double, _) | (_, Decoded::Double) => &mut expected.uncorrectable,
                    (Decoded::Clean(_), Decoded::Clean(_)) => &mut expected.clean,
                    _ => &mut expected.corrected,
                };
                *set |= 1 << position;
            }
            assert_eq!(check_page_scalar(&page), expected, "round {round}");
            assert_eq!(check_page(&page), expected, "round {round}");
            #[cfg(target_arch = "x86_64")]
            if let Some(check) = crate::ecc_simd::check_page(&page) {
                assert_eq!(check, expected, "round {round}, SIMD");
            }
        }
    }
}
