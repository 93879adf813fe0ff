//! The probe in 256-bit registers.
//!
//! As in the 128-bit sibling, vectors are built from registers.

use core::arch::x86_64::{
    __m256i, _mm256_cmpeq_epi8, _mm256_movemask_epi8, _mm256_set_epi64x, _mm256_set1_epi8,
};

use super::{Probe, Tags};

/// Proof that the processor has AVX2.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// `None` if the processor has no AVX2, or if that can't be known: without `std` only the features
    /// that the crate was compiled for are known.
    #[inline]
    #[must_use]
    pub fn new() -> Option<Self> {
        #[cfg(any(feature = "std", test))]
        let present = std::arch::is_x86_feature_detected!("avx2");
        #[cfg(not(any(feature = "std", test)))]
        let present = cfg!(target_feature = "avx2");
        present.then_some(Self(()))
    }
}

impl Probe for Avx2 {
    #[inline(always)]
    fn equal(self, tags: &Tags, tag: u8) -> u64 {
        // SAFETY: `self` exists, so the processor has AVX2.
        unsafe { equal(tags, tag) }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn equal(tags: &Tags, tag: u8) -> u64 {
    let wanted = _mm256_set1_epi8(tag.cast_signed());
    let [a, b, c, d, e, f, g, h] = tags.map(u64::cast_signed);
    let half = |four: __m256i| -> u64 {
        let mask = _mm256_movemask_epi8(_mm256_cmpeq_epi8(four, wanted));
        u64::from(mask.cast_unsigned())
    };
    half(_mm256_set_epi64x(d, c, b, a)) | half(_mm256_set_epi64x(h, g, f, e)) << 32
}
