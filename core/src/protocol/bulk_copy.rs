//! Copies of many shared words at once: as if each were loaded, and stored, Relaxed and in whatever order.
//!
//! A compiler copies atomics one by one, 512 loads and stores for a page. The processor's own string instruction moves lines, and
//! does nothing that Relaxed accesses to the same words could not have done: on x86-64 loads are never weaker than that, and each
//! aligned word is moved whole. It may be used where the words stand still, or where each for itself says something.

use core::arch::asm;
use core::mem::MaybeUninit;
use core::sync::atomic::AtomicU64;

/// Loads all words.
#[inline(always)]
pub(super) fn load<const WORDS: usize>(from: &[AtomicU64; WORDS]) -> [u64; WORDS] {
    let mut words = MaybeUninit::<[u64; WORDS]>::uninit();
    // SAFETY: `WORDS` words behind a live reference, and as many that are nobody else's.
    unsafe { move_words::<WORDS>(from.as_ptr().cast(), words.as_mut_ptr().cast()) };
    // SAFETY: all of its words were just written, and any bits are a `u64`.
    unsafe { words.assume_init() }
}

/// Loads all words to where they are wanted.
#[inline(always)]
pub(super) fn load_into<const WORDS: usize>(from: &[AtomicU64; WORDS], to: &mut [u64; WORDS]) {
    // SAFETY: `WORDS` words behind live references each, of which the second is the only one.
    unsafe { move_words::<WORDS>(from.as_ptr().cast(), to.as_mut_ptr()) };
}

/// Copies all words.
#[inline(always)]
pub(super) fn copy<const WORDS: usize>(from: &[AtomicU64; WORDS], to: &[AtomicU64; WORDS]) {
    // SAFETY: `WORDS` words behind live references each, which allow loads and stores of what is shared. If both are the same
    // array nothing changes; arrays do not overlap otherwise.
    unsafe { move_words::<WORDS>(from.as_ptr().cast(), to.as_ptr().cast_mut().cast()) };
}

/// Moves `WORDS` words.
///
/// # Safety
///
/// So many aligned words may be read at `from` and written at `to`, by atomic accesses if not by others, and they are the same or do not
/// overlap.
#[inline(always)]
unsafe fn move_words<const WORDS: usize>(from: *const u64, to: *mut u64) {
    // SAFETY: the caller vouches for the words. The direction flag is clear between functions.
    unsafe {
        asm!(
            "rep movsq",
            inout("rcx") WORDS => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}
