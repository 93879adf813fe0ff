//! The single writer: what one thread at a time does to pages, tables and numbers.
//!
//! In reading order: [`numbers`] gives out logical numbers, [`pages`] copies pages before they change and
//! retires what was replaced, [`buckets`] splits, merges and chains buckets, [`apply`] carries out single
//! operations, `checks` looks before whether what they will copy is sound, [`ahead`] brings near what those after it will touch, [`cut`] ends a generation. Nothing here does I/O but
//! for growing the file.

pub(crate) use crate::sync::PageWord as Word;

pub(crate) mod ahead;
pub(crate) mod apply;
pub(crate) mod buckets;
mod checks;
pub(crate) mod cut;
pub(crate) mod numbers;
pub(crate) mod pages;
