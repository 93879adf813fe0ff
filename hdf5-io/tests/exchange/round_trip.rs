//! What goes out comes back, and is the same bytes when it goes out again.

use std::fs;
use std::path::Path;

use cidstore_core::E;
use cidstore_core::hash::HashSeed;
use cidstore_engine::{Durability, Error, Store};
use cidstore_hdf5::exchange::{self, Compression, ExchangeError, ExportOptions, ImportOptions};
use cidstore_testkit::content::{assert_store, assert_verified, model_of};
use cidstore_testkit::image::assert_image;
use cidstore_testkit::model::{element, universe};
use cidstore_testkit::{Model, Scratch};
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::{content, export, fill, import, names, rich, store_at};

/// Everything that must hold of one content, whatever the store went through.
fn check(store: &Store, model: &Model) {
    let scratch = Scratch::new();
    let [first, copy, again] =
        ["first.h5", "copy.h5", "again.h5"].map(|name| scratch.path().join(name));
    export(store, &first, None);
    let bytes = fs::read(&first).unwrap();
    assert_image(&bytes, model);

    // In place, by the engine, with every checksum looked at.
    let opened = Store::options().read_only(true).verify_reads(true).open(&first).unwrap();
    assert_store(&opened, model);
    assert_verified(&opened, model);
    drop(opened);
    assert_eq!(fs::read(&first).unwrap(), bytes, "reading wrote");

    let imported = import(&first, &copy).unwrap();
    assert_eq!(imported.new_pairs, model.value_len());
    let copied = store_at(&copy);
    assert_store(&copied, model);
    assert_verified(&copied, model);
    export(&copied, &again, None);
    assert!(fs::read(&again).unwrap() == bytes, "export(import(export(s))) is not export(s)");
}

proptest! {
    #![proptest_config(Config { cases: 24, max_shrink_iters: 200, ..Config::default() })]

    /// Keys come in bulk and one by one, grow, and go again.
    #[test]
    fn equals_the_model_and_itself(
        bulk in 0_u16..600,
        many in prop::collection::vec((0_u16..700, 0_u16..400, 1_u16..300), 0..12),
        gone in prop::collection::vec(0_u16..700, 0..300),
    ) {
        let scratch = Scratch::new();
        let store = store_at(&scratch.data());
        let mut model = content(bulk, |key| 1 + key % 5);
        fill(&store, &model);
        for (key, first, count) in many {
            let pairs: Vec<(u128, u128)> =
                (first..first + count).map(|value| (universe(key), universe(value))).collect();
            let elements: Vec<(E, E)> =
                pairs.iter().map(|&(key, value)| (element(key), element(value))).collect();
            store.batch_insert(&elements).unwrap();
            model.insert_all(pairs);
        }
        for key in gone {
            store.delete(element(universe(key))).unwrap();
            model.delete(universe(key));
        }
        check(&store, &model);
    }
}

#[test]
fn an_empty_store_is_exported_too() {
    let scratch = Scratch::new();
    check(&store_at(&scratch.data()), &Model::new());
}

#[test]
fn sets_of_every_size_survive() {
    let scratch = Scratch::new();
    let (store, model) = (store_at(&scratch.data()), rich());
    fill(&store, &model);
    check(&store, &model);
}

/// More buckets than a thread takes at once, most with sets: they are numbered over all threads in the order of keys.
#[test]
fn blocks_of_several_threads_make_one_file() {
    let scratch = Scratch::new();
    let (store, model) = (store_at(&scratch.data()), content(5000, |key| 1 + key % 8));
    fill(&store, &model);
    check(&store, &model);
}

/// The file's id follows from the checksums of all pages, so it changes if any byte of a page does: then
/// `encoding-version` must change as well.
#[test]
fn canonical_bytes_are_what_they_were() {
    let scratch = Scratch::new();
    let store = Store::options()
        .hash_seed(HashSeed::new(1, 2))
        .durability(Durability::Buffered)
        .open(scratch.data())
        .unwrap();
    fill(&store, &rich());
    let to = scratch.path().join("export.h5");
    export(&store, &to, None);
    let image = fs::read(&to).unwrap();
    let reader = cidstore_core::image::ImageReader::open(&image).unwrap();
    let id = u128::from_be_bytes(reader.superblock().file_id);
    assert_eq!(format!("{id:032x}"), "f0f4ef4a2cd107316e17b7f0076bfb75");
}

