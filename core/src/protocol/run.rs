//! [`Run`]: what extents and leaves have in common, values that are appended and tombstoned in place.
//!
//! A run is a *meta* word, four words of tombstone bits, and positions of two words each:
//!
//! ```text
//!  meta: version (32) | count (16) | sorted (16)
//!  positions   0 ........ sorted ........ count ........ capacity
//!              ascending  |  as they came  |  not yet used
//! ```
//!
//! One writer, any number of readers. Invariants, each the reason why a reader needs no lock:
//! - a position below a published `count` never changes while its page is reachable (V3), so values are
//!   loaded with `Relaxed` after the `Acquire` load of the meta word that told the count;
//! - a tombstone bit is set at most once and never cleared; its store is the deletion (V2);
//! - each change ends with a new version in the meta word, so two equal metas around the tombstone loads
//!   mean that the bits between them are those of one instant.
//!
//! Counts that contradict the page (only a damaged page has them) are a [`ValueFault`], never a panic.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::search::border;
use super::value_fault::ValueFault;
use super::word::Word;
use crate::entity::E;
use crate::probe;

/// Words of tombstone bits in a run.
pub const TOMBSTONE_WORDS: usize = 4;

/// Most positions of any run: one a tombstone bit.
pub const POSITIONS_MAX: usize = TOMBSTONE_WORDS * 64;

/// Positions on a cache line.
const POSITIONS_PER_LINE: usize = 4;

/// Sorted regions shorter than this are scanned: all of them is as quickly looked at as a part.
const BINARY_SEARCH_MIN: usize = 16;

/// The decoded meta word of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunMeta {
    /// Counts the changes of the run.
    pub version: u32,
    /// Positions in use, tombstones included.
    pub count: u16,
    /// Positions from the start that ascend strictly.
    pub sorted: u16,
}

impl RunMeta {
    /// The word that a page stores.
    #[must_use]
    pub const fn encode(self) -> u64 {
        self.version as u64 | (self.count as u64) << 32 | (self.sorted as u64) << 48
    }

    /// Reads the word that a page stores.
    #[must_use]
    pub const fn decode(word: u64) -> Self {
        Self { version: word as u32, count: (word >> 32) as u16, sorted: (word >> 48) as u16 }
    }

    /// The meta word after one more change.
    const fn next(self) -> Self {
        Self { version: self.version.wrapping_add(1), ..self }
    }
}

/// A run's meta and tombstones as they were at one instant.
#[derive(Clone, Copy, Debug)]
pub struct RunState {
    /// The meta word; its counts fit the run.
    pub meta: RunMeta,
    /// One bit a position.
    pub tombstones: [u64; TOMBSTONE_WORDS],
}

impl RunState {
    /// Positions in use, tombstones included.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.meta.count as usize
    }

    /// The live positions of word `word` of the tombstone bits.
    #[must_use]
    fn live_mask(&self, word: usize) -> u64 {
        let used = mask_below(self.count().saturating_sub(word * 64));
        self.tombstones.get(word).map_or(0, |buried| !buried & used)
    }

    /// Values that are there.
    #[must_use]
    pub fn live(&self) -> usize {
        (0..TOMBSTONE_WORDS).map(|word| self.live_mask(word).count_ones() as usize).sum()
    }

    /// Positions whose value was deleted.
    #[must_use]
    pub fn buried(&self) -> usize {
        self.count() - self.live()
    }

    /// Whether position `position` holds a value.
    #[must_use]
    pub fn is_live(&self, position: usize) -> bool {
        self.live_mask(position / 64) >> (position % 64) & 1 == 1
    }

    /// Whether tombstones are set only where there are positions.
    #[must_use]
    pub fn tombstones_in_use(&self) -> bool {
        let each = self.tombstones.iter().enumerate();
        each.fold(0, |stray, (word, bits)| {
            stray | bits & !mask_below(self.count().saturating_sub(word * 64))
        }) == 0
    }
}

/// The lowest `bits` bits.
const fn mask_below(bits: usize) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// A run within a page.
#[derive(Debug)]
pub struct Run<'a, W> {
    meta: &'a W,
    tombstones: &'a [W; TOMBSTONE_WORDS],
    values: &'a [[W; 2]],
}

impl<W> Clone for Run<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Run<'_, W> {}

impl<'a, W: Word> Run<'a, W> {
    /// The run whose parts lie at these words of `words`; its positions go to the end of `words`, or to
    /// the last one that has a tombstone bit.
    #[inline]
    pub(super) fn new(
        words: &'a [W],
        meta_word: usize,
        tombstones_word: usize,
        values_word: usize,
    ) -> Option<Self> {
        let meta = words.get(meta_word)?;
        let tombstones = words.get(tombstones_word..)?.first_chunk()?;
        let (values, _) = words.get(values_word..)?.as_chunks();
        let values = values.get(..POSITIONS_MAX).unwrap_or(values);
        Some(Self { meta, tombstones, values })
    }

