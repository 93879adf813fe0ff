//! The change feed: every change once and in order, batches whole, across laps of the log, checkpoints, bulk loads and
//! restarts; and a clear word to who is too late.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use cidstore_async::{CidStore, FeedStream};
use cidstore_core::E;
use cidstore_engine::{Durability, Error, FeedChange, FeedItem, OpenOptions, Store};
use cidstore_testkit::Scratch;
use cidstore_testkit::random::Random;
use futures_core::Stream;

use crate::harness::{e, run};

fn small_log() -> OpenOptions {
    Store::options().durability(Durability::Buffered).wal_bytes(64 << 10)
}

async fn open(scratch: &Scratch, options: OpenOptions) -> CidStore {
    CidStore::options().store(options).open(scratch.data()).await.unwrap()
}

async fn next(feed: &mut FeedStream) -> Result<FeedItem, Error> {
    poll_fn(|context| Pin::new(&mut *feed).poll_next(context)).await.expect("it has not ended")
}

/// What is there now, without waiting for more.
async fn ready(feed: &mut FeedStream) -> Vec<FeedItem> {
    let mut items = Vec::new();
    // A stream that gave many items lets other tasks run once before it goes on.
    for _ in 0..2 {
        while let Some(item) = smol::future::poll_once(next(feed)).await {
            items.push(item.unwrap());
        }
    }
    items
}

fn apply(content: &mut BTreeSet<(E, E)>, change: FeedChange) {
    match change {
        FeedChange::Insert { key, value } => drop(content.insert((key, value))),
        FeedChange::DeleteValue { key, value } => drop(content.remove(&(key, value))),
        FeedChange::Delete { key } => content.retain(|&(other, _)| other != key),
        other => panic!("{other:?}"),
    }
}

async fn content(store: &CidStore) -> BTreeSet<(E, E)> {
    let store = store.store().clone();
    blocking_pairs(&store)
}

fn blocking_pairs(store: &Store) -> BTreeSet<(E, E)> {
    store.iter().map(Result::unwrap).collect()
}

#[test]
fn every_change_comes_once_and_in_order() {
    run(async {
        let scratch = Scratch::new();
        let store = open(&scratch, Store::options().durability(Durability::Buffered)).await;
        let from = store.lsn() + 1;
        let mut feed = store.subscribe(from).await.unwrap();
        assert!(ready(&mut feed).await.is_empty());
        let first = store.insert_with(1, 10, Durability::Buffered).await.unwrap();
        store.delete_value(1, 10).await.unwrap();
        store.delete(2).await.unwrap();
        store.batch_insert(&[(e(3), e(1)), (e(3), e(2))]).await.unwrap();
        let batch_lsn = store.lsn();
        let items = ready(&mut feed).await;
        let changes: Vec<_> = items.iter().map(|item| item.change).collect();
        let (key, value) = (e(1), e(10));
        let expected = [
            FeedChange::Insert { key, value },
            FeedChange::DeleteValue { key, value },
            FeedChange::Delete { key: e(2) },
            FeedChange::Insert { key: e(3), value: e(1) },
            FeedChange::Insert { key: e(3), value: e(2) },
        ];
        assert_eq!(changes, expected);
        assert_eq!(items[0].lsn, first.lsn);
        assert_eq!((items[3].lsn, items[4].lsn), (batch_lsn, batch_lsn));
        assert_eq!(
            items.iter().map(|item| item.last).collect::<Vec<_>>(),
            [true, true, true, false, true]
        );
        // From the middle: writes whose number is before are left out, a batch comes whole.
        for (from, count) in
            [(first.lsn, 5), (first.lsn + 1, 4), (batch_lsn - 1, 2), (batch_lsn, 2)]
        {
            let mut later = store.subscribe(from).await.unwrap();
            assert_eq!(ready(&mut later).await, items[5 - count..], "from {from}");
        }
        assert!(ready(&mut store.subscribe(batch_lsn + 1).await.unwrap()).await.is_empty());
        let refused = store.subscribe(store.lsn() + 100).await.unwrap_err();
        assert!(matches!(refused, Error::InvalidOption { .. }), "{refused}");
    });
}

#[test]
fn a_waiting_feed_is_woken() {
    run(async {
        let scratch = Scratch::new();
        let store = open(&scratch, small_log()).await;
        let mut feed = store.subscribe(store.lsn() + 1).await.unwrap();
        let task = smol::spawn(async move {
            let mut sum = 0;
            for _ in 0..500 {
                if let FeedChange::Insert { value, .. } = next(&mut feed).await.unwrap().change {
                    sum += value.low;
                }
            }
            sum
        });
        for n in 0..500 {
            store.insert(1, n).await.unwrap();
        }
        assert_eq!(task.await, (0..500).sum());
    });
}

