//! Dropped futures: what was dropped has happened whole or not at all, and disturbs nobody.

use std::pin::Pin;

use cidstore_async::CidStore;
use cidstore_engine::{Durability, Error, Store};
use cidstore_testkit::Scratch;
use cidstore_testkit::random::Random;
use smol::future::poll_once;

use crate::harness::{e, run};

const CALLS: u64 = 400;
/// Keys of a batch.
const BATCH: u64 = 7;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    NeverPolled,
    Dropped,
    Answered,
}

/// Polls a call so many times, then drops it.
async fn poll_times<T>(call: impl Future<Output = Result<T, Error>>, times: u64) -> End {
    let mut call: Pin<Box<_>> = Box::pin(call);
    for _ in 0..times {
        if let Some(answer) = poll_once(call.as_mut()).await {
            assert!(answer.is_ok());
            return End::Answered;
        }
        // Others get their turn, the consumer on its thread among them.
        smol::future::yield_now().await;
        std::thread::yield_now();
    }
    if times == 0 { End::NeverPolled } else { End::Dropped }
}

/// A call with keys that no other call has: a batch, or one durable write.
async fn call(store: CidStore, call: u64, times: u64) -> End {
    let keys = call * BATCH..(call + 1) * BATCH;
    if call.is_multiple_of(3) {
        poll_times(store.insert_with(keys.start, 1, Durability::Immediate), times).await
    } else {
        let pairs: Vec<_> = keys.map(|key| (e(key), e(1))).collect();
        poll_times(store.batch_insert(&pairs), times).await
    }
}

fn check(store: &Store, ends: &[End]) -> u64 {
    let mut happened = 0;
    for (at, end) in ends.iter().enumerate() {
        let first = at as u64 * BATCH;
        let keys = if at.is_multiple_of(3) { 1 } else { BATCH };
        let there = (first..first + BATCH).filter(|&key| store.contains(key, 1).unwrap()).count();
        assert!(there == 0 || there as u64 == keys, "call {at} ({end:?}): {there} of {keys}");
        match end {
            End::NeverPolled => assert_eq!(there, 0, "call {at} was never polled"),
            End::Answered => assert!(there > 0, "call {at} was answered"),
            End::Dropped => happened += u64::from(there > 0),
        }
    }
    happened
}

/// Calls that are dropped after a few polls; answers how many were, and how many of these happened all the same.
fn dropped_at_random(seed: u64, queue_changes: u32) -> (u64, u64) {
    run(async {
        let scratch = Scratch::new();
        let options = CidStore::options().queue_changes(queue_changes);
        let store = options.open(scratch.data()).await.unwrap();
        let mut random = Random::new(seed);
        let tasks: Vec<_> =
            (0..CALLS).map(|at| smol::spawn(call(store.clone(), at, random.below(6)))).collect();
        let mut ends = Vec::new();
        for task in tasks {
            ends.push(task.await);
        }
        // The queue still works, and what was dropped holds no permit back: all of them are there for this one.
        let all: Vec<_> = (0..u64::from(queue_changes)).map(|n| (e(1 << 32), e(n))).collect();
        assert_eq!(store.batch_insert(&all).await.unwrap(), u64::from(queue_changes));
        let happened = check(store.store(), &ends);
        let dropped = ends.iter().filter(|&&end| end == End::Dropped).count();
        store.close().await.unwrap();
        let again = Store::open(scratch.data()).unwrap();
        assert_eq!(check(&again, &ends), happened);
        assert!(again.verify().unwrap().problems.is_empty());
        (dropped as u64, happened)
    })
}

/// Tries until it was worth it: where the consumer gets the processor whenever it is woken, nearly every call is
/// answered at its first poll.
fn drop_many(queue_changes: u32) {
    let (mut dropped, mut happened) = (0, 0);
    for seed in 1..100 {
        let (more_dropped, more_happened) = dropped_at_random(seed, queue_changes);
        dropped += more_dropped;
        happened += more_happened;
        if dropped > 20 && happened > 0 {
            return;
        }
    }
    panic!("{happened} of {dropped} dropped calls happened");
}

#[test]
fn calls_dropped_in_a_long_queue_happen_whole_or_not_at_all() {
    drop_many(1 << 12);
}

#[test]
fn calls_dropped_in_a_short_queue_happen_whole_or_not_at_all() {
    drop_many(16);
    drop_many(2);
}

#[test]
fn a_call_dropped_before_its_turn_does_not_happen() {
    run(async {
        let scratch = Scratch::new();
        let options = CidStore::options().queue_changes(1);
        let (store, consumer) = options.open_with_consumer(scratch.data()).await.unwrap();
        let mut first = Box::pin(store.insert(1, 1));
        assert!(poll_once(first.as_mut()).await.is_none());
        // Nobody consumes, so the first call keeps the only permit.
        let mut second = Box::pin(store.insert(2, 2));
        let mut third = Box::pin(store.insert(3, 3));
        assert!(poll_once(second.as_mut()).await.is_none());
        assert!(poll_once(third.as_mut()).await.is_none());
        drop(second);
        // Queued: it happens although nobody waits for the answer.
        drop(first);
        let consumer = smol::spawn(consumer);
        assert!(third.await.unwrap());
        assert!(store.contains(1, 1).await.unwrap());
        assert!(!store.contains_key(2).await.unwrap());
        store.close().await.unwrap();
        consumer.await;
    });
}

#[test]
fn a_dropped_close_leaves_the_store_open_or_closes_it() {
    run(async {
        let scratch = Scratch::new();
        let options = CidStore::options().queue_changes(2);
        let (store, consumer) = options.open_with_consumer(scratch.data()).await.unwrap();
        let mut write = Box::pin(store.insert(1, 1));
        assert!(poll_once(write.as_mut()).await.is_none());
        {
            let mut close = Box::pin(store.close());
            assert!(poll_once(close.as_mut()).await.is_none(), "a write is not answered yet");
        }
        let consumer = smol::spawn(consumer);
        assert!(write.await.unwrap());
        assert!(store.insert(2, 2).await.unwrap(), "the dropped close has done nothing");
        let mut close = Box::pin(store.close());
        // It has its turn at once: the store closes, and the consumer ends, whoever still listens.
        drop(poll_once(close.as_mut()).await);
        drop(close);
        consumer.await;
        assert!(matches!(store.insert(3, 3).await, Err(Error::Closed)));
        assert_eq!(Store::open(scratch.data()).unwrap().len(), 2);
    });
}
