//! From a number to the bytes of a page: segments, table nodes, checksums.
//!
//! Pages are slices of the image. Structures are copied out of them one at a time, so the image needs no
//! alignment (`include_bytes!` gives none).

use zerocopy::FromBytes;

use super::error::{ImageError, PageFault};
use crate::crc::page_checksum;
use crate::layout::superblock::Checked;
use crate::layout::table::{Space, TableKind, TableSlot, slot_index};
use crate::layout::{NO_PAGE, PAGE_BYTES, PageKind};

/// A page, and where it was found.
#[derive(Clone, Copy)]
pub(super) struct Page<'a> {
    pub(super) space: Space,
    pub(super) number: u32,
    pub(super) bytes: &'a [u8; PAGE_BYTES],
}

/// Whether the pages on the way are held against the checksums that their parents keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verify {
    Yes,
    No,
}

/// The pages of an image.
#[derive(Clone)]
pub(super) struct Pages<'a> {
    pub(super) image: &'a [u8],
    pub(super) superblock: Checked,
    pub(super) verify: Verify,
}

impl<'a> Page<'a> {
    /// The fault, with this page's place.
    pub(super) const fn fault(&self, fault: PageFault) -> ImageError {
        fault.at(self.space, self.number)
    }

    /// Copies the structure at `offset` out of the page.
    pub(super) fn read<T: FromBytes>(&self, offset: usize) -> Result<T, ImageError> {
        let rest = self.bytes.get(offset..).unwrap_or_default();
        match T::read_from_prefix(rest) {
            Ok((structure, _)) => Ok(structure),
            Err(_) => Err(self.fault(PageFault::Bounds { offset })),
        }
    }

    /// `Ok` if `found` is at most `limit`.
    pub(super) fn at_most(
        &self,
        name: &'static str,
        found: u64,
        limit: u64,
    ) -> Result<(), ImageError> {
        PageFault::unless_at_most(name, found, limit).map_err(|fault| self.fault(fault))
    }

    /// The code of the page's kind.
    pub(super) fn kind(&self) -> Result<u16, ImageError> {
        self.read(0)
    }

    /// `Ok` if the page is of this kind.
    pub(super) fn expect_kind(&self, kind: PageKind) -> Result<(), ImageError> {
        let found = self.kind()?;
        if found == kind as u16 { Ok(()) } else { Err(self.fault(PageFault::Kind { found })) }
    }
}

impl<'a> Pages<'a> {
    /// Pages of a space, all segments together.
    pub(super) fn page_count(&self, space: Space) -> u64 {
        self.superblock.segments(space).iter().map(|segment| u64::from(segment.page_count)).sum()
    }

    /// The page that a table names for `number`, if it names one.
    pub(super) fn find(
        &self,
        table: TableKind,
        number: u32,
    ) -> Result<Option<Page<'a>>, ImageError> {
        let slot = self.slot(table, number, self.verify)?;
        if slot.page == NO_PAGE {
            return Ok(None);
        }
        self.page(table.space(), slot, self.verify).map(Some)
    }

    /// The page that a table names for a number that is in use.
    pub(super) fn expect(&self, table: TableKind, number: u32) -> Result<Page<'a>, ImageError> {
        self.find(table, number)?.ok_or(ImageError::Hole { table, number })
    }

    /// The slot of a table for `number`: no page if the number is beyond the table or not in use.
    pub(super) fn slot(
        &self,
        table: TableKind,
        number: u32,
        verify: Verify,
    ) -> Result<TableSlot, ImageError> {
        let root = self.superblock.root(table);
        if u64::from(number) >= root.slot_count {
            return Ok(TableSlot::default());
        }
        let mut slot = root.slot;
        for level in (1..=root.height).rev() {
            if slot.page == NO_PAGE {
                return Ok(TableSlot::default());
            }
            let node = self.page(Space::Tables, slot, verify)?;
            slot = node.read(slot_index(number, level) * size_of::<TableSlot>())?;
        }
        Ok(slot)
    }

    /// The page that a slot names.
    pub(super) fn page(
        &self,
        space: Space,
        slot: TableSlot,
        verify: Verify,
    ) -> Result<Page<'a>, ImageError> {
        let number = slot.page;
        let bytes = self.bytes(space, number).ok_or(PageFault::Missing.at(space, number))?;
        let page = Page { space, number, bytes };
        if verify == Verify::Yes {
            let (computed, stored) = (page_checksum(space, number, bytes), slot.checksum);
            if computed != stored {
                return Err(page.fault(PageFault::Checksum { computed, stored }));
            }
        }
        Ok(page)
    }

    fn bytes(&self, space: Space, number: u32) -> Option<&'a [u8; PAGE_BYTES]> {
        let mut rest = number;
        if number == NO_PAGE {
            return None;
        }
        for segment in self.superblock.segments(space) {
            if rest < segment.page_count {
                let offset = segment.offset() + u64::from(rest) * PAGE_BYTES as u64;
                return self.image.get(usize::try_from(offset).ok()?..)?.first_chunk();
            }
            rest -= segment.page_count;
        }
        None
    }
}
