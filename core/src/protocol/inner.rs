//! Inner nodes of large sets: separators and children, replaced whole; only the root's two counters
//! change in place.
//!
//! Everything but the counters is loaded with `Relaxed`: it was stored before the page was published.

use core::sync::atomic::Ordering::Relaxed;

use super::extent::kind_of;
use super::run::as_number;
use super::search::border;
use super::value_fault::ValueFault;
use super::word::Word;
use crate::entity::E;
use crate::layout::value::{
    GENERATION_WORD, INNER_CHILDREN, INNER_CHILDREN_WORD, INNER_SEPARATORS_WORD, KIND_WORD,
};
use crate::layout::{PAGE_WORDS, PageKind};

/// Word of `set_values`.
const SET_VALUES_WORD: usize = 2;
/// Word of `set_tombstones`.
const SET_TOMBSTONES_WORD: usize = 3;
/// First word of `owner`.
const OWNER_WORD: usize = 4;

/// Highest level of an inner node. Nodes that stay a quarter full reach 2^32 pages below it.
pub const INNER_LEVEL_MAX: u8 = 8;

/// An inner node.
#[derive(Debug)]
pub struct Inner<'a, W> {
    words: &'a [W; PAGE_WORDS],
    level: u8,
    child_count: usize,
}

impl<W> Clone for Inner<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Inner<'_, W> {}

/// What [`Inner::build`] writes beside the children.
#[derive(Clone, Copy, Debug)]
pub struct InnerHead {
    /// The key whose set this is.
    pub owner: E,
    /// Generation in which the page is built.
    pub generation: u64,
    /// Distance to the leaves.
    pub level: u8,
    /// Root only: values in the whole set.
    pub set_values: u64,
    /// Root only: tombstones in the whole set.
    pub set_tombstones: u64,
}

/// A child of an inner node: its lower bound and its logical number. The bound of the first child of a
/// node means nothing and is stored as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// Lower bound of the child's values.
    pub separator: E,
    /// Logical number of the child.
    pub page: u32,
}

impl<'a, W: Word> Inner<'a, W> {
    /// Looks at a page that is said to be an inner node.
    ///
    /// # Errors
    ///
    /// [`ValueFault::Kind`], [`ValueFault::Level`] or [`ValueFault::Children`] if it cannot be one.
    #[inline]
    pub fn open(words: &'a [W; PAGE_WORDS]) -> Result<Self, ValueFault> {
        let (kind, word) = kind_of(words);
        if kind != PageKind::Inner as u16 {
            return Err(ValueFault::Kind(kind));
        }
        let level = (word >> 16) as u8;
        if level == 0 || level > INNER_LEVEL_MAX {
            return Err(ValueFault::Level(level));
        }
        let children = (word >> 32) as u32;
        if children == 0 || children as usize > INNER_CHILDREN {
            return Err(ValueFault::Children(children));
        }
        Ok(Self { words, level, child_count: children as usize })
    }

    /// Writer: makes a page of zeros, which no reader knows, the node of these children; what a node has
    /// no room for is left out.
    pub fn build(words: &'a [W; PAGE_WORDS], head: &InnerHead, children: &[Child]) {
        let children = children.get(..INNER_CHILDREN).unwrap_or(children);
        let count = (children.len() as u64) << 32;
        // Relaxed, here and below: who publishes the page number publishes the page.
        words[KIND_WORD]
            .store(PageKind::Inner as u64 | u64::from(head.level) << 16 | count, Relaxed);
        words[GENERATION_WORD].store(head.generation, Relaxed);
        words[SET_VALUES_WORD].store(head.set_values, Relaxed);
        words[SET_TOMBSTONES_WORD].store(head.set_tombstones, Relaxed);
        words[OWNER_WORD].store(head.owner.high, Relaxed);
        words[OWNER_WORD + 1].store(head.owner.low, Relaxed);
        for (index, child) in children.iter().enumerate().skip(1) {
            let at = INNER_SEPARATORS_WORD + index * 2;
            words[at].store(child.separator.high, Relaxed);
            words[at + 1].store(child.separator.low, Relaxed);
        }
        for (index, pair) in children.chunks(2).enumerate() {
            let upper = pair.get(1).map_or(0, |child| u64::from(child.page) << 32);
            let lower = pair.first().map_or(0, |child| u64::from(child.page));
            words[INNER_CHILDREN_WORD + index].store(lower | upper, Relaxed);
        }
    }

    /// Distance to the leaves, from 1 on.
    #[inline]
    #[must_use]
    pub const fn level(&self) -> u8 {
        self.level
    }

    /// Children in use, at least one.
    #[inline]
    #[must_use]
    pub const fn child_count(&self) -> usize {
        self.child_count
    }

    /// The key whose set this is.
    #[must_use]
    pub fn owner(&self) -> E {
        E::new(self.words[OWNER_WORD].load(Relaxed), self.words[OWNER_WORD + 1].load(Relaxed))
    }

    /// Logical number of child `index`; zero if there is none.
    #[inline]
    #[must_use]
    pub fn child(&self, index: usize) -> u32 {
        if index >= self.child_count {
            return 0;
        }
        let word = self.words[INNER_CHILDREN_WORD + index / 2].load(Relaxed);
        (word >> (index % 2 * 32)) as u32
    }

    /// Lower bound of child `index`; zero for child 0 and beyond the children.
    #[inline]
    #[must_use]
    pub fn separator(&self, index: usize) -> E {
        if index >= self.child_count {
            return E::ZERO;
        }
        let at = INNER_SEPARATORS_WORD + index * 2;
        E::new(self.words[at].load(Relaxed), self.words[at + 1].load(Relaxed))
    }

    /// All children, in order.
    pub fn children(self) -> impl Iterator<Item = Child> + use<'a, W> {
        (0..self.child_count)
            .map(move |index| Child { separator: self.separator(index), page: self.child(index) })
    }

    /// Index of the child that covers `value`.
    #[inline]
    #[must_use]
    pub fn route(&self, value: E) -> usize {
        let sought = as_number(value);
        // Child 0 has no separator; each of the others covers what is at or above its own.
        border(self.child_count - 1, |index| as_number(self.separator(index + 1)) <= sought)
    }

    /// Root: values and tombstones in the whole set. Each is exact at some instant; together they need
    /// not be of the same one.
    #[inline]
    #[must_use]
    pub fn set_counts(&self) -> (u64, u64) {
        // Relaxed: counters on their own, they publish nothing.
        let values = self.words[SET_VALUES_WORD].load(Relaxed);
        (values, self.words[SET_TOMBSTONES_WORD].load(Relaxed))
    }

    /// Writer: corrects the root's counters.
    pub fn add_set_counts(&self, values: i64, tombstones: i64) {
        let (old_values, old_tombstones) = self.set_counts();
        let values = old_values.saturating_add_signed(values);
        let tombstones = old_tombstones.saturating_add_signed(tombstones);
        // Relaxed: as above.
        self.words[SET_VALUES_WORD].store(values, Relaxed);
        self.words[SET_TOMBSTONES_WORD].store(tombstones, Relaxed);
    }
}
