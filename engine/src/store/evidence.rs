//! Whether a page whose flipped bits were turned back says what it must.
//!
//! A checksum that fits again is not enough: garbage may be taken for one flip (`cidstore_core::repair` has the odds). A
//! bucket page must also be sealed soundly and stand where the directory says; a value page must belong to sets whose
//! entries name it and whose hashes are those of all their values.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use cidstore_core::E;
use cidstore_core::layout::bucket::{BucketPage, OVERFLOW_WORD};
use cidstore_core::layout::entry::{SetReference, SpillPointer};
use cidstore_core::layout::table::{TableKind, TableSlot};
use cidstore_core::layout::{PAGE_WORDS, PageKind};
use cidstore_core::protocol::bucket_seal::check_sealed;
use cidstore_core::protocol::bucket_write::BucketWriter;
use cidstore_core::protocol::content::Content;
use cidstore_core::protocol::extent::Extents;
use cidstore_core::protocol::inner::Inner;
use cidstore_core::protocol::leaf::Leaf;

use super::scrubbing::Damaged;
use crate::checkpoint::Checkpointer;
use crate::shared::{Shared, bucket_place};
use crate::sync::{Page, PageWord};
use crate::valueset::{self, SetView};
use crate::writer::pages::slots_of;

/// Extents that one page can have: one bit each.
const EXTENTS_MAX: u8 = 64;

/// The last checkpoint, with some pages as they must have been.
pub(super) struct Evidence<'a> {
    shared: &'a Shared,
    checkpointer: &'a Checkpointer,
    buckets: HashMap<u32, Box<Page>>,
    values: HashMap<u32, Box<Page>>,
}

impl<'a> Evidence<'a> {
    /// The checkpoint as it lies in the file.
    pub(super) fn new(shared: &'a Shared, checkpointer: &'a Checkpointer) -> Self {
        let (buckets, values) = Default::default();
        Self { shared, checkpointer, buckets, values }
    }

    /// Takes these words for a damaged page from here on.
    pub(super) fn suppose(&mut self, page: &Damaged, words: &[u64; PAGE_WORDS]) {
        let words = Box::new(words.map(PageWord::new));
        match page.kind {
            TableKind::Values => self.values.insert(page.index, words),
            TableKind::Directory | TableKind::Overflow => {
                self.buckets.insert(page.slot.page, words)
            }
        };
    }

    /// Takes a damaged page as it is after all.
    pub(super) fn give_up(&mut self, page: &Damaged) {
        self.buckets.remove(&page.slot.page);
    }

    fn slot(&self, kind: TableKind, index: u32) -> TableSlot {
        self.checkpointer.shadows[kind as usize].get(index)
    }

    fn bucket(&self, number: u32) -> &Page {
        match self.buckets.get(&number) {
            Some(page) => page,
            None => self.shared.regions.buckets.page(number),
        }
    }

    /// Whether a supposed bucket page is sound, or why not.
    pub(super) fn check_bucket(
        &self,
        page: &Damaged,
        words: &[u64; PAGE_WORDS],
    ) -> Result<(), String> {
        let sealed: &BucketPage = zerocopy::transmute_ref!(words);
        check_sealed(sealed, self.shared.seed).map_err(|fault| fault.to_string())?;
        let (prefix, local_depth) = bucket_place(self.bucket(page.slot.page));
        if page.kind == TableKind::Directory {
            let depth = self.checkpointer.newest.global_depth;
            let named = |index| self.slot(TableKind::Directory, index).page == page.slot.page;
            let covered = local_depth <= depth
                && prefix == page.index
                && slots_of(prefix, local_depth, depth).all(named);
            let count = directory_slots(self.checkpointer, page.slot.page);
            if !covered || count != 1 << (depth - local_depth) {
                return Err("its header is not that of its directory slots".into());
            }
        } else if !self.is_in_chain(prefix, page.index) {
            return Err("its bucket's chain does not lead to it".into());
        }
        Ok(())
    }

    /// Whether the chain of a bucket leads to an overflow number.
    fn is_in_chain(&self, prefix: u32, number: u32) -> bool {
        let head = self.slot(TableKind::Directory, prefix).page;
        self.chain(head).any(|(link, _)| link == number)
    }

    /// The pages of a chain, each with its overflow number (0 for the head). Ends, on damaged pages too.
    fn chain(&self, head: u32) -> impl Iterator<Item = (u32, &Page)> {
        let mut next = (head != 0).then_some((0, head));
        let pages_max = self.checkpointer.shadows[TableKind::Overflow as usize].len() as usize + 1;
        std::iter::from_fn(move || {
            let (link, number) = next?;
            let page = self.bucket(number);
            let link_on = page[OVERFLOW_WORD].load(Ordering::Relaxed) as u32;
            let page_on = self.slot(TableKind::Overflow, link_on).page;
            next = (link_on != 0 && page_on != 0).then_some((link_on, page_on));
            Some((link, page))
        })
        .take(pages_max)
    }

