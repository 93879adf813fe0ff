//! CRC-32C (Castagnoli, as in iSCSI), and how the checksum of a page is bound to the page's place.
//!
//! With `std` the processor's own instructions are found once at run time; without it a table does the
//! same. A test holds the two together.

use crate::layout::PAGE_BYTES;
use crate::layout::table::Space;

/// The portable CRC: eight kilobytes of tables, and the oracle of the fast one.
#[cfg(any(test, not(feature = "std")))]
mod portable {
    const CRC: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&ALGORITHM);
    const ALGORITHM: crc::Algorithm<u32> = crc::CRC_32_ISCSI;
    static TABLES: crc::Crc<u32, crc::Table<16>> = CRC;

    pub(super) fn append(crc: u32, bytes: &[u8]) -> u32 {
        // The crate takes the register before its input reflection and complement; undo both.
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

/// The checksum that a table slot or the superblock keeps of a page: over the page, its space and its
/// number, so that a sound page in the wrong place is found out. Its generation lies in the page itself.
#[must_use]
pub fn page_checksum(space: Space, number: u32, page: &[u8; PAGE_BYTES]) -> u32 {
    let [a, b, c, d] = number.to_le_bytes();
    crc32c_append(crc32c(page), &[space as u8, a, b, c, d])
}
