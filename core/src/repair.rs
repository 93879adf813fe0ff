//! Finding flipped bits of a page by its checksum, and turning them back.
//!
//! A CRC is linear: flipping a bit changes the checksum by a number that depends on the bit's place alone. With CRC-32C
//! all bits of a page have different numbers, so the difference between the checksum found and the one expected, the
//! *syndrome*, tells which bit it was, if it was one. And because `x + 1` divides the polynomial, the syndrome of an
//! even number of flips has an even number of ones, that of an odd number an odd one: two flips, or four, are never
//! taken for one. Three flips or more of an odd number, and garbage, may be: of the 2^31 odd syndromes 32,768 name a bit
//! of a page, so such damage is taken for one flip once in 65,536 times (garbage of any parity: 131,072). A
//! checksum alone is therefore no proof: [`repair`] only says what the page must have been *if* a few bits were
//! flipped, and whoever writes that asks the page's content, see [`check_sealed`](crate::protocol::bucket_seal::check_sealed).

use crate::crc::{entry_checksum, page_checksum};
use crate::ecc::{self, Decoded};
use crate::layout::PAGE_BYTES;
use crate::layout::bucket::BucketPage;
use crate::layout::entry::{ENTRY_BYTES, HashEntry};
use crate::layout::table::Space;

/// The polynomial of CRC-32C, reflected: what the checksum changes by if the last bit of a message is flipped.
const LAST_BIT: u32 = 0x82f6_3b78;
/// Bytes of space and number that the checksum of a page covers behind the page.
const PLACE_BYTES: usize = 5;

/// Bits that were turned back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flips {
    /// How many.
    pub count: u32,
    /// The lowest byte of the page that had one.
    pub first_byte: usize,
    /// Lowest of the bits within that byte, 0 to 7.
    pub first_bit: u32,
}

/// Which bit of a message of `bytes` bytes was flipped if its CRC-32C differs from the expected one by `syndrome` and it
/// was one bit: byte, and bit within it. `None` if no single bit makes this difference.
///
/// Takes time in proportion to the distance from the message's end: about 30 us for the first bit of a page.
#[must_use]
pub fn flipped_bit(bytes: usize, syndrome: u32) -> Option<(usize, u32)> {
    if syndrome.count_ones().is_multiple_of(2) {
        return None;
    }
    let mut change = LAST_BIT;
    for from_end in 0..bytes * 8 {
        if change == syndrome {
            let bit = bytes * 8 - 1 - from_end;
            return Some((bit / 8, (bit % 8) as u32));
        }
        change = change >> 1 ^ if change & 1 == 1 { LAST_BIT } else { 0 };
    }
    None
}

/// Turns flipped bits of a page back so that it fits the checksum that its parent keeps. `None`, and a page whose
/// bytes mean nothing, if no way to do that was found.
///
/// Any single bit of any page is found. In a bucket page also one bit in each of several entries, by their own
/// checksums, and one in each code of masks and flags, all of it held against the page's checksum.
#[must_use]
pub fn repair(
    space: Space,
    number: u32,
    expected: u32,
    page: &mut [u8; PAGE_BYTES],
) -> Option<Flips> {
    let damaged = *page;
    if space == Space::Buckets {
        repair_entries(page);
    }
    let syndrome = page_checksum(space, number, page) ^ expected;
    if syndrome != 0 {
        let (byte, bit) = flipped_bit(PAGE_BYTES + PLACE_BYTES, syndrome)?;
        // A flip in space or number would be a page in the wrong place, not a flipped bit.
        *page.get_mut(byte)? ^= 1 << bit;
        if page_checksum(space, number, page) != expected {
            return None;
        }
    }
    difference(&damaged, page)
}

/// Where two pages differ; `None` if nowhere.
fn difference(before: &[u8; PAGE_BYTES], after: &[u8; PAGE_BYTES]) -> Option<Flips> {
    let changes = || before.iter().zip(after).map(|(before, after)| before ^ after);
    let (first_byte, first) = changes().enumerate().find(|&(_, change)| change != 0)?;
    let count = changes().map(u8::count_ones).sum();
    Some(Flips { count, first_byte, first_bit: first.trailing_zeros() })
}

