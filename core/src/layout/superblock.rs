//! The superblock: the one place from which everything else in a data file is found.
//!
//! Two lie at the start of the file; a checkpoint writes the one whose slot is its number's parity, so the
//! other still describes the checkpoint before. [`Superblock::read`] is the only way to a [`Checked`] one,
//! whose segments lie within the file, apart from each other and within the space limits.

use core::fmt;
use core::ops::Deref;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::PAGE_BYTES;
use super::table::{MAX_TABLE_HEIGHT, Space, TableKind, TableRoot};
use crate::crc::crc32c;
use crate::hash::{HashSeed, MAX_DEPTH};

/// First bytes of a data file.
pub const MAGIC: [u8; 8] = *b"CIDSTORE";
/// Version of the data file's format.
pub const FORMAT_VERSION: u32 = 1;
/// Offsets of the two superblock slots.
pub const SUPERBLOCK_OFFSETS: [u64; 2] = [0, PAGE_BYTES as u64];
/// Offset of the first byte that a segment may occupy.
pub const SEGMENTS_START: u64 = 16384;
/// Pages of the smallest segment.
pub const SEGMENT_UNIT_PAGES: u32 = 16;
/// Segments of all spaces together.
pub const SEGMENTS_MAX: usize = 448;
/// Most pages of one space: numbers from here on name pages that are not in the file.
pub const SPACE_PAGES_MAX: u64 = 1 << 28;

/// Flag: the store was closed in order, and the log holds nothing that is not in the file.
pub const FLAG_CLEAN: u32 = 1;
/// The flags that this format version knows.
const FLAGS_KNOWN: u32 = FLAG_CLEAN;

/// No number that counts up comes this far; what a store adds to them fits without a look.
const NUMBER_MAX: u64 = 1 << 62;

/// A run of pages of one space.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Segment {
    /// Offset in the file, in pages of 4096 bytes.
    pub first_file_page: u32,
    /// Length in pages.
    pub page_count: u32,
}

const _: () = assert!(size_of::<Segment>() == 8);

impl Segment {
    /// Offset of the first byte in the file.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.first_file_page as u64 * PAGE_BYTES as u64
    }

    /// Offset of the first byte after the segment.
    #[must_use]
    pub const fn end(self) -> u64 {
        (self.first_file_page as u64 + self.page_count as u64) * PAGE_BYTES as u64
    }
}

/// A superblock as it lies in the file. Nothing in it is to be trusted; see [`Checked`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Superblock {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// [`PAGE_BYTES`].
    pub page_bytes: u32,
    /// Random, made with the file; the log carries the same.
    pub file_id: [u8; 16],
    /// Counts checkpoints; its lowest bit is the slot.
    pub checkpoint_number: u64,
    /// The generation that the checkpoint ended: all its pages are of this one or earlier ones.
    pub generation: u64,
    /// Seed of the key hash, made with the file.
    pub hash_seed: HashSeed,
    /// When the file was made, in nanoseconds since 1970.
    pub created_nanos: u64,
    /// The cut: all records up to this LSN are in the pages.
    pub lsn: u64,
    /// Offset in the log file at which record `lsn + 1` is expected.
    pub wal_offset: u64,
    /// Seed of the record checksums; changes at each recovery.
    pub wal_salt: u64,
    /// [`FLAG_CLEAN`].
    pub flags: u32,
    /// The directory has `2^global_depth` slots.
    pub global_depth: u32,
    /// Keys in the store.
    pub key_count: u64,
    /// Values in the store, of all keys together.
    pub value_count: u64,
    /// Size of the data file; the file may be longer, and what is beyond means nothing.
    pub file_bytes: u64,
    /// The tables, in the order of [`TableKind`].
    pub roots: [TableRoot; 3],
    /// How many of `segments` belong to each [`Space`].
    pub segment_counts: [u32; 3],
    /// `checksum` of the superblock of the checkpoint before; zero in the first.
    pub previous_checksum: u32,
    /// Records up to this LSN came with pages that a bulk load wrote: an older superblock can't reach
    /// this state by replay.
    pub bulk_lsn: u64,
    /// Zero.
    pub reserved: [u8; 32],
    /// The segments of each space, space after space. Unused ones are zero.
    pub segments: [Segment; SEGMENTS_MAX],
    /// Zero.
    pub reserved_tail: [u8; 252],
    /// CRC-32C of the other 4092 bytes.
    pub checksum: u32,
}

