//! The probe in 128-bit registers, and the prefetch hint. Every x86-64 processor has both.
//!
//! Tags that are given as integers are put together in registers. Those in shared memory are loaded there:
//! four instructions instead of twenty.

#[cfg(not(miri))]
use core::arch::asm;
use core::arch::x86_64::{
    __m128i, _MM_HINT_T0, _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_prefetch, _mm_set_epi64x,
    _mm_set1_epi8,
};
#[cfg(not(miri))]
use core::sync::atomic::AtomicU64;

use super::{Probe, Tags};

/// Proof that the processor has SSE2.
#[derive(Clone, Copy, Debug)]
pub struct Sse2(());

impl Sse2 {
    /// SSE2 is part of x86-64, so this always succeeds.
    #[inline(always)]
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl Default for Sse2 {
    fn default() -> Self {
        Self::new()
    }
}

impl Probe for Sse2 {
    #[inline(always)]
    fn equal(self, tags: &Tags, tag: u8) -> u64 {
        // SAFETY: `self` exists, so the processor has SSE2.
        unsafe { equal(tags, tag) }
    }
}

#[inline]
#[target_feature(enable = "sse2")]
fn equal(tags: &Tags, tag: u8) -> u64 {
    let [a, b, c, d, e, f, g, h] = tags.map(u64::cast_signed);
    let pairs = [(a, b), (c, d), (e, f), (g, h)];
    equal_in(pairs.map(|(low, high)| _mm_set_epi64x(high, low)), tag)
}

/// The positions whose tag is `tag`, of tags in shared memory: as if each word were loaded Relaxed, in whatever order.
#[cfg(not(miri))]
#[inline(always)]
#[must_use]
pub fn equal_shared(tags: &[AtomicU64; 8], tag: u8) -> u64 {
    let pairs = load_shared(tags);
    // SAFETY: every x86-64 processor has SSE2.
    unsafe { equal_in(pairs, tag) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn equal_in(pairs: [__m128i; 4], tag: u8) -> u64 {
    let wanted = _mm_set1_epi8(tag.cast_signed());
    // The mask has 16 bits, so the sign is never set.
    let [a, b, c, d] = pairs.map(|pair| _mm_movemask_epi8(_mm_cmpeq_epi8(pair, wanted)) as u64);
    a | b << 16 | c << 32 | d << 48
}

/// A line of shared memory in registers.
///
/// A wide load by an intrinsic would be a data race with whoever stores to the words. Assembly may do what Relaxed loads
/// of the eight words could have done, and this does: on x86-64 loads are never weaker than that, and each half of an
/// aligned 128-bit load is of one instant. (For tags it would even do if each byte were.) The compiler keeps it in its place
/// among Acquire loads and fences, since it may read any memory.
#[cfg(not(miri))]
#[inline(always)]
fn load_shared(words: &[AtomicU64; 8]) -> [__m128i; 4] {
    let (a, b, c, d);
    // SAFETY: reads the 64 bytes behind a live reference, in any alignment, and changes nothing but the four registers.
    unsafe {
        asm!(
            "movdqu {a}, xmmword ptr [{words}]",
            "movdqu {b}, xmmword ptr [{words} + 16]",
            "movdqu {c}, xmmword ptr [{words} + 32]",
            "movdqu {d}, xmmword ptr [{words} + 48]",
            words = in(reg) words.as_ptr(),
            a = out(xmm_reg) a,
            b = out(xmm_reg) b,
            c = out(xmm_reg) c,
            d = lateout(xmm_reg) d,
            options(readonly, nostack, preserves_flags),
        );
    }
    [a, b, c, d]
}

/// Asks the processor to bring the cache line of `word` near, for reading.
#[inline(always)]
pub fn prefetch<T>(word: &T) {
    // SAFETY: a hint without architectural effect; it can't fault, and the address is a live reference.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(word).cast()) }
}
