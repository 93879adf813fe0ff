//! Batches, transactions and bulk loads: all or nothing, whatever happens inside.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use cidstore::{E, Error, Scan, Store};
use cidstore_testkit::content::{assert_store, pairs_of};
use cidstore_testkit::process::{Child, Role, tell_parent};
use cidstore_testkit::random::Random;
use cidstore_testkit::{Model, Scratch};

use crate::{PATIENCE, buffered, empty, reopened, within_patience};

const MILLION: u64 = 1_000_000;
/// A ring of which a million pairs take less than half.
const ROOMY_LOG_BYTES: u64 = 256 << 20;
const SMALL_LOG_BYTES: u64 = 1 << 20;

#[test]
fn an_empty_batch_changes_nothing() {
    let (scratch, store) = empty();
    assert_eq!(store.batch_insert(&[]).unwrap(), 0);
    assert_eq!(store.batch_delete(&[]).unwrap(), 0);
    assert_eq!(store.write(|_| Ok(5)).unwrap(), 5);
    assert_eq!(store.bulk_load([]).unwrap().pairs, 0);
    assert_eq!(store.get_many(&[]).unwrap().len(), 0);
    assert_store(&store, &Model::new());
    store.insert(1, 2).unwrap();
    store.batch_insert(&[]).unwrap();
    let store = reopened(&scratch, &store);
    assert_store(&store, &[(1, 2)].into_iter().collect());
}

#[test]
fn duplicates_inside_a_batch_count_once() {
    let (scratch, store) = empty();
    let pair = (E::from(1), E::from(2));
    let other = (E::from(1), E::from(3));
    assert_eq!(store.batch_insert(&[pair, pair, other, pair]).unwrap(), 2);
    assert_eq!(store.batch_insert(&[pair, other, other]).unwrap(), 0);
    assert_eq!(store.value_len(), 2);
    // Enough of them to cross the inline limit if they were counted.
    assert_eq!(store.batch_insert(&[pair; 100]).unwrap(), 0);
    assert!(!store.is_spilled(1).unwrap());
    let loaded = store.bulk_load([other, other, pair, (E::from(9), E::from(9))]).unwrap();
    assert_eq!((loaded.pairs, loaded.new_pairs), (4, 1));
    let model = [(1, 2), (1, 3), (9, 9)].into_iter().collect();
    assert_store(&store, &model);
    let store = reopened(&scratch, &store);
    assert_store(&store, &model);
    assert_eq!(store.batch_delete(&[E::from(1), E::from(1), E::from(7)]).unwrap(), 2);
    assert_store(&store, &[(9, 9)].into_iter().collect());
}

/// The batch of the tests below: half of the pairs on keys of their own, half on a hundred keys.
fn million_pairs() -> Vec<(E, E)> {
    let key = |index| if index % 2 == 0 { E::new(1, index) } else { E::new(2, index % 200) };
    (0..MILLION).map(|index| (key(index), E::from(index))).collect()
}