#[test]
fn durable_only_gives_what_is_on_disk_and_asks_for_it() {
    run(async {
        let scratch = Scratch::new();
        let store = open(&scratch, small_log()).await;
        let mut feed = store.subscribe(store.lsn() + 1).await.unwrap().durable_only();
        for n in 0..20 {
            store.insert(n, n).await.unwrap();
        }
        for n in 0..20 {
            let item = next(&mut feed).await.unwrap();
            assert_eq!(item.change, FeedChange::Insert { key: e(n), value: e(n) });
            assert!(store.durable_lsn() >= item.lsn);
        }
        assert!(ready(&mut feed).await.is_empty());
    });
}

/// Laps of a small log, with checkpoints that give it up behind the feed.
#[test]
fn a_replica_that_follows_has_the_same_content() {
    run(async {
        let scratch = Scratch::new();
        let options = small_log().wal_bytes(256 << 10);
        let store = open(&scratch, options).await;
        let mut feed = store.subscribe(store.lsn() + 1).await.unwrap();
        let (mut replica, mut random, mut last) = (BTreeSet::new(), Random::new(7), 0);
        for round in 0..60 {
            for _ in 0..60 {
                let (key, value) = (random.below(50), random.below(20));
                match random.below(5) {
                    0 => drop(store.delete_value(key, value).await.unwrap()),
                    1 => drop(store.delete(key).await.unwrap()),
                    2 => {
                        let pairs: Vec<_> = (0..9).map(|n| (e(key), e(value + n))).collect();
                        store.batch_insert(&pairs).await.unwrap();
                    }
                    _ => drop(store.insert(key, value).await.unwrap()),
                }
            }
            if round % 7 == 3 {
                store.checkpoint().await.unwrap();
            }
            for item in ready(&mut feed).await {
                assert!(item.lsn >= last);
                last = item.lsn;
                apply(&mut replica, item.change);
            }
            assert_eq!(replica, content(&store).await, "round {round}");
        }
        assert!(last * 64 > 2 * (256 << 10), "the log was written round and round");
    });
}

#[test]
fn a_feed_that_is_behind_keeps_the_log_up_to_its_cap() {
    run(async {
        for (retention, behind) in [(128 << 10, false), (4096, true)] {
            let scratch = Scratch::new();
            let options = small_log().wal_bytes(1 << 20).feed_retention_bytes(retention);
            let store = open(&scratch, options).await;
            let from = store.lsn() + 1;
            let mut feed = store.subscribe(from).await.unwrap();
            for n in 0..1000 {
                store.insert(n, n).await.unwrap();
            }
            // 64,000 bytes behind. Two checkpoints give up all that nobody holds.
            store.checkpoint().await.unwrap();
            store.checkpoint().await.unwrap();
            let second = store.subscribe(from).await;
            if behind {
                let refused = second.unwrap_err();
                assert!(matches!(refused, Error::Lagged { from: f, .. } if f == from), "{refused}");
            } else {
                assert_eq!(ready(&mut second.unwrap()).await.len(), 1000);
                assert_eq!(ready(&mut feed).await.len(), 1000);
                // It has read all: the next checkpoint gives up what it held.
                store.checkpoint().await.unwrap();
                store.subscribe(from).await.unwrap_err();
            }
        }
    });
}

#[test]
fn writers_do_not_wait_for_a_feed_that_lags() {
    run(async {
        let scratch = Scratch::new();
        let options = small_log().feed_retention_bytes(u64::MAX / 128);
        let store = open(&scratch, options).await;
        let from = store.lsn() + 1;
        let mut feed = store.subscribe(from).await.unwrap();
        // Ten laps of the log, which holds a thousand records.
        for n in 0..10_000 {
            store.insert(n % 100, n).await.unwrap();
        }
        let lagged = loop {
            if let Err(error) = next(&mut feed).await {
                break error;
            }
        };
        let Error::Lagged { from: at, oldest } = lagged else { panic!("{lagged}") };
        assert!(at >= from && oldest > at && oldest <= store.lsn() + 1);
        let ended = poll_fn(|context| Pin::new(&mut feed).poll_next(context)).await;
        assert!(ended.is_none());
        // What the message advises: a snapshot, then its number plus one.
        let snapshot = store.snapshot().await.unwrap();
        let mut feed = store.subscribe(snapshot.lsn() + 1).await.unwrap();
        store.insert(1, 77_777).await.unwrap();
        assert_eq!(ready(&mut feed).await.len(), 1);
    });
}

