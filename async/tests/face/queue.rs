//! The bound of the queue, turns, and shared syncs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cidstore_async::CidStore;
use cidstore_engine::io::OsDisk;
use cidstore_engine::io::faulty::{FaultyDisk, OperationKind};
use cidstore_engine::{Durability, Store};
use cidstore_testkit::Scratch;
use smol::future::poll_once;

use crate::harness::{buffered, e, run};

#[test]
fn no_more_than_the_bound_is_queued() {
    run(async {
        let scratch = Scratch::new();
        let options = CidStore::options().store(buffered()).queue_changes(20);
        let (store, consumer) = options.open_with_consumer(scratch.data()).await.unwrap();
        let mut calls: Vec<_> = (0..100).map(|n| Box::pin(store.insert(n, n))).collect();
        for call in &mut calls {
            assert!(poll_once(call.as_mut()).await.is_none());
        }
        // All are dropped, and only those that were queued happen: as many as the bound allows.
        drop(calls);
        let consumer = smol::spawn(consumer);
        store.insert(1000, 1).await.unwrap();
        assert_eq!(store.len(), 20 + 1);
        // A batch beyond the bound takes all of it, and no more.
        let pairs: Vec<_> = (0..50).map(|n| (e(2000), e(n))).collect();
        assert_eq!(store.batch_insert(&pairs).await.unwrap(), 50);
        store.close().await.unwrap();
        consumer.await;
    });
}

#[test]
fn turns_come_in_order() {
    run(async {
        let scratch = Scratch::new();
        let options = CidStore::options().store(buffered()).queue_changes(4);
        let (store, consumer) = options.open_with_consumer(scratch.data()).await.unwrap();
        let turn = Arc::new(AtomicU64::new(0));
        let executor = smol::LocalExecutor::new();
        // One writer that never stops, and a large batch that must not be overtaken for ever.
        let busy: Vec<_> = (0..8)
            .map(|task| {
                let (store, turn) = (store.clone(), Arc::clone(&turn));
                executor.spawn(async move {
                    for round in 0..2000 {
                        store.insert(task, round).await.unwrap();
                        turn.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let batch = {
            let (store, turn) = (store.clone(), Arc::clone(&turn));
            executor.spawn(async move {
                let pairs: Vec<_> = (0..4).map(|n| (e(100), e(n))).collect();
                let before = turn.load(Ordering::Relaxed);
                store.batch_insert(&pairs).await.unwrap();
                turn.load(Ordering::Relaxed) - before
            })
        };
        let consumer = executor.spawn(consumer);
        executor
            .run(async {
                let overtaken = batch.await;
                assert!(overtaken < 200, "{overtaken} writes came before the batch");
                for task in busy {
                    task.await;
                }
                store.close().await.unwrap();
                consumer.await;
            })
            .await;
    });
}

#[test]
fn many_tasks_share_a_few_syncs() {
    const TASKS: u64 = 2000;
    run(async {
        let scratch = Scratch::new();
        let disk = FaultyDisk::new(Arc::new(OsDisk));
        let store = Store::options().open_on(Arc::new(disk.clone()), scratch.data()).unwrap();
        let store = CidStore::from_store(store).unwrap();
        let before = disk.count(OperationKind::SyncData);
        let tasks: Vec<_> = (0..TASKS)
            .map(|n| {
                let store = store.clone();
                smol::spawn(async move {
                    let written = store.insert_with(n, 1, Durability::Immediate).await.unwrap();
                    assert!(store.durable_lsn() >= written.lsn);
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        let syncs = disk.count(OperationKind::SyncData) - before;
        assert!(syncs > 0 && syncs < TASKS / 4, "{syncs} syncs for {TASKS} durable writes");
    });
}

#[test]
fn an_interval_is_kept() {
    run(async {
        let scratch = Scratch::new();
        let store = CidStore::open(scratch.data()).await.unwrap();
        let interval = Durability::Interval(Duration::from_millis(20));
        let written = store.insert_with(1, 1, interval).await.unwrap();
        // Nobody asks for this sync but the interval; the harness ends a test that waits in vain.
        while store.durable_lsn() < written.lsn {
            smol::Timer::after(Duration::from_millis(2)).await;
        }
    });
}

#[test]
fn beside_synchronous_writers_nothing_is_lost() {
    run(async {
        let scratch = Scratch::new();
        let options = CidStore::options().store(buffered());
        let (store, consumer) = options.open_with_consumer(scratch.data()).await.unwrap();
        let consumer = smol::spawn(consumer);
        let threads: Vec<_> = (0..2)
            .map(|thread| {
                let store = store.store().clone();
                std::thread::spawn(move || {
                    for n in 0..3000 {
                        assert!(store.insert(thread, n).unwrap());
                    }
                })
            })
            .collect();
        for n in 0..3000 {
            assert!(store.insert(2, n).await.unwrap());
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(store.value_len(), 9000);
        store.close().await.unwrap();
        consumer.await;
    });
}
