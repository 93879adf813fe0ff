//! What moves which count, and that nothing else moves.

use cidstore::{Durability, E, Error, Metrics, Store};

/// All counts of a window that are not zero, by name.
fn moved(window: &Metrics) -> Vec<(&'static str, u64)> {
    let latency = &window.commit_latency;
    let all = [
        ("reads", window.reads),
        ("inserts", window.operations.inserts),
        ("deletes", window.operations.deletes),
        ("value_deletes", window.operations.value_deletes),
        ("pairs_added", window.pairs_added),
        ("pairs_removed", window.pairs_removed),
        ("commits", window.commits),
        ("commits_failed", window.commits_failed),
        ("immediate", latency.immediate.count()),
        ("interval", latency.interval.count()),
        ("buffered", latency.buffered.count()),
        ("batches", window.batch_sizes.count()),
        ("batch_operations", window.batch_sizes.sum()),
        ("groups", window.group_sizes.count()),
        ("group_writes", window.group_sizes.sum()),
        ("log_syncs", window.log_sync_latency.count()),
        ("data_syncs", window.data_sync_latency.count()),
        ("checkpoints", window.checkpoint_latency.count()),
        ("checkpoint_bytes", window.checkpoint_bytes),
        ("checkpoints_failed", window.checkpoints_failed),
        ("bulk_loads", window.bulk_loads),
        ("bulk_pairs", window.bulk_pairs),
        ("splits", window.splits),
        ("merges", window.merges),
        ("doublings", window.doublings),
        ("halvings", window.halvings),
        ("promotions", window.promotions),
        ("demotions", window.demotions),
    ];
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// Runs something, and tells what moved.
fn moved_by(store: &Store, run: impl FnOnce(&Store)) -> Vec<(&'static str, u64)> {
    let before = store.metrics();
    run(store);
    moved(&store.metrics().since(&before))
}

fn buffered(folder: &tempfile::TempDir) -> Store {
    let options = Store::options().durability(Durability::Buffered);
    options.open(folder.path().join("s.h5")).unwrap()
}

#[test]
fn reads_move_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = buffered(&folder);
    (0..10).for_each(|value| assert!(store.insert(1, value).unwrap()));
    let moved = moved_by(&store, |store| {
        assert_eq!(store.get(1).unwrap().len(), 10);
        assert!(!store.contains_key(2).unwrap());
        assert_eq!(store.iter().count(), 10);
        assert_eq!(store.get_many(&[E::from(1)]).unwrap().len(), 1);
        store.snapshot().unwrap();
        assert_eq!(store.stats().values, store.metrics().stats.values);
    });
    assert_eq!(moved, []);
}

/// Each call that reads keys is one, from whichever thread.
#[test]
fn reads_are_counted_where_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let options = Store::options().durability(Durability::Buffered).count_reads(true);
    let store = options.open(folder.path().join("s.h5")).unwrap();
    store.insert(1, 10).unwrap();
    assert_eq!(store.metrics().reads, 0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let guard = store.pin();
                for _ in 0..100 {
                    assert!(store.contains_key(1).unwrap());
                    assert_eq!(guard.get(1).unwrap().len(), 1);
                    assert_eq!(store.get_many(&[E::from(1), E::from(2)]).unwrap().len(), 2);
                }
            });
        }
    });
    assert_eq!(store.iter().count(), 1);
    assert_eq!(store.metrics().reads, 8 * 300);
}

#[test]
fn single_writes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("s.h5")).unwrap();
    // Immediate: a group, a sync and a latency each.
    let synced = [("commits", 1), ("immediate", 1), ("groups", 1), ("group_writes", 1)];
    let expect = |first: &[(&'static str, u64)]| {
        let mut all = [first, &synced, &[("log_syncs", 1)]].concat();
        all.sort_unstable();
        all
    };
    let sorted = |mut moved: Vec<(&'static str, u64)>| {
        moved.sort_unstable();
        moved
    };
    let insert = |store: &Store| _ = store.insert(1, 10).unwrap();
    let new = [("inserts", 1), ("pairs_added", 1)];
    assert_eq!(sorted(moved_by(&store, insert)), expect(&new));
    // The pair is there: asked for, but not added.
    assert_eq!(sorted(moved_by(&store, insert)), expect(&[("inserts", 1)]));
    store.insert(1, 11).unwrap();
    store.insert(1, 12).unwrap();
    let gone = moved_by(&store, |store| _ = store.delete_value(1, 12).unwrap());
    assert_eq!(sorted(gone), expect(&[("value_deletes", 1), ("pairs_removed", 1)]));
    let gone = moved_by(&store, |store| _ = store.delete(1).unwrap());
    assert_eq!(sorted(gone), expect(&[("deletes", 1), ("pairs_removed", 2)]));
}

#[test]
fn batches_and_transactions() {
    let folder = tempfile::tempdir().unwrap();
    let store = buffered(&folder);
    let pairs: Vec<(E, E)> = (0..7).map(|n| (E::from(n), E::from(n))).collect();
    let moved = moved_by(&store, |store| {
        store.batch_insert(&pairs).unwrap();
        store
            .write(|tx| {
                tx.insert(8, 8)?;
                tx.delete(0)
            })
            .unwrap();
        // Rolled back, and empty: no write.
        let refused = store.write(|tx| tx.insert(9, 9).and(Err::<(), _>(Error::Closed)));
        refused.unwrap_err();
        store.write(|tx| tx.get(1)).unwrap();
    });
    let expected = [
        ("inserts", 8),
        ("deletes", 1),
        ("pairs_added", 8),
        ("pairs_removed", 1),
        ("commits", 2),
        // The first of each sixteen is measured.
        ("buffered", 1),
        ("batches", 2),
        ("batch_operations", 9),
        ("groups", 2),
        ("group_writes", 2),
    ];
    assert_eq!(moved, expected);
}

