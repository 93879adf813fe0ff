//! From pages of the store, where entries lie as they came, to entries in canonical order and form.
//!
//! Both passes go through here with every entry of the store, so entries are neither looked up nor turned into lists of
//! values and back: what is there is copied, and sorted by a single word.

use std::fmt;

use cidstore_core::E;
use cidstore_core::ecc::{self, DECODE, DOUBLE};
use cidstore_core::layout::PAGE_WORDS;
use cidstore_core::layout::bucket::{BucketPage, ENTRIES_PER_BUCKET, TAGS_WORD};
use cidstore_core::layout::entry::{
    EntryFlags, HashEntry, INLINE_VALUES_MAX, SpillPointer, VALUES_PER_ENTRY,
};
use cidstore_core::probe;

/// Version of every canonical entry: its position was published once.
const VERSION: u32 = 1;
/// Lines that are numbered in the bits that sorting leaves free.
const NUMBERED_MAX: usize = 1 << NUMBER_BITS;
const NUMBER_BITS: u32 = 8;
/// Flags of an entry whose values are in a set, and of both entries of a key that has two.
const SPILLED: u8 = EntryFlags::LIVE | EntryFlags::SPILLED;
const FIRST: u8 = EntryFlags::LIVE | EntryFlags::HAS_SECOND;
const SECOND: u8 = EntryFlags::LIVE | EntryFlags::IS_SECOND;

/// What is wrong with the entries of a page or bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineFault {
    /// The state of the entry at this position has two flipped bits.
    Uncorrectable(usize),
    /// The entries of this key contradict each other, or it has no value.
    Malformed(E),
    /// This key is in a bucket that its hash does not lead to.
    Misplaced(E),
}

impl fmt::Display for LineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uncorrectable(position) => {
                write!(f, "the state of entry {position} has two flipped bits")
            }
            Self::Malformed(key) => write!(f, "the entries of key {key} contradict each other"),
            Self::Misplaced(key) => {
                write!(f, "has key {key}, whose hash does not lead to its bucket")
            }
        }
    }
}

/// True if so many values lie in the entries of their key, even if the store has them in a set: one that lost values stays
/// one until it is demoted, and that is not content.
pub(crate) const fn is_inline(values: u64) -> bool {
    values <= INLINE_VALUES_MAX as u64
}

/// Entries of a key that has so many values in a set.
pub(crate) const fn set_entries(values: u64) -> usize {
    if is_inline(values) { (values as usize).div_ceil(VALUES_PER_ENTRY) } else { 1 }
}

/// A live entry of a page.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    pub(crate) key: E,
    /// The entry's own values, or its spill pointer.
    pub(crate) slots: [u64; 4],
    pub(crate) tag: u8,
    flags: u8,
    /// Which of its two values there are: bits 0 and 1.
    valid: u8,
}

impl Line {
    pub(crate) const fn is_spilled(&self) -> bool {
        self.flags & EntryFlags::SPILLED != 0
    }

    /// True for one of the two entries of a key that has two.
    const fn is_paired(&self) -> bool {
        self.flags & (EntryFlags::HAS_SECOND | EntryFlags::IS_SECOND) != 0
    }

    pub(crate) const fn is_second(&self) -> bool {
        self.flags & EntryFlags::IS_SECOND != 0
    }

    /// The values, in the order of the slots.
    pub(crate) fn values(&self) -> impl Iterator<Item = E> + use<> {
        let [a, b, c, d] = self.slots;
        let valid = if self.is_spilled() { 0 } else { self.valid };
        [(1, E::new(a, b)), (2, E::new(c, d))]
            .into_iter()
            .filter(move |(bit, _)| valid & bit != 0)
            .map(|(_, value)| value)
    }

