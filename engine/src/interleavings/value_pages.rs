//! A checkpoint swings the slots of value pages, of small sets and of large ones, from pool pages to the file's copies, and
//! the pool pages are used for something else, beside a reader of a set.

use cidstore_core::E;
use cidstore_core::layout::value::{KIND_WORD, LEAF_VALUES_WORD};

use crate::checkpoint::Written;
use crate::read::Reader;
use crate::shared::Shared;
use crate::space::limbo::Retired;
use crate::sync::checked::pins::{COUNT_RELAXED, NO_WAIT};
use crate::sync::checked::{Kind, Plant, arm, complete_or, explore, has, spawn_writer};

use super::sets::{LAST_VALUE, META, MOVES, TOMBSTONES, large_values};
use super::{KEY, Little, REUSED, look, wide};

const EARLY_UNPIN: &str = "the reader unpins before it reads";
const REUSED_FIRST: &str = "the pool pages are retired before their slots are swung";

/// What a reader of a set in the first extent of a page decides by, and the last value that the extent has room for.
fn extent_words(_: u32, word: usize) -> bool {
    [KIND_WORD, META, TOMBSTONES, LAST_VALUE, LAST_VALUE + 1].contains(&word)
}

/// What a reader of a large set decides by: the heads of leaves and nodes, where inner nodes have what they lead to.
fn tree_words(_: u32, word: usize) -> bool {
    word <= LEAF_VALUES_WORD
}

impl Little {
    /// Frees what nobody may need, and makes sets of another key in every pool page of the values that is free now: each of
    /// a class of its own, since one that found room beside other sets would take no page.
    fn reuse_value_pages(&mut self) {
        self.writer.pages.limbo.seal();
        self.writer.collect(true);
        for length in [12, 24, 48, 96, 200] {
            self.writer.sets().create(E::new(9, 9), &vec![REUSED; length]);
        }
    }

    /// As the end of a checkpoint, but that it gives the pool pages back first.
    fn retire_value_pages_wrongly(&mut self, written: &Written) {
        let pages = &mut self.writer.pages;
        pages.checkpoint = None;
        let now = pages.current_generation();
        for page in &written.values {
            pages.value_pool.retire(page.from);
            pages.limbo.retire(Retired::ValuePage(page.from), now, now);
        }
        self.reuse_value_pages();
    }
}

/// Runs `read` under a pin, or as the plant has it.
fn pinned(shared: &Shared, read: impl Fn(&Shared)) {
    let pin = shared.pins.pin();
    if has(EARLY_UNPIN) {
        drop(pin);
        return read(shared);
    }
    read(shared);
}

/// `looks` looks of a reader beside the end of a checkpoint; with `writes`, the set changes afterwards, in a new copy.
fn small(plant: Plant, preemptions: Option<usize>, looks: usize, writes: bool) {
    explore(plant, preemptions, extent_words, move || {
        let mut little = Little::new(1..=7);
        let shared = little.shared();
        let cut = little.cut(1);
        arm();
        let writer = spawn_writer(move || {
            let written = little.write_cut(&cut);
            if has(REUSED_FIRST) {
                little.retire_value_pages_wrongly(&written);
            }
            little.finish(&cut, &written);
            little.reuse_value_pages();
            if writes {
                little.insert(8);
                little.reuse_value_pages();
            }
        });
        let check = |shared: &Shared| {
            let seen = look(shared, shared.view());
            let may_be =
                (1..=7).eq(seen.iter().copied()) || writes && (1..=8).eq(seen.iter().copied());
            assert!(may_be, "a page was used for something else under its reader: {seen:?}");
        };
        for _ in 0..looks {
            pinned(&shared, check);
        }
        writer.join().unwrap();
        pinned(&shared, |shared| {
            assert_eq!(look(shared, shared.view()).len(), if writes { 8 } else { 7 });
        });
    });
}

/// A lookup of a value in a large set, which goes through its root to a leaf, beside the end of a checkpoint.
fn large(plant: Plant, preemptions: Option<usize>) {
    explore(plant, preemptions, tree_words, move || {
        let mut little = Little::new(large_values());
        let shared = little.shared();
        let cut = little.cut(1);
        assert!(cut.value_pages.len() > 2, "a root and leaves were expected");
        arm();
        let writer = spawn_writer(move || {
            let written = little.write_cut(&cut);
            if has(REUSED_FIRST) {
                little.retire_value_pages_wrongly(&written);
            }
            little.finish(&cut, &written);
            little.reuse_value_pages();
        });
        let check = |shared: &Shared| {
            let found = Reader { shared, view: shared.view() }.contains(KEY, wide(MOVES));
            assert!(found.unwrap(), "a value that is there all the time was not found");
        };
        pinned(&shared, check);
        writer.join().unwrap();
        pinned(&shared, check);
    });
}

/// Complete. 4,500 executions.
#[test]
fn a_small_sets_page_is_not_reused_under_its_reader() {
    small(Plant::Sound, None, 2, false);
}

/// At most three preemptions, 410 executions.
#[test]
fn a_small_sets_page_is_copied_again_under_its_reader() {
    small(Plant::Sound, complete_or(3), 1, true);
}

/// Complete. 2,300 executions.
#[test]
fn a_large_sets_pages_are_not_reused_under_its_reader() {
    large(Plant::Sound, None);
}

#[test]
#[should_panic(expected = "used for something else")]
fn caught_reuse_without_waiting() {
    small(Plant::InModel(NO_WAIT), None, 1, false);
}

#[test]
#[should_panic(expected = "used for something else")]
fn caught_unpin_before_the_read() {
    small(Plant::InModel(EARLY_UNPIN), None, 1, false);
}

#[test]
#[should_panic(expected = "used for something else")]
fn caught_count_that_orders_nothing() {
    small(Plant::InModel(COUNT_RELAXED), None, 1, false);
}

#[test]
#[should_panic(expected = "used for something else")]
fn caught_reuse_before_the_slot_is_swung() {
    small(Plant::InModel(REUSED_FIRST), None, 1, false);
}

#[test]
#[should_panic(expected = "Corrupt")]
fn caught_slot_swung_without_release() {
    small(Plant::RelaxStores(Kind::Slot), None, 1, false);
}

#[test]
#[should_panic(expected = "Corrupt")]
fn caught_slot_loaded_without_acquire() {
    small(Plant::RelaxLoads(Kind::Slot), None, 1, false);
}

#[test]
#[should_panic(expected = "not found")]
fn caught_leaf_reused_without_waiting() {
    large(Plant::InModel(NO_WAIT), None);
}

#[test]
#[should_panic(expected = "not found")]
fn caught_unpin_before_the_walk_to_a_leaf() {
    large(Plant::InModel(EARLY_UNPIN), None);
}

#[test]
#[should_panic(expected = "Corrupt")]
fn caught_leaf_reused_before_its_slot_is_swung() {
    large(Plant::InModel(REUSED_FIRST), None);
}

#[test]
#[should_panic(expected = "Corrupt")]
fn caught_leafs_slot_swung_without_release() {
    large(Plant::RelaxStores(Kind::Slot), None);
}
