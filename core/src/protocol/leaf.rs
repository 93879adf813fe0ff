//! Leaves of large sets: a [`Run`] with bounds, in a chain that ascends (V4).
//!
//! A leaf covers the values from its lower bound, which it does not store, up to `high`. Bounds, chain
//! and owner never change in place: a leaf that splits, merges or is sorted again is built as a fresh
//! page. A logical number keeps its lower bound for as long as it names a leaf; so a reader that comes
//! late finds the value it looks for here or further to the right, never to the left.

use core::sync::atomic::Ordering::Relaxed;

use super::extent::kind_of;
use super::run::Run;
use super::value_fault::ValueFault;
use super::word::Word;
use crate::entity::E;
use crate::layout::PageKind;
use crate::layout::value::{
    GENERATION_WORD, KIND_WORD, LEAF_HIGH_WORD, LEAF_META_WORD, LEAF_NEXT_WORD, LEAF_OWNER_WORD,
    LEAF_TOMBSTONES_WORD, LEAF_VALUES_WORD,
};

/// Where a leaf ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafEnd {
    /// All values of the leaf are below this one.
    pub high: E,
    /// Logical number of the leaf that goes on from `high`.
    pub next: u32,
}

/// A leaf.
#[derive(Debug)]
pub struct Leaf<'a, W> {
    words: &'a [W],
    run: Run<'a, W>,
}

impl<W> Clone for Leaf<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Leaf<'_, W> {}

impl<'a, W: Word> Leaf<'a, W> {
    /// Looks at a page that is said to be a leaf.
    ///
    /// # Errors
    ///
    /// [`ValueFault::Kind`] if it is not one.
    #[inline]
    pub fn open(words: &'a [W]) -> Result<Self, ValueFault> {
        let (kind, _) = kind_of(words);
        if kind != PageKind::Leaf as u16 {
            return Err(ValueFault::Kind(kind));
        }
        Self::new(words).ok_or(ValueFault::Kind(kind))
    }

    #[inline]
    fn new(words: &'a [W]) -> Option<Self> {
        let run = Run::new(words, LEAF_META_WORD, LEAF_TOMBSTONES_WORD, LEAF_VALUES_WORD)?;
        Some(Self { words, run })
    }

    /// Writer: makes a page of zeros, which no reader knows, the leaf of these ascending values.
    pub fn build(words: &'a [W], head: &LeafHead, values: &[E]) {
        let Some(leaf) = Self::new(words) else { return };
        let bounded = u64::from(head.end.is_some()) << 16;
        let end = head.end.unwrap_or(LeafEnd { high: E::ZERO, next: 0 });
        // Relaxed: who publishes the page number publishes the page.
        for (word, value) in [
            (KIND_WORD, PageKind::Leaf as u64 | bounded),
            (GENERATION_WORD, head.generation),
            (LEAF_NEXT_WORD, u64::from(end.next)),
            (LEAF_HIGH_WORD, end.high.high),
            (LEAF_HIGH_WORD + 1, end.high.low),
            (LEAF_OWNER_WORD, head.owner.high),
            (LEAF_OWNER_WORD + 1, head.owner.low),
        ] {
            if let Some(word) = words.get(word) {
                word.store(value, Relaxed);
            }
        }
        leaf.run.fill(head.version, values, values.len());
    }

    /// The values.
    #[inline]
    #[must_use]
    pub const fn run(&self) -> Run<'a, W> {
        self.run
    }

    /// Where the leaf ends; `None` for the last one of its set.
    #[inline]
    #[must_use]
    pub fn end(&self) -> Option<LeafEnd> {
        if self.load(KIND_WORD) >> 16 & 0xff == 0 {
            return None;
        }
        let high = E::new(self.load(LEAF_HIGH_WORD), self.load(LEAF_HIGH_WORD + 1));
        Some(LeafEnd { high, next: self.load(LEAF_NEXT_WORD) as u32 })
    }

    /// The key whose set this is part of.
    #[must_use]
    pub fn owner(&self) -> E {
        E::new(self.load(LEAF_OWNER_WORD), self.load(LEAF_OWNER_WORD + 1))
    }

    /// Relaxed: what this is used for was stored before the page was published.
    #[inline]
    fn load(&self, word: usize) -> u64 {
        self.words.get(word).map_or(0, |word| word.load(Relaxed))
    }
}

/// What [`Leaf::build`] writes beside the values.
#[derive(Clone, Copy, Debug)]
pub struct LeafHead {
    /// The key whose set this is.
    pub owner: E,
    /// Generation in which the page is built.
    pub generation: u64,
    /// Version that the run starts with.
    pub version: u32,
    /// Where the leaf ends; `None` for the last one.
    pub end: Option<LeafEnd>,
}
