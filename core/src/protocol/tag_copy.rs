//! A copy of a page's tags beside those of other pages, for lookups in pages that change no more.
//!
//! Tags lie at the same offset in every page. A cache chooses the place of a line by the low bits of its address, so of a cache
//! with a million places the tags of all pages share one in 64, and each page is a huge page's 512th part. Copies side by side
//! share all places, and a huge page holds those of 32,768 pages. A lookup by a copy loads nothing of the page but entries, and
//! most misses load nothing of it at all.
//!
//! The first lookup in a page makes the copy. All who make one of the same page store the same words, so two may do so at
//! once. The rules are C1 to C3 of `docs/design.md`.

use core::sync::atomic::Ordering;

use zerocopy::FromZeros;

use super::entry::{LINE_WORDS, Line, header_line, tag_line, tagged_in};
use super::word::Word;
use crate::hash::KeyHash;
use crate::layout::bucket::{ENTRIES_PER_BUCKET, OVERFLOW_WORD, TAG_WORDS};

/// The word that is stored last: its tags, and the mark in its highest byte, where no page has a tag.
const LAST_WORD: usize = LINE_WORDS - 1;
const MARK_SHIFT: u32 = u64::BITS - 8;
const _: () = assert!(TAG_WORDS == LINE_WORDS && ENTRIES_PER_BUCKET < TAG_WORDS * 8);

/// Marks of a copy that was made; 0 is that of none.
const ALONE: u64 = 1;
const LINKED: u64 = 2;

/// The place of a copy; zeros are one where no copy was made.
#[derive(Debug, FromZeros)]
#[repr(transparent)]
pub struct TagCopy<W>([W; LINE_WORDS]);

/// What a copy says of a key.
#[derive(Clone, Copy)]
pub(super) struct Tagged {
    /// The positions with the key's tag.
    pub(super) mask: u64,
    /// No page comes after this one.
    pub(super) is_last: bool,
}

impl<W: Word> TagCopy<W> {
    /// A place of these words, which are zero.
    pub const fn new(words: [W; LINE_WORDS]) -> Self {
        Self(words)
    }

    /// The memory of the place, to ask for before it is needed.
    pub(super) fn line(&self) -> &Line<W> {
        &self.0
    }

    /// Gives the copy up. No lookup may be at it: of the page that it was made of, all readers have gone, and no slot names the
    /// page that it will be made of. (C3)
    pub fn forget(&self) {
        // Relaxed: the slot that will name the page comes later, with Release.
        self.0[LAST_WORD].store(0, Ordering::Relaxed);
    }

    /// Looks for the key's tag in the copy. Makes it first, of this page, if there is none.
    #[inline(always)]
    pub(super) fn tagged<const WORDS: usize>(&self, page: &[W; WORDS], hash: KeyHash) -> Tagged {
        // Acquire: all words of the copy were stored before the mark. (C2)
        let mut mark = self.0[LAST_WORD].load(Ordering::Acquire) >> MARK_SHIFT;
        if mark == 0 {
            mark = self.make(page);
        }
        Tagged { mask: tagged_in::<W, WORDS>(&self.0, hash.tag()), is_last: mark == ALONE }
    }

    /// Makes the copy; answers its mark.
    #[cold]
    #[inline(never)]
    fn make<const WORDS: usize>(&self, page: &[W; WORDS]) -> u64 {
        // Relaxed, here and below: the page has been as it is since a slot named it. (C1)
        let overflow = header_line(page)[OVERFLOW_WORD].load(Ordering::Relaxed);
        let mark = if overflow == 0 { ALONE } else { LINKED };
        let tags = tag_line(page);
        for (to, from) in self.0.iter().zip(tags).take(LAST_WORD) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        // What a forged page has in the mark's place makes it say no more than that a page comes after.
        let last = tags[LAST_WORD].load(Ordering::Relaxed) | mark << MARK_SHIFT;
        // Release: whoever sees the mark sees the tags. (C2)
        self.0[LAST_WORD].store(last, Ordering::Release);
        mark
    }
}
