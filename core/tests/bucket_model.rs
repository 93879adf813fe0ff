//! The bucket page against an ordered map of ordered sets: random operations of the writer, each
//! followed by what readers, the page's own counts and a sealed copy say.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]
#![cfg(not(loom))]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use cidstore_core::E;
use cidstore_core::hash::{HashSeed, KeyHash};
use cidstore_core::layout::bucket::{BucketPage, ENTRIES_PER_BUCKET};
use cidstore_core::layout::entry::{INLINE_VALUES_MAX, SetReference, SpillPointer};
use cidstore_core::layout::{PAGE_BYTES, PAGE_WORDS};
use cidstore_core::protocol::batch::glance_many;
use cidstore_core::protocol::bucket_build::{self, Header, Item};
use cidstore_core::protocol::bucket_read::{Found, find};
use cidstore_core::protocol::bucket_seal::{check_sealed, seal_words};
use cidstore_core::protocol::bucket_split::Halves;
use cidstore_core::protocol::bucket_write::{Added, BucketWriter, Located, Removed};
use cidstore_core::protocol::content::{Content, InlineValues};
use cidstore_core::protocol::fault::{Fault, PageFull};
use cidstore_core::protocol::lookup::{Answer, Glance, View, lookup};
use cidstore_core::protocol::tag_copy::TagCopy;
use cidstore_core::protocol::word::Page;
use proptest::prelude::*;

const SEED: HashSeed = HashSeed::new(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
const KEYS: u8 = 70;
const VALUES: u8 = 7;

fn empty_page() -> Box<Page> {
    Box::new([const { AtomicU64::new(0) }; PAGE_WORDS])
}

/// How the keys of a run hash. Chosen hashes make collisions that a good hash would take years for.
#[derive(Clone, Copy, Debug)]
enum Hashing {
    Seeded,
    /// All keys have one tag, and one of three homes.
    OneTag,
    /// All keys have one home, the last position.
    LastHome,
}

impl Hashing {
    fn hash(self, key: E) -> KeyHash {
        let low = key.low;
        match self {
            Self::Seeded => SEED.hash(key),
            Self::OneTag => KeyHash(7 << 32 | (low % 3) << 60),
            Self::LastHome => KeyHash(u64::MAX << 40 | (low % 250) << 32),
        }
    }
}

/// Key zero is `E::ZERO`; neighbours differ in the high or in the low half only.
fn key(number: u8) -> E {
    E::new(u64::from(number / 8), u64::from(number % 8))
}

fn value(number: u8) -> E {
    E::new(u64::from(number % 2), u64::from(number / 2))
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Insert(u8, u8),
    DeleteValue(u8, u8),
    DeleteKey(u8),
    /// Moves a set to another place.
    Relocate(u8),
    Demote(u8),
    Rebuild,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        10 => (0..KEYS, 0..VALUES).prop_map(|(k, v)| Operation::Insert(k, v)),
        6 => (0..KEYS, 0..VALUES).prop_map(|(k, v)| Operation::DeleteValue(k, v)),
        1 => (0..KEYS).prop_map(Operation::DeleteKey),
        1 => (0..KEYS).prop_map(Operation::Relocate),
        2 => (0..KEYS).prop_map(Operation::Demote),
        1 => Just(Operation::Rebuild),
    ]
}

/// A page, the sets that its entries point to, and what all of it should say.
struct Bench {
    hashing: Hashing,
    page: Box<Page>,
    sets: BTreeMap<u64, BTreeSet<E>>,
    sets_made: u32,
    model: BTreeMap<E, BTreeSet<E>>,
}

impl Bench {
    fn new(hashing: Hashing) -> Self {
        let page = empty_page();
        bucket_build::build(&page, &header(), &[]).unwrap();
        Self { hashing, page, sets: BTreeMap::new(), sets_made: 0, model: BTreeMap::new() }
    }

