//! Value sets under a reader: values come and go in place, a small set moves to a larger place, a leaf of a large one
//! splits, and what was left is used for another set.

use cidstore_core::E;
use cidstore_core::layout::bucket::{ENTRIES_PER_BUCKET, ENTRIES_WORD, TAG_WORDS, TAGS_WORD};
use cidstore_core::layout::entry::{ENTRY_WORDS, META_WORD};
use cidstore_core::layout::value::{
    EXTENT_META_WORD, EXTENT_TOMBSTONES_WORD, LEAF_VALUES_WORD, VALUE_HEADER_WORDS,
};
use cidstore_core::protocol::content::Content;

use crate::read::Reader;
use crate::shared::Shared;
use crate::sync::checked::pins::NO_WAIT;
use crate::sync::checked::{Kind, Plant, arm, explore, has, spawn_writer};

use super::{KEY, Little, REUSED, SEED, bucket_words, look, look_pinned, wide};

const RETIRED_FIRST: &str = "a set's place is given back before the entry names the new one";

/// Of the first extent of a page: the word of its meta, of its tombstones, of the last value that it has room for.
pub(super) const META: usize = VALUE_HEADER_WORDS + EXTENT_META_WORD;
pub(super) const TOMBSTONES: usize = VALUE_HEADER_WORDS + EXTENT_TOMBSTONES_WORD;
pub(super) const LAST_VALUE: usize = VALUE_HEADER_WORDS + 8 + 7 * 2;

/// What a reader of a small set decides by, and the values that come. The entry moves, so its next places and the tags
/// belong to it: what led a reader on but were not the checker's would tell it of things that it need not see yet.
fn small_words(page: u32, word: usize) -> bool {
    let place = |next: usize| next * ENTRY_WORDS;
    bucket_words(page, word)
        || (TAGS_WORD..TAGS_WORD + TAG_WORDS).contains(&word)
        || (1..3).any(|next| word >= place(next) && bucket_words(page, word - place(next)))
        || word == META
        || word == TOMBSTONES
        || (LAST_VALUE..LAST_VALUE + 2).contains(&word)
}

/// The word of the meta of the watched key's entry.
fn entry_meta() -> Kind {
    let home = SEED.hash(KEY).home(ENTRIES_PER_BUCKET);
    Kind::Word(ENTRIES_WORD + home * ENTRY_WORDS + META_WORD)
}

impl Little {
    /// Lets limbo pass and makes sets of another key in all places that are free now.
    fn reuse_sets(&mut self) {
        self.writer.pages.limbo.seal();
        self.writer.collect(true);
        for _ in 0..3 {
            self.writer.sets().create(E::new(9, 9), &[REUSED; 6]);
        }
    }

    /// As the writer moves a full set, but that its old place is given back first.
    fn move_set_wrongly(&mut self) {
        let (place, content) = self.writer.look_up(KEY, SEED.hash(KEY)).unwrap().unwrap();
        let Content::Spilled(old) = content else { panic!("a set was expected") };
        let moved = self.writer.sets().relocate(KEY, &old).unwrap();
        self.writer.sets().retire_set(KEY, &old).unwrap();
        self.reuse_sets();
        self.writer.move_to_set(place, KEY, SEED.hash(KEY), moved);
    }
}

/// What the watched key of the small model has, state after state.
const HISTORY: [&[u64]; 4] = [
    &[1, 2, 3, 4, 5, 6, 7],
    &[1, 2, 3, 4, 5, 6, 7, 8],
    &[2, 3, 4, 5, 6, 7, 8],
    &[2, 3, 4, 5, 6, 7, 8, 9],
];

/// A look at a small set that gets its last value, loses its first, moves and grows.
fn small(plant: Plant, preemptions: usize) {
    explore(plant, Some(preemptions), small_words, move || {
        let mut little = Little::new(1..=7);
        let shared = little.shared();
        arm();
        let writer = spawn_writer(move || {
            little.insert(8);
            little.delete(1);
            if has(RETIRED_FIRST) {
                little.move_set_wrongly();
            }
            // The extent is full: the set moves, then the value comes.
            little.insert(9);
            little.reuse_sets();
        });
        let seen = look_pinned(&shared);
        assert!(HISTORY.contains(&&seen[..]), "values that the key never had: {seen:?}");
        writer.join().unwrap();
        assert_eq!(look_pinned(&shared), HISTORY[3]);
    });
}

