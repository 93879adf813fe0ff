//! A data file of unknown origin: the store and the independent reader answer right or name an error.

use std::sync::{Arc, OnceLock};
use std::{fs, io};

use cidstore_core::E;
use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::superblock::Superblock;
use cidstore_engine::{Durability, OpenOptions, Store};
use zerocopy::{FromBytes, IntoBytes};

use super::edit::decode;
use crate::fixed::FixedDisk;
use crate::forge::Forge;
use crate::image::read_image;
use crate::model::{Model, element, number, universe};
use crate::scratch::Scratch;

/// Superblock checksums are mended after the edits, so that edits of superblocks get past the door.
const RESEAL: u8 = 1;
/// Pages are read without looking at their checksums, so that edits of pages get past the door.
const TRUST_PAGES: u8 = 2;
/// The log is gone.
const NO_LOG: u8 = 4;
/// All checksums are mended, so that edits of pages get past every door and are written to.
const FORGE: u8 = 8;

/// Keys that are inserted into what was read: enough to split buckets.
const FRESH_KEYS: u16 = 300;
/// What of the universe each key gets as one more value.
const VALUE_OF_ALL: u16 = 900;

/// The file that is edited.
struct Base {
    data: Vec<u8>,
    log: Vec<u8>,
    model: Model,
}

fn options() -> OpenOptions {
    Store::options().durability(Durability::Buffered).wal_bytes(64 << 10)
}

/// A closed store with every kind of page: inline entries of one to four values, small sets of several
/// sizes, a large set, and a directory of several nodes' worth of buckets.
fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let mut model = Model::new();
        for key in 0..200 {
            for value in 0..=key % 4 {
                model.insert(universe(key), universe(value));
            }
        }
        for (key, count) in [(200, 5), (201, 20), (202, 100), (203, 244), (204, 700)] {
            for value in 0..count {
                model.insert(universe(key), universe(value));
            }
        }
        let scratch = Scratch::new();
        let disk = Arc::new(FixedDisk::new(1));
        let store = options().open_on(disk, scratch.data()).expect("a new store");
        for (key, value) in model.pairs() {
            store.insert(element(key), element(value)).expect("insert");
        }
        store.close().expect("close");
        Base { data: scratch.data_bytes(), log: scratch.log_bytes(), model }
    })
}

/// Edits the file as `bytes` say, after one byte of flags, and reads it in every way there is.
///
/// # Panics
///
/// If the store panics, or answers wrongly although the checksums could tell.
pub fn file_bytes(bytes: &[u8]) {
    let Some((&flags, rest)) = bytes.split_first() else { return };
    let base = base();
    let mut data = base.data.clone();
    for edit in decode(rest) {
        edit.apply(&mut data);
    }
    if flags & RESEAL != 0 {
        reseal(&mut data);
    }
    if flags & FORGE != 0 && data.len() >= 2 * PAGE_BYTES {
        data = Forge::new(data).seal().to_vec();
    }
    // With forged checksums the file is simply another file: nobody can know what is right.
    let is_known = flags & (RESEAL | TRUST_PAGES | FORGE) == 0;
    read_image(&data, is_known.then_some(&base.model));
    let scratch = Scratch::new();
    fs::write(scratch.data(), &data).expect("write the data file");
    if flags & NO_LOG == 0 {
        fs::write(scratch.log(), &base.log).expect("write the log");
    }
    let verify = flags & TRUST_PAGES == 0;
    if let Ok(store) = options().verify_reads(verify).open(scratch.data()) {
        read_store(&store, is_known.then_some(&base.model));
        let mut model = base.model.clone();
        write_store(&store, &mut model);
        // What is damaged is refused. What contradicts itself under a checksum that fits may show when it must be applied.
        assert!(!is_known || store.stats().failure.is_none(), "{:?}", store.stats().failure);
        load_store(&store, &mut model);
        drop(store.close());
        drop(store);
        if let Ok(store) = options().verify_reads(verify).open(scratch.data()) {
            read_store(&store, is_known.then_some(&model));
        }
    }
}

/// Mends the checksums of both superblocks.
fn reseal(data: &mut [u8]) {
    for slot in data.chunks_exact_mut(PAGE_BYTES).take(2) {
        let Ok(mut superblock) = Superblock::read_from_bytes(slot) else { continue };
        superblock.seal();
        slot.copy_from_slice(superblock.as_bytes());
    }
}

/// Reads everything; compares with `known` what it does not get an error for.
fn read_store(store: &Store, known: Option<&Model>) {
    for (key, set) in known.unwrap_or(&base().model).sets() {
        if let (Ok(values), Some(_)) = (store.get(element(key)), known) {
            assert_eq!(&crate::content::set_of(&values), set, "get of {key:#x}");
        }
        if let (Ok(entry), Some(_)) = (store.get_entry(element(key)), known) {
            assert!(entry.is_some(), "no entry for {key:#x}");
        }
    }
    // A hostile file may hold a page in a thousand places, but the scan of a small file ends.
    let mut pairs = Vec::new();
    let mut failed = false;
    for item in store.iter() {
        match item {
            Ok((key, value)) => pairs.push((number(key), number(value))),
            Err(_) => failed = true,
        }
    }
    let report = store.verify();
    if let Some(model) = known {
        let found: Model = pairs.into_iter().collect();
        assert!(found.pairs().all(|(key, value)| model.contains(key, value)), "a foreign pair");
        assert!(failed || &found == model, "a scan that lost something and did not say so");
        let content = report.is_ok_and(|report| report.problems.is_empty());
        assert!(!(failed && content), "a scan fails but verify is content");
    }
}

/// Writes into whatever it is, in every way there is: that must not panic either, and must end. Does the same to `model`,
/// but for what is refused.
fn write_store(store: &Store, model: &mut Model) {
    let snapshot = store.snapshot();
    let value_of_all = universe(VALUE_OF_ALL);
    for (key, set) in base().model.sets() {
        if store.insert(element(key), element(value_of_all)).is_ok() {
            model.insert(key, value_of_all);
        }
        if let Some(&value) = set.first()
            && store.delete_value(element(key), element(value)).is_ok()
        {
            model.delete_value(key, value);
        }
    }
    let large = universe(204);
    if store.delete(element(large)).is_ok() {
        model.delete(large);
    }
    let elements: Vec<(E, E)> = fresh().map(|number| (element(number), element(number))).collect();
    if store.batch_insert(&elements).is_ok() {
        model.insert_all(fresh().map(|number| (number, number)));
    }
    drop(store.demote_if_possible(element(universe(203))));
    drop(store.checkpoint());
    drop(store.merge());
    drop(snapshot.map(|snapshot| snapshot.iter().count()));
    drop(store.scrub(true));
    drop(store.debug_dump(&mut io::sink()));
    drop(store.compact());
}

/// The same by a bulk load, which makes the store fail if it meets damage half way.
fn load_store(store: &Store, model: &mut Model) {
    let pairs = || fresh().map(|number| (number, universe(VALUE_OF_ALL)));
    if store.bulk_load(pairs().map(|(key, value)| (element(key), element(value)))).is_ok() {
        model.insert_all(pairs());
    }
}

/// Keys that are not in the base.
fn fresh() -> impl Iterator<Item = u128> {
    (1000..1000 + FRESH_KEYS).map(universe)
}
