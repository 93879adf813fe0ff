//! Filling a fresh bucket page: the *sorted region*.
//!
//! Split, merge, compaction and bulk load lay the keys of a page out in hash order, each at its home
//! position or as near behind it as there is room. The page is not yet named by any table slot, so
//! nothing here is published; the slot's Release store publishes the whole page.

use core::sync::atomic::Ordering;

use super::content::Content;
use super::draft::Draft;
use super::entry::{Meta, entry_line, header_line, tag_line};
use super::fault::PageFull;
use super::word::Word;
use crate::entity::E;
use crate::hash::KeyHash;
use crate::layout::PageKind;
use crate::layout::bucket::{
    COUNTS_WORD, ENTRIES_PER_BUCKET, GENERATION_WORD, KIND_WORD, OVERFLOW_WORD, PREFIX_WORD,
    entries_in,
};
use crate::layout::entry::{KEY_HIGH_WORD, KEY_LOW_WORD, META_WORD, SLOTS_WORD};

/// What a fresh page says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How many low bits of the hash all keys of the bucket share.
    pub local_depth: u8,
    /// Those bits.
    pub prefix: u64,
    /// The generation in which the page is built.
    pub generation: u64,
    /// Overflow-table number of the next page of the chain, 0 for none.
    pub overflow: u32,
}

/// A key on its way into a fresh page.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// The key's hash.
    pub hash: KeyHash,
    /// The key.
    pub key: E,
    /// What the page is to say about it. A key with no value is left out.
    pub content: Content,
}

/// Positions that these items take.
#[must_use]
pub fn needed(items: &[Item]) -> usize {
    items.iter().map(|item| item.content.entries()).sum()
}

/// Fills a page of zeros, in hash order.
///
/// # Errors
///
/// [`PageFull`] if the items need more positions than there are; then the page is still zeros.
pub fn build<W: Word, const WORDS: usize>(
    page: &[W; WORDS],
    header: &Header,
    items: &[Item],
) -> Result<(), PageFull> {
    let mut left = needed(items);
    if left > entries_in(WORDS) {
        return Err(PageFull);
    }
    // Sorted by reference: an item is large. Each takes a position at least, so there are not more of them. They come from
    // other pages, nearly in order, and for such a sort by insertion is the fastest.
    let mut sorted = [(0_u64, 0_usize); ENTRIES_PER_BUCKET];
    let mut count = 0;
    for (index, item) in items.iter().enumerate().filter(|(_, item)| item.content.entries() != 0) {
        let order = item.hash.order();
        let mut at = count;
        while at > 0 && sorted[at - 1].0 > order {
            sorted[at] = sorted[at - 1];
            at -= 1;
        }
        sorted[at] = (order, index);
        count += 1;
    }
    let sorted = &sorted[..count];
    write_header(page, header, left);
    let mut tags = [0_u64; 8];
    let mut next = 0;
    for item in sorted.iter().map(|&(_, index)| &items[index]) {
        let (first, second) = Draft::of(&item.content);
        // As near to home as those before allow, and early enough for those that follow.
        let latest = entries_in(WORDS) - left;
        let mut position = item.hash.home(entries_in(WORDS)).clamp(next, latest);
        for draft in [Some(first), second].into_iter().flatten() {
            write_entry(page, position, item.key, &draft);
            tags[position / 8] |= u64::from(item.hash.tag()) << (position % 8 * 8);
            position += 1;
            left -= 1;
        }
        next = position;
    }
    for (word, tags) in tag_line(page).iter().zip(tags) {
        word.store(tags, Ordering::Relaxed);
    }
    Ok(())
}

fn write_header<W: Word, const WORDS: usize>(page: &[W; WORDS], header: &Header, entries: usize) {
    let line = header_line(page);
    let kind = PageKind::Bucket as u64 | u64::from(header.local_depth) << 16;
    let counts = entries as u64 | (entries as u64) << 16;
    line[KIND_WORD].store(kind, Ordering::Relaxed);
    line[GENERATION_WORD].store(header.generation, Ordering::Relaxed);
    line[OVERFLOW_WORD].store(u64::from(header.overflow), Ordering::Relaxed);
    line[COUNTS_WORD].store(counts, Ordering::Relaxed);
    line[PREFIX_WORD].store(header.prefix, Ordering::Relaxed);
}

fn write_entry<W: Word, const WORDS: usize>(
    page: &[W; WORDS],
    position: usize,
    key: E,
    draft: &Draft,
) {
    let line = entry_line(page, position);
    line[KEY_HIGH_WORD].store(key.high, Ordering::Relaxed);
    line[KEY_LOW_WORD].store(key.low, Ordering::Relaxed);
    for (word, &slot) in line[SLOTS_WORD..].iter().zip(&draft.slots).take(draft.slot_count) {
        word.store(slot, Ordering::Relaxed);
    }
    line[META_WORD].store(Meta::new(draft.state, 1).0, Ordering::Relaxed);
}