    /// Whether all sets that a supposed value page has a part of are sound, or why not.
    pub(super) fn check_value_page(&self, logical: u32) -> Result<(), String> {
        let Some(page) = self.value_page(logical) else { return Err("it is not there".into()) };
        let kind = page[0].load(Ordering::Relaxed) as u16;
        if kind != PageKind::Extents as u16 {
            let owner = tree_owner(page).ok_or("it is no page of a set")?;
            return self.check_set(owner, logical, None);
        }
        let extents = Extents::open(page).map_err(|fault| fault.to_string())?;
        for index in (0..EXTENTS_MAX).filter(|index| extents.used() >> index & 1 != 0) {
            let extent = extents.extent(index).map_err(|fault| fault.to_string())?;
            self.check_set(extent.owner(), logical, Some(index))?;
        }
        Ok(())
    }

    /// Whether the set of a key is sound and has this page (this extent of it) as a part.
    fn check_set(&self, owner: E, logical: u32, extent: Option<u8>) -> Result<(), String> {
        let pointer = self.pointer_of(owner).ok_or_else(|| format!("{owner} has no set"))?;
        let named = SetReference { page: logical, extent };
        if extent.is_some() && pointer.reference != named.encode() {
            return Err(format!("the set of {owner} is elsewhere"));
        }
        let mut parts = BTreeSet::new();
        valueset::verify(self, owner, &pointer, |part| _ = parts.insert(part))
            .map_err(|fault| format!("the set of {owner}: {fault}"))?;
        if parts.contains(&logical) {
            return Ok(());
        }
        Err(format!("the set of {owner} does not use it"))
    }

    /// The spill pointer of a key, if it has one.
    fn pointer_of(&self, key: E) -> Option<SpillPointer> {
        let hash = self.shared.seed.hash(key);
        let index = hash.directory_index(self.checkpointer.newest.global_depth);
        let mut found = None;
        for (_, page) in self.chain(self.slot(TableKind::Directory, index).page) {
            // A damaged page of the chain may have the key: then the set is not confirmed.
            BucketWriter::new(page)
                .for_each(|other, content| {
                    if let (true, Content::Spilled(pointer)) = (other == key, content) {
                        found = Some(*pointer);
                    }
                })
                .ok()?;
        }
        found
    }

    /// Which keys a damaged page concerns, for people.
    pub(super) fn concerned(&self, page: &Damaged) -> String {
        let depth = self.checkpointer.newest.global_depth;
        match page.kind {
            TableKind::Directory => {
                let slots = directory_slots(self.checkpointer, page.slot.page).max(1);
                let local_depth = depth.saturating_sub(slots.ilog2());
                bucket_keys(page.index, local_depth)
            }
            TableKind::Overflow => {
                let (prefix, local_depth) = bucket_place(self.bucket(page.slot.page));
                let chain = self.is_in_chain(prefix & ((1 << depth) - 1), page.index);
                let unknown = "some keys of a bucket that cannot be told".into();
                if chain {
                    format!("some of the {}", bucket_keys(prefix, local_depth))
                } else {
                    unknown
                }
            }
            TableKind::Values => self.owners(page.index),
        }
    }

    /// The keys that have values in a damaged value page, as far as their entries confirm it.
    fn owners(&self, logical: u32) -> String {
        let Some(page) = self.value_page(logical) else { return "no key".into() };
        let mut owners = Vec::new();
        if let Ok(extents) = Extents::open(page) {
            let all =
                (0..EXTENTS_MAX).filter_map(|index| Some((index, extents.extent(index).ok()?)));
            owners.extend(all.filter_map(|(index, extent)| {
                let named = SetReference { page: logical, extent: Some(index) }.encode();
                let pointer = self.pointer_of(extent.owner())?;
                (pointer.reference == named).then(|| extent.owner().to_string())
            }));
        } else if let Some(owner) = tree_owner(page).filter(|key| self.pointer_of(*key).is_some()) {
            owners.push(owner.to_string());
        }
        match owners.len() {
            0 => "keys that cannot be told".into(),
            1 => format!("the key {}", owners.concat()),
            count => format!("{count} keys: {}", owners.join(", ")),
        }
    }
}

impl SetView for Evidence<'_> {
    fn value_page(&self, logical: u32) -> Option<&Page> {
        if let Some(page) = self.values.get(&logical) {
            return Some(page);
        }
        let page = self.slot(TableKind::Values, logical).page;
        (page != 0).then(|| self.shared.regions.values.page(page))
    }
}

/// The key that a node or leaf of a large set says it belongs to.
fn tree_owner(page: &Page) -> Option<E> {
    match Leaf::open(page) {
        Ok(leaf) => Some(leaf.owner()),
        Err(_) => Inner::open(page).ok().map(|inner| inner.owner()),
    }
}

/// How many directory slots name a page.
fn directory_slots(checkpointer: &Checkpointer, page: u32) -> u32 {
    let slots = checkpointer.shadows[TableKind::Directory as usize].slots();
    slots.iter().filter(|slot| slot.page == page).count() as u32
}

fn bucket_keys(prefix: u32, local_depth: u32) -> String {
    match local_depth {
        0 => "all keys".into(),
        depth => {
            let digits = depth as usize;
            format!("keys whose hash ends in the {depth} bits {prefix:0digits$b}")
        }
    }
}
