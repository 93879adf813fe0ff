//! Compacting leaves no more pages than it found: where buckets are full, and where the file is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use cidstore_core::E;
use cidstore_core::layout::bucket::ENTRIES_PER_BUCKET;
use cidstore_core::layout::table::Space;

use super::closing::ROOMY;
use crate::handle::Store;
use crate::options::Durability;

/// Values of a key: too many for its entry, few enough for a small set.
const VALUES: u64 = 9;

fn open(folder: &tempfile::TempDir) -> Store {
    let path = folder.path().join("store.h5");
    Store::options().durability(Durability::Buffered).open(path).unwrap()
}

/// Fills one bucket: an entry a key.
fn with_a_full_bucket(folder: &tempfile::TempDir) -> Store {
    let store = open(folder);
    let keys = 0..ENTRIES_PER_BUCKET as u64;
    store.bulk_load(keys.flat_map(|key| (0..VALUES).map(move |n| (key.into(), n.into())))).unwrap();
    assert_eq!(store.stats().buckets, 1, "one bucket, and no position is free");
    store
}

fn check(store: &Store, values: impl Fn(u64) -> Vec<u64>) {
    for key in 0..ENTRIES_PER_BUCKET as u64 {
        let mut found = store.get(key).unwrap().to_vec();
        found.sort_unstable();
        let values: Vec<E> = values(key).into_iter().map(E::from).collect();
        assert_eq!(found, values, "{key}");
    }
    assert_eq!(store.verify().unwrap().problems, []);
}

#[test]
fn a_full_bucket_whose_sets_are_tidy_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_a_full_bucket(&folder);
    assert_eq!(store.compact().unwrap().changes, 0);
    assert_eq!(store.stats().buckets, 1);
    check(&store, |_| (0..VALUES).collect());
}

#[test]
fn a_full_bucket_whose_sets_are_rewritten_is_not_split() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_a_full_bucket(&folder);
    let snapshot = store.snapshot().unwrap();
    for key in (0..ENTRIES_PER_BUCKET as u64).step_by(3) {
        assert!(store.delete_value(key, key % VALUES).unwrap());
    }
    let left = |key: u64| -> Vec<u64> {
        (0..VALUES).filter(|&value| !key.is_multiple_of(3) || value != key % VALUES).collect()
    };
    let report = store.compact().unwrap();
    assert!(report.changes >= ENTRIES_PER_BUCKET as u64 / 3, "{report:?}");
    assert_eq!(store.stats().buckets, 1);
    check(&store, left);
    assert!((0..ENTRIES_PER_BUCKET as u64).all(|key| snapshot.get(key).unwrap().len() == 9));
    drop(snapshot);
    store.close().unwrap();
    check(&open(&folder), left);
}

/// Takes all free pages of the buckets' space, as if there were so many more buckets. Answers how many pages it has.
fn take_all(store: &Store) -> u32 {
    let state = store.engine().writer();
    let mut files = state.writer.pages.files();
    let buckets = files.pages_mut(Space::Buckets);
    while buckets.take_run(u32::MAX).is_some() {}
    buckets.page_count()
}

#[test]
fn a_space_without_a_free_page_gets_no_page_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let pairs = (0..2000_u64).flat_map(|key| (0..VALUES).map(move |n| (key.into(), n.into())));
    store.bulk_load(pairs).unwrap();
    for key in 0..2000_u64 {
        store.delete_value(key, key % VALUES).unwrap();
    }
    store.checkpoint().unwrap();
    take_all(&store);
    let report = store.compact().unwrap();
    assert!(report.changes > 0 && report.bytes_after <= report.bytes_before, "{report:?}");
}

#[test]
fn what_readers_have_just_let_go_keeps_no_page_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.bulk_load((0..2000_u64).map(|key| (key.into(), E::ZERO))).unwrap();
    let pages = take_all(&store);
    let guard = store.pin();
    for key in 0..2000_u64 {
        store.insert(key, 1).unwrap();
    }
    let engine = store.engine();
    let mut checkpointer = engine.checkpointer();
    engine.checkpoint_with(&mut checkpointer, false).unwrap();
    drop(guard);
    let mut pages_max = ROOMY;
    pages_max[Space::Buckets as usize] = pages;
    engine.shrink(&mut checkpointer, pages_max).unwrap();
    assert_eq!(checkpointer.files().pages(Space::Buckets).page_count(), pages);
}