    /// An entry of the same key with at most two values of its own.
    fn with_values(&self, values: &[E], flags: u8) -> Self {
        let value = |at: usize| values.get(at).copied().unwrap_or(E::ZERO);
        let (a, b) = (value(0), value(1));
        let slots = [a.high, a.low, b.high, b.low];
        let valid = (1 << values.len().min(VALUES_PER_ENTRY)) - 1;
        Self { slots, flags, valid, ..*self }
    }
}

/// A bit for each position of a page.
const ALL_POSITIONS: u64 = (1 << ENTRIES_PER_BUCKET) - 1;

/// Calls `each` with the live entries of a page, in the order of positions.
pub(crate) fn for_each_line(
    page: &BucketPage,
    mut each: impl FnMut(Line),
) -> Result<(), LineFault> {
    let words: &[u64; PAGE_WORDS] = zerocopy::transmute_ref!(page);
    let tags = std::array::from_fn(|index| words[TAGS_WORD + index]);
    // Which positions are free follows no pattern: a branch for each would be mistaken for every third.
    let mut taken = !probe::equal(&tags, 0) & ALL_POSITIONS;
    while taken != 0 {
        let position = taken.trailing_zeros() as usize;
        taken &= taken - 1;
        let (entry, tag) = (&page.entries[position], page.tags[position]);
        let mask = DECODE[usize::from(entry.state_mask)];
        let flags = DECODE[usize::from(entry.flags)];
        if (mask | flags) & DOUBLE != 0 {
            return Err(LineFault::Uncorrectable(position));
        }
        if flags & EntryFlags::LIVE == 0 {
            continue;
        }
        let own = if flags & EntryFlags::IS_SECOND != 0 { mask >> 2 } else { mask };
        let (key, slots) = (entry.key(), entry.slots);
        each(Line { key, slots, tag, flags: flags & 15, valid: own & 3 });
    }
    Ok(())
}

/// What a page adds to a plan.
#[derive(Default)]
pub(crate) struct Tally {
    /// Entries that its keys take in a canonical page, but for those that have a set: see [`set_entries`].
    pub(crate) entries: usize,
    /// The value sets of its keys.
    pub(crate) sets: Vec<SpillPointer>,
    /// Halves of keys with two entries, and how many values each has. For reuse.
    halves: Vec<(E, usize)>,
}

impl Tally {
    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.entries = 0;
        self.sets.clear();
    }

    /// Adds the entries of a page.
    pub(crate) fn add(&mut self, page: &BucketPage) -> Result<(), LineFault> {
        self.halves.clear();
        for_each_line(page, |line| {
            if line.is_paired() {
                self.halves.push((line.key, line.valid.count_ones() as usize));
                return;
            }
            if line.is_spilled() {
                self.sets.push(SpillPointer::from_slots(line.slots));
            } else {
                self.entries += 1;
            }
        })?;
        self.halves.sort_unstable_by_key(|half| half.0);
        for key in self.halves.chunk_by(|a, b| a.0 == b.0) {
            let values = key.iter().map(|half| half.1).sum::<usize>();
            self.entries += values.div_ceil(VALUES_PER_ENTRY);
        }
        Ok(())
    }
}

/// The keys of one bucket, on their way into canonical pages.
#[derive(Default)]
pub(crate) struct Lines {
    lines: Vec<Line>,
    /// Numbers of lines, in the order of keys, second entries behind their first.
    order: Vec<u64>,
    /// The result: tags and entries, checksums and the pointers to value sets still to come.
    pub(crate) tags: Vec<u8>,
    pub(crate) entries: Vec<HashEntry>,
}

