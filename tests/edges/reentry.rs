//! Code of the caller that runs while the store is locked for it: whatever it asks of the same store is answered or
//! refused, and never waits for the lock that its own thread holds.

use std::cell::RefCell;
use std::sync::mpsc;
use std::task::{Context, Waker};
use std::thread;

use cidstore::{E, Error, Store};
use cidstore_testkit::Scratch;
use cidstore_testkit::content::pairs_of;

use crate::{buffered, empty, within_patience};

#[track_caller]
fn assert_nested<T>(answer: Result<T, Error>) {
    assert!(matches!(answer, Err(Error::Nested)), "{:?}", answer.map(drop));
}

/// Every method that takes `&self`, but for those that need the lock for themselves.
fn assert_reads(store: &Store, key: u64) {
    assert_eq!(store.get(key).unwrap().len(), 1);
    assert_eq!(store.get_many(&[E::from(key)]).unwrap().len(), 1);
    assert!(store.contains_key(key).unwrap() && store.contains(key, key).unwrap());
    assert_eq!(store.value_count(key).unwrap(), 1);
    assert!(!store.is_spilled(key).unwrap() && !store.valueset_exists(key).unwrap());
    assert_eq!(store.get_tombstone_count(key).unwrap(), 0);
    let guard = store.pin();
    assert_eq!(guard.get(key).unwrap().len(), 1);
    assert!(store.iter().all(|pair| pair.is_ok()) && store.keys().all(|key| key.is_ok()));
    assert!(!store.is_empty() && store.len() <= store.value_len());
    assert!(store.durable_lsn() <= store.lsn());
    assert!(store.failure().is_none() && store.maintenance_problems().is_empty());
    assert!(store.storage().unwrap().bytes > 0 && store.wal().unwrap().bytes > 0);
}

/// Every method that waits for the writer or a checkpoint.
fn assert_all_else_is_nested(store: &Store) {
    let pair = (E::from(3), E::from(3));
    assert_nested(store.insert(3, 3));
    assert_nested(store.batch_insert(&[]));
    assert_nested(store.bulk_load([pair]));
    assert_nested(store.write(|_| Ok(())));
    assert_nested(store.get_entry(1));
    assert_nested(store.snapshot());
    assert_nested(store.subscribe(1));
    assert_nested(store.sync());
    assert_nested(store.checkpoint());
    assert_nested(store.verify());
    assert_nested(store.compact());
    assert_nested(store.merge());
    assert_nested(store.gc());
    assert_nested(store.run_gc_once());
    assert_nested(store.background_maintenance());
    assert_nested(store.demote_if_possible(1));
    assert_nested(store.expose_metrics());
    assert_nested(store.debug_dump(&mut Vec::new()));
    assert_nested(store.close());
}

#[test]
fn a_transaction_may_ask_its_store_anything() {
    let (_scratch, store) = empty();
    within_patience(move || {
        store.insert(1, 1).unwrap();
        let before = store.metrics();
        let mut feed = store.subscribe(store.lsn()).unwrap();
        store
            .write(|transaction| {
                transaction.insert(2, 2)?;
                assert_reads(&store, 1);
                assert_all_else_is_nested(&store);
                // As when it began.
                assert_eq!(store.stats(), before.stats);
                assert_eq!(store.metrics().log_records, before.log_records);
                let mut context = Context::from_waker(Waker::noop());
                assert!(feed.poll_next(&mut context).is_ready(), "the insert of before");
                assert!(feed.poll_next(&mut context).is_pending());
                Ok(())
            })
            .unwrap();
        assert_eq!(pairs_of(&store), [(1, 1), (2, 2)]);
        assert_eq!(store.stats().keys, 2);
        assert_all_else_works(&store);
    });
}

/// Being told how far a load is happens under the lock too, in an empty store and in one that has pairs.
#[test]
fn the_progress_of_a_load_may_ask_its_store_anything() {
    let (_scratch, store) = empty();
    within_patience(move || {
        for round in 0..2_u64 {
            let mut loader = store.bulk_loader();
            for key in 0..20_000_u64 {
                loader.push(E::new(round, key), key).unwrap();
            }
            let mut told = 0;
            let loaded = loader.finish(|progress| {
                told += 1;
                assert!(progress.done <= progress.total);
                assert_all_else_is_nested(&store);
                assert_eq!(store.stats().keys, round * 20_000, "as when it began");
                assert_eq!(store.contains_key(E::new(0, 7)).unwrap(), round == 1);
            });
            assert_eq!(loaded.unwrap().new_pairs, 20_000);
            assert!(told > 0);
        }
        assert_eq!(store.stats().keys, 40_000);
        assert_all_else_works(&store);
    });
}

fn assert_all_else_works(store: &Store) {
    assert!(store.insert(u64::MAX, 3).unwrap());
    store.sync().unwrap();
    assert!(store.verify().unwrap().problems.is_empty());
    store.close().unwrap();
}

/// Uses its store when its thread ends, and tells what it found.
struct AtTheEnd(Store, mpsc::Sender<Vec<(u128, u128)>>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        let Self(store, found) = self;
        assert!(store.insert(2, 2).unwrap());
        assert_eq!(store.get(1).unwrap().len(), 1);
        let moved = store.write(|transaction| {
            assert_nested(store.insert(4, 4));
            Ok(transaction.delete_value(1, 1)? && transaction.insert(3, 3)?)
        });
        assert!(moved.unwrap());
        assert_eq!(store.bulk_load([(E::from(5), E::from(5))]).unwrap().new_pairs, 1);
        assert_eq!(store.stats().keys, 3);
        store.sync().unwrap();
        store.checkpoint().unwrap();
        assert_eq!(store.snapshot().unwrap().len(), 3);
        found.send(pairs_of(store)).unwrap();
    }
}

/// By then the thread's other values are gone, those of the library among them.
#[test]
fn a_thread_that_ends_may_still_use_its_store() {
    thread_local! {
        static OF_THREAD: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) };
    }
    let scratch = Scratch::new();
    let store = buffered().count_reads(true).open(scratch.data()).unwrap();
    let (found, told) = mpsc::channel();
    let of_thread = AtTheEnd(store.clone(), found);
    let thread = thread::spawn(move || {
        // Registered before the library's values, so dropped after them.
        OF_THREAD.set(Some(of_thread));
        OF_THREAD.with_borrow(|this| {
            let store = &this.as_ref().unwrap().0;
            store.write(|transaction| transaction.insert(1, 1)).unwrap();
            assert_eq!(store.get(1).unwrap().len(), 1);
        });
    });
    thread.join().unwrap();
    assert_eq!(told.recv().unwrap(), [(2, 2), (3, 3), (5, 5)]);
    assert_all_else_works(&store);
}
