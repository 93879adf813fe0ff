//! [`Word`]: the one thing that the page algorithms know about shared memory.
//!
//! A page is an array of aligned 64-bit words. Everything in `protocol` is generic over the word, so
//! that the model checker runs the very code that runs on mapped pages: the shipping word is
//! [`AtomicU64`], the models bring their own.

use core::sync::atomic::{AtomicU64, Ordering};

#[cfg(all(target_arch = "x86_64", not(miri)))]
use super::bulk_copy;
use crate::layout::PAGE_WORDS;
use crate::probe;

/// A page in memory: words that one thread may store to while others load them.
pub type Page = [AtomicU64; PAGE_WORDS];

/// One shared 64-bit word.
pub trait Word: Sized {
    /// Loads the word.
    fn load(&self, order: Ordering) -> u64;

    /// Stores the word.
    fn store(&self, value: u64, order: Ordering);

    /// A fence between loads or stores of words of this kind.
    fn fence(order: Ordering);

    /// The bytes of these words that are `byte`, as [`probe::equal`] says: as if each word were loaded Relaxed, in whatever
    /// order.
    #[inline(always)]
    fn equal_bytes(words: &[Self; 8], byte: u8) -> u64 {
        probe::equal(&words.each_ref().map(|word| word.load(Ordering::Relaxed)), byte)
    }

    /// Loads all of these words: as if each were loaded Relaxed, in whatever order.
    #[inline(always)]
    fn load_all<const WORDS: usize>(words: &[Self; WORDS]) -> [u64; WORDS] {
        words.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    /// As [`load_all`](Self::load_all), to where they are wanted.
    #[inline(always)]
    fn load_all_into<const WORDS: usize>(words: &[Self; WORDS], to: &mut [u64; WORDS]) {
        for (word, to) in words.iter().zip(to) {
            *to = word.load(Ordering::Relaxed);
        }
    }

    /// Copies all words: as if each were loaded and stored Relaxed, in whatever order.
    #[inline(always)]
    fn copy_all<const WORDS: usize>(from: &[Self; WORDS], to: &[Self; WORDS]) {
        for (from, to) in from.iter().zip(to) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Called between two attempts to read something that a writer is just changing.
    fn relax() {
        core::hint::spin_loop();
    }
}

impl Word for AtomicU64 {
    #[inline(always)]
    fn load(&self, order: Ordering) -> u64 {
        Self::load(self, order)
    }

    #[inline(always)]
    fn store(&self, value: u64, order: Ordering) {
        Self::store(self, value, order);
    }

    #[inline(always)]
    fn fence(order: Ordering) {
        core::sync::atomic::fence(order);
    }

    #[inline(always)]
    fn equal_bytes(words: &[Self; 8], byte: u8) -> u64 {
        probe::equal_shared(words, byte)
    }

    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[inline(always)]
    fn load_all<const WORDS: usize>(words: &[Self; WORDS]) -> [u64; WORDS] {
        bulk_copy::load(words)
    }

    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[inline(always)]
    fn load_all_into<const WORDS: usize>(words: &[Self; WORDS], to: &mut [u64; WORDS]) {
        bulk_copy::load_into(words, to);
    }

    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[inline(always)]
    fn copy_all<const WORDS: usize>(from: &[Self; WORDS], to: &[Self; WORDS]) {
        bulk_copy::copy(from, to);
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    fn numbers() -> Box<Page> {
        Box::new(core::array::from_fn(|index| AtomicU64::new((index as u64 + 1) << 40 | 7)))
    }

    fn one_by_one(page: &Page) -> [u64; PAGE_WORDS] {
        page.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    #[test]
    fn all_words_are_loaded_as_one_by_one() {
        let page = numbers();
        assert_eq!(Word::load_all(&page), one_by_one(&page));
        let mut words = [[3; PAGE_WORDS]; 3];
        Word::load_all_into(&page, &mut words[1]);
        assert_eq!(words, [[3; PAGE_WORDS], one_by_one(&page), [3; PAGE_WORDS]]);
        let few: [AtomicU64; 3] = [5, 6, 7].map(AtomicU64::new);
        assert_eq!(Word::load_all(&few), [5, 6, 7]);
    }

    #[test]
    fn all_words_are_copied_and_none_beside_them() {
        let from = numbers();
        let pages: [Page; 3] = core::array::from_fn(|_| [const { AtomicU64::new(3) }; PAGE_WORDS]);
        Word::copy_all(&from, &pages[1]);
        assert_eq!(one_by_one(&pages[1]), one_by_one(&numbers()));
        assert_eq!(one_by_one(&from), one_by_one(&numbers()));
        for beside in [&pages[0], &pages[2]] {
            assert_eq!(one_by_one(beside), [3; PAGE_WORDS]);
        }
    }
}
