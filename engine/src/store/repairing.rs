//! Putting damaged pages of the file right: judged, written to fresh pages, named by one checkpoint.
//!
//! A repaired page never goes where the damaged one lies. It is written to a free page of the file, the tables as they go
//! to disk name it, and the checkpoint that writes them makes it count. A power cut before that leaves the damaged page
//! in charge, as if nothing had been tried. The live tables name a repaired *bucket* only after that checkpoint: until then
//! writes to it are refused as before, so that the log never has a record whose replay would need the damaged page. A
//! repaired *value page* they name at once, because writes to sets are not refused: the next one must copy the right page.

use std::borrow::Cow;

use cidstore_core::crc::page_checksum;
use cidstore_core::layout::superblock::{SUPERBLOCK_OFFSETS, Superblock};
use cidstore_core::layout::table::{Space, TableKind, TableSlot};
use cidstore_core::layout::{PAGE_BYTES, PAGE_WORDS};
use cidstore_core::repair::{self, Flips};
use zerocopy::IntoBytes;

use super::engine::{Engine, WriterState};
use super::evidence::Evidence;
use super::scrubbing::Damaged;
use crate::checkpoint::Checkpointer;
use crate::error::Result;
use crate::report::{Problem, Report};
use crate::space::limbo::Retired;
use crate::writer::pages::slots_of;

/// A damaged page, and what it must have been.
struct Candidate {
    page: Damaged,
    words: Box<[u64; PAGE_WORDS]>,
    flips: Flips,
}

/// The words of a page, and what was flipped.
type TurnedBack = (Box<[u64; PAGE_WORDS]>, Flips);

/// A repaired page that lies in the file, and that the tables on disk are to name.
struct Placed {
    candidate: Candidate,
    new: TableSlot,
}

impl Engine {
    /// Judges damaged pages, table nodes and superblocks, repairs what can be if that is wanted, and reports on each.
    pub(crate) fn settle(
        &self,
        to: &mut Checkpointer,
        damaged: Vec<Damaged>,
        repair: bool,
        report: &mut Report,
    ) -> Result<()> {
        let candidates = self.judge(to, damaged, report);
        let nodes = self.check_nodes(to, report);
        if !repair {
            for candidate in candidates {
                let detail = format!("{}; a repair would turn it back", of(candidate.flips));
                report.problems.push(self.problem(&candidate.page, detail));
            }
            report.problems.extend(nodes.into_iter().map(|(_, problem)| problem));
            return self.settle_superblocks(to, false, report);
        }
        // Superblocks first: the others need both.
        self.settle_superblocks(to, true, report)?;
        for (node, _) in &nodes {
            to.shadows[node.kind as usize].rewrite_leaf(node.index);
        }
        let placed = self.place(to, candidates, report)?;
        if placed.is_empty() && nodes.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.checkpoint_with(to, false) {
            self.take_back(to, &placed);
            return Err(error);
        }
        for Placed { candidate, new } in placed {
            self.swing_repaired_bucket(&candidate, new);
            let detail = format!("{}, turned back; now page {}", of(candidate.flips), new.page);
            report.repaired.push(self.repaired(&candidate.page, detail));
        }
        for (_, problem) in nodes {
            tracing::warn!(place = problem.place, detail = problem.detail, "repaired");
            report.repaired.push(problem);
        }
        Ok(())
    }