#[test]
fn latencies_are_sampled_by_durability() {
    let folder = tempfile::tempdir().unwrap();
    let store = buffered(&folder);
    for key in 0..160_u64 {
        store.insert(key, key).unwrap();
    }
    let metrics = store.metrics();
    assert_eq!(metrics.commit_latency.buffered.count(), 160 / Metrics::SAMPLED_PART);
    assert_eq!(metrics.commit_latency.immediate.count(), 0);
    for key in 0..5_u64 {
        store.insert_with(key, 1000, Durability::Immediate).unwrap();
    }
    let metrics = store.metrics();
    assert_eq!(metrics.commit_latency.immediate.count(), 5);
    assert_eq!(metrics.log_sync_latency.count(), 5);
    // A write takes at least as long as its sync.
    assert!(metrics.commit_latency.immediate.sum() >= metrics.log_sync_latency.sum());
    assert_eq!(metrics.commit_latency_all().count(), 15);
}

/// Threads that write at the same time: nothing is counted twice or lost.
#[test]
fn groups_add_up() {
    const THREADS: u64 = 4;
    const EACH: u64 = 50;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("s.h5")).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || {
                (0..EACH).for_each(|n| _ = store.insert(thread, n).unwrap());
            });
        }
    });
    let metrics = store.metrics();
    let all = THREADS * EACH;
    assert_eq!((metrics.commits, metrics.operations.inserts, metrics.pairs_added), (all, all, all));
    assert_eq!(metrics.group_sizes.sum(), all);
    assert_eq!(metrics.commit_latency.immediate.count(), all);
    assert_eq!(metrics.log_sync_latency.count(), metrics.group_sizes.count());
    // What each group begins with, to say what is durable, comes on top.
    assert!(metrics.log_records >= all && metrics.log_records <= 2 * all + 4);
    assert_eq!(metrics.log_bytes, metrics.log_records * 64);
    assert_eq!(metrics.promotions, THREADS);
}

#[test]
fn pages_and_sets() {
    let folder = tempfile::tempdir().unwrap();
    let store = buffered(&folder);
    for key in 0..2000_u64 {
        store.insert(key, key).unwrap();
    }
    let (metrics, stats) = (store.metrics(), store.stats());
    assert_eq!(metrics.splits + 1, stats.buckets);
    assert_eq!(metrics.doublings, u64::from(stats.global_depth));
    assert_eq!((metrics.merges, metrics.halvings, metrics.promotions), (0, 0, 0));
    for key in 0..2000_u64 {
        store.delete(key).unwrap();
    }
    store.merge().unwrap();
    let (metrics, stats) = (store.metrics(), store.stats());
    assert_eq!(metrics.splits - metrics.merges + 1, stats.buckets);
    assert_eq!(metrics.doublings - metrics.halvings, u64::from(stats.global_depth));
    assert!(metrics.merges > 0 && metrics.halvings > 0);
    for value in 0..5_u64 {
        store.insert(1, value).unwrap();
    }
    store.delete_value(1, 4).unwrap();
    let moved = moved_by(&store, |store| assert!(store.demote_if_possible(1).unwrap()));
    assert_eq!(moved, [("demotions", 1)]);
    assert_eq!(store.metrics().promotions, 1);
}

#[test]
fn checkpoints_and_bulk_loads() {
    let folder = tempfile::tempdir().unwrap();
    let store = buffered(&folder);
    store.insert(1, 1).unwrap();
    let before = store.metrics();
    store.checkpoint().unwrap();
    let window = store.metrics().since(&before);
    assert_eq!(window.checkpoint_latency.count(), 1);
    // One bucket; pages, then two superblocks.
    assert_eq!((window.checkpoint_bytes, window.data_sync_latency.count()), (4096, 3));
    assert_eq!(store.metrics().checkpoint_latency.count(), store.stats().checkpoints);
    let before = store.metrics();
    let pairs = (0..100).map(|n| (E::from(n), E::from(n)));
    assert_eq!(store.bulk_load(pairs).unwrap().new_pairs, 99);
    let window = store.metrics().since(&before);
    assert_eq!((window.bulk_loads, window.bulk_pairs), (1, 100));
    assert_eq!((window.operations.total(), window.pairs_added, window.commits), (0, 0, 0));
}

#[test]
fn recovery_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = buffered(&folder);
    for key in 0..30_u64 {
        store.insert(key, 1).unwrap();
    }
    // As a kill leaves them.
    let other = tempfile::tempdir().unwrap();
    for name in ["s.h5", "s.h5-wal"] {
        std::fs::copy(folder.path().join(name), other.path().join(name)).unwrap();
    }
    assert_eq!(store.metrics().recovered_operations, 0);
    let recovered = buffered(&other);
    let metrics = recovered.metrics();
    assert_eq!((metrics.recovered_operations, metrics.operations.total()), (30, 0));
    assert_eq!(metrics.stats.keys, 30);
    recovered.close().unwrap();
    assert_eq!(buffered(&other).metrics().recovered_operations, 0);
}
