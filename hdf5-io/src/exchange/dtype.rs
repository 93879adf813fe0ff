//! The structures of a page as HDF5 compound types: the same bytes as `cidstore_core::layout`, with names that a reader of
//! the file sees. A test holds the two against each other.

use hdf5::H5Type;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A key or a value.
#[derive(
    H5Type, Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub(super) struct Number {
    high: u64,
    low: u64,
}

/// [`cidstore_core::layout::bucket::BucketHeader`].
#[derive(H5Type, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    kind: u16,
    local_depth: u8,
    reserved: [u8; 5],
    generation: u64,
    sequence: u32,
    reserved_sequence: u32,
    overflow: u32,
    reserved_overflow: u32,
    entry_count: u16,
    sorted_count: u16,
    reserved_counts: u32,
    prefix: u64,
    unsorted: u64,
    reserved_tail: u64,
}

/// [`cidstore_core::layout::entry::HashEntry`].
#[derive(H5Type, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct HashEntry {
    key_high: u64,
    key_low: u64,
    slots: [u64; 4],
    state_mask: u8,
    flags: u8,
    reserved: u16,
    version: u32,
    checksum: u32,
    reserved_tail: u32,
}

/// [`cidstore_core::layout::bucket::BucketPage`].
#[derive(H5Type, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct BucketPage {
    header: Header,
    tags: [u8; 62],
    tags_spare: [u8; 2],
    entries: [HashEntry; 62],
}

/// Any value page. Everything after the first 16 bytes is in units of 16 bytes, so the rest shows as numbers: which
/// of them are values is told by the kind (`docs/exchange.md`).
#[derive(H5Type, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct ValuePage {
    kind: u16,
    class_or_level: u8,
    reserved: u8,
    child_count: u32,
    generation: u64,
    numbers: [Number; 255],
}

/// [`cidstore_core::layout::table::TableSlot`].
#[derive(H5Type, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Slot {
    page: u32,
    checksum: u32,
}

/// [`cidstore_core::layout::table::TableRoot`].
#[derive(H5Type, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Root {
    page: u32,
    checksum: u32,
    height: u32,
    reserved: u32,
    slot_count: u64,
}

/// An entry of the original project's bucket datasets, as the library hands it over whatever its padding.
///
/// In the order and without padding as numpy lays such a type out: where the file's type is the same the library copies rows
/// as they are. To convert them it clears a buffer of a mebibyte for each call, which takes longer than reading a bucket.
#[derive(H5Type, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, packed)]
pub(super) struct OriginalEntry {
    pub(super) key_high: u64,
    pub(super) key_low: u64,
    pub(super) slots: [u64; 4],
    pub(super) state_mask: u8,
    pub(super) version: u32,
}

/// A value of the original's value datasets, where they are not plain 64-bit numbers.
#[derive(H5Type, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct OriginalValue {
    pub(super) high: u64,
    pub(super) low: u64,
}

#[cfg(test)]
mod tests {
    use cidstore_core::layout::{bucket, entry, table};
    use hdf5::types::{CompoundType, TypeDescriptor};

    use super::*;

    fn compound<T: H5Type>() -> CompoundType {
        match T::type_descriptor() {
            TypeDescriptor::Compound(compound) => compound,
            other => panic!("{other:?} is no compound type"),
        }
    }

    fn offset(compound: &CompoundType, name: &str) -> usize {
        compound.fields.iter().find(|field| field.name == name).unwrap().offset
    }

    #[test]
    fn the_types_are_the_structures() {
        use core::mem::offset_of;
        assert_eq!(size_of::<BucketPage>(), 4096);
        assert_eq!(size_of::<ValuePage>(), 4096);
        assert_eq!(size_of::<Slot>(), size_of::<table::TableSlot>());
        assert_eq!(size_of::<Root>(), size_of::<table::TableRoot>());
        let entry = compound::<HashEntry>();
        for (name, at) in [
            ("key_high", offset_of!(entry::HashEntry, key_high)),
            ("key_low", offset_of!(entry::HashEntry, key_low)),
            ("slots", offset_of!(entry::HashEntry, slots)),
            ("state_mask", offset_of!(entry::HashEntry, state_mask)),
            ("flags", offset_of!(entry::HashEntry, flags)),
            ("version", offset_of!(entry::HashEntry, version)),
            ("checksum", offset_of!(entry::HashEntry, checksum)),
        ] {
            assert_eq!(offset(&entry, name), at, "{name}");
        }
        let header = compound::<Header>();
        for (name, at) in [
            ("generation", offset_of!(bucket::BucketHeader, generation)),
            ("sequence", offset_of!(bucket::BucketHeader, sequence)),
            ("overflow", offset_of!(bucket::BucketHeader, overflow)),
            ("entry_count", offset_of!(bucket::BucketHeader, entry_count)),
            ("sorted_count", offset_of!(bucket::BucketHeader, sorted_count)),
            ("prefix", offset_of!(bucket::BucketHeader, prefix)),
            ("unsorted", offset_of!(bucket::BucketHeader, unsorted)),
        ] {
            assert_eq!(offset(&header, name), at, "{name}");
        }
        assert_eq!(
            offset(&compound::<BucketPage>(), "entries"),
            offset_of!(bucket::BucketPage, entries)
        );
        assert_eq!(
            offset(&compound::<Root>(), "slot_count"),
            offset_of!(table::TableRoot, slot_count)
        );
    }
}
