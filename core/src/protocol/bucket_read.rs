//! Finding a key in a bucket page while the page's one writer may be changing it.
//!
//! Readers take no lock and never wait: an attempt is repeated only if the writer has published
//! something since it began. What is returned was the content of the key, or its absence, at one
//! instant between call and return. The rules (R1 to R6) are in `docs/design.md`; this file is the
//! readers' half of them and `bucket_write` the writer's.
//!
//! The first position with the key's tag is looked at first: in nine of ten hits the key lies there, whether at home or
//! behind it, so the processor guesses right and goes on to what comes after. Only a search that finds nothing by tags
//! looks at home as well. A position's meta word alone decides whether it holds an entry, and all lookups of a key look
//! at the same home before they call it missing; so an entry that is there but whose tag is still to come is
//! found by all of them or by none.

use core::sync::atomic::Ordering;

use super::content::InlineValues;
use super::entry::{Line, Meta, Positions, State, entry_line, header_line, tag_line, tagged};
use super::fault::Fault;
use super::word::Word;
use crate::entity::E;
use crate::hash::KeyHash;
use crate::layout::bucket::{OVERFLOW_WORD, SEQUENCE_WORD, entries_in};
use crate::layout::entry::{KEY_HIGH_WORD, KEY_LOW_WORD, META_WORD, SLOTS_WORD, VALUES_PER_ENTRY};
use crate::probe;

/// What a page says about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The key's values lie in the page.
    Inline(InlineValues),
    /// The key's values lie in a set of their own.
    Spilled {
        /// The encoded [`SetReference`](crate::layout::entry::SetReference).
        reference: u64,
        /// Position of the entry.
        index: u8,
    },
    /// The page has no such key.
    Miss {
        /// Overflow-table number of the page to look at next, 0 for none.
        overflow: u32,
    },
}

/// Brings near what [`find`] will look at: the line of tags, and the entries at home and behind it, where most keys
/// lie.
#[inline(always)]
pub fn prefetch<W: Word, const WORDS: usize>(page: &[W; WORDS], hash: KeyHash) {
    probe::prefetch(tag_line(page));
    let home = hash.home(entries_in(WORDS));
    probe::prefetch(entry_line(page, home));
    probe::prefetch(entry_line(page, (home + 1) % entries_in(WORDS)));
}

/// Brings near the line of tags: for [`prefetch_tagged`], a few lookups later.
#[inline(always)]
pub(super) fn prefetch_tags<W, const WORDS: usize>(page: &[W; WORDS]) {
    probe::prefetch(tag_line(page));
}

/// Brings near the entry that [`find`] will look at first, which the tags tell; where they tell of none, the lines that a
/// miss is told by.
#[inline(always)]
pub(super) fn prefetch_tagged<W: Word, const WORDS: usize>(page: &[W; WORDS], hash: KeyHash) {
    match Positions(tagged(page, hash.tag())).next() {
        Some(position) => probe::prefetch(entry_line(page, position)),
        None => {
            probe::prefetch(header_line(page));
            probe::prefetch(entry_line(page, hash.home(entries_in(WORDS))));
        }
    }
}

/// Looks for `key`, whose hash is `hash`.
///
/// # Errors
///
/// [`Fault`] if the entry of this key is damaged. Single flipped bits are corrected on the way.
#[inline]
pub fn find<W: Word, const WORDS: usize>(
    page: &[W; WORDS],
    key: E,
    hash: KeyHash,
) -> Result<Found, Fault> {
    match glance(page, key, hash) {
        Some(found) => Ok(found),
        None => search(page, key, hash),
    }
}

/// Looks at the first position with the key's tag. `None` says nothing: no such tag, or that of another key, or an entry
/// that is one of two, was just changed, or is damaged. That is for [`search`] to sort out.
#[inline(always)]
pub(super) fn glance<W: Word, const WORDS: usize>(
    page: &[W; WORDS],
    key: E,
    hash: KeyHash,
) -> Option<Found> {
    prefetch(page, hash);
    let position = Positions(tagged(page, hash.tag())).next()?;
    match look(entry_line(page, position), position, key) {
        Ok(Some(entry)) if !entry.state.has_second() => Some(entry.found(position)),
        _ => None,
    }
}

/// Looks at home and wherever the tags point to, until nothing changes meanwhile.
///
/// # Errors
///
/// As [`find`].
#[inline(never)]
pub(super) fn search<W: Word, const WORDS: usize>(
    page: &[W; WORDS],
    key: E,
    hash: KeyHash,
) -> Result<Found, Fault> {
    loop {
        match attempt(page, key, hash) {
            Ok(found) => return Ok(found),
            Err(Obstacle::Changed) => W::relax(),
            Err(Obstacle::Fault(fault)) => return Err(fault),
        }
    }
}

/// Why an attempt has no answer.
enum Obstacle {
    /// The writer published something that the attempt depended on.
    Changed,
    Fault(Fault),
}

