//! A checkpoint swings a slot from a pool page to the file's copy, and the pool page is used for something else, beside
//! a reader.

use crate::sync::checked::pins::{COUNT_RELAXED, NO_WAIT};
use crate::sync::checked::{Kind, Plant, arm, explore, has, spawn_writer};

use super::{Little, bucket_words, look, look_pinned};

const EARLY_UNPIN: &str = "the reader unpins before it reads";
const REUSED_FIRST: &str = "the pool page is retired before the slot is swung";

/// `looks` looks of a reader beside the end of a checkpoint; a write follows it.
fn swing(plant: Plant, looks: usize) {
    explore(plant, None, bucket_words, move || {
        let mut little = Little::new([10]);
        let shared = little.shared();
        let cut = little.cut(1);
        arm();
        let writer = spawn_writer(move || {
            let written = little.write_cut(&cut);
            if has(REUSED_FIRST) {
                let pages = &mut little.writer.pages;
                pages.checkpoint = None;
                pages.retire_bucket_page(written.buckets[0].from);
                little.reuse();
            }
            little.finish(&cut, &written);
            little.reuse();
        });
        for _ in 0..looks {
            let seen = if has(EARLY_UNPIN) {
                drop(shared.pins.pin());
                look(&shared, shared.view())
            } else {
                look_pinned(&shared)
            };
            assert_eq!(seen, [10], "a page was used for something else under its reader");
        }
        writer.join().unwrap();
        assert_eq!(look_pinned(&shared), [10]);
    });
}

/// Complete. 570 executions.
#[test]
fn a_pool_page_is_not_reused_under_its_reader() {
    swing(Plant::Sound, 2);
}

#[test]
#[should_panic(expected = "used for something else")]
fn caught_reuse_without_waiting() {
    swing(Plant::InModel(NO_WAIT), 1);
}

#[test]
#[should_panic(expected = "used for something else")]
fn caught_unpin_before_the_read() {
    swing(Plant::InModel(EARLY_UNPIN), 1);
}

#[test]
#[should_panic(expected = "used for something else")]
fn caught_count_that_orders_nothing() {
    swing(Plant::InModel(COUNT_RELAXED), 1);
}

#[test]
#[should_panic(expected = "used for something else")]
fn caught_reuse_before_the_slot_is_swung() {
    swing(Plant::InModel(REUSED_FIRST), 1);
}

#[test]
#[should_panic(expected = "used for something else")]
fn caught_slot_swung_without_release() {
    swing(Plant::RelaxStores(Kind::Slot), 1);
}

#[test]
#[should_panic(expected = "used for something else")]
fn caught_slot_loaded_without_acquire() {
    swing(Plant::RelaxLoads(Kind::Slot), 1);
}
