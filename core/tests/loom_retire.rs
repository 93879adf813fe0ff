//! Loom: a replaced page is used for something else only when no reader can hold it.
//!
//! What is modelled is the rule that the engine's limbo must keep, not the library that keeps it there:
//! a count of pinned readers stands for the epochs. The writer replaces a page and looks at the count
//! once; only if nobody is pinned it builds another bucket in the old page's memory. A reader is pinned
//! from before it loads the slot until after it has read the page. The page is read by the shipping
//! `find`, which alone could not tell: the versions of a page built anew begin again.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p cidstore-core --release --test loom_retire`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]
#![cfg(loom)]

mod loom_support;

use std::sync::Arc;

use cidstore_core::protocol::bucket_build::{self, Header, Item};
use cidstore_core::protocol::bucket_read::{Found, find};
use cidstore_core::protocol::content::Content;
use cidstore_core::protocol::word::Word;
use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use loom_support::{
    Cell, Plant, arm, empty_page, explore, hash, inline, instants, plant, spawn_writer, wide,
};

/// Two entries a page.
const WORDS: usize = 32;

const NO_WAIT: &str = "the page is reused at once";
const LATE_PIN: &str = "the reader pins after it has loaded the slot";
const EARLY_UNPIN: &str = "the reader unpins before it reads the page";
const COUNT_RELAXED: &str = "the count of pinned readers orders nothing";

fn has(bug: &str) -> bool {
    matches!(plant(), Plant::InModel(planted) if planted == bug)
}

struct Model {
    slot: AtomicU32,
    pinned: AtomicUsize,
    pages: [Arc<[Cell; WORDS]>; 2],
}

impl Model {
    fn build(&self, page: usize, key: u64, value: u64) {
        let header = Header { local_depth: 0, prefix: 0, generation: 1, overflow: 0 };
        let content = Content::Inline(inline(&[value]));
        let items = [Item { hash: hash::<WORDS>(0, 5, key), key: wide(key), content }];
        bucket_build::build(&*self.pages[page], &header, &items).unwrap();
    }

    /// AcqRel: the counts are in one order. A reader that counts itself after the writer has looked
    /// sees the swung slot; a writer that looks after a reader is done sees it done with the page.
    fn order(&self) -> Ordering {
        if has(COUNT_RELAXED) { Ordering::Relaxed } else { Ordering::AcqRel }
    }

    fn write(&self) {
        self.build(1, 1, 10);
        self.slot.store(1, Ordering::Release);
        if self.pinned.fetch_add(0, self.order()) == 0 || has(NO_WAIT) {
            for word in &*self.pages[0] {
                word.store(0, Ordering::Relaxed);
            }
            self.build(0, 1, 66);
        }
    }

    fn read(&self) {
        let pin = || self.pinned.fetch_add(1, self.order());
        let unpin = || self.pinned.fetch_sub(1, self.order());
        if !has(LATE_PIN) {
            pin();
        }
        let page = self.slot.load(Ordering::Acquire);
        if has(LATE_PIN) {
            pin();
        }
        if has(EARLY_UNPIN) {
            unpin();
        }
        match find(&*self.pages[page as usize], wide(1), hash::<WORDS>(0, 5, 1)).unwrap() {
            Found::Inline(values) => assert_eq!(instants(&[&[10]], &values), [0]),
            found => panic!("a page was reused under its reader: {found:?}"),
        }
        if !has(EARLY_UNPIN) {
            unpin();
        }
    }
}

fn retire(plant: Plant) {
    explore(plant, None, move || {
        let model = Arc::new(Model {
            slot: AtomicU32::new(0),
            pinned: AtomicUsize::new(0),
            pages: core::array::from_fn(empty_page),
        });
        model.build(0, 1, 10);
        arm();
        let writer = {
            let model = model.clone();
            spawn_writer(move || model.write())
        };
        model.read();
        writer.join().unwrap();
        model.read();
    });
}

/// Complete. 40 executions.
#[test]
fn a_pinned_page_is_not_reused() {
    retire(Plant::Sound);
}

#[test]
#[should_panic(expected = "reused under its reader")]
fn caught_reuse_without_waiting() {
    retire(Plant::InModel(NO_WAIT));
}

#[test]
#[should_panic(expected = "reused under its reader")]
fn caught_pin_after_the_slot_was_loaded() {
    retire(Plant::InModel(LATE_PIN));
}

#[test]
#[should_panic(expected = "reused under its reader")]
fn caught_unpin_before_the_page_was_read() {
    retire(Plant::InModel(EARLY_UNPIN));
}

#[test]
#[should_panic(expected = "reused under its reader")]
fn caught_count_that_orders_nothing() {
    retire(Plant::InModel(COUNT_RELAXED));
}