#[test]
fn a_batch_of_a_million_pairs_is_atomic_for_snapshots() {
    let scratch = Scratch::new();
    let store = buffered().wal_bytes(ROOMY_LOG_BYTES).open(scratch.data()).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (store, done) = (&store, &done);
        scope.spawn(move || {
            let pairs = million_pairs();
            assert_eq!(store.batch_insert(&pairs).unwrap(), MILLION);
            // Relaxed: only ends the loop below; the scope's join orders everything else.
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let snapshot = store.snapshot().unwrap();
            let count = snapshot.value_len();
            assert!(count == 0 || count == MILLION, "a snapshot with {count} of a million pairs");
            let seen = count_pairs(snapshot.iter());
            assert_eq!(seen, count, "the pairs of a snapshot");
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(store.value_len(), MILLION);
    assert_eq!(store.value_count(E::new(2, 1)).unwrap(), MILLION / 200);
    let killed = scratch.copy_as_killed(&store);
    let recovered = buffered().wal_bytes(ROOMY_LOG_BYTES).open(killed.data()).unwrap();
    assert_eq!(recovered.value_len(), MILLION);
    assert_eq!(count_pairs(recovered.iter()), MILLION);
}

#[test]
fn a_batch_of_a_million_pairs_is_atomic_for_kill() {
    let mut random = Random::new(1);
    let mut outcomes = [0, 0];
    for _ in 0..4 {
        let scratch = Scratch::new();
        let mut child = Child::spawn("batches::child", "million", &scratch.data());
        child.expect_line("open");
        thread::sleep(Duration::from_millis(random.below(900)));
        child.kill();
        let store = buffered().wal_bytes(ROOMY_LOG_BYTES).open(scratch.data()).unwrap();
        let count = store.value_len();
        assert!(count == 0 || count == MILLION, "{count} of a million pairs after a kill");
        assert_eq!(count_pairs(store.iter()), count);
        outcomes[usize::from(count == MILLION)] += 1;
    }
    let [none, all] = outcomes;
    assert_eq!(none + all, 4);
}

/// What this binary does as a child of the tests above.
#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    assert_eq!(role.name, "million");
    let pairs = million_pairs();
    let store = buffered().wal_bytes(ROOMY_LOG_BYTES).open(&role.path).unwrap();
    tell_parent("open");
    store.batch_insert(&pairs).unwrap();
    thread::sleep(PATIENCE);
}

#[test]
fn a_batch_beyond_the_ring_is_refused_and_nothing_is_written() {
    let scratch = Scratch::new();
    let store = buffered().wal_bytes(SMALL_LOG_BYTES).open(scratch.data()).unwrap();
    store.insert(1, 1).unwrap();
    let lsn = store.lsn();
    let pairs: Vec<_> = (0..50_000).map(|index| (E::new(7, index), E::from(index))).collect();
    let refused = store.batch_insert(&pairs);
    let Err(Error::BatchTooLarge { operations, operations_max }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(operations, 50_000);
    assert!((1000..50_000).contains(&operations_max), "{operations_max} fit into 1 MiB?");
    let keys: Vec<E> = pairs.iter().map(|(key, _)| *key).collect();
    assert!(matches!(store.batch_delete(&keys), Err(Error::BatchTooLarge { .. })));
    let refused = store.write(|transaction| {
        for (key, value) in &pairs {
            transaction.insert(*key, *value)?;
        }
        Ok(())
    });
    assert!(matches!(refused, Err(Error::BatchTooLarge { .. })), "{refused:?}");
    assert_eq!(store.lsn(), lsn, "nothing was logged");
    let model = [(1, 1)].into_iter().collect();
    assert_store(&store, &model);
    let killed = scratch.copy_as_killed(&store);
    let recovered = buffered().wal_bytes(SMALL_LOG_BYTES).open(killed.data()).unwrap();
    assert_store(&recovered, &model);
    // The limit that the error names is the limit.
    let most = operations_max as usize;
    assert!(store.batch_insert(&pairs[..most + 1]).is_err());
    assert_eq!(store.batch_insert(&pairs[..most]).unwrap(), operations_max);
    for rest in pairs[most..].chunks(most) {
        assert_eq!(store.batch_insert(rest).unwrap(), rest.len() as u64);
    }
    assert_eq!(store.value_len(), 50_001);
}

#[test]
fn a_transaction_that_panics_never_happened() {
    let (scratch, store) = empty();
    store.insert(1, 1).unwrap();
    store.insert(2, 2).unwrap();
    let model = [(1, 1), (2, 2)].into_iter().collect();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        store.write(|transaction| -> Result<(), Error> {
            transaction.delete(1)?;
            for value in 0..1000 {
                transaction.insert(3, value)?;
            }
            assert_eq!(transaction.get(3)?.len(), 1000);
            resume_unwind(Box::new("planned"));
        })
    }));
    assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"planned"), "the panic goes on");
    assert_store(&store, &model);
    // The writer lock is free again, for this thread and for others.
    store.insert(4, 4).unwrap();
    thread::scope(|scope| scope.spawn(|| store.delete(4).unwrap()).join().unwrap());
    let store = reopened(&scratch, &store);
    assert_store(&store, &model);
}

