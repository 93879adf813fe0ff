//! What the words of one entry mean while the page is in use: line access and the meta word.
//!
//! A page is seen as lines of eight words: line 0 the header, line 1 the tags, then one line an entry.

use core::fmt;
use core::sync::atomic::Ordering;

use super::word::Word;

use crate::ecc;
use crate::layout::bucket::{ENTRIES_WORD, TAGS_WORD, entries_in};
use crate::layout::entry::{ENTRY_WORDS, EntryFlags};
use crate::probe::{self, Tags};

/// Words of a cache line.
pub(crate) const LINE_WORDS: usize = ENTRY_WORDS;

/// One cache line of a page.
pub(crate) type Line<W> = [W; LINE_WORDS];

/// Line `index` of a page.
#[inline(always)]
fn line<W, const WORDS: usize>(page: &[W; WORDS], index: usize) -> &Line<W> {
    const { assert!(WORDS.is_multiple_of(LINE_WORDS) && entries_in(WORDS) > 0) };
    let (lines, _) = page.as_chunks::<LINE_WORDS>();
    // All callers pass a line of the page. The remainder changes nothing but lets the compiler see it:
    // of a power of two it costs one instruction, and the bounds check with its branch goes.
    &lines[index % (WORDS / LINE_WORDS)]
}

/// The header line of a page.
#[inline(always)]
pub(crate) fn header_line<W, const WORDS: usize>(page: &[W; WORDS]) -> &Line<W> {
    line(page, 0)
}

/// The tag line of a page.
#[inline(always)]
pub(crate) fn tag_line<W, const WORDS: usize>(page: &[W; WORDS]) -> &Line<W> {
    line(page, TAGS_WORD / LINE_WORDS)
}

/// The line of the entry at `position`.
#[inline(always)]
pub(crate) fn entry_line<W, const WORDS: usize>(page: &[W; WORDS], position: usize) -> &Line<W> {
    line(page, ENTRIES_WORD / LINE_WORDS + position)
}

/// The positions whose tag is `tag`; with tag 0 the free ones.
///
/// The loads are Relaxed. For a reader, an Acquire load before decides which tags must be seen at least,
/// and whoever concludes something from a tag that is not there has an Acquire fence first.
#[inline(always)]
pub(crate) fn tagged<W: Word, const WORDS: usize>(page: &[W; WORDS], tag: u8) -> u64 {
    tagged_in::<W, WORDS>(tag_line(page), tag)
}

/// As [`tagged`], in the tag line of a page of so many words, or a copy of it.
#[inline(always)]
pub(crate) fn tagged_in<W: Word, const WORDS: usize>(line: &Line<W>, tag: u8) -> u64 {
    let words_in_use = const { entries_in(WORDS).div_ceil(8) };
    let equal = if words_in_use == line.len() {
        W::equal_bytes(line, tag)
    } else {
        // A page of a model, in which each load counts.
        let tags: Tags = core::array::from_fn(|word| {
            if word < words_in_use { line[word].load(Ordering::Relaxed) } else { 0 }
        });
        probe::equal(&tags, tag)
    };
    equal & all_positions(WORDS)
}

/// One bit for each position of a page.
pub(crate) const fn all_positions(words: usize) -> u64 {
    (1 << entries_in(words)) - 1
}

/// The set bits of a mask, from one position on and round to the others.
#[derive(Clone, Copy)]
pub(crate) struct Positions {
    /// The mask, turned so that bit 0 is that of `from`.
    turned: u64,
    from: usize,
}

impl Positions {
    /// All set bits, lowest first.
    #[inline(always)]
    pub(crate) const fn all(mask: u64) -> Self {
        Self { turned: mask, from: 0 }
    }

    /// The set bits from `before` positions ahead of `home` on, without the last `left_out` of the ring of 64 bits.
    #[inline(always)]
    pub(crate) const fn near_home(mask: u64, home: usize, before: u8, left_out: u8) -> Self {
        let from = home + u64::BITS as usize - before as usize;
        let turned = mask.rotate_right(from as u32) & u64::MAX.wrapping_shr(left_out as u32);
        Self { turned, from }
    }

