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
