//! Scrubbing in steps: pages of the last checkpoint against the checksums in their tables.
//!
//! Reads the file, not the map: a page that the disk cannot give is then an error, not a signal. Holds the
//! checkpointer during a step, so that the pages stay what the tables say; if a checkpoint runs, the step is put off.

use cidstore_core::crc::page_checksum;
use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::table::TableKind;

use super::engine::Engine;
use crate::checkpoint::Checkpointer;
use crate::space::is_pool;
use crate::upkeep::{Outcome, ScrubPlace, add};

/// Pages that one step reads.
const SCRUB_PAGES: u64 = 32;
/// Slots that one step looks at.
const SCRUB_SLOTS: u32 = 4096;

impl Engine {
    /// Compares the next few pages with their checksums.
    pub(super) fn scrub_step(&self, place: ScrubPlace) -> (Outcome, u64) {
        let Some(checkpointer) = self.try_checkpointer() else { return (Outcome::Deferred, 0) };
        let ScrubPlace { kind, index } = place;
        let table = &checkpointer.shadows[kind as usize];
        let (mut at, mut pages) = (index, 0);
        while at < table.len() && at - index < SCRUB_SLOTS && pages < SCRUB_PAGES {
            let slot = table.get(at);
            // Only the lowest of the slots that name a bucket is without another one below it, its highest bit taken
            // away.
            let first = kind != TableKind::Directory
                || at == 0
                || table.get(at & !(1 << at.ilog2())).page != slot.page;
            if slot.page != 0 && first {
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
        let (slot, space) = (checkpointer.shadows[kind as usize].get(index), kind.space());
        let mut bytes = [0; PAGE_BYTES];
        let place = checkpointer.files().place_of(space, slot.page);
        let read = match place {
            Some((offset, _)) => {
                self.shared.file.read_at(offset, &mut bytes).map_err(|error| error.to_string())
            }
            None => Err("lies outside the file".into()),
        };
        let found = read.and_then(|()| {
            let (found, expected) = (page_checksum(space, slot.page, &bytes), slot.checksum);
            let detail = || format!("checksum {found:#010x}, its table says {expected:#010x}");
            if found == expected { Ok(()) } else { Err(detail()) }
        });
        let Err(detail) = found else { return true };
        let name = format!("{kind:?} slot {index}, page {}", slot.page);
        self.shared.upkeep.note_problem(&self.shared.path, name, detail);
        false
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