#[test]
fn keys_that_collide_are_chained_and_come_back() {
    let scratch = Scratch::new();
    let store = store_at(&scratch.data());
    let seed = store.hash_seed();
    // All of one directory slot as deep as a small store's directory may be.
    let colliding = (0_u64..).map(E::from).filter(|key| seed.hash(*key).directory_index(12) == 5);
    let model: Model = colliding
        .take(200)
        .flat_map(|key| (0..3).map(move |value| (key.to_u128(), value)))
        .collect();
    fill(&store, &model);
    let to = scratch.path().join("chained.h5");
    export(&store, &to, None);
    let image = fs::read(&to).unwrap();
    let reader = cidstore_core::image::ImageReader::open(&image).unwrap();
    let overflow = reader.superblock().roots[1].slot_count;
    assert!(overflow > 1, "no chain was made, so none was tested");
    check(&store, &model);
}

#[test]
fn the_way_to_a_content_does_not_show() {
    let scratch = Scratch::new();
    let [a, b] = ["a", "b"].map(|name| scratch.path().join(name));
    let first = store_at(&scratch.data());
    let model = rich();
    fill(&first, &model);
    let second = Store::options().hash_seed(first.hash_seed()).open(&a).unwrap();
    let mut pairs: Vec<(E, E)> =
        model.pairs().map(|(key, value)| (element(key), element(value))).collect();
    pairs.reverse();
    pairs.extend((5000..6000_u64).map(|key| (E::from(key), E::from(key))));
    for part in pairs.chunks(900) {
        second.batch_insert(part).unwrap();
    }
    let gone: Vec<E> = (5000..6000_u64).map(E::from).collect();
    second.batch_delete(&gone).unwrap();
    export(&first, &b, None);
    let other = scratch.path().join("c");
    export(&second, &other, None);
    assert!(fs::read(b).unwrap() == fs::read(other).unwrap());
}

/// A set that lost values stays a set until it is demoted. That is history, and no export tells of it.
#[test]
fn sets_that_shrank_do_not_show() {
    let scratch = Scratch::new();
    let [a, b, to, other] = ["a", "b", "c", "d"].map(|name| scratch.path().join(name));
    let [first, second] = [a, b].map(|path| {
        let options = Store::options().hash_seed(HashSeed::new(1, 2));
        options.durability(Durability::Buffered).open(path).unwrap()
    });
    // Inline, three and four values take two entries: a bucket that had room may have none then.
    let left = |key| if key == 0 { 4 } else { 1 + key % 5 };
    let before = content(700, |key| if key == 0 { 3000 } else { 5 + key % 8 });
    let model = content(700, left);
    fill(&first, &before);
    for (key, value) in before.pairs().filter(|(key, value)| !model.contains(*key, *value)) {
        first.delete_value(element(key), element(value)).unwrap();
    }
    fill(&second, &model);
    let is_set = |store: &Store| {
        let entry = store.get_entry(element(universe(3))).unwrap();
        entry.unwrap().spill.is_some()
    };
    assert!(is_set(&first) && !is_set(&second), "no set shrank, so none was tested");
    export(&first, &to, None);
    export(&second, &other, None);
    assert!(fs::read(to).unwrap() == fs::read(other).unwrap());
    check(&first, &model);
}

#[test]
fn compressed_exports_are_smaller_and_come_back() {
    let scratch = Scratch::new();
    let (store, model) = (store_at(&scratch.data()), rich());
    fill(&store, &model);
    let plain = scratch.path().join("plain.h5");
    export(&store, &plain, None);
    let plain_bytes = fs::read(&plain).unwrap();
    for compression in [Compression::Gzip(6), Compression::Lzf] {
        let packed = scratch.path().join(format!("{compression:?}.h5"));
        let (copy, again) = (packed.with_extension("copy"), packed.with_extension("again"));
        export(&store, &packed, Some(compression));
        let (small, large) = (fs::metadata(&packed).unwrap().len(), plain_bytes.len() as u64);
        assert!(small < large * 3 / 4, "{small} of {large} bytes");
        let refused = Store::options().read_only(true).open(&packed);
        assert!(matches!(refused, Err(Error::NotAStore { .. })), "{refused:?}");
        import(&packed, &copy).unwrap();
        let copied = store_at(&copy);
        assert_store(&copied, &model);
        export(&copied, &again, None);
        assert!(fs::read(again).unwrap() == plain_bytes);
    }
}

#[test]
fn a_live_file_is_imported_and_an_open_one_refused() {
    let scratch = Scratch::new();
    let (store, model) = (store_at(&scratch.data()), rich());
    fill(&store, &model);
    let copy = scratch.path().join("copy.h5");
    let refused = import(&scratch.data(), &copy);
    assert!(
        matches!(
            refused,
            Err(ExchangeError::Store(Error::Locked { .. } | Error::NeedsRecovery { .. }))
        ),
        "{refused:?}"
    );
    assert!(!copy.exists());
    store.close().unwrap();
    import(&scratch.data(), &copy).unwrap();
    assert_store(&store_at(&copy), &model);
}

