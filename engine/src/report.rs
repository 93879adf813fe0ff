//! What a look over the whole store has found.

/// What [`Store::verify`](crate::Store::verify) or [`Store::scrub`](crate::Store::scrub) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Pages looked at.
    pub pages_checked: u64,
    /// Keys found.
    pub keys: u64,
    /// Pairs found.
    pub values: u64,
    /// What is wrong; empty for a sound store.
    pub problems: Vec<Problem>,
    /// What was wrong and has been put right, by [`Store::scrub`](crate::Store::scrub) only.
    pub repaired: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Where: a page, a table slot, the superblock.
    pub place: String,
    /// What was found, and what was expected.
    pub detail: String,
}
