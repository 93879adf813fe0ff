//! Named cases: the sizes at which a set changes its shape, and a million values under one key.

use cidstore_core::E;
use cidstore_core::layout::entry::SetReference;
use cidstore_core::layout::value::SMALL_SET_MAX;

use super::{Keys, scattered};
use crate::valueset::read::{Chunk, LeafCursor, extent_owners};
use crate::valueset::{Insert, read_all};

const KEY: E = E::new(1, 2);

fn is_large(keys: &Keys) -> bool {
    SetReference::decode(keys.sets[&KEY].reference).unwrap().extent.is_none()
}

/// All values in the order in which a reader gets them.
fn in_order(keys: &Keys) -> Vec<E> {
    let mut values = Vec::new();
    read_all(&*keys.pages.arena, keys.sets[&KEY].reference, |chunk| {
        values.extend_from_slice(chunk)
    })
    .unwrap();
    values
}

#[test]
fn zero_is_a_value() {
    let mut keys = Keys::new(64);
    keys.create(KEY, &[E::ZERO]);
    keys.insert(KEY, E::ZERO);
    keys.check();
    keys.remove(KEY, E::ZERO);
    keys.remove(KEY, E::ZERO);
    keys.check();
    keys.insert(KEY, E::ZERO);
    keys.insert(KEY, E::new(u64::MAX, u64::MAX));
    keys.check();
}

#[test]
fn one_more_than_the_most_of_a_small_set_makes_it_large() {
    let mut keys = Keys::new(64);
    for index in 0..SMALL_SET_MAX as u64 {
        keys.insert(KEY, scattered(index));
        assert!(!is_large(&keys));
    }
    keys.check();
    keys.insert(KEY, scattered(SMALL_SET_MAX as u64));
    assert!(is_large(&keys));
    keys.check();
}

#[test]
fn a_large_set_that_shrank_is_small_after_compaction() {
    let mut keys = Keys::new(256);
    for index in 0..2000 {
        keys.insert(KEY, scattered(index));
    }
    for index in 183..2000 {
        keys.remove(KEY, scattered(index));
    }
    assert!(is_large(&keys));
    keys.compact(KEY);
    assert!(!is_large(&keys));
    assert!(in_order(&keys).is_sorted());
    keys.check();
}

#[test]
fn values_that_come_and_go_do_not_fill_a_set() {
    let mut keys = Keys::new(64);
    let mut moves = 0;
    for index in 0..6000 {
        let before = keys.sets.get(&KEY).map(|set| set.reference);
        keys.insert(KEY, E::from(index));
        moves += usize::from(before != keys.sets.get(&KEY).map(|set| set.reference));
        if index >= 200 {
            keys.remove(KEY, E::from(index - 200));
        }
        keys.advance();
    }
    assert!(!is_large(&keys));
    assert!(moves < 6000 / 20, "{moves} moves are too many");
    keys.check();
}

#[test]
fn an_emptied_large_set_keeps_one_leaf() {
    let mut keys = Keys::new(512);
    for index in 0..30_000 {
        keys.insert(KEY, E::from(index));
    }
    for index in 0..30_000 {
        keys.remove(KEY, E::from(index));
        keys.advance();
    }
    assert_eq!(keys.sets[&KEY].value_count, 0);
    assert_eq!(keys.sets[&KEY].checksum(), 0);
    keys.check();
    assert!(keys.pages.numbers.len() <= 2, "{} pages for nothing", keys.pages.numbers.len());
    keys.insert(KEY, E::from(5));
    keys.check();
}

#[test]
fn ascending_inserts_fill_their_leaves() {
    let mut keys = Keys::new(1024);
    let count = 100_000;
    for index in 0..count {
        keys.insert(KEY, E::from(index));
        if index % 1000 == 0 {
            keys.advance();
        }
    }
    keys.check();
    assert!(in_order(&keys).is_sorted());
    let pages = keys.pages.numbers.len() as u64;
    assert!(pages <= count / 245, "{pages} pages for {count} values");
}

#[test]
fn extents_are_not_handed_out_before_they_are_returned() {
    let mut keys = Keys::new(64);
    keys.create(KEY, &[E::from(1)]);
    keys.create(E::from(9), &[E::from(1)]);
    let old = keys.sets[&KEY].reference;
    let past = keys.pages.arena.clone();
    past.pin(0);
    keys.remove_key(KEY);
    keys.advance();
    for key in 100..140 {
        keys.create(E::from(key), &[E::from(key)]);
        assert_ne!(keys.sets[&E::from(key)].reference, old);
    }
    past.unpin(0);
    keys.advance();
    keys.advance();
    keys.create(KEY, &[E::from(1)]);
    assert_eq!(keys.sets[&KEY].reference, old, "the lowest free extent is taken first");
    keys.check();
}

#[test]
fn free_extents_are_found_again_after_open() {
    let mut keys = Keys::new(64);
    for key in 0..50 {
        keys.create(E::from(key), &[E::from(key)]);
    }
    for key in (0..50).step_by(3) {
        keys.remove_key(E::from(key));
    }
    keys.check();
    let pages = keys.pages.numbers.clone();
    keys.alloc = Default::default();
    for logical in &pages {
        use crate::valueset::ValuePages;
        keys.alloc.discover(*logical, keys.pages.page(*logical)).unwrap();
    }
    for key in (0..50).step_by(3) {
        keys.create(E::from(key), &[E::from(key)]);
    }
    assert_eq!(keys.pages.numbers, pages, "no page was needed");
    keys.check();
}

