//! Writes that a task applies itself, beside those that go through the queue.

use std::cell::Cell;
use std::time::Duration;

use cidstore_async::CidStore;
use cidstore_engine::{Durability, Tuning};
use cidstore_testkit::Scratch;
use smol::future::{poll_once, yield_now, zip};

use crate::harness::{buffered, e, fresh, run};

#[test]
fn a_small_write_that_waits_for_no_sync_is_answered_at_once() {
    run(async {
        let scratch = Scratch::new();
        // Nobody else writes, not even the store's own thread.
        let options = CidStore::options().store(buffered());
        let store = options.open(scratch.data()).await.unwrap();
        assert!(poll_once(Box::pin(store.insert(1, 1))).await.unwrap().unwrap());
        let interval = Durability::Interval(Duration::from_millis(20));
        let written =
            poll_once(Box::pin(store.insert_with(1, 2, interval))).await.unwrap().unwrap();
        // The sync that it is owed comes all the same; the harness ends a test that waits in vain.
        while store.durable_lsn() < written.lsn {
            smol::Timer::after(Duration::from_millis(2)).await;
        }
    });
}

#[test]
fn it_does_not_overtake_what_is_queued() {
    run(async {
        let (_scratch, store) = fresh().await;
        let pairs: Vec<_> = (0..1000).map(|n| (e(1), e(n))).collect();
        for round in 0..200 {
            // In the order of their first polls: the batch is too large to be applied by the task, the delete is not.
            let (added, removed) = zip(store.batch_insert(&pairs), store.delete(1)).await;
            assert_eq!((added.unwrap(), removed.unwrap()), (1000, 1000), "round {round}");
        }
    });
}

#[test]
fn it_does_not_keep_other_tasks_from_their_turn() {
    const WRITES: u64 = 20_000;
    run(async {
        let (_scratch, store) = fresh().await;
        let turns = Cell::new(0);
        let writes = async {
            for n in 0..WRITES {
                store.insert(n, n).await.unwrap();
            }
            turns.get()
        };
        let others = async {
            while turns.get() < u64::MAX {
                turns.set(turns.get() + 1);
                yield_now().await;
            }
        };
        let turns = smol::future::or(writes, async {
            others.await;
            0
        })
        .await;
        assert!(turns >= WRITES / 1024, "{turns} turns beside {WRITES} writes");
    });
}

#[test]
fn its_time_is_told_and_tuned_by() {
    run(async {
        let (_scratch, store) = fresh().await;
        let before = store.metrics().await.unwrap();
        for n in 0..160 {
            store.insert(n, n).await.unwrap();
        }
        for n in 0..7 {
            store.insert_with(n, 1000, Durability::Immediate).await.unwrap();
        }
        let latency = store.metrics().await.unwrap().since(&before).commit_latency;
        assert_eq!((latency.buffered.count(), latency.immediate.count()), (10, 7));
    });
}

#[test]
fn auto_tuning_sees_its_writes_and_sets_its_syncs() {
    run(async {
        let scratch = Scratch::new();
        // Out of reach, so each window misses.
        let target = Tuning::P99(Duration::from_nanos(1));
        let options = CidStore::options().store(buffered().tuning(target));
        let store = options.open(scratch.data()).await.unwrap();
        let rarely = Durability::Interval(Duration::from_secs(3600));
        let mut n = 0;
        let asked = store.store().tuned_settings().flush_interval;
        for _window in 0..3 {
            let before = store.metrics().await.unwrap();
            for _write in 0..200 {
                n += 1;
                store.insert_with(n, n, rarely).await.unwrap();
            }
            store.auto_tune(&store.metrics().await.unwrap().since(&before)).await.unwrap();
        }
        let decisions = store.store().tuning_decisions();
        assert!(store.store().tuned_settings().flush_interval < asked, "{decisions:?}");
        // By itself this write would wait for an hour.
        let written = store.insert_with(0, 0, rarely).await.unwrap();
        while store.durable_lsn() < written.lsn {
            smol::Timer::after(Duration::from_millis(2)).await;
        }
    });
}