/// Turns back what each entry with a tag can tell by itself: one flip in each code, else one anywhere in it.
fn repair_entries(page: &mut [u8; PAGE_BYTES]) {
    let mut bucket: BucketPage = zerocopy::transmute!(*page);
    for (entry, _) in bucket.entries.iter_mut().zip(&bucket.tags).filter(|(_, tag)| **tag != 0) {
        if entry_checksum(entry) == entry.checksum {
            continue;
        }
        let mut with_codes = *entry;
        for code in [&mut with_codes.state_mask, &mut with_codes.flags] {
            if let Decoded::Corrected(nibble) = ecc::decode(*code) {
                *code = ecc::encode(nibble);
            }
        }
        if entry_checksum(&with_codes) == with_codes.checksum {
            *entry = with_codes;
        } else if let Some(repaired) = flip_in_entry(entry) {
            *entry = repaired;
        }
    }
    let bytes: &[u8; PAGE_BYTES] = zerocopy::transmute_ref!(&bucket);
    *page = *bytes;
}

/// The entry with the one bit turned back that makes it fit its checksum, be it a bit of the checksum.
fn flip_in_entry(entry: &HashEntry) -> Option<HashEntry> {
    const FIELD: usize = core::mem::offset_of!(HashEntry, checksum);
    let syndrome = entry_checksum(entry) ^ entry.checksum;
    let mut repaired = *entry;
    if syndrome.is_power_of_two() {
        repaired.checksum ^= syndrome;
        return Some(repaired);
    }
    let (byte, bit) = flipped_bit(ENTRY_BYTES - 4, syndrome)?;
    let mut bytes: [u8; ENTRY_BYTES] = zerocopy::transmute!(repaired);
    // The checksum leaves its own four bytes out.
    let byte = if byte < FIELD { byte } else { byte + 4 };
    *bytes.get_mut(byte)? ^= 1 << bit;
    Some(zerocopy::transmute!(bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::crc::crc32c;
    use crate::crc::tests::by_bits;
    use crate::entity::E;
    use crate::protocol::bucket_seal::seal;

    fn noise(seed: u64) -> [u8; PAGE_BYTES] {
        let mut state = seed;
        core::array::from_fn(|_| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (state >> 56) as u8
        })
    }

    fn flip(page: &mut [u8; PAGE_BYTES], bit: usize) {
        page[bit / 8] ^= 1 << (bit % 8);
    }

    /// A page of 40 entries with their own checksums; no header, which `repair` does not ask for.
    fn bucket() -> [u8; PAGE_BYTES] {
        let mut page: BucketPage = zerocopy::transmute!([0_u8; PAGE_BYTES]);
        for (number, entry) in (0..).zip(&mut page.entries[..40]) {
            let key = E::new(number * 77, number);
            (entry.key_high, entry.key_low) = (key.high, key.low);
            entry.slots = [number; 4];
            (entry.state_mask, entry.flags) = (ecc::encode(3), ecc::encode(1));
            page.tags[number as usize] = 1 + number as u8;
        }
        seal(&mut page);
        zerocopy::transmute!(page)
    }

    /// What the head of this file says of one flip and of an even number of flips: all changes differ, and all are odd,
    /// so a sum of two is even and never one of them.
    #[test]
    fn every_bit_of_a_page_has_its_own_odd_syndrome() {
        let mut changes = HashSet::new();
        let mut message = [0; PAGE_BYTES + PLACE_BYTES];
        let sound = crc32c(&message);
        for bit in 0..message.len() * 8 {
            message[bit / 8] ^= 1 << (bit % 8);
            let change = crc32c(&message) ^ sound;
            message[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(change.count_ones() % 2, 1, "bit {bit}");
            // A syndrome of one bit would be a flip of the stored checksum.
            assert!(!change.is_power_of_two() && changes.insert(change), "bit {bit}");
        }
    }

    #[test]
    fn every_single_bit_is_turned_back() {
        for (space, page) in [(Space::Values, noise(1)), (Space::Buckets, bucket())] {
            let checksum = page_checksum(space, 9, &page);
            for bit in 0..PAGE_BYTES * 8 {
                let mut damaged = page;
                flip(&mut damaged, bit);
                let flips = repair(space, 9, checksum, &mut damaged);
                let (first_byte, first_bit) = (bit / 8, (bit % 8) as u32);
                assert_eq!(flips, Some(Flips { count: 1, first_byte, first_bit }), "{space:?}");
                assert!(damaged == page, "bit {bit}");
            }
        }
    }

    #[test]
    fn a_sound_page_of_another_place_is_not_taken_for_a_flip() {
        let page = noise(2);
        // Numbers that differ in one bit, and spaces.
        let stored = page_checksum(Space::Values, 9, &page);
        assert_eq!(repair(Space::Values, 8, stored, &mut page.clone()), None);
        assert_eq!(repair(Space::Tables, 9, stored, &mut page.clone()), None);
        // And a page that has nothing wrong has nothing to repair.
        assert_eq!(repair(Space::Values, 9, stored, &mut page.clone()), None);
    }

    #[test]
    fn a_bit_in_each_of_many_entries_is_turned_back() {
        let page = bucket();
        let checksum = page_checksum(Space::Buckets, 3, &page);
        for step in [1, 2, 7, 13] {
            let mut damaged = page;
            let mut count = 0;
            for entry in (0..40).step_by(step) {
                flip(&mut damaged, (128 + entry * ENTRY_BYTES) * 8 + entry * 12 % 512);
                count += 1;
            }
            let flips = repair(Space::Buckets, 3, checksum, &mut damaged);
            assert_eq!(flips.map(|flips| flips.count), Some(count));
            assert!(damaged == page);
        }
    }

    #[test]
    fn a_bit_in_each_code_is_turned_back() {
        let page = bucket();
        let checksum = page_checksum(Space::Buckets, 3, &page);
        let mut damaged = page;
        for entry in 0..40 {
            let at = 128 + entry * ENTRY_BYTES + 48;
            damaged[at] ^= 1 << (entry % 8);
            damaged[at + 1] ^= 0x80 >> (entry % 8);
        }
        // And one bit of the header, which no entry knows of.
        damaged[8] ^= 2;
        let flips = repair(Space::Buckets, 3, checksum, &mut damaged);
        assert_eq!(flips, Some(Flips { count: 81, first_byte: 8, first_bit: 1 }));
        assert!(damaged == page);
    }

    #[test]
    fn two_bits_of_one_entry_are_refused() {
        let page = bucket();
        let checksum = page_checksum(Space::Buckets, 3, &page);
        // Two of the key, of a value, of one code, of the checksum; and one of a key with one of the checksum.
        for (first, second) in [(0, 127), (130, 131), (384, 390), (448, 460), (5, 470)] {
            let mut damaged = page;
            let entry = (128 + 5 * ENTRY_BYTES) * 8;
            flip(&mut damaged, entry + first);
            flip(&mut damaged, entry + second);
            assert_eq!(repair(Space::Buckets, 3, checksum, &mut damaged), None, "{first} {second}");
        }
    }

    proptest! {
        /// Against the definition of the checksum, bit by bit.
        #[test]
        fn a_flip_is_found_by_the_checksum_as_defined(seed: u64, number: u32, bit in 0..PAGE_BYTES * 8) {
            let page = noise(seed);
            let [a, b, c, d] = number.to_le_bytes();
            let message = [&page[..], &[Space::Values as u8, a, b, c, d]].concat();
            let mut damaged = page;
            flip(&mut damaged, bit);
            let flips = repair(Space::Values, number, by_bits(&message), &mut damaged);
            prop_assert_eq!(flips.map(|flips| flips.count), Some(1));
            prop_assert!(damaged == page);
        }

        #[test]
        fn two_or_four_flips_are_refused(seed: u64, bits in prop::collection::hash_set(0..PAGE_BYTES * 8, 2..=4)) {
            let page = noise(seed);
            let checksum = page_checksum(Space::Values, 7, &page);
            let mut damaged = page;
            let even = bits.len() / 2 * 2;
            bits.iter().take(even).for_each(|&bit| flip(&mut damaged, bit));
            prop_assert_eq!(repair(Space::Values, 7, checksum, &mut damaged), None);
        }

        /// Whatever it answers, the page fits its checksum then.
        #[test]
        fn any_damage_is_refused_or_fits(from in 0..PAGE_BYTES - 64, bytes in prop::collection::vec(any::<u8>(), 1..64)) {
            let page = bucket();
            let checksum = page_checksum(Space::Buckets, 7, &page);
            let mut damaged = page;
            damaged[from..from + bytes.len()].copy_from_slice(&bytes);
            if repair(Space::Buckets, 7, checksum, &mut damaged).is_some() {
                prop_assert_eq!(page_checksum(Space::Buckets, 7, &damaged), checksum);
            }
        }
    }
}
