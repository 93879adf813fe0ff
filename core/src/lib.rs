//! The bytes of CIDStore and the algorithms on them.
//!
//! No std, no allocation, no I/O: bytes in, values out.
#![cfg_attr(not(any(test, loom, feature = "std")), no_std)]
#![deny(unsafe_code)]

// The reading order; a file imports only from files before it:
//   entity, hash, sethash, layout/{mod, entry, bucket, value, table}, crc, layout/{superblock, record},
//   ecc (with ecc_simd), repair, image/{error, pages, set, mod}, probe, protocol.
pub mod crc;
pub mod ecc;
#[cfg(target_arch = "x86_64")]
mod ecc_simd;
pub mod entity;
pub mod hash;
pub mod image;
pub mod layout;
pub mod probe;
pub mod protocol;
pub mod repair;
pub mod sethash;

pub use entity::E;
