//! A data file of unknown origin: the store and the independent reader answer right or name an error.

use std::fs;
use std::sync::{Arc, OnceLock};

use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::superblock::Superblock;
use cidstore_engine::{Durability, OpenOptions, Store};
use zerocopy::{FromBytes, IntoBytes};

use super::edit::decode;
use crate::fixed::FixedDisk;
use crate::image::read_image;
use crate::model::{Model, element, number, universe};
use crate::scratch::Scratch;

/// Superblock checksums are mended after the edits, so that edits of superblocks get past the door.
const RESEAL: u8 = 1;
/// Pages are read without looking at their checksums, so that edits of pages get past the door.
const TRUST_PAGES: u8 = 2;
/// The log is gone.
const NO_LOG: u8 = 4;

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
    // With a forged superblock the file is simply another file: nobody can know what is right.
    let is_known = flags & (RESEAL | TRUST_PAGES) == 0;
    read_image(&data, is_known.then_some(&base.model));
    let scratch = Scratch::new();
    fs::write(scratch.data(), &data).expect("write the data file");
    if flags & NO_LOG == 0 {
        fs::write(scratch.log(), &base.log).expect("write the log");
    }
    let verify = flags & TRUST_PAGES == 0;
    if let Ok(store) = options().verify_reads(verify).open(scratch.data()) {
        read_store(&store, is_known.then_some(&base.model));
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
    for (key, set) in base().model.sets() {
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
    // Writing into whatever it is must not panic either.
    drop(store.insert(7, 7));
    drop(store.delete(element(universe(204))));
    drop(store.compact());
    drop(store.close());
}