#[test]
fn an_import_joins_what_a_store_has() {
    let scratch = Scratch::new();
    let store = store_at(&scratch.data());
    let mut model = content(90, |key| 1 + key % 9);
    fill(&store, &model);
    let file = scratch.path().join("export.h5");
    export(&store, &file, Some(Compression::Gzip(1)));
    let other = store_at(&scratch.path().join("other.h5"));
    let own = content(120, |key| 1 + key % 4);
    fill(&other, &own);
    let imported = exchange::import_into(&file, &other, &scratch.data(), &mut |_| ()).unwrap();
    assert_eq!(imported.pairs, model.value_len());
    let before = own.value_len();
    model.insert_all(own.pairs().collect::<Vec<_>>());
    assert_eq!(imported.new_pairs, model.value_len() - before);
    assert_store(&other, &model);
}

#[test]
fn parts_make_the_same_store() {
    let scratch = Scratch::new();
    let (store, model) = (store_at(&scratch.data()), rich());
    fill(&store, &model);
    let (file, copy) = (scratch.path().join("export.h5"), scratch.path().join("copy.h5"));
    export(&store, &file, None);
    let options = ImportOptions { part_pairs: 700, ..ImportOptions::default() };
    let imported = exchange::import(&file, &copy, &options, &mut |_| ()).unwrap();
    assert_eq!((imported.pairs, imported.new_pairs), (model.value_len(), model.value_len()));
    let copied = store_at(&copy);
    assert_ne!(
        copied.hash_seed(),
        store.hash_seed(),
        "a seed was taken over that nobody asked for"
    );
    assert_store(&copied, &model);
}

#[test]
fn nothing_is_replaced_unasked() {
    let scratch = Scratch::new();
    let store = store_at(&scratch.data());
    store.insert(1, 2).unwrap();
    let there = scratch.path().join("there");
    fs::write(&there, "mine").unwrap();
    let mut options = ExportOptions::default();
    let refused = exchange::export(&store, &there, &options, &mut |_| ());
    assert!(matches!(refused, Err(ExchangeError::Exists { .. })), "{refused:?}");
    assert_eq!(fs::read(&there).unwrap(), b"mine");
    options.replace = true;
    exchange::export(&store, &there, &options, &mut |_| ()).unwrap();
    let refused = import(&there, &scratch.data());
    assert!(matches!(refused, Err(ExchangeError::Exists { .. })), "{refused:?}");
    // Neither over a store in use, whatever is allowed, nor where a lost store's log still lies.
    let refused = exchange::export(&store, &scratch.data(), &options, &mut |_| ());
    assert!(matches!(refused, Err(ExchangeError::Exists { path }) if path == scratch.log()));
    assert_eq!(model_of(&store).value_len(), 1);
    assert_eq!(names(scratch.path()), ["data.h5", "data.h5-wal", "there"]);
}

/// Its log lies elsewhere, so none beside the file tells that it is in use.
#[test]
fn a_store_in_use_is_not_replaced() {
    let scratch = Scratch::new();
    let open = |path: &Path, log: &str, read_only: bool| {
        let options = Store::options().wal_path(scratch.path().join(log)).read_only(read_only);
        options.durability(Durability::Buffered).open(path).unwrap()
    };
    let [own, other, alias] = ["own", "other", "alias"].map(|name| scratch.path().join(name));
    let store = open(&own, "log", false);
    store.insert(1, 2).unwrap();
    let second = open(&other, "other-log", false);
    second.insert(3, 4).unwrap();
    fs::hard_link(&own, &alias).unwrap();
    let there = names(scratch.path());

    let options = ExportOptions { replace: true, ..ExportOptions::default() };
    let refused =
        |store: &Store, to: &Path| exchange::export(store, to, &options, &mut |_| ()).unwrap_err();
    for path in [&own, &alias] {
        let said = refused(&store, path).to_string();
        assert!(said.contains("is the store that is exported"), "{said}");
    }
    let said = refused(&store, &other);
    let holder = Some(std::process::id());
    assert!(
        matches!(&said, ExchangeError::Store(Error::Locked { path, pid }) if *path == other && *pid == holder),
        "{said:?}"
    );
    assert_eq!(names(scratch.path()), there);
    store.insert(5, 6).unwrap();
    store.close().unwrap();
    drop(store);
    // Nor if the store is only read.
    let store = open(&own, "log", true);
    assert_eq!(store.len(), 2);
    let said = refused(&store, &own).to_string();
    assert!(said.contains("is the store that is exported"), "{said}");
    // One that nobody has open any more may be replaced.
    second.close().unwrap();
    drop(second);
    exchange::export(&store, &other, &options, &mut |_| ()).unwrap();
    let replaced = Store::options().read_only(true).open(&other).unwrap();
    assert_eq!(model_of(&replaced), model_of(&store));
}
