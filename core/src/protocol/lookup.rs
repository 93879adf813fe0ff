//! The read path across the tables: from a key to its bucket page and along the chain behind it.
//!
//! Generic over a [`View`] of the tables, so that the same code reads the live store, a snapshot and a
//! model. What the writer must keep so that a lookup is right:
//!
//! - A doubling copies the lower half of the directory to the upper, then publishes the depth. A split
//!   of a bucket that filled the old directory comes after that. So a reader with an old depth that
//!   looks into the lower half of a split bucket sees the new depth when it checks. (R6)
//! - A page that a table slot no longer names is not stored to again (R7), and it, its number and its
//!   logical number keep their meaning as long as a reader that could have seen them is pinned.
//! - A key lies wholly in one page of a chain. In place it moves only *down* a chain: it is inserted into
//!   the later page before it is removed from the earlier one. Whatever moves keys up builds the whole
//!   chain anew, with fresh overflow numbers, and swings the directory slot.

use core::fmt;

use super::bucket_read::{self, Found};
use super::content::InlineValues;
use super::fault::Fault;
use super::tag_copy::TagCopy;
use super::word::Word;
use crate::entity::E;
use crate::hash::KeyHash;
use crate::layout::NO_PAGE;
use crate::layout::entry::SetReference;

/// The tables and pages as a reader sees them: of the live store, or of a snapshot.
pub trait View<const WORDS: usize> {
    /// The words of this view's pages.
    type W: Word;

    /// The hash of a key.
    fn hash_of(&self, key: E) -> KeyHash;

    /// The depth of the directory. An Acquire load: the slots of that depth were set before.
    fn depth(&self) -> u32;

    /// The page that a directory slot names. An Acquire load: the page was built before.
    fn directory_slot(&self, index: u32) -> u32;

    /// Asks for the memory of a directory slot.
    fn prefetch_slot(&self, _index: u32) {}

    /// The page that an overflow-table slot names. An Acquire load: the page was built before.
    fn overflow_slot(&self, logical: u32) -> u32;

    /// The bucket page of this number.
    fn bucket(&self, page: u32) -> &[Self::W; WORDS];

    /// The place for a copy of the page's tags; `None` of a page that may still change, and of no page.
    #[inline(always)]
    fn tag_copy(&self, _page: u32) -> Option<&TagCopy<Self::W>> {
        None
    }
}

/// A set that a key's entry refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundSet {
    /// Where it is.
    pub reference: SetReference,
    /// About how many values it has, or 0: what the writer has noted beside the reference, modulo 2^32. For telling how much
    /// memory to ask for, and nothing else.
    pub likely_count: u32,
}

impl FoundSet {
    fn decode(reference: u64, likely_count: u32) -> Option<Self> {
        Some(Self { reference: SetReference::decode(reference)?, likely_count })
    }
}

/// What the store holds for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These values.
    Inline(InlineValues),
    /// The values of this set.
    Set(FoundSet),
    /// Nothing: the store has no such key.
    Absent,
}

/// Why a lookup has no answer: the store is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LookupFault {
    /// An entry of this key is damaged.
    Entry {
        /// Number of the bucket page.
        page: u32,
        /// What is wrong with it.
        fault: Fault,
    },
    /// An entry of this key points to no possible set.
    Reference {
        /// Number of the bucket page.
        page: u32,
        /// Position of the entry.
        index: u8,
    },
    /// A directory slot names no page.
    NoBucket {
        /// Index of the slot.
        index: u32,
    },
    /// A page names an overflow page that the overflow table does not have.
    NoOverflow {
        /// The overflow-table number.
        logical: u32,
    },
    /// A chain of overflow pages comes back to itself.
    ChainCycle {
        /// An overflow-table number on the cycle.
        logical: u32,
    },
}

impl fmt::Display for LookupFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry { page, fault } => write!(f, "bucket page {page}: {fault}"),
            Self::Reference { page, index } => {
                write!(f, "bucket page {page}: entry {index} points to no possible value set")
            }
            Self::NoBucket { index } => write!(f, "directory slot {index} names no page"),
            Self::NoOverflow { logical } => write!(f, "overflow slot {logical} names no page"),
            Self::ChainCycle { logical } => {
                write!(f, "the chain of overflow page {logical} comes back to itself")
            }
        }
    }
}

impl core::error::Error for LookupFault {}

/// Looks for `key`, whose hash is `hash`.
///
/// The answer was right at one instant between call and return. The caller's pin keeps what a
/// [`SetReference`] names.
///
/// # Errors
///
/// [`LookupFault`] if the tables, the chain or the entry of this key are damaged.
#[inline]
pub fn lookup<const WORDS: usize, V: View<WORDS>>(
    view: &V,
    key: E,
    hash: KeyHash,
) -> Result<Answer, LookupFault> {
    match glance(view, key, hash) {
        Glance::OneValue(value) => Ok(Answer::Inline(InlineValues::one(value))),
        Glance::Set(set) => Ok(Answer::Set(set)),
        Glance::Absent => Ok(Answer::Absent),
        Glance::Unclear => search(view, key, hash),
    }
}

/// What a [`glance`] says about a key.
#[derive(Clone, Copy, Debug)]
pub enum Glance {
    /// It has this one value.
    OneValue(E),
    /// It has the values of this set.
    Set(FoundSet),
    /// It is not there.
    Absent,
    /// Nothing: [`search`] will tell.
    Unclear,
}