const _: () = assert!(size_of::<Superblock>() == PAGE_BYTES);
const _: () = assert!(core::mem::offset_of!(Superblock, roots) == 128);
const _: () = assert!(core::mem::offset_of!(Superblock, segments) == 256);
const _: () = assert!(core::mem::offset_of!(Superblock, checksum) == PAGE_BYTES - 4);

/// A superblock that was read from its slot and found sound.
#[derive(Clone, Copy, Debug)]
pub struct Checked(Superblock);

impl Deref for Checked {
    type Target = Superblock;

    fn deref(&self) -> &Superblock {
        &self.0
    }
}

/// Why a superblock can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SuperblockError {
    /// The slot is all zeros: no checkpoint was written there.
    Empty,
    /// The slot does not begin with [`MAGIC`].
    Magic {
        /// The bytes there.
        found: [u8; 8],
    },
    /// A format version that this code can't read.
    Version {
        /// The version there.
        found: u32,
    },
    /// The superblock is damaged.
    Checksum {
        /// The checksum of the bytes there.
        computed: u32,
        /// The checksum that was written.
        stored: u32,
    },
    /// A sound superblock in the wrong slot.
    Slot {
        /// Its checkpoint number.
        checkpoint_number: u64,
        /// The slot it was read from.
        slot: u8,
    },
    /// A field is out of its range.
    Field {
        /// Its name.
        name: &'static str,
        /// What is there.
        found: u64,
        /// The greatest (or only) value allowed.
        limit: u64,
    },
    /// A segment is empty, lies outside the file, or makes its space too large.
    SegmentRange {
        /// Its index among all segments.
        index: usize,
        /// The segment.
        segment: Segment,
    },
    /// Two segments share a page of the file.
    SegmentOverlap {
        /// The one that begins first.
        first: Segment,
        /// The one that begins within it.
        second: Segment,
    },
}

impl fmt::Display for SuperblockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "no superblock was written here"),
            Self::Magic { found } => {
                write!(f, "the place of a superblock begins with \"{}\"", found.escape_ascii())
            }
            Self::Version { found } => {
                write!(f, "format version {found}, this program reads {FORMAT_VERSION}")
            }
            Self::Checksum { computed, stored } => {
                write!(f, "superblock checksum is {computed:#010x}, {stored:#010x} was written")
            }
            Self::Slot { checkpoint_number, slot } => {
                write!(f, "checkpoint {checkpoint_number} does not belong in slot {slot}")
            }
            Self::Field { name, found, limit } => {
                write!(f, "superblock field {name} is {found}, the limit is {limit}")
            }
            Self::SegmentRange { index, segment } => write!(
                f,
                "segment {index} ({} pages at page {}) is not within the file",
                segment.page_count, segment.first_file_page
            ),
            Self::SegmentOverlap { first, second } => write!(
                f,
                "segments at file pages {} and {} overlap",
                first.first_file_page, second.first_file_page
            ),
        }
    }
}

impl core::error::Error for SuperblockError {}

/// More segments than a superblock has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManySegments {
    /// How many there were to be.
    pub count: usize,
}

impl fmt::Display for TooManySegments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} segments, a superblock holds {SEGMENTS_MAX}", self.count)
    }
}

impl core::error::Error for TooManySegments {}

impl Superblock {
    /// A superblock with magic, version and page size, and all else zero. It is not sealed.
    #[must_use]
    pub fn new() -> Self {
        let mut superblock = Self::new_zeroed();
        superblock.magic = MAGIC;
        superblock.format_version = FORMAT_VERSION;
        superblock.page_bytes = PAGE_BYTES as u32;
        superblock
    }

    /// The slot that this superblock belongs in.
    #[must_use]
    pub const fn slot(&self) -> u8 {
        (self.checkpoint_number & 1) as u8
    }

