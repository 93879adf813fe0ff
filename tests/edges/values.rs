//! Zero, the inline limit, and one key with a million values.

use std::collections::BTreeSet;

use cidstore::E;
use cidstore_testkit::Model;
use cidstore_testkit::content::{assert_store, assert_verified, set_of};
use cidstore_testkit::model::{element, number};

use crate::{empty, reopened};

/// Values that fit 64 bits, and values that need all 128.
const NARROW: [u128; 6] = [0, 1, 2, 3, 4, u64::MAX as u128];
const WIDE: [u128; 6] = [
    u128::MAX,
    1 << 64,
    u128::MAX << 64,
    0x0123_4567_89ab_cdef_fedc_ba98_7654_3210,
    1 << 127 | 1,
    u128::MAX - 1,
];
const MILLION: u64 = 1_000_000;

/// Through the facade: a program depends on that alone.
#[cfg(feature = "serde")]
#[test]
fn an_element_is_its_digits_in_json() {
    let json = serde_json::to_string(&E::from(10)).unwrap();
    assert_eq!(json, format!("\"{:032x}\"", 10));
    assert_eq!(serde_json::from_str::<E>(&json).unwrap(), E::from(10));
    assert_eq!(serde_json::from_str::<E>("10").unwrap(), E::from(10));
    for bad in ["-1", "1.5", "true", "null", "\"xyz\"", "[1]"] {
        assert!(serde_json::from_str::<E>(bad).is_err(), "{bad}");
    }
}

#[cfg(feature = "uuid")]
#[test]
fn an_element_is_a_uuid_and_back() {
    let name = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, b"foo");
    assert_eq!(E::from(name), E::from_name("foo"));
    assert_eq!(uuid::Uuid::from(E::from_name("foo")), name);
}

#[test]
fn zero_is_a_key_like_any_other() {
    let (scratch, store) = empty();
    assert!(!store.contains_key(E::ZERO).unwrap());
    assert!(store.insert(E::ZERO, 7).unwrap());
    assert!(!store.insert(E::ZERO, 7).unwrap());
    let store = reopened(&scratch, &store);
    assert!(store.contains(E::ZERO, 7).unwrap());
    assert_eq!(store.len(), 1);
    assert_eq!(store.delete(E::ZERO).unwrap(), 1);
    assert!(!store.contains_key(E::ZERO).unwrap());
    assert!(store.is_empty());
    let store = reopened(&scratch, &store);
    assert!(store.get(E::ZERO).unwrap().is_empty());
}

#[test]
fn zero_is_a_value_like_any_other_inline_and_spilled() {
    let (scratch, store) = empty();
    let mut model = Model::new();
    assert!(store.insert(1, E::ZERO).unwrap());
    assert!(!store.insert(1, E::ZERO).unwrap());
    model.insert(1, 0);
    assert_store(&store, &model);
    // Spilled, among values whose positions become tombstones: a stored zero is never taken for one.
    for value in 1..=300 {
        store.insert(1, value).unwrap();
        model.insert(1, u128::from(value));
    }
    for value in 100..=300 {
        assert!(store.delete_value(1, value).unwrap());
        model.delete_value(1, u128::from(value));
    }
    assert!(store.contains(1, E::ZERO).unwrap());
    assert_store(&store, &model);
    store.compact().unwrap();
    let store = reopened(&scratch, &store);
    assert_store(&store, &model);
    assert!(store.delete_value(1, E::ZERO).unwrap());
    assert!(!store.delete_value(1, E::ZERO).unwrap());
    assert!(!store.contains(1, E::ZERO).unwrap());
    model.delete_value(1, 0);
    assert_store(&store, &model);
}

#[test]
fn zero_key_with_zero_value_alone() {
    let (scratch, store) = empty();
    assert!(store.insert(E::ZERO, E::ZERO).unwrap());
    let model: Model = [(0, 0)].into_iter().collect();
    let store = reopened(&scratch, &store);
    assert_store(&store, &model);
    assert!(store.delete_value(E::ZERO, E::ZERO).unwrap());
    assert_store(&store, &Model::new());
}

#[test]
fn four_five_four_narrow_values() {
    four_five_four(&NARROW);
}

#[test]
fn four_five_four_wide_values() {
    four_five_four(&WIDE);
}

#[test]
fn four_five_four_mixed_values() {
    four_five_four(&[WIDE[0], NARROW[0], WIDE[1], NARROW[1], WIDE[2], NARROW[2]]);
}

