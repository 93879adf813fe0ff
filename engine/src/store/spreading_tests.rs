//! Damage that must not spread: a damaged page is neither copied, which would give the copy a checksum that fits, nor read after
//! its store has ended.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use cidstore_core::E;
use cidstore_core::layout::PageKind;
use cidstore_core::layout::table::{Space, TableKind};

use super::repairing_tests::{flip, options, page_of, read};
use crate::error::Error;
use crate::handle::Store;
use crate::{Maintenance, OpenOptions};

const VALUE: u64 = 0x1122_3344_5566_7788;

fn quiet() -> OpenOptions {
    options().maintenance(Maintenance::off())
}

fn mixed(number: u64) -> E {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).into()
}

/// A bucket with a set of `values` under key 1, and under key 2 a value of which one bit is flipped then.
fn with_a_damaged_bucket(store: &Store, values: u64) {
    for value in 1..=values {
        store.insert(1, value).unwrap();
    }
    store.insert(2, VALUE).unwrap();
    store.checkpoint().unwrap();
    let at = page_of(store, PageKind::Bucket);
    let bytes = read(store, at);
    let place = bytes.windows(8).position(|word| word == VALUE.to_le_bytes()).unwrap();
    flip(store, at, &[place * 8 + 3]);
    assert_eq!(store.scrub(false).unwrap().problems.len(), 1);
}

#[test]
fn a_damaged_bucket_is_not_copied_for_a_set_that_comes_back_inline() {
    let folder = tempfile::tempdir().unwrap();
    let store = quiet().open(folder.path().join("data.h5")).unwrap();
    store.insert(1, 99).unwrap();
    with_a_damaged_bucket(&store, 4);
    assert!(store.is_spilled(1).unwrap());
    assert!(matches!(store.delete_value(1, 99), Err(Error::Corrupt { .. })));
    assert!(matches!(store.demote_if_possible(1), Err(Error::Corrupt { .. })));
    store.checkpoint().unwrap();
    assert_eq!(store.scrub(false).unwrap().problems.len(), 1);
}

#[test]
fn a_damaged_bucket_is_not_copied_for_a_set_that_moves() {
    let folder = tempfile::tempdir().unwrap();
    let store = quiet().open(folder.path().join("data.h5")).unwrap();
    with_a_damaged_bucket(&store, 6);
    let mut state = store.engine().writer();
    state.writer.discover_extents();
    let logical = state.writer.pages.value_numbers.in_use().next().unwrap();
    assert!(state.writer.extents.is_open(logical));
    assert_eq!(state.writer.empty_extents_page(logical).unwrap(), 0);
    drop(state);
    store.checkpoint().unwrap();
    assert_eq!(store.scrub(false).unwrap().problems.len(), 1);
}

/// The copy would look sound, and the original could have been repaired.
#[test]
fn a_damaged_store_is_not_backed_up() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.h5");
    let store = quiet().open(folder.path().join("data.h5")).unwrap();
    with_a_damaged_bucket(&store, 6);
    assert_eq!(store.get(2).unwrap().len(), 1, "a read does not look");
    let refused = store.snapshot().unwrap().backup(&copy);
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    assert!(!copy.exists());
    store.scrub(true).unwrap();
    store.snapshot().unwrap().backup(&copy).unwrap();
    assert!(Store::open(&copy).unwrap().contains(2, VALUE).unwrap());
}

/// As before, for a page of a set.
#[test]
fn a_store_with_a_damaged_set_is_not_backed_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = quiet().open(folder.path().join("data.h5")).unwrap();
    store.bulk_load((1..=1000).map(|number| (1_u64.into(), mixed(number)))).unwrap();
    let leaf = page_of(&store, PageKind::Leaf);
    flip(&store, leaf, &[300 * 8 + 1]);
    let refused = store.snapshot().unwrap().backup(folder.path().join("copy.h5"));
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
}

/// It lies at the file's end, which is cut off where that is possible.
#[test]
fn a_damaged_page_of_a_set_is_not_copied_when_the_store_closes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.h5");
    let store = quiet().open(&path).unwrap();
    let put = |key: u64, count: u64| {
        let pairs: Vec<(E, E)> = (1..=count).map(|number| (key.into(), mixed(number))).collect();
        pairs.chunks(400).for_each(|part| _ = store.batch_insert(part).unwrap());
        store.checkpoint().unwrap();
    };
    put(1, 100_000);
    put(2, 5_000);
    store.delete(1).unwrap();
    store.checkpoint().unwrap();
    let last_leaf = {
        let checkpointer = store.engine().checkpointer();
        let slots = checkpointer.shadows[TableKind::Values as usize].slots();
        let last = slots.iter().map(|slot| slot.page).max().unwrap();
        checkpointer.files().place_of(Space::Values, last).unwrap().0
    };
    flip(&store, last_leaf, &[300 * 8 + 1]);
    assert_eq!(store.scrub(false).unwrap().problems.len(), 1);
    store.close().unwrap();
    let store = options().open(&path).unwrap();
    assert_eq!(store.scrub(false).unwrap().problems.len(), 1);
    assert_eq!(store.scrub(true).unwrap().repaired.len(), 1);
    assert_eq!(store.get(2).unwrap().len(), 5_000);
}

#[test]
fn a_read_under_which_its_store_is_closed_twice_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let store = quiet().open(folder.path().join("data.h5")).unwrap();
    let engine = store.engine();
    let read = engine.shared.while_open(|| {
        engine.close().unwrap();
        engine.close().unwrap();
        Ok(())
    });
    assert!(matches!(read, Err(Error::Closed)), "{read:?}");
    assert!(engine.shared.has_ended());
}

/// Few buckets and many pages of a set, and a limit that lies between what is sure and what is needed.
#[test]
fn a_load_into_a_large_set_finds_all_its_room_first_or_is_refused() {
    let mut refused = 0;
    for more in [16_u64, 64, 256, 1024, 2048, 8192] {
        let folder = crate::scratch::in_memory();
        let path = folder.path().join("data.h5");
        let store = quiet().open(&path).unwrap();
        store.bulk_load((0..200_000).map(|number| (1_u64.into(), mixed(number)))).unwrap();
        store.close().unwrap();
        let bytes = std::fs::metadata(&path).unwrap().len();
        let store = quiet().max_bytes(bytes + more * 4096).open(&path).unwrap();
        let pairs = (0..5000_u64).map(|number| (1_u64.into(), mixed(number + 1_000_000)));
        match store.bulk_load(pairs) {
            Ok(loaded) => assert_eq!(loaded.new_pairs, 5000),
            Err(Error::NoSpace { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        assert_eq!(store.stats().failure, None, "{more} pages more");
    }
    assert!((1..6).contains(&refused), "{refused}");
}
