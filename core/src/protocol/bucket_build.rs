//! Filling a fresh bucket page: the *sorted region*.
//!
//! Split, merge, compaction and bulk load lay the keys of a page out in hash order, as many as can be at
//! their home position (see `ranked`). The page is not yet named by any table slot, so nothing here is
//! published; the slot's Release store publishes the whole page.

use core::sync::atomic::Ordering;

use super::content::Content;
use super::draft::Draft;
use super::entry::{Meta, entry_line, header_line, tag_line};
use super::fault::PageFull;
use super::ranked::Ranked;
use super::word::Word;
use crate::entity::E;
use crate::hash::KeyHash;
use crate::layout::PageKind;
use crate::layout::bucket::{
    COUNTS_WORD, GENERATION_WORD, KIND_WORD, OVERFLOW_WORD, PREFIX_WORD, entries_in,
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
    if needed(items) > entries_in(WORDS) {
        return Err(PageFull);
    }
    // By reference: an item is large.
    let mut ranked = Ranked::new(0);
    for (index, item) in items.iter().enumerate() {
        ranked.insert(item.hash, item.content.entries(), index);
    }
    fill(page, header, &ranked, |&index| {
        let item = &items[index];
        (item.key, Draft::of(&item.content))
    });
    Ok(())
}

/// Fills a page of zeros with these keys, which [fit](Ranked::needed); `read` tells each one's entries.
#[inline]
pub(super) fn fill<W: Word, const WORDS: usize, T: Copy>(
    page: &[W; WORDS],
    header: &Header,
    keys: &Ranked<T>,
    read: impl Fn(&T) -> (E, (Draft, Option<Draft>)),
) {
    write_header(page, header, keys.needed());
    let mut tags = [0_u64; 8];
    for (position, hash, what) in keys.places(entries_in(WORDS)) {
        let (key, (first, second)) = read(what);
        for (position, draft) in (position..).zip([Some(first), second].into_iter().flatten()) {
            write_entry(page, position, key, &draft);
            tags[position / 8] |= u64::from(hash.tag()) << (position % 8 * 8);
        }
    }
    for (word, tags) in tag_line(page).iter().zip(tags) {
        word.store(tags, Ordering::Relaxed);
    }
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
