//! `kill -9` of a store that grows: after each, the file as it lies there is whole for an HDF5 reader, and for the engine.
//!
//! `CIDSTORE_KILLS` sets how many kills there are; the slow tier asks for a thousand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test reports"
)]

use std::path::Path;
use std::time::Duration;

use cidstore::{Durability, E, OpenOptions, Store};
use cidstore_testkit::Scratch;
use cidstore_testkit::hdf5::View;
use cidstore_testkit::process::{Child, Role, tell_parent};
use cidstore_testkit::random::Random;

/// Kills unless told otherwise.
const KILLS: u64 = 50;
/// Kills after which a store is left and a fresh one begun: small stores grow with every few batches.
const KILLS_A_STORE: u64 = 10;
/// Keys of a batch, each with one value.
const BATCH: u64 = 700;
/// A child is killed after fewer acknowledged batches than this, in the middle of what follows.
const BATCHES_A_LIFE: u64 = 12;

fn options() -> OpenOptions {
    Store::options().durability(Durability::Buffered).wal_bytes(256 << 10)
}

fn batch(number: u64) -> Vec<(E, E)> {
    (0..BATCH).map(|key| (E::new(number, key), E::new(key, number))).collect()
}

/// The content is that of some whole batches from the first on; answers how many.
fn whole_batches(view: &View) -> u64 {
    let model = view.model();
    let batches = model.len() / BATCH;
    assert_eq!(model.len(), batches * BATCH, "HDF5 shows a part of a batch");
    for (key, value) in (0..batches).flat_map(batch) {
        assert!(model.contains(key.into(), value.into()), "a key of an earlier batch is missing");
    }
    batches
}

#[test]
fn a_file_that_was_killed_while_it_grew_is_whole() {
    let kills = std::env::var("CIDSTORE_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let mut random = Random::new(11);
    let mut shown = 0;
    for _ in 0..kills.div_ceil(KILLS_A_STORE) {
        let scratch = Scratch::new();
        let mut done = 0;
        for _ in 0..KILLS_A_STORE {
            let mut child = Child::spawn("child", &format!("grow {done}"), &scratch.data());
            child.expect_line("open");
            let moment = Duration::from_micros(random.below(3000));
            let last = child.kill_after(random.below(BATCHES_A_LIFE) as usize, moment);
            let acknowledged = last.map_or(done, |line| line.parse().unwrap());
            let batches = whole_batches(&View::open(&scratch.data_bytes()).unwrap());
            assert!(batches <= acknowledged + 1, "HDF5 shows what nobody wrote");
            shown = shown.max(batches);
            let store = options().open(scratch.data()).unwrap();
            done = store.len() / BATCH;
            assert!((acknowledged..=acknowledged + 1).contains(&done));
            assert!(store.verify().unwrap().problems.is_empty());
            // Not closed: the next child recovers once more.
            let again = whole_batches(&View::open(&scratch.data_bytes()).unwrap());
            assert!(again >= batches, "opening took HDF5 back in time");
        }
    }
    assert!(shown > 20, "the children got nothing done");
}

/// What this binary does as a child of the test above.
#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    let start = role.name.split(' ').nth(1).unwrap().parse().unwrap();
    grow(&role.path, start);
}

fn grow(path: &Path, start: u64) {
    let store = options().open(path).unwrap();
    tell_parent("open");
    for number in start.. {
        store.batch_insert(&batch(number)).unwrap();
        store.checkpoint().unwrap();
        tell_parent(&(number + 1).to_string());
    }
}
