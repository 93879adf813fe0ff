//! The pages of a store as HDF5 datatypes. Each follows a structure of `cidstore_core::layout`, name by name; the
//! tests compare the places.

use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::bucket::ENTRIES_PER_BUCKET;
use cidstore_core::layout::table::SLOTS_PER_TABLE_PAGE;
use cidstore_core::layout::value::{EXTENT_CAPACITIES, INNER_CHILDREN, LEAF_VALUES};

use crate::datatype::Datatype::Compound;
use crate::datatype::{Datatype, U8, U16, U32, U64, array};

/// A number of 128 bits.
pub(crate) fn element() -> Datatype {
    Compound(vec![("high", U64), ("low", U64)])
}

/// A page number and what the page sums up to.
pub(crate) fn table_slot() -> Datatype {
    Compound(vec![("page", U32), ("checksum", U32)])
}

/// A node of a table.
pub(crate) fn table_page() -> Datatype {
    Compound(vec![("slots", array(table_slot(), SLOTS_PER_TABLE_PAGE))])
}

/// What the four words of an entry mean whose values are in a set.
pub(crate) fn spill_pointer() -> Datatype {
    Compound(vec![
        ("reference", U64),
        ("sorted_count", U32),
        ("value_count", U32),
        ("checksum_low", U64),
        ("checksum_high", U64),
    ])
}

/// An entry of a bucket.
pub(crate) fn hash_entry() -> Datatype {
    Compound(vec![
        ("key_high", U64),
        ("key_low", U64),
        ("slots", array(U64, 4)),
        ("state_mask", U8),
        ("flags", U8),
        ("reserved", U16),
        ("version", U32),
        ("checksum", U32),
        ("reserved_tail", U32),
    ])
}

/// A page of the buckets space.
pub(crate) fn bucket_page() -> Datatype {
    let header = Compound(vec![
        ("kind", U16),
        ("local_depth", U8),
        ("reserved", array(U8, 5)),
        ("generation", U64),
        ("sequence", U32),
        ("reserved_sequence", U32),
        ("overflow", U32),
        ("reserved_overflow", U32),
        ("entry_count", U16),
        ("sorted_count", U16),
        ("reserved_counts", U32),
        ("prefix", U64),
        ("unsorted", U64),
        ("reserved_tail", U64),
    ]);
    Compound(vec![
        ("header", header),
        ("tags", array(U8, ENTRIES_PER_BUCKET)),
        ("tags_spare", array(U8, 2)),
        ("entries", array(hash_entry(), ENTRIES_PER_BUCKET)),
    ])
}

/// A page of the values space whose kind is not known yet: what all kinds begin with.
pub(crate) fn value_page() -> Datatype {
    Compound(vec![
        ("kind", U16),
        ("class_or_level", U8),
        ("kind_specific", array(U8, 5)),
        ("generation", U64),
        ("content", array(U8, PAGE_BYTES - 16)),
    ])
}

/// A page of extents of one size class, and its name.
fn extents_page(class: usize, capacity: usize) -> (&'static str, Datatype) {
    const NAMES: [&str; EXTENT_CAPACITIES.len()] = [
        "ExtentsPage_8",
        "ExtentsPage_16",
        "ExtentsPage_32",
        "ExtentsPage_64",
        "ExtentsPage_122",
        "ExtentsPage_248",
    ];
    let header = Compound(vec![
        ("kind", U16),
        ("class", U8),
        ("reserved", array(U8, 5)),
        ("generation", U64),
        ("used", U64),
        ("live_values", U32),
        ("reserved_tail", array(U32, 9)),
    ]);
    let extent = Compound(vec![
        ("owner", element()),
        ("version", U32),
        ("count", U16),
        ("sorted_count", U16),
        ("tombstones", array(U64, 4)),
        ("reserved", U64),
        ("values", array(element(), capacity)),
    ]);
    let extent_bytes = extent.bytes() as usize;
    let count = (PAGE_BYTES - 64) / extent_bytes;
    let rest = PAGE_BYTES - 64 - count * extent_bytes;
    let mut members = vec![("header", header), ("extents", array(extent, count))];
    if rest > 0 {
        members.push(("rest", array(U8, rest)));
    }
    (NAMES[class], Compound(members))
}

/// A leaf of a large set.
pub(crate) fn leaf_page() -> Datatype {
    let header = Compound(vec![
        ("kind", U16),
        ("bounded", U8),
        ("reserved", array(U8, 5)),
        ("generation", U64),
        ("version", U32),
        ("count", U16),
        ("sorted_count", U16),
        ("next", U32),
        ("reserved_next", U32),
        ("high", element()),
        ("tombstones", array(U64, 4)),
        ("owner", element()),
    ]);
    Compound(vec![("header", header), ("values", array(element(), LEAF_VALUES))])
}

/// An inner node of a large set.
pub(crate) fn inner_page() -> Datatype {
    let header = Compound(vec![
        ("kind", U16),
        ("level", U8),
        ("reserved", U8),
        ("child_count", U32),
        ("generation", U64),
        ("set_values", U64),
        ("set_tombstones", U64),
        ("owner", element()),
        ("reserved_tail", array(U64, 2)),
    ]);
    Compound(vec![
        ("header", header),
        ("separators", array(element(), INNER_CHILDREN)),
        ("children", array(U32, INNER_CHILDREN)),
        ("reserved", array(U8, PAGE_BYTES - 64 - INNER_CHILDREN * 20)),
    ])
}

