//! Changing a bucket page in place: the one writer's half of the page protocol.
//!
//! A [`BucketWriter`] may exist only for a page that was built or copied in the current generation,
//! and only one at a time: the holder of the writer lock makes it. Readers may look at the page all
//! the while. Each method leaves the page as it was if it fails, and publishes its change in the order
//! that rules R1 to R5 of `docs/design.md` ask for; the model checker runs these very methods.
//!
//! A page that nobody stores to may be looked at through a writer by anyone.
//!
//! A [`Located`] says where a key is as of now; any change of the page uses it up.
//!
//! The writer's loads are Relaxed: its own stores are the only ones, and those of earlier holders came
//! to it with the writer lock.

use core::sync::atomic::Ordering;

use super::content::{Content, InlineValues};
use super::draft::Draft;
use super::entry::{
    Meta, Positions, State, all_positions, entry_line, header_line, tag_line, tagged,
};
use super::fault::{Fault, PageFull};
use super::word::Word;
use crate::entity::E;
use crate::hash::KeyHash;
use crate::layout::bucket::{
    COUNTS_WORD, GENERATION_WORD, KIND_WORD, OVERFLOW_WORD, PREFIX_WORD, SEQUENCE_WORD,
    UNSORTED_WORD, entries_in,
};
use crate::layout::entry::{
    ENTRY_WORDS, EntryFlags, HashEntry, INLINE_VALUES_MAX, KEY_HIGH_WORD, KEY_LOW_WORD, META_WORD,
    SLOTS_WORD, SpillPointer,
};
use crate::probe;

/// Where a key's entries are. Holds until the next change of the page.
#[derive(Clone, Copy, Debug)]
pub struct Located {
    primary: u8,
    second: Option<u8>,
    pub(super) primary_state: State,
    pub(super) second_state: State,
}

impl Located {
    /// Nowhere.
    pub(super) const NOWHERE: Self =
        Self { primary: 0, second: None, primary_state: State::DEAD, second_state: State::DEAD };

    /// Position of the key's first or only entry.
    #[must_use]
    pub const fn primary(&self) -> usize {
        self.primary as usize
    }

    /// Position of its second.
    #[must_use]
    pub fn second(&self) -> Option<usize> {
        self.second.map(usize::from)
    }

    /// Whether the key's values lie in a set of their own.
    #[must_use]
    pub const fn is_spilled(&self) -> bool {
        self.primary_state.is_spilled()
    }
}

/// What [`BucketWriter::add_value`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// Nothing: the value was there.
    Present,
    /// The value is new and in the page.
    Added,
    /// Nothing: the key has four values here, or already a set.
    NeedsSet,
}

/// What [`BucketWriter::remove_value`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// Nothing: the value was not among the inline values.
    Absent,
    /// The value is gone; the key has others.
    Removed,
    /// The value is gone and with it the key.
    RemovedLast,
}

/// The right to change a page in place. See the module's description.
#[derive(Debug)]
pub struct BucketWriter<'a, W, const WORDS: usize> {
    page: &'a [W; WORDS],
}

impl<'a, W: Word, const WORDS: usize> BucketWriter<'a, W, WORDS> {
    /// A writer for a page that nobody else stores to.
    #[inline]
    pub const fn new(page: &'a [W; WORDS]) -> Self {
        Self { page }
    }

    /// Brings near what every change looks at first: the header, and the tags, for
    /// [`prefetch_entry`](Self::prefetch_entry) a few changes later.
    #[inline]
    pub fn prefetch(&self) {
        probe::prefetch(header_line(self.page));
        probe::prefetch(tag_line(self.page));
    }

    /// Brings near the first entry with the key's tag, or the one that the key would be put in.
    #[inline]
    pub fn prefetch_entry(&self, hash: KeyHash) {
        let home = hash.home(entries_in(WORDS));
        let entry = Positions::all(tagged(self.page, hash.tag()))
            .next()
            .or_else(|| Positions::from_home(self.free_mask(), home).next());
        if let Some(position) = entry {
            probe::prefetch(entry_line(self.page, position));
        }
    }

