//! Damaged and foreign files: each is refused with words about it, and no store is made.

use std::fs;
use std::mem::offset_of;
use std::path::Path;

use cidstore_core::E;
use cidstore_core::layout::PageKind;
use cidstore_core::layout::table::{Space, TableKind};
use cidstore_core::layout::value::InnerHeader;
use cidstore_engine::{Error, Store};
use cidstore_hdf5::exchange::{self, Compression, ExchangeError, ExportOptions};
use cidstore_testkit::content::assert_store;
use cidstore_testkit::forge::Forge;
use cidstore_testkit::random::Random;
use cidstore_testkit::{Model, Scratch};
use zerocopy::IntoBytes;

use super::{content, export, fill, import, names, store_at};

/// Imports a file that is not as it should be; answers what was said. If it was taken all the same, it was read right.
fn refuse(bytes: &[u8], model: &Model, folder: &Path) -> Option<String> {
    let (file, copy) = (folder.join("broken.h5"), folder.join("copy.h5"));
    fs::write(&file, bytes).unwrap();
    let said = match import(&file, &copy) {
        Ok(_) => {
            assert_store(&store_at(&copy), model);
            fs::remove_file(&copy).unwrap();
            let _ = fs::remove_file(folder.join("copy.h5-wal"));
            None
        }
        Err(error) => Some(error.to_string()),
    };
    fs::remove_file(&file).unwrap();
    assert_eq!(names(folder), ["data.h5", "data.h5-wal", "export.h5"], "something was left behind");
    said
}

fn exported(compression: Option<Compression>) -> (Scratch, Model, Vec<u8>) {
    let scratch = Scratch::new();
    let store = store_at(&scratch.data());
    let model = content(300, |key| if key < 5 { 300 } else { 1 + key % 8 });
    fill(&store, &model);
    let file = scratch.path().join("export.h5");
    export(&store, &file, compression);
    let bytes = fs::read(file).unwrap();
    (scratch, model, bytes)
}

#[test]
fn flipped_bits_are_found_or_harmless() {
    for compression in [None, Some(Compression::Gzip(1))] {
        let (scratch, model, bytes) = exported(compression);
        let mut random = Random::new(11);
        let mut found = 0;
        for _ in 0..150 {
            let mut damaged = bytes.clone();
            let at = random.below(bytes.len() as u64) as usize;
            damaged[at] ^= 1 << random.below(8);
            found += u32::from(refuse(&damaged, &model, scratch.path()).is_some());
        }
        assert!(found > 20, "{found} flips of 150 were found in {compression:?}");
    }
}

#[test]
fn truncated_files_are_refused() {
    for compression in [None, Some(Compression::Lzf)] {
        let (scratch, model, bytes) = exported(compression);
        let length = bytes.len();
        for keep in [0, 1, 4096, 8192, 8200, 16384, length / 2, length - 4096, length - 1] {
            let said = refuse(&bytes[..keep], &model, scratch.path());
            assert!(said.is_some(), "{keep} of {length} bytes passed for a file");
        }
    }
}

#[test]
fn foreign_files_are_named_as_such() {
    let (scratch, model, _) = exported(None);
    let said = refuse(b"key\tvalue\n", &model, scratch.path()).unwrap();
    assert!(said.contains("neither a CIDStore file"), "{said}");
    let folder = scratch.path();
    let missing = import(&folder.join("nowhere.h5"), &folder.join("copy.h5"));
    assert!(matches!(missing, Err(ExchangeError::Io { action: "open", .. })), "{missing:?}");
}

/// Edits a compressed export through the library, as a program that means well might.
fn edited(edit: impl Fn(&hdf5::File)) -> String {
    let (scratch, model, bytes) = exported(Some(Compression::Gzip(1)));
    let file = scratch.path().join("edited.h5");
    fs::write(&file, bytes).unwrap();
    let opened = hdf5::File::open_rw(&file).unwrap();
    edit(&opened);
    opened.close().unwrap();
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    refuse(&bytes, &model, scratch.path()).expect("an edited file passed")
}

#[test]
fn missing_objects_and_wrong_counts_are_named() {
    for object in [
        "/buckets/pages",
        "/values/pages",
        "/values/table",
        "/dir",
        "/tables/nodes",
        "/buckets/overflow",
    ] {
        let said = edited(|file| file.unlink(object).unwrap());
        assert!(said.contains(object), "{said}");
        let said = edited(|file| {
            file.unlink(object).unwrap();
            file.new_dataset::<u32>().shape(4096).create(object).unwrap();
        });
        assert!(said.contains(object) && said.contains("type"), "{said}");
    }
    let said = edited(|file| file.unlink("config").unwrap());
    assert!(said.contains("config"), "{said}");
    for name in ["key_count", "value_count"] {
        let said = edited(|file| {
            file.group("config").unwrap().attr(name).unwrap().write_scalar(&7_u64).unwrap();
        });
        assert!(said.contains("says to have 7"), "{said}");
    }
    for name in ["hash_seed", "roots"] {
        let said = edited(|file| file.group("config").unwrap().delete_attr(name).unwrap());
        assert!(said.contains(name), "{said}");
    }
    let said = edited(|file| {
        let seed = file.group("config").unwrap().attr("hash_seed").unwrap();
        seed.write_raw(&[1_u64, 2]).unwrap();
    });
    assert!(!said.is_empty());
}

