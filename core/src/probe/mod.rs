//! Finding positions by their tag: eight words of tag bytes in, a bit mask of positions out.
//!
//! The tags come as eight integers that the caller loaded from atomic words; nothing in here touches
//! shared memory. Bit `i` of an answer is byte `i % 8` of word `i / 8`, least significant byte first.
//! [`scalar`] is complete and is the oracle of the siblings, which have the same methods:
//!
//! | back end | used when |
//! |---|---|
//! | [`avx2`] | the crate is compiled for a processor that has it |
//! | [`sse2`] | on any other x86-64 |
//! | [`scalar`] | elsewhere |
//!
//! A back end is a zero-sized value that exists only if the processor has what it needs.

pub mod scalar;

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub mod sse2;

/// The tags of a bucket: one byte a position.
pub type Tags = [u64; 8];

/// A way to compare all tags of a bucket at once.
pub trait Probe: Copy {
    /// The positions whose tag is `tag`: bit `i` for position `i`, all 64 bytes taken as positions.
    fn equal(self, tags: &Tags, tag: u8) -> u64;
}

/// The positions whose tag is `tag`, by the best back end that is known when the crate is compiled.
///
/// The choice is not made at run time: what AVX2 saves over SSE2 here is less than a call that can't
/// be inlined costs.
#[inline(always)]
#[must_use]
pub fn equal(tags: &Tags, tag: u8) -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    return sse2::Sse2::new().equal(tags, tag);
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    return scalar::Scalar.equal(tags, tag);
}

/// Asks the processor to bring the cache line of `word` near. Does nothing where there is no such hint.
#[inline(always)]
pub fn prefetch<T>(word: &T) {
    #[cfg(target_arch = "x86_64")]
    sse2::prefetch(word);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = word;
}
