//! `get_many` takes keys in stretches: every length of the last one, and every kind of key in each place of it.

use std::collections::BTreeMap;

use cidstore::{E, Store};
use cidstore_testkit::Scratch;

/// Keys of no value, one, two, four and many, in an order that puts each kind at each place of a stretch.
fn key(at: usize) -> E {
    E::from((at * 7 % 97) as u64)
}

fn values(key: u64) -> impl Iterator<Item = E> {
    let count = [0, 1, 1, 2, 4, 1, 40, 300][key as usize % 8];
    (0..count).map(move |n| E::new(key, n))
}

fn check(store: &Store, model: &BTreeMap<E, Vec<E>>) {
    for length in 0..=70 {
        let keys: Vec<E> = (0..length).map(key).collect();
        let answers = store.get_many(&keys).unwrap();
        assert_eq!(answers.len(), length);
        for (key, answer) in keys.iter().zip(answers) {
            assert_eq!(answer.sorted().to_vec(), model[key], "{key:?} among {length}");
        }
    }
}

#[test]
fn batches_of_all_lengths_and_kinds_are_answered() {
    let scratch = Scratch::new();
    let path = scratch.data();
    let store = Store::open(&path).unwrap();
    let model: BTreeMap<E, Vec<E>> =
        (0..97).map(|key| (E::from(key), values(key).collect())).collect();
    check(&store, &model.keys().map(|key| (*key, Vec::new())).collect());
    let pairs: Vec<(E, E)> =
        model.iter().flat_map(|(key, values)| values.iter().map(|value| (*key, *value))).collect();
    store.batch_insert(&pairs).unwrap();
    check(&store, &model);
    store.close().unwrap();
    // And with pages of the file, each checked before it is read.
    let store = Store::options().verify_reads(true).open(&path).unwrap();
    check(&store, &model);
}
