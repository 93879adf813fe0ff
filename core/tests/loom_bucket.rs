//! Loom: entries and values that come, go and are replaced in place, under a reader (R1, R2, R3).
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p cidstore-core --release --test loom_bucket`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]
#![cfg(loom)]

mod loom_support;

use cidstore_core::E;
use cidstore_core::hash::KeyHash;
use cidstore_core::layout::bucket::ENTRIES_WORD;
use cidstore_core::layout::entry::META_WORD;
use cidstore_core::protocol::bucket_read::{Found, find};
use cidstore_core::protocol::bucket_write::BucketWriter;
use cidstore_core::protocol::content::InlineValues;
use loom::sync::atomic::Ordering;
use loom_support::{
    Cell, Plant, arm, built_page, complete_or, explore, hash, in_order, instants, item,
    spawn_writer, wide,
};

/// Two entries.
const WORDS: usize = 32;
/// The meta word of the entry at position 0.
const META: usize = ENTRIES_WORD + META_WORD;

fn values(page: &[Cell; WORDS], key: E, hash: KeyHash) -> InlineValues {
    match find(page, key, hash).unwrap() {
        Found::Inline(values) => values,
        Found::Miss { .. } => InlineValues::EMPTY,
        Found::Spilled { .. } => panic!("no key is spilled here"),
    }
}

/// What the reader of a model asks for.
#[derive(Clone, Copy)]
enum Asks {
    Old,
    New,
    NewThenOld,
}

/// A key is deleted and another takes its position. Readers go by tags alone, so it matters not whose home that is.
fn reuse(plant: Plant, preemptions: Option<usize>, asks: Asks) {
    explore(plant, preemptions, move || {
        let (old, new) = (wide(1), wide(2));
        let (old_hash, new_hash) = (hash::<WORDS>(0, 5, 0), hash::<WORDS>(0, 6, 0));
        let page = built_page::<WORDS>(0, &[item(old, old_hash, &[10])]);
        arm();
        let writer = {
            let page = page.clone();
            spawn_writer(move || {
                let writer = BucketWriter::new(&*page);
                let located = writer.locate(old, old_hash).unwrap().unwrap();
                assert_eq!(located.primary(), 0);
                writer.remove_key(&located);
                writer.insert_new(new, new_hash, wide(20)).unwrap();
            })
        };
        let ask_old = || instants(&[&[10], &[]], &values(&page, old, old_hash));
        let ask_new = || instants(&[&[], &[20]], &values(&page, new, new_hash));
        match asks {
            Asks::Old => drop(ask_old()),
            Asks::New => drop(ask_new()),
            Asks::NewThenOld => {
                let new_seen = ask_new() == [1];
                let old_seen = ask_old() == [0];
                assert!(!(new_seen && old_seen), "time ran backwards");
            }
        }
        writer.join().unwrap();
        assert_eq!((ask_old(), ask_new()), (vec![1], vec![1]));
    });
}

/// A value's slot is given up and filled again while the key lives on. The reader looks twice.
fn refill(plant: Plant, preemptions: Option<usize>) {
    explore(plant, preemptions, move || {
        let (key, hash) = (wide(1), hash::<WORDS>(0, 5, 0));
        let page = built_page::<WORDS>(0, &[item(key, hash, &[10, 11])]);
        arm();
        let writer = {
            let page = page.clone();
            spawn_writer(move || {
                let writer = BucketWriter::new(&*page);
                let located = writer.locate(key, hash).unwrap().unwrap();
                writer.remove_value(&located, wide(10));
                let located = writer.locate(key, hash).unwrap().unwrap();
                writer.add_value(&located, key, hash, wide(12)).unwrap();
            })
        };
        let history: [&[u64]; 3] = [&[10, 11], &[11], &[11, 12]];
        let look = || instants(&history, &values(&page, key, hash));
        in_order(&[look(), look()]);
        writer.join().unwrap();
        assert_eq!(look(), [2]);
    });
}

/// At most three preemptions, 4,500 executions, 1 s; complete in the slow tier.
#[test]
fn the_old_key_goes() {
    reuse(Plant::Sound, complete_or(3), Asks::Old);
}

/// Complete. 42 executions.
#[test]
fn the_new_key_comes() {
    reuse(Plant::Sound, None, Asks::New);
}

/// At most three preemptions. 6,600 executions, 1 s.
#[test]
fn the_new_key_comes_after_the_old_one_went() {
    reuse(Plant::Sound, Some(3), Asks::NewThenOld);
}

/// At most three preemptions, 20,000 executions, 1 s; complete in the slow tier.
#[test]
fn a_slot_is_refilled() {
    refill(Plant::Sound, complete_or(3));
}

#[test]
#[should_panic(expected = "values that the key never had")]
fn caught_words_published_without_release() {
    reuse(Plant::RelaxStores { word: META }, None, Asks::New);
}

#[test]
#[should_panic(expected = "values that the key never had")]
fn caught_meta_loaded_without_acquire() {
    reuse(Plant::RelaxLoads { word: META }, None, Asks::New);
}

#[test]
#[should_panic(expected = "values that the key never had")]
fn caught_dead_words_overwritten_without_fence() {
    refill(Plant::NoFence(Ordering::Release), None);
}

#[test]
#[should_panic(expected = "values that the key never had")]
fn caught_validation_without_fence() {
    refill(Plant::NoFence(Ordering::Acquire), None);
}

#[test]
#[should_panic(expected = "values that the key never had")]
fn caught_no_validation() {
    refill(Plant::NoValidation, None);
}

/// The slot is filled before the value in it is declared gone.
#[test]
#[should_panic(expected = "values that the key never had")]
fn caught_live_words_overwritten() {
    refill(Plant::Delay { word: META, by: 2 }, None);
}
