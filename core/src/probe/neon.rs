//! The probe in 128-bit registers of 64-bit ARM, where every processor has them.
//!
//! Written for it and type-checked; no machine of the project runs it. As in the siblings, vectors are
//! built from registers.

use core::arch::aarch64::{
    uint8x16_t, vandq_u8, vceqq_u8, vcombine_u64, vcreate_u64, vdupq_n_u8, vgetq_lane_u64,
    vpaddq_u8, vreinterpretq_u8_u64, vreinterpretq_u64_u8,
};

use super::{Probe, Tags};

/// Byte `i` of each half has bit `i`: what a matching byte adds to the mask of its eight.
const BIT_OF_BYTE: u64 = 0x8040_2010_0804_0201;

/// Proof that the processor has NEON.
#[derive(Clone, Copy, Debug)]
pub struct Neon(());

impl Neon {
    /// NEON is part of 64-bit ARM as Rust's targets with `std` have it, so this always succeeds.
    #[inline(always)]
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl Default for Neon {
    fn default() -> Self {
        Self::new()
    }
}

impl Probe for Neon {
    #[inline(always)]
    fn equal(self, tags: &Tags, tag: u8) -> u64 {
        // SAFETY: `self` exists, so the processor has NEON.
        unsafe { equal(tags, tag) }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn equal(tags: &Tags, tag: u8) -> u64 {
    let pair = |low: u64, high: u64| -> uint8x16_t {
        vreinterpretq_u8_u64(vcombine_u64(vcreate_u64(low), vcreate_u64(high)))
    };
    let wanted = vdupq_n_u8(tag);
    let bits = pair(BIT_OF_BYTE, BIT_OF_BYTE);
    let sixteen = |low: u64, high: u64| vandq_u8(vceqq_u8(pair(low, high), wanted), bits);
    let [a, b, c, d, e, f, g, h] = *tags;
    // Each step adds neighbours and halves the bytes of a word: after three a word is one byte, its mask.
    let lower = vpaddq_u8(sixteen(a, b), sixteen(c, d));
    let upper = vpaddq_u8(sixteen(e, f), sixteen(g, h));
    let quarters = vpaddq_u8(lower, upper);
    let words = vpaddq_u8(quarters, quarters);
    vgetq_lane_u64::<0>(vreinterpretq_u64_u8(words))
}