    fn writer(&self) -> BucketWriter<'_, AtomicU64, PAGE_WORDS> {
        BucketWriter::new(&self.page)
    }

    fn make_set(&mut self, values: BTreeSet<E>) -> SpillPointer {
        self.sets_made += 1;
        let extent = self.sets_made.is_multiple_of(2).then_some((self.sets_made % 255) as u8);
        let reference = SetReference { page: self.sets_made, extent }.encode();
        let pointer =
            SpillPointer { reference, value_count: values.len() as u32, ..SpillPointer::default() };
        self.sets.insert(reference, values);
        pointer
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Insert(k, v) => self.insert(key(k), value(v)),
            Operation::DeleteValue(k, v) => self.delete_value(key(k), value(v)),
            Operation::DeleteKey(k) => {
                let key = key(k);
                let located = self.writer().locate(key, self.hashing.hash(key)).unwrap();
                let expected = self.model.remove(&key);
                assert_eq!(located.is_some(), expected.is_some());
                if let Some(located) = located {
                    let spilled = located.is_spilled();
                    let gone = self.writer().remove_key(&located);
                    assert_eq!(gone, if spilled { 0 } else { expected.unwrap().len() });
                }
            }
            Operation::Relocate(k) => self.relocate(key(k)),
            Operation::Demote(k) => self.demote(key(k)),
            Operation::Rebuild => self.rebuild(),
        }
    }

    fn insert(&mut self, key: E, value: E) {
        let hash = self.hashing.hash(key);
        let free = self.writer().free_positions();
        let Some(located) = self.writer().locate(key, hash).unwrap() else {
            assert!(!self.model.contains_key(&key));
            match self.writer().insert_new(key, hash, value) {
                Ok(()) => drop(self.model.insert(key, BTreeSet::from([value]))),
                Err(PageFull) => assert_eq!(free, 0),
            }
            return;
        };
        let added = self.writer().add_value(&located, key, hash, value);
        let values = self.model.get_mut(&key).unwrap();
        match added {
            Ok(Added::Present) => assert!(values.contains(&value)),
            Ok(Added::Added) => assert!(values.insert(value)),
            Err(PageFull) => assert!(free == 0 && values.len() == 2),
            Ok(Added::NeedsSet) if located.is_spilled() => {
                values.insert(value);
                let mut pointer = self.pointer(&located);
                let set = self.sets.get_mut(&pointer.reference).unwrap();
                set.insert(value);
                pointer.value_count = set.len() as u32;
                self.writer().set_pointer(&located, pointer);
            }
            Ok(Added::NeedsSet) => {
                assert!(values.len() == INLINE_VALUES_MAX && !values.contains(&value));
                let values = values.clone();
                let pointer = self.make_set(values);
                match self.writer().move_to_set(&located, key, hash, pointer) {
                    Ok(()) => self.insert(key, value),
                    Err(PageFull) => assert_eq!(free, 0),
                }
            }
        }
    }

    fn pointer(&self, located: &Located) -> SpillPointer {
        match self.writer().content(located) {
            Content::Spilled(pointer) => pointer,
            Content::Inline(_) => panic!("a spilled key without a pointer"),
        }
    }

    fn delete_value(&mut self, key: E, value: E) {
        let hash = self.hashing.hash(key);
        let Some(located) = self.writer().locate(key, hash).unwrap() else { return };
        let removed = self.writer().remove_value(&located, value);
        if located.is_spilled() {
            assert_eq!(removed, Removed::Absent);
            let mut pointer = self.pointer(&located);
            let set = self.sets.get_mut(&pointer.reference).unwrap();
            if set.len() > 1 {
                set.remove(&value);
                pointer.value_count = set.len() as u32;
                self.model.get_mut(&key).unwrap().remove(&value);
                self.writer().set_pointer(&located, pointer);
            }
            return;
        }
        let values = self.model.get_mut(&key).unwrap();
        let was_there = values.remove(&value);
        let expected = match (was_there, values.is_empty()) {
            (false, _) => Removed::Absent,
            (true, false) => Removed::Removed,
            (true, true) => Removed::RemovedLast,
        };
        if values.is_empty() {
            self.model.remove(&key);
        }
        assert_eq!(removed, expected);
    }

    fn relocate(&mut self, key: E) {
        let hash = self.hashing.hash(key);
        let Some(located) = self.writer().locate(key, hash).unwrap() else { return };
        if !located.is_spilled() {
            return;
        }
        let free = self.writer().free_positions();
        let pointer = self.make_set(self.model[&key].clone());
        let moved = self.writer().move_to_set(&located, key, hash, pointer);
        assert_eq!(moved.is_err(), free == 0);
    }

    fn demote(&mut self, key: E) {
        let hash = self.hashing.hash(key);
        let Some(located) = self.writer().locate(key, hash).unwrap() else { return };
        let values: Vec<E> = self.model[&key].iter().copied().collect();
        if !located.is_spilled() || values.len() > INLINE_VALUES_MAX {
            return;
        }
        let free = self.writer().free_positions();
        let moved = self.writer().move_inline(&located, key, hash, &values);
        assert_eq!(moved.is_ok(), free >= values.len().div_ceil(2));
    }

    fn items(&self) -> Vec<Item> {
        let mut items = Vec::new();
        self.writer()
            .for_each(|key, content| {
                items.push(Item { hash: self.hashing.hash(key), key, content: *content });
            })
            .unwrap();
        items
    }

    fn rebuild(&mut self) {
        let items = self.items();
        let fresh = empty_page();
        bucket_build::build(&fresh, &header(), &items).unwrap();
        self.page = fresh;
        assert_eq!(usize::from(self.writer().sorted_count()), bucket_build::needed(&items));
    }

    /// Everything that can be asked of the page, against the model.
    fn check(&self) {
        for key in (0..KEYS).map(key) {
            let found = match find(&self.page, key, self.hashing.hash(key)).unwrap() {
                Found::Inline(values) => Some(values.as_slice().iter().copied().collect()),
                Found::Spilled { reference, .. } => Some(self.sets[&reference].clone()),
                Found::Miss { overflow } => {
                    assert_eq!(overflow, header().overflow);
                    None
                }
            };
            assert_eq!(found.as_ref(), self.model.get(&key), "{key:?}");
        }
        let mut all = BTreeMap::new();
        let mut entries = 0;
        self.writer()
            .for_each(|key, content| {
                entries += content.entries();
                let values = match content {
                    Content::Inline(values) => values.as_slice().iter().copied().collect(),
                    Content::Spilled(pointer) => {
                        let values = self.sets[&pointer.reference].clone();
                        assert_eq!(pointer.value_count as usize, values.len());
                        values
                    }
                };
                assert!(all.insert(key, values).is_none());
            })
            .unwrap();
        assert_eq!(all, self.model);
        // More than the least, since deleted values leave holes in a pair of entries.
        assert!(usize::from(self.writer().entry_count()) >= entries);
        let free = ENTRIES_PER_BUCKET - usize::from(self.writer().entry_count());
        assert_eq!(free, self.writer().free_positions());
    }

    /// The halves of a split against pages that are built of the same keys.
    fn check_halves(&self) {
        for bit in [1_u64, 1 << 33, 1 << 63] {
            let halves = Halves::of(&self.page, bit, |key| self.hashing.hash(key)).unwrap();
            for half in [0, 1] {
                let mut items = self.items();
                items.retain(|item| usize::from(item.hash.0 & bit != 0) == half);
                let (built, filled) = (empty_page(), empty_page());
                bucket_build::build(&built, &header(), &items).unwrap();
                halves.fill(half, &filled, &header());
                let pairs = built.iter().zip(filled.iter());
                let loaded = |word: &AtomicU64| word.load(Ordering::Relaxed);
                for (word, (built, filled)) in pairs.enumerate() {
                    assert_eq!(loaded(built), loaded(filled), "word {word} of half {half}");
                }
            }
        }
    }

    /// What lookups say by copies of the tags as the page is now: made by the first look, and by whoever writes the page.
    fn check_settled(&self) {
        for is_renewed in [false, true] {
            let settled = Settled {
                hashing: self.hashing,
                pages: [&self.page, &empty_page()],
                copies: [const { TagCopy::new([const { AtomicU64::new(0) }; 8]) }; 2],
            };
            if is_renewed {
                settled.copies[0].renew(&self.sealed(), |key| self.hashing.hash(key));
            }
            self.check_copies(&settled);
        }
    }

    fn check_copies(&self, settled: &Settled<'_>) {
        for key in (0..KEYS).map(key).chain((0..KEYS).map(key)) {
            let expected = self.model.get(&key);
            let hash = self.hashing.hash(key);
            let found = match lookup(settled, key, hash).unwrap() {
                Answer::Inline(values) => Some(values.as_slice().iter().copied().collect()),
                Answer::Set(set) => Some(self.sets[&set.reference.encode()].clone()),
                Answer::Absent => None,
            };
            assert_eq!(found.as_ref(), expected, "{key:?}");
        }
        let keys: Vec<E> = (0..KEYS).map(key).collect();
        glance_many(settled, &keys, |at, _, glance| {
            let expected = self.model.get(&keys[at]);
            match glance {
                Glance::OneValue(value) => assert_eq!(expected, Some(&BTreeSet::from([value]))),
                Glance::Set(set) => {
                    assert_eq!(expected, Some(&self.sets[&set.reference.encode()]));
                    assert_eq!(expected.map(BTreeSet::len), Some(set.likely_count as usize));
                }
                Glance::Absent => assert_eq!(expected, None),
                Glance::Unclear => {}
            }
            Ok::<_, ()>(())
        })
        .unwrap();
    }

    fn sealed(&self) -> [u64; PAGE_WORDS] {
        let mut words = core::array::from_fn(|word| self.page[word].load(Ordering::Relaxed));
        seal_words(&mut words);
        words
    }
}

