//! The whole content of a store against the model, on every road that leads to it.

use std::collections::BTreeSet;

use cidstore_core::E;
use cidstore_engine::error::Result;
use cidstore_engine::{Cursor, Scan, Snapshot, Store, Values};

use crate::model::{Model, element, number, universe};

/// Keys at the universe's far end, which no generator reaches: none of them may be found.
const ABSENT: std::ops::Range<u16> = u16::MAX - 8..u16::MAX;

/// The values of an answer as a set; an answer never holds a value twice.
///
/// # Panics
///
/// If it does.
#[must_use]
pub fn set_of(values: &Values) -> BTreeSet<u128> {
    let set: BTreeSet<u128> = values.iter().map(number).collect();
    assert_eq!(set.len(), values.len(), "a value came twice: {values:?}");
    set
}

/// All that a store answers, against the model: `get`, the scan, the keys, the counters, a snapshot.
///
/// # Panics
///
/// If anything differs.
pub fn assert_store(store: &Store, model: &Model) {
    for (key, set) in model.sets() {
        let values = store.get(element(key)).expect("get");
        assert_eq!(&set_of(&values), set, "get of {key:#x}");
    }
    for key in ABSENT.map(universe) {
        assert!(store.get(element(key)).expect("get").is_empty(), "{key:#x} was never inserted");
    }
    assert_eq!(store.len(), model.len(), "keys by the counter");
    assert_eq!(store.value_len(), model.value_len(), "values by the counter");
    assert_eq!(store.is_empty(), model.is_empty());
    assert_scan(store.iter(), model);
    assert_scan(store.scan(Cursor::default()), model);
    let keys: Vec<u128> = store.keys().map(|key| number(key.expect("a key"))).collect();
    assert_same_items(keys, model.keys(), "keys()");
    assert_snapshot(&store.snapshot().expect("a snapshot"), model);
}

/// All that a snapshot answers, against the model of its moment.
///
/// # Panics
///
/// If anything differs.
pub fn assert_snapshot(snapshot: &Snapshot, model: &Model) {
    for (key, set) in model.sets() {
        let values = snapshot.get(element(key)).expect("get of a snapshot");
        assert_eq!(&set_of(&values), set, "snapshot's get of {key:#x}");
        let first = *set.first().expect("a set of a model is not empty");
        assert!(snapshot.contains(element(key), element(first)).expect("contains"));
    }
    for key in ABSENT.map(universe) {
        assert!(snapshot.get(element(key)).expect("get").is_empty(), "{key:#x} was never inserted");
    }
    assert_eq!(snapshot.len(), model.len(), "a snapshot's keys by the counter");
    assert_eq!(snapshot.value_len(), model.value_len(), "a snapshot's values by the counter");
    assert_eq!(snapshot.is_empty(), model.is_empty());
    assert_scan(snapshot.iter(), model);
}

/// A scan's pairs against the model's: each exactly once.
///
/// # Panics
///
/// If one is missing, foreign, or comes twice, or if the scan wakes up again after its end.
pub fn assert_scan(mut scan: Scan, model: &Model) {
    let pairs = scan.by_ref().map(pair).collect();
    assert_same_items(pairs, model.pairs(), "a scan");
    assert!(scan.next().is_none(), "a scan that ended has ended");
}

/// The pairs of a store, in order.
///
/// # Panics
///
/// If the scan fails.
#[must_use]
pub fn pairs_of(store: &Store) -> Vec<(u128, u128)> {
    let mut pairs: Vec<_> = store.iter().map(pair).collect();
    pairs.sort_unstable();
    pairs
}

/// The content of a store as a model. Each pair must come once.
///
/// # Panics
///
/// If the scan fails or repeats a pair.
#[must_use]
pub fn model_of(store: &Store) -> Model {
    let pairs = pairs_of(store);
    let count = pairs.len() as u64;
    let model: Model = pairs.into_iter().collect();
    assert_eq!(model.value_len(), count, "a scan gave a pair twice");
    model
}

/// The store finds nothing wrong with itself, and counts what the model counts.
///
/// # Panics
///
/// If `verify` fails, reports a problem, or counts otherwise.
pub fn assert_verified(store: &Store, model: &Model) {
    let report = store.verify().expect("verify");
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(
        (report.keys, report.values),
        (model.len(), model.value_len()),
        "what verify counted"
    );
}

/// One item of a scan as numbers.
///
/// # Panics
///
/// If it is an error.
pub fn pair(item: Result<(E, E)>) -> (u128, u128) {
    let (key, value) = item.expect("an item of a scan");
    (number(key), number(value))
}

fn assert_same_items<T: Copy + Ord + std::fmt::Debug>(
    mut found: Vec<T>,
    expected: impl Iterator<Item = T>,
    what: &str,
) {
    found.sort_unstable();
    let expected: Vec<T> = expected.collect();
    if found == expected {
        return;
    }
    let found_set: BTreeSet<T> = found.iter().copied().collect();
    let expected_set: BTreeSet<T> = expected.iter().copied().collect();
    let twice = found.len() - found_set.len();
    let missing: Vec<_> = expected_set.difference(&found_set).take(5).collect();
    let foreign: Vec<_> = found_set.difference(&expected_set).take(5).collect();
    panic!("{what}: {twice} twice, missing {missing:?}, foreign {foreign:?}");
}
