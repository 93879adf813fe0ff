//! The entries of a key within a bucket page.

use core::ops::ControlFlow;

use super::error::{ImageError, PageFault};
use super::pages::Page;
use crate::crc::entry_checksum;
use crate::ecc::decode;
use crate::entity::E;
use crate::layout::PageKind;
use crate::layout::bucket::{BucketHeader, ENTRIES_PER_BUCKET, ENTRIES_WORD, TAGS_WORD};
use crate::layout::entry::{ENTRY_BYTES, EntryFlags, HashEntry, SpillPointer, VALUES_PER_ENTRY};

/// All that a bucket page says about one key.
#[derive(Clone, Copy)]
pub(super) struct KeyEntries {
    pub(super) key: E,
    primary: HashEntry,
    second: Option<HashEntry>,
    spilled: bool,
}

/// A live entry, found sound.
#[derive(Clone, Copy)]
pub(super) struct LiveEntry {
    pub(super) position: usize,
    pub(super) entry: HashEntry,
    flags: u8,
}

impl LiveEntry {
    pub(super) const fn is_second(&self) -> bool {
        self.flags & EntryFlags::IS_SECOND != 0
    }
}

/// The header of a bucket page of the chain at directory slot `index`.
pub(super) fn header(
    page: &Page<'_>,
    index: u32,
    global_depth: u32,
) -> Result<BucketHeader, ImageError> {
    page.expect_kind(PageKind::Bucket)?;
    let header: BucketHeader = page.read(0)?;
    page.at_most("local_depth", header.local_depth.into(), global_depth.into())?;
    let prefix = u64::from(index) & ((1 << header.local_depth) - 1);
    if header.prefix != prefix {
        let fault = PageFault::Field { name: "prefix", found: header.prefix, limit: prefix };
        return Err(page.fault(fault));
    }
    Ok(header)
}

/// The entry at a position, if it is live.
pub(super) fn live(page: &Page<'_>, position: usize) -> Result<Option<LiveEntry>, ImageError> {
    if tags(page).get(position).is_none_or(|&tag| tag == 0) {
        return Ok(None);
    }
    let entry: HashEntry = page.read(ENTRIES_WORD * 8 + position * ENTRY_BYTES)?;
    let flags = nibble(page, position, entry.flags)?;
    Ok((flags & EntryFlags::LIVE != 0).then_some(LiveEntry { position, entry, flags }))
}

/// Checks the checksum that a sealed entry carries.
pub(super) fn check_sealed(page: &Page<'_>, live: &LiveEntry) -> Result<(), ImageError> {
    if entry_checksum(&live.entry) == live.entry.checksum {
        return Ok(());
    }
    Err(page.fault(PageFault::EntryChecksum { position: live.position }))
}

/// The tags of a page.
fn tags<'a>(page: &Page<'a>) -> &'a [u8] {
    page.bytes.get(TAGS_WORD * 8..TAGS_WORD * 8 + ENTRIES_PER_BUCKET).unwrap_or_default()
}

/// All entries of a key in this page, or `None` if there is none.
pub(super) fn find(page: &Page<'_>, key: E, tag: u8) -> Result<Option<KeyEntries>, ImageError> {
    let contradiction = |what| Err(page.fault(PageFault::Entries { key, what }));
    let (mut primary, mut second) = (None, None);
    for (position, _) in tags(page).iter().enumerate().filter(|&(_, &found)| found == tag) {
        let Some(live) = live(page, position)?.filter(|live| live.entry.key() == key) else {
            continue;
        };
        let place = if live.is_second() { &mut second } else { &mut primary };
        if place.replace(live).is_some() {
            return contradiction("two entries of the same rank");
        }
    }
    let Some(primary) = primary else {
        return if second.is_none() { Ok(None) } else { contradiction("no primary entry") };
    };
    if (primary.flags & EntryFlags::HAS_SECOND != 0) != second.is_some() {
        return contradiction("the flag for a second entry is wrong");
    }
    let spilled = primary.flags & EntryFlags::SPILLED != 0;
    if spilled && second.is_some() {
        return contradiction("a second entry beside a spilled one");
    }
    let entries =
        KeyEntries { key, primary: primary.entry, second: second.map(|live| live.entry), spilled };
    entries.check_masks(page, primary.position, second.map(|live| live.position))?;
    Ok(Some(entries))
}

fn nibble(page: &Page<'_>, position: usize, code: u8) -> Result<u8, ImageError> {
    decode(code).nibble().ok_or(page.fault(PageFault::Code { position }))
}

impl KeyEntries {
    /// The spill pointer, if the values are not inline.
    pub(super) fn spill(&self) -> Option<SpillPointer> {
        self.spilled.then(|| SpillPointer::from_slots(self.primary.slots))
    }

    /// Calls `f` with each inline value.
    pub(super) fn visit_inline(&self, f: &mut dyn FnMut(E) -> ControlFlow<()>) -> ControlFlow<()> {
        visit_entry(&self.primary, 0, f)?;
        match &self.second {
            Some(second) => visit_entry(second, VALUES_PER_ENTRY, f),
            None => ControlFlow::Continue(()),
        }
    }

    /// Each entry may only speak of the values in its own slots, a spilled one of none.
    fn check_masks(
        &self,
        page: &Page<'_>,
        primary: usize,
        second: Option<usize>,
    ) -> Result<(), ImageError> {
        let own = if self.spilled { 0 } else { 0b0011 };
        let wrong = |mask: u8| {
            let fault = PageFault::Field { name: "state_mask", found: mask.into(), limit: own };
            Err(page.fault(fault))
        };
        let mask = nibble(page, primary, self.primary.state_mask)?;
        if u64::from(mask) & !own != 0 {
            return wrong(mask);
        }
        if let (Some(entry), Some(position)) = (&self.second, second) {
            let mask = nibble(page, position, entry.state_mask)?;
            if mask & 0b0011 != 0 {
                return wrong(mask);
            }
        }
        Ok(())
    }
}

/// Calls `f` with each valid value of an entry whose first value is number `first` of its key. The mask
/// was found sound by [`KeyEntries::check_masks`].
fn visit_entry(
    entry: &HashEntry,
    first: usize,
    f: &mut dyn FnMut(E) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mask = decode(entry.state_mask).nibble().unwrap_or(0);
    let [a, b, c, d] = entry.slots;
    for (index, value) in [E::new(a, b), E::new(c, d)].into_iter().enumerate() {
        if mask >> (first + index) & 1 == 1 {
            f(value)?;
        }
    }
    ControlFlow::Continue(())
}
