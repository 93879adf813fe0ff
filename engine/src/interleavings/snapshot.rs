//! A snapshot's reader beside the writer, which changes what the snapshot has, and beside a checkpoint, which swings its
//! slots from pool pages to the file's.

use std::sync::Arc;

use crate::shared::{FrozenView, Shared};
use crate::sync::checked::pins::NO_WAIT;
use crate::sync::checked::{Kind, Plant, arm, explore, has, is_complete, spawn_writer};
use crate::table::FrozenTables;

use super::{Little, bucket_words, look, look_pinned};

const DROPPED_EARLY: &str = "the snapshot is dropped before its last look";
const NOT_CUT: &str = "the snapshot ends no generation";

/// When a checkpoint ends that has cut before the snapshot was made.
#[derive(Clone, Copy, PartialEq)]
enum Checkpoint {
    None,
    BeforeWrites,
    BetweenWrites,
}

fn look_frozen(shared: &Shared, frozen: &FrozenTables) -> Vec<u64> {
    let _pin = shared.pins.pin();
    look(shared, FrozenView { shared, frozen, verify: false })
}

/// `looks` looks at a snapshot beside two writes and the reuse of what they replaced; a checkpoint may be writing the
/// page that the snapshot has to the file.
fn snapshot(plant: Plant, looks: usize, checkpoint: Checkpoint) {
    explore(plant, None, bucket_words, move || {
        let mut little = Little::new([10]);
        let shared = little.shared();
        arm();
        let mut cut = (checkpoint != Checkpoint::None).then(|| little.cut(1));
        let mut finish = move |little: &mut Little| {
            if let Some(cut) = cut.take() {
                let written = little.write_cut(&cut);
                little.finish(&cut, &written);
            }
        };
        let frozen = if has(NOT_CUT) {
            little.writer.pages.tables.freeze(&shared.tables, 1, [1, 1])
        } else {
            little.writer.freeze()
        };
        let kept = Arc::clone(&frozen);
        let writer = spawn_writer(move || {
            if checkpoint == Checkpoint::BeforeWrites {
                finish(&mut little);
                little.reuse();
            }
            little.insert(11);
            finish(&mut little);
            little.insert(12);
            little.reuse();
        });
        if has(DROPPED_EARLY) {
            frozen.mark_dropped();
        }
        for _ in 0..looks {
            assert_eq!(look_frozen(&shared, &frozen), [10], "no longer what it was");
        }
        frozen.mark_dropped();
        writer.join().unwrap();
        drop(kept);
        assert_eq!(look_pinned(&shared), [10, 11, 12]);
    });
}

/// Complete. 2,300 executions.
#[test]
fn a_snapshot_stays_what_it_was() {
    snapshot(Plant::Sound, 2, Checkpoint::None);
}

/// Complete. 1,300 and 940 executions; in the slow tier with two looks, 51,000 and 16,000.
#[test]
fn a_snapshot_stays_what_it_was_beside_a_checkpoint() {
    let looks = if is_complete() { 2 } else { 1 };
    snapshot(Plant::Sound, looks, Checkpoint::BeforeWrites);
    snapshot(Plant::Sound, looks, Checkpoint::BetweenWrites);
}

#[test]
#[should_panic(expected = "no longer what it was")]
fn caught_slots_kept_after_the_change() {
    snapshot(Plant::Delay(Kind::Once, 1), 1, Checkpoint::None);
}

#[test]
#[should_panic(expected = "no longer what it was")]
fn caught_change_without_release() {
    snapshot(Plant::RelaxStores(Kind::Slot), 1, Checkpoint::None);
}

#[test]
#[should_panic(expected = "no longer what it was")]
fn caught_slot_loaded_without_acquire() {
    snapshot(Plant::RelaxLoads(Kind::Slot), 1, Checkpoint::None);
}

#[test]
#[should_panic(expected = "no longer what it was")]
fn caught_snapshot_that_ends_no_generation() {
    snapshot(Plant::InModel(NOT_CUT), 1, Checkpoint::None);
}

#[test]
#[should_panic(expected = "no longer what it was")]
fn caught_look_after_the_drop() {
    snapshot(Plant::InModel(DROPPED_EARLY), 1, Checkpoint::None);
}

#[test]
#[should_panic(expected = "no longer what it was")]
fn caught_reuse_of_a_page_that_a_checkpoint_swung_away() {
    snapshot(Plant::InModel(NO_WAIT), 1, Checkpoint::BeforeWrites);
}
