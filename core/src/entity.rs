//! [`E`]: the 128-bit number that keys and values are.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A 128-bit key or value. Every one of the 2^128 numbers is legal, zero included.
#[derive(
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct E {
    /// Upper 64 bits.
    pub high: u64,
    /// Lower 64 bits.
    pub low: u64,
}

impl E {
    /// The number zero: a key and a value like any other.
    pub const ZERO: Self = Self { high: 0, low: 0 };

    /// The number `high * 2^64 + low`.
    #[must_use]
    pub const fn new(high: u64, low: u64) -> Self {
        Self { high, low }
    }
}

impl From<u64> for E {
    fn from(low: u64) -> Self {
        Self { high: 0, low }
    }
}
