//! Loom: the read path across the tables, while the writer doubles the directory, splits, copies and
//! chains bucket pages (R6, R7).
//!
//! The lookup is the shipping one. The writer's part of a page is too; its part of the tables belongs
//! to the engine, so the models do here, in a few stores, what the engine has to do in that order.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p cidstore-core --release --test loom_lookup`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]
#![cfg(loom)]

mod loom_support;

use std::cell::Cell as StdCell;
use std::sync::Arc;

use cidstore_core::E;
use cidstore_core::hash::KeyHash;
use cidstore_core::layout::bucket::OVERFLOW_WORD;
use cidstore_core::protocol::batch::glance_many;
use cidstore_core::protocol::bucket_build::{self, Header, Item};
use cidstore_core::protocol::bucket_write::BucketWriter;
use cidstore_core::protocol::content::{Content, InlineValues};
use cidstore_core::protocol::lookup::{Answer, Glance, LookupFault, View, lookup, search};
use loom::sync::atomic::{AtomicU32, Ordering};
use loom_support::{
    Cell, Plant, arm, complete_or, empty_page, explore, hash, in_order, inline, instants, plant,
    spawn_writer, wide,
};

/// Two entries a page.
const WORDS: usize = 32;

const NO_RECHECK: &str = "a miss does not look at the depth again";
const DEPTH_FIRST: &str = "the depth is published before the slots are copied";
const DEPTH_RELAXED: &str = "the depth is published without Release";
const SLOT_RELAXED: &str = "a slot is swung without Release";
const OLD_PAGE_WRITTEN: &str = "a replaced page is stored to";
const REMOVED_FIRST: &str = "a key leaves its page before it is in the next";

/// The tables and pages of a model.
struct Tables {
    depth: AtomicU32,
    directory: [AtomicU32; 2],
    overflow: [AtomicU32; 2],
    pages: [Arc<[Cell; WORDS]>; 4],
}

impl Tables {
    /// A directory of depth 0 whose one bucket is page 1.
    fn new(items: &[Item]) -> Arc<Self> {
        let tables = Self {
            depth: AtomicU32::new(0),
            directory: [AtomicU32::new(1), AtomicU32::new(0)],
            overflow: [AtomicU32::new(0), AtomicU32::new(0)],
            pages: core::array::from_fn(empty_page),
        };
        tables.build(1, items);
        Arc::new(tables)
    }

    fn build(&self, page: usize, items: &[Item]) {
        let header = Header { local_depth: 0, prefix: 0, generation: 1, overflow: 0 };
        bucket_build::build(&*self.pages[page], &header, items).unwrap();
    }

    fn writer(&self, page: usize) -> BucketWriter<'_, Cell, WORDS> {
        BucketWriter::new(&*self.pages[page])
    }

    fn add_value(&self, page: usize, key: E, hash: KeyHash, value: u64) {
        let writer = self.writer(page);
        let located = writer.locate(key, hash).unwrap().unwrap();
        writer.add_value(&located, key, hash, wide(value)).unwrap();
    }

    /// Replaces the page that a directory slot names.
    fn swing(&self, index: usize, page: u32) {
        // Release: whoever sees the slot sees the page as it was built.
        let order = if has(SLOT_RELAXED) { Ordering::Relaxed } else { Ordering::Release };
        self.directory[index].store(page, order);
    }

    /// Doubles the directory: the upper half becomes a copy of the lower, then the depth grows.
    fn double(&self) {
        let lower = 1;
        if has(DEPTH_FIRST) {
            self.depth.store(1, Ordering::Release);
            self.directory[1].store(lower, Ordering::Release);
            return;
        }
        self.directory[1].store(lower, Ordering::Relaxed);
        // Release: whoever sees the depth sees the slots it speaks of.
        let order = if has(DEPTH_RELAXED) { Ordering::Relaxed } else { Ordering::Release };
        self.depth.store(1, order);
    }
}

/// Whether this bug is planted.
fn has(bug: &str) -> bool {
    matches!(plant(), Plant::InModel(planted) if planted == bug)
}

/// One lookup's view of the tables.
struct Reader<'a> {
    tables: &'a Tables,
    first_depth: StdCell<Option<u32>>,
}