    /// Finds what damaged pages must have been, and reports those that cannot be told.
    fn judge(
        &self,
        to: &Checkpointer,
        damaged: Vec<Damaged>,
        report: &mut Report,
    ) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        let mut evidence = Evidence::new(&self.shared, to);
        for page in damaged {
            match self.turn_back(to, &page) {
                // A checkpoint has replaced it meanwhile, or it reads well now.
                Ok(None) => {}
                Ok(Some((words, flips))) => {
                    evidence.suppose(&page, &words);
                    candidates.push(Candidate { page, words, flips });
                }
                Err(detail) => {
                    let detail = format!("{detail}; concerns {}", evidence.concerned(&page));
                    report.problems.push(self.problem(&page, detail));
                }
            }
        }
        // Buckets first: the entries in them speak for value pages.
        for values in [false, true] {
            candidates.retain(|candidate| {
                let page = &candidate.page;
                let judged = match page.kind {
                    TableKind::Values if values => evidence.check_value_page(page.index),
                    TableKind::Directory | TableKind::Overflow if !values => {
                        evidence.check_bucket(page, &candidate.words)
                    }
                    _ => Ok(()),
                };
                let Err(why) = judged else { return true };
                let detail = format!(
                    "wrong checksum, and not what it was before one bit was flipped, for then {why}; concerns {}",
                    evidence.concerned(page)
                );
                report.problems.push(self.problem(page, detail));
                if page.kind != TableKind::Values {
                    evidence.give_up(page);
                }
                false
            });
        }
        candidates
    }

    /// Reads a damaged page again and turns its flipped bits back. `None` if it is not in use any more, or reads
    /// well now.
    fn turn_back(
        &self,
        to: &Checkpointer,
        page: &Damaged,
    ) -> std::result::Result<Option<TurnedBack>, String> {
        if to.shadows[page.kind as usize].get(page.index) != page.slot {
            return Ok(None);
        }
        let (space, TableSlot { page: number, checksum }) = (page.kind.space(), page.slot);
        let mut bytes = self.read_page(to, space, number)?;
        let found = page_checksum(space, number, &bytes);
        if found == checksum {
            return Ok(None);
        }
        let Some(flips) = repair::repair(space, number, checksum, &mut bytes) else {
            let detail = "and no single flipped bit explains it";
            return Err(format!(
                "checksum {found:#010x}, its table says {checksum:#010x}, {detail}"
            ));
        };
        Ok(Some((Box::new(zerocopy::transmute!(bytes)), flips)))
    }

    /// A page as it lies in the file.
    pub(super) fn read_page(
        &self,
        to: &Checkpointer,
        space: Space,
        number: u32,
    ) -> std::result::Result<[u8; PAGE_BYTES], String> {
        let place = to.files().place_of(space, number);
        let (offset, _) = place.ok_or("lies outside the file")?;
        let mut bytes = [0; PAGE_BYTES];
        self.shared.file.read_at(offset, &mut bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    /// Writes repaired pages to free pages of the file, and lets the tables that go to disk name them.
    fn place(
        &self,
        to: &mut Checkpointer,
        candidates: Vec<Candidate>,
        report: &mut Report,
    ) -> Result<Vec<Placed>> {
        for space in [Space::Buckets, Space::Values] {
            let of_space = |candidate: &&Candidate| candidate.page.kind.space() == space;
            let pages = candidates.iter().filter(of_space).count() as u64;
            let (file, regions) = (&*self.shared.file, &self.shared.regions);
            to.files().ensure_free(space, pages, file, regions)?;
        }
        let mut placed = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let mut state = self.writer();
            let Damaged { kind, index, slot } = candidate.page;
            if self.shared.tables.of(kind).get(index) != slot.page {
                // A bucket is checked before it is copied, so its copy is sound and replaces this at the next checkpoint.
                if kind == TableKind::Values {
                    let detail = "damaged, and changed by a write before it could be repaired";
                    report.problems.push(self.problem(&candidate.page, detail.into()));
                }
                continue;
            }
            let new = self.write_repaired(to, &candidate)?;
            if kind == TableKind::Values {
                swing(&mut state, kind, index, (slot.page, new.page));
                let now = state.writer.pages.current_generation();
                state.writer.pages.limbo.retire(Retired::ValuePage(slot.page), now, now);
            }
            drop(state);
            set_shadow(to, &candidate, new);
            placed.push(Placed { candidate, new });
        }
        Ok(placed)
    }

    /// Writes one repaired page to a free page of the file, and notes its checksum.
    fn write_repaired(&self, to: &Checkpointer, candidate: &Candidate) -> Result<TableSlot> {
        let space = candidate.page.kind.space();
        let run = to.files().take_run(space, 1);
        let Some((run, offset)) = run else {
            return Err(self.shared.corrupt(format!("{space:?}: reserved pages are not free")));
        };
        let bytes: &[u8; PAGE_BYTES] = zerocopy::transmute_ref!(&*candidate.words);
        let written = self.shared.file.write_at(offset, bytes);
        self.fail_on_error(written)?;
        let new = TableSlot { page: run.start, checksum: page_checksum(space, run.start, bytes) };
        self.shared.note_written(space, new.page, new.checksum);
        Ok(new)
    }

    /// Undoes what [`place`](Self::place) did to buckets, whose checkpoint could not be written. Repaired value pages are in
    /// use already; the next checkpoint names them.
    fn take_back(&self, to: &mut Checkpointer, placed: &[Placed]) {
        for Placed { candidate, new } in placed {
            if candidate.page.kind != TableKind::Values {
                set_shadow(to, candidate, candidate.page.slot);
                to.files().pages_mut(Space::Buckets).release(new.page);
            }
        }
    }

    /// Lets the live tables, and those of snapshots, name a repaired bucket page that a superblock names.
    fn swing_repaired_bucket(&self, candidate: &Candidate, new: TableSlot) {
        let Damaged { kind, index, slot } = candidate.page;
        let mut state = self.writer();
        let pages = &state.writer.pages;
        let named = match kind {
            TableKind::Values => return,
            TableKind::Overflow => swing(&mut state, kind, index, (slot.page, new.page)),
            TableKind::Directory => {
                let depth = self.shared.tables.depth().max(pages.tables.snapshot_depth_max());
                let (prefix, local_depth) = place_of(&candidate.words);
                let mut named = false;
                for index in slots_of(prefix, local_depth, depth) {
                    named |= swing(&mut state, kind, index, (slot.page, new.page));
                }
                named
            }
        };
        let pages = &mut state.writer.pages;
        let now = pages.current_generation();
        // Not named: replaced since. Then only the superblocks may have the repaired page.
        let (gone, built) = if named { (slot.page, now) } else { (new.page, 0) };
        pages.limbo.retire(Retired::BucketPage(gone), built, now);
    }

    /// Table nodes whose pages are not what their parents say, each by its first leaf. What they must say is in memory.
    fn check_nodes(&self, to: &Checkpointer, report: &mut Report) -> Vec<(Node, Problem)> {
        let mut damaged = Vec::new();
        for kind in TableKind::ALL {
            for (index, slot) in to.shadows[kind as usize].nodes() {
                report.pages_checked += 1;
                let read = self.read_page(to, Space::Tables, slot.page);
                let detail: Cow<'_, str> = match read {
                    Err(error) => error.into(),
                    Ok(bytes)
                        if page_checksum(Space::Tables, slot.page, &bytes) == slot.checksum =>
                    {
                        continue;
                    }
                    Ok(_) => "wrong checksum; what it must say is in memory".into(),
                };
                let place = format!("{kind:?} table, node in page {}", slot.page);
                damaged.push((Node { kind, index }, Problem { place, detail: detail.into() }));
            }
        }
        damaged
    }

    /// Looks at both superblock slots; writes damaged ones again from memory if that is wanted.
    fn settle_superblocks(
        &self,
        to: &mut Checkpointer,
        repair: bool,
        report: &mut Report,
    ) -> Result<()> {
        let newest_slot = to.newest.checkpoint_number & 1;
        let (mut damaged, mut newest_is_damaged) = (Vec::new(), false);
        for (slot, offset) in (0..).zip(SUPERBLOCK_OFFSETS) {
            report.pages_checked += 1;
            let Some(detail) = self.superblock_fault(to, slot, offset) else { continue };
            newest_is_damaged |= u64::from(slot) == newest_slot;
            damaged.push(Problem { place: format!("superblock at byte {offset}"), detail });
        }
        if !repair || damaged.is_empty() {
            report.problems.append(&mut damaged);
            return Ok(());
        }
        if newest_is_damaged {
            // The damaged slot first: the other one tells the same state, and is what a crash during this needs.
            to.newest.checkpoint_number += 1;
        }
        let written = to.rewrite(|_| ()).and_then(|()| to.rewrite(|_| ()));
        self.fail_on_error(written)?;
        for problem in &damaged {
            tracing::warn!(place = problem.place, detail = problem.detail, "repaired");
        }
        report.repaired.append(&mut damaged);
        Ok(())
    }

    /// What is wrong with a superblock slot as it lies in the file, if anything is.
    fn superblock_fault(&self, to: &Checkpointer, slot: u8, offset: u64) -> Option<String> {
        let mut bytes = [0; PAGE_BYTES];
        if let Err(error) = self.shared.file.read_at(offset, &mut bytes) {
            return Some(error.to_string());
        }
        let is_here =
            |superblock: &&Superblock| superblock.checkpoint_number & 1 == u64::from(slot);
        let expected = [&to.newest, &to.older].into_iter().find(is_here);
        match Superblock::read(&bytes, slot) {
            Err(fault) => Some(fault.to_string()),
            Ok(found)
                if expected.is_some_and(|expected| expected.as_bytes() != found.as_bytes()) =>
            {
                Some("is sound, but not what was written".into())
            }
            Ok(_) => None,
        }
    }

    fn problem(&self, page: &Damaged, detail: String) -> Problem {
        tracing::error!(path = %self.shared.path.display(), ?page, detail, "damage");
        Problem { place: place_name(page), detail }
    }

    fn repaired(&self, page: &Damaged, detail: String) -> Problem {
        tracing::warn!(path = %self.shared.path.display(), ?page, detail, "repaired");
        Problem { place: place_name(page), detail }
    }
}

