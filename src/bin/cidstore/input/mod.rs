//! Pairs from text: where the bytes come from, and how they become pairs of fields.

mod delimited;
mod source;

pub(crate) use delimited::{Dialect, Format, PairReader, PairText, ReadFailure};
pub(crate) use source::{Source, is_damaged_gzip, is_standard_input};