impl View<WORDS> for Reader<'_> {
    type W = Cell;

    fn hash_of(&self, key: E) -> KeyHash {
        assert_eq!(key, watched().0, "nobody asks for another");
        watched().1
    }

    fn depth(&self) -> u32 {
        match self.first_depth.get() {
            Some(depth) if has(NO_RECHECK) => depth,
            _ => {
                let depth = self.tables.depth.load(Ordering::Acquire);
                self.first_depth.set(Some(depth));
                depth
            }
        }
    }

    fn directory_slot(&self, index: u32) -> u32 {
        self.tables.directory[index as usize].load(Ordering::Acquire)
    }

    fn overflow_slot(&self, logical: u32) -> u32 {
        self.tables.overflow[logical as usize].load(Ordering::Acquire)
    }

    fn bucket(&self, page: u32) -> &[Cell; WORDS] {
        &self.tables.pages[page as usize]
    }
}

/// The key that the readers look for: its directory bit is set, so a split takes it to the new slot.
fn watched() -> (E, KeyHash) {
    (wide(1), hash::<WORDS>(1, 5, 1))
}

fn other() -> (E, KeyHash) {
    (wide(2), hash::<WORDS>(0, 6, 0))
}

fn item((key, hash): (E, KeyHash), values: &[u64]) -> Item {
    Item { hash, key, content: Content::Inline(inline(values)) }
}

/// How a reader looks for the watched key.
type Look = fn(&Reader<'_>) -> Result<Answer, LookupFault>;

/// As most readers do.
fn once(view: &Reader<'_>) -> Result<Answer, LookupFault> {
    let (key, hash) = watched();
    lookup(view, key, hash)
}

/// As those who don't glance first, whose fences could do what the search should have done itself.
fn by_search(view: &Reader<'_>) -> Result<Answer, LookupFault> {
    let (key, hash) = watched();
    search(view, key, hash)
}

/// As one of a batch: what its stations found out may be old when the last one looks.
fn in_a_batch(view: &Reader<'_>) -> Result<Answer, LookupFault> {
    let (key, _) = watched();
    let mut answer = Ok(Answer::Absent);
    glance_many(view, &[key], |_, hash, glance| {
        answer = match glance {
            Glance::OneValue(value) => Ok(Answer::Inline(InlineValues::one(value))),
            Glance::Set(set) => Ok(Answer::Set(set)),
            Glance::Absent => Ok(Answer::Absent),
            Glance::Unclear => search(view, key, hash),
        };
        Ok::<(), ()>(())
    })
    .unwrap();
    answer
}

/// Explores a writer beside a reader that looks for the watched key; `history` is what may be found.
fn model(
    plant: Plant,
    preemptions: Option<usize>,
    looks: usize,
    history: &'static [&'static [u64]],
    write: fn(&Tables),
) {
    model_of(once, plant, preemptions, looks, history, write);
}

/// [`model`], of a reader that looks so.
fn model_of(
    look: Look,
    plant: Plant,
    preemptions: Option<usize>,
    looks: usize,
    history: &'static [&'static [u64]],
    write: fn(&Tables),
) {
    explore(plant, preemptions, move || {
        let tables = Tables::new(&[item(watched(), history[0]), item(other(), &[60])]);
        arm();
        let writer = {
            let tables = tables.clone();
            spawn_writer(move || write(&tables))
        };
        let look = || {
            let view = Reader { tables: &tables, first_depth: StdCell::new(None) };
            match look(&view) {
                Ok(Answer::Inline(values)) => instants(history, &values),
                Ok(Answer::Absent) => instants(history, &InlineValues::EMPTY),
                found => panic!("no such thing was published: {found:?}"),
            }
        };
        let reads: Vec<Vec<usize>> = (0..looks).map(|_| look()).collect();
        in_order(&reads);
        writer.join().unwrap();
        assert_eq!(look(), [history.len() - 1]);
    });
}

const ADDED: &[&[u64]] = &[&[30], &[30, 31]];

/// A split of a bucket as deep as the directory. Then the key's new page changes.
fn double_and_split(tables: &Tables) {
    let (key, hash) = watched();
    tables.build(2, &[item(other(), &[60])]);
    tables.build(3, &[item(watched(), &[30])]);
    tables.double();
    tables.swing(0, 2);
    tables.swing(1, 3);
    tables.add_value(3, key, hash, 31);
}

/// The first change of a page after a cut: its copy changes.
fn copy(tables: &Tables) {
    let (key, hash) = watched();
    tables.build(2, &[item(watched(), &[30]), item(other(), &[60])]);
    tables.swing(0, 2);
    if has(OLD_PAGE_WRITTEN) {
        tables.add_value(1, key, hash, 31);
    }
    tables.add_value(2, key, hash, 31);
}

