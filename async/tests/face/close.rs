//! The end of a store: closing drains, dropping drains, and what comes later is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cidstore_async::CidStore;
use cidstore_engine::{Durability, Error, Store};
use cidstore_testkit::Scratch;

use crate::harness::{PATIENCE, buffered, e, fresh, run};

const WRITES: u64 = 500;

/// Polls each future once, so that its call has been made.
fn begin<F: Future>(futures: Vec<F>) -> Vec<std::pin::Pin<Box<F>>> {
    let mut begun: Vec<_> = futures.into_iter().map(Box::pin).collect();
    for future in &mut begun {
        let polled = smol::block_on(smol::future::poll_once(future.as_mut()));
        assert!(polled.is_none(), "answered before anybody applied it");
    }
    begun
}

#[test]
fn close_finishes_what_was_called_before() {
    run(async {
        let scratch = Scratch::new();
        // A bound of 10: most of the writes wait for their turn when close is called.
        let options = CidStore::options().queue_changes(10);
        let (store, consumer) = options.open_with_consumer(scratch.data()).await.unwrap();
        let writes = begin((0..WRITES).map(|n| store.insert(n, n)).collect());
        let mut closing = Box::pin(store.close());
        assert!(smol::future::poll_once(closing.as_mut()).await.is_none());
        let late = begin((0..5).map(|n| store.insert(WRITES + n, n)).collect());
        let consumer = smol::spawn(consumer);
        for write in writes {
            assert!(write.await.unwrap());
        }
        closing.await.unwrap();
        for write in late {
            let refused = write.await.unwrap_err();
            assert!(matches!(refused, Error::Closed), "{refused}");
        }
        consumer.await;
        let store = Store::open(scratch.data()).unwrap();
        assert_eq!(store.len(), WRITES);
    });
}

#[test]
fn every_method_answers_closed_afterwards() {
    run(async {
        let (_scratch, store) = fresh().await;
        let other = store.clone();
        store.insert(7, 7).await.unwrap();
        store.close().await.unwrap();
        let closed = |error: Error| assert!(matches!(error, Error::Closed), "{error}");
        closed(other.insert(1, 1).await.unwrap_err());
        closed(other.insert_with(1, 1, Durability::Buffered).await.unwrap_err());
        closed(other.delete(1).await.unwrap_err());
        closed(other.delete_value(1, 1).await.unwrap_err());
        closed(other.batch_insert(&[(e(1), e(1))]).await.unwrap_err());
        closed(other.batch_insert(&[]).await.unwrap_err());
        closed(other.batch_delete(&[e(1)]).await.unwrap_err());
        closed(other.get(1).await.unwrap_err());
        closed(other.get_entry(1).await.unwrap_err());
        closed(other.compact().await.unwrap_err());
        closed(other.merge().await.unwrap_err());
        closed(other.gc().await.unwrap_err());
        closed(other.run_gc_once().await.unwrap_err());
        closed(other.background_maintenance().await.unwrap_err());
        closed(other.valueset_exists(1).await.unwrap_err());
        closed(other.get_tombstone_count(1).await.unwrap_err());
        closed(other.is_spilled(1).await.unwrap_err());
        closed(other.demote_if_possible(1).await.unwrap_err());
        closed(other.debug_dump(&mut Vec::new()).await.unwrap_err());
        closed(other.sync().await.unwrap_err());
        closed(other.wait_durable(0).await.unwrap_err());
        closed(other.wait_durable(1).await.unwrap_err());
        closed(other.stats().await.unwrap_err());
        closed(other.metrics().await.unwrap_err());
        closed(other.expose_metrics().await.unwrap_err());
        closed(other.snapshot().await.unwrap_err());
        closed(other.subscribe(1).await.unwrap_err());
        closed(other.close().await.unwrap_err());
        closed(CidStore::from_store(other.store().clone()).unwrap_err());
        // What can't fail has no way to say so.
        assert_eq!((other.len(), other.value_len(), other.is_empty()), (1, 1, false));
        assert!(other.lsn() > 0 && other.durable_lsn() == other.lsn());
    });
}

#[test]
fn dropping_the_last_handle_finishes_what_was_queued_and_frees_the_file() {
    let scratch = Scratch::new();
    run(async {
        let store = CidStore::options().store(buffered()).open(scratch.data()).await.unwrap();
        let answered = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = (0..WRITES)
            .map(|n| {
                let (store, answered) = (store.clone(), Arc::clone(&answered));
                smol::spawn(async move {
                    store.insert(n, n).await.unwrap();
                    answered.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        drop(store);
        for task in tasks {
            task.await;
        }
        assert_eq!(answered.load(Ordering::Relaxed), WRITES);
        // The last of the tasks that ran dropped the last handle; it may be still about it.
        let begin = std::time::Instant::now();
        let again = loop {
            match Store::open(scratch.data()) {
                Err(Error::Locked { .. }) if begin.elapsed() < PATIENCE => {
                    smol::Timer::after(std::time::Duration::from_millis(5)).await;
                }
                opened => break opened.unwrap(),
            }
        };
        assert_eq!(again.len(), WRITES);
    });
}

#[test]
fn a_handle_dropped_here_closes_here() {
    let scratch = Scratch::new();
    run(async {
        for round in 0..5 {
            let store = CidStore::open(scratch.data()).await.unwrap();
            assert_eq!(store.len(), round);
            store.insert(round, 1).await.unwrap();
        }
    });
}

#[test]
fn a_consumer_that_is_dropped_leaves_nobody_waiting() {
    run(async {
        let scratch = Scratch::new();
        let options = CidStore::options().queue_changes(10);
        let (store, consumer) = options.open_with_consumer(scratch.data()).await.unwrap();
        let writes = begin((0..50).map(|n| store.insert(n, n)).collect());
        drop(consumer);
        for write in writes {
            let refused = write.await.unwrap_err();
            assert!(matches!(refused, Error::Closed), "{refused}");
        }
        let refused = store.insert(1, 1).await.unwrap_err();
        assert!(matches!(refused, Error::Closed), "{refused}");
        assert!(store.is_empty(), "what was refused did not happen");
    });
}
