//! The bytes of CIDStore and the algorithms on them.
//!
//! No std, no allocation, no I/O: bytes in, values out.
#![cfg_attr(not(any(test, loom, feature = "std")), no_std)]
#![deny(unsafe_code)]

// The reading order: a file imports only from files listed before it, `crc` and `layout` excepted, which
// lean on each other (the layout seals itself, the page checksum knows the spaces).
pub mod crc;
pub mod entity;
pub mod hash;
pub mod layout;

pub use entity::E;
