//! Finding a key in a bucket page while the page's one writer may be changing it.
//!
//! Readers take no lock and never wait: an attempt is repeated only if the writer has published
//! something since it began. What is returned was the content of the key, or its absence, at one
//! instant between call and return. The rules (R1 to R6) are in `docs/design.md`; this file is the
//! readers' half of them and `bucket_write` the writer's.
//!
//! Most lookups end with a glance (`glance`): no position has the key's tag, or the first that has it holds the key with its one
//! value, or with a set. It is short, so that the processor is done with it before the memory of the next lookup is there, and its
//! branches go the same way nearly always. Everything else is sorted out by a search (`search`).
//!
//! A key is there for readers if its tag is and its entry's meta says so. Of a new entry the tag comes last and of a removed
//! one it goes last, so there is one instant at which a key comes, and one at which it goes.

use core::sync::atomic::Ordering;

use super::content::InlineValues;
use super::entry::{Line, Meta, Positions, State, entry_line, header_line, tag_line, tagged};
use super::fault::Fault;
use super::tag_copy::Tagged;
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
        /// About how many values there are, or 0: see [`FoundSet`](super::lookup::FoundSet).
        likely_count: u32,
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

/// As [`prefetch`], of a page with a copy of its tags: the entry at home. One behind it costs more, where nothing else of the page
/// is asked for, than it brings.
#[inline(always)]
pub(super) fn prefetch_home<W: Word, const WORDS: usize>(page: &[W; WORDS], hash: KeyHash) {
    probe::prefetch(entry_line(page, hash.home(entries_in(WORDS))));
}

/// Brings near the line of tags, for [`prefetch_tagged`] a few lookups later.
#[inline(always)]
pub(super) fn prefetch_tags<W, const WORDS: usize>(page: &[W; WORDS]) {
    probe::prefetch(tag_line(page));
}

/// Brings near the first entry with the key's tag, or what tells a miss. Answers the positions that have the tag, for
/// [`glance_at`]. `settled` as for [`search`].
#[inline(always)]
pub(super) fn prefetch_tagged<W: Word, const WORDS: usize>(
    page: &[W; WORDS],
    settled: Option<Tagged>,
    hash: KeyHash,
) -> Positions {
    let positions = match &settled {
        Some(tagged) => tagged.positions,
        None => likely(page, hash),
    };
    match positions.clone().next() {
        Some(first) => probe::prefetch(entry_line(page, first)),
        None if settled.is_some_and(|tagged| tagged.is_last) => {}
        None => probe::prefetch(header_line(page)),
    }
    positions
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
        Glance::OneValue(value) => Ok(Found::Inline(InlineValues::one(value))),
        Glance::Set { reference, likely_count, index } => {
            Ok(Found::Spilled { reference, likely_count, index })
        }
        Glance::Miss => Ok(Found::Miss { overflow: 0 }),
        Glance::Unclear => search(page, None, key, hash),
    }
}

/// What one look at a page shows of a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Glance {
    /// It has this one value.
    OneValue(E),
    /// Its values lie in a set of their own, as [`Found::Spilled`] says.
    Set { reference: u64, likely_count: u32, index: u8 },
    /// It is not in the page, and no other page comes after it.
    Miss,
    /// Nothing. That is for [`search`] to sort out.
    Unclear,
}

/// Looks at the tags, and at the positions that have the key's.
#[inline(always)]
pub(super) fn glance<W: Word, const WORDS: usize>(
    page: &[W; WORDS],
    key: E,
    hash: KeyHash,
) -> Glance {
    let header = header_line(page);
    // Acquire: as in `attempt`.
    let sequence = header[SEQUENCE_WORD].load(Ordering::Acquire);
    if let Some(found) = glance_at(page, key, likely(page, hash)) {
        return found;
    }
    W::fence(Ordering::Acquire);
    let unmoved = header[SEQUENCE_WORD].load(Ordering::Relaxed) == sequence;
    // Relaxed, and after the fence: a key that is seen to be gone from here went down the chain, and the link came before.
    let last = header[OVERFLOW_WORD].load(Ordering::Relaxed) == 0;
    if unmoved && last { Glance::Miss } else { Glance::Unclear }
}

