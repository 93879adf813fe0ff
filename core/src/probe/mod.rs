//! Finding positions by their tag: eight words of tag bytes in, a bit mask of positions out.
//!
//! The tags come as eight integers that the caller loaded from atomic words, or as these words ([`equal_shared`]). Bit `i` of an
//! answer is byte `i % 8` of word `i / 8`, least significant byte first. [`scalar`] is complete and is the oracle of the
//! siblings, which have the same methods:
//!
//! | back end | used when |
//! |---|---|
//! | [`sse2`] | on x86-64 |
//! | `neon` | on 64-bit ARM |
//! | [`scalar`] | elsewhere |
//! | [`avx2`], [`avx512`] | by those who ask for them; see [`equal`] |
//!
//! A back end is a zero-sized value that exists only if the processor has what it needs.

pub mod scalar;

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub mod avx512;
#[cfg(all(target_arch = "aarch64", target_endian = "little", target_feature = "neon"))]
#[allow(unsafe_code)]
pub mod neon;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub mod sse2;

use core::sync::atomic::AtomicU64;
#[cfg(any(miri, not(target_arch = "x86_64")))]
use core::sync::atomic::Ordering;

/// The tags of a bucket: one byte a position.
pub type Tags = [u64; 8];

/// A way to compare all tags of a bucket at once.
pub trait Probe: Copy {
    /// The positions whose tag is `tag`: bit `i` for position `i`, all 64 bytes taken as positions.
    fn equal(self, tags: &Tags, tag: u8) -> u64;
}

/// The positions whose tag is `tag`, by the best back end that is known when the crate is compiled.
///
/// The choice is not made at run time: what the wider registers save over SSE2 here is less than a call
/// that can't be inlined costs. `cargo bench -p cidstore-micro --bench probe` measures both.
#[inline(always)]
#[must_use]
pub fn equal(tags: &Tags, tag: u8) -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    return sse2::Sse2::new().equal(tags, tag);
    #[cfg(all(
        target_arch = "aarch64",
        target_endian = "little",
        target_feature = "neon",
        not(miri)
    ))]
    return neon::Neon::new().equal(tags, tag);
    #[cfg(any(
        miri,
        not(any(
            target_arch = "x86_64",
            all(target_arch = "aarch64", target_endian = "little", target_feature = "neon")
        ))
    ))]
    return scalar::Scalar.equal(tags, tag);
}

/// As [`equal`], of tags that others may store to meanwhile: as if each word were loaded Relaxed, in whatever order.
#[inline(always)]
#[must_use]
pub fn equal_shared(tags: &[AtomicU64; 8], tag: u8) -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    return sse2::equal_shared(tags, tag);
    #[cfg(any(miri, not(target_arch = "x86_64")))]
    equal(&tags.each_ref().map(|word| word.load(Ordering::Relaxed)), tag)
}

/// Asks the processor to bring the cache line of `word` near. Does nothing where there is no such hint.
#[inline(always)]
pub fn prefetch<T>(word: &T) {
    #[cfg(target_arch = "x86_64")]
    sse2::prefetch(word);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = word;
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::AtomicU64;

    use proptest::prelude::*;

    use super::scalar::Scalar;
    use super::{Probe, Tags, equal, equal_shared};

    /// One byte at a time.
    fn naive(tags: &Tags, tag: u8) -> u64 {
        let bytes = tags.iter().flat_map(|word| word.to_le_bytes());
        bytes
            .enumerate()
            .fold(0, |mask, (position, byte)| mask | u64::from(byte == tag) << position)
    }

    fn check(tags: &Tags, tag: u8) {
        let expected = naive(tags, tag);
        assert_eq!(Scalar.equal(tags, tag), expected, "scalar, {tags:x?}, {tag:02x}");
        assert_eq!(equal(tags, tag), expected, "best, {tags:x?}, {tag:02x}");
        let shared = tags.map(AtomicU64::new);
        assert_eq!(equal_shared(&shared, tag), expected, "shared, {tags:x?}, {tag:02x}");
        #[cfg(target_arch = "x86_64")]
        {
            use super::avx2::Avx2;
            use super::avx512::Avx512;
            use super::sse2::Sse2;

            assert_eq!(Sse2::new().equal(tags, tag), expected, "sse2, {tags:x?}, {tag:02x}");
            if let Some(avx2) = Avx2::new() {
                assert_eq!(avx2.equal(tags, tag), expected, "avx2, {tags:x?}, {tag:02x}");
            }
            if let Some(avx512) = Avx512::new() {
                assert_eq!(avx512.equal(tags, tag), expected, "avx512, {tags:x?}, {tag:02x}");
            }
        }
        #[cfg(all(target_arch = "aarch64", target_endian = "little", target_feature = "neon"))]
        {
            let found = super::neon::Neon::new().equal(tags, tag);
            assert_eq!(found, expected, "neon, {tags:x?}, {tag:02x}");
        }
    }

    /// Each tag, alone at each position among bytes that are all the same other one: 64 * 256 * 256
    /// would be too many, so the others are those that differ in one bit, and the two extremes.
    #[test]
    fn each_position_answers_for_each_tag() {
        for tag in 0..=255_u8 {
            let others = (0..8).map(|bit| tag ^ 1 << bit).chain([0, 0xff]).filter(|&o| o != tag);
            for other in others {
                check(&[u64::from_le_bytes([other; 8]); 8], tag);
                for position in 0..64 {
                    let mut tags = [u64::from_le_bytes([other; 8]); 8];
                    let shift = position % 8 * 8;
                    tags[position / 8] &= !(0xff << shift);
                    tags[position / 8] |= u64::from(tag) << shift;
                    check(&tags, tag);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn all_probes_agree(tags: Tags, tag: u8) {
            check(&tags, tag);
            check(&tags, tags[3].to_le_bytes()[5]);
        }

        /// Few different bytes, so that many positions answer.
        #[test]
        fn all_probes_agree_on_crowds(
            bytes in prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(0x80), Just(0xff)], 64),
        ) {
            let mut tags = Tags::default();
            for (word, eight) in tags.iter_mut().zip(bytes.chunks_exact(8)) {
                *word = eight.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
            }
            for tag in [0, 1, 0x7f, 0x80, 0x81, 0xff] {
                check(&tags, tag);
            }
        }
    }
}
