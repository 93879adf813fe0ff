//! The page protocol: one writer, any number of readers that take no lock and never wait.
//!
//! Reading order: [`word`] (shared memory), `entry` (what an entry's words mean), [`content`],
//! [`fault`], `draft`, [`bucket_read`], [`lookup`], [`bucket_write`], [`bucket_build`], [`bucket_seal`].
//! The rules R1 to R7 that the comments name are in `docs/design.md`. Nothing here allocates, and
//! nothing is `unsafe`.

pub mod bucket_build;
pub mod bucket_read;
pub mod bucket_seal;
pub mod bucket_write;
pub mod content;
mod draft;
mod entry;
pub mod fault;
pub mod lookup;
pub mod word;
