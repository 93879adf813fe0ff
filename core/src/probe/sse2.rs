//! The probe in 128-bit registers, and the prefetch hint. Every x86-64 processor has both.
//!
//! Vectors are built from registers, not loaded from the tags' memory: the caller has just loaded the
//! words one by one, and a wide load over narrow stores that are still on their way would wait for
//! them.

use core::arch::x86_64::{
    __m128i, _MM_HINT_T0, _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_prefetch, _mm_set_epi64x,
    _mm_set1_epi8,
};

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
    let wanted = _mm_set1_epi8(tag.cast_signed());
    let sixteen = |low: u64, high: u64| -> u64 {
        let pair: __m128i = _mm_set_epi64x(high.cast_signed(), low.cast_signed());
        // The mask has 16 bits, so the sign is never set.
        _mm_movemask_epi8(_mm_cmpeq_epi8(pair, wanted)) as u64
    };
    let [a, b, c, d, e, f, g, h] = *tags;
    sixteen(a, b) | sixteen(c, d) << 16 | sixteen(e, f) << 32 | sixteen(g, h) << 48
}

/// Asks the processor to bring the cache line of `word` near, for reading.
#[inline(always)]
pub fn prefetch<T>(word: &T) {
    // SAFETY: a hint without architectural effect; it can't fault, and the address is a live reference.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(word).cast()) }
}