    /// All set bits, beginning with those at `home` and behind it. Entries are put where this finds the first free
    /// position, so a search that begins there meets its key before most others with the same tag.
    #[inline(always)]
    pub(crate) const fn from_home(mask: u64, home: usize) -> Self {
        Self { turned: mask.rotate_right(home as u32), from: home }
    }
}

impl Iterator for Positions {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.turned == 0 {
            return None;
        }
        let position = (self.turned.trailing_zeros() as usize + self.from) % u64::BITS as usize;
        self.turned &= self.turned - 1;
        Some(position)
    }
}

/// The state mask or the flags of an entry have two flipped bits: what the entry holds is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uncorrectable;

/// A meta word as it lies in memory: state mask, flags, version.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta(pub(crate) u64);

impl Meta {
    /// The meta word of an entry in this state.
    #[inline]
    pub(crate) const fn new(state: State, version: u32) -> Self {
        let codes = ecc::encode(state.mask) as u64 | (ecc::encode(state.flags) as u64) << 8;
        Self(codes | (version as u64) << 32)
    }

    /// True of the meta word of most entries: a key with no more than one value, in the first slot. No bit of what it says is
    /// flipped.
    #[inline(always)]
    pub(crate) const fn is_one_value(self) -> bool {
        const ONE_VALUE: Meta = Meta::new(State { mask: 1, flags: EntryFlags::LIVE }, 0);
        self.0 as u16 == ONE_VALUE.0 as u16
    }

    /// True of the meta word of a key whose values lie in a set of their own. No bit of what it says is flipped.
    #[inline(always)]
    pub(crate) const fn is_set(self) -> bool {
        const SET: Meta =
            Meta::new(State { mask: 0, flags: EntryFlags::LIVE | EntryFlags::SPILLED }, 0);
        self.0 as u16 == SET.0 as u16
    }

    /// How often this position has been published.
    #[inline(always)]
    pub(crate) const fn version(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The decoded mask and flags; single flipped bits are corrected.
    #[inline(always)]
    pub(crate) const fn state(self) -> Result<State, Uncorrectable> {
        let mask = ecc::DECODE[(self.0 & 0xff) as usize];
        let flags = ecc::DECODE[(self.0 >> 8 & 0xff) as usize];
        if (mask | flags) & ecc::DOUBLE != 0 {
            return Err(Uncorrectable);
        }
        Ok(State { mask: mask & 15, flags: flags & 15 })
    }
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} version {}", self.state(), self.version())
    }
}

/// A decoded state mask with decoded flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// Which of the key's four inline values are valid in this entry.
    pub(crate) mask: u8,
    /// Bits of [`EntryFlags`].
    pub(crate) flags: u8,
}

impl State {
    /// A position that holds nothing.
    pub(crate) const DEAD: Self = Self { mask: 0, flags: 0 };

    #[inline(always)]
    pub(crate) const fn is_live(self) -> bool {
        self.flags & EntryFlags::LIVE != 0
    }

    #[inline(always)]
    pub(crate) const fn is_spilled(self) -> bool {
        self.flags & EntryFlags::SPILLED != 0
    }

    #[inline(always)]
    pub(crate) const fn has_second(self) -> bool {
        self.flags & EntryFlags::HAS_SECOND != 0
    }

    #[inline(always)]
    pub(crate) const fn is_second(self) -> bool {
        self.flags & EntryFlags::IS_SECOND != 0
    }

    /// A live entry that stands for its key: the first or only one.
    #[inline(always)]
    pub(crate) const fn is_primary(self) -> bool {
        self.flags & (EntryFlags::LIVE | EntryFlags::IS_SECOND) == EntryFlags::LIVE
    }

    /// The first slot holds a value, and the second may.
    #[inline(always)]
    pub(crate) const fn is_filled_in_order(self) -> bool {
        self.slots() & 1 != 0
    }

    /// Which of the entry's own two slots hold a value: bits 0 and 1.
    #[inline(always)]
    pub(crate) const fn slots(self) -> u8 {
        if self.is_second() { self.mask >> 2 } else { self.mask & 3 }
    }
}
