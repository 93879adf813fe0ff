//! Many tasks at once, each with keys of its own and an ordered map beside them: no answer may differ.

use std::collections::{BTreeMap, BTreeSet};

use cidstore_async::CidStore;
use cidstore_core::E;
use cidstore_engine::{Durability, Store};
use cidstore_testkit::Scratch;
use cidstore_testkit::random::Random;

use crate::harness::{buffered, e};

const TASKS: u64 = 64;
const STEPS: u64 = 150;
/// Few keys and values, so that most steps meet what earlier ones left.
const KEYS: u64 = 5;
const VALUES: u64 = 9;

type Model = BTreeMap<u64, BTreeSet<u64>>;

fn durability(random: &mut Random) -> Durability {
    match random.below(20) {
        0 => Durability::Immediate,
        1..5 => Durability::Interval(std::time::Duration::from_millis(2)),
        _ => Durability::Buffered,
    }
}

fn taken(model: &mut Model, key: u64) -> u64 {
    model.remove(&key).map_or(0, |values| values.len() as u64)
}

/// One step on the store and on the model.
async fn step(store: &CidStore, model: &mut Model, random: &mut Random, task: u64) {
    let mut key = || random.below(KEYS) * TASKS + task;
    let (key, other) = (key(), key());
    let value = random.below(VALUES);
    match random.below(10) {
        0..4 => {
            let written = store.insert_with(key, value, durability(random)).await.unwrap();
            assert_eq!(written.new, model.entry(key).or_default().insert(value));
        }
        4 => assert_eq!(store.delete(key).await.unwrap(), taken(model, key)),
        5 => {
            let was = model.get_mut(&key).is_some_and(|values| values.remove(&value));
            model.retain(|_, values| !values.is_empty());
            assert_eq!(store.delete_value(key, value).await.unwrap(), was);
        }
        6 => {
            let pairs: Vec<_> = (0..VALUES).map(|value| (e(key), e(value))).collect();
            let values = model.entry(key).or_default();
            let new = (0..VALUES).filter(|&value| values.insert(value)).count() as u64;
            assert_eq!(store.batch_insert(&pairs).await.unwrap(), new);
        }
        7 => {
            let gone = taken(model, key) + taken(model, other);
            assert_eq!(store.batch_delete(&[e(key), e(other)]).await.unwrap(), gone);
        }
        8 => {
            let was = store.is_spilled(key).await.unwrap();
            assert!(!was || model.contains_key(&key));
            store.demote_if_possible(key).await.unwrap();
        }
        _ => smol::future::yield_now().await,
    }
    let expected: Vec<E> = model.get(&key).into_iter().flatten().copied().map(e).collect();
    assert_eq!(store.get(key).await.unwrap().sorted().to_vec(), expected);
    assert_eq!(store.contains_key(other).await.unwrap(), model.contains_key(&other));
}

async fn history(store: CidStore, task: u64, seed: u64) -> Model {
    let mut random = Random::new(seed << 32 | task);
    let mut model = Model::new();
    for _ in 0..STEPS {
        step(&store, &mut model, &mut random, task).await;
    }
    model
}

fn assert_content(store: &Store, model: &Model) {
    let found: BTreeSet<(E, E)> = store.iter().map(Result::unwrap).collect();
    let pairs = model.iter().flat_map(|(&key, set)| set.iter().map(move |&v| (e(key), e(v))));
    assert_eq!(found, pairs.collect());
    assert!(store.verify().unwrap().problems.is_empty());
}

/// Runs the histories on three threads, with the consumer on one of them or on a thread of its own.
fn run_histories(seed: u64, own_thread: bool, queue_changes: u32) {
    let scratch = Scratch::new();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_time().build();
    let model = runtime.unwrap().block_on(async {
        let options = CidStore::options().store(buffered()).queue_changes(queue_changes);
        let store = if own_thread {
            options.open(scratch.data()).await.unwrap()
        } else {
            let opened = options.open_with_consumer(scratch.data()).await.unwrap();
            tokio::spawn(opened.1);
            opened.0
        };
        let tasks: Vec<_> =
            (0..TASKS).map(|task| tokio::spawn(history(store.clone(), task, seed))).collect();
        let mut model = Model::new();
        for task in tasks {
            model.extend(task.await.unwrap());
        }
        assert_content(store.store(), &model);
        store.close().await.unwrap();
        model
    });
    assert_content(&Store::open(scratch.data()).unwrap(), &model);
}

#[test]
fn tasks_and_their_models_agree() {
    run_histories(1, true, 1 << 14);
}

#[test]
fn tasks_and_their_models_agree_with_a_consumer_on_the_executor() {
    run_histories(2, false, 1 << 14);
}

#[test]
fn tasks_and_their_models_agree_in_a_queue_of_three() {
    run_histories(3, true, 3);
    run_histories(4, false, 3);
}