#[test]
fn another_encoding_is_not_guessed_at() {
    let said = edited(|file| {
        file.delete_attr("encoding-version").unwrap();
        let version = hdf5::types::FixedAscii::<8>::from_ascii(b"9.0.0").unwrap();
        let attribute = file.new_attr::<hdf5::types::FixedAscii<8>>();
        attribute.create("encoding-version").unwrap().write_scalar(&version).unwrap();
    });
    assert!(said.contains("9.0.0"), "{said}");
}

/// Bytes are damaged on disk, and the store is opened as by default: reads do not check.
#[test]
fn damage_in_a_store_is_not_exported_as_sound() {
    // Inline, in a small set, in a large one.
    for others in [0_u64, 20, 900] {
        let scratch = Scratch::new();
        let value = E::new(0xabcd_ef01_2345_6789, 0x1357_9bdf_0246_8ace);
        let store = store_at(&scratch.data());
        let values = (0..others).map(E::from).chain([value]);
        store.bulk_load(values.map(|value| (E::from(7), value))).unwrap();
        store.close().unwrap();
        drop(store);

        let mut bytes = scratch.data_bytes();
        let places: Vec<usize> = (0..bytes.len() - 16)
            .step_by(8)
            .filter(|&at| bytes[at..].starts_with(value.as_bytes()))
            .collect();
        assert!(!places.is_empty());
        places.iter().for_each(|&at| bytes[at] ^= 1);
        fs::write(scratch.data(), &bytes).unwrap();

        let store = Store::open(scratch.data()).unwrap();
        let to = scratch.path().join("export.h5");
        let said = exchange::export(&store, &to, &ExportOptions::default(), &mut |_| ());
        assert!(
            matches!(&said, Err(ExchangeError::Store(Error::Corrupt { path, .. })) if *path == scratch.data()),
            "{others}: {said:?}"
        );
        assert_eq!(names(scratch.path()), ["data.h5", "data.h5-wal"], "something was left behind");
    }
}

/// Neither memory nor file is made for what a set says to have.
#[test]
fn a_forged_count_is_not_believed() {
    const COUNT: u64 = 900;
    let scratch = Scratch::new();
    let store = store_at(&scratch.data());
    store.bulk_load((0..COUNT).map(|value| (E::from(7), E::from(value)))).unwrap();
    store.close().unwrap();
    drop(store);

    let mut forge = Forge::new(scratch.data_bytes());
    let mut roots = 0;
    for number in forge.pages(TableKind::Values).into_iter().filter(|&page| page != 0) {
        let page = forge.page(Space::Values, number);
        let count = offset_of!(InnerHeader, set_values)..offset_of!(InnerHeader, set_tombstones);
        if page.starts_with(&(PageKind::Inner as u16).to_le_bytes()) {
            assert_eq!(page[count.clone()], COUNT.to_le_bytes());
            page[count].copy_from_slice(&(1_u64 << 32).to_le_bytes());
            roots += 1;
        }
    }
    assert_eq!(roots, 1);
    forge.write(&scratch.data());

    let store = Store::open(scratch.data()).unwrap();
    let to = scratch.path().join("export.h5");
    let said = exchange::export(&store, &to, &ExportOptions::default(), &mut |_| ());
    let Err(ExchangeError::Store(Error::Corrupt { detail, .. })) = &said else {
        panic!("{said:?}");
    };
    assert!(detail.contains("more values than it has"), "{detail}");
    assert_eq!(names(scratch.path()), ["data.h5", "data.h5-wal"], "something was left behind");
}

/// A set that its key's entry does not mean, where all pages have checksums that fit.
#[test]
fn a_set_of_other_values_is_not_exported() {
    for count in [5_u64, 300] {
        let scratch = Scratch::new();
        let store = store_at(&scratch.data());
        store.bulk_load((0..count).map(|value| (E::from(7), E::from(value)))).unwrap();
        let file = scratch.path().join("forged.h5");
        export(&store, &file, None);
        let mut forge = Forge::new(fs::read(&file).unwrap());
        forge.change_bucket(1, |bucket| bucket.entries[0].slots[2] ^= 1);
        forge.write(&file);
        let forged = Store::options().read_only(true).verify_reads(true).open(&file).unwrap();
        assert_eq!(forged.value_count(7).unwrap(), count);
        let to = scratch.path().join("export.h5");
        let said = exchange::export(&forged, &to, &ExportOptions::default(), &mut |_| ());
        let said = said.unwrap_err();
        assert!(matches!(said, ExchangeError::Store(Error::Corrupt { .. })), "{said:?}");
        assert!(said.to_string().contains("other values than its hash says"), "{said}");
    }
}
