//! Files with the seed's types, as the original project wrote them.

use std::path::{Path, PathBuf};

use cidstore_core::ecc;
use cidstore_hdf5::exchange::ExchangeError;
use cidstore_testkit::content::assert_store;
use cidstore_testkit::{Model, Scratch};
use hdf5::types::{FixedAscii, FixedUnicode, VarLenAscii, VarLenUnicode};
use hdf5::{File, H5Type};

use super::{import, store_at};

#[derive(H5Type, Clone, Copy, Default)]
#[repr(C, packed)]
struct Entry {
    key_high: u64,
    key_low: u64,
    slots: [u64; 4],
    state_mask: u8,
    version: u32,
}

#[derive(H5Type, Clone, Copy)]
#[repr(C)]
struct Wide {
    high: u64,
    low: u64,
}

fn inline(key: u128, slots: [u64; 4]) -> Entry {
    let valid = slots.iter().enumerate().map(|(bit, slot)| u8::from(*slot != 0) << bit).sum();
    let (key_high, key_low) = ((key >> 64) as u64, key as u64);
    Entry { key_high, key_low, slots, state_mask: ecc::encode(valid), version: 1 }
}

fn spilled(key: u128) -> Entry {
    Entry { state_mask: 0, ..inline(key, [0; 4]) }
}

/// A file with two buckets, two value datasets of both kinds, a deleted entry; `edit` may spoil it.
fn write(folder: &Path, edit: impl Fn(&File)) -> PathBuf {
    let path = folder.join("original.h5");
    let file = File::create(&path).unwrap();
    file.create_group("config").unwrap();
    let buckets = file.create_group("buckets").unwrap();
    let sp = file.create_group("values").unwrap().create_group("sp").unwrap();
    let bucket = |id: u64, entries: &[Entry]| {
        let rows = buckets.new_dataset_builder().chunk(16).empty::<Entry>();
        let rows = rows.shape((entries.len()..,)).create(&*format!("bucket_{id}")).unwrap();
        if !entries.is_empty() {
            rows.write_raw(entries).unwrap();
        }
        rows.new_attr::<u64>().create("sorted_count").unwrap().write_scalar(&0).unwrap();
    };
    // The original's writer left the mask at its first bit when it added a second value.
    let second_unmarked = Entry { state_mask: ecc::encode(1), ..inline(2, [7, 8, 0, 0]) };
    // One flipped bit of a mask is corrected.
    let mut flipped = inline(1 << 64, [1, 2, 3, 4]);
    flipped.state_mask ^= 0x20;
    bucket(0, &[inline(1, [5, 0, 6, 0]), second_unmarked, spilled(3), spilled(99)]);
    bucket(1, &[flipped, spilled(u128::MAX)]);
    bucket(2, &[]);
    let narrow = sp.new_dataset::<u64>().shape(7).create("sp_0_0_3").unwrap();
    narrow.write_raw(&[9_u64, 0, 10, 11, 12, 0, 13]).unwrap();
    let all = u64::MAX;
    let wide = sp.new_dataset::<Wide>().shape(2).create(&*format!("sp_1_{all}_{all}")).unwrap();
    wide.write_raw(&[Wide { high: 4, low: 0 }, Wide { high: 0, low: 1 }]).unwrap();
    edit(&file);
    file.close().unwrap();
    path
}

fn expected() -> Model {
    let mut model = Model::new();
    for (key, values) in [
        (1, &[5, 6][..]),
        (2, &[7, 8]),
        (3, &[9, 10, 11, 12, 13]),
        (1 << 64, &[1, 2, 3, 4]),
        (u128::MAX, &[4 << 64, 1]),
    ] {
        model.insert_all(values.iter().map(|&value| (key, value)));
    }
    model
}

#[test]
fn it_is_imported_as_its_own_reader_saw_it() {
    let scratch = Scratch::new();
    let file = write(scratch.path(), |_| ());
    let imported = import(&file, &scratch.data()).unwrap();
    assert_eq!(imported.pairs, expected().value_len());
    assert_store(&store_at(&scratch.data()), &expected());
}

/// The same fields in another order, with padding: the library brings them into ours.
#[derive(H5Type, Clone, Copy)]
#[repr(C)]
struct Padded {
    version: u32,
    state_mask: u8,
    slots: [u64; 4],
    key_low: u64,
    key_high: u64,
}

#[test]
fn entries_of_another_layout_are_read_by_their_names() {
    let scratch = Scratch::new();
    let file = write(scratch.path(), |file| {
        let rows = file.dataset("/buckets/bucket_1").unwrap().read_raw::<Entry>().unwrap();
        let padded = |entry: &Entry| {
            let Entry { key_high, key_low, slots, state_mask, version } = *entry;
            Padded { version, state_mask, slots, key_low, key_high }
        };
        let rows: Vec<Padded> = rows.iter().map(padded).collect();
        replace(file, "/buckets/bucket_1", &rows);
    });
    import(&file, &scratch.data()).unwrap();
    assert_store(&store_at(&scratch.data()), &expected());
}

/// What is said about a spoiled file; nothing may come of it.
fn refused(edit: impl Fn(&File)) -> String {
    let scratch = Scratch::new();
    let file = write(scratch.path(), edit);
    let refused = import(&file, &scratch.data());
    assert_eq!(super::names(scratch.path()), ["original.h5"], "something was left behind");
    match refused {
        Err(ExchangeError::Content { object, detail, .. }) => format!("{object}: {detail}"),
        other => panic!("{other:?}"),
    }
}