    /// Whether the store was closed in order.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.flags & FLAG_CLEAN != 0
    }

    /// The root of a table.
    #[must_use]
    pub const fn root(&self, table: TableKind) -> &TableRoot {
        &self.roots[table as usize]
    }

    /// The segments of a space. Counts that don't fit the array give as many as there are.
    #[must_use]
    pub fn segments(&self, space: Space) -> &[Segment] {
        let before = &self.segment_counts[..space as usize];
        let start = before.iter().fold(0_usize, |sum, &count| sum.saturating_add(count as usize));
        let count = self.segment_counts[space as usize] as usize;
        let rest = self.segments.get(start..).unwrap_or_default();
        rest.get(..count).unwrap_or(rest)
    }

    /// Sets the segments of all spaces, in the order of [`Space::ALL`].
    ///
    /// # Errors
    /// If they are more than [`SEGMENTS_MAX`] together; nothing is changed then.
    pub fn set_segments(&mut self, spaces: [&[Segment]; 3]) -> Result<(), TooManySegments> {
        let count = spaces.iter().map(|segments| segments.len()).sum();
        if count > SEGMENTS_MAX {
            return Err(TooManySegments { count });
        }
        let mut places = self.segments.iter_mut();
        for (segments, count) in spaces.iter().zip(&mut self.segment_counts) {
            *count = segments.len() as u32;
            for (&segment, place) in segments.iter().zip(&mut places) {
                *place = segment;
            }
        }
        places.for_each(|unused| *unused = Segment::default());
        Ok(())
    }

    /// Sets the checksum; the superblock is then as it lies in the file.
    pub fn seal(&mut self) {
        self.checksum = self.computed_checksum();
    }

    /// Reads and checks the superblock in `slot` (0 or 1).
    ///
    /// The version comes before the checksum, so that a file of a newer program is named as such.
    ///
    /// # Errors
    /// If the slot is empty, is no superblock, is of another format version, is damaged, is the other
    /// slot's, or says something that can't be.
    pub fn read(page: &[u8; PAGE_BYTES], slot: u8) -> Result<Checked, SuperblockError> {
        let superblock: Self = zerocopy::transmute!(*page);
        if superblock.magic != MAGIC {
            let empty = page.iter().all(|&byte| byte == 0);
            let found = superblock.magic;
            return Err(if empty {
                SuperblockError::Empty
            } else {
                SuperblockError::Magic { found }
            });
        }
        let as_ours = Self { format_version: FORMAT_VERSION, ..superblock };
        let (computed, stored) = (superblock.computed_checksum(), superblock.checksum);
        // One of ours whose version field was damaged is no reason to refuse the slot beside it.
        if superblock.format_version != FORMAT_VERSION && as_ours.computed_checksum() != stored {
            return Err(SuperblockError::Version { found: superblock.format_version });
        }
        if computed != stored {
            return Err(SuperblockError::Checksum { computed, stored });
        }
        if superblock.slot() != slot {
            let checkpoint_number = superblock.checkpoint_number;
            return Err(SuperblockError::Slot { checkpoint_number, slot });
        }
        superblock.check_fields()?;
        superblock.check_segments()?;
        Ok(Checked(superblock))
    }

    fn computed_checksum(&self) -> u32 {
        let (bytes, _) = self.as_bytes().split_at(PAGE_BYTES - 4);
        crc32c(bytes)
    }

    fn check_fields(&self) -> Result<(), SuperblockError> {
        let at_most = |name, found, limit| {
            if found <= limit { Ok(()) } else { Err(SuperblockError::Field { name, found, limit }) }
        };
        let exactly = |name, found, limit| {
            if found == limit { Ok(()) } else { Err(SuperblockError::Field { name, found, limit }) }
        };
        exactly("page_bytes", self.page_bytes.into(), PAGE_BYTES as u64)?;
        for (name, number) in [
            ("checkpoint_number", self.checkpoint_number),
            ("generation", self.generation),
            ("lsn", self.lsn),
            ("key_count", self.key_count),
            ("value_count", self.value_count),
        ] {
            at_most(name, number, NUMBER_MAX)?;
        }
        exactly("flags", (self.flags & !FLAGS_KNOWN).into(), 0)?;
        at_most("global_depth", self.global_depth.into(), MAX_DEPTH.into())?;
        let directory_slots = self.root(TableKind::Directory).slot_count;
        exactly("roots[0].slot_count", directory_slots, 1 << self.global_depth)?;
        for (root, name) in self.roots.iter().zip(["roots[0]", "roots[1]", "roots[2]"]) {
            at_most(name, root.slot_count, 1 << 32)?;
            at_most(name, root.height.into(), MAX_TABLE_HEIGHT.into())?;
            exactly(name, root.height.into(), TableRoot::height_for(root.slot_count).into())?;
        }
        let segments = self.segment_counts.iter().map(|&count| u64::from(count)).sum();
        at_most("segment_counts", segments, SEGMENTS_MAX as u64)
    }

    fn check_segments(&self) -> Result<(), SuperblockError> {
        let mut index = 0;
        for space in Space::ALL {
            let mut pages = 0;
            for &segment in self.segments(space) {
                pages += u64::from(segment.page_count);
                let inside = segment.offset() >= SEGMENTS_START && segment.end() <= self.file_bytes;
                if segment.page_count == 0 || !inside || pages > SPACE_PAGES_MAX {
                    return Err(SuperblockError::SegmentRange { index, segment });
                }
                index += 1;
            }
        }
        let mut sorted = self.segments;
        let (used, _) = sorted.split_at_mut(index);
        used.sort_unstable_by_key(|segment| segment.first_file_page);
        for pair in used.windows(2) {
            if let &[first, second] = pair
                && first.end() > second.offset()
            {
                return Err(SuperblockError::SegmentOverlap { first, second });
            }
        }
        Ok(())
    }
}

