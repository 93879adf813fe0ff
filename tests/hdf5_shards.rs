//! The directory of the file's HDF5 view at its real sizes: attribute, dataset, shards of 2^20 slots, and back.
//!
//! Run by `cargo xtask test --slow --only hdf5_shards`. The forms at small sizes are a test of `hdf5.rs`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test reports")]

use std::process::Command;

use cidstore::{Durability, E, HashSeed, OpenOptions, Store};
use cidstore_testkit::content::assert_verified;
use cidstore_testkit::hdf5::View;
use cidstore_testkit::{Model, Scratch};

/// Keys that need no deep directory, but let it be deep: it may have 8 levels more than its buckets need.
const SPREAD: u64 = 600_000;
/// Keys that fall together at depth 20, and no longer at 21: more than a page holds.
const TOGETHER: usize = 80;
const SEED: HashSeed = HashSeed::new(21, 20);

fn options() -> OpenOptions {
    Store::options().durability(Durability::Buffered).hash_seed(SEED)
}

fn spread() -> impl Iterator<Item = E> {
    (0..SPREAD).map(E::from)
}

fn together() -> Vec<E> {
    let low_bits = |key: &E| SEED.hash(*key).directory_index(20) == 0xa_bcde;
    (1 << 40_u64..).map(E::from).filter(low_bits).take(TOGETHER).collect()
}

/// Checkpoints, and holds what HDF5 shows against the model; answers where the directory is.
fn form(store: &Store, scratch: &Scratch, model: &Model) -> &'static str {
    store.checkpoint().unwrap();
    let view = View::open(&scratch.data_bytes()).unwrap();
    assert!(view.model() == *model, "HDF5 shows something else");
    view.form
}

fn add(model: &mut Model, keys: impl Iterator<Item = E>) -> Vec<(E, E)> {
    let pairs: Vec<(E, E)> = keys.map(|key| (key, E::from(!key.low))).collect();
    model.insert_all(pairs.iter().map(|&(key, value)| (key.into(), value.into())));
    pairs
}

/// The reader for Python takes the shards for one directory.
fn check_python(scratch: &Scratch, keys: &[E]) {
    const PROGRAM: &str = "import sys, cidstore_h5
with cidstore_h5.open(sys.argv[1]) as view:
    assert view.depth == 21, view.depth
    for key in map(int, sys.argv[2:]):
        assert view.get(key) == [~key & (1 << 64) - 1], key";
    let output = Command::new("/usr/bin/python3")
        .env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["-c", PROGRAM])
        .arg(scratch.data())
        .args(keys.iter().map(|key| u128::from(*key).to_string()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "a minute: cargo xtask test --slow --only hdf5_shards"]
fn the_directory_moves_to_shards_of_the_real_size_and_back() {
    let scratch = Scratch::on_disk();
    let store = options().open(scratch.data()).unwrap();
    let mut model = Model::new();
    assert_eq!(form(&store, &scratch, &model), "config:dir");
    store.bulk_load(add(&mut model, spread())).unwrap();
    assert_eq!(form(&store, &scratch, &model), "dir");
    assert!(store.stats().global_depth < 20);

    let together = together();
    store.batch_insert(&add(&mut model, together.iter().copied())).unwrap();
    assert_eq!(form(&store, &scratch, &model), "dir/shard_xxxx");
    assert_eq!(store.stats().global_depth, 21);
    let some: Vec<E> = together.iter().copied().chain(spread().step_by(1001)).collect();
    check_python(&scratch, &some);

    store.batch_delete(&together).unwrap();
    model.delete_all(together.iter().map(|&key| key.into()));
    store.compact().unwrap();
    assert_eq!(form(&store, &scratch, &model), "dir");
    let spread: Vec<E> = spread().skip(100).collect();
    store.batch_delete(&spread).unwrap();
    model.delete_all(spread.into_iter().map(u128::from));
    store.compact().unwrap();
    assert_eq!(form(&store, &scratch, &model), "config:dir");
    store.close().unwrap();
    assert_verified(&options().open(scratch.data()).unwrap(), &model);
}
