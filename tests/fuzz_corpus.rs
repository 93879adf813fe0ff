//! Replays the checked-in corpora of the fuzz targets: what a fuzzer found interesting once is tested always.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test reports"
)]

use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;

use cidstore_testkit::fuzz::{self, Target};

/// The corpora are to stay small enough to live in the repository.
const CORPUS_BYTES_MAX: u64 = 200 << 10;

fn corpora() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn replay(name: &str) {
    let (_, target): (_, Target) =
        *fuzz::TARGETS.iter().find(|(target, _)| *target == name).expect("a target");
    let mut inputs: Vec<PathBuf> =
        fs::read_dir(corpora().join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() >= 10, "{} inputs are no corpus", inputs.len());
    for input in inputs {
        let bytes = fs::read(&input).unwrap();
        if catch_unwind(|| target(&bytes)).is_err() {
            panic!("{name} fails on {}", input.display());
        }
    }
}

#[test]
fn operations() {
    replay("operations");
}

#[test]
fn file_bytes() {
    replay("file_bytes");
}

#[test]
fn wal_bytes() {
    replay("wal_bytes");
}

#[test]
fn the_canary_sings() {
    assert!(catch_unwind(|| fuzz::canary(b"bad input")).is_err());
    fuzz::canary(b"good input");
}

#[test]
fn the_corpora_are_small() {
    let files =
        fs::read_dir(corpora()).unwrap().flat_map(|entry| fs::read_dir(entry.unwrap().path()));
    let sizes = files.flatten().map(|entry| entry.unwrap().metadata().unwrap().len());
    let total: u64 = sizes.sum();
    assert!(total < CORPUS_BYTES_MAX, "{total} bytes of corpora");
}