/// All types that are committed, with their names under `/types`.
pub(crate) fn all() -> Vec<(&'static str, Datatype)> {
    let mut types = vec![
        ("E", element()),
        ("TableSlot", table_slot()),
        ("TablePage", table_page()),
        ("SpillPointer", spill_pointer()),
        ("HashEntry", hash_entry()),
        ("BucketPage", bucket_page()),
        ("ValuePage", value_page()),
        ("LeafPage", leaf_page()),
        ("InnerPage", inner_page()),
    ];
    let classes = EXTENT_CAPACITIES.into_iter().enumerate();
    types.extend(classes.map(|(class, capacity)| extents_page(class, capacity.into())));
    types
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use cidstore_core::layout::bucket::{BucketHeader, BucketPage};
    use cidstore_core::layout::entry::{HashEntry, SpillPointer};
    use cidstore_core::layout::table::TableSlot;
    use cidstore_core::layout::value::{
        ExtentHeader, ExtentsHeader, InnerHeader, InnerPage, LeafHeader, LeafPage,
    };

    use super::*;

    /// Name and offset of each member.
    fn places(datatype: &Datatype) -> Vec<(&'static str, usize)> {
        let Compound(members) = datatype else { panic!("not a compound: {datatype:?}") };
        let mut offset = 0;
        let place = |(name, member): &(&'static str, Datatype)| {
            let at = offset;
            offset += member.bytes() as usize;
            (*name, at)
        };
        members.iter().map(place).collect()
    }

    fn member<'a>(datatype: &'a Datatype, name: &str) -> &'a Datatype {
        let Compound(members) = datatype else { panic!("not a compound: {datatype:?}") };
        let found = members.iter().find(|(found, _)| *found == name).map(|(_, member)| member);
        match found.unwrap_or_else(|| panic!("no member {name}")) {
            Datatype::Array(element, _) => element,
            other => other,
        }
    }

    macro_rules! same_places {
        ($datatype:expr, $type:ty { $($field:ident),+ $(,)? }) => {
            assert_eq!(
                places($datatype),
                vec![$((stringify!($field), offset_of!($type, $field))),+],
                stringify!($type)
            );
            assert_eq!($datatype.bytes() as usize, size_of::<$type>(), stringify!($type));
        };
    }

    #[test]
    fn every_field_has_the_name_and_place_that_the_store_gives_it() {
        same_places!(&table_slot(), TableSlot { page, checksum });
        same_places!(
            &spill_pointer(),
            SpillPointer { reference, sorted_count, value_count, checksum_low, checksum_high }
        );
        let bucket = bucket_page();
        same_places!(&bucket, BucketPage { header, tags, tags_spare, entries });
        same_places!(
            member(&bucket, "header"),
            BucketHeader {
                kind,
                local_depth,
                reserved,
                generation,
                sequence,
                reserved_sequence,
                overflow,
                reserved_overflow,
                entry_count,
                sorted_count,
                reserved_counts,
                prefix,
                unsorted,
                reserved_tail,
            }
        );
        same_places!(
            member(&bucket, "entries"),
            HashEntry {
                key_high,
                key_low,
                slots,
                state_mask,
                flags,
                reserved,
                version,
                checksum,
                reserved_tail,
            }
        );
        let leaf = leaf_page();
        same_places!(&leaf, LeafPage { header, values });
        same_places!(
            member(&leaf, "header"),
            LeafHeader {
                kind,
                bounded,
                reserved,
                generation,
                version,
                count,
                sorted_count,
                next,
                reserved_next,
                high,
                tombstones,
                owner,
            }
        );
        let inner = inner_page();
        same_places!(&inner, InnerPage { header, separators, children, reserved });
        same_places!(
            member(&inner, "header"),
            InnerHeader {
                kind,
                level,
                reserved,
                child_count,
                generation,
                set_values,
                set_tombstones,
                owner,
                reserved_tail,
            }
        );
    }

    #[test]
    fn extents_begin_where_the_store_puts_them() {
        for (class, capacity) in EXTENT_CAPACITIES.into_iter().enumerate() {
            let (name, page) = extents_page(class, capacity.into());
            assert_eq!(name, format!("ExtentsPage_{capacity}"));
            same_places!(
                member(&page, "header"),
                ExtentsHeader {
                    kind,
                    class,
                    reserved,
                    generation,
                    used,
                    live_values,
                    reserved_tail
                }
            );
            let extent = member(&page, "extents");
            let mut expected = vec![
                ("owner", offset_of!(ExtentHeader, owner)),
                ("version", offset_of!(ExtentHeader, version)),
                ("count", offset_of!(ExtentHeader, count)),
                ("sorted_count", offset_of!(ExtentHeader, sorted_count)),
                ("tombstones", offset_of!(ExtentHeader, tombstones)),
                ("reserved", offset_of!(ExtentHeader, reserved)),
            ];
            expected.push(("values", size_of::<ExtentHeader>()));
            assert_eq!(places(extent), expected);
            assert_eq!(extent.bytes() as usize, 64 + 16 * usize::from(capacity));
        }
    }

    #[test]
    fn every_page_has_the_size_of_one() {
        for (name, datatype) in all() {
            if name.contains("Page") {
                assert_eq!(datatype.bytes() as usize, PAGE_BYTES, "{name}");
            }
        }
    }
}