#[test]
fn a_bulk_load_comes_as_such_in_its_place() {
    run(async {
        let scratch = Scratch::new();
        let store = open(&scratch, small_log().wal_bytes(1 << 20)).await;
        let mut feed = store.subscribe(store.lsn() + 1).await.unwrap();
        for _ in 0..2 {
            let before = store.insert_with(1, 1, Durability::Buffered).await.unwrap();
            let loaded = store.bulk_load((0..500).map(|n| (e(n), e(n)))).await.unwrap();
            let after = store.insert_with(1, 2, Durability::Buffered).await.unwrap();
            let items = ready(&mut feed).await;
            let numbers: Vec<_> = items.iter().map(|item| item.lsn).collect();
            assert_eq!(numbers, [before.lsn, loaded.lsn, after.lsn]);
            assert_eq!(items[1].change, FeedChange::BulkLoaded);
        }
        store.close().await.unwrap();
        assert_eq!(Store::open(scratch.data()).unwrap().len(), 500);
    });
}

#[test]
fn closing_ends_a_feed_and_a_clean_start_begins_anew() {
    run(async {
        let scratch = Scratch::new();
        let store = open(&scratch, small_log()).await;
        let from = store.lsn() + 1;
        let mut feed = store.subscribe(from).await.unwrap();
        store.insert(1, 1).await.unwrap();
        next(&mut feed).await.unwrap();
        let waiting = smol::spawn(async move { next(&mut feed).await.unwrap_err() });
        // Mostly it waits by then; if it comes late it is told the same.
        smol::Timer::after(Duration::from_millis(20)).await;
        store.close().await.unwrap();
        let error = waiting.await;
        assert!(matches!(error, Error::Closed), "{error}");
        let store = open(&scratch, small_log()).await;
        let refused = store.subscribe(from).await.unwrap_err();
        assert!(matches!(refused, Error::Lagged { .. }), "{refused}");
        let next_lsn = store.lsn() + 1;
        store.insert(2, 2).await.unwrap();
        assert_eq!(ready(&mut store.subscribe(next_lsn).await.unwrap()).await.len(), 1);
    });
}

#[test]
fn after_a_crash_the_log_since_the_last_checkpoint_is_still_there() {
    run(async {
        let scratch = Scratch::new();
        let store = open(&scratch, small_log()).await;
        store.checkpoint().await.unwrap();
        let from = store.lsn() + 1;
        for n in 0..50 {
            store.insert(n, n).await.unwrap();
        }
        let items = ready(&mut store.subscribe(from).await.unwrap()).await;
        // The files as a kill at this moment leaves them.
        let copy = scratch.copy();
        let again = open(&copy, small_log()).await;
        assert_eq!(again.len(), 50);
        let found = ready(&mut again.subscribe(from).await.unwrap()).await;
        assert_eq!(found, items);
        assert_eq!(found.len(), 50);
    });
}

/// Wakers lie in two lists, each of which counts its own places: a feed's in one may be like somebody else's in the other.
#[test]
fn a_feed_takes_nobody_elses_waker_away() {
    #[derive(Default)]
    struct Counted(AtomicUsize);
    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    for is_dropped in [false, true] {
        let scratch = Scratch::new();
        let store = small_log().open(scratch.data()).unwrap();
        let mut nobody = Context::from_waker(Waker::noop());
        let mut feed = store.subscribe(store.lsn() + 1).unwrap();
        assert!(feed.poll_next(&mut nobody).is_pending());
        store.insert(1, 1).unwrap();
        let woken = Arc::new(Counted::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut durable = store.when_durable(store.lsn());
        let waiting = Pin::new(&mut durable).poll(&mut Context::from_waker(&waker));
        assert!(waiting.is_pending());
        if is_dropped {
            drop(feed);
        } else {
            assert!(feed.poll_next(&mut nobody).is_ready());
        }
        store.sync().unwrap();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "the wake-up is lost");
    }
}

/// The log still has the records of loads that nobody can tell from other records any more.
#[test]
fn a_feed_behind_a_thousand_loads_has_lagged() {
    let scratch = Scratch::new();
    let store = Store::options().durability(Durability::Buffered).open(scratch.data()).unwrap();
    let from = store.lsn() + 1;
    let mut feed = store.subscribe(from).unwrap();
    for number in 0..1100_u64 {
        store.bulk_load([(E::from(number), E::from(number))]).unwrap();
    }
    let mut nobody = Context::from_waker(Waker::noop());
    let Poll::Ready(Some(Err(Error::Lagged { oldest, .. }))) = feed.poll_next(&mut nobody) else {
        panic!("loads were passed over in silence");
    };
    let mut feed = store.subscribe(oldest).unwrap();
    let mut loads = 0;
    while let Poll::Ready(Some(item)) = feed.poll_next(&mut nobody) {
        loads += usize::from(item.unwrap().change == FeedChange::BulkLoaded);
    }
    assert_eq!(loads, 1024);
}
