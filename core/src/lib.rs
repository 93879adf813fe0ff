//! The bytes of CIDStore and the algorithms on them.
//!
//! No std, no allocation, no I/O: bytes in, values out.
#![cfg_attr(not(any(test, loom, feature = "std")), no_std)]
#![deny(unsafe_code)]

pub mod entity;
pub mod layout;
pub mod protocol;

pub use entity::E;
