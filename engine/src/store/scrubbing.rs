//! Scrubbing in steps: pages of the last checkpoint against the checksums in their tables.
//!
//! Reads the file, not the map: a page that the disk cannot give is then an error, not a signal. Holds the
//! checkpointer during a step, so that the pages stay what the tables say; if a checkpoint runs, the step is put off.

use cidstore_core::crc::page_checksum;
use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::table::{TableKind, TableSlot};

use super::engine::Engine;
use crate::checkpoint::Checkpointer;
use crate::report::Report;
use crate::space::is_pool;
use crate::table::shadow::ShadowTable;
use crate::upkeep::{Outcome, ScrubPlace, add};

/// Pages that one step reads.
const SCRUB_PAGES: u64 = 32;
/// Slots that one step looks at.
const SCRUB_SLOTS: u32 = 4096;

/// A page of the file that is not what its table says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Damaged {
    pub(crate) kind: TableKind,
    /// The (lowest) slot that names it.
    pub(crate) index: u32,
    pub(crate) slot: TableSlot,
}

impl Engine {
    /// Compares the next few pages with their checksums.
    pub(super) fn scrub_step(&self, place: ScrubPlace) -> (Outcome, u64) {
        let Some(checkpointer) = self.try_checkpointer() else { return (Outcome::Deferred, 0) };
        let ScrubPlace { kind, index } = place;
        let table = &checkpointer.shadows[kind as usize];
        let (mut at, mut pages) = (index, 0);
        while at < table.len() && at - index < SCRUB_SLOTS && pages < SCRUB_PAGES {
            if is_first(table, kind, at) {
                self.scrub_page(&checkpointer, kind, at);
                pages += 1;
            }
            at += 1;
        }
        let counters = &self.shared.upkeep;
        add(&counters.pages_scrubbed, pages);
        let next = if at < table.len() {
            Some(ScrubPlace { kind, index: at })
        } else {
            let following = TableKind::ALL.into_iter().find(|next| *next as usize > kind as usize);
            following.map(|kind| ScrubPlace { kind, index: 0 })
        };
        if next.is_none() {
            add(&counters.scrubs, 1);
            tracing::debug!("every page has been compared with its checksum");
        }
        (Outcome::Scrubbed { next }, pages * PAGE_BYTES as u64)
    }

    /// Compares the page that a slot named at the last checkpoint with its checksum; notes a problem if they differ.
    /// True if they agree.
    pub(super) fn scrub_page(
        &self,
        checkpointer: &Checkpointer,
        kind: TableKind,
        index: u32,
    ) -> bool {
        let slot = checkpointer.shadows[kind as usize].get(index);
        let Err(detail) = self.compare(checkpointer, kind, slot) else { return true };
        let name = format!("{kind:?} slot {index}, page {}", slot.page);
        self.shared.upkeep.note_problem(&self.shared.path, name, detail);
        false
    }

    /// Whether a page of the file is what its table says, or what is wrong.
    fn compare(
        &self,
        checkpointer: &Checkpointer,
        kind: TableKind,
        slot: TableSlot,
    ) -> std::result::Result<(), String> {
        let space = kind.space();
        let bytes = self.read_page(checkpointer, space, slot.page)?;
        let (found, expected) = (page_checksum(space, slot.page, &bytes), slot.checksum);
        let detail = || format!("checksum {found:#010x}, its table says {expected:#010x}");
        if found == expected { Ok(()) } else { Err(detail()) }
    }

    /// Compares the pages of one table with their checksums, from a slot on, until the report has counted `pages_max`.
    /// Tells of each that differs; answers where to go on, if the table has more.
    pub(crate) fn scrub_stretch(
        &self,
        checkpointer: &Checkpointer,
        (kind, from): (TableKind, u32),
        pages_max: u64,
        report: &mut Report,
        mut found: impl FnMut(Damaged),
    ) -> Option<u32> {
        let table = &checkpointer.shadows[kind as usize];
        for index in from..table.len() {
            if report.pages_checked >= pages_max {
                return Some(index);
            }
            if !is_first(table, kind, index) {
                continue;
            }
            report.pages_checked += 1;
            let slot = table.get(index);
            if self.compare(checkpointer, kind, slot).is_err() {
                found(Damaged { kind, index, slot });
            }
        }
        None
    }

    /// As [`scrub_page`](Self::scrub_page), for a page that is about to be copied: damage must not get a checksum of
    /// its own. A page in memory, or one that no checkpoint has, is sound.
    pub(super) fn may_copy(
        &self,
        checkpointer: &Checkpointer,
        kind: TableKind,
        index: u32,
    ) -> bool {
        let page = self.shared.tables.of(kind).get(index);
        is_pool(page)
            || checkpointer.shadows[kind as usize].get(index).page != page
            || self.scrub_page(checkpointer, kind, index)
    }
}

/// Whether a slot names a page, and is the lowest to name it.
fn is_first(table: &ShadowTable, kind: TableKind, index: u32) -> bool {
    let page = table.get(index).page;
    // Only the lowest of the slots that name a bucket is without another one below it, its highest bit taken away.
    let is_lowest = kind != TableKind::Directory
        || index == 0
        || table.get(index & !(1 << index.ilog2())).page != page;
    // Number 0 of the other tables is none.
    page != 0 && is_lowest && (kind == TableKind::Directory || index != 0)
}
