//! Calls from within a transaction of the same store: each is answered or refused in its first poll, and none waits for
//! the lock that its own thread holds.

use std::future::Future;
use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cidstore_async::{CidStore, Reads};
use cidstore_engine::{Durability, Error};
use cidstore_testkit::Scratch;
use smol::future::poll_once;

use crate::harness::{PATIENCE, buffered, e, run, sorted};

/// Runs `ask` in a transaction of a store with a pair, and fails the test if that hangs.
fn within_a_transaction(reads: Reads, ask: impl FnOnce(&CidStore) + Send + 'static) {
    let (done, finished) = mpsc::channel::<()>();
    // What hangs holds the lock, so that nobody could close the store: left alone with it.
    let worker = thread::spawn(move || {
        let scratch = Scratch::new();
        run(async {
            let options = CidStore::options().store(buffered()).reads(reads);
            let store = options.open(scratch.data()).await.unwrap();
            store.insert(1, 1).await.unwrap();
            let inside = store.clone();
            let written = store.write(move |transaction| {
                ask(&inside);
                transaction.insert(2, 2)
            });
            assert!(written.await.unwrap());
            assert_eq!(sorted(&store, 2).await, [e(2)]);
            store.close().await.unwrap();
        });
        drop(done);
    });
    let hung = finished.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
    assert!(!hung, "a call within the transaction hangs");
    if let Err(payload) = worker.join() {
        resume_unwind(payload);
    }
}

/// What a call answers in its first poll.
#[track_caller]
fn at_once<T>(call: impl Future<Output = T>) -> T {
    run(poll_once(Box::pin(call))).expect("an answer in the first poll")
}

#[track_caller]
fn assert_nested<T>(call: impl Future<Output = Result<T, Error>>) {
    let answer = at_once(call);
    assert!(matches!(answer, Err(Error::Nested)), "{:?}", answer.map(drop));
}

#[test]
fn what_waits_for_the_writer_is_nested() {
    within_a_transaction(Reads::Inline, |store| {
        assert_nested(store.write(|_| Ok(())));
        assert_nested(store.bulk_load([(e(3), e(3))]));
        assert_nested(store.get_entry(1));
        assert_nested(store.snapshot());
        assert_nested(store.subscribe(1));
        assert_nested(store.checkpoint());
        assert_nested(store.verify());
        assert_nested(store.scrub(false));
        assert_nested(store.compact());
        assert_nested(store.merge());
        assert_nested(store.gc());
        assert_nested(store.run_gc_once());
        assert_nested(store.background_maintenance());
        assert_nested(store.demote_if_possible(1));
        assert_nested(store.expose_metrics());
        assert_nested(store.debug_dump(&mut Vec::new()));
        assert_nested(store.close());
    });
}

#[test]
fn what_goes_through_the_queue_is_nested() {
    within_a_transaction(Reads::Inline, |store| {
        assert_nested(store.insert(3, 3));
        assert_nested(store.insert_with(3, 3, Durability::Immediate));
        assert_nested(store.delete(1));
        assert_nested(store.delete_with(1, Durability::Buffered));
        assert_nested(store.delete_value(1, 1));
        assert_nested(store.batch_insert(&[(e(3), e(3))]));
        assert_nested(store.batch_insert(&[]));
        assert_nested(store.batch_delete(&[e(1)]));
    });
}

/// The sync takes the writer's lock.
#[test]
fn to_wait_for_a_sync_is_nested_unless_it_is_done() {
    within_a_transaction(Reads::Inline, |store| {
        assert_nested(store.sync());
        assert!(store.durable_lsn() < store.lsn(), "nothing has asked for a sync");
        assert_nested(store.wait_durable(store.lsn()));
        at_once(store.wait_durable(0)).unwrap();
    });
}

#[test]
fn figures_are_those_of_when_the_transaction_began() {
    within_a_transaction(Reads::Inline, |store| {
        let stats = at_once(store.stats()).unwrap();
        assert_eq!((stats.keys, stats.values), (1, 1));
        let metrics = at_once(store.metrics()).unwrap();
        assert_eq!(metrics.stats.keys, 1);
        at_once(store.auto_tune(&metrics)).unwrap();
    });
}

#[test]
fn reads_are_answered_here_and_on_the_pool() {
    for reads in [Reads::Inline, Reads::Pool] {
        within_a_transaction(reads, move |store| {
            run(async {
                assert_eq!(sorted(store, 1).await, [e(1)]);
                assert_eq!(store.get_many(&[e(1), e(2)]).await.unwrap().len(), 2);
                assert!(store.contains_key(1).await.unwrap());
                assert!(!store.contains(2, 2).await.unwrap(), "not committed");
                assert_eq!(store.value_count(1).await.unwrap(), 1);
                assert!(!store.is_spilled(1).await.unwrap());
                assert!(!store.valueset_exists(1).await.unwrap());
                assert_eq!(store.get_tombstone_count(1).await.unwrap(), 0);
            });
        });
    }
}

/// What is queued by then is finished after the transaction, by the consumer alone.
#[test]
fn a_last_handle_that_goes_within_a_transaction_waits_for_nobody() {
    let scratch = Scratch::new();
    let data = scratch.data();
    let (done, finished) = mpsc::channel::<()>();
    let store = run(CidStore::options().store(buffered()).open(&data)).unwrap();
    let (began, begun) = mpsc::channel();
    let (go, gone) = mpsc::channel();
    let last = store.clone();
    run(async {
        let mut write = Box::pin(store.write(move |transaction| {
            began.send(()).unwrap();
            gone.recv().unwrap();
            drop(last);
            drop(done);
            transaction.insert(1, 1)
        }));
        assert!(poll_once(&mut write).await.is_none());
        begun.recv().unwrap();
        let queued = poll_once(Box::pin(store.insert_with(2, 2, Durability::Immediate))).await;
        assert!(queued.is_none(), "the writer is busy");
    });
    drop(store);
    go.send(()).unwrap();
    let hung = finished.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
    assert!(!hung, "the transaction waits for what waits for it");
    run(async {
        let again = loop {
            match CidStore::open(&data).await {
                // The consumer and the pool still have handles.
                Err(Error::Locked { .. }) => smol::Timer::after(Duration::from_millis(5)).await,
                opened => break opened.unwrap(),
            };
        };
        assert_eq!((sorted(&again, 1).await, sorted(&again, 2).await), (vec![e(1)], vec![e(2)]));
    });
}