    /// Brings near all entries, for who will look at them one after the other.
    #[inline]
    pub(super) fn prefetch_entries(&self) {
        let taken = all_positions(WORDS) & !self.free_mask();
        Positions::all(taken).for_each(|position| {
            probe::prefetch(entry_line(self.page, position));
        });
    }

    /// Finds the entries of a key.
    ///
    /// # Errors
    ///
    /// [`Fault`] if they are damaged.
    pub fn locate(&self, key: E, hash: KeyHash) -> Result<Option<Located>, Fault> {
        self.locate_by_tag(key, hash.tag())
    }

    fn locate_by_tag(&self, key: E, tag: u8) -> Result<Option<Located>, Fault> {
        let mut primary = None;
        let mut second = None;
        for position in Positions::all(tagged(self.page, tag)) {
            if self.key_at(position) != key {
                continue;
            }
            let state = self.state_at(position)?;
            if !state.is_live() {
                continue;
            }
            let twin = if state.is_second() { &mut second } else { &mut primary };
            if twin.replace((position, state)).is_some() {
                return Err(Fault::Malformed { index: position as u8 });
            }
        }
        match (primary, second) {
            (None, None) => Ok(None),
            (None, Some((position, _))) => Err(Fault::Malformed { index: position as u8 }),
            (Some((position, state)), second) => {
                let index = position as u8;
                match (state.has_second(), second) {
                    (true, None) => return Err(Fault::SecondMissing { index }),
                    (false, Some(_)) => return Err(Fault::Malformed { index }),
                    _ => {}
                }
                Ok(Some(Located {
                    primary: index,
                    second: second.map(|(position, _)| position as u8),
                    primary_state: state,
                    second_state: second.map_or(State::DEAD, |(_, state)| state),
                }))
            }
        }
    }

    /// What the page says about a key.
    #[must_use]
    pub fn content(&self, at: &Located) -> Content {
        if at.is_spilled() {
            return Content::Spilled(SpillPointer::from_slots(self.slots_at(at.primary())));
        }
        let first = self.values_at(at.primary(), at.primary_state);
        Content::Inline(match at.second() {
            Some(second) => first.joined(self.values_at(second, at.second_state)),
            None => first,
        })
    }

    /// The entry at a position below [`entries_in`] as it lies there, dead or live.
    #[must_use]
    pub fn entry(&self, position: usize) -> HashEntry {
        let words: [u64; ENTRY_WORDS] =
            entry_line(self.page, position).each_ref().map(|word| word.load(Ordering::Relaxed));
        zerocopy::transmute!(words)
    }

    /// Calls `visit` for each key of the page, in the order of positions.
    ///
    /// # Errors
    ///
    /// The first [`Fault`] met.
    pub fn for_each(&self, mut visit: impl FnMut(E, &Content)) -> Result<(), Fault> {
        self.for_each_located(|key, located| visit(key, &self.content(located)))
    }

    /// As [`for_each`](Self::for_each), of where the keys' entries are.
    #[inline]
    pub(super) fn for_each_located(&self, mut visit: impl FnMut(E, &Located)) -> Result<(), Fault> {
        for position in Positions::all(all_positions(WORDS) & !self.free_mask()) {
            let state = self.state_at(position)?;
            if !state.is_primary() {
                continue;
            }
            let key = self.key_at(position);
            let tag = self.tag_at(position);
            let located = if tagged(self.page, tag) == 1 << position && !state.has_second() {
                // Most keys: no other entry can be theirs.
                Some(Located { primary: position as u8, primary_state: state, ..Located::NOWHERE })
            } else {
                self.locate_by_tag(key, tag)?
            };
            match located {
                Some(located) if located.primary() == position => visit(key, &located),
                _ => return Err(Fault::Malformed { index: position as u8 }),
            }
        }
        Ok(())
    }

    /// Positions that hold nothing.
    #[must_use]
    pub fn free_positions(&self) -> usize {
        self.free_mask().count_ones() as usize
    }

    /// Adds a key that is not there, with one value.
    ///
    /// # Errors
    ///
    /// [`PageFull`] if no position is free.
    pub fn insert_new(&self, key: E, hash: KeyHash, value: E) -> Result<(), PageFull> {
        self.insert_content(key, hash, &Content::Inline(InlineValues::one(value)))
    }