impl From<Fault> for Obstacle {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// One search, of which a miss is certain only at its end.
#[inline(always)]
fn attempt<W: Word, const WORDS: usize>(
    page: &[W; WORDS],
    key: E,
    hash: KeyHash,
) -> Result<Found, Obstacle> {
    // Acquire: whatever was moved before this count is in the tags that are loaded below.
    let sequence = header_line(page)[SEQUENCE_WORD].load(Ordering::Acquire);
    // Home too, even without its tag: an entry there shows from its meta on, to all lookups alike.
    let home = 1 << hash.home(entries_in(WORDS));
    for position in Positions(tagged(page, hash.tag()) | home) {
        if let Some(entry) = look(entry_line(page, position), position, key)? {
            return if entry.state.has_second() {
                join_second(page, key, hash, position, &entry)
            } else {
                Ok(entry.found(position))
            };
        }
    }
    // If a tag was seen cleared above, or words of an entry that replaced a moved one, the fence makes
    // the count of that move visible to the load below. (R6)
    W::fence(Ordering::Acquire);
    if header_line(page)[SEQUENCE_WORD].load(Ordering::Relaxed) != sequence {
        return Err(Obstacle::Changed);
    }
    // Acquire: the table slot of the overflow page was set before the page was linked here.
    let overflow = header_line(page)[OVERFLOW_WORD].load(Ordering::Acquire);
    Ok(Found::Miss { overflow: overflow as u32 })
}

/// Adds the values of the second entry to those of the first, as of one instant. (R5)
///
/// The second is published before and killed after the first entry says that it exists. So if the first
/// is the same before and after, the second that was found in between belonged to it; and if it was not
/// found then, it is not there.
#[inline(never)]
fn join_second<W: Word, const WORDS: usize>(
    page: &[W; WORDS],
    key: E,
    hash: KeyHash,
    position: usize,
    first: &Primary,
) -> Result<Found, Obstacle> {
    let mut joined = None;
    for candidate in Positions(tagged(page, hash.tag())) {
        if let Some(values) = look_second(entry_line(page, candidate), candidate, key)? {
            joined = Some(first.values().joined(values));
            break;
        }
    }
    validate(entry_line(page, position), first.meta)?;
    match joined {
        Some(values) => Ok(Found::Inline(values)),
        None => Err(Fault::SecondMissing { index: position as u8 }.into()),
    }
}

/// The first or only entry of a key, read at one instant. Small enough for registers: what it becomes is
/// [`InlineValues`], whose 72 bytes would be copied at each step from here to the caller.
struct Primary {
    meta: Meta,
    state: State,
    /// Of a spilled entry, the first holds the reference.
    slots: [E; VALUES_PER_ENTRY],
}

impl Primary {
    #[inline(always)]
    fn values(&self) -> InlineValues {
        InlineValues::of_entry(self.state.slots(), self.slots[0], self.slots[1])
    }

    #[inline(always)]
    fn found(&self, position: usize) -> Found {
        if self.state.is_spilled() {
            Found::Spilled { reference: self.slots[0].high, index: position as u8 }
        } else {
            Found::Inline(self.values())
        }
    }
}

/// Reads the entry at a position, if it is the first or only one of `key`.
#[inline(always)]
fn look<W: Word>(line: &Line<W>, position: usize, key: E) -> Result<Option<Primary>, Obstacle> {
    // Acquire: the words of the entry were stored before this meta was.
    let meta = Meta(line[META_WORD].load(Ordering::Acquire));
    if !is_key(line, key) {
        return Ok(None);
    }
    let index = position as u8;
    let state = meta.state().map_err(|_| Fault::Uncorrectable { index })?;
    if !state.is_primary() {
        return Ok(None);
    }
    let slots = if state.is_spilled() {
        // No more than is needed: each load counts in the models of this.
        [E::new(line[SLOTS_WORD].load(Ordering::Relaxed), 0), E::ZERO]
    } else {
        slots(line)
    };
    validate(line, meta)?;
    // A reference needs no second entry; what is neither that nor in need of one has values.
    if state.is_spilled() == state.has_second() && (state.is_spilled() || state.slots() == 0) {
        return Err(Fault::Malformed { index }.into());
    }
    Ok(Some(Primary { meta, state, slots }))
}

/// Reads the entry at a position, if it is the second one of `key`.
fn look_second<W: Word>(
    line: &Line<W>,
    position: usize,
    key: E,
) -> Result<Option<InlineValues>, Obstacle> {
    // Acquire: as in `look`.
    let meta = Meta(line[META_WORD].load(Ordering::Acquire));
    if !is_key(line, key) {
        return Ok(None);
    }
    let index = position as u8;
    let state = meta.state().map_err(|_| Fault::Uncorrectable { index })?;
    if !state.is_live() || !state.is_second() {
        return Ok(None);
    }
    let [one, two] = slots(line);
    let values = InlineValues::of_entry(state.slots(), one, two);
    validate(line, meta)?;
    if values.is_empty() {
        return Err(Fault::Malformed { index }.into());
    }
    Ok(Some(values))
}

/// Makes sure that what was read of an entry since `meta` was loaded is what `meta` speaks of. (R2)
#[inline(always)]
fn validate<W: Word>(line: &Line<W>, meta: Meta) -> Result<(), Obstacle> {
    // The writer has a Release fence between declaring words dead and storing to them. So if a word read
    // above was of such a store, this fence makes the declaration visible to the load below.
    W::fence(Ordering::Acquire);
    if line[META_WORD].load(Ordering::Relaxed) == meta.0 { Ok(()) } else { Err(Obstacle::Changed) }
}

/// The loads in here and in [`slots`] are Relaxed: the Acquire load of the meta word before them and
/// the validation after them give them their meaning.
#[inline(always)]
fn is_key<W: Word>(line: &Line<W>, key: E) -> bool {
    line[KEY_HIGH_WORD].load(Ordering::Relaxed) == key.high
        && line[KEY_LOW_WORD].load(Ordering::Relaxed) == key.low
}

#[inline(always)]
fn slots<W: Word>(line: &Line<W>) -> [E; VALUES_PER_ENTRY] {
    core::array::from_fn(|slot| {
        let word = SLOTS_WORD + 2 * slot;
        E::new(line[word].load(Ordering::Relaxed), line[word + 1].load(Ordering::Relaxed))
    })
}
