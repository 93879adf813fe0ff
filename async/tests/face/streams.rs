//! Streams give what the store has, let others run in between, and can be resumed or dropped.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;

use cidstore_async::{CidStore, Reads};
use cidstore_core::E;
use cidstore_engine::Error;
use cidstore_testkit::Scratch;
use futures_core::Stream;

use crate::harness::{buffered, e, fresh, run};

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

async fn all<T>(mut stream: impl Stream<Item = Result<T, Error>> + Unpin) -> Vec<T> {
    let mut items = Vec::new();
    while let Some(item) = next(&mut stream).await {
        items.push(item.unwrap());
    }
    assert!(next(&mut stream).await.is_none(), "it stays at its end");
    items
}

/// 900 keys with one value, one key with 5,000.
async fn filled(scratch: &Scratch, reads: Reads) -> (CidStore, BTreeSet<(E, E)>) {
    let options = CidStore::options().store(buffered()).reads(reads);
    let store = options.open(scratch.data()).await.unwrap();
    let single = (0..900).map(|n| (e(n), e(n)));
    let pairs: Vec<_> = single.chain((0..5000).map(|n| (e(1000), e(n)))).collect();
    for part in pairs.chunks(2000) {
        store.batch_insert(part).await.unwrap();
    }
    (store, pairs.into_iter().collect())
}

#[test]
fn scan_keys_and_values_give_everything_once() {
    for reads in [Reads::Inline, Reads::Pool] {
        run(async {
            let scratch = Scratch::new();
            let (store, pairs) = filled(&scratch, reads).await;
            let found = all(store.iter()).await;
            assert_eq!(found.len(), pairs.len());
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), pairs);
            let keys = all(store.keys()).await;
            assert_eq!(keys.len(), 901);
            assert_eq!(keys.into_iter().collect::<BTreeSet<_>>().len(), 901);
            let values = all(store.values(1000)).await;
            assert_eq!(values.len(), 5000);
            assert_eq!(values.into_iter().collect::<BTreeSet<_>>(), (0..5000).map(e).collect());
            assert_eq!(all(store.values(7)).await, [e(7)]);
            assert_eq!(all(store.values(999_999)).await, [], "a key that is not there");
        });
    }
}

#[test]
fn a_scan_is_resumed_where_it_stopped() {
    run(async {
        let scratch = Scratch::new();
        let (store, pairs) = filled(&scratch, Reads::Inline).await;
        for stop in [0, 1, 255, 256, 257, 700, 3000] {
            let mut scan = store.iter();
            let mut found = BTreeSet::new();
            for _ in 0..stop {
                found.insert(next(&mut scan).await.unwrap().unwrap());
            }
            found.extend(all(store.scan(scan.cursor())).await);
            assert_eq!(found, pairs, "stopped after {stop}");
        }
    });
}

#[test]
fn other_tasks_run_between_two_chunks() {
    run(async {
        let scratch = Scratch::new();
        let (store, pairs) = filled(&scratch, Reads::Inline).await;
        let mut stream = store.iter();
        let (mut items, mut pauses) = (0, 0);
        loop {
            match smol::future::poll_once(next(&mut stream)).await {
                None => pauses += 1,
                Some(Some(item)) => {
                    item.unwrap();
                    items += 1;
                }
                Some(None) => break,
            }
        }
        assert_eq!(items, pairs.len());
        assert!(pauses >= items / 256 - 1 && pauses <= items / 256 + 1, "{pauses} pauses");
    });
}

#[test]
fn a_stream_over_a_closed_store_says_so_and_ends() {
    run(async {
        let (_scratch, store) = fresh().await;
        store.batch_insert(&(0..2000).map(|n| (e(n), e(n))).collect::<Vec<_>>()).await.unwrap();
        let mut scan = store.iter();
        next(&mut scan).await.unwrap().unwrap();
        store.close().await.unwrap();
        let error = loop {
            match next(&mut scan).await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("ended without a word"),
            }
        };
        assert!(matches!(error, Error::Closed), "{error}");
        assert!(next(&mut scan).await.is_none());
    });
}
