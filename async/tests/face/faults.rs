//! Disks that fail: every future resolves, with what is known; what was acknowledged is there afterwards.

use std::sync::Arc;

use cidstore_async::CidStore;
use cidstore_engine::io::OsDisk;
use cidstore_engine::io::faulty::{Fault, FaultyDisk, OperationKind};
use cidstore_engine::{Durability, Error, Store};
use cidstore_testkit::Scratch;

use crate::harness::run;

const EIO: i32 = 5;
const TASKS: u64 = 300;

fn open(scratch: &Scratch) -> (FaultyDisk, Store) {
    let disk = FaultyDisk::new(Arc::new(OsDisk));
    let options = Store::options().wal_bytes(1 << 20);
    (disk.clone(), options.open_on(Arc::new(disk), scratch.data()).unwrap())
}

/// Writes durably from many tasks, in several rounds each, until the disk fails; answers the keys that were
/// acknowledged.
async fn write_until_failure(store: &CidStore) -> Vec<u64> {
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let store = store.clone();
            smol::spawn(async move {
                let mut acknowledged = Vec::new();
                for round in 0..50 {
                    let key = round * TASKS + task;
                    match store.insert(key, 1).await {
                        Ok(new) => {
                            assert!(new);
                            acknowledged.push(key);
                        }
                        Err(Error::OutcomeUnknown { .. } | Error::Failed { .. }) => break,
                        Err(error) => panic!("key {key}: {error}"),
                    }
                }
                acknowledged
            })
        })
        .collect();
    let mut acknowledged = Vec::new();
    for task in tasks {
        acknowledged.extend(task.await);
    }
    acknowledged
}

fn fails_at(kind: OperationKind, after: u64, with_consumer: bool) {
    let scratch = Scratch::new();
    let acknowledged = run(async {
        let (disk, store) = open(&scratch);
        let (store, consumer) = if with_consumer {
            let (store, consumer) = CidStore::options().with_consumer(store);
            (store, Some(smol::spawn(consumer)))
        } else {
            (CidStore::from_store(store).unwrap(), None)
        };
        disk.inject(Fault::new(EIO).kind(kind).after(after));
        let acknowledged = write_until_failure(&store).await;
        assert!(acknowledged.len() < 50 * TASKS as usize, "the fault was never met");
        // The store has failed: writes are refused at once, reads go on.
        let refused = store.insert(1 << 40, 1).await.unwrap_err();
        assert!(matches!(refused, Error::Failed { .. }), "{refused}");
        let refused = store.sync().await.unwrap_err();
        assert!(matches!(refused, Error::Failed { .. }), "{refused}");
        for &key in &acknowledged {
            assert!(store.contains(key, 1).await.unwrap());
        }
        drop(store.close().await);
        if let Some(consumer) = consumer {
            consumer.await;
        }
        acknowledged
    });
    let again = Store::open(scratch.data()).unwrap();
    for key in acknowledged {
        assert!(again.contains(key, 1).unwrap(), "{key} was acknowledged");
    }
    assert!(again.verify().unwrap().problems.is_empty());
}

#[test]
fn a_failed_sync_answers_everybody() {
    for after in 0..4 {
        fails_at(OperationKind::SyncData, after, false);
        fails_at(OperationKind::SyncData, after, true);
    }
}

#[test]
fn a_failed_write_of_the_log_answers_everybody() {
    for after in 0..3 {
        fails_at(OperationKind::Write, after, false);
        fails_at(OperationKind::Write, after, true);
    }
}

#[test]
fn who_waits_for_a_sync_that_fails_is_told() {
    run(async {
        let scratch = Scratch::new();
        let (disk, store) = open(&scratch);
        let store = CidStore::from_store(store).unwrap();
        let mut written = Vec::new();
        for key in 0..100 {
            written.push(store.insert_with(key, 1, Durability::Buffered).await.unwrap());
        }
        let kind = OperationKind::SyncData;
        disk.inject(Fault::new(EIO).kind(kind));
        let waiting: Vec<_> = written
            .into_iter()
            .map(|written| smol::spawn(async move { written.durable().await }))
            .collect();
        for waiter in waiting {
            let told = waiter.await.unwrap_err();
            assert!(matches!(told, Error::OutcomeUnknown { .. }), "{told}");
        }
    });
}

#[test]
fn a_number_that_no_write_has_is_refused() {
    run(async {
        let scratch = Scratch::new();
        let store = CidStore::open(scratch.data()).await.unwrap();
        store.insert(1, 1).await.unwrap();
        store.wait_durable(store.lsn()).await.unwrap();
        let refused = store.wait_durable(store.lsn() + 1000).await.unwrap_err();
        assert!(matches!(refused, Error::InvalidOption { .. }), "{refused}");
    });
}

#[test]
fn a_batch_that_the_log_cannot_take_and_a_store_that_is_only_read() {
    run(async {
        let scratch = Scratch::new();
        let options = CidStore::options().store(Store::options().wal_bytes(64 << 10));
        let store = options.clone().open(scratch.data()).await.unwrap();
        let pairs: Vec<_> = (0..2000).map(|n| (n.into(), n.into())).collect();
        let refused = store.batch_insert(&pairs).await.unwrap_err();
        assert!(matches!(refused, Error::BatchTooLarge { .. }), "{refused}");
        assert!(store.is_empty());
        // Many more records than the log has room for: the consumer waits for checkpoints.
        for part in pairs.chunks(100) {
            store.batch_insert(part).await.unwrap();
        }
        store.close().await.unwrap();
        let options = CidStore::options().store(Store::options().read_only(true));
        let store = options.open(scratch.data()).await.unwrap();
        assert_eq!(store.get(7).await.unwrap().len(), 1);
        assert!(matches!(store.insert(1, 1).await, Err(Error::ReadOnly)));
        store.close().await.unwrap();
    });
}