/// A page that can't be split gets an overflow page, and a key moves there. Then the key changes.
fn chain(tables: &Tables) {
    let (key, hash) = watched();
    tables.build(2, &[]);
    tables.overflow[1].store(2, Ordering::Release);
    tables.writer(1).set_overflow(1);
    let located = tables.writer(1).locate(key, hash).unwrap().unwrap();
    let content = tables.writer(1).content(&located);
    if has(REMOVED_FIRST) {
        tables.writer(1).remove_key(&located);
        tables.writer(2).insert_content(key, hash, &content).unwrap();
    } else {
        tables.writer(2).insert_content(key, hash, &content).unwrap();
        tables.writer(1).remove_key(&located);
    }
    tables.add_value(2, key, hash, 31);
}

/// A page that can't be split gets an overflow page, and the key comes to life there.
fn extend(tables: &Tables) {
    let (key, hash) = watched();
    tables.build(2, &[]);
    tables.overflow[1].store(2, Ordering::Release);
    tables.writer(1).set_overflow(1);
    tables.writer(2).insert_new(key, hash, wide(30)).unwrap();
}

const CAME: &[&[u64]] = &[&[], &[30]];

/// Complete, with two looks. 120 executions.
#[test]
fn a_key_comes_to_a_new_overflow_page() {
    model(Plant::Sound, None, 2, CAME, extend);
}

/// Complete. 2,900 executions, and 23,000 with two looks, 2 s.
#[test]
fn a_key_stays_while_the_directory_doubles() {
    model(Plant::Sound, None, 1, ADDED, double_and_split);
    model(Plant::Sound, None, 2, ADDED, double_and_split);
}

/// Complete. 22 executions, and 100 with two looks.
#[test]
fn a_key_stays_while_its_page_is_copied() {
    model(Plant::Sound, None, 1, ADDED, copy);
    model(Plant::Sound, None, 2, ADDED, copy);
}

/// Complete, 16,000 executions. With two looks at most three preemptions, 11,000; complete in the slow tier, half a
/// minute.
#[test]
fn a_key_stays_while_it_moves_down_a_chain() {
    model(Plant::Sound, None, 1, ADDED, chain);
    model(Plant::Sound, complete_or(3), 2, ADDED, chain);
}

#[test]
#[should_panic(expected = "values that the key never had: []")]
fn caught_no_second_look_at_the_depth() {
    model(Plant::InModel(NO_RECHECK), Some(3), 1, ADDED, double_and_split);
}

#[test]
#[should_panic(expected = "NoBucket")]
fn caught_depth_before_slots() {
    model(Plant::InModel(DEPTH_FIRST), Some(3), 1, ADDED, double_and_split);
}

#[test]
#[should_panic(expected = "NoBucket")]
fn caught_depth_without_release() {
    model(Plant::InModel(DEPTH_RELAXED), Some(3), 1, ADDED, double_and_split);
}

#[test]
#[should_panic(expected = "values that the key never had: []")]
fn caught_slot_without_release() {
    model(Plant::InModel(SLOT_RELAXED), Some(3), 1, ADDED, copy);
}

#[test]
#[should_panic(expected = "time ran backwards")]
fn caught_store_to_a_replaced_page() {
    model(Plant::InModel(OLD_PAGE_WRITTEN), Some(3), 2, ADDED, copy);
}

#[test]
#[should_panic(expected = "values that the key never had: []")]
fn caught_removal_before_insertion_down_the_chain() {
    model(Plant::InModel(REMOVED_FIRST), Some(3), 1, ADDED, chain);
}

#[test]
#[should_panic(expected = "NoOverflow")]
fn caught_link_without_release() {
    model(Plant::RelaxStores { word: OVERFLOW_WORD }, Some(3), 1, CAME, extend);
}

#[test]
#[should_panic(expected = "NoOverflow")]
fn caught_link_loaded_without_acquire() {
    model_of(by_search, Plant::RelaxLoads { word: OVERFLOW_WORD }, Some(3), 1, CAME, extend);
}

/// Complete. 250, 22, 28,000 and 26 executions, 2 s.
#[test]
fn a_key_of_a_batch_stays_while_the_tables_change() {
    model_of(in_a_batch, Plant::Sound, None, 1, ADDED, double_and_split);
    model_of(in_a_batch, Plant::Sound, None, 1, ADDED, copy);
    model_of(in_a_batch, Plant::Sound, None, 1, ADDED, chain);
    model_of(in_a_batch, Plant::Sound, None, 1, CAME, extend);
}

#[test]
#[should_panic(expected = "values that the key never had: []")]
fn caught_removal_before_insertion_beside_a_batch() {
    model_of(in_a_batch, Plant::InModel(REMOVED_FIRST), Some(3), 1, ADDED, chain);
}