/// A table node: the table, and the first of the leaves below it.
struct Node {
    kind: TableKind,
    index: u32,
}

/// As `verify` calls it.
fn place_name(page: &Damaged) -> String {
    match page.kind {
        TableKind::Directory | TableKind::Overflow => format!("bucket page {}", page.slot.page),
        TableKind::Values => format!("value page {}", page.index),
    }
}

/// What was flipped, for people.
fn of(flips: Flips) -> String {
    let Flips { count, first_byte, first_bit } = flips;
    match count {
        1 => format!("bit {first_bit} of byte {first_byte} was flipped"),
        count => format!("{count} bits were flipped, the first in byte {first_byte}"),
    }
}

/// Prefix and local depth in the header of a bucket page.
fn place_of(words: &[u64; PAGE_WORDS]) -> (u32, u32) {
    let page: &cidstore_core::layout::bucket::BucketPage = zerocopy::transmute_ref!(words);
    (page.header.prefix as u32, page.header.local_depth.into())
}

/// Names a page in the slots, as they go to disk, of the page that it replaces.
fn set_shadow(to: &mut Checkpointer, candidate: &Candidate, slot: TableSlot) {
    let (Damaged { kind, index, .. }, depth) = (candidate.page, to.newest.global_depth);
    let shadow = &mut to.shadows[kind as usize];
    if kind != TableKind::Directory {
        return shadow.set(index, slot);
    }
    let (prefix, local_depth) = place_of(&candidate.words);
    for index in slots_of(prefix, local_depth, depth) {
        shadow.set(index, slot);
    }
}

/// Replaces a page by another in one slot, live and of snapshots; true if the live one named it.
fn swing(state: &mut WriterState, kind: TableKind, index: u32, (from, to): (u32, u32)) -> bool {
    let pages = &state.writer.pages;
    pages.tables.swing(&pages.shared.tables, kind, index, from, to)
}
