//! The storage engine of CIDStore.
//!
//! [`Store`] is the whole public face; start there.

mod api;
pub mod error;
#[doc(hidden)]
pub mod io;
#[allow(dead_code, unused_imports, reason = "until the store uses all of it")]
pub(crate) mod wal;

pub use api::*;
pub use error::Error;
