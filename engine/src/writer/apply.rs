//! Single operations, applied to pages. What they answer depends on the store's content alone, so a replay
//! of the log does what was done before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cidstore_core::E;
use cidstore_core::hash::KeyHash;
use cidstore_core::layout::entry::{ENTRY_WORDS, INLINE_VALUES_MAX, SetReference, SpillPointer};
use cidstore_core::probe;
use cidstore_core::protocol::bucket_write::{Added, BucketWriter, Removed};
use cidstore_core::protocol::content::Content;
use cidstore_core::protocol::extent::Extents;
use cidstore_core::protocol::lookup::View;

use super::buckets::Place;
use super::pages::Pages;
use crate::error::Result;
use crate::shared::Shared;
use crate::space::is_pool;
use crate::space::limbo::Waiting;
use crate::valueset::{self, ExtentAllocator, Insert, Reach, Remove, Sets, ValuePages};

/// One change to one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Adds a pair.
    Insert(E, E),
    /// Removes a pair.
    DeleteValue(E, E),
    /// Removes a key with all its values.
    DeleteKey(E),
}

impl Operation {
    fn key(&self) -> E {
        let (Self::Insert(key, _) | Self::DeleteValue(key, _) | Self::DeleteKey(key)) = *self;
        key
    }
}

/// The writer: pages, extents, counters.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) pages: Pages,
    pub(crate) extents: ExtentAllocator,
    /// All pages of extents have been looked at since the store was opened.
    pub(crate) extents_known: bool,
}

impl Writer {
    fn shared(&self) -> &Arc<Shared> {
        &self.pages.shared
    }

    /// The hash of a key that is about to change.
    fn noted_hash(&self, key: E) -> KeyHash {
        let hash = self.shared().seed.hash(key);
        self.shared().activity.note(hash);
        hash
    }

    fn index_of(&self, hash: KeyHash) -> u32 {
        hash.directory_index(self.shared().tables.depth())
    }