#[test]
fn a_transaction_that_fails_is_rolled_back_with_its_error() {
    let (_scratch, store) = empty();
    store.insert(1, 1).unwrap();
    let outcome: Result<(), _> = store.write(|transaction| {
        transaction.delete(1)?;
        transaction.insert(2, 2)?;
        Err(Error::RolledBack("the account is empty".to_owned()))
    });
    let Err(Error::RolledBack(reason)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(reason, "the account is empty");
    assert_store(&store, &[(1, 1)].into_iter().collect());
}

#[test]
fn a_store_write_inside_a_transaction_is_nested() {
    let (_scratch, store) = empty();
    store.insert(1, 1).unwrap();
    within_patience(move || {
        store
            .write(|transaction| {
                transaction.insert(2, 2)?;
                let pair = (E::from(3), E::from(3));
                assert!(matches!(store.insert(3, 3), Err(Error::Nested)));
                assert!(matches!(store.delete(1), Err(Error::Nested)));
                assert!(matches!(store.delete_value(1, 1), Err(Error::Nested)));
                assert!(matches!(store.batch_insert(&[pair]), Err(Error::Nested)));
                assert!(matches!(store.batch_delete(&[E::from(1)]), Err(Error::Nested)));
                assert!(matches!(store.write(|_| Ok(())), Err(Error::Nested)));
                assert!(matches!(store.bulk_load([pair]), Err(Error::Nested)));
                let durability = cidstore::Durability::Immediate;
                assert!(matches!(store.insert_with(3, 3, durability), Err(Error::Nested)));
                // A clone is the same store.
                assert!(matches!(store.clone().insert(3, 3), Err(Error::Nested)));
                // Reads are not writes; they see what is committed.
                assert_eq!(store.get(1)?.len(), 1);
                assert!(store.get(2)?.is_empty());
                transaction.insert(4, 4)?;
                Ok(())
            })
            .unwrap();
        assert_eq!(pairs_of(&store), [(1, 1), (2, 2), (4, 4)], "the transaction itself goes on");
        store.insert(5, 5).unwrap();
    });
}

#[test]
fn a_write_on_another_store_inside_a_transaction_is_fine() {
    let ((_one, first), (_two, second)) = (empty(), empty());
    within_patience(move || {
        first
            .write(|transaction| {
                second.insert(1, 1)?;
                transaction.insert(1, 1)?;
                Ok(())
            })
            .unwrap();
        assert!(first.contains(1, 1).unwrap() && second.contains(1, 1).unwrap());
    });
}

#[test]
fn a_bulk_load_whose_iterator_panics_publishes_nothing() {
    let (scratch, store) = empty();
    store.insert(1, 1).unwrap();
    let model: Model = [(1, 1)].into_iter().collect();
    for limit in [0, 1, 1000, 300_000] {
        let pairs = (0..).map(|index: u64| {
            if index == limit {
                resume_unwind(Box::new("planned"));
            }
            (E::new(9, index), E::from(index))
        });
        let outcome = catch_unwind(AssertUnwindSafe(|| store.bulk_load(pairs)));
        assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"planned"), "the panic goes on");
        assert_store(&store, &model);
    }
    let killed = scratch.copy_as_killed(&store);
    assert_store(&buffered().open(killed.data()).unwrap(), &model);
    assert_eq!(store.bulk_load([(E::from(2), E::from(2))]).unwrap().new_pairs, 1);
    let store = reopened(&scratch, &store);
    assert_store(&store, &[(1, 1), (2, 2)].into_iter().collect());
}

/// The load is not in the log: half of it must not come to the file by a later checkpoint.
#[test]
fn a_bulk_load_whose_progress_panics_is_undone_by_the_next_open() {
    for (before, pairs, moves) in
        [(0, 1000, 1), (0, 1_100_000, 3), (500, 20_000, 1), (500, 20_000, 2)]
    {
        let (scratch, store) = empty();
        let model: Model = (0..before).map(|key| (key.into(), key.into())).collect();
        (0..before).for_each(|key| assert!(store.insert(key, key).unwrap()));
        let mut loader = store.bulk_loader();
        (0..pairs).for_each(|index: u64| loader.push(E::new(9, index), index).unwrap());
        let mut moved = 0;
        let finished = catch_unwind(AssertUnwindSafe(|| {
            loader.finish(|_| {
                moved += 1;
                if moved == moves {
                    resume_unwind(Box::new("planned"));
                }
            })
        }));
        assert_eq!(finished.unwrap_err().downcast_ref(), Some(&"planned"), "the panic goes on");
        let refused = store.insert(1, 1).unwrap_err();
        assert!(matches!(refused, Error::Failed { .. }), "{refused}");
        let store = reopened(&scratch, &store);
        assert_store(&store, &model);
        assert_eq!(store.bulk_load([(E::from(7_000), E::from(2))]).unwrap().new_pairs, 1);
    }
}

/// A destructor that writes, run because of somebody's panic, is no half-done write.
#[test]
fn a_write_while_a_panic_unwinds_fails_nothing() {
    struct WritesAtTheEnd(Store);
    impl Drop for WritesAtTheEnd {
        fn drop(&mut self) {
            self.0.insert(1, 2).unwrap();
            self.0.bulk_load([(E::from(3), E::from(4))]).unwrap();
        }
    }
    let (_scratch, store) = empty();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let _writes = WritesAtTheEnd(store.clone());
        resume_unwind(Box::new("planned"));
    }));
    outcome.unwrap_err();
    store.insert(5, 6).unwrap();
    assert_store(&store, &[(1, 2), (3, 4), (5, 6)].into_iter().collect());
}

