//! An embedded, durable, concurrent hash multimap: 128-bit keys to sets of 128-bit values.
pub use cidstore_core::E;
pub use cidstore_engine::*;
