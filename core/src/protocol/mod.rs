//! The page protocol: one writer, any number of readers that take no lock and never wait.
//!
//! Reading order: [`word`] (shared memory), `entry` (what an entry's words mean), [`content`],
//! [`fault`], `draft`, [`tag_copy`], [`bucket_read`], [`bucket_keys`], [`lookup`], [`batch`], [`bucket_write`], `ranked`, [`bucket_build`],
//! [`bucket_split`], [`bucket_seal`];
//! and for value pages [`value_fault`], `search`, [`run`], [`extent`], [`leaf`], [`inner`]. The rules R1 to R7, C1 to C4 and
//! V1 to V5 that the comments name are in `docs/design.md`. Nothing here allocates, and nothing is `unsafe`.

pub mod batch;
pub mod bucket_build;
pub mod bucket_keys;
pub mod bucket_read;
pub mod bucket_seal;
pub mod bucket_split;
pub mod bucket_write;
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[allow(unsafe_code)]
mod bulk_copy;
pub mod content;
mod draft;
mod entry;
pub mod extent;
pub mod fault;
pub mod inner;
pub mod leaf;
pub mod lookup;
mod ranked;
pub mod run;
mod search;
pub mod tag_copy;
pub mod value_fault;
pub mod word;