    /// Adds a key that is not there, with all it has. Inline values without a value add nothing.
    ///
    /// # Errors
    ///
    /// [`PageFull`] if fewer than [`Content::entries`] positions are free.
    pub fn insert_content(&self, key: E, hash: KeyHash, content: &Content) -> Result<(), PageFull> {
        if content.entries() == 0 {
            return Ok(());
        }
        let free = self.free_mask();
        if (free.count_ones() as usize) < content.entries() {
            return Err(PageFull);
        }
        let (first, second) = Draft::of(content);
        let home = hash.home(entries_in(WORDS));
        let primary = Positions::from_home(free, home).next().ok_or(PageFull)?;
        if let Some(second) = second {
            // The second first: whoever sees the first finds it. (R5)
            let position =
                Positions::from_home(free & !(1 << primary), primary).next().ok_or(PageFull)?;
            self.place(position, key, hash, &second);
        }
        self.place(primary, key, hash, &first);
        Ok(())
    }

    /// Adds a value to a key.
    ///
    /// # Errors
    ///
    /// [`PageFull`] if it is the key's third and no position is free for a second entry.
    pub fn add_value(
        &self,
        at: &Located,
        key: E,
        hash: KeyHash,
        value: E,
    ) -> Result<Added, PageFull> {
        let Content::Inline(values) = self.content(at) else { return Ok(Added::NeedsSet) };
        if values.as_slice().contains(&value) {
            return Ok(Added::Present);
        }
        if values.len() == INLINE_VALUES_MAX {
            return Ok(Added::NeedsSet);
        }
        if at.primary_state.slots() != 3 {
            self.fill_slot(at.primary(), at.primary_state, value);
        } else if let Some(second) = at.second() {
            self.fill_slot(second, at.second_state, value);
        } else {
            let position =
                Positions::from_home(self.free_mask(), at.primary()).next().ok_or(PageFull)?;
            let flags = EntryFlags::LIVE | EntryFlags::IS_SECOND;
            self.place(position, key, hash, &Draft::half(&[value], 2, flags));
            let state = at.primary_state;
            let flags = state.flags | EntryFlags::HAS_SECOND;
            self.publish(at.primary(), State { flags, ..state });
        }
        Ok(Added::Added)
    }

    /// Removes an inline value of a key. A spilled key has none.
    pub fn remove_value(&self, at: &Located, value: E) -> Removed {
        if at.is_spilled() {
            return Removed::Absent;
        }
        if let Some(slot) = self.slot_of(at.primary(), at.primary_state, value) {
            let state = at.primary_state;
            let mask = state.mask & !(1 << slot);
            if mask == 0 && at.second().is_none() {
                self.remove_key(at);
                return Removed::RemovedLast;
            }
            self.publish(at.primary(), State { mask, ..state });
            return Removed::Removed;
        }
        let Some(second) = at.second() else { return Removed::Absent };
        let state = at.second_state;
        let Some(slot) = self.slot_of(second, state, value) else { return Removed::Absent };
        let mask = state.mask & !(4 << slot);
        if mask != 0 {
            self.publish(second, State { mask, ..state });
            return Removed::Removed;
        }
        if at.primary_state.mask == 0 {
            self.remove_key(at);
            return Removed::RemovedLast;
        }
        let state = at.primary_state;
        self.publish(at.primary(), State { flags: state.flags & !EntryFlags::HAS_SECOND, ..state });
        self.clear(second);
        Removed::Removed
    }

    /// Removes a key. Returns how many inline values it had: none if it was spilled.
    pub fn remove_key(&self, at: &Located) -> usize {
        let values = at.primary_state.mask.count_ones() + at.second_state.mask.count_ones();
        self.clear(at.primary());
        if let Some(second) = at.second() {
            self.clear(second);
        }
        values as usize
    }

    /// Moves a key to a set of exactly the values it has, or from one place of its set to another. (R4)
    ///
    /// # Errors
    ///
    /// [`PageFull`] if no position is free.
    pub fn move_to_set(
        &self,
        at: &Located,
        key: E,
        hash: KeyHash,
        pointer: SpillPointer,
    ) -> Result<(), PageFull> {
        self.replace(at, key, hash, &Content::Spilled(pointer))
    }

