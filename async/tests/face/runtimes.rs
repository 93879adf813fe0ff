//! The main paths under tokio (one thread and several), smol, and the plainest executor there is.

use std::future::Future;
use std::pin::Pin;

use cidstore_async::CidStore;
use cidstore_engine::{Durability, Store};
use cidstore_testkit::Scratch;
use futures_core::Stream;

use crate::harness::{e, sorted};

const TASKS: u64 = 200;

async fn collect<T>(mut stream: impl Stream<Item = T> + Unpin) -> Vec<T> {
    let mut items = Vec::new();
    while let Some(item) = std::future::poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await {
        items.push(item);
    }
    items
}

/// What every program does: open, write from many tasks at once, read, scan, maintain, close, open again.
async fn main_paths<J: Future<Output = ()>>(
    scratch: &Scratch,
    store: CidStore,
    spawn: impl Fn(Pin<Box<dyn Future<Output = ()> + Send>>) -> J,
) {
    let tasks: Vec<J> = (0..TASKS)
        .map(|task| {
            let store = store.clone();
            spawn(Box::pin(async move {
                assert!(store.insert(task, 1).await.unwrap());
                assert!(store.contains(task, 1).await.unwrap(), "its own write");
                let written = store.insert_with(task, 2, Durability::Buffered).await.unwrap();
                assert!(written.new);
                written.durable().await.unwrap();
                assert_eq!(store.batch_insert(&[(e(task), e(3))]).await.unwrap(), 1);
                if task % 2 == 0 {
                    assert_eq!(store.delete(task).await.unwrap(), 3);
                } else {
                    assert!(store.delete_value(task, 2).await.unwrap());
                }
            }))
        })
        .collect();
    for task in tasks {
        task.await;
    }
    assert_eq!((store.len(), store.value_len()), (TASKS / 2, TASKS));
    assert!(store.durable_lsn() >= store.lsn(), "all writes were durable");
    let pairs = collect(store.iter()).await;
    assert_eq!(pairs.into_iter().collect::<Result<Vec<_>, _>>().unwrap().len() as u64, TASKS);
    store.compact().await.unwrap();
    assert_eq!(sorted(&store, 1).await, [e(1), e(3)]);
    store.close().await.unwrap();
    let again = CidStore::open(scratch.data()).await.unwrap();
    assert_eq!(again.value_len(), TASKS);
}

/// A store whose writes are durable when they resolve, and its consumer for the executor to run.
async fn with_consumer(scratch: &Scratch) -> (CidStore, cidstore_async::Consumer) {
    CidStore::options().open_with_consumer(scratch.data()).await.unwrap()
}

fn under_tokio(runtime: tokio::runtime::Runtime) {
    let spawn = |task| {
        let handle = tokio::spawn(task);
        async move { handle.await.unwrap() }
    };
    runtime.block_on(async {
        let scratch = Scratch::new();
        main_paths(&scratch, CidStore::open(scratch.data()).await.unwrap(), spawn).await;
        let scratch = Scratch::new();
        let (store, consumer) = with_consumer(&scratch).await;
        let consumer = tokio::spawn(consumer);
        main_paths(&scratch, store, spawn).await;
        consumer.await.unwrap();
    });
}

#[test]
fn tokio_with_one_thread() {
    under_tokio(tokio::runtime::Builder::new_current_thread().build().unwrap());
}

#[test]
fn tokio_with_several_threads() {
    under_tokio(tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().unwrap());
}

#[test]
fn smol_() {
    smol::block_on(async {
        let scratch = Scratch::new();
        main_paths(&scratch, CidStore::open(scratch.data()).await.unwrap(), smol::spawn).await;
        let scratch = Scratch::new();
        let (store, consumer) = with_consumer(&scratch).await;
        let consumer = smol::spawn(consumer);
        main_paths(&scratch, store, smol::spawn).await;
        consumer.await;
    });
}

/// Nothing is spawned anywhere: the tasks run one after another.
#[test]
fn futures_block_on() {
    let scratch = Scratch::new();
    futures::executor::block_on(async {
        let store = CidStore::open(scratch.data()).await.unwrap();
        main_paths(&scratch, store, |task| task).await;
    });
}

/// Store and consumer on one thread of an executor that runs nothing else.
#[test]
fn futures_local_pool_runs_the_consumer() {
    let scratch = Scratch::new();
    let mut pool = futures::executor::LocalPool::new();
    let store = pool.run_until(async { with_consumer(&scratch).await });
    let (store, consumer) = store;
    let tasks = async {
        main_paths(&scratch, store, |task| task).await;
    };
    pool.run_until(smol::future::zip(tasks, consumer));
}

/// The original's words: storage, log, store.
#[test]
fn two_named_files() {
    let scratch = Scratch::new();
    let (data, log) = (scratch.path().join("mydata.h5"), scratch.path().join("mywal.log"));
    futures::executor::block_on(async {
        let storage = cidstore_engine::Storage::open(&data).unwrap();
        let wal = cidstore_engine::Wal::open(&log).unwrap();
        let store = CidStore::new(storage, wal).await.unwrap();
        assert!(store.insert(1, 2).await.unwrap());
        store.close().await.unwrap();
    });
    assert!(data.exists() && log.exists());
    let store = Store::options().wal_path(log).open(data).unwrap();
    assert!(store.contains(1, 2).unwrap());
}
