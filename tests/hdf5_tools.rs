//! The programs that people open HDF5 files with, on a store in use, on a closed one, and on one killed while it grew.
//!
//! Run by `cargo xtask test --only hdf5_tools`, which installs what it needs; `CIDSTORE_PYTHONS` names the interpreters that have h5py.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test reports"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cidstore::{Durability, E, OpenOptions, Store};
use cidstore_testkit::content::{assert_store, model_of};
use cidstore_testkit::random::Random;
use cidstore_testkit::{Model, Scratch};

fn options() -> OpenOptions {
    Store::options().durability(Durability::Buffered).wal_bytes(1 << 20)
}

/// Runs a program; answers what it printed.
fn run(program: &str, arguments: &[&Path]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{text}\n{error}", output.status);
    assert!(!error.contains("error"), "{program} {arguments:?}: {error}");
    text
}

/// The tools that come with libhdf5.
fn run_tools(data: &Path, scratch: &Scratch) {
    let listing = run("h5ls", &[Path::new("-r"), data]);
    for object in
        ["/buckets/pages", "/values/table", "/types/BucketPage", "/buckets/file_segments/0001"]
    {
        assert!(listing.contains(object), "h5ls does not list {object}:\n{listing}");
    }
    assert!(run("h5dump", &[Path::new("-H"), data]).contains("\"key_high\""));
    assert!(run("h5stat", &[data]).contains("User block: 8192"));
    let copy = scratch.path().join("repacked.h5");
    run("h5repack", &[data, &copy]);
    let differences = run("h5diff", &[Path::new("-c"), data, &copy]);
    assert!(
        !differences.contains("differences found"),
        "h5repack changed something: {differences}"
    );
    fs::remove_file(copy).unwrap();
}

fn run_python(data: &Path, pairs: &Path, state: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = root.join("tests/hdf5_tools.py");
    let pythons = std::env::var("CIDSTORE_PYTHONS").expect("CIDSTORE_PYTHONS is not set");
    for python in pythons.split(':') {
        run(python, &[&script, data, pairs, Path::new(state)]);
    }
}

/// Writes what the model holds, a pair a line.
fn write_pairs(scratch: &Scratch, model: &Model) -> PathBuf {
    let path = scratch.path().join("pairs.tsv");
    let lines: Vec<_> = model.pairs().map(|(key, value)| format!("{key:x}\t{value:x}\n")).collect();
    fs::write(&path, lines.concat()).unwrap();
    path
}

/// Enough keys for a directory that is a dataset, sets of all kinds.
fn fill(store: &Store) -> Model {
    let mut random = Random::new(3);
    for key in 0..30_000_u64 {
        let count = match key {
            0 => 2000,
            1..30 => 1 + random.below(240),
            _ => 1 + random.below(3),
        };
        let pairs: Vec<_> =
            (0..count).map(|value| (E::new(key, !key), E::new(value, key))).collect();
        store.batch_insert(&pairs).unwrap();
    }
    store.delete(E::new(5, !5)).unwrap();
    store.checkpoint().unwrap();
    model_of(store)
}

#[test]
#[ignore = "needs the HDF5 tools and h5py: cargo xtask test --only hdf5_tools"]
fn programs_read_a_store_in_use_and_a_closed_one() {
    let scratch = Scratch::on_disk();
    let store = options().open(scratch.data()).unwrap();
    let model = fill(&store);
    let pairs = write_pairs(&scratch, &model);
    run_tools(&scratch.data(), &scratch);
    run_python(&scratch.data(), &pairs, "live");
    store.close().unwrap();
    run_tools(&scratch.data(), &scratch);
    run_python(&scratch.data(), &pairs, "closed");
    // It opened the file `r+` and wrote an attribute and a dataset: they are gone, nothing else is.
    let store = options().open(scratch.data()).unwrap();
    assert_store(&store, &model);
    assert!(store.verify().unwrap().problems.is_empty());
    store.close().unwrap();
    run_python(&scratch.data(), &pairs, "again");
}

#[test]
#[ignore = "needs the HDF5 tools and h5py: cargo xtask test --only hdf5_tools"]
fn programs_read_what_a_kill_leaves() {
    let scratch = Scratch::on_disk();
    let store = options().open(scratch.data()).unwrap();
    fill(&store);
    for round in 0..3_u64 {
        let more: Vec<_> = (0..4000).map(|key| (E::new(round, key), E::from(key))).collect();
        store.batch_insert(&more).unwrap();
        store.checkpoint().unwrap();
        // The log goes on with pairs that are there already: a checkpoint beside this shows the same.
        let pairs = write_pairs(&scratch, &model_of(&store));
        store.batch_insert(&more).unwrap();
        let killed = scratch.copy_as_killed(&store);
        run_tools(&killed.data(), &killed);
        run_python(&killed.data(), &pairs, "killed");
    }
}
