//! [`crate::ecc::check_page`] for x86-64 with SSSE3: eight entries at a time.
//!
//! The syndrome of a byte is the exclusive or of the syndromes of its halves (the code is linear), and each
//! half has sixteen cases: two byte shuffles look up sixteen bytes at once. `unsafe` is allowed here for the
//! one call that needs the processor to have SSSE3.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_cmpeq_epi16, _mm_cvtsi64_si128, _mm_movemask_epi8,
    _mm_packs_epi16, _mm_set_epi64x, _mm_set1_epi8, _mm_setzero_si128, _mm_shuffle_epi8,
    _mm_srli_epi16, _mm_unpacklo_epi16, _mm_unpacklo_epi32, _mm_unpacklo_epi64, _mm_xor_si128,
};

use crate::ecc::{PageCheck, syndrome};
use crate::layout::bucket::{BucketPage, ENTRIES_PER_BUCKET};
use crate::layout::entry::{ENTRY_WORDS, HashEntry, META_WORD};

/// The syndromes of the bytes `0..16`, the first lowest.
const LOWER: u128 = u128::from_le_bytes(syndromes(0));
/// The syndromes of the bytes `0x00, 0x10 .. 0xf0`, the first lowest.
const UPPER: u128 = u128::from_le_bytes(syndromes(4));

const fn syndromes(shift: u32) -> [u8; 16] {
    let mut table = [0; 16];
    let mut half = 0;
    while half < 16 {
        table[half] = syndrome((half as u8) << shift);
        half += 1;
    }
    table
}

/// Checks a page, or gives `None` if this processor can't.
#[inline]
pub(crate) fn check_page(page: &BucketPage) -> Option<PageCheck> {
    if !has_ssse3() {
        return None;
    }
    // SAFETY: the function needs SSSE3, and the processor was just found to have it.
    Some(unsafe { check_page_ssse3(page) })
}

/// Without `std` the build's target says what the processor has.
#[inline]
fn has_ssse3() -> bool {
    #[cfg(any(feature = "std", test))]
    return std::is_x86_feature_detected!("ssse3");
    #[cfg(not(any(feature = "std", test)))]
    return cfg!(target_feature = "ssse3");
}

#[target_feature(enable = "ssse3")]
fn check_page_ssse3(page: &BucketPage) -> PageCheck {
    let mut check = PageCheck::default();
    for (group, entries) in page.entries.chunks(8).enumerate() {
        let (odd, double) = check_eight(entries);
        check.uncorrectable |= double << (group * 8);
        check.corrected |= (odd & !double) << (group * 8);
    }
    let all = u64::MAX >> (64 - ENTRIES_PER_BUCKET);
    check.clean = all & !check.corrected & !check.uncorrectable;
    check
}

/// One bit for each of up to eight entries: one of its two bytes has a single, a double error.
#[target_feature(enable = "ssse3")]
fn check_eight(entries: &[HashEntry]) -> (u64, u64) {
    // The lowest 16 bits of a meta word are state mask and flags; gather eight of these. Where the page
    // has no entry the words stay zero, which is sound.
    let mut metas = [_mm_setzero_si128(); 8];
    for (meta, entry) in metas.iter_mut().zip(entries) {
        let words: &[u64; ENTRY_WORDS] = zerocopy::transmute_ref!(entry);
        *meta = _mm_cvtsi64_si128(words[META_WORD].cast_signed());
    }
    let [a, b, c, d, e, f, g, h] = metas;
    let abcd = _mm_unpacklo_epi32(_mm_unpacklo_epi16(a, b), _mm_unpacklo_epi16(c, d));
    let efgh = _mm_unpacklo_epi32(_mm_unpacklo_epi16(e, f), _mm_unpacklo_epi16(g, h));
    let codes = _mm_unpacklo_epi64(abcd, efgh);

    let halves = _mm_set1_epi8(15);
    let lower = _mm_shuffle_epi8(load(LOWER), _mm_and_si128(codes, halves));
    let upper = _mm_and_si128(_mm_srli_epi16::<4>(codes), halves);
    let syndromes = _mm_xor_si128(lower, _mm_shuffle_epi8(load(UPPER), upper));

    // Odd parity of the byte is a single error; even parity with a syndrome is a double one.
    let zero = _mm_setzero_si128();
    let even = _mm_cmpeq_epi8(_mm_and_si128(syndromes, _mm_set1_epi8(8)), zero);
    let wrong_even = _mm_and_si128(even, syndromes);
    (any_of_two(_mm_xor_si128(even, _mm_set1_epi8(-1))), any_of_two(wrong_even))
}

/// One bit a 16-bit lane: it is not zero.
#[target_feature(enable = "ssse3")]
fn any_of_two(lanes: __m128i) -> u64 {
    let zero = _mm_setzero_si128();
    let none = _mm_packs_epi16(_mm_cmpeq_epi16(lanes, zero), zero);
    !(_mm_movemask_epi8(none) as u64) & 0xff
}

#[target_feature(enable = "ssse3")]
fn load(table: u128) -> __m128i {
    _mm_set_epi64x(((table >> 64) as u64).cast_signed(), (table as u64).cast_signed())
}
