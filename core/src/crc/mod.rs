//! CRC-32C (Castagnoli, as in iSCSI), and how the checksum of a page is bound to the page's place.
//!
//! With `std` the processor's own instructions are found once at run time; without it a table does the
//! same. A test holds the two together.

use crate::layout::PAGE_BYTES;
use crate::layout::entry::{ENTRY_BYTES, HashEntry};
use crate::layout::table::Space;

#[cfg(all(feature = "std", target_arch = "x86_64"))]
mod short;

/// The portable CRC: sixteen kilobytes of tables, and the oracle of the fast one.
#[cfg(any(test, not(feature = "std")))]
mod portable {
    use crc::{CRC_32_ISCSI, Crc, Table};

    static TABLES: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

    pub(super) fn append(crc: u32, bytes: &[u8]) -> u32 {
        // The register is the complement of the checksum so far; the crate takes it bit-reversed.
        let mut digest = TABLES.digest_with_initial((!crc).reverse_bits());
        digest.update(bytes);
        digest.finalize()
    }
}

/// The CRC by the processor's instructions.
#[cfg(feature = "std")]
mod fast {
    use crc_fast::{CrcAlgorithm, Digest};

    pub(super) fn append(crc: u32, bytes: &[u8]) -> u32 {
        #[cfg(target_arch = "x86_64")]
        if let Some(crc) = super::short::append(crc, bytes) {
            return crc;
        }
        // The register is the complement of the checksum so far.
        let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!crc));
        digest.update(bytes);
        digest.finalize() as u32
    }
}

#[cfg(feature = "std")]
use fast::append;
#[cfg(not(feature = "std"))]
use portable::append;

/// CRC-32C of `bytes`.
#[inline]
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    append(0, bytes)
}

/// CRC-32C of `before` and then `bytes`, where `crc` is that of `before`.
#[inline]
#[must_use]
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    append(crc, bytes)
}

/// The checksum that an entry of a sealed page carries: over its other 60 bytes.
#[must_use]
pub fn entry_checksum(entry: &HashEntry) -> u32 {
    let bytes: &[u8; ENTRY_BYTES] = zerocopy::transmute_ref!(entry);
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    if let Some(crc) = short::entry(bytes) {
        return crc;
    }
    entry_in_one(bytes)
}

/// The same by [`crc32c`]: one call over a copy costs half of two calls.
fn entry_in_one(bytes: &[u8; ENTRY_BYTES]) -> u32 {
    const FIELD: usize = core::mem::offset_of!(HashEntry, checksum);
    let (before, rest) = bytes.split_at(FIELD);
    let (_, after) = rest.split_at(4);
    let mut input = [0; ENTRY_BYTES - 4];
    let (head, tail) = input.split_at_mut(FIELD);
    head.copy_from_slice(before);
    tail.copy_from_slice(after);
    crc32c(&input)
}

/// The checksum that a table slot or the superblock keeps of a page: over the page, its space and its
/// number, so that a sound page in the wrong place is found out. Its generation lies in the page itself.
#[must_use]
pub fn page_checksum(space: Space, number: u32, page: &[u8; PAGE_BYTES]) -> u32 {
    let [a, b, c, d] = number.to_le_bytes();
    crc32c_append(crc32c(page), &[space as u8, a, b, c, d])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The definition, bit by bit: the polynomial 0x1EDC6F41, reflected.
    pub(crate) fn by_bits(bytes: &[u8]) -> u32 {
        let mut register = u32::MAX;
        for &byte in bytes {
            register ^= u32::from(byte);
            for _ in 0..8 {
                let odd = register & 1 == 1;
                register = register >> 1 ^ if odd { 0x82f6_3b78 } else { 0 };
            }
        }
        !register
    }

    fn noise(len: usize) -> Vec<u8> {
        (0..len as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
    }

    #[test]
    fn all_ways_agree_at_all_lengths_and_cuts() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let bytes = noise(4200);
        for len in (0..300).chain([511, 512, 4091, 4092, 4096, 4200]) {
            let bytes = &bytes[..len];
            let expected = by_bits(bytes);
            assert_eq!(crc32c(bytes), expected, "{len} bytes");
            assert_eq!(portable::append(0, bytes), expected, "{len} bytes, portable");
            for cut in [0, len / 3, len] {
                let (before, after) = bytes.split_at(cut);
                let crc = by_bits(before);
                assert_eq!(crc32c_append(crc, after), expected, "{len} bytes, cut at {cut}");
                assert_eq!(portable::append(crc, after), expected, "{len}, {cut}, portable");
            }
        }
    }

    #[test]
    fn page_checksum_is_bound_to_the_place() {
        let page: [u8; PAGE_BYTES] = noise(PAGE_BYTES).try_into().unwrap();
        let mut bytes = page.to_vec();
        bytes.extend([1, 0x78, 0x56, 0x34, 0x12]);
        let checksum = page_checksum(Space::Values, 0x1234_5678, &page);
        assert_eq!(checksum, by_bits(&bytes));
        assert_ne!(checksum, page_checksum(Space::Buckets, 0x1234_5678, &page));
        assert_ne!(checksum, page_checksum(Space::Values, 0x1234_5679, &page));
    }

    #[test]
    fn entry_checksum_leaves_only_itself_out() {
        let bytes: [u8; ENTRY_BYTES] = noise(ENTRY_BYTES).try_into().unwrap();
        let checksum = |bytes: [u8; ENTRY_BYTES]| entry_checksum(&zerocopy::transmute!(bytes));
        assert_eq!(checksum(bytes), by_bits(&[&bytes[..56], &bytes[60..]].concat()));
        assert_eq!(checksum(bytes), entry_in_one(&bytes));
        for position in 0..ENTRY_BYTES {
            let mut changed = bytes;
            changed[position] ^= 1;
            let is_field = (56..60).contains(&position);
            assert_eq!(checksum(changed) == checksum(bytes), is_field, "byte {position}");
        }
    }
}