impl Lines {
    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.lines.clear();
    }

    /// Takes in the entries of a page whose keys `belongs` wants.
    pub(crate) fn add(
        &mut self,
        page: &BucketPage,
        mut belongs: impl FnMut(E) -> bool,
    ) -> Result<(), LineFault> {
        for_each_line(page, |line| {
            if belongs(line.key) {
                self.lines.push(line);
            }
        })
    }

    /// Lays the values of small sets into entries. `values_of` reads them, and answers none for a set that stays one.
    pub(crate) fn inline_sets<X>(
        &mut self,
        mut values_of: impl FnMut(&Line) -> Result<Option<Vec<E>>, X>,
    ) -> Result<(), X> {
        for index in 0..self.lines.len() {
            let line = self.lines[index];
            // Others that say to have a set contradict themselves, which is found when they are settled.
            if (line.flags, line.valid) != (SPILLED, 0) {
                continue;
            }
            let Some(values) = values_of(&line)? else { continue };
            let (low, high) = values.split_at(values.len().min(VALUES_PER_ENTRY));
            let flags = if high.is_empty() { EntryFlags::LIVE } else { FIRST };
            self.lines[index] = line.with_values(low, flags);
            if !high.is_empty() {
                self.lines.push(line.with_values(high, SECOND));
            }
        }
        Ok(())
    }

    /// Brings all entries into canonical order and form; answers how many keys they are.
    pub(crate) fn settle(&mut self) -> Result<u64, LineFault> {
        self.sort();
        self.tags.clear();
        self.entries.clear();
        let mut keys = 0;
        let mut rest = self.order.as_slice();
        let mut previous = None;
        while let [index, after @ ..] = rest {
            let line = &self.lines[*index as usize];
            let next = after.first().map(|index| &self.lines[*index as usize]);
            let second = next.filter(|next| line.is_paired() && next.key == line.key);
            if line.is_second()
                || line.is_paired() != second.is_some()
                || previous == Some(line.key)
            {
                return Err(LineFault::Malformed(line.key));
            }
            match second {
                Some(second) => self.entries.extend(joined(line, second)?),
                None => self.entries.push(single(line)?),
            }
            self.tags.resize(self.entries.len(), line.tag);
            previous = Some(line.key);
            keys += 1;
            rest = &after[usize::from(second.is_some())..];
        }
        Ok(keys)
    }

    /// Sorts by the word of the key in which keys differ, and where that word is the same, by all of it.
    fn sort(&mut self) {
        let Self { lines, order, .. } = self;
        order.clear();
        if lines.len() > NUMBERED_MAX {
            order.extend(0..lines.len() as u64);
            order.sort_unstable_by_key(|&index| rank(&lines[index as usize]));
            return;
        }
        // Numbers as ids have the same upper half, all zeros.
        let use_low = lines.windows(2).all(|pair| pair[0].key.high == pair[1].key.high);
        let word = |line: &Line| if use_low { line.key.low } else { line.key.high };
        const NUMBER: u64 = NUMBERED_MAX as u64 - 1;
        order.extend(lines.iter().zip(0..).map(|(line, index)| word(line) & !NUMBER | index));
        order.sort_unstable();
        for alike in order.chunk_by_mut(|a, b| a >> NUMBER_BITS == b >> NUMBER_BITS) {
            if alike.len() > 1 {
                alike.sort_unstable_by_key(|&index| rank(&lines[(index & NUMBER) as usize]));
            }
        }
        order.iter_mut().for_each(|index| *index &= NUMBER);
    }
}

/// Where a line stands among others.
fn rank(line: &Line) -> (E, bool) {
    (line.key, line.is_second())
}

/// The canonical entry of a key that has one.
fn single(line: &Line) -> Result<HashEntry, LineFault> {
    let [a, b, c, d] = line.slots;
    match (line.flags, line.valid) {
        (SPILLED, 0) => Ok(entry(line.key, line.slots, 0, SPILLED)),
        (EntryFlags::LIVE, 1) => Ok(entry(line.key, [a, b, 0, 0], 1, EntryFlags::LIVE)),
        (EntryFlags::LIVE, 2) => Ok(entry(line.key, [c, d, 0, 0], 1, EntryFlags::LIVE)),
        (EntryFlags::LIVE, 3) => {
            let slots = if (a, b) < (c, d) { line.slots } else { [c, d, a, b] };
            Ok(entry(line.key, slots, 3, EntryFlags::LIVE))
        }
        _ => Err(LineFault::Malformed(line.key)),
    }
}

