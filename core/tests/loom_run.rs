//! Loom: values that are appended and tombstoned in place, under a reader (V1, V2, V3).
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p cidstore-core --release --test loom_run`. Every model is
//! explored completely; the largest has a few thousand executions and takes about a second.
//!
//! A plant weakens what the shipping code asks of one word; a model that passes with its plant would not
//! guard the rule. The writer's loads go to a shadow, for loom keeps only the last access to a word when
//! it looks for races, and a writer always loads what it stored last.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]
#![cfg(loom)]

use std::cell::Cell as StdCell;
use std::sync::Arc;

use cidstore_core::E;
use cidstore_core::layout::value::{
    EXTENT_META_WORD, EXTENT_TOMBSTONES_WORD, VALUE_HEADER_WORDS, extent_words,
};
use cidstore_core::protocol::extent::Extents;
use cidstore_core::protocol::run::Run;
use cidstore_core::protocol::word::Word;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::thread::{self, ThreadId};

/// Extents of 122 values: their tombstones are in two words.
const CLASS: u8 = 4;
const WORDS: usize = VALUE_HEADER_WORDS + extent_words(CLASS as usize);
const META: usize = VALUE_HEADER_WORDS + EXTENT_META_WORD;
const TOMBSTONES: usize = VALUE_HEADER_WORDS + EXTENT_TOMBSTONES_WORD;
/// Positions that a set has at the start: the last one has its tombstone in the second word.
const COUNT: u64 = 65;

/// A planted bug.
#[derive(Clone, Copy, Debug)]
enum Plant {
    Sound,
    /// Release stores to this word are Relaxed.
    RelaxStores(usize),
    /// Acquire loads of this word are Relaxed.
    RelaxLoads(usize),
    /// The second load of the meta word gives what the first gave.
    NoSecondLook,
    /// A deletion leaves the version as it is.
    NoVersion,
}

thread_local! {
    // loom runs the threads of a model as coroutines on one thread.
    static PLANT: StdCell<Plant> = const { StdCell::new(Plant::Sound) };
    static WRITER: StdCell<Option<ThreadId>> = const { StdCell::new(None) };
    static FIRST_META: StdCell<u64> = const { StdCell::new(0) };
}

/// A word of a page; `atomic` only where reader and writer of a model meet.
struct Cell {
    atomic: Option<AtomicU64>,
    shadow: std::sync::atomic::AtomicU64,
    index: usize,
}

impl Word for Cell {
    fn load(&self, order: Ordering) -> u64 {
        let shadow = self.shadow.load(Ordering::Relaxed);
        let Some(atomic) = &self.atomic else { return shadow };
        if WRITER.get() == Some(thread::current().id()) {
            return shadow;
        }
        match PLANT.get() {
            Plant::RelaxLoads(word) if word == self.index => atomic.load(Ordering::Relaxed),
            Plant::NoSecondLook if self.index == META && order == Ordering::Relaxed => {
                FIRST_META.get()
            }
            _ => {
                let value = atomic.load(order);
                if self.index == META {
                    FIRST_META.set(value);
                }
                value
            }
        }
    }

    fn store(&self, value: u64, order: Ordering) {
        let before = self.shadow.swap(value, Ordering::Relaxed);
        let Some(atomic) = &self.atomic else { return };
        match PLANT.get() {
            Plant::RelaxStores(word) if word == self.index => {
                atomic.store(value, Ordering::Relaxed);
            }
            // Only a deletion leaves the count as it is.
            Plant::NoVersion if self.index == META && before >> 32 == value >> 32 => {}
            _ => atomic.store(value, order),
        }
    }

    fn fence(order: Ordering) {
        fence(order);
    }

    fn relax() {
        thread::yield_now();
    }
}

type Words = Arc<[Cell; WORDS]>;

/// A value whose halves both tell which it is.
fn wide(value: u64) -> E {
    E::new(value, value)
}

/// A page whose first extent holds `COUNT` values from 1 on.
fn page() -> Words {
    let shared = |index: usize| {
        let value = (index as u64).wrapping_sub((VALUE_HEADER_WORDS + 8) as u64) / 2;
        index == META
            || (TOMBSTONES..TOMBSTONES + 2).contains(&index)
            || (COUNT..COUNT + 2).contains(&value)
    };
    let words: Words = Arc::new(std::array::from_fn(|index| Cell {
        atomic: shared(index).then(|| AtomicU64::new(0)),
        shadow: std::sync::atomic::AtomicU64::new(0),
        index,
    }));
    Extents::format(&*words, CLASS, 1);
    let values = (1..=COUNT).map(wide).collect::<Vec<_>>();
    let extent = Extents::open(&*words).unwrap().extent(0).unwrap();
    extent.fill(wide(9), &values, values.len());
    words
}

fn run(words: &Words) -> Run<'_, Cell> {
    Extents::open(&**words).unwrap().extent(0).unwrap().run()
}

/// Runs `write` beside `read` in every interleaving.
fn explore(plant: Plant, write: fn(Run<'_, Cell>), read: fn(&Words)) {
    loom::model(move || {
        PLANT.set(Plant::Sound);
        let words = page();
        PLANT.set(plant);
        let writer = {
            let words = words.clone();
            thread::spawn(move || {
                WRITER.set(Some(thread::current().id()));
                write(run(&words));
            })
        };
        read(&words);
        writer.join().unwrap();
    });
}

/// The values of one instant.
fn values(words: &Words) -> Vec<E> {
    let state = run(words).state().unwrap();
    let mut values = Vec::new();
    run(words).for_each(&state, |value| values.push(value));
    assert_eq!(values.len(), state.live());
    values
}

fn append_two(run: Run<'_, Cell>) {
    assert!(run.append(wide(100)).unwrap());
    assert!(run.append(wide(101)).unwrap());
}

fn see_appended(words: &Words) {
    let values = values(words);
    let added = &values[COUNT as usize..];
    assert!([&[][..], &[wide(100)], &[wide(100), wide(101)]].contains(&added), "never a set");
}

/// A value is found or not, never another one; what was found once is found again.
fn find_appended(words: &Words) {
    assert_eq!(run(words).find(E::ZERO), Ok(None), "never a set");
    let second = run(words).find(wide(101)).unwrap();
    let first = run(words).find(wide(100)).unwrap();
    assert!(second.is_none_or(|at| at == COUNT as usize + 1));
    assert!(second.is_none() || first == Some(COUNT as usize), "never a set");
}

/// First a value whose tombstone is loaded first, then the other one.
fn delete_two(run: Run<'_, Cell>) {
    run.bury(0).unwrap();
    run.bury(COUNT as usize - 1).unwrap();
}

fn see_deleted(words: &Words) {
    let values = values(words);
    let [first, last] = [wide(1), wide(COUNT)].map(|value| values.contains(&value));
    assert!(last || !first, "never a set");
}

fn find_deleted(words: &Words) {
    let last = run(words).find(wide(COUNT)).unwrap();
    let first = run(words).find(wide(1)).unwrap();
    assert!(last.is_some() || first.is_none(), "never a set");
}

/// The new one comes before the old one goes.
fn replace(run: Run<'_, Cell>) {
    assert!(run.append(wide(100)).unwrap());
    run.bury(0).unwrap();
}

fn see_replaced(words: &Words) {
    let values = values(words);
    assert!(values.contains(&wide(1)) || values.contains(&wide(100)), "never a set");
}

#[test]
fn values_come() {
    explore(Plant::Sound, append_two, see_appended);
    explore(Plant::Sound, append_two, find_appended);
}

#[test]
fn values_go() {
    explore(Plant::Sound, delete_two, see_deleted);
    explore(Plant::Sound, delete_two, find_deleted);
}

#[test]
fn a_value_replaces_another() {
    explore(Plant::Sound, replace, see_replaced);
}

#[test]
#[should_panic(expected = "never a set")]
fn caught_count_published_without_release() {
    explore(Plant::RelaxStores(META), append_two, see_appended);
}

#[test]
#[should_panic(expected = "never a set")]
fn caught_count_loaded_without_acquire() {
    explore(Plant::RelaxLoads(META), append_two, find_appended);
}

#[test]
#[should_panic(expected = "never a set")]
fn caught_no_second_look() {
    explore(Plant::NoSecondLook, delete_two, see_deleted);
}

#[test]
#[should_panic(expected = "never a set")]
fn caught_deletion_without_version() {
    explore(Plant::NoVersion, delete_two, see_deleted);
}

#[test]
#[should_panic(expected = "never a set")]
fn caught_tombstone_stored_without_release() {
    explore(Plant::RelaxStores(TOMBSTONES + 1), delete_two, see_deleted);
}

#[test]
#[should_panic(expected = "never a set")]
fn caught_tombstone_loaded_without_acquire() {
    explore(Plant::RelaxLoads(TOMBSTONES + 1), delete_two, see_deleted);
}

#[test]
#[should_panic(expected = "never a set")]
fn caught_replacement_without_second_look() {
    explore(Plant::NoSecondLook, replace, see_replaced);
}