    /// Moves a key's values back from its set: `values` must be exactly those. (R4)
    ///
    /// # Errors
    ///
    /// [`PageFull`] if the free positions do not suffice, or if there are more than four values.
    pub fn move_inline(
        &self,
        at: &Located,
        key: E,
        hash: KeyHash,
        values: &[E],
    ) -> Result<(), PageFull> {
        let values = InlineValues::new(values).ok_or(PageFull)?;
        debug_assert!(!values.is_empty(), "a key without values is removed, not moved");
        self.replace(at, key, hash, &Content::Inline(values))
    }

    /// Updates what the writer knows of a key's set: counts and checksum. The set stays where it is.
    ///
    /// Readers never look at these words, so they are stored in place and nothing is published.
    pub fn set_pointer(&self, at: &Located, pointer: SpillPointer) {
        let line = entry_line(self.page, at.primary());
        let slots = pointer.to_slots();
        debug_assert!(at.is_spilled());
        debug_assert_eq!(line[SLOTS_WORD].load(Ordering::Relaxed), pointer.reference);
        for (word, slot) in line[SLOTS_WORD..].iter().zip(slots).skip(1) {
            word.store(slot, Ordering::Relaxed);
        }
    }

    /// Low hash bits that all keys of the page share.
    #[must_use]
    pub fn local_depth(&self) -> u8 {
        (self.header(KIND_WORD) >> 16) as u8
    }

    /// Those bits.
    #[must_use]
    pub fn prefix(&self) -> u64 {
        self.header(PREFIX_WORD)
    }