/// Up over the inline limit and down again, with each value in turn as the one that goes.
fn four_five_four(values: &[u128; 6]) {
    for gone in 0..5 {
        let (scratch, store) = empty();
        let mut model = Model::new();
        let key = element(u128::MAX);
        for (index, &value) in values[..5].iter().enumerate() {
            assert!(store.insert(key, element(value)).unwrap());
            assert!(!store.insert(key, element(value)).unwrap(), "a set holds a value once");
            model.insert(u128::MAX, value);
            assert_store(&store, &model);
            assert_eq!(store.is_spilled(key).unwrap(), index == 4, "{} values", index + 1);
        }
        assert!(!store.demote_if_possible(key).unwrap(), "five values stay spilled");
        assert!(store.delete_value(key, element(values[gone])).unwrap());
        model.delete_value(u128::MAX, values[gone]);
        assert_store(&store, &model);
        let was_spilled = store.is_spilled(key).unwrap();
        assert_eq!(store.demote_if_possible(key).unwrap(), was_spilled);
        assert!(!store.is_spilled(key).unwrap());
        assert!(!store.demote_if_possible(key).unwrap(), "there is nothing left to demote");
        let entry = store.get_entry(key).unwrap().expect("an entry");
        assert_eq!(entry.values.len(), 4);
        let store = reopened(&scratch, &store);
        assert_store(&store, &model);
        // And up again, by another fifth value.
        assert!(store.insert(key, element(values[5])).unwrap());
        model.insert(u128::MAX, values[5]);
        assert!(store.is_spilled(key).unwrap());
        assert_store(&store, &model);
        assert_verified(&store, &model);
    }
}

#[test]
fn every_count_of_values_up_and_down_again() {
    // Over every limit: two an entry, four inline, each size of extent, the first leaf and its split.
    let (_scratch, store) = empty();
    let mut model = Model::new();
    for value in 0..600_u64 {
        assert!(store.insert(1, value.rotate_left(60)).unwrap());
        model.insert(1, u128::from(value.rotate_left(60)));
        let values = store.get(1).unwrap();
        assert_eq!(set_of(&values), model.get(1), "{} values", value + 1);
        assert_eq!(store.value_count(1).unwrap(), value + 1);
    }
    assert_verified(&store, &model);
    for value in 0..600_u64 {
        assert!(store.delete_value(1, value.rotate_left(60)).unwrap());
        model.delete_value(1, u128::from(value.rotate_left(60)));
        if value % 7 == 0 {
            store.demote_if_possible(1).unwrap();
        }
        assert_eq!(set_of(&store.get(1).unwrap()), model.get(1), "{} values", 599 - value);
    }
    assert_store(&store, &Model::new());
    assert_verified(&store, &Model::new());
}

/// Value `index` of the large set: all bits in use, order unlike the order of insertion.
fn value(index: u64) -> E {
    E::new(index.wrapping_mul(0x9e37_79b9_7f4a_7c15), index)
}

#[test]
fn one_key_with_a_million_values() {
    let (scratch, store) = empty();
    for chunk in 0..MILLION / 50_000 {
        let range = chunk * 50_000..(chunk + 1) * 50_000;
        let pairs: Vec<_> = range.map(|index| (E::ZERO, value(index))).collect();
        assert_eq!(store.batch_insert(&pairs).unwrap(), 50_000);
    }
    assert_eq!(store.value_count(E::ZERO).unwrap(), MILLION);
    assert!(!store.insert(E::ZERO, value(77)).unwrap());
    for index in (0..MILLION).step_by(101) {
        assert!(store.contains(E::ZERO, value(index)).unwrap());
        assert!(!store.contains(E::ZERO, value(index + MILLION)).unwrap());
    }
    // The odd half goes.
    store
        .write(|transaction| {
            for index in (1..MILLION / 10).step_by(2) {
                assert!(transaction.delete_value(E::ZERO, value(index))?);
            }
            Ok(())
        })
        .unwrap();
    for index in (MILLION / 10 + 1..MILLION).step_by(2) {
        assert!(store.delete_value(E::ZERO, value(index)).unwrap());
    }
    let expected: BTreeSet<u128> =
        (0..MILLION).step_by(2).map(|index| number(value(index))).collect();
    assert_eq!(set_of(&store.get(E::ZERO).unwrap()), expected);
    store.compact().unwrap();
    assert_eq!(store.get_tombstone_count(E::ZERO).unwrap(), 0);
    let store = reopened(&scratch, &store);
    assert_eq!(store.value_count(E::ZERO).unwrap(), MILLION / 2);
    let guard = store.pin();
    let mut iterated: Vec<u128> =
        guard.values(E::ZERO).unwrap().map(|value| number(value.unwrap())).collect();
    assert!(iterated.is_sorted(), "after compact a large set comes in order");
    iterated.dedup();
    assert_eq!(iterated.len() as u64, MILLION / 2);
    assert!(iterated.into_iter().eq(expected));
    for index in 0..2000 {
        assert_eq!(guard.contains(E::ZERO, value(index)).unwrap(), index % 2 == 0);
    }
    drop(guard);
    assert_eq!(store.delete(E::ZERO).unwrap(), MILLION / 2);
    assert!(store.is_empty());
}