/// Values that the watched key of the large model has all the time: two leaves full, and so many more in the first that
/// one more value splits it.
const VALUES: u64 = 245;
const FILLED: u64 = 128;
/// In the part of the first leaf that goes to a new one.
pub(super) const MOVES: u64 = 3 * 120;

/// The values that a large set has all the time, in the order in which they came.
pub(super) fn large_values() -> impl Iterator<Item = u64> {
    (1..=VALUES)
        .map(|value| 3 * value)
        .chain((0..FILLED).map(|at| 3 * (at % 120 + 1) + 1 + at / 120))
}

/// The heads of leaves and nodes and what they lead to.
fn large_words(page: u32, word: usize) -> bool {
    bucket_words(page, word) || word <= LEAF_VALUES_WORD
}

/// `looks` looks for a value that a split moves to another leaf, and a walk through the whole set if that is asked for.
fn large(plant: Plant, looks: usize, walk: bool) {
    explore(plant, None, large_words, move || {
        let mut little = Little::new(large_values());
        let shared = little.shared();
        let numbers = little.writer.pages.value_numbers.used();
        arm();
        let writer = spawn_writer(move || {
            little.insert(1);
            assert_eq!(
                little.writer.pages.value_numbers.used(),
                numbers + 1,
                "a leaf was to split"
            );
            little.reuse_sets();
        });
        for _ in 0..looks {
            let _pin = shared.pins.pin();
            let reader = Reader { shared: &shared, view: shared.view() };
            let found = reader.contains(KEY, wide(MOVES)).unwrap();
            assert!(found, "a value that is there all the time was not found");
        }
        if walk {
            check_walk(&shared);
        }
        writer.join().unwrap();
        check_walk(&shared);
    });
}

fn check_walk(shared: &Shared) {
    let _pin = shared.pins.pin();
    let seen = look(shared, shared.view());
    let mut stays: Vec<u64> = large_values().collect();
    stays.sort_unstable();
    let without_new: Vec<u64> = seen.into_iter().filter(|&value| value != 1).collect();
    assert!(without_new == stays, "a value that is there all the time did not come once");
}

/// At most two preemptions, 1,200 executions.
#[test]
fn a_small_set_is_always_of_one_instant() {
    small(Plant::Sound, 2);
}

/// Complete. 202 executions.
#[test]
fn a_value_is_found_while_its_leaf_splits() {
    large(Plant::Sound, 1, false);
}

/// Complete. 202 executions.
#[test]
fn a_walk_gives_each_value_once_while_a_leaf_splits() {
    large(Plant::Sound, 0, true);
}

#[test]
#[should_panic(expected = "the key never had")]
fn caught_count_published_without_release() {
    small(Plant::RelaxStores(Kind::Word(META)), 2);
}

#[test]
#[should_panic(expected = "the key never had")]
fn caught_count_loaded_without_acquire() {
    small(Plant::RelaxLoads(Kind::Word(META)), 2);
}

#[test]
#[should_panic(expected = "a torn value")]
fn caught_value_stored_after_its_count() {
    small(Plant::Delay(Kind::Word(LAST_VALUE + 1), 1), 2);
}

#[test]
#[should_panic(expected = "a torn value")]
fn caught_place_given_back_before_the_move() {
    small(Plant::InModel(RETIRED_FIRST), 2);
}

#[test]
#[should_panic(expected = "a torn value")]
fn caught_place_reused_without_waiting() {
    small(Plant::InModel(NO_WAIT), 2);
}

#[test]
#[should_panic(expected = "Corrupt")]
fn caught_entry_moved_without_release() {
    small(Plant::RelaxStores(entry_meta()), 2);
}

#[test]
#[should_panic(expected = "Corrupt")]
fn caught_leaf_reused_without_waiting() {
    large(Plant::InModel(NO_WAIT), 1, false);
}

#[test]
#[should_panic(expected = "Corrupt")]
fn caught_left_leaf_before_the_right_one() {
    large(Plant::Delay(Kind::Slot, usize::MAX), 1, false);
}

#[test]
#[should_panic(expected = "Corrupt")]
fn caught_leaf_published_without_release() {
    large(Plant::RelaxStores(Kind::Slot), 1, false);
}

#[test]
#[should_panic(expected = "Corrupt")]
fn caught_leaf_loaded_without_acquire() {
    large(Plant::RelaxLoads(Kind::Slot), 1, false);
}