/// The canonical entries of a key that has two: one, if its values fit that.
fn joined(first: &Line, second: &Line) -> Result<impl Iterator<Item = HashEntry>, LineFault> {
    let malformed = Err(LineFault::Malformed(first.key));
    if (first.flags, second.flags) != (FIRST, SECOND) {
        return malformed;
    }
    let mut values = [E::ZERO; 2 * VALUES_PER_ENTRY];
    let mut count = 0;
    for (place, value) in values.iter_mut().zip(first.values().chain(second.values())) {
        *place = value;
        count += 1;
    }
    values[..count].sort_unstable();
    let [a, b, c, d] = values;
    let low = [a.high, a.low, b.high, b.low];
    let high = [c.high, c.low, d.high, d.low];
    let (one, two) = match count {
        1 => (entry(first.key, low, 1, EntryFlags::LIVE), None),
        2 => (entry(first.key, low, 3, EntryFlags::LIVE), None),
        3 => (entry(first.key, low, 3, FIRST), Some(entry(first.key, high, 4, SECOND))),
        4 => (entry(first.key, low, 3, FIRST), Some(entry(first.key, high, 12, SECOND))),
        _ => return malformed,
    };
    Ok(std::iter::once(one).chain(two))
}

fn entry(key: E, slots: [u64; 4], mask: u8, flags: u8) -> HashEntry {
    HashEntry {
        key_high: key.high,
        key_low: key.low,
        slots,
        state_mask: ecc::encode(mask),
        flags: ecc::encode(flags),
        version: VERSION,
        ..HashEntry::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    use cidstore_core::hash::HashSeed;
    use cidstore_core::protocol::bucket_write::Added;
    use cidstore_core::protocol::bucket_write::BucketWriter;
    use cidstore_core::protocol::content::Content;
    use cidstore_core::protocol::word::Page;
    use proptest::prelude::*;

    use super::*;

    fn copy_of(page: &Page) -> BucketPage {
        let words: [u64; PAGE_WORDS] = page.each_ref().map(|word| word.load(Relaxed));
        zerocopy::transmute!(words)
    }

    /// Values of each key of what was settled, by masks and flags.
    fn settled(lines: &Lines) -> Vec<(E, Vec<E>)> {
        let mut keys: Vec<(E, Vec<E>)> = Vec::new();
        for entry in &lines.entries {
            let mask = ecc::decode(entry.state_mask).nibble().unwrap();
            let [a, b, c, d] = entry.slots;
            let own = [(mask | mask >> 2, E::new(a, b)), ((mask | mask >> 2) >> 1, E::new(c, d))];
            let values = own.into_iter().filter(|(bit, _)| bit & 1 != 0).map(|(_, value)| value);
            match keys.last_mut().filter(|last| last.0 == entry.key()) {
                Some((_, before)) => before.extend(values),
                None => keys.push((entry.key(), values.collect())),
            }
        }
        keys
    }

    proptest! {
        /// The store's own code writes a page and says what is in it: keys come, get values and lose them again.
        #[test]
        fn a_page_is_settled_as_its_writer_reads_it(
            steps in prop::collection::vec((0_u64..90, 0_u64..7), 0..500),
            same_high in any::<bool>(),
        ) {
            let page: Page = [const { AtomicU64::new(0) }; PAGE_WORDS];
            let (writer, seed) = (BucketWriter::new(&page), HashSeed::new(1, 2));
            for (number, value) in steps {
                // Keys that differ in either half, some only in bits that sorting leaves to the second look.
                let high = if same_high { 7 } else { number / 8 };
                let (key, value) = (E::new(high, number * 100), E::new(9 - value, value));
                let hash = seed.hash(key);
                // A full page, or a key with four values: the step does nothing.
                match writer.locate(key, hash).unwrap() {
                    None => drop(writer.insert_new(key, hash, value)),
                    Some(at) if writer.add_value(&at, key, hash, value) == Ok(Added::Present) => {
                        writer.remove_value(&at, value);
                    }
                    Some(_) => {}
                }
            }
            let mut expected = BTreeMap::new();
            let mut entries = 0;
            writer.for_each(|key, content| {
                let Content::Inline(values) = content else { panic!("nothing was spilled") };
                entries += content.entries();
                let mut values = values.as_slice().to_vec();
                values.sort_unstable();
                expected.insert(key, values);
            }).unwrap();
            let page = copy_of(&page);
            let mut tally = Tally::default();
            tally.add(&page).unwrap();
            let mut lines = Lines::default();
            lines.add(&page, |_| true).unwrap();
            prop_assert_eq!(lines.settle().unwrap(), expected.len() as u64);
            prop_assert_eq!((tally.entries, lines.entries.len()), (entries, entries));
            prop_assert_eq!(settled(&lines), expected.into_iter().collect::<Vec<_>>());
        }
    }

    /// More keys than the bits that sorting leaves free can number, in no order.
    #[test]
    fn a_long_chain_is_sorted_too() {
        let mut lines = Lines::default();
        let keys = (0..1000_u64).map(|key| E::new(key * 389 % 1000, 1));
        lines.lines.extend(keys.map(|key| line(key, EntryFlags::LIVE, 1)));
        assert_eq!(lines.settle(), Ok(1000));
        assert!(lines.entries.is_sorted_by_key(HashEntry::key));
    }

    #[test]
    fn small_sets_become_entries() {
        let spilled = line(E::from(5), SPILLED, 0);
        for count in 1..=INLINE_VALUES_MAX as u64 {
            let values: Vec<E> = (0..count).map(E::from).collect();
            let mut lines = Lines { lines: vec![spilled], ..Lines::default() };
            let mut read = |_: &Line| Ok::<_, ()>(Some(values.iter().rev().copied().collect()));
            lines.inline_sets(&mut read).unwrap();
            assert_eq!(lines.settle(), Ok(1));
            assert_eq!(lines.entries.len(), set_entries(count));
            assert_eq!(settled(&lines), [(E::from(5), values)]);
        }
        // One that stays a set, and a set of nothing, which there is not.
        let mut lines = Lines { lines: vec![spilled], ..Lines::default() };
        lines.inline_sets(|_| Ok::<_, ()>(None)).unwrap();
        assert_eq!(lines.settle(), Ok(1));
        lines.inline_sets(|_| Ok::<_, ()>(Some(Vec::new()))).unwrap();
        assert_eq!(lines.settle(), Err(LineFault::Malformed(E::from(5))));
    }

    fn line(key: E, flags: u8, valid: u8) -> Line {
        Line { key, slots: [0, 1, 0, 2], tag: 3, flags, valid }
    }

    #[test]
    fn contradictions_are_found() {
        use EntryFlags as F;
        let key = E::from(5);
        let first = line(key, F::LIVE | F::HAS_SECOND, 3);
        let second = line(key, F::LIVE | F::IS_SECOND, 1);
        let only = line(key, F::LIVE, 1);
        let spilled = line(key, F::LIVE | F::SPILLED | F::HAS_SECOND, 0);
        for wrong in [
            &[first][..],
            &[second],
            &[only, only],
            &[only, second],
            &[first, only],
            &[first, second, second],
            &[first, first, second],
            &[spilled, second],
            &[line(key, F::LIVE, 0)],
        ] {
            let mut lines = Lines { lines: wrong.to_vec(), ..Lines::default() };
            assert_eq!(lines.settle(), Err(LineFault::Malformed(key)));
        }
        let mut lines = Lines { lines: vec![second, first], ..Lines::default() };
        assert_eq!(lines.settle(), Ok(1));
    }
}
