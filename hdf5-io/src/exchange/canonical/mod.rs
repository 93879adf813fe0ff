//! The canonical layout of a store's content: which page each key lies in, and the bytes of each page.
//!
//! It follows from the content and the hash seed alone, so two stores with the same of both give the same bytes,
//! whatever happened to them before:
//!
//! - a prefix is one page if its entries fit, else it is divided by the next bit, down to a depth that follows from
//!   the number of keys; there the page gets as many keys as fit and a chain of overflow pages the rest;
//! - bucket pages are numbered from 1 on in the order of the directory, a chain right behind its first page;
//! - the keys of a page lie in ascending order from position 0 on, and so do the values of a key;
//! - a key with at most four values has them in its entries, also if the store still has them in a set, from which others
//!   were deleted;
//! - value sets are made in the order in which their keys lie: small ones in shared pages by size class, large ones
//!   as full leaves followed by their inner nodes. A value page's logical number is its page number.
//!
//! Reading order: `lines` (what a page of the store says), `plan` (which pages there will be), `bucket` (the bytes of a
//! bucket page), `sets` (the bytes of value pages).

pub(super) mod bucket;
pub(super) mod lines;
pub(super) mod plan;
pub(super) mod sets;

/// Generation of every page: the one that the exported file's only checkpoint ended.
pub(super) const GENERATION: u64 = 1;
