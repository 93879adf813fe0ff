//! Pages of extents: several small sets of one size class side by side, each a [`Run`] with its owner.
//!
//! Readers come through a set reference and touch the kind word and one extent only. The `used` bits and
//! the count of live values are the writer's own. An extent is handed out again only when no reader can
//! hold a reference to its former set; the writer's allocator sees to that.

use core::sync::atomic::Ordering::Relaxed;

use super::run::Run;
use super::value_fault::ValueFault;
use super::word::Word;
use crate::entity::E;
use crate::layout::PageKind;
use crate::layout::value::{
    EXTENT_CAPACITIES, EXTENT_HEADER_WORDS, EXTENT_META_WORD, EXTENT_OWNER_WORD,
    EXTENT_TOMBSTONES_WORD, GENERATION_WORD, KIND_WORD, VALUE_HEADER_WORDS, class_for,
    extent_words, extents_per_page,
};
use crate::probe;

/// Word of `used` in a page of extents.
const USED_WORD: usize = 2;
/// Word of `live_values` (low half) in a page of extents.
const LIVE_WORD: usize = 3;

/// A page of extents.
#[derive(Debug)]
pub struct Extents<'a, W> {
    words: &'a [W],
    class: u8,
}

impl<W> Clone for Extents<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Extents<'_, W> {}

/// The `used` mask of a page of this class when all extents are in use.
#[must_use]
pub const fn full_mask(class: usize) -> u64 {
    (1 << extents_per_page(class)) - 1
}

/// The kind word's low half: the page kind.
#[inline]
pub(super) fn kind_of<W: Word>(words: &[W]) -> (u16, u64) {
    // Relaxed, as all loads of page headers: they were stored before the page was published.
    let word = words.get(KIND_WORD).map_or(0, |word| word.load(Relaxed));
    (word as u16, word)
}

impl<'a, W: Word> Extents<'a, W> {
    /// Makes a page of zeros, which no reader knows, a page of free extents.
    pub fn format(words: &'a [W], class: u8, generation: u64) {
        let kind = PageKind::Extents as u64 | u64::from(class) << 16;
        // Relaxed: who publishes the page number publishes the page.
        for (word, value) in [(KIND_WORD, kind), (GENERATION_WORD, generation)] {
            if let Some(word) = words.get(word) {
                word.store(value, Relaxed);
            }
        }
    }

    /// Looks at a page that is said to be a page of extents.
    ///
    /// # Errors
    ///
    /// [`ValueFault::Kind`] or [`ValueFault::Class`] if it is not one.
    #[inline]
    pub fn open(words: &'a [W]) -> Result<Self, ValueFault> {
        let (kind, word) = kind_of(words);
        if kind != PageKind::Extents as u16 {
            return Err(ValueFault::Kind(kind));
        }
        let class = (word >> 16) as u8;
        if usize::from(class) >= EXTENT_CAPACITIES.len() {
            return Err(ValueFault::Class(class));
        }
        Ok(Self { words, class })
    }

    /// Asks for extent `index` of a page, and for the page's head, at once: as if the page were of the class in which a set of
    /// `count` values most likely lies. If it is not, or the page none of extents, other lines have come in vain.
    #[inline]
    pub fn prefetch_likely(words: &'a [W], index: u8, count: usize) {
        if let Some(class) = class_for(count)
            && let Ok(extent) = (Self { words, class: class as u8 }).extent(index)
        {
            words.first().into_iter().for_each(probe::prefetch);
            extent.prefetch(count);
        }
    }

    /// The size class.
    #[must_use]
    pub const fn class(&self) -> u8 {
        self.class
    }

    /// Extent `index`, used or not.
    ///
    /// # Errors
    ///
    /// [`ValueFault::Extent`] if the page has no such extent.
    #[inline]
    pub fn extent(&self, index: u8) -> Result<Extent<'a, W>, ValueFault> {
        let size = extent_words(usize::from(self.class));
        let from = VALUE_HEADER_WORDS + usize::from(index) * size;
        let words = self.words.get(from..from + size).ok_or(ValueFault::Extent(index))?;
        Extent::new(words).ok_or(ValueFault::Extent(index))
    }

    /// Writer: which extents are in use, one bit each; bits without an extent are masked out.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.load(USED_WORD) & full_mask(usize::from(self.class))
    }

    /// Writer: marks extent `index` as in use or free.
    pub fn set_used(&self, index: u8, used: bool) {
        let bit = 1_u64.checked_shl(u32::from(index)).unwrap_or(0);
        let others = self.load(USED_WORD) & !bit;
        self.store(USED_WORD, if used { others | bit } else { others });
    }

    /// Writer: live values in all extents of the page.
    #[must_use]
    pub fn live_values(&self) -> u32 {
        self.load(LIVE_WORD) as u32
    }

    /// Writer: corrects the count of live values.
    pub fn add_live_values(&self, difference: i32) {
        let live = self.live_values().saturating_add_signed(difference);
        self.store(LIVE_WORD, u64::from(live));
    }

    /// Relaxed, here and in `store`: the writer's own words.
    fn load(&self, word: usize) -> u64 {
        self.words.get(word).map_or(0, |word| word.load(Relaxed))
    }

    fn store(&self, word: usize, value: u64) {
        if let Some(word) = self.words.get(word) {
            word.store(value, Relaxed);
        }
    }
}

/// One extent: a small set.
#[derive(Debug)]
pub struct Extent<'a, W> {
    owner: &'a [W; 2],
    run: Run<'a, W>,
}

impl<W> Clone for Extent<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Extent<'_, W> {}

impl<'a, W: Word> Extent<'a, W> {
    #[inline]
    fn new(words: &'a [W]) -> Option<Self> {
        let owner = words.get(EXTENT_OWNER_WORD..)?.first_chunk()?;
        let run = Run::new(words, EXTENT_META_WORD, EXTENT_TOMBSTONES_WORD, EXTENT_HEADER_WORDS)?;
        Some(Self { owner, run })
    }

    /// The values.
    #[inline]
    #[must_use]
    pub const fn run(&self) -> Run<'a, W> {
        self.run
    }

    /// Brings near its head and its first `count` positions.
    #[inline]
    pub fn prefetch(&self, count: usize) {
        probe::prefetch(self.owner);
        self.run.prefetch_first(count);
    }

    /// The key whose set this is.
    #[must_use]
    pub fn owner(&self) -> E {
        // Relaxed: stored before the set's reference was published.
        let [high, low] = self.owner;
        E::new(high.load(Relaxed), low.load(Relaxed))
    }

    /// Writer: makes the extent, which no reader knows, the set of `values` of `owner`; the first `sorted`
    /// of the values ascend.
    pub fn fill(&self, owner: E, values: &[E], sorted: usize) {
        let [high, low] = self.owner;
        high.store(owner.high, Relaxed);
        // Relaxed: the run's meta, and then the entry that refers to the set, publish.
        low.store(owner.low, Relaxed);
        let version = self.run.meta().map_or(0, |meta| meta.version.wrapping_add(1));
        self.run.fill(version, values, sorted);
    }
}
