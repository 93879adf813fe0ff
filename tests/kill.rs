//! `kill -9` in the middle of writing, again and again on the same store.
//!
//! A child writes and reports each acknowledged step through a pipe; the parent kills it at a random moment,
//! opens the store and compares the whole content. A kill takes nothing from the page cache, so at every
//! durability all that was acknowledged must be there, and nothing beyond the one step in flight.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test reports"
)]

use std::path::Path;
use std::time::Duration;

use cidstore::{Durability, OpenOptions, Store};
use cidstore_testkit::content::{assert_verified, model_of};
use cidstore_testkit::history::{effect, perform};
use cidstore_testkit::operation::{Change, End, Operation, Pairs};
use cidstore_testkit::process::{Child, Role, tell_parent};
use cidstore_testkit::random::Random;
use cidstore_testkit::{Model, Scratch};

const ROUNDS: u64 = 12;
/// A child is killed after fewer acknowledged steps than this, in the middle of what follows.
const STEPS_A_ROUND: u64 = 200;

fn options(durability: Durability) -> OpenOptions {
    Store::options().durability(durability).wal_bytes(256 << 10)
}

/// Step `number` of the story that child and parent both know.
fn step(number: u64) -> Operation {
    let mut random = Random::new(number);
    let (key, value) = (random.below(300) as u16, random.below(12) as u16);
    match random.below(40) {
        0..20 => Operation::Insert(key, value),
        20..26 => Operation::DeleteValue(key, value),
        26..28 => Operation::Delete(key),
        28..31 => {
            let count = random.below(300) as u16;
            Operation::BatchInsert(Pairs::Values { key: key % 4, first: value * 20, count })
        }
        31..34 => Operation::BatchInsert(Pairs::Keys { first: key, count: 60, value }),
        34 => Operation::BatchDelete(key, 40),
        35..38 => {
            let changes = vec![
                Change::Insert(key, value),
                Change::Delete(key / 2),
                Change::DeleteValue(key / 3, value),
                Change::Insert(key + 1, value + 1),
            ];
            Operation::Transaction(changes, End::Commit)
        }
        38 => Operation::Checkpoint,
        _ => Operation::Compact,
    }
}

fn kill_again_and_again(role: &str, durability: Durability) {
    let scratch = Scratch::new();
    let mut model = Model::new();
    let mut done = 0;
    let mut random = Random::new(3);
    for round in 0..ROUNDS {
        // The child is told where the story stands by the name of its role.
        let mut child = Child::spawn("child", &format!("{role} {done}"), &scratch.data());
        child.expect_line("open");
        let moment = Duration::from_micros(random.below(3000));
        let last = child.kill_after(random.below(STEPS_A_ROUND) as usize, moment);
        let acknowledged = last.map_or(done, |line| line.parse().unwrap());
        for number in done..acknowledged {
            effect(&mut model, &step(number));
        }
        let store = options(durability).open(scratch.data()).unwrap();
        let found = model_of(&store);
        done = acknowledged;
        if found != model {
            effect(&mut model, &step(acknowledged));
            assert!(found == model, "round {round}: neither {acknowledged} steps nor one more");
            done += 1;
        }
        assert_verified(&store, &model);
        // Every other time the next child finds a store that was closed.
        if round % 2 == 0 {
            store.close().unwrap();
        } else {
            let killed = scratch.copy_as_killed(&store);
            assert_eq!(model_of(&options(durability).open(killed.data()).unwrap()), model);
        }
    }
    assert!(done > ROUNDS * STEPS_A_ROUND / 4, "the children got little done: {done} steps");
}

#[test]
fn buffered_writes_survive_a_kill() {
    kill_again_and_again("buffered", Durability::Buffered);
}

#[test]
fn interval_writes_survive_a_kill() {
    kill_again_and_again("interval", Durability::Interval(Duration::from_millis(10)));
}

#[test]
fn immediate_writes_survive_a_kill() {
    kill_again_and_again("immediate", Durability::Immediate);
}

/// What this binary does as a child of the tests above.
#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    let (name, start) = role.name.split_once(' ').unwrap();
    let durability = match name {
        "buffered" => Durability::Buffered,
        "interval" => Durability::Interval(Duration::from_millis(10)),
        _ => Durability::Immediate,
    };
    write_for_ever(&role.path, durability, start.parse().unwrap());
}

fn write_for_ever(path: &Path, durability: Durability, start: u64) {
    let store = options(durability).open(path).unwrap();
    tell_parent("open");
    for number in start.. {
        perform(&store, &step(number)).unwrap();
        tell_parent(&(number + 1).to_string());
    }
}