/// The answer of a [`lookup`] where one look at a page gives it, as for nearly all keys that have one value or are not there.
///
/// For those who look up often: small enough to stay in registers, where an [`Answer`] must lie in memory.
#[inline(always)]
pub fn glance<const WORDS: usize, V: View<WORDS>>(view: &V, key: E, hash: KeyHash) -> Glance {
    let depth = view.depth();
    let page = view.directory_slot(hash.directory_index(depth));
    if page == NO_PAGE {
        return Glance::Unclear;
    }
    let words = view.bucket(page);
    let found = match view.tag_copy(page) {
        Some(copy) => {
            bucket_read::prefetch_home(words, hash);
            let tagged = copy.tagged(words, hash);
            bucket_read::glance_settled(words, tagged, key)
        }
        None => {
            bucket_read::prefetch(words, hash);
            bucket_read::glance(words, key, hash)
        }
    };
    match found {
        bucket_read::Glance::OneValue(value) => Glance::OneValue(value),
        bucket_read::Glance::Set { reference, likely_count, .. } => {
            FoundSet::decode(reference, likely_count).map_or(Glance::Unclear, Glance::Set)
        }
        // As in `search`: an older depth may have led to the wrong page.
        bucket_read::Glance::Miss if view.depth() == depth => Glance::Absent,
        _ => Glance::Unclear,
    }
}

/// A [`lookup`] for those who had no answer from a [`glance`].
///
/// # Errors
///
/// As [`lookup`].
#[inline]
pub fn search<const WORDS: usize, V: View<WORDS>>(
    view: &V,
    key: E,
    hash: KeyHash,
) -> Result<Answer, LookupFault> {
    let mut depth = view.depth();
    loop {
        let index = hash.directory_index(depth);
        let page = view.directory_slot(index);
        if page == NO_PAGE {
            return Err(LookupFault::NoBucket { index });
        }
        let overflow = match look(view, page, key, hash)? {
            Outcome::Answer(answer) => return Ok(answer),
            Outcome::Miss { overflow } => overflow,
        };
        if let Some(answer) = walk(view, overflow, key, hash)? {
            return Ok(answer);
        }
        // The slot was an Acquire load, so this depth is at least as new as the page that was missed in.
        let depth_now = view.depth();
        if depth_now == depth {
            return Ok(Answer::Absent);
        }
        depth = depth_now;
    }
}

enum Outcome {
    Answer(Answer),
    Miss { overflow: u32 },
}

#[inline(always)]
fn look<const WORDS: usize, V: View<WORDS>>(
    view: &V,
    page: u32,
    key: E,
    hash: KeyHash,
) -> Result<Outcome, LookupFault> {
    let words = view.bucket(page);
    let settled = view.tag_copy(page).map(|copy| copy.tagged(words, hash));
    match bucket_read::search(words, settled, key, hash) {
        Ok(Found::Inline(values)) => Ok(Outcome::Answer(Answer::Inline(values))),
        Ok(Found::Spilled { reference, likely_count, index }) => {
            match FoundSet::decode(reference, likely_count) {
                Some(set) => Ok(Outcome::Answer(Answer::Set(set))),
                None => Err(LookupFault::Reference { page, index }),
            }
        }
        Ok(Found::Miss { overflow }) => Ok(Outcome::Miss { overflow }),
        Err(fault) => Err(LookupFault::Entry { page, fault }),
    }
}

/// Finds out that a chain of overflow pages comes back to itself.
///
/// A chain has no limit (keys with one and the same hash can't be told apart by any split), and its
/// links come from a file. So a cycle is found rather than a length forbidden: a number is remembered
/// for twice as many steps each time, and meeting it again proves a cycle (Brent, 1980).
#[derive(Clone, Copy, Debug)]
pub struct CycleGuard {
    remembered: u32,
    steps_left: u64,
    stride: u64,
}

impl Default for CycleGuard {
    fn default() -> Self {
        Self { remembered: 0, steps_left: 1, stride: 1 }
    }
}

impl CycleGuard {
    /// Notes a step to the page of this overflow-table number, which is not 0.
    ///
    /// # Errors
    ///
    /// [`LookupFault::ChainCycle`] if the chain came by here before.
    #[inline]
    pub fn step(&mut self, logical: u32) -> Result<(), LookupFault> {
        if logical == self.remembered {
            return Err(LookupFault::ChainCycle { logical });
        }
        self.steps_left -= 1;
        if self.steps_left == 0 {
            self.remembered = logical;
            self.stride *= 2;
            self.steps_left = self.stride;
        }
        Ok(())
    }
}

/// Looks for the key in a chain of overflow pages.
#[inline]
fn walk<const WORDS: usize, V: View<WORDS>>(
    view: &V,
    first: u32,
    key: E,
    hash: KeyHash,
) -> Result<Option<Answer>, LookupFault> {
    let mut logical = first;
    let mut guard = CycleGuard::default();
    while logical != 0 {
        guard.step(logical)?;
        let page = view.overflow_slot(logical);
        if page == NO_PAGE {
            return Err(LookupFault::NoOverflow { logical });
        }
        match look(view, page, key, hash)? {
            Outcome::Answer(answer) => return Ok(Some(answer)),
            Outcome::Miss { overflow } => logical = overflow,
        }
    }
    Ok(None)
}
