//! A copy of a page's tags beside those of other pages, for lookups in pages that change no more.
//!
//! Tags lie at the same offset in every page. A cache chooses the place of a line by the low bits of its address, so of a cache
//! with a million places the tags of all pages share one in 64, and each page is a huge page's 512th part. Copies side by side
//! share all places, and a huge page holds those of 32,768 pages. A lookup by a copy loads nothing of the page but entries, and
//! most misses load nothing of it at all.
//!
//! **Spread.** An entry lies near its home, in most pages but a few positions away. Whoever writes a page looks how far the farthest
//! ones are, before home and behind it, and notes it in the copy that it makes; lookups regard no other positions. Of other keys' tags
//! those few seldom equal the key's, while one of all 62 positions does in three of twenty misses.
//!
//! Of pages that were there when the store was opened, the first lookup makes the copy: of the tags alone, for to look at all entries
//! would take it longer than what it came for. All lookups store the same words, so two may do so at once. The rules are C1 to C4 of `docs/design.md`.

use core::sync::atomic::Ordering;

use zerocopy::FromZeros;

use super::entry::{LINE_WORDS, Line, Positions, header_line, tag_line, tagged_in};
use super::word::Word;
use crate::entity::E;
use crate::hash::KeyHash;
use crate::layout::bucket::{
    ENTRIES_PER_BUCKET, ENTRIES_WORD, OVERFLOW_WORD, TAG_WORDS, TAGS_WORD, entries_in,
};
use crate::layout::entry::{ENTRY_WORDS, KEY_HIGH_WORD, KEY_LOW_WORD};

/// The word that is stored last. Its two highest bytes, where no page has a tag, are the copy's own: [`LastWord`].
const LAST_WORD: usize = LINE_WORDS - 1;
const _: () = assert!(TAG_WORDS == LINE_WORDS && ENTRIES_PER_BUCKET + 2 == TAG_WORDS * 8);

/// Tags of the last positions, and what a copy says of itself:
///
/// ```text
/// bit 48..56   positions, of 64, that are too far from home to be regarded
/// bit 56..58   0 where no copy was made; 1: the page is the last of its chain; 2: another comes after it
/// bit 58..64   how far before its home an entry lies at most
/// ```
#[derive(Clone, Copy)]
struct LastWord(u64);

impl LastWord {
    const TAGS: u64 = (1 << 48) - 1;
    const ALONE: u64 = 1;
    const LINKED: u64 = 2;

    const fn new(tags: u64, is_last: bool, spread: Spread) -> Self {
        let left_out = (u64::BITS - 1 - spread.before - spread.behind) as u64;
        let link = if is_last { Self::ALONE } else { Self::LINKED };
        Self(tags & Self::TAGS | left_out << 48 | link << 56 | (spread.before as u64) << 58)
    }

    const fn is_made(self) -> bool {
        self.0 >> 56 != 0
    }

    const fn is_last(self) -> bool {
        self.0 & Self::ALONE << 56 != 0
    }

    const fn left_out(self) -> u8 {
        (self.0 >> 48) as u8
    }

    const fn before(self) -> u8 {
        (self.0 >> 58) as u8
    }
}

/// How far entries lie from their homes, in the ring of 64 bits that positions are told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spread {
    before: u32,
    behind: u32,
}

impl Spread {
    /// All at home.
    const NONE: Self = Self { before: 0, behind: 0 };
    /// As far as can be, looked for from home on.
    const UNKNOWN: Self = Self { before: 0, behind: u64::BITS - 1 };

    /// That of the entries of a page with these words.
    fn of<const WORDS: usize>(words: &[u64; WORDS], hash_of: impl Fn(E) -> KeyHash) -> Self {
        let mut spread = Self::NONE;
        for position in 0..entries_in(WORDS) {
            if words[TAGS_WORD + position / 8] >> (position % 8 * 8) & 0xff == 0 {
                continue;
            }
            let entry = &words[ENTRIES_WORD + position * ENTRY_WORDS..];
            let home =
                hash_of(E::new(entry[KEY_HIGH_WORD], entry[KEY_LOW_WORD])).home(entries_in(WORDS));
            let behind = (position.wrapping_sub(home) as u32) % u64::BITS;
            if behind < u64::BITS / 2 {
                spread.behind = spread.behind.max(behind);
            } else {
                spread.before = spread.before.max(u64::BITS - behind);
            }
        }
        spread
    }
}

/// The place of a copy; zeros are one where no copy was made.
#[derive(Debug, FromZeros)]
#[repr(transparent)]
pub struct TagCopy<W>([W; LINE_WORDS]);

/// What a copy says of a key.
#[derive(Clone, Copy)]
pub(super) struct Tagged {
    /// The positions with the key's tag where the key can be, those before home first.
    pub(super) positions: Positions,
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

    /// Makes the copy anew, of a page with these words, which was written. No lookup may be at it: of the page that it was made of
    /// before, all readers have gone, and no slot names the new one. (C3)
    pub fn renew<const WORDS: usize>(&self, words: &[u64; WORDS], hash_of: impl Fn(E) -> KeyHash) {
        let tags = core::array::from_fn(|word| words[TAGS_WORD + word]);
        let is_last = words[OVERFLOW_WORD] == 0;
        self.store(tags, is_last, Spread::of(words, hash_of));
    }

    /// Gives the copy up, for the next lookup to make it. As in [`renew`](Self::renew) no lookup may be at it.
    pub fn forget(&self) {
        // Relaxed: the slot that will name the page comes later, with Release.
        self.0[LAST_WORD].store(0, Ordering::Relaxed);
    }

