//! Copies of many shared words at once: as if each were loaded, and stored, Relaxed and in whatever order.
//!
//! A compiler copies atomics one by one, 512 loads and stores for a page. The processor's own string instruction moves lines, and
//! does nothing that Relaxed accesses to the same words could not have done: on x86-64 loads are never weaker than that, and each
//! aligned word is moved whole. It may be used where the words stand still, or where each for itself says something.

#[cfg(all(target_arch = "x86_64", not(miri)))]
use core::arch::asm;
#[cfg(all(target_arch = "x86_64", not(miri)))]
use core::mem::MaybeUninit;
use core::sync::atomic::AtomicU64;
#[cfg(any(miri, not(target_arch = "x86_64")))]
use core::sync::atomic::Ordering;

/// Loads all words.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
pub(super) fn load<const WORDS: usize>(from: &[AtomicU64; WORDS]) -> [u64; WORDS] {
    let mut words = MaybeUninit::<[u64; WORDS]>::uninit();
    // SAFETY: reads `WORDS` words behind a live reference, and writes as many to memory that is nobody else's. The direction flag is
    // clear between functions.
    unsafe {
        asm!(
            "rep movsq",
            inout("rcx") WORDS => _,
            inout("rsi") from.as_ptr() => _,
            inout("rdi") words.as_mut_ptr() => _,
            options(nostack, preserves_flags),
        );
    }
    // SAFETY: all of its words were just written, and any bits are a `u64`.
    unsafe { words.assume_init() }
}

/// Copies all words.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
pub(super) fn copy<const WORDS: usize>(from: &[AtomicU64; WORDS], to: &[AtomicU64; WORDS]) {
    // SAFETY: reads and writes `WORDS` words behind live references, which allow both to words that are shared. If the two are the
    // same, nothing changes; arrays do not overlap otherwise. The direction flag is clear between functions.
    unsafe {
        asm!(
            "rep movsq",
            inout("rcx") WORDS => _,
            inout("rsi") from.as_ptr() => _,
            inout("rdi") to.as_ptr() => _,
            options(nostack, preserves_flags),
        );
    }
}

/// Loads all words.
#[cfg(any(miri, not(target_arch = "x86_64")))]
#[inline(always)]
pub(super) fn load<const WORDS: usize>(from: &[AtomicU64; WORDS]) -> [u64; WORDS] {
    from.each_ref().map(|word| word.load(Ordering::Relaxed))
}

/// Copies all words.
#[cfg(any(miri, not(target_arch = "x86_64")))]
#[inline(always)]
pub(super) fn copy<const WORDS: usize>(from: &[AtomicU64; WORDS], to: &[AtomicU64; WORDS]) {
    for (from, to) in from.iter().zip(to) {
        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}
