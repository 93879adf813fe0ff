//! [`Store::verify`]: is everything that the last checkpoint wrote what it must be?
//!
//! Reads the sealed pages behind the superblock, not the pages in use: each page against the checksum in its parent,
//! each bucket against its own rules, each set against the hash in its entry, the counts against the superblock,
//! and the free pages against what is reached. Holds back checkpoints meanwhile, not reads or writes.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use cidstore_core::crc::page_checksum;
use cidstore_core::layout::bucket::BucketPage;
use cidstore_core::layout::entry::SpillPointer;
use cidstore_core::layout::table::{Space, TableKind, TableSlot};
use cidstore_core::layout::value::GENERATION_WORD;
use cidstore_core::layout::{PAGE_BYTES, PAGE_WORDS};
use cidstore_core::protocol::bucket_seal::check_sealed;
use cidstore_core::protocol::bucket_write::BucketWriter;
use cidstore_core::protocol::content::Content;
use cidstore_core::protocol::extent::Extents;

use crate::checkpoint::Checkpointer;
use crate::error::Result;
use crate::handle::Store;
use crate::report::{Problem, Report};
use crate::shared::{Shared, fits_directory};
use crate::sync::Page;
use crate::table::shadow::ShadowTable;
use crate::transaction;
use crate::valueset::{self, SetView};
use crate::writer::pages::bucket_place;

impl Store {
    /// Checks every page, entry, set and counter of the store as the data file has it. Brings the file up to date
    /// first, unless the store is read-only.
    ///
    /// # Errors
    ///
    /// See [`Store`]. Damage is no error here: it is in the report.
    pub fn verify(&self) -> Result<Report> {
        let engine = self.engine();
        transaction::check_not_nested(engine)?;
        let mut checkpointer = engine.checkpointer();
        // With the lock: whoever closes the store meanwhile waits for it.
        engine.shared.check_open()?;
        if engine.check_writable().is_ok() {
            engine.checkpoint_with(&mut checkpointer, false)?;
        }
        let mut verifier = Verifier {
            shared: &engine.shared,
            checkpointer: &checkpointer,
            report: Report::default(),
            sets_seen: HashSet::new(),
            chains_seen: HashSet::new(),
        };
        verifier.run();
        Ok(verifier.report)
    }
}

struct Verifier<'a> {
    shared: &'a Shared,
    checkpointer: &'a Checkpointer,
    report: Report,
    /// Logical value pages that a set uses.
    sets_seen: HashSet<u32>,
    /// Overflow numbers that a chain uses.
    chains_seen: HashSet<u32>,
}

