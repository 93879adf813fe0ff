//! Loom: keys that move within their page without a change of content (R4, R6).
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p cidstore-core --release --test loom_move`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]
#![cfg(loom)]

mod loom_support;

use cidstore_core::layout::bucket::{SEQUENCE_WORD, TAGS_WORD};
use cidstore_core::layout::entry::{SetReference, SpillPointer};
use cidstore_core::protocol::bucket_build::Item;
use cidstore_core::protocol::bucket_keys::keys;
use cidstore_core::protocol::bucket_read::{Found, find};
use cidstore_core::protocol::bucket_write::BucketWriter;
use cidstore_core::protocol::content::Content;
use loom_support::{
    Plant, arm, at_most, built_page, complete_or, explore, hash, inline, instants, item,
    spawn_writer, wide,
};

/// Four entries: a key with its second, one that stands in its way, and a free position to move to.
const FOUR: usize = 48;
/// Nine entries: the last one's tag lies in a tag word of its own.
const NINE: usize = 88;

const VALUES: [u64; 3] = [10, 11, 12];

/// What the writer of a model does.
#[derive(Clone, Copy)]
enum Move {
    Promote,
    Demote,
    /// Moves a set; then another key takes the position that became free.
    RelocateAndReuse,
}

/// What the reader of a model does meanwhile.
#[derive(Clone, Copy)]
enum Reader {
    Finds,
    /// Asks for all keys of the page.
    Scans,
}

fn set(page: u32) -> Content {
    let reference = SetReference { page, extent: None }.encode();
    Content::Spilled(SpillPointer { reference, ..SpillPointer::default() })
}

fn pointer(page: u32) -> SpillPointer {
    let Content::Spilled(pointer) = set(page) else { unreachable!() };
    pointer
}

/// A key is in the page all the while, at home, and another key of that home before it; nothing that the writer does may let the
/// reader miss it. Readers go by tags alone, so a key away from home is nothing else to them.
fn moves_under<const WORDS: usize>(
    plant: Plant,
    preemptions: Option<usize>,
    reader: Reader,
    home: u64,
    action: Move,
) {
    explore(plant, preemptions, move || {
        let key = wide(1);
        let key_hash = hash::<WORDS>(home, 5, 1);
        let content = match action {
            Move::Promote => Content::Inline(inline(&VALUES)),
            Move::Demote | Move::RelocateAndReuse => set(1),
        };
        let in_the_way = item(wide(3), hash::<WORDS>(home, 4, 0), &[30]);
        let items = [Item { hash: key_hash, key, content }, in_the_way];
        let page = built_page::<WORDS>(0, &items);
        arm();
        let writer = {
            let page = page.clone();
            spawn_writer(move || {
                let writer = BucketWriter::new(&*page);
                let at = writer.locate(key, key_hash).unwrap().unwrap();
                assert_eq!(at.primary() as u64, home);
                match action {
                    Move::Promote => writer.move_to_set(&at, key, key_hash, pointer(1)).unwrap(),
                    Move::Demote => {
                        writer.move_inline(&at, key, key_hash, &VALUES.map(wide)).unwrap();
                    }
                    Move::RelocateAndReuse => {
                        writer.move_to_set(&at, key, key_hash, pointer(2)).unwrap();
                        let other = hash::<WORDS>(at.primary() as u64, 6, 0);
                        writer.insert_new(wide(2), other, wide(20)).unwrap();
                    }
                }
            })
        };
        let listed = || {
            let keys = keys(&*page).unwrap();
            let times = keys.as_slice().iter().filter(|&&listed| listed == key).count();
            assert_eq!(times, 1, "a scan must meet the key once");
        };
        let look = || match find(&*page, key, key_hash).unwrap() {
            Found::Inline(values) => assert_eq!(instants(&[&VALUES], &values), [0]),
            Found::Spilled { reference, .. } => {
                assert!([1, 2].map(|page| pointer(page).reference).contains(&reference), "torn");
            }
            Found::Miss { .. } => panic!("false miss"),
        };
        match reader {
            Reader::Finds => look(),
            Reader::Scans => listed(),
        }
        writer.join().unwrap();
        look();
        listed();
    });
}

/// [`moves_under`] a reader that looks for the key.
fn moves<const WORDS: usize>(plant: Plant, preemptions: Option<usize>, home: u64, action: Move) {
    moves_under::<WORDS>(plant, preemptions, Reader::Finds, home, action);
}

/// At most three preemptions, 17,000 executions, 2 s; complete in the slow tier.
#[test]
fn inline_values_become_a_set() {
    moves::<FOUR>(Plant::Sound, complete_or(3), 2, Move::Promote);
}

/// Complete. 8,400 executions, 1 s.
#[test]
fn a_set_becomes_inline_values() {
    moves::<FOUR>(Plant::Sound, None, 2, Move::Demote);
}

/// At most three preemptions, 25,000 executions, 2 s; five in the slow tier.
#[test]
fn a_set_moves_and_its_position_is_reused() {
    moves::<FOUR>(Plant::Sound, at_most(3, 5), 2, Move::RelocateAndReuse);
}

/// At most three preemptions. 31,000 executions, 3 s.
#[test]
fn a_set_moves_to_another_tag_word() {
    moves::<NINE>(Plant::Sound, Some(3), 8, Move::RelocateAndReuse);
}

/// At most three preemptions. 19,000 and 8,100 and 68,000 executions, 5 s.
#[test]
fn a_scan_meets_a_moving_key_once() {
    for action in [Move::Promote, Move::Demote, Move::RelocateAndReuse] {
        moves_under::<FOUR>(Plant::Sound, Some(3), Reader::Scans, 2, action);
    }
}

#[test]
#[should_panic(expected = "a scan must meet the key once")]
fn caught_scan_with_kill_before_count() {
    let plant = Plant::Delay { word: SEQUENCE_WORD, by: 1 };
    moves_under::<FOUR>(plant, Some(3), Reader::Scans, 2, Move::Promote);
}

/// The old place dies before the count of moves says so.
#[test]
#[should_panic(expected = "false miss")]
fn caught_kill_before_count() {
    let plant = Plant::Delay { word: SEQUENCE_WORD, by: 1 };
    moves::<FOUR>(plant, Some(3), 2, Move::RelocateAndReuse);
}

/// The count of moves shows before the new place does.
#[test]
#[should_panic(expected = "false miss")]
fn caught_count_without_release() {
    let plant = Plant::RelaxStores { word: SEQUENCE_WORD };
    moves::<FOUR>(plant, Some(3), 2, Move::RelocateAndReuse);
}

#[test]
#[should_panic(expected = "false miss")]
fn caught_count_loaded_without_acquire() {
    let plant = Plant::RelaxLoads { word: SEQUENCE_WORD };
    moves::<FOUR>(plant, Some(3), 2, Move::RelocateAndReuse);
}

/// The old place dies before the tags show the new one.
#[test]
#[should_panic(expected = "false miss")]
fn caught_kill_before_the_new_tag() {
    let plant = Plant::Delay { word: TAGS_WORD, by: 2 };
    moves::<FOUR>(plant, Some(3), 2, Move::RelocateAndReuse);
}

/// The old tag is seen cleared, but not what came before.
#[test]
#[should_panic(expected = "false miss")]
fn caught_tag_cleared_without_release() {
    let plant = Plant::RelaxStores { word: TAGS_WORD + 1 };
    moves::<NINE>(plant, Some(3), 8, Move::RelocateAndReuse);
}

/// The old tag is seen cleared, or the old position reused, but not the count that came before.
#[test]
#[should_panic(expected = "false miss")]
fn caught_count_looked_at_again_without_fence() {
    let plant = Plant::NoFenceBefore { word: SEQUENCE_WORD };
    moves::<NINE>(plant, Some(3), 8, Move::RelocateAndReuse);
}