    /// Looks for the key's tag in the copy. Makes it first, of this page, if there is none.
    #[inline(always)]
    pub(super) fn tagged<const WORDS: usize>(&self, page: &[W; WORDS], hash: KeyHash) -> Tagged {
        // Acquire: all words of the copy were stored before this one. (C2)
        let mut last = LastWord(self.0[LAST_WORD].load(Ordering::Acquire));
        if !last.is_made() {
            last = self.make(page);
        }
        let mask = tagged_in::<W, WORDS>(&self.0, hash.tag());
        let home = hash.home(entries_in(WORDS));
        let positions = Positions::near_home(mask, home, last.before(), last.left_out());
        Tagged { positions, is_last: last.is_last() }
    }

    /// Makes the copy; answers its last word.
    #[cold]
    #[inline(never)]
    fn make<const WORDS: usize>(&self, page: &[W; WORDS]) -> LastWord {
        // Relaxed, here and below: the page has been as it is since a slot named it. (C1)
        let is_last = header_line(page)[OVERFLOW_WORD].load(Ordering::Relaxed) == 0;
        let tags = tag_line(page).each_ref().map(|word| word.load(Ordering::Relaxed));
        self.store(tags, is_last, Spread::UNKNOWN)
    }

    fn store(&self, tags: [u64; TAG_WORDS], is_last: bool, spread: Spread) -> LastWord {
        for (word, tags) in self.0.iter().zip(tags).take(LAST_WORD) {
            word.store(tags, Ordering::Relaxed);
        }
        let last = LastWord::new(tags[LAST_WORD], is_last, spread);
        // Release: whoever sees this word sees the tags before it. (C2)
        self.0[LAST_WORD].store(last.0, Ordering::Release);
        last
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use core::sync::atomic::AtomicU64;

    use super::*;
    use crate::hash::HashSeed;
    use crate::layout::PAGE_WORDS;
    use crate::protocol::bucket_build::{self, Header, Item};
    use crate::protocol::bucket_write::BucketWriter;
    use crate::protocol::content::{Content, InlineValues};
    use crate::protocol::word::Page;

    const SEED: HashSeed = HashSeed::new(3, 4);

    fn hash(key: u64) -> KeyHash {
        SEED.hash(key.into())
    }

    fn empty_page() -> Box<Page> {
        Box::new([const { AtomicU64::new(0) }; PAGE_WORDS])
    }

    fn spread(page: &Page) -> Spread {
        let words = page.each_ref().map(|word| word.load(Ordering::Relaxed));
        Spread::of(&words, |key| SEED.hash(key))
    }

    fn fill(page: &Page, keys: impl Iterator<Item = u64>) {
        let writer = BucketWriter::new(page);
        keys.for_each(|key| writer.insert_new(key.into(), hash(key), key.into()).unwrap());
    }

    #[test]
    fn the_last_word_keeps_what_it_is_given() {
        let tags = 0x0000_a1a2_a3a4_a5a6;
        for (before, behind) in [(0, 0), (1, 0), (0, 31), (32, 31), (5, 9), (0, 63)] {
            for is_last in [false, true] {
                let word = LastWord::new(tags | 0xffff << 48, is_last, Spread { before, behind });
                assert!(word.is_made() && word.is_last() == is_last);
                assert_eq!(word.0 & LastWord::TAGS, tags);
                assert_eq!(u32::from(word.before()), before);
                assert_eq!(u32::from(word.left_out()), 63 - before - behind);
            }
        }
        assert!(!LastWord(tags).is_made());
    }

    #[test]
    fn the_positions_regarded_are_those_of_the_spread() {
        for home in 0..62_usize {
            let spread = Spread { before: 2, behind: 3 };
            let word = LastWord::new(0, true, spread);
            let all = (1 << 62) - 1;
            let near: Vec<usize> =
                Positions::near_home(all, home, word.before(), word.left_out()).collect();
            let ring = (0..6).map(|step| (home + 62 + step) % 64).filter(|&position| position < 62);
            assert_eq!(near, ring.collect::<Vec<_>>(), "home {home}");
        }
    }

    #[test]
    fn a_page_with_room_has_little_spread() {
        let (mut inserted, mut built) = (0, 0);
        const PAGES: u64 = 200;
        for first in (0..PAGES).map(|page| page * 100) {
            let keys = first..first + 38;
            let page = empty_page();
            fill(&page, keys.clone());
            inserted += spread(&page).before + spread(&page).behind;
            let page = empty_page();
            let content = |key: u64| Content::Inline(InlineValues::one(key.into()));
            let item = |key: u64| Item { hash: hash(key), key: key.into(), content: content(key) };
            let header = Header { local_depth: 0, prefix: 0, generation: 1, overflow: 0 };
            bucket_build::build(&page, &header, &keys.map(item).collect::<Vec<_>>()).unwrap();
            built += spread(&page).before + spread(&page).behind;
        }
        let [inserted, built] = [inserted, built].map(|all| f64::from(all) / PAGES as f64);
        assert!(inserted < 16.0 && built < 8.0, "{inserted} and {built} positions");
    }

    #[test]
    fn the_farthest_entries_tell_the_spread() {
        let page = empty_page();
        assert_eq!(spread(&page), Spread::NONE);
        let at_home = |home: usize| (0..).filter(move |&key| hash(key).home(62) == home);
        fill(&page, at_home(7).take(4));
        assert_eq!(spread(&page), Spread { before: 0, behind: 3 });
        // Round the end of the page: positions 61, 0 and 1, and two bits in between that are none.
        let page = empty_page();
        fill(&page, at_home(61).take(3));
        assert_eq!(spread(&page), Spread { before: 0, behind: 4 });
    }
}