/// A store of one bucket whose pages change no more: page 1, and page 2 behind it.
struct Settled<'a> {
    hashing: Hashing,
    pages: [&'a Page; 2],
    copies: [TagCopy<AtomicU64>; 2],
}

impl View<PAGE_WORDS> for Settled<'_> {
    type W = AtomicU64;

    fn hash_of(&self, key: E) -> KeyHash {
        self.hashing.hash(key)
    }

    fn depth(&self) -> u32 {
        0
    }

    fn directory_slot(&self, _: u32) -> u32 {
        1
    }

    fn overflow_slot(&self, logical: u32) -> u32 {
        assert_eq!(logical, header().overflow);
        2
    }

    fn bucket(&self, page: u32) -> &Page {
        self.pages[page as usize - 1]
    }

    fn tag_copy(&self, page: u32) -> Option<&TagCopy<AtomicU64>> {
        Some(&self.copies[page as usize - 1])
    }
}

fn header() -> Header {
    Header { local_depth: 0, prefix: 0, generation: 3, overflow: 9 }
}

fn run(hashing: Hashing, operations: &[Operation]) {
    let mut bench = Bench::new(hashing);
    for &operation in operations {
        bench.apply(operation);
        bench.check();
        bench.check_settled();
        bench.check_halves();
    }
    if let Hashing::Seeded = hashing {
        let words = bench.sealed();
        let page: &BucketPage = zerocopy::transmute_ref!(&words);
        check_sealed(page, SEED).unwrap();
        for (shared, word) in bench.page.iter().zip(words) {
            shared.store(word, Ordering::Relaxed);
        }
        bench.check();
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_page_of_hashed_keys_is_a_multimap(operations in prop::collection::vec(operation(), 0..400)) {
        run(Hashing::Seeded, &operations);
    }

    #[test]
    fn a_page_of_one_tag_is_a_multimap(operations in prop::collection::vec(operation(), 0..200)) {
        run(Hashing::OneTag, &operations);
    }

    #[test]
    fn a_page_of_one_home_is_a_multimap(operations in prop::collection::vec(operation(), 0..200)) {
        run(Hashing::LastHome, &operations);
    }

    /// Whatever bits are flipped in a sealed page, the check says so, and reading it neither panics nor
    /// runs for ever.
    #[test]
    fn a_damaged_page_is_found_out(
        operations in prop::collection::vec(operation(), 50..300),
        flips in prop::collection::vec(0..PAGE_BYTES * 8, 1..4),
    ) {
        let mut bench = Bench::new(Hashing::Seeded);
        for operation in operations {
            bench.apply(operation);
        }
        let intact = bench.sealed();
        let mut words = intact;
        for flip in flips {
            words[flip / 64] ^= 1 << (flip % 64);
        }
        for (shared, word) in bench.page.iter().zip(words) {
            shared.store(word, Ordering::Relaxed);
        }
        // Nothing else in the page is bound to generation, sequence and overflow, and a page without
        // entries may be of any prefix: that is for the page's own checksum.
        let unbound = intact[..4].iter().zip(&words).any(|(a, b)| a != b) || intact[5] != words[5];
        let page: &BucketPage = zerocopy::transmute_ref!(&words);
        if words != intact && !unbound {
            prop_assert!(check_sealed(page, SEED).is_err());
        }
        for number in 0..KEYS {
            let _ = find(&bench.page, key(number), SEED.hash(key(number)));
            let _ = bench.writer().locate(key(number), SEED.hash(key(number)));
        }
        let _ = bench.writer().for_each(|_, _| {});
    }
}

/// One flipped bit in the mask or the flags of any entry changes no answer; two in one byte are a fault.
#[test]
fn flipped_state_bits_are_corrected_or_reported() {
    let mut bench = Bench::new(Hashing::Seeded);
    for number in 0..20 {
        for v in 0..=number % 5 {
            bench.insert(key(number), value(v));
        }
    }
    let key_of_four = key(3);
    let hash = SEED.hash(key_of_four);
    let located = bench.writer().locate(key_of_four, hash).unwrap().unwrap();
    for position in [located.primary(), located.second().unwrap()] {
        let meta = &bench.page[16 + 8 * position + 6];
        let intact = meta.load(Ordering::Relaxed);
        for first in 0..16 {
            meta.store(intact ^ 1 << first, Ordering::Relaxed);
            bench.check();
            for second in first + 1..first / 8 * 8 + 8 {
                meta.store(intact ^ 1 << first ^ 1 << second, Ordering::Relaxed);
                assert!(find(&bench.page, key_of_four, hash).is_err());
            }
        }
        meta.store(intact, Ordering::Relaxed);
    }
}

/// A first entry whose second has lost its tag is a fault and no endless retry.
#[test]
fn a_missing_second_is_a_fault() {
    let mut bench = Bench::new(Hashing::Seeded);
    for v in 0..3 {
        bench.insert(E::ZERO, value(v));
    }
    let hash = SEED.hash(E::ZERO);
    let located = bench.writer().locate(E::ZERO, hash).unwrap().unwrap();
    let second = located.second().unwrap();
    let tags = &bench.page[8 + second / 8];
    tags.store(tags.load(Ordering::Relaxed) & !(0xff << (second % 8 * 8)), Ordering::Relaxed);
    let fault = Fault::SecondMissing { index: located.primary() as u8 };
    assert_eq!(find(&bench.page, E::ZERO, hash), Err(fault));
    assert_eq!(bench.writer().locate(E::ZERO, hash).err(), Some(fault));
    assert_eq!(bench.writer().for_each(|_, _| {}), Err(fault));
}

/// A key that is in a page twice is a fault, not two keys.
#[test]
fn a_key_that_is_there_twice_is_a_fault() {
    let mut bench = Bench::new(Hashing::Seeded);
    bench.insert(E::ZERO, value(1));
    let hash = SEED.hash(E::ZERO);
    let from = bench.writer().locate(E::ZERO, hash).unwrap().unwrap().primary();
    let to = (from + 1) % ENTRIES_PER_BUCKET;
    for word in 0..8 {
        let copied = bench.page[16 + 8 * from + word].load(Ordering::Relaxed);
        bench.page[16 + 8 * to + word].store(copied, Ordering::Relaxed);
    }
    bench.page[8 + to / 8].fetch_or(u64::from(hash.tag()) << (to % 8 * 8), Ordering::Relaxed);
    assert!(bench.writer().locate(E::ZERO, hash).is_err());
    assert!(bench.writer().for_each(|_, _| {}).is_err());
}

/// Freed positions are used again, and each publication shows in the version.
#[test]
fn positions_are_reused_with_new_versions() {
    let bench = Bench::new(Hashing::LastHome);
    let writer = bench.writer();
    let hash = Hashing::LastHome.hash(E::ZERO);
    let meta = &bench.page[PAGE_WORDS - 2];
    for round in 0..4_u64 {
        assert_eq!(meta.load(Ordering::Relaxed) >> 32, 2 * round);
        writer.insert_new(E::ZERO, hash, value(1)).unwrap();
        let located = writer.locate(E::ZERO, hash).unwrap().unwrap();
        assert_eq!(located.primary(), ENTRIES_PER_BUCKET - 1);
        assert_eq!(writer.remove_key(&located), 1);
    }
}

#[test]
fn a_full_page_builds_and_takes_no_more() {
    let mut items: Vec<Item> = (0..40_u64)
        .map(|number| {
            let key = E::from(number);
            let values: Vec<E> = (0..1 + number % 4).map(E::from).collect();
            let content = Content::Inline(InlineValues::new(&values).unwrap());
            Item { hash: SEED.hash(key), key, content }
        })
        .collect();
    while bucket_build::needed(&items) > ENTRIES_PER_BUCKET {
        items.pop();
    }
    while bucket_build::needed(&items) < ENTRIES_PER_BUCKET {
        let key = E::new(5, items.len() as u64);
        let content = Content::Inline(InlineValues::one(E::ZERO));
        items.push(Item { hash: SEED.hash(key), key, content });
    }
    let page = empty_page();
    bucket_build::build(&page, &header(), &items).unwrap();
    let writer = BucketWriter::new(&page);
    assert_eq!(writer.free_positions(), 0);
    assert_eq!(writer.insert_new(E::new(9, 9), SEED.hash(E::new(9, 9)), E::ZERO), Err(PageFull));
    let mut in_order = Vec::new();
    writer.for_each(|key, _| in_order.push(SEED.hash(key).order())).unwrap();
    assert!(in_order.is_sorted());
    items.push(items[0]);
    assert_eq!(bucket_build::build(&empty_page(), &header(), &items), Err(PageFull));
}
