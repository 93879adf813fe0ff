//! `docs/format.md` against the code: every field's place and size, every constant, every vector.
//!
//! The document is parsed, so a field or row that only one side has fails the test.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails the test")]

use std::mem::{offset_of, size_of};

use cidstore_core::E;
use cidstore_core::ecc::encode;
use cidstore_core::hash::{HashSeed, KeyHash, MAX_DEPTH};
use cidstore_core::layout::bucket::{BucketHeader, BucketPage};
use cidstore_core::layout::entry::{EntryFlags, HashEntry, INLINE_VALUES_MAX, SpillPointer};
use cidstore_core::layout::record::{
    HybridTime, LOG_FORMAT_VERSION, LogHeader, Opcode, RECORD_BYTES, RING_START, Record,
};
use cidstore_core::layout::superblock::{
    FORMAT_VERSION, SEGMENT_UNIT_PAGES, SEGMENTS_MAX, SEGMENTS_START, SPACE_PAGES_MAX,
    SUPERBLOCK_OFFSETS, Segment, Superblock,
};
use cidstore_core::layout::table::{
    MAX_TABLE_HEIGHT, SLOT_BITS, SLOTS_PER_TABLE_PAGE, Space, TableKind, TableRoot, TableSlot,
};
use cidstore_core::layout::value::{
    EXTENT_CAPACITIES, ExtentHeader, ExtentsHeader, INNER_CHILDREN, InnerHeader, InnerPage,
    LEAF_VALUES, LeafHeader, LeafPage, SMALL_SET_MAX,
};
use cidstore_core::layout::view::{VIEW_HEADER_BYTES, VIEW_OFFSET, ViewFrame};
use cidstore_core::layout::{NO_PAGE, PAGE_BYTES, PageKind};
use cidstore_core::sethash::mix;
use zerocopy::FromZeros;

const DOCUMENT: &str = include_str!("../../docs/format.md");

/// The rows of a table, its head left out; cells without blanks and backquotes around them.
struct Table {
    /// The `###` heading above, if there is one since the last `##`.
    heading: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect())
}

fn tables() -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut heading = String::new();
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        if line.starts_with('#') {
            heading = line.strip_prefix("### ").unwrap_or_default().to_owned();
        } else if let Some(columns) = cells(line) {
            assert!(lines.next().unwrap().starts_with("|---"), "no rule below {line}");
            let rows = lines.by_ref().map_while(cells).collect();
            tables.push(Table { heading: heading.clone(), columns, rows });
        }
    }
    tables
}

/// The rows of all tables whose columns begin so.
fn rows(columns: &[&str]) -> Vec<Vec<String>> {
    let begins = |table: &Table| {
        table.columns.len() >= columns.len()
            && table.columns.iter().zip(columns).all(|(a, b)| a == b)
    };
    let rows: Vec<_> = tables().into_iter().filter(begins).flat_map(|table| table.rows).collect();
    assert!(!rows.is_empty(), "no table with the columns {columns:?}");
    rows
}

fn number(text: &str) -> u128 {
    match text.strip_prefix("0x") {
        Some(digits) => u128::from_str_radix(digits, 16).unwrap(),
        None => text.parse().unwrap(),
    }
}

/// Name and code of each row, to be compared as a whole.
fn codes(column: &str, of_code: &str) -> Vec<(String, u128)> {
    rows(&[column, of_code]).iter().map(|row| (row[0].clone(), number(&row[1]))).collect()
}

fn listed<const N: usize>(list: [(&str, u128); N]) -> Vec<(String, u128)> {
    list.into_iter().map(|(name, code)| (name.to_owned(), code)).collect()
}

