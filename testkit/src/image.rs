//! The bytes of a data file against the model, read without the engine.

use crate::model::Model;

/// What a sealed file holds, by the independent reader of the format.
///
/// # Panics
///
/// If anything differs.
pub fn assert_image(_bytes: &[u8], _model: &Model) {
    // The independent reader is on its way.
}

/// Reads whatever `bytes` are; compares what can be read with `known`, if that is known.
///
/// # Panics
///
/// If the reader panics, or answers wrongly although the checksums could tell.
pub fn read_image(_bytes: &[u8], _known: Option<&Model>) {
    // The independent reader is on its way.
}
