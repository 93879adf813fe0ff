//! Writers who share the lead, and a feed of what they write: each write is answered, and told once, in the order of the
//! log; nobody waits for ever, nor does a feed of what is durable where only it asks for syncs. (The scheduler fails an execution in which all threads that are left wait.)

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::path::Path;

use cidstore_core::E;
use shuttle::future::block_on;
use shuttle::thread;

use super::{FILLERS, Plant, arm, check_after_close, explore, prepared, wide};
use crate::{Durability, Feed, FeedChange, Store};

const WRITERS: u64 = 3;
/// Writes of each of them.
const WRITES: u64 = 4;

/// The value that a writer writes at a place among its own, to a key of its own.
fn pair(writer: u64, place: u64) -> (E, E) {
    (wide(5_000 + writer), wide(100 * writer + place))
}

fn write(store: &Store, writer: u64) {
    let mut before = 0;
    for place in 0..WRITES {
        let (key, value) = pair(writer, place);
        let durability = if writer == 0 { Durability::Immediate } else { Durability::Buffered };
        let written = store.insert_with(key, value, durability).unwrap();
        assert!(written.lsn > before, "a write was logged before an earlier one");
        before = written.lsn;
    }
}

/// Takes all writes of so many writers from the feed, and checks that each one's come in their order.
fn follow(mut feed: Feed, writers: u64) {
    let mut next = [0; WRITERS as usize];
    let mut lsn = 0;
    for _ in 0..writers * WRITES {
        let item = block_on(poll_fn(|context| feed.poll_next(context))).unwrap().unwrap();
        assert!(item.lsn > lsn, "the feed goes back");
        lsn = item.lsn;
        let FeedChange::Insert { key, value } = item.change else {
            panic!("nobody wrote {:?}", item.change)
        };
        let writer = key.low - 5_000;
        assert_eq!((key, value), pair(writer, next[writer as usize]), "out of order");
        next[writer as usize] += 1;
    }
    assert_eq!(next.iter().sum::<u64>(), writers * WRITES, "a write was not told");
}

fn feed_beside_writers(path: &Path, plant: Plant) {
    let store = prepared(path, 0);
    let feed = store.subscribe(store.lsn() + 1).unwrap();
    arm(plant);
    let mut threads = vec![thread::spawn(move || follow(feed, WRITERS))];
    for writer in 1..WRITERS {
        let store = store.clone();
        threads.push(thread::spawn(move || write(&store, writer)));
    }
    let checkpointing = store.clone();
    threads.push(thread::spawn(move || checkpointing.checkpoint().unwrap()));
    write(&store, 0);
    for thread in threads {
        thread.join().unwrap();
    }
    arm(Plant::Sound);
    for writer in 0..WRITERS {
        let seen = super::set(&store.get(pair(writer, 0).0).unwrap());
        let written: BTreeSet<E> = (0..WRITES).map(|place| pair(writer, place).1).collect();
        assert_eq!(seen, written, "a write was lost");
    }
    check_after_close(&store, path, 0, FILLERS);
}

/// Nobody but the feed asks for syncs.
fn durable_feed_beside_a_writer(path: &Path, plant: Plant) {
    let store = prepared(path, 0);
    let feed = store.subscribe(store.lsn() + 1).unwrap().durable_only();
    arm(plant);
    let following = thread::spawn(move || follow(feed, 1));
    for place in 0..WRITES {
        let (key, value) = pair(0, place);
        assert!(store.insert(key, value).unwrap());
    }
    following.join().unwrap();
    arm(Plant::Sound);
    check_after_close(&store, path, 0, FILLERS);
}

#[test]
fn a_durable_feed_asks_for_each_sync_that_it_waits_for() {
    explore(Plant::Sound, durable_feed_beside_a_writer);
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_number_looked_at_once() {
    explore(Plant::StaleNumber, durable_feed_beside_a_writer);
}

#[test]
fn each_write_is_answered_and_told_once() {
    explore(Plant::Sound, feed_beside_writers);
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_wake_up_of_a_writer_that_is_lost() {
    explore(Plant::LostWake, feed_beside_writers);
}

#[test]
#[should_panic(expected = "deadlock")]
fn caught_number_stored_after_those_who_wait_were_woken() {
    explore(Plant::LateNumber, feed_beside_writers);
}