impl Default for Superblock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(first_file_page: u32, page_count: u32) -> Segment {
        Segment { first_file_page, page_count }
    }

    /// A sound superblock of slot 0 with two segments of buckets, one of values, one of tables.
    fn sound() -> Superblock {
        let mut superblock = Superblock::new();
        superblock.checkpoint_number = 4;
        superblock.file_bytes = 68 * 4096;
        superblock.global_depth = 10;
        superblock.roots[0].slot_count = 1024;
        superblock.roots[0].height = 2;
        let spaces: [&[Segment]; 3] =
            [&[segment(20, 16), segment(4, 16)], &[segment(36, 16)], &[segment(52, 16)]];
        superblock.set_segments(spaces).unwrap();
        superblock
    }

    fn read(mut superblock: Superblock, slot: u8) -> Result<Checked, SuperblockError> {
        superblock.seal();
        Superblock::read(&zerocopy::transmute!(superblock), slot)
    }

    fn refusal(change: impl FnOnce(&mut Superblock)) -> SuperblockError {
        let mut superblock = sound();
        change(&mut superblock);
        read(superblock, 0).unwrap_err()
    }

    #[test]
    fn a_sound_one_comes_back() {
        let checked = read(sound(), 0).unwrap();
        assert_eq!(checked.segments(Space::Buckets), [segment(20, 16), segment(4, 16)]);
        assert_eq!(checked.segments(Space::Values), [segment(36, 16)]);
        assert_eq!(checked.segments(Space::Tables), [segment(52, 16)]);
        assert!(!checked.is_clean());
        assert_eq!(checked.slot(), 0);
    }

    #[test]
    fn what_is_no_superblock_is_named() {
        let empty = Superblock::read(&[0; PAGE_BYTES], 0).unwrap_err();
        assert_eq!(empty, SuperblockError::Empty);
        let magic = refusal(|superblock| superblock.magic[0] = b'X');
        assert_eq!(magic, SuperblockError::Magic { found: *b"XIDSTORE" });
        let slot = read(sound(), 1).unwrap_err();
        assert_eq!(slot, SuperblockError::Slot { checkpoint_number: 4, slot: 1 });
    }

    #[test]
    fn a_newer_version_is_named_though_its_checksum_is_unknown() {
        let mut superblock = sound();
        superblock.seal();
        superblock.format_version = 2;
        // Sealed as version 1 it is one of ours with a damaged field: no reason to refuse the other slot.
        let error = Superblock::read(&zerocopy::transmute!(superblock), 0).unwrap_err();
        assert!(matches!(error, SuperblockError::Checksum { .. }), "{error}");
        // A newer program's checksum may be anything else.
        superblock.checksum ^= 0x1234;
        let error = Superblock::read(&zerocopy::transmute!(superblock), 0).unwrap_err();
        assert_eq!(error, SuperblockError::Version { found: 2 });
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let mut superblock = sound();
        superblock.seal();
        let good: [u8; PAGE_BYTES] = zerocopy::transmute!(superblock);
        assert!(Superblock::read(&good, 0).is_ok());
        for bit in 0..PAGE_BYTES * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::read(&bad, 0).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn fields_out_of_range_are_named() {
        let name = |change: fn(&mut Superblock)| match refusal(change) {
            SuperblockError::Field { name, .. } => name,
            other => panic!("{other}"),
        };
        assert_eq!(name(|s| s.page_bytes = 8192), "page_bytes");
        assert_eq!(name(|s| s.flags = 2), "flags");
        assert_eq!(name(|s| s.global_depth = 29), "global_depth");
        assert_eq!(name(|s| s.global_depth = 9), "roots[0].slot_count");
        assert_eq!(name(|s| s.roots[0].height = 1), "roots[0]");
        assert_eq!(name(|s| s.roots[1].height = 9), "roots[1]");
        assert_eq!(name(|s| s.roots[2].slot_count = u64::MAX), "roots[2]");
        assert_eq!(name(|s| s.segment_counts[2] = 446), "segment_counts");
        assert_eq!(name(|s| s.segment_counts = [u32::MAX; 3]), "segment_counts");
    }

    #[test]
    fn segments_lie_in_the_file_and_apart() {
        let with = |changed: Segment| {
            refusal(|superblock| {
                let spaces: [&[Segment]; 3] = [&[segment(4, 16)], &[], &[changed]];
                superblock.set_segments(spaces).unwrap();
            })
        };
        for outside in [
            segment(3, 1),
            segment(0, 1),
            segment(60, 0),
            segment(60, 9),
            segment(u32::MAX, u32::MAX),
            segment(60, u32::MAX),
        ] {
            let error = with(outside);
            assert_eq!(error, SuperblockError::SegmentRange { index: 1, segment: outside });
        }
        for within in [segment(4, 1), segment(19, 1), segment(4, 16), segment(10, 40)] {
            let overlap = with(within);
            assert!(matches!(overlap, SuperblockError::SegmentOverlap { .. }), "{within:?}");
        }
        let mut huge = sound();
        huge.file_bytes = u64::MAX;
        huge.set_segments([&[segment(4, 1 << 28), segment(1 << 30, 1)], &[], &[]]).unwrap();
        let expected = SuperblockError::SegmentRange { index: 1, segment: segment(1 << 30, 1) };
        assert_eq!(read(huge, 0).unwrap_err(), expected);
    }

    #[test]
    fn setting_segments_leaves_no_trace_of_the_old_ones() {
        let mut superblock = sound();
        let many = [segment(1, 1); SEGMENTS_MAX + 1];
        let error = superblock.set_segments([&many[..400], &many[..49], &[]]).unwrap_err();
        assert_eq!(error, TooManySegments { count: SEGMENTS_MAX + 1 });
        assert_eq!(superblock.segments(Space::Values), [segment(36, 16)]);
        superblock.set_segments([&[], &[segment(9, 9)], &[]]).unwrap();
        assert_eq!(superblock.segment_counts, [0, 1, 0]);
        assert!(superblock.segments[1..].iter().all(|&rest| rest == Segment::default()));
    }

    #[test]
    fn segments_of_an_unchecked_superblock_do_not_panic() {
        let mut superblock = sound();
        superblock.segment_counts = [u32::MAX; 3];
        assert_eq!(superblock.segments(Space::Buckets).len(), SEGMENTS_MAX);
        assert_eq!(superblock.segments(Space::Tables), []);
    }
}
