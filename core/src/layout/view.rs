//! A *view*: a second description of the file, for programs that know another format than this one.
//!
//! Its 48-byte header lies at [`VIEW_OFFSET`], its body in a run of pages of [`super::table::Space::Tables`] that no
//! node occupies. The store reads neither: a view is written from the superblock and the tables, and can always be
//! written again. What the store knows of it is the frame before the body, which tells whether header and body are
//! whole and which checkpoint they show. See `docs/hdf5.md` for the view that there is.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::superblock::{Segment, Superblock};
use super::table::{TableRoot, TableSlot};
use crate::crc::crc32c;

/// Offset of the header of a view.
pub const VIEW_OFFSET: u64 = 8192;
/// Bytes of the header. They lie in one sector.
pub const VIEW_HEADER_BYTES: usize = 48;
/// First bytes of a frame.
pub const VIEW_MAGIC: [u8; 8] = *b"CIDSVIEW";

/// The header of a view; all zeros if there is none.
pub type ViewHeader = [u8; VIEW_HEADER_BYTES];

/// What lies before the body of a view, at the start of a page. The body follows at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ViewFrame {
    /// [`VIEW_MAGIC`].
    pub magic: [u8; 8],
    /// Bytes of the body.
    pub body_bytes: u32,
    /// CRC-32C of the header, the frame with this field zero, and the body.
    pub checksum: u32,
    /// Length of the file that the view speaks of.
    pub file_bytes: u64,
    /// The table roots of the checkpoint that it shows.
    pub roots: [TableRoot; 3],
    /// Zero.
    pub reserved: [u8; 32],
}

/// Size of a [`ViewFrame`].
pub const VIEW_FRAME_BYTES: usize = 128;
const _: () = assert!(size_of::<ViewFrame>() == VIEW_FRAME_BYTES);

impl ViewFrame {
    /// The frame of a view of this superblock.
    #[must_use]
    pub fn new(superblock: &Superblock, header: &ViewHeader, body: &[u8]) -> Self {
        let mut frame = Self::new_zeroed();
        frame.magic = VIEW_MAGIC;
        frame.body_bytes = body.len() as u32;
        frame.file_bytes = superblock.file_bytes;
        frame.roots = superblock.roots;
        frame.checksum = frame.computed_checksum(header, body);
        frame
    }

    /// Whether header and body are those that the frame was made for.
    #[must_use]
    pub fn fits(&self, header: &ViewHeader, body: &[u8]) -> bool {
        self.magic == VIEW_MAGIC
            && self.body_bytes as usize == body.len()
            && self.checksum == self.computed_checksum(header, body)
    }

    /// Whether the view shows what the superblock does, and no part of the file that it does not have.
    #[must_use]
    pub fn shows(&self, superblock: &Superblock) -> bool {
        self.roots == superblock.roots && self.file_bytes <= superblock.file_bytes
    }

    fn computed_checksum(&self, header: &ViewHeader, body: &[u8]) -> u32 {
        let frame = Self { checksum: 0, ..*self };
        let parts = [crc32c(header), crc32c(frame.as_bytes()), crc32c(body)];
        crc32c(parts.as_bytes())
    }
}

/// A checkpoint as the writer of a view sees it.
#[derive(Clone, Copy, Debug)]
pub struct FileDescription<'a> {
    /// The superblock that will name the checkpoint: roots, counts, seed, length of the file.
    pub superblock: &'a Superblock,
    /// The segments of each space.
    pub segments: [&'a [Segment]; 3],
    /// Buckets, without overflow pages.
    pub bucket_count: u64,
    /// Where the leaves of each table lie, in the order of [`super::table::TableKind`]: pages of the tables space.
    pub leaves: [&'a [TableSlot]; 3],
    /// The slots of the directory.
    pub directory: &'a [TableSlot],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_fits_its_own_header_and_body_only() {
        let superblock = Superblock::new();
        let (header, body) = ([7; VIEW_HEADER_BYTES], [1, 2, 3]);
        let frame = ViewFrame::new(&superblock, &header, &body);
        assert!(frame.fits(&header, &body));
        assert!(frame.shows(&superblock));
        for bit in 0..VIEW_HEADER_BYTES * 8 {
            let mut other = header;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!frame.fits(&other, &body));
        }
        assert!(!frame.fits(&header, &[1, 2, 2]));
        assert!(!frame.fits(&header, &[1, 2, 3, 0]));
        let bytes = frame.as_bytes();
        for bit in 0..VIEW_FRAME_BYTES * 8 {
            let mut other = bytes.to_vec();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!ViewFrame::read_from_bytes(&other).unwrap().fits(&header, &body), "bit {bit}");
        }
    }

    #[test]
    fn a_view_of_other_tables_or_of_a_longer_file_is_stale() {
        let mut superblock = Superblock::new();
        superblock.file_bytes = 1 << 20;
        let frame = ViewFrame::new(&superblock, &[0; VIEW_HEADER_BYTES], &[]);
        let longer = Superblock { file_bytes: 2 << 20, ..superblock };
        assert!(frame.shows(&longer));
        let shorter = Superblock { file_bytes: 1 << 19, ..superblock };
        assert!(!frame.shows(&shorter));
        let mut other = superblock;
        other.roots[2].slot.checksum ^= 1;
        assert!(!frame.shows(&other));
    }
}
