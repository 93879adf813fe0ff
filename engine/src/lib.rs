//! The storage engine of CIDStore.
//!
//! [`Store`] is the whole public face; start there.

mod api;
pub mod error;
#[allow(dead_code, unused_imports, reason = "the store that calls it is being written")]
mod valueset;

pub use api::*;
pub use error::Error;
