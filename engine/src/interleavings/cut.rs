//! A checkpoint beside the writer: it cuts between two writes, copies the pages of the cut without a lock, and swings
//! slots under it.

use std::sync::Arc;

use cidstore_core::layout::PAGE_WORDS;
use cidstore_core::layout::bucket::{ENTRIES_PER_BUCKET, ENTRIES_WORD};
use cidstore_core::layout::entry::{ENTRY_WORDS, SLOTS_WORD};
use cidstore_core::layout::table::Space;

use crate::checkpoint::Written;
use crate::store::turns::Turns;
use crate::sync::checked::{Plant, arm, explore, has, spawn_writer};
use crate::writer::cut::{Cut, CutPage};

use super::{KEY, Little, SEED, bucket_words, look_pinned, write_page};

const NO_GENERATION: &str = "the cut ends no generation";
const COPIED_FIRST: &str = "the page is copied before the cut";
const NOT_READ: &str = "the writer is not told that a checkpoint reads the pages of its cut";

/// The store and how many writes it has had.
struct State {
    little: Little,
    writes: u64,
}

type Lock = Turns<State, (), ()>;

fn write(lock: &Lock, value: u64) {
    let mut state = lock.lock();
    state.little.insert(value);
    state.writes += 1;
    state.little.reuse();
}

fn cut(state: &mut State) -> Cut {
    let little = &mut state.little;
    let before = little.writer.pages.bucket_at(0);
    if has(NO_GENERATION) {
        let generation = little.writer.pages.current_generation();
        // As the shipped cut, but for the generation.
        let mut cut = little.cut(1);
        little.writer.pages.restore_generation(generation);
        cut.bucket_pages = vec![CutPage { page: before, owner: 0 }];
        return cut;
    }
    let mut cut = little.cut(1);
    // Not what the model has filled freed pages with.
    cut.bucket_pages.retain(|page| page.page == before);
    if has(NOT_READ) {
        little.writer.pages.checkpoint = None;
    }
    cut
}

/// The values in a copy of the watched key's page: as many writes as it has had.
fn values_in(words: &[u64; PAGE_WORDS]) -> Vec<u64> {
    let home = ENTRIES_WORD + SEED.hash(KEY).home(ENTRIES_PER_BUCKET) * ENTRY_WORDS;
    let slots = &words[home + SLOTS_WORD..home + SLOTS_WORD + 4];
    slots.chunks(2).map(|pair| pair[0]).filter(|&value| value != 0).collect()
}

fn checkpoint(lock: &Lock) {
    let shared = lock.lock().little.shared();
    let copy = |page| {
        let mut words = [0; PAGE_WORDS];
        shared.regions.buckets.copy_out(page, &mut words);
        words
    };
    let early = has(COPIED_FIRST).then(|| copy(lock.lock().little.writer.pages.bucket_at(0)));
    let (cut, writes) = {
        let mut state = lock.lock();
        (cut(&mut state), state.writes)
    };
    let mut written = Vec::new();
    for page in &cut.bucket_pages {
        let words = early.unwrap_or_else(|| copy(page.page));
        let expected: Vec<u64> = (10..=10 + writes).collect();
        assert_eq!(values_in(&words), expected, "the file has another state than the cut's");
        let to = lock.lock().little.free_file_page(Space::Buckets);
        written.push(write_page(&shared, Space::Buckets, *page, to, &words));
        shared.copy_tags(to, &words);
    }
    let written = Written { buckets: written, values: Vec::new() };
    lock.lock().little.finish(&cut, &written);
}

/// One checkpoint beside one write; the key has one value when it begins.
fn cut_beside_writes(plant: Plant, preemptions: Option<usize>) {
    explore(plant, preemptions, bucket_words, || {
        let little = Little::new([10]);
        let shared = little.shared();
        let lock = Arc::new(Lock::new(State { little, writes: 0 }));
        arm();
        let writer = {
            let lock = Arc::clone(&lock);
            spawn_writer(move || write(&lock, 11))
        };
        checkpoint(&lock);
        writer.join().unwrap();
        assert_eq!(look_pinned(&shared), [10, 11], "a write was lost");
    });
}

/// At most four preemptions, 1,400 executions.
#[test]
fn a_checkpoint_writes_the_state_of_its_cut() {
    cut_beside_writes(Plant::Sound, Some(4));
}

#[test]
#[should_panic(expected = "a write was lost")]
fn caught_cut_without_a_generation() {
    cut_beside_writes(Plant::InModel(NO_GENERATION), Some(3));
}

#[test]
#[should_panic(expected = "another state than the cut's")]
fn caught_copy_before_the_cut() {
    cut_beside_writes(Plant::InModel(COPIED_FIRST), Some(3));
}

#[test]
#[should_panic(expected = "another state than the cut's")]
fn caught_reuse_of_a_page_that_a_checkpoint_reads() {
    cut_beside_writes(Plant::InModel(NOT_READ), Some(3));
}