    /// Brings all positions near, while the meta word that tells how many count is on its way, too: for those who will
    /// look at most of them.
    #[inline]
    pub fn prefetch(&self) {
        self.prefetch_first(self.values.len());
    }

    /// Brings the first `count` positions near, or all.
    #[inline]
    pub(super) fn prefetch_first(&self, count: usize) {
        let values = self.values.get(..count).unwrap_or(self.values);
        values.chunks(POSITIONS_PER_LINE).flat_map(<[_]>::first).for_each(probe::prefetch);
    }

    /// Positions that the run has.
    #[inline]
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.values.len()
    }

    /// The meta word, its counts checked.
    ///
    /// # Errors
    ///
    /// [`ValueFault::Count`] if the counts do not fit the run.
    #[inline]
    pub fn meta(&self) -> Result<RunMeta, ValueFault> {
        // Acquire: makes the values at positions below the count visible.
        self.check(RunMeta::decode(self.meta.load(Acquire)))
    }

    #[inline]
    fn check(&self, meta: RunMeta) -> Result<RunMeta, ValueFault> {
        if usize::from(meta.count) > self.values.len() {
            return Err(ValueFault::Count(meta.count));
        }
        if meta.sorted > meta.count {
            return Err(ValueFault::Count(meta.sorted));
        }
        Ok(meta)
    }

    /// The meta word and the tombstones at one instant.
    ///
    /// # Errors
    ///
    /// [`ValueFault::Count`] if the counts do not fit the run.
    #[inline]
    pub fn state(&self) -> Result<RunState, ValueFault> {
        loop {
            // Acquire: the values below the count, and the tombstones of all changes up to this version.
            let meta = self.meta.load(Acquire);
            // Acquire: whoever sees a tombstone sees the metas that were stored before it. So a tombstone
            // of a later change than the next cannot hide behind an unchanged meta word below.
            let tombstones = self.tombstones.each_ref().map(|word| word.load(Acquire));
            // Relaxed: ordered after the Acquire loads above.
            if self.meta.load(Relaxed) == meta {
                return Ok(RunState { meta: self.check(RunMeta::decode(meta))?, tombstones });
            }
            W::relax();
        }
    }

    /// The position that holds `value`, if the set has it.
    ///
    /// # Errors
    ///
    /// [`ValueFault::Count`] if the counts do not fit the run.
    #[inline]
    pub fn find(&self, value: E) -> Result<Option<usize>, ValueFault> {
        let meta = self.meta()?;
        let used = self.values.get(..usize::from(meta.count)).unwrap_or_default();
        let sorted = usize::from(meta.sorted);
        let scan_from = if sorted >= BINARY_SEARCH_MIN {
            let sought = as_number(value);
            let position = border(sorted, |position| {
                used.get(position).is_some_and(|words| as_number(load(words)) < sought)
            });
            let found =
                used.get(position).is_some_and(|words| position < sorted && load(words) == value);
            if found && !self.is_buried(position) {
                return Ok(Some(position));
            }
            sorted
        } else {
            0
        };
        Ok(self.scan(used, scan_from, value))
    }

    /// Looks for `value` at positions `from..` of `used`, one by one.
    ///
    /// The lower half is compared first and alone: one load and one well-predicted branch a position.
    #[inline]
    fn scan(&self, used: &[[W; 2]], from: usize, value: E) -> Option<usize> {
        let tail = used.get(from..).unwrap_or_default();
        for (offset, [high, low]) in tail.iter().enumerate() {
            // Relaxed: published by the meta word that told the count.
            if low.load(Relaxed) == value.low
                && high.load(Relaxed) == value.high
                && !self.is_buried(from + offset)
            {
                return Some(from + offset);
            }
        }
        None
    }

    #[inline]
    fn is_buried(&self, position: usize) -> bool {
        // Acquire: who sees the deletion sees what came before it.
        let word = self.tombstones.get(position / 64).map_or(u64::MAX, |word| word.load(Acquire));
        word >> (position % 64) & 1 == 1
    }

    /// The value at a position that a state or meta of this run counts; zero beyond the capacity.
    #[inline]
    #[must_use]
    pub fn value(&self, position: usize) -> E {
        self.values.get(position).map_or(E::ZERO, load)
    }

    /// Gives the live values of `state` to `each`, in the order of their positions.
    #[inline]
    pub fn for_each(&self, state: &RunState, mut each: impl FnMut(E)) {
        for (word, block) in self.values.chunks(64).take(TOMBSTONE_WORDS).enumerate() {
            let mut live = state.live_mask(word);
            let leading = live.trailing_ones() as usize;
            for words in block.iter().take(leading) {
                each(load(words));
            }
            live &= !mask_below(leading);
            while live != 0 {
                if let Some(words) = block.get(live.trailing_zeros() as usize) {
                    each(load(words));
                }
                live &= live - 1;
            }
        }
    }

    /// Copies the live values of `state` to the start of `values`, in the order of their positions, and
    /// tells how many were copied; what `values` has no room for is left out.
    #[inline]
    pub fn copy(&self, state: &RunState, values: &mut [E]) -> usize {
        let room = values.len();
        let mut rest = values.iter_mut();
        for (word, block) in self.values.chunks(64).take(TOMBSTONE_WORDS).enumerate() {
            let live = state.live_mask(word);
            let leading = live.trailing_ones() as usize;
            // The slots second: an iterator that ends takes nothing from the other one.
            for (words, slot) in block.iter().take(leading).zip(&mut rest) {
                *slot = load(words);
            }
            let mut live = live & !mask_below(leading);
            while live != 0 {
                let words = block.get(live.trailing_zeros() as usize);
                if let (Some(words), Some(slot)) = (words, rest.next()) {
                    *slot = load(words);
                }
                live &= live - 1;
            }
        }
        room - rest.len()
    }

    /// Whether `value` would extend the sorted region if it were appended next.
    #[inline]
    #[must_use]
    pub fn extends_sorted(&self, meta: RunMeta, value: E) -> bool {
        let sorted = usize::from(meta.sorted);
        meta.sorted == meta.count && (sorted == 0 || self.value(sorted - 1) < value)
    }

    /// Writer: appends a value that is not there, and says whether there was a position for it (V1).
    ///
    /// # Errors
    ///
    /// [`ValueFault::Count`] if the counts do not fit the run.
    #[inline]
    pub fn append(&self, value: E) -> Result<bool, ValueFault> {
        let meta = self.meta()?;
        let Some(words) = self.values.get(usize::from(meta.count)) else {
            return Ok(false);
        };
        let extends = self.extends_sorted(meta, value);
        store(words, value);
        let next = RunMeta {
            count: meta.count + 1,
            sorted: meta.sorted + u16::from(extends),
            ..meta.next()
        };
        // Release: whoever sees the new count sees the value.
        self.meta.store(next.encode(), Release);
        Ok(true)
    }

    /// Writer: deletes the value at `position` (V2).
    ///
    /// # Errors
    ///
    /// [`ValueFault::Count`] if the run has no such position.
    #[inline]
    pub fn bury(&self, position: usize) -> Result<(), ValueFault> {
        let meta = self.meta()?;
        if position >= usize::from(meta.count) {
            return Err(ValueFault::Count(meta.count));
        }
        if let Some(word) = self.tombstones.get(position / 64) {
            // Relaxed: the writer's own store. Release: whoever sees the bit sees all earlier metas, which
            // `state` relies on.
            word.store(word.load(Relaxed) | 1 << (position % 64), Release);
        }
        // Release: whoever sees the new version sees the bit.
        self.meta.store(meta.next().encode(), Release);
        Ok(())
    }

    /// Writer: makes this the run of `values`, the first `sorted` of them ascending, without tombstones.
    /// No reader may know the run yet. What the run has no room for is left out.
    pub(super) fn fill(&self, version: u32, values: &[E], sorted: usize) {
        for word in self.tombstones {
            // Relaxed, here and below: the store of the meta word publishes.
            word.store(0, Relaxed);
        }
        for (words, value) in self.values.iter().zip(values) {
            store(words, *value);
        }
        let count = values.len().min(self.values.len()) as u16;
        let meta = RunMeta { version, count, sorted: (sorted as u16).min(count) };
        // Release: whoever sees the count sees values and tombstones.
        self.meta.store(meta.encode(), Release);
    }

    /// How many of the first positions ascend strictly, at most `count`.
    #[must_use]
    pub fn ascending(&self, count: usize) -> usize {
        let used = self.values.get(..count).unwrap_or(self.values);
        let descends = used.windows(2).position(|pair| load(&pair[0]) >= load(&pair[1]));
        descends.map_or(used.len(), |last| last + 1)
    }
}

/// Loads a value that a meta word has published.
#[inline(always)]
fn load<W: Word>([high, low]: &[W; 2]) -> E {
    // Relaxed: published by the meta word that told the count.
    E::new(high.load(Relaxed), low.load(Relaxed))
}

/// Stores a value that a meta word will publish.
#[inline(always)]
fn store<W: Word>([high, low]: &[W; 2], value: E) {
    // Relaxed: the Release store of the meta word publishes.
    high.store(value.high, Relaxed);
    low.store(value.low, Relaxed);
}

/// The value as one number: compared in two instructions and no branch.
#[inline(always)]
pub(super) const fn as_number(value: E) -> u128 {
    (value.high as u128) << 64 | value.low as u128
}