    pub(crate) fn sets(&mut self) -> Sets<'_, Pages> {
        Sets::new(&mut self.pages, &mut self.extents)
    }

    /// Asks for the directory's slot of an operation.
    pub(crate) fn ask_for_slot(&self, operation: &Operation) {
        let hash = self.shared().seed.hash(operation.key());
        self.shared().view().prefetch_slot(self.index_of(hash));
    }

    /// Asks for what tells where in its page an operation has its entry. The directory's slot is loaded here.
    pub(crate) fn ask_for_page(&self, operation: &Operation) {
        let hash = self.shared().seed.hash(operation.key());
        let page = self.pages.bucket_at(self.index_of(hash));
        BucketWriter::new(self.pages.bucket(page)).prefetch();
    }

    /// Asks for the entry of an operation. The page's tags are loaded here. Of a page of the file all is asked for: it will be
    /// checked and copied.
    pub(crate) fn ask_for_entry(&self, operation: &Operation) {
        let hash = self.shared().seed.hash(operation.key());
        let page = self.pages.bucket_at(self.index_of(hash));
        let words = self.pages.bucket(page);
        if is_pool(page) {
            BucketWriter::new(words).prefetch_entry(hash);
        } else {
            words.chunks(ENTRY_WORDS).flat_map(<[_]>::first).for_each(probe::prefetch);
        }
    }

    /// Asks for what tells where the set lies that an operation changes, if it changes one. The entry is loaded here.
    pub(crate) fn ask_for_set_slot(&self, operation: &Operation) -> Option<SpillPointer> {
        let key = operation.key();
        // A damaged page has no set to ask for. The operation will tell.
        let (_, content) = self.look_up(key, self.shared().seed.hash(key)).ok()??;
        let Content::Spilled(set) = content else { return None };
        self.pages.prefetch_value_slot(SetReference::decode(set.reference)?.page);
        Some(set)
    }

    /// Asks for the head of the page that a set lies in, or begins in. The slot is loaded here.
    pub(crate) fn ask_for_set_page(&self, set: &SpillPointer) {
        if let Some(place) = SetReference::decode(set.reference) {
            probe::prefetch(self.pages.page(place.page));
        }
    }

    /// Asks for a small set. The page's head, which tells where in it the set lies, is loaded here.
    pub(crate) fn ask_for_set(&self, set: &SpillPointer) {
        if let Some(SetReference { page, extent: Some(index) }) =
            SetReference::decode(set.reference)
            && let Ok(extents) = Extents::open(self.pages.page(page))
            && let Ok(extent) = extents.extent(index)
        {
            extent.prefetch(set.value_count as usize + 1);
        }
    }

    /// Applies one operation; answers how many pairs came or went.
    pub(crate) fn apply(&mut self, operation: Operation) -> Result<u64> {
        match operation {
            Operation::Insert(key, value) => self.insert(key, value).map(u64::from),
            Operation::DeleteValue(key, value) => self.delete_value(key, value).map(u64::from),
            Operation::DeleteKey(key) => self.delete(key),
        }
    }

    /// Finds a key and what it has.
    pub(crate) fn look_up(&self, key: E, hash: KeyHash) -> Result<Option<(Place, Content)>> {
        let found = self.pages.find(self.index_of(hash), key, hash)?;
        let Some(place) = found else { return Ok(None) };
        let page = self.pages.link_page(place.link);
        let content = BucketWriter::new(self.pages.bucket(page)).content(&place.located);
        Ok(Some((place, content)))
    }

    /// Adds a pair; true if it is new.
    pub(crate) fn insert(&mut self, key: E, value: E) -> Result<bool> {
        let hash = self.noted_hash(key);
        // Each turn either finishes or makes room; splits are bounded by the depth limit, and after that a
        // relaid chain has room in each page.
        loop {
            let done = match self.look_up(key, hash)? {
                None => self.insert_key(key, hash, value)?,
                Some((place, Content::Inline(values))) => {
                    if values.as_slice().contains(&value) {
                        return Ok(false);
                    }
                    self.insert_inline(place, key, hash, value, values.as_slice())?
                }
                Some((place, Content::Spilled(pointer))) => {
                    match self.sets().insert(key, &pointer, value).map_err(|f| self.set_fault(f))? {
                        Insert::Present => return Ok(false),
                        Insert::Added(pointer) => {
                            self.update_pointer(place, pointer);
                            true
                        }
                        Insert::Full => {
                            self.relocate_set(place, key, hash, &pointer)?;
                            false
                        }
                    }
                }
            };
            if done {
                add(&self.shared().counters.values, 1);
                return Ok(true);
            }
        }
    }

    /// Adds a key that is not there; false if room had to be made first.
    fn insert_key(&mut self, key: E, hash: KeyHash, value: E) -> Result<bool> {
        let index = self.index_of(hash);
        let Some(link) = self.pages.link_with_room(index, 1) else {
            self.pages.make_room(index)?;
            return Ok(false);
        };
        let page = self.pages.link_for_change(link);
        if self.pages.bucket_writer(page).insert_new(key, hash, value).is_err() {
            unreachable!("the page had a free position");
        }
        add(&self.shared().counters.keys, 1);
        Ok(true)
    }

    /// Adds a value to a key with inline values; false if room had to be made or the key was promoted.
    fn insert_inline(
        &mut self,
        place: Place,
        key: E,
        hash: KeyHash,
        value: E,
        values: &[E],
    ) -> Result<bool> {
        if values.len() == INLINE_VALUES_MAX {
            if self.pages.free_positions(place.link) == 0 {
                self.pages.make_room(self.index_of(hash))?;
                return Ok(false);
            }
            // The set holds the same four values first (R4); the fifth comes in the caller's next turn.
            let pointer = self.sets().create(key, values);
            self.move_to_set(place, key, hash, pointer);
            self.shared().events.promotions.add(1);
            return Ok(false);
        }
        let page = self.pages.link_for_change(place.link);
        match self.pages.bucket_writer(page).add_value(&place.located, key, hash, value) {
            Ok(Added::Added) => Ok(true),
            Ok(Added::Present | Added::NeedsSet) => {
                unreachable!("the content was looked at before")
            }
            Err(_full) => {
                self.pages.make_room(self.index_of(hash))?;
                Ok(false)
            }
        }
    }

    /// Gives a full set a larger place, with the same values.
    fn relocate_set(
        &mut self,
        place: Place,
        key: E,
        hash: KeyHash,
        pointer: &SpillPointer,
    ) -> Result<()> {
        if self.pages.free_positions(place.link) == 0 {
            return self.pages.make_room(self.index_of(hash));
        }
        let moved = self.sets().relocate(key, pointer).map_err(|f| self.set_fault(f))?;
        self.move_to_set(place, key, hash, moved);
        self.sets().retire_set(key, pointer).map_err(|f| self.set_fault(f))
    }

    /// Moves a key's entry to one with this pointer; the page has a free position.
    pub(crate) fn move_to_set(
        &mut self,
        place: Place,
        key: E,
        hash: KeyHash,
        pointer: SpillPointer,
    ) {
        let page = self.pages.link_for_change(place.link);
        if self.pages.bucket_writer(page).move_to_set(&place.located, key, hash, pointer).is_err() {
            unreachable!("the page had a free position");
        }
    }

    /// Writes the counters of a pointer whose set changed in place.
    fn update_pointer(&mut self, place: Place, pointer: SpillPointer) {
        let page = self.pages.link_for_change(place.link);
        self.pages.bucket_writer(page).set_pointer(&place.located, pointer);
    }

    /// Removes a key; answers how many values went.
    pub(crate) fn delete(&mut self, key: E) -> Result<u64> {
        let hash = self.noted_hash(key);
        let Some((place, content)) = self.look_up(key, hash)? else { return Ok(0) };
        let gone = match &content {
            Content::Inline(values) => values.len() as u64,
            Content::Spilled(pointer) => {
                self.sets().count(pointer).map_err(|f| self.set_fault(f))?
            }
        };
        self.remove_entry(place, hash)?;
        if let Content::Spilled(pointer) = &content {
            self.sets().retire_set(key, pointer).map_err(|f| self.set_fault(f))?;
        }
        subtract(&self.shared().counters.values, gone);
        Ok(gone)
    }

    /// Removes a pair; true if it was there.
    pub(crate) fn delete_value(&mut self, key: E, value: E) -> Result<bool> {
        let hash = self.noted_hash(key);
        let Some((place, content)) = self.look_up(key, hash)? else { return Ok(false) };
        match content {
            Content::Inline(values) => {
                if !values.as_slice().contains(&value) {
                    return Ok(false);
                }
                let page = self.pages.link_for_change(place.link);
                let removed = self.pages.bucket_writer(page).remove_value(&place.located, value);
                if removed == Removed::RemovedLast {
                    subtract(&self.shared().counters.keys, 1);
                    self.merge_after_removal(hash)?;
                }
            }
            Content::Spilled(pointer) => {
                match self.sets().remove(key, &pointer, value).map_err(|f| self.set_fault(f))? {
                    Remove::Absent => return Ok(false),
                    Remove::Removed(left) => {
                        if self.sets().count(&left).map_err(|f| self.set_fault(f))? == 0 {
                            self.remove_entry(place, hash)?;
                            self.retire_or_leave(key, &left);
                        } else {
                            self.update_pointer(place, left);
                        }
                    }
                }
            }
        }
        subtract(&self.shared().counters.values, 1);
        Ok(true)
    }

    /// Removes a key's entries and looks whether its bucket can merge.
    fn remove_entry(&mut self, place: Place, hash: KeyHash) -> Result<()> {
        let page = self.pages.link_for_change(place.link);
        self.pages.bucket_writer(page).remove_key(&place.located);
        subtract(&self.shared().counters.keys, 1);
        self.merge_after_removal(hash)
    }

    fn merge_after_removal(&mut self, hash: KeyHash) -> Result<()> {
        let index = self.index_of(hash);
        if self.pages.is_sparse(index) {
            self.pages.merge_if_sparse(index)?;
        }
        Ok(())
    }

    /// Brings a set of at most four values back inline; true if it did.
    pub(crate) fn demote(&mut self, key: E) -> Result<bool> {
        let hash = self.shared().seed.hash(key);
        loop {
            let Some((place, Content::Spilled(pointer))) = self.look_up(key, hash)? else {
                return Ok(false);
            };
            let count = self.sets().count(&pointer).map_err(|f| self.set_fault(f))?;
            if count > INLINE_VALUES_MAX as u64 {
                return Ok(false);
            }
            let positions = count.div_ceil(2) as usize;
            if self.pages.free_positions(place.link) < positions {
                self.pages.make_room(self.index_of(hash))?;
                continue;
            }
            let mut values = Vec::new();
            self.sets().collect(&pointer, &mut values).map_err(|f| self.set_fault(f))?;
            let page = self.pages.link_for_change(place.link);
            if self
                .pages
                .bucket_writer(page)
                .move_inline(&place.located, key, hash, &values)
                .is_err()
            {
                unreachable!("the page had free positions");
            }
            self.sets().retire_set(key, &pointer).map_err(|f| self.set_fault(f))?;
            self.shared().events.demotions.add(1);
            return Ok(true);
        }
    }

    /// Sorts a set and drops its tombstones; true if something changed.
    pub(crate) fn compact_set(&mut self, key: E) -> Result<bool> {
        let hash = self.shared().seed.hash(key);
        let Some((place, Content::Spilled(pointer))) = self.look_up(key, hash)? else {
            return Ok(false);
        };
        let compacted = self.sets().compact(key, &pointer).map_err(|f| self.set_fault(f))?;
        let Some(new) = compacted else { return Ok(false) };
        self.replace_set(place, key, hash, &pointer, new).map(|()| true)
    }

    /// Lets a key's entry name a set that was made of its old one. A bucket that is full is built anew: tidying is no reason
    /// to split it.
    fn replace_set(
        &mut self,
        place: Place,
        key: E,
        hash: KeyHash,
        old: &SpillPointer,
        new: SpillPointer,
    ) -> Result<()> {
        if self.pages.free_positions(place.link) > 0 {
            self.move_to_set(place, key, hash, new);
        } else {
            self.pages.rebuild_with_set(self.index_of(hash), key, new)?;
        }
        self.sets().retire_set(key, old).map_err(|f| self.set_fault(f))
    }

    /// Compacts the part of a large set that begins at `bound`; answers where the next part begins.
    pub(crate) fn compact_set_step(&mut self, key: E, bound: E) -> Result<Option<E>> {
        let hash = self.shared().seed.hash(key);
        match self.look_up(key, hash)? {
            Some((_, Content::Spilled(pointer))) => {
                let next = self.sets().compact_step(key, &pointer, bound);
                next.map_err(|fault| self.set_fault(fault))
            }
            _ => Ok(None),
        }
    }

    /// Moves a set to another page if it is still this key's; true if it was.
    pub(crate) fn move_set(&mut self, key: E, set: SetReference) -> Result<bool> {
        let hash = self.shared().seed.hash(key);
        let Some((place, Content::Spilled(pointer))) = self.look_up(key, hash)? else {
            return Ok(false);
        };
        if pointer.reference != set.encode() {
            return Ok(false);
        }
        let moved = self.sets().relocate(key, &pointer).map_err(|f| self.set_fault(f))?;
        self.replace_set(place, key, hash, &pointer, moved).map(|()| true)
    }

    /// Frees a set that was emptied value by value. Only the way to each value was looked at before it was logged: if something else
    /// of the set is damaged, its pages stay taken, which harms nobody.
    fn retire_or_leave(&mut self, key: E, set: &SpillPointer) {
        let retired = self
            .check_set(key, set, Reach::Nodes)
            .and_then(|()| self.sets().retire_set(key, set).map_err(|fault| self.set_fault(fault)));
        if let Err(fault) = retired {
            tracing::warn!(%fault, %key, "the pages of an empty set stay taken");
        }
    }

    /// Values and tombstones of a set.
    pub(crate) fn set_counts(&self, pointer: &SpillPointer) -> Result<(u64, u64)> {
        let view = self.pages.shared.view();
        let values = valueset::count(&view, pointer.reference);
        let tombstones = valueset::tombstones(&view, pointer.reference);
        match values.and_then(|values| Ok((values, tombstones?))) {
            // The key goes with the last value of its set.
            Ok((0, _)) => Err(self.set_fault("a value set has no values")),
            counts => counts.map_err(|fault| self.set_fault(fault)),
        }
    }

    /// Names a damaged set.
    pub(crate) fn set_fault(&self, fault: impl std::fmt::Display) -> crate::Error {
        self.shared().corrupt(fault.to_string())
    }

    /// Frees what can be freed, and lets the extent allocator have its share.
    pub(crate) fn collect(&mut self, held_too: bool) {
        if held_too {
            self.pages.collect_held();
        } else {
            self.pages.collect();
        }
        self.take_extents_back();
    }

    /// Frees at most so many things that no reader needs any more. Answers whether there is more.
    pub(crate) fn collect_some(&mut self, count_max: usize) -> bool {
        let more = self.pages.collect_some(count_max);
        self.take_extents_back();
        more
    }

    /// Forgets snapshots that were dropped since the last write, and frees some of what only they needed.
    pub(crate) fn collect_after_snapshots(&mut self) {
        if self.pages.tables.has_dropped() {
            self.pages.tables.forget_dropped();
            self.pages.limbo.snapshot_went();
        }
        let held = self.pages.limbo.take_some_held();
        self.free(&held);
    }

    /// Frees each of these that no snapshot or superblock needs, and holds the others.
    pub(crate) fn free(&mut self, things: &[Waiting]) {
        self.pages.free_or_hold(things);
        self.take_extents_back();
    }

    fn take_extents_back(&mut self) {
        for extent in std::mem::take(&mut self.pages.extents_back) {
            self.extents.extent_returned(&mut self.pages, extent);
        }
    }
}

fn add(counter: &AtomicU64, amount: u64) {
    // Relaxed: a count that readers may see a little early or late; the writer alone changes it.
    counter.store(counter.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
}

fn subtract(counter: &AtomicU64, amount: u64) {
    // Relaxed: as in `add`.
    counter.store(counter.load(Ordering::Relaxed).saturating_sub(amount), Ordering::Relaxed);
}