#[test]
fn late_discovery_leaves_alone_what_readers_may_hold() {
    use crate::valueset::ValuePages;
    let mut keys = Keys::new(64);
    // Two pages; after the open nothing is known of their extents.
    for key in 0..42 {
        keys.create(E::from(key), &[E::from(key)]);
    }
    keys.alloc = Default::default();
    let arena = keys.pages.arena.clone();
    arena.pin(0);
    let old = (0..30).map(|key| keys.sets[&E::from(key)].reference).collect::<Vec<_>>();
    // All of the first page goes, and some of the second: the first is given back under another reader.
    (0..21).for_each(|key| keys.remove_key(E::from(key)));
    keys.advance();
    arena.unpin(0);
    keys.advance();
    arena.pin(0);
    (21..30).for_each(|key| keys.remove_key(E::from(key)));
    keys.advance();
    for logical in 1..=4 {
        keys.alloc.discover(logical, keys.pages.page(logical)).unwrap();
    }
    for key in 100..120 {
        keys.create(E::from(key), &[E::from(key)]);
        assert!(!old.contains(&keys.sets[&E::from(key)].reference));
    }
    arena.unpin(0);
    keys.check();
}

#[test]
fn sparse_pages_can_be_emptied() {
    let mut keys = Keys::new(256);
    for key in 0..400 {
        keys.create(E::from(key), &[E::from(key)]);
    }
    for key in (0..400).filter(|key| key % 10 != 0) {
        keys.remove_key(E::from(key));
    }
    keys.check();
    let before = keys.pages.numbers.len();
    let sparse = keys.alloc.sparse_pages(4);
    for logical in &sparse {
        keys.alloc.close_page(*logical);
    }
    for logical in &sparse {
        for (set, owner) in extent_owners(&*keys.pages.arena, *logical).unwrap() {
            assert_eq!(keys.sets[&owner].reference, set.encode());
            keys.move_set(owner);
        }
    }
    keys.check();
    let after = keys.pages.numbers.len();
    assert!(after * 4 <= before, "{before} pages became {after}");
}

#[test]
fn a_walk_goes_on_from_its_bound_under_another_pin() {
    let mut keys = Keys::new(1024);
    for index in 0..5000 {
        keys.insert(KEY, scattered(index));
    }
    let mut chunk = Chunk::new();
    let mut values = Vec::new();
    let mut cursor = LeafCursor::new(keys.sets[&KEY].reference);
    while cursor.next(&*keys.pages.arena, &mut chunk).unwrap() {
        values.extend_from_slice(chunk.values());
        let Some(bound) = cursor.bound() else { break };
        // Values that were already passed go, values that are yet to come arrive; leaves split and merge.
        let passed = values.iter().copied().step_by(2).collect::<Vec<_>>();
        for value in passed {
            keys.remove(KEY, value);
            keys.insert(KEY, value);
        }
        keys.compact(KEY);
        keys.advance();
        cursor = LeafCursor::resume(keys.sets[&KEY].reference, bound);
    }
    values.sort_unstable();
    assert!(values.iter().eq(&keys.model[&KEY]));
}

#[test]
fn a_sparse_node_beside_a_full_one() {
    let mut keys = Keys::new(2048);
    // Two lowest inner nodes with 168 full leaves each.
    let half = 168 * 250;
    for index in 0..half * 2 {
        keys.insert(KEY, E::from(index));
        if index % 1000 == 0 {
            keys.advance();
        }
    }
    let thin = |keys: &mut Keys, from: u64, kept: fn(u64) -> bool| {
        for index in (from..from + half).filter(|index| !kept(*index)) {
            keys.remove(KEY, E::from(index));
        }
        keys.check();
    };
    // The first has so few values left that they go into one leaf, which is not the last of the set.
    thin(&mut keys, 0, |index| index % 200 == 0);
    let before = keys.pages.numbers.len();
    keys.compact(KEY);
    keys.check();
    assert!(keys.pages.numbers.len() < before);
    // Now the two nodes go well together.
    thin(&mut keys, half, |index| index % 4 == 0);
    thin(&mut keys, half, |index| index % 100 == 0);
    assert!(keys.pages.numbers.len() < 10);
}

#[test]
fn a_million_values_in_random_order() {
    let mut keys = Keys::new(20_000);
    million(&mut keys, scattered);
}

#[test]
fn a_million_values_in_ascending_order() {
    let mut keys = Keys::new(20_000);
    million(&mut keys, E::from);
}

fn million(keys: &mut Keys, value: fn(u64) -> E) {
    let count = 1_000_000;
    for index in 0..count {
        keys.insert(KEY, value(index));
        if index % 10_000 == 0 {
            keys.advance();
        }
        if index % 100_000 == 0 {
            keys.pages.cut();
        }
    }
    keys.check();
    let full = keys.pages.numbers.len();
    assert!(full < 7200, "{full} pages for a million values");
    for index in (0..count).step_by(2) {
        keys.remove(KEY, value(index));
    }
    keys.check();
    keys.compact(KEY);
    keys.check();
    let half = keys.pages.numbers.len();
    assert!(half < 3400, "{half} pages for half a million values after compaction");
    assert!(in_order(keys).is_sorted());
    for index in (0..count).filter(|index| index % 1000 != 1) {
        keys.remove(KEY, value(index));
    }
    keys.check();
    assert!(keys.pages.numbers.len() < 40, "{} pages", keys.pages.numbers.len());
    keys.remove_key(KEY);
    keys.check();
    assert_eq!(keys.pages.numbers.len(), 0);
}

#[test]
fn a_full_set_says_so_and_changes_nothing() {
    let mut keys = Keys::new(64);
    for index in 0..8 {
        keys.insert(KEY, E::from(index));
    }
    let set = keys.sets[&KEY];
    assert_eq!(keys.sets().insert(KEY, &set, E::from(3)), Ok(Insert::Present));
    assert_eq!(keys.sets().insert(KEY, &set, E::from(8)), Ok(Insert::Full));
    keys.check();
}