#[test]
fn a_bulk_load_whose_iterator_uses_the_store_does_not_hang() {
    let (_scratch, store) = empty();
    within_patience(move || {
        let pairs = (0..1000_u64).map(|index| {
            // Either answer is fine, as long as there is one.
            match store.insert(E::new(1, index), index) {
                Ok(_) | Err(Error::Nested) => {}
                Err(error) => panic!("{error}"),
            }
            store.get(E::new(1, index)).unwrap();
            (E::new(2, index), E::from(index))
        });
        assert_eq!(store.bulk_load(pairs).unwrap().new_pairs, 1000);
        assert_eq!(store.get(E::new(2, 999)).unwrap().len(), 1);
    });
}

/// Two threads fill a loader each, with pairs that the other has too; the second's belongs to another store.
#[test]
fn loaders_are_joined() {
    let scratch = [Scratch::new(), Scratch::new()];
    let [store, other] = scratch.each_ref().map(|scratch| Store::open(scratch.data()).unwrap());
    let pairs = |from: u64| (from..from + 3000).map(|key| (E::from(key / 3), E::from(key)));
    let (mut first, second, foreign) = thread::scope(|scope| {
        let load = |store, from| {
            scope.spawn(move || {
                let mut loader = Store::bulk_loader(store);
                pairs(from).for_each(|(key, value)| loader.push(key, value).unwrap());
                loader
            })
        };
        let threads = [load(&store, 0), load(&store, 1500), load(&other, 2000)];
        let [first, second, foreign] = threads.map(|thread| thread.join().unwrap());
        (first, second, foreign)
    });
    first.append(second);
    first.append(foreign);
    assert_eq!(first.len(), 9000);
    let loaded = first.finish(|_| ()).unwrap();
    assert_eq!((loaded.pairs, loaded.new_pairs), (9000, 5000));
    let expected: BTreeSet<(E, E)> = pairs(0).chain(pairs(2000)).collect();
    let found: BTreeSet<(E, E)> = store.iter().map(Result::unwrap).collect();
    assert_eq!(found, expected);
    assert!(other.is_empty());
}

#[test]
fn a_bulk_load_into_a_full_store_adds_to_it() {
    let (scratch, store) = empty();
    let mut model = Model::new();
    for index in 0..3000_u64 {
        store.insert(index % 700, index).unwrap();
        model.insert(u128::from(index % 700), u128::from(index));
    }
    let pairs = (0..20_000_u64).map(|index| (index % 1500, index));
    let loaded = store.bulk_load(pairs.clone().map(|(key, value)| (key.into(), value.into())));
    let new = model.insert_all(pairs.map(|(key, value)| (key.into(), value.into())));
    assert_eq!(loaded.unwrap().new_pairs, new);
    assert_store(&store, &model);
    let killed = scratch.copy_as_killed(&store);
    assert_store(&buffered().open(killed.data()).unwrap(), &model);
}

/// Pairs that a scan gives; it may not fail.
fn count_pairs(scan: Scan) -> u64 {
    scan.fold(0, |count, item| item.map(|_| count + 1).unwrap())
}

/// `Store` can be handed to threads; this does not compile otherwise.
#[test]
fn a_store_is_clone_send_and_sync() {
    fn assert_shared<T: Clone + Send + Sync + 'static>() {}
    assert_shared::<Store>();
}

/// The load gives the lock back before it is in the file; what others do then is not its business. (Not with the tests of concurrency:
/// the race detector does not see what the threads of a bulk load say to each other.)
#[test]
fn a_bulk_load_counts_its_own_pairs_only() {
    const KEYS: u64 = 1_000_000;
    const LOADED: u64 = 10;
    let (_scratch, store) = empty();
    let others: Vec<_> = (0..KEYS).map(|key| (E::new(7, key), E::ZERO)).collect();
    store.bulk_load(others).unwrap();
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for key in (0..KEYS).take_while(|_| !ends.load(Ordering::Relaxed)) {
                assert_eq!(store.delete(E::new(7, key)).unwrap(), 1);
            }
        });
        for round in 0..20 {
            let pairs = (0..LOADED).map(|key| (E::new(1, key), E::from(round)));
            assert_eq!(store.bulk_load(pairs).unwrap().new_pairs, LOADED, "round {round}");
        }
        ends.store(true, Ordering::Relaxed);
    });
    assert!(store.verify().unwrap().problems.is_empty());
}