fn replace<T: H5Type>(file: &File, name: &str, rows: &[T]) {
    file.unlink(name).unwrap();
    file.new_dataset::<T>().shape(rows.len()).create(name).unwrap().write_raw(rows).unwrap();
}

#[test]
fn what_is_wrong_is_named() {
    let bucket = "/buckets/bucket_1";
    let no_buckets = refused(|file| file.unlink("buckets").unwrap());
    assert!(no_buckets.contains("/buckets"), "{no_buckets}");
    let no_values = refused(|file| file.unlink("values").unwrap());
    assert!(no_values.contains("/values"), "{no_values}");

    let type_of_rows = refused(|file| replace(file, bucket, &[1_u32, 2]));
    assert!(type_of_rows.contains(bucket) && type_of_rows.contains("type"), "{type_of_rows}");
    let missing_fields = refused(|file| replace(file, bucket, &[Wide { high: 1, low: 2 }]));
    assert!(missing_fields.contains("no field key_high"), "{missing_fields}");

    let two_flips = Entry { state_mask: ecc::encode(1) ^ 0x11, ..inline(5, [1, 0, 0, 0]) };
    let two_flips = refused(|file| replace(file, bucket, &[two_flips, spilled(u128::MAX)]));
    assert!(two_flips.contains("two flipped bits"), "{two_flips}");

    let lost = Entry { slots: [0, 1, 0, 0], ..spilled(42) };
    let lost = refused(|file| replace(file, bucket, &[lost, spilled(u128::MAX)]));
    assert!(lost.contains("no dataset of it"), "{lost}");

    let orphan = refused(|file| replace(file, bucket, &[inline(4, [1, 0, 0, 0])]));
    assert!(orphan.contains("belongs to no entry"), "{orphan}");

    let floats = refused(|file| replace(file, "/values/sp/sp_0_0_3", &[1.5_f64]));
    assert!(floats.contains("sp_0_0_3") && floats.contains("type"), "{floats}");

    let badly_named = refused(|file| {
        file.new_dataset::<u64>().shape(1).create("/values/sp/other").unwrap();
    });
    assert!(badly_named.contains("not named"), "{badly_named}");

    let miscounted = refused(|file| {
        let rows = file.dataset("/buckets/bucket_0").unwrap();
        rows.attr("sorted_count").unwrap().write_scalar(&5_u64).unwrap();
    });
    assert!(miscounted.contains("5 of its 4 entries"), "{miscounted}");
}

/// Rows that were never written read as zeros without end.
#[test]
fn rows_that_are_hardly_there_are_refused() {
    const ROWS: usize = 1_000_000_000_000;
    let bucket = "/buckets/bucket_1";
    let said = refused(|file| {
        file.unlink(bucket).unwrap();
        let rows = file.new_dataset_builder().chunk(1024).empty::<Entry>();
        let rows = rows.shape((ROWS..,)).create(bucket).unwrap();
        rows.write_slice(&[spilled(u128::MAX)], 0..1).unwrap();
    });
    assert!(said.starts_with(bucket) && said.contains("are there"), "{said}");
    let values = "/values/sp/sp_0_0_3";
    let said = refused(|file| {
        file.unlink(values).unwrap();
        let rows = file.new_dataset_builder().chunk(1024).empty::<u64>();
        rows.shape((ROWS..,)).create(values).unwrap().write_slice(&[9_u64], 0..1).unwrap();
    });
    assert!(said.starts_with(values) && said.contains("are there"), "{said}");
}

/// Gives a file an `encoding-type`, in this type and this shape.
fn encoded<T: H5Type>(shape: Option<usize>, value: T) -> impl Fn(&File) {
    move |file| {
        let attribute = file.new_attr::<T>();
        match shape {
            None => attribute.create("encoding-type").unwrap().as_writer().write_scalar(&value),
            Some(_) => {
                let attribute = attribute.shape(1).create("encoding-type").unwrap();
                attribute.write_raw(std::slice::from_ref(&value))
            }
        }
        .unwrap();
    }
}

/// A file that names an encoding is not the original's, in whatever type it does so.
#[test]
fn another_encoding_is_told_in_any_type() {
    let other = "somebody-elses";
    let texts = [
        refused(encoded(None, FixedAscii::<14>::from_ascii(other).unwrap())),
        refused(encoded(None, other.parse::<FixedUnicode<14>>().unwrap())),
        refused(encoded(None, VarLenAscii::from_ascii(other).unwrap())),
        refused(encoded(None, other.parse::<VarLenUnicode>().unwrap())),
    ];
    for said in texts {
        assert!(said.contains(other), "{said}");
    }
    let odd = [
        refused(encoded(None, 5_u64)),
        refused(encoded(Some(1), FixedAscii::<14>::from_ascii(other).unwrap())),
        refused(|file| {
            let attribute = file.new_attr::<FixedAscii<14>>().shape(hdf5::Extents::Null);
            attribute.create("encoding-type").unwrap();
        }),
    ];
    for said in odd {
        assert!(said.starts_with("/:encoding-type"), "{said}");
    }
}
