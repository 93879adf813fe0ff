//! [`Word`]: the one thing that the page algorithms know about shared memory.
//!
//! A page is an array of aligned 64-bit words. Everything in `protocol` is generic over the word, so
//! that the model checker runs the very code that runs on mapped pages: the shipping word is
//! [`AtomicU64`], the models bring their own.

use core::sync::atomic::{AtomicU64, Ordering};

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
}
