//! The HDF5 metadata of a CIDStore file, as bytes.
//!
//! Pure: a [`FileDescription`] goes in, an HDF5 superblock and a body of groups, attributes, types and datasets come
//! out, and the datasets' storage is the pages of the store where they lie. Nothing is read or written here. The
//! engine calls it at each checkpoint; `docs/hdf5.md` tells the objects and why the order of writes is safe.
//!
//! # Reading order
//!
//! `lookup3`, `date`, `datatype`, `pages` (the store's structures as datatypes), `object` (object headers), `mapping`
//! (virtual datasets), `tree` (which objects there are), and [`Emitter`] here.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test reports")
)]

mod datatype;
mod date;
mod lookup3;
mod mapping;
mod object;
mod pages;
mod tree;

use cidstore_core::layout::table::SLOTS_PER_TABLE_PAGE;
use cidstore_core::layout::view::{FileDescription, VIEW_OFFSET, ViewHeader};

use crate::lookup3::lookup3;
use crate::object::Address;
use crate::tree::Tree;

/// Bytes before the HDF5 superblock: HDF5 counts addresses from here.
const USER_BLOCK_BYTES: u64 = VIEW_OFFSET;

/// First bytes of an HDF5 superblock.
const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// The metadata for one place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The HDF5 superblock, version 2.
    pub header: ViewHeader,
    /// All else.
    pub body: Vec<u8>,
}

/// Writes metadata. Its thresholds say in which form the directory appears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitter {
    attribute_slots_max: usize,
    shard_slots: usize,
}

impl Default for Emitter {
    fn default() -> Self {
        Self { attribute_slots_max: SLOTS_PER_TABLE_PAGE, shard_slots: 1 << 20 }
    }
}

impl Emitter {
    /// An emitter whose directories are an attribute up to `attribute_slots_max` slots (but at most one table node's), and
    /// cut into shards beyond `shard_slots` (a multiple of a table node's; it is rounded up to one). For tests: a
    /// directory that is large by the defaults takes half a million keys.
    #[must_use]
    pub fn with_thresholds(attribute_slots_max: usize, shard_slots: usize) -> Self {
        Self {
            attribute_slots_max: attribute_slots_max.min(SLOTS_PER_TABLE_PAGE),
            shard_slots: shard_slots.max(1).next_multiple_of(SLOTS_PER_TABLE_PAGE),
        }
    }

    /// The metadata of a file, its body to be placed at `body_offset`, behind the header. The length of the body does not depend on that.
    #[must_use]
    pub fn emit(&self, file: &FileDescription<'_>, body_offset: u64) -> Metadata {
        let body = Tree::body(self, file, body_offset);
        let Address(root) = Address::of(body_offset);
        let mut header = [0; 48];
        let fields: [&[u8]; 6] = [
            &SIGNATURE,
            // Version 2, eight bytes for offsets and lengths, no flags.
            &[2, 8, 8, 0],
            &USER_BLOCK_BYTES.to_le_bytes(),
            // No extension.
            &u64::MAX.to_le_bytes(),
            // The one address that counts from the start of the file.
            &file.superblock.file_bytes.to_le_bytes(),
            &root.to_le_bytes(),
        ];
        let (content, checksum) = header.split_at_mut(44);
        content.copy_from_slice(&fields.concat());
        checksum.copy_from_slice(&lookup3(content).to_le_bytes());
        Metadata { header, body }
    }

    /// Where in the file the body lies that a header speaks of; `None` if it is not a header of ours.
    #[must_use]
    pub fn body_offset(header: &ViewHeader) -> Option<u64> {
        let (content, checksum) = header.split_at(44);
        if !content.starts_with(&SIGNATURE) || checksum != lookup3(content).to_le_bytes() {
            return None;
        }
        let root = content.last_chunk().copied().map(u64::from_le_bytes)?;
        root.checked_add(USER_BLOCK_BYTES)
    }
}