/// A structure: its name, its size, and name, offset and size of each field.
struct Structure {
    name: &'static str,
    bytes: usize,
    fields: Vec<(&'static str, usize, usize)>,
}

/// Lists all fields of a structure: one that is left out does not compile.
macro_rules! structure {
    ($type:ident { $($field:ident),+ $(,)? }) => {{
        let zeros = $type::new_zeroed();
        let $type { $($field),+ } = &zeros;
        Structure {
            name: stringify!($type),
            bytes: size_of::<$type>(),
            fields: vec![$((stringify!($field), offset_of!($type, $field), size_of_val($field))),+],
        }
    }};
}

fn structures() -> Vec<Structure> {
    vec![
        structure!(Superblock {
            magic,
            format_version,
            page_bytes,
            file_id,
            checkpoint_number,
            generation,
            hash_seed,
            created_nanos,
            lsn,
            wal_offset,
            wal_salt,
            flags,
            global_depth,
            key_count,
            value_count,
            file_bytes,
            roots,
            segment_counts,
            previous_checksum,
            bulk_lsn,
            reserved,
            segments,
            reserved_tail,
            checksum,
        }),
        structure!(Segment { first_file_page, page_count }),
        structure!(TableSlot { page, checksum }),
        structure!(TableRoot { slot, height, reserved, slot_count }),
        structure!(BucketPage { header, tags, tags_spare, entries }),
        structure!(BucketHeader {
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
        }),
        structure!(HashEntry {
            key_high,
            key_low,
            slots,
            state_mask,
            flags,
            reserved,
            version,
            checksum,
            reserved_tail,
        }),
        structure!(SpillPointer {
            reference,
            sorted_count,
            value_count,
            checksum_low,
            checksum_high,
        }),
        structure!(ExtentsHeader {
            kind,
            class,
            reserved,
            generation,
            used,
            live_values,
            reserved_tail,
        }),
        structure!(ExtentHeader { owner, version, count, sorted_count, tombstones, reserved }),
        structure!(LeafHeader {
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
        }),
        structure!(LeafPage { header, values }),
        structure!(InnerHeader {
            kind,
            level,
            reserved,
            child_count,
            generation,
            set_values,
            set_tombstones,
            owner,
            reserved_tail,
        }),
        structure!(InnerPage { header, separators, children, reserved }),
        structure!(LogHeader { magic, format_version, checksum, file_id, salt, reserved_tail }),
        structure!(Record { version_op, flags, reserved, checksum, lsn, time, key, value }),
        structure!(HybridTime { nanos, seq, shard }),
        structure!(ViewFrame { magic, body_bytes, checksum, file_bytes, roots, reserved }),
    ]
}

#[test]
fn every_structure_is_told_field_by_field() {
    let told: Vec<_> = tables().into_iter().filter(|table| table.columns[0] == "offset").collect();
    let structures = structures();
    assert_eq!(told.len(), structures.len());
    for (table, structure) in told.iter().zip(&structures) {
        assert_eq!(table.heading, format!("`{}`, {} bytes", structure.name, structure.bytes));
        let fields = structure.fields.iter();
        let expected: Vec<_> = fields
            .map(|(name, offset, size)| [offset.to_string(), size.to_string(), (*name).to_owned()])
            .collect();
        let found: Vec<_> = table.rows.iter().map(|row| row[..3].to_vec()).collect();
        assert_eq!(found, expected, "{}", structure.name);
        // No padding: the fields fill the structure.
        let mut end = 0;
        for &(name, offset, size) in &structure.fields {
            assert_eq!(offset, end, "{} {name}", structure.name);
            end += size;
        }
        assert_eq!(end, structure.bytes, "{}", structure.name);
    }
}

#[test]
fn every_constant_is_told() {
    let mut expected = listed([
        ("PAGE_BYTES", PAGE_BYTES as u128),
        ("SUPERBLOCK_OFFSETS[0]", SUPERBLOCK_OFFSETS[0].into()),
        ("SUPERBLOCK_OFFSETS[1]", SUPERBLOCK_OFFSETS[1].into()),
        ("SEGMENTS_START", SEGMENTS_START.into()),
        ("SEGMENT_UNIT_PAGES", SEGMENT_UNIT_PAGES.into()),
        ("SEGMENTS_MAX", SEGMENTS_MAX as u128),
        ("SPACE_PAGES_MAX", SPACE_PAGES_MAX.into()),
        ("NO_PAGE", NO_PAGE.into()),
        ("FORMAT_VERSION", FORMAT_VERSION.into()),
        ("SLOTS_PER_TABLE_PAGE", SLOTS_PER_TABLE_PAGE as u128),
        ("SLOT_BITS", SLOT_BITS.into()),
        ("MAX_TABLE_HEIGHT", MAX_TABLE_HEIGHT.into()),
        ("MAX_DEPTH", MAX_DEPTH.into()),
        ("INLINE_VALUES_MAX", INLINE_VALUES_MAX as u128),
        ("SMALL_SET_MAX", SMALL_SET_MAX as u128),
    ]);
    for (class, capacity) in EXTENT_CAPACITIES.into_iter().enumerate() {
        expected.push((format!("EXTENT_CAPACITIES[{class}]"), capacity.into()));
    }
    expected.extend(listed([
        ("LEAF_VALUES", LEAF_VALUES as u128),
        ("INNER_CHILDREN", INNER_CHILDREN as u128),
        ("RECORD_BYTES", RECORD_BYTES as u128),
        ("RING_START", RING_START.into()),
        ("LOG_FORMAT_VERSION", LOG_FORMAT_VERSION.into()),
        ("VIEW_OFFSET", VIEW_OFFSET.into()),
        ("VIEW_HEADER_BYTES", VIEW_HEADER_BYTES as u128),
    ]));
    assert_eq!(codes("constant", "value"), expected);
}

#[test]
fn every_code_is_told() {
    let spaces: Vec<_> =
        Space::ALL.iter().map(|&space| (format!("{space:?}"), space as u128)).collect();
    assert_eq!(codes("space", "code"), spaces);

    let kinds = |code| PageKind::from_code(code).map(|kind| (format!("{kind:?}"), code.into()));
    let mut told = codes("page kind", "code");
    told.sort_by_key(|&(_, code)| code);
    assert_eq!(told, (0..=u16::MAX).filter_map(kinds).collect::<Vec<_>>());
    for row in rows(&["page kind", "code", "characters"]) {
        let characters = row[2].bytes().rev().fold(0, |code, byte| code << 8 | u128::from(byte));
        assert_eq!(characters, number(&row[1]), "{}", row[0]);
    }

    let tables = rows(&["table", "code", "maps", "to pages of"]);
    assert_eq!(tables.len(), TableKind::ALL.len());
    for (row, table) in tables.iter().zip(TableKind::ALL) {
        let space = format!("{:?}", table.space());
        assert_eq!(row[0], format!("{table:?}"));
        assert_eq!((number(&row[1]), &row[3]), (table as u128, &space));
    }

    let opcodes = |code| Opcode::from_code(code).map(|code| (format!("{code:?}"), code as u128));
    assert_eq!(codes("opcode", "code"), (0..64).filter_map(opcodes).collect::<Vec<_>>());

    let flags = listed([
        ("LIVE", EntryFlags::LIVE.into()),
        ("SPILLED", EntryFlags::SPILLED.into()),
        ("HAS_SECOND", EntryFlags::HAS_SECOND.into()),
        ("IS_SECOND", EntryFlags::IS_SECOND.into()),
    ]);
    assert_eq!(codes("flag", "value"), flags);
}

#[test]
fn every_vector_holds() {
    let words = rows(&["nibble", "code word"]);
    assert_eq!(words.len(), 16);
    for row in words {
        assert_eq!(number(&row[1]), encode(row[0].parse().unwrap()).into(), "nibble {}", row[0]);
    }
    for row in rows(&["seed high", "seed low", "key high", "key low", "hash"]) {
        let [a, b, c, d, hash] = [0, 1, 2, 3, 4].map(|index| number(&row[index]) as u64);
        assert_eq!(HashSeed::new(a, b).hash(E::new(c, d)), KeyHash(hash), "{row:?}");
    }
    for row in rows(&["value", "mix"]) {
        assert_eq!(mix(E::from_u128(number(&row[0]))), number(&row[1]), "{}", row[0]);
    }
    assert_eq!(E::from_name("foo"), E::new(0xb84e_d8ed_a7b1_502f, 0x83f6_9013_2e68_adef));
}
