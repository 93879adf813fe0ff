//! The probe in one 512-bit register: the comparison itself gives the mask.
//!
//! As in the siblings, the vector is built from registers.

use core::arch::x86_64::{_mm512_cmpeq_epi8_mask, _mm512_set_epi64, _mm512_set1_epi8};

use super::{Probe, Tags};

/// Proof that the processor has AVX-512 with the instructions on bytes (F and BW).
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

impl Avx512 {
    /// `None` if the processor lacks one of the two, or if that can't be known: without `std` only the
    /// features that the crate was compiled for are known.
    #[inline]
    #[must_use]
    pub fn new() -> Option<Self> {
        #[cfg(any(feature = "std", test))]
        let present = std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw");
        #[cfg(not(any(feature = "std", test)))]
        let present = cfg!(all(target_feature = "avx512f", target_feature = "avx512bw"));
        present.then_some(Self(()))
    }
}

impl Probe for Avx512 {
    #[inline(always)]
    fn equal(self, tags: &Tags, tag: u8) -> u64 {
        // SAFETY: `self` exists, so the processor has AVX-512 F and BW.
        unsafe { equal(tags, tag) }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn equal(tags: &Tags, tag: u8) -> u64 {
    let [a, b, c, d, e, f, g, h] = tags.map(u64::cast_signed);
    let all = _mm512_set_epi64(h, g, f, e, d, c, b, a);
    _mm512_cmpeq_epi8_mask(all, _mm512_set1_epi8(tag.cast_signed()))
}