impl<'a> Verifier<'a> {
    fn shadow(&self, kind: TableKind) -> &'a ShadowTable {
        &self.checkpointer.shadows[kind as usize]
    }

    fn problem(&mut self, place: impl Into<String>, detail: impl ToString) {
        self.report.problems.push(Problem { place: place.into(), detail: detail.to_string() });
    }

    fn run(&mut self) {
        self.check_directory();
        self.check_numbered(TableKind::Overflow, "overflow page");
        self.check_numbered(TableKind::Values, "value page");
        let newest = &self.checkpointer.newest;
        let counts = [
            ("keys", newest.key_count, self.report.keys),
            ("values", newest.value_count, self.report.values),
        ];
        for (what, expected, found) in counts {
            if expected != found {
                let detail = format!("says {expected} {what}, the pages have {found}");
                self.problem("superblock", detail);
            }
        }
    }

    /// Every bucket once, by the lowest slot that names it.
    fn check_directory(&mut self) {
        let directory = self.shadow(TableKind::Directory);
        for (index, &slot) in directory.slots().iter().enumerate() {
            let index = index as u32;
            let page = self.page(Space::Buckets, slot.page);
            let (prefix, local_depth) = bucket_place(page);
            let depth = self.checkpointer.newest.global_depth;
            let named = |index| directory.get(index).page;
            if !fits_directory((prefix, local_depth), slot.page, (index, depth), named) {
                let detail = format!("page {} is of prefix {prefix:#b}/{local_depth}", slot.page);
                self.problem(format!("directory slot {index}"), detail);
            } else if index == prefix {
                self.check_chain(slot, (prefix, local_depth));
            }
        }
    }

    fn check_chain(&mut self, head: TableSlot, place: (u32, u32)) {
        self.check_bucket(head, place);
        let mut page = self.page(Space::Buckets, head.page);
        loop {
            let next = BucketWriter::new(page).overflow();
            if next == 0 {
                return;
            }
            let slot = self.shadow(TableKind::Overflow).get(next);
            if !self.chains_seen.insert(next) || slot.page == 0 {
                self.problem(format!("overflow page {next}"), "is used twice, or not there");
                return;
            }
            self.check_bucket(slot, place);
            page = self.page(Space::Buckets, slot.page);
        }
    }

    /// One page of a bucket: checksum, seal, place of its keys, their sets.
    fn check_bucket(&mut self, slot: TableSlot, place: (u32, u32)) {
        let name = format!("bucket page {}", slot.page);
        if !self.check_page(Space::Buckets, slot, &name) {
            return;
        }
        let words = copy(self.page(Space::Buckets, slot.page));
        let sealed: &BucketPage = zerocopy::transmute_ref!(&words);
        if let Err(fault) = check_sealed(sealed, self.shared.seed) {
            self.problem(&name, fault);
            return;
        }
        if bucket_place(self.page(Space::Buckets, slot.page)) != place {
            self.problem(&name, "is in the chain of another bucket");
        }
        let mut contents = Vec::new();
        let page = self.page(Space::Buckets, slot.page);
        let read = BucketWriter::new(page).for_each(|key, content| contents.push((key, *content)));
        if let Err(fault) = read {
            self.problem(&name, fault);
        }
        for (key, content) in contents {
            self.report.keys += 1;
            self.report.values += match content {
                Content::Inline(values) => values.len() as u64,
                Content::Spilled(pointer) => self.check_set(key, &pointer),
            };
        }
    }

    /// A key's set; answers how many values it has.
    fn check_set(&mut self, owner: cidstore_core::E, pointer: &SpillPointer) -> u64 {
        let view = SealedView { shared: self.shared, values: self.shadow(TableKind::Values) };
        let seen = &mut self.sets_seen;
        let checked = valueset::verify(&view, owner, pointer, |logical| {
            seen.insert(logical);
        });
        match checked {
            Ok(report) => report.count,
            Err(fault) => {
                self.problem(format!("value set of {owner}"), fault);
                0
            }
        }
    }

    /// The pages of a numbered table: checksums, and whether something uses each.
    fn check_numbered(&mut self, kind: TableKind, name: &str) {
        for (number, &slot) in self.shadow(kind).slots().iter().enumerate().skip(1) {
            if slot.page == 0 {
                continue;
            }
            let name = format!("{name} {number}");
            let seen = match kind {
                TableKind::Values => {
                    self.check_page(Space::Values, slot, &name);
                    self.sets_seen.contains(&(number as u32))
                }
                _ => self.chains_seen.contains(&(number as u32)),
            };
            let idle = kind == TableKind::Values && self.is_idle_extents(slot.page);
            if !seen && !idle && self.report.problems.is_empty() {
                self.problem(name, "is in the table, but nothing refers to it");
            }
        }
    }

    /// Whether this is a page of extents that waits for its readers, or for the next set, with none in use.
    fn is_idle_extents(&self, page: u32) -> bool {
        let extents = Extents::open(self.page(Space::Values, page));
        extents.is_ok_and(|extents| extents.used() == 0)
    }

    /// A page against the checksum in its parent, and against the list of free pages.
    fn check_page(&mut self, space: Space, slot: TableSlot, name: &str) -> bool {
        self.report.pages_checked += 1;
        let words = copy(self.page(space, slot.page));
        let bytes: &[u8; PAGE_BYTES] = zerocopy::transmute_ref!(&words);
        let found = page_checksum(space, slot.page, bytes);
        let taken = self.checkpointer.files().pages(space).is_taken(slot.page);
        if !taken {
            self.problem(name, "is in use and counts as free");
        }
        let generation = self.page(space, slot.page)[GENERATION_WORD].load(Ordering::Relaxed);
        if generation > self.checkpointer.newest.generation {
            self.problem(name, format!("is of generation {generation}, which is to come"));
        }
        if found != slot.checksum {
            let expected = slot.checksum;
            self.problem(name, format!("checksum {found:#010x}, its table says {expected:#010x}"));
        }
        found == slot.checksum
    }

    fn page(&self, space: Space, page: u32) -> &'a Page {
        match space {
            Space::Values => self.shared.regions.values.page(page),
            _ => self.shared.regions.buckets.page(page),
        }
    }
}

fn copy(page: &Page) -> [u64; PAGE_WORDS] {
    // Relaxed: sealed pages do not change.
    page.each_ref().map(|word| word.load(std::sync::atomic::Ordering::Relaxed))
}

/// Value pages as the last checkpoint wrote them.
struct SealedView<'a> {
    shared: &'a Shared,
    values: &'a ShadowTable,
}

impl SetView for SealedView<'_> {
    fn value_page(&self, logical: u32) -> Option<&Page> {
        let page = self.values.get(logical).page;
        (page != 0).then(|| self.shared.regions.values.page(page))
    }
}