/// As [`glance`], at a page that changes no more. Of such a page, what the tags do not show is not there.
#[inline(always)]
pub(super) fn glance_settled<W: Word, const WORDS: usize>(
    page: &[W; WORDS],
    tagged: Tagged,
    key: E,
) -> Glance {
    match glance_at(page, key, tagged.positions) {
        Some(found) => found,
        None if tagged.is_last => Glance::Miss,
        None => Glance::Unclear,
    }
}

/// The positions with the key's tag, the likeliest first.
#[inline(always)]
fn likely<W: Word, const WORDS: usize>(page: &[W; WORDS], hash: KeyHash) -> Positions {
    Positions::from_home(tagged(page, hash.tag()), hash.home(entries_in(WORDS)))
}

/// Looks at these positions only. Never [`Glance::Miss`]; `None` if no entry there is the key's.
#[inline(always)]
pub(super) fn glance_at<W: Word, const WORDS: usize>(
    page: &[W; WORDS],
    key: E,
    positions: Positions,
) -> Option<Glance> {
    for position in positions {
        let line = entry_line(page, position);
        // The loads are those of `look`, for an entry of this kind.
        let meta = Meta(line[META_WORD].load(Ordering::Acquire));
        if !is_key(line, key) {
            continue;
        }
        let [high, low] =
            [SLOTS_WORD, SLOTS_WORD + 1].map(|word| line[word].load(Ordering::Relaxed));
        let glance = if meta.is_one_value() {
            Glance::OneValue(E::new(high, low))
        } else if meta.is_set() {
            // The count is the writer's own, who may just be changing it.
            let likely_count = (low >> u32::BITS) as u32;
            Glance::Set { reference: high, likely_count, index: position as u8 }
        } else {
            Glance::Unclear
        };
        return Some(if validate(line, meta).is_ok() { glance } else { Glance::Unclear });
    }
    None
}

/// Looks wherever the tags point to, until nothing changes meanwhile. `settled` is what a copy of the tags says, of a page that
/// changes no more.
///
/// # Errors
///
/// As [`find`].
#[inline]
pub(super) fn search<W: Word, const WORDS: usize>(
    page: &[W; WORDS],
    settled: Option<Tagged>,
    key: E,
    hash: KeyHash,
) -> Result<Found, Fault> {
    loop {
        match attempt(page, settled, key, hash) {
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
    settled: Option<Tagged>,
    key: E,
    hash: KeyHash,
) -> Result<Found, Obstacle> {
    // Acquire: whatever was moved before this count is in the tags that are loaded below.
    let count = |order| match settled {
        None => header_line(page)[SEQUENCE_WORD].load(order),
        Some(_) => 0,
    };
    let sequence = count(Ordering::Acquire);
    let positions = settled.map_or_else(|| likely(page, hash), |tagged| tagged.positions);
    for position in positions {
        if let Some(entry) = look(entry_line(page, position), position, key)? {
            return if entry.state.has_second() {
                // Loaded anew: the second was published after what the tags above are known to show. It is put behind the
                // first, if there is room.
                let candidates = settled.map_or_else(
                    || Positions::from_home(tagged(page, hash.tag()), position + 1),
                    |tagged| tagged.positions,
                );
                join_second(page, candidates, key, position, &entry)
            } else {
                Ok(entry.found(position))
            };
        }
    }
    if settled.is_some_and(|tagged| tagged.is_last) {
        return Ok(Found::Miss { overflow: 0 });
    }
    // If a tag was seen cleared above, or words of an entry that replaced a moved one, the fence makes
    // the count of that move visible to the load below. (R6)
    W::fence(Ordering::Acquire);
    if count(Ordering::Relaxed) != sequence {
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
#[inline]
fn join_second<W: Word, const WORDS: usize>(
    page: &[W; WORDS],
    candidates: Positions,
    key: E,
    position: usize,
    first: &Primary,
) -> Result<Found, Obstacle> {
    let mut joined = None;
    for candidate in candidates {
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
            let reference = self.slots[0].high;
            Found::Spilled { reference, likely_count: 0, index: position as u8 }
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
