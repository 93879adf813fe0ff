//! Export and import against the model, the engine in place, the independent reader of images, and h5py.
//!
//! A file that something is wrong with is refused, and nothing of it stays.

#![cfg(feature = "libhdf5")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test reports"
)]

mod broken;
mod children;
mod original;
mod python;
mod round_trip;

use std::fs;
use std::path::Path;

use cidstore_engine::{Durability, Store};
use cidstore_hdf5::exchange::{
    self, Compression, ExchangeError, ExportOptions, ImportOptions, Imported,
};
use cidstore_testkit::Model;
use cidstore_testkit::model::{element, universe};

/// A time for files that are to be equal.
const CREATED: u64 = 1_700_000_000_000_000_000;

/// An export as the tests want it: the same bytes each time.
fn export(store: &Store, to: &Path, compression: Option<Compression>) {
    let options = ExportOptions { compression, created: Some(CREATED), ..ExportOptions::default() };
    let exported = exchange::export(store, to, &options, &mut |_| ()).unwrap();
    assert_eq!((exported.keys, exported.values), (store.len(), store.value_len()));
    assert_eq!(exported.bytes, fs::metadata(to).unwrap().len());
}

/// An import that keeps the hash seed.
fn import(from: &Path, to: &Path) -> Result<Imported, ExchangeError> {
    let options = ImportOptions { keep_hash_seed: true, ..ImportOptions::default() };
    exchange::import(from, to, &options, &mut |_| ())
}

/// A store in memory-speed mode.
fn store_at(path: &Path) -> Store {
    Store::options().durability(Durability::Buffered).open(path).unwrap()
}

/// `count` keys with `values(key)` values each.
fn content(keys: u16, values: impl Fn(u16) -> u16) -> Model {
    (0..keys)
        .flat_map(|key| (0..values(key)).map(move |value| (universe(key), universe(value ^ key))))
        .collect()
}

/// A store with everything in it: inline, second entries, all classes of small sets, large sets of several levels' leaves.
fn rich() -> Model {
    content(700, |key| match key {
        0 => 3000,
        1 => 251,
        2 => 245,
        3 => 244,
        4..60 => key * 4,
        _ => 1 + key % 7,
    })
}

fn fill(store: &Store, model: &Model) {
    let pairs = model.pairs().map(|(key, value)| (element(key), element(value)));
    store.bulk_load(pairs).unwrap();
}

/// Names in a folder: nothing may be left behind.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