    /// The generation in which this copy of the page was built.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.header(GENERATION_WORD)
    }

    /// Overflow-table number of the next page of the chain, 0 for none.
    #[must_use]
    pub fn overflow(&self) -> u32 {
        self.header(OVERFLOW_WORD) as u32
    }

    /// Links the next page of the chain, or with 0 unlinks it. The overflow table must name it by now.
    pub fn set_overflow(&self, logical: u32) {
        // Release: a reader that sees the link sees the table slot behind it.
        header_line(self.page)[OVERFLOW_WORD].store(u64::from(logical), Ordering::Release);
    }

    /// Live entries, second entries included.
    #[must_use]
    pub fn entry_count(&self) -> u16 {
        self.header(COUNTS_WORD) as u16
    }

    /// Live entries that lie in hash order.
    #[must_use]
    pub fn sorted_count(&self) -> u16 {
        (self.header(COUNTS_WORD) >> 16) as u16
    }

    /// The moves that R4 asks for: the new place is visible before the old one goes, and the count of
    /// moves changes in between, so that a reader that saw neither looks again.
    fn replace(
        &self,
        at: &Located,
        key: E,
        hash: KeyHash,
        content: &Content,
    ) -> Result<(), PageFull> {
        self.insert_content(key, hash, content)?;
        let sequence = self.header(SEQUENCE_WORD) as u32;
        // Release: a reader that sees the new count sees the new place's tag.
        header_line(self.page)[SEQUENCE_WORD]
            .store(u64::from(sequence.wrapping_add(1)), Ordering::Release);
        self.remove_key(at);
        Ok(())
    }

    /// Writes an entry to a dead position and makes it visible: words, meta, tag. (R3)
    fn place(&self, position: usize, key: E, hash: KeyHash, draft: &Draft) {
        let line = entry_line(self.page, position);
        // This position was declared dead by an earlier store. A reader that sees one of the words
        // below sees that too, and does not mix them with what was here before. (R2)
        W::fence(Ordering::Release);
        line[KEY_HIGH_WORD].store(key.high, Ordering::Relaxed);
        line[KEY_LOW_WORD].store(key.low, Ordering::Relaxed);
        for (word, &slot) in line[SLOTS_WORD..].iter().zip(&draft.slots).take(draft.slot_count) {
            word.store(slot, Ordering::Relaxed);
        }
        self.publish(position, draft.state);
        self.set_tag(position, hash.tag());
        self.header_store(UNSORTED_WORD, self.header(UNSORTED_WORD) | 1 << position);
        self.header_store(COUNTS_WORD, self.header(COUNTS_WORD) + 1);
    }

    /// Takes an entry away: dead meta, then its tag. (R3)
    fn clear(&self, position: usize) {
        self.publish(position, State::DEAD);
        self.set_tag(position, 0);
        let unsorted = self.header(UNSORTED_WORD);
        let was_sorted = unsorted >> position & 1 == 0;
        self.header_store(UNSORTED_WORD, unsorted & !(1 << position));
        let entries = self.entry_count().saturating_sub(1);
        let sorted = self.sorted_count().saturating_sub(u16::from(was_sorted));
        self.header_store(COUNTS_WORD, u64::from(entries) | u64::from(sorted) << 16);
    }

    /// Adds a value to an entry that has a slot without one.
    fn fill_slot(&self, position: usize, state: State, value: E) {
        let slot = usize::from(state.slots() & 1);
        let word = SLOTS_WORD + VALUE_WORDS * slot;
        let line = entry_line(self.page, position);
        // As in `place`: the slot was declared dead earlier. (R2)
        W::fence(Ordering::Release);
        line[word].store(value.high, Ordering::Relaxed);
        line[word + 1].store(value.low, Ordering::Relaxed);
        let bit = if state.is_second() { 4 << slot } else { 1 << slot };
        self.publish(position, State { mask: state.mask | bit, ..state });
    }

    /// Stores the next meta word of a position.
    fn publish(&self, position: usize, state: State) {
        let word = &entry_line(self.page, position)[META_WORD];
        let version = Meta(word.load(Ordering::Relaxed)).version().wrapping_add(1);
        // Release: a reader that sees this meta sees the words it speaks of, and whatever else was
        // published before.
        word.store(Meta::new(state, version).0, Ordering::Release);
    }

    fn set_tag(&self, position: usize, tag: u8) {
        let word = &tag_line(self.page)[position / 8];
        let shift = position % 8 * 8;
        let others = word.load(Ordering::Relaxed) & !(0xff << shift);
        // Release: a reader that sees a tag sees its entry; one that sees it cleared sees the count of
        // moves that came before.
        word.store(others | u64::from(tag) << shift, Ordering::Release);
    }

    fn tag_at(&self, position: usize) -> u8 {
        (tag_line(self.page)[position / 8].load(Ordering::Relaxed) >> (position % 8 * 8)) as u8
    }

    fn free_mask(&self) -> u64 {
        tagged(self.page, 0)
    }

    pub(super) fn key_at(&self, position: usize) -> E {
        let line = entry_line(self.page, position);
        E::new(
            line[KEY_HIGH_WORD].load(Ordering::Relaxed),
            line[KEY_LOW_WORD].load(Ordering::Relaxed),
        )
    }

    fn state_at(&self, position: usize) -> Result<State, Fault> {
        Meta(entry_line(self.page, position)[META_WORD].load(Ordering::Relaxed))
            .state()
            .map_err(|_| Fault::Uncorrectable { index: position as u8 })
    }

    pub(super) fn slots_at(&self, position: usize) -> [u64; 4] {
        let line = entry_line(self.page, position);
        core::array::from_fn(|slot| line[SLOTS_WORD + slot].load(Ordering::Relaxed))
    }

    fn values_at(&self, position: usize, state: State) -> InlineValues {
        let [a, b, c, d] = self.slots_at(position);
        InlineValues::of_entry(state.slots(), E::new(a, b), E::new(c, d))
    }

    /// Which of an entry's two slots holds this value.
    fn slot_of(&self, position: usize, state: State, value: E) -> Option<u8> {
        let [a, b, c, d] = self.slots_at(position);
        let slots = state.slots();
        if slots & 1 != 0 && value == E::new(a, b) {
            return Some(0);
        }
        (slots & 2 != 0 && value == E::new(c, d)).then_some(1)
    }

    fn header(&self, word: usize) -> u64 {
        header_line(self.page)[word].load(Ordering::Relaxed)
    }

    /// Stores to one of the header's words that only the writer reads.
    fn header_store(&self, word: usize, value: u64) {
        header_line(self.page)[word].store(value, Ordering::Relaxed);
    }
}

/// Words of a value.
const VALUE_WORDS: usize = 2;
