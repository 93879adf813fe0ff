//! The storage engine of CIDStore.
//!
//! [`Store`] is the whole public face; start there.

mod api;
pub mod error;
pub mod io;
pub(crate) mod wal;

pub use api::*;
pub use error::Error;
