//! Loom: keys with three and four values, which lie in two entries (R5).
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p cidstore-core --release --test loom_pair`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]
#![cfg(loom)]

mod loom_support;

use cidstore_core::layout::bucket::{ENTRIES_WORD, TAGS_WORD};
use cidstore_core::layout::entry::META_WORD;
use cidstore_core::protocol::bucket_read::{Found, find};
use cidstore_core::protocol::bucket_write::BucketWriter;
use cidstore_core::protocol::content::InlineValues;
use loom::sync::atomic::Ordering;
use loom_support::{
    Plant, arm, built_page, explore, hash, in_order, instants, item, spawn_writer, wide,
};

/// Two entries: room for one key with its second.
const WORDS: usize = 32;
/// The meta word of the first entry, at position 0.
const FIRST_META: usize = ENTRIES_WORD + META_WORD;

/// One step of a model's writer.
#[derive(Clone, Copy)]
enum Step {
    Add(u64),
    Remove(u64),
    RemoveKey,
}

/// The writer takes a key through a history of contents; the reader looks so many times meanwhile.
fn pair(
    plant: Plant,
    preemptions: Option<usize>,
    looks: usize,
    steps: &'static [Step],
    history: &'static [&'static [u64]],
) {
    explore(plant, preemptions, move || {
        let (key, hash) = (wide(1), hash::<WORDS>(0, 5, 0));
        let page = built_page::<WORDS>(0, &[item(key, hash, history[0])]);
        arm();
        let writer = {
            let page = page.clone();
            spawn_writer(move || {
                let writer = BucketWriter::new(&*page);
                for &step in steps {
                    let located = writer.locate(key, hash).unwrap().unwrap();
                    match step {
                        Step::Add(value) => {
                            writer.add_value(&located, key, hash, wide(value)).unwrap();
                        }
                        Step::Remove(value) => {
                            writer.remove_value(&located, wide(value));
                        }
                        Step::RemoveKey => {
                            writer.remove_key(&located);
                        }
                    }
                }
            })
        };
        let look = || match find(&*page, key, hash) {
            Ok(Found::Inline(values)) => instants(history, &values),
            Ok(Found::Miss { .. }) => instants(history, &InlineValues::EMPTY),
            other => panic!("no such thing was published: {other:?}"),
        };
        let reads: Vec<Vec<usize>> = (0..looks).map(|_| look()).collect();
        in_order(&reads);
        writer.join().unwrap();
        assert_eq!(look(), [history.len() - 1]);
    });
}

const GROW: &[Step] = &[Step::Add(12), Step::Add(13)];
const GROWN: &[&[u64]] = &[&[10, 11], &[10, 11, 12], &[10, 11, 12, 13]];

const THIN: &[Step] = &[Step::Remove(10), Step::Remove(12)];
const THINNED: &[&[u64]] = &[&[10, 11, 12, 13], &[11, 12, 13], &[11, 13]];

const SWAP: &[Step] = &[Step::Remove(12), Step::Add(13)];
const SWAPPED: &[&[u64]] = &[&[10, 11, 12], &[10, 11], &[10, 11, 13]];

const REFILL: &[Step] = &[Step::Remove(12), Step::Add(14)];
const REFILLED: &[&[u64]] = &[&[10, 11, 12, 13], &[10, 11, 13], &[10, 11, 13, 14]];

const EMPTY: &[Step] = &[Step::Remove(10), Step::Remove(11), Step::Remove(12)];
const EMPTIED: &[&[u64]] = &[&[10, 11, 12], &[11, 12], &[12], &[]];

const DELETE: &[Step] = &[Step::RemoveKey];
const DELETED: &[&[u64]] = &[&[10, 11, 12], &[]];

/// Complete. 16,000 executions, and 320,000 with two looks, 25 s.
#[test]
fn two_values_become_four() {
    pair(Plant::Sound, None, 1, GROW, GROWN);
    pair(Plant::Sound, None, 2, GROW, GROWN);
}

/// Complete. 720 executions, and 6,200 with two looks, 1 s.
#[test]
fn each_entry_loses_a_value() {
    pair(Plant::Sound, None, 1, THIN, THINNED);
    pair(Plant::Sound, None, 2, THIN, THINNED);
}

/// At most three preemptions, and two with two looks. 160,000 and 82,000 executions, 15 s.
#[test]
fn the_second_goes_and_another_comes() {
    pair(Plant::Sound, Some(3), 1, SWAP, SWAPPED);
    pair(Plant::Sound, Some(2), 2, SWAP, SWAPPED);
}

/// Complete: 1,200 executions. At most three preemptions with two looks: 2,000. Below 1 s.
#[test]
fn a_slot_of_the_second_is_refilled() {
    pair(Plant::Sound, None, 1, REFILL, REFILLED);
    pair(Plant::Sound, Some(3), 2, REFILL, REFILLED);
}

/// At most three preemptions, and two with two looks. 17,000 and 20,000 executions, 3 s.
#[test]
fn the_first_is_left_without_values_before_the_key_goes() {
    pair(Plant::Sound, Some(3), 1, EMPTY, EMPTIED);
    pair(Plant::Sound, Some(2), 2, EMPTY, EMPTIED);
}

/// Complete. 19,000 executions, 2 s.
#[test]
fn both_go_at_once() {
    pair(Plant::Sound, None, 1, DELETE, DELETED);
}

/// The first entry says that there is a second before the tags show it.
#[test]
#[should_panic(expected = "SecondMissing")]
fn caught_second_announced_too_early() {
    pair(Plant::Delay { word: TAGS_WORD, by: 1 }, Some(3), 1, GROW, GROWN);
}

/// The second is killed before the first says that it is gone.
#[test]
#[should_panic(expected = "SecondMissing")]
fn caught_second_killed_too_early() {
    pair(Plant::Delay { word: FIRST_META, by: 1 }, Some(3), 1, SWAP, SWAPPED);
}

#[test]
#[should_panic(expected = "values that the key never had")]
fn caught_first_not_looked_at_again() {
    pair(Plant::NoValidation, Some(3), 1, THIN, THINNED);
}

#[test]
#[should_panic(expected = "values that the key never had")]
fn caught_second_validated_without_fence() {
    pair(Plant::NoFence(Ordering::Acquire), Some(3), 1, REFILL, REFILLED);
}

#[test]
#[should_panic(expected = "SecondMissing")]
fn caught_second_announced_without_release() {
    pair(Plant::RelaxStores { word: FIRST_META }, Some(3), 1, GROW, GROWN);
}
