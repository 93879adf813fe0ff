//! The keys of a page, for scans beside the writer.

use core::sync::atomic::Ordering;

use super::entry::{Meta, Positions, all_positions, entry_line, header_line, tag_line};
use super::fault::Fault;
use super::word::Word;
use crate::entity::E;
use crate::layout::bucket::{ENTRIES_PER_BUCKET, OVERFLOW_WORD, SEQUENCE_WORD, entries_in};
use crate::layout::entry::{KEY_HIGH_WORD, KEY_LOW_WORD, META_WORD};

/// The keys that a page held at one time, and where its chain goes on.
#[derive(Clone, Copy, Debug)]
pub struct PageKeys {
    keys: [E; ENTRIES_PER_BUCKET],
    count: usize,
    /// Overflow-table number of the next page of the chain, 0 for none.
    pub overflow: u32,
}

impl PageKeys {
    /// The keys, in the order of their positions.
    #[must_use]
    pub fn as_slice(&self) -> &[E] {
        self.keys.get(..self.count).unwrap_or_default()
    }
}

/// Reads the keys of a page.
///
/// A key that is in the page all the while is answered exactly once, wherever the writer moves it meanwhile; of a
/// key that comes or goes meanwhile nothing is promised.
///
/// # Errors
///
/// [`Fault::Uncorrectable`] if an entry's state is damaged beyond repair.
pub fn keys<W: Word, const WORDS: usize>(page: &[W; WORDS]) -> Result<PageKeys, Fault> {
    loop {
        // Acquire: whatever was moved before this count is in the tags that are loaded below.
        let sequence = header_line(page)[SEQUENCE_WORD].load(Ordering::Acquire);
        let found = attempt(page)?;
        // As in a miss (R6): if anything was seen of an entry that replaced a moved one, the fence makes
        // the count of that move visible to the load below.
        W::fence(Ordering::Acquire);
        if let Some(mut found) = found
            && header_line(page)[SEQUENCE_WORD].load(Ordering::Relaxed) == sequence
        {
            // Last, so that a key which has left for a page further down is met there. Acquire: the table
            // slot of that page was set before it was linked here.
            found.overflow = header_line(page)[OVERFLOW_WORD].load(Ordering::Acquire) as u32;
            return Ok(found);
        }
        W::relax();
    }
}

/// One pass over the entries; `None` if one of them changed while its key was read.
fn attempt<W: Word, const WORDS: usize>(page: &[W; WORDS]) -> Result<Option<PageKeys>, Fault> {
    let mut found = PageKeys { keys: [E::ZERO; ENTRIES_PER_BUCKET], count: 0, overflow: 0 };
    let mut tags_seen = [0_u64; 4];
    for position in Positions::all(all_positions(WORDS)) {
        // Acquire: a tag makes its entry visible.
        let tags = tag_line(page)[position / 8].load(Ordering::Acquire);
        let tag = (tags >> (position % 8 * 8)) as u8;
        if tag == 0 {
            continue;
        }
        let line = entry_line(page, position);
        // Acquire: the words of the entry were stored before this meta was.
        let meta = Meta(line[META_WORD].load(Ordering::Acquire));
        let index = position as u8;
        let state = meta.state().map_err(|_| Fault::Uncorrectable { index })?;
        if !state.is_primary() {
            continue;
        }
        let high = line[KEY_HIGH_WORD].load(Ordering::Relaxed);
        let low = line[KEY_LOW_WORD].load(Ordering::Relaxed);
        // The key of a live entry never changes, but the position may have been given to another (R2).
        W::fence(Ordering::Acquire);
        if line[META_WORD].load(Ordering::Relaxed) != meta.0 && !same_key(line, high, low) {
            return Ok(None);
        }
        // In the middle of a move a key is live in two places, and the count of moves is still to change.
        let key = E::new(high, low);
        let tags_like_it = &mut tags_seen[usize::from(tag >> 6)];
        let bit = 1 << (tag & 63);
        if *tags_like_it & bit != 0 && found.as_slice().contains(&key) {
            continue;
        }
        *tags_like_it |= bit;
        if let Some(slot) = found.keys.get_mut(found.count) {
            *slot = key;
            found.count += 1;
        }
    }
    debug_assert!(found.count <= entries_in(WORDS));
    Ok(Some(found))
}

/// Whether the entry is a live one of this key after all: only its values changed.
fn same_key<W: Word>(line: &super::entry::Line<W>, high: u64, low: u64) -> bool {
    // Acquire: as in `attempt`.
    let meta = Meta(line[META_WORD].load(Ordering::Acquire));
    let live = matches!(meta.state(), Ok(state) if state.is_primary());
    let same = line[KEY_HIGH_WORD].load(Ordering::Relaxed) == high
        && line[KEY_LOW_WORD].load(Ordering::Relaxed) == low;
    W::fence(Ordering::Acquire);
    live && same && line[META_WORD].load(Ordering::Relaxed) == meta.0
}
