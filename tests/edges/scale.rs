//! A million keys that a poor hash would put into few buckets.

use std::collections::HashSet;

use cidstore::{E, Store};

use crate::{empty, reopened};

const MILLION: u64 = 1_000_000;
const BATCH: u64 = 10_000;

#[test]
fn a_million_sequential_keys() {
    million_keys(|index| E::from(index + 1));
}

#[test]
fn a_million_keys_that_differ_only_in_the_high_half() {
    // The differences sit in the upper bits of the half, too: nothing may rely on the lower ones.
    million_keys(|index| E::new(index << 44 | 5, 42));
}

#[test]
fn a_million_keys_that_differ_only_in_the_low_half() {
    million_keys(|index| E::new(42, index << 40));
}

fn million_keys(key: impl Fn(u64) -> E) {
    let (scratch, store) = empty();
    for first in (0..MILLION).step_by(BATCH as usize) {
        let pairs: Vec<_> =
            (first..first + BATCH).map(|index| (key(index), E::from(index))).collect();
        assert_eq!(store.batch_insert(&pairs).unwrap(), BATCH);
    }
    assert_eq!(store.len(), MILLION);
    assert_found(&store, &key, |_| true);
    // The bound of the split model with ample margin: a hash that clusters needs many times as much.
    let stats = store.stats();
    assert!(stats.live_bytes < MILLION * 130, "{} bytes for a million pairs", stats.live_bytes);
    assert!(stats.global_depth <= 17, "a directory of depth {}", stats.global_depth);

    let store = reopened(&scratch, &store);
    assert_found(&store, &key, |_| true);
    for first in (0..MILLION).step_by(BATCH as usize) {
        let odd: Vec<_> = (first..first + BATCH).filter(|index| index % 2 == 1).map(&key).collect();
        assert_eq!(store.batch_delete(&odd).unwrap(), BATCH / 2);
    }
    assert_eq!(store.len(), MILLION / 2);
    assert_found(&store, &key, |index| index % 2 == 0);
    let mut seen = HashSet::new();
    for item in store.iter() {
        let (found, value) = item.unwrap();
        assert!(seen.insert(found), "a scan gave {found:?} twice");
        assert_eq!(found, key(value.low), "a value under a foreign key");
        assert_eq!(value.low % 2, 0, "a deleted key in a scan");
    }
    assert_eq!(seen.len() as u64, MILLION / 2);
    let report = store.verify().unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(report.keys, MILLION / 2);
}

fn assert_found(store: &Store, key: &impl Fn(u64) -> E, is_there: impl Fn(u64) -> bool) {
    let guard = store.pin();
    for index in 0..MILLION {
        let values = guard.get(key(index)).unwrap();
        let expected: &[E] = if is_there(index) { &[E::from(index)] } else { &[] };
        assert_eq!(values.as_slice(), expected, "key {index}");
    }
    for index in MILLION..MILLION + 1000 {
        assert!(!guard.contains_key(key(index)).unwrap(), "key {index} was never inserted");
    }
}

/// One who takes a snapshot for each request: those that are gone must not be felt.
#[test]
fn snapshots_that_were_dropped_leave_nothing_behind() {
    const SNAPSHOTS: u64 = 5_000;
    let (_scratch, store) = empty();
    let pairs: Vec<_> = (0..20_000_u64).map(|key| (E::from(key), E::ZERO)).collect();
    store.batch_insert(&pairs).unwrap();
    store.checkpoint().unwrap();
    for number in 0..SNAPSHOTS {
        let snapshot = store.snapshot().unwrap();
        assert_eq!(store.stats().snapshots, 1);
        drop(snapshot);
        assert_eq!(store.stats().snapshots, 0);
        assert!(store.insert(number * 13 % 20_000, number + 1).unwrap());
    }
    let stats = store.stats();
    // Each write has replaced a page. Those of the file wait for the next checkpoint.
    assert!(stats.retired < 2_000, "{} things wait", stats.retired);
    assert!(stats.pool_bytes < 16 << 20, "{} bytes of changed pages", stats.pool_bytes);
}

/// What only one snapshot needed is free soon after it went, without a checkpoint.
#[test]
fn writes_free_what_a_dropped_snapshot_kept() {
    const KEYS: u64 = 300_000;
    let (_scratch, store) = empty();
    let touch_all = |value: u64| {
        let pairs: Vec<_> = (0..KEYS).map(|key| (E::from(key), E::from(value))).collect();
        pairs.chunks(BATCH as usize).for_each(|part| _ = store.batch_insert(part).unwrap());
    };
    touch_all(0);
    let snapshot = store.snapshot().unwrap();
    touch_all(1);
    // Readers of the moment are let go.
    (0..100_u64).for_each(|value| assert!(store.insert(KEYS, value).unwrap()));
    let kept = store.stats().retired;
    assert!(kept > 6_000, "{kept} things wait");
    let checkpoints = store.stats().checkpoints;
    drop(snapshot);
    (100..400_u64).for_each(|value| assert!(store.insert(KEYS, value).unwrap()));
    let left = store.stats().retired;
    assert_eq!(store.stats().checkpoints, checkpoints);
    assert!(left + 4_000 < kept, "{left} of {kept} things wait");
}
