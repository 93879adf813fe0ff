//! Every method of the original's table: what it does, and what it answers for a key that is not there.

use std::time::Duration;

use cidstore_async::{CidStore, Reads};
use cidstore_core::E;
use cidstore_engine::{Durability, Store};
use cidstore_testkit::Scratch;

use crate::harness::{buffered, e, fresh, run, sorted};

#[test]
fn insert_adds_a_pair_once() {
    run(async {
        let (_scratch, store) = fresh().await;
        assert!(store.insert(1, 10).await.unwrap());
        assert!(!store.insert(1, 10).await.unwrap(), "the pair was there");
        assert!(store.insert(1, 11).await.unwrap());
        assert!(store.insert(E::ZERO, E::ZERO).await.unwrap(), "zero is a number like any other");
        assert_eq!(sorted(&store, 1).await, [e(10), e(11)]);
        assert_eq!(sorted(&store, 0).await, [e(0)]);
    });
}

#[test]
fn insert_with_tells_the_number_and_when_it_is_durable() {
    run(async {
        let (_scratch, store) = fresh().await;
        let first = store.insert_with(1, 10, Durability::Buffered).await.unwrap();
        assert!(first.new && first.lsn == store.lsn());
        assert!(store.durable_lsn() < first.lsn, "nothing has asked for a sync");
        first.durable().await.unwrap();
        assert!(store.durable_lsn() >= first.lsn);
        first.durable().await.unwrap();
        let again = store.insert_with(1, 10, Durability::Immediate).await.unwrap();
        assert!(!again.new && again.lsn > first.lsn);
        assert!(store.durable_lsn() >= again.lsn, "resolves only when it is durable");
        let gone = store.delete_with(1, Durability::Immediate).await.unwrap();
        assert!(gone.new && store.durable_lsn() >= gone.lsn);
        let missing = store.delete_with(1, Durability::Buffered).await.unwrap();
        assert!(!missing.new);
        store.close().await.unwrap();
        missing.durable().await.unwrap();
    });
}

#[test]
fn delete_takes_a_key_with_all_its_values() {
    run(async {
        let (_scratch, store) = fresh().await;
        for value in 0..7 {
            store.insert(1, value).await.unwrap();
        }
        assert_eq!(store.delete(1).await.unwrap(), 7);
        assert!(store.get(1).await.unwrap().is_empty());
        assert_eq!(store.delete(1).await.unwrap(), 0, "a key that is not there");
    });
}

#[test]
fn get_answers_all_values_inline_or_from_a_set() {
    run(async {
        let (_scratch, store) = fresh().await;
        assert!(store.get(1).await.unwrap().is_empty(), "a key that is not there");
        let mut expected = Vec::new();
        for value in 0..600 {
            store.insert(1, value).await.unwrap();
            expected.push(e(value));
            if [1, 4, 5, 600].contains(&expected.len()) {
                assert_eq!(sorted(&store, 1).await, expected);
            }
        }
        let many = store.get_many(&[e(2), e(1)]).await.unwrap();
        assert_eq!(many.iter().map(|values| values.len()).collect::<Vec<_>>(), [0, 600]);
        assert_eq!(store.value_count(1).await.unwrap(), 600);
        assert_eq!(store.value_count(2).await.unwrap(), 0);
        assert!(store.contains(1, 599).await.unwrap() && !store.contains(1, 600).await.unwrap());
        assert!(store.contains_key(1).await.unwrap() && !store.contains_key(2).await.unwrap());
    });
}

#[test]
fn get_entry_shows_the_canonical_entry() {
    run(async {
        let (_scratch, store) = fresh().await;
        assert_eq!(store.get_entry(1).await.unwrap(), None, "a key that is not there");
        store.insert(1, 10).await.unwrap();
        let entry = store.get_entry(1).await.unwrap().expect("an entry");
        assert_eq!((entry.key, entry.values, entry.spill), (e(1), vec![e(10)], None));
        for value in 11..20 {
            store.insert(1, value).await.unwrap();
        }
        let entry = store.get_entry(1).await.unwrap().expect("an entry");
        assert!(entry.values.is_empty() && entry.spill.is_some());
    });
}

#[test]
fn delete_value_takes_one_value() {
    run(async {
        let (_scratch, store) = fresh().await;
        store.batch_insert(&[(e(1), e(10)), (e(1), e(11))]).await.unwrap();
        assert!(store.delete_value(1, 10).await.unwrap());
        assert!(!store.delete_value(1, 10).await.unwrap(), "a value that is not there");
        assert!(!store.delete_value(2, 10).await.unwrap(), "a key that is not there");
        assert_eq!(sorted(&store, 1).await, [e(11)]);
    });
}

#[test]
fn batch_insert_counts_the_pairs_that_are_new() {
    run(async {
        let (_scratch, store) = fresh().await;
        store.insert(1, 10).await.unwrap();
        let pairs = [(e(1), e(10)), (e(1), e(11)), (e(2), e(20)), (e(2), e(20))];
        assert_eq!(store.batch_insert(&pairs).await.unwrap(), 2);
        assert_eq!(store.batch_insert(&[]).await.unwrap(), 0);
        assert_eq!((store.len(), store.value_len()), (2, 3));
    });
}

#[test]
fn batch_delete_counts_the_values_that_went() {
    run(async {
        let (_scratch, store) = fresh().await;
        store.batch_insert(&[(e(1), e(10)), (e(1), e(11)), (e(2), e(20))]).await.unwrap();
        assert_eq!(store.batch_delete(&[e(1), e(3), e(1)]).await.unwrap(), 2);
        assert_eq!(store.batch_delete(&[e(3)]).await.unwrap(), 0, "a key that is not there");
        assert_eq!(store.batch_delete(&[]).await.unwrap(), 0);
        assert_eq!(store.len(), 1);
    });
}

#[test]
fn compact_shortens_the_file_and_changes_no_answer() {
    run(async {
        let (_scratch, store) = fresh().await;
        let pairs: Vec<_> = (0..20_000).map(|n| (e(n), e(n + 1))).collect();
        for part in pairs.chunks(5000) {
            store.batch_insert(part).await.unwrap();
        }
        store.checkpoint().await.unwrap();
        let keys: Vec<_> = (1000..20_000).map(e).collect();
        for part in keys.chunks(5000) {
            store.batch_delete(part).await.unwrap();
        }
        let report = store.compact().await.unwrap();
        assert!(report.bytes_after < report.bytes_before, "{report:?}");
        assert_eq!(store.len(), 1000);
        assert_eq!(sorted(&store, 999).await, [e(1000)]);
        assert!(store.verify().await.unwrap().problems.is_empty());
        let scrubbed = store.scrub(true).await.unwrap();
        assert!(scrubbed.problems.is_empty() && scrubbed.repaired.is_empty(), "{scrubbed:?}");
        assert!(scrubbed.pages_checked > store.stats().await.unwrap().bucket_pages);
    });
}

#[test]
fn merge_joins_sparse_buckets() {
    run(async {
        let (_scratch, store) = fresh().await;
        assert_eq!(store.merge().await.unwrap(), 0, "an empty store");
        let pairs = (0..1500).flat_map(|key| (0..4).map(move |value| (e(key), e(value))));
        store.batch_insert(&pairs.collect::<Vec<_>>()).await.unwrap();
        // Deleting keys merges by itself. Keys that get smaller leave sparse buckets behind.
        for (key, value) in (0..1500).flat_map(|key| (1..4).map(move |value| (key, value))) {
            store.delete_value(key, value).await.unwrap();
        }
        let buckets = store.stats().await.unwrap().buckets;
        let merged = store.merge().await.unwrap();
        assert_eq!(store.stats().await.unwrap().buckets, buckets - merged);
        assert!(merged > 0);
        assert_eq!((store.value_len(), store.merge().await.unwrap()), (1500, 0));
    });
}

#[test]
fn gc_brings_small_sets_back_inline() {
    run(async {
        let (_scratch, store) = fresh().await;
        assert_eq!(store.gc().await.unwrap(), 0, "an empty store");
        for value in 0..40 {
            store.insert(1, value).await.unwrap();
        }
        for value in 3..40 {
            store.delete_value(1, value).await.unwrap();
        }
        assert!(store.is_spilled(1).await.unwrap());
        assert!(store.gc().await.unwrap() >= 1);
        assert!(!store.is_spilled(1).await.unwrap());
        assert_eq!(sorted(&store, 1).await, [e(0), e(1), e(2)]);
        assert_eq!(store.gc().await.unwrap(), 0, "nothing is left to collect");
    });
}

#[test]
fn run_gc_once_rewrites_sets_with_many_tombstones() {
    run(async {
        let (_scratch, store) = fresh().await;
        assert_eq!(store.run_gc_once().await.unwrap(), 0, "an empty store");
        for value in 0..100 {
            store.insert(1, value).await.unwrap();
        }
        for value in 0..50 {
            store.delete_value(1, value).await.unwrap();
        }
        assert!(store.get_tombstone_count(1).await.unwrap() > 0);
        assert!(store.run_gc_once().await.unwrap() >= 1);
        assert_eq!(store.get_tombstone_count(1).await.unwrap(), 0);
        assert_eq!(store.value_count(1).await.unwrap(), 50);
    });
}

#[test]
fn a_store_tidies_itself_unless_told_not_to() {
    run(async {
        let (scratch, other_scratch) = (Scratch::new(), Scratch::new());
        // What is not said of maintenance is left to the default.
        let options = Store::options().durability(Durability::Buffered);
        let store = CidStore::options().store(options).open(scratch.data()).await.unwrap();
        let other = CidStore::options().store(buffered()).open(other_scratch.data()).await.unwrap();
        for store in [&store, &other] {
            let pairs: Vec<_> = (0..5000).map(|n| (e(n), e(n))).collect();
            store.batch_insert(&pairs).await.unwrap();
            store.batch_delete(&(50..5000).map(e).collect::<Vec<_>>()).await.unwrap();
        }
        // The harness ends a test that waits in vain.
        while store.stats().await.unwrap().maintenance.steps == 0 {
            smol::Timer::after(Duration::from_millis(20)).await;
        }
        assert_eq!(other.stats().await.unwrap().maintenance.steps, 0);
        assert_eq!((store.len(), other.len()), (50, 50));
    });
}

#[test]
fn background_maintenance_ends_when_all_is_well() {
    run(async {
        let (_scratch, store) = fresh().await;
        let pairs: Vec<_> = (0..5000).map(|n| (e(n), e(n))).collect();
        store.batch_insert(&pairs).await.unwrap();
        store.batch_delete(&(50..5000).map(e).collect::<Vec<_>>()).await.unwrap();
        assert!(store.background_maintenance().await.unwrap() > 0);
        while store.background_maintenance().await.unwrap() > 0 {}
        assert_eq!(store.len(), 50);
        assert!(store.verify().await.unwrap().problems.is_empty());
    });
}

#[test]
fn close_makes_everything_durable_and_refuses_what_comes_later() {
    run(async {
        let (scratch, store) = fresh().await;
        store.insert(1, 10).await.unwrap();
        store.close().await.unwrap();
        let refused = store.close().await.unwrap_err();
        assert!(matches!(refused, cidstore_engine::Error::Closed), "{refused}");
        let again = CidStore::open(scratch.data()).await.unwrap();
        assert_eq!(sorted(&again, 1).await, [e(10)]);
    });
}

#[test]
fn valueset_exists_from_the_fifth_value_on() {
    run(async {
        let (_scratch, store) = fresh().await;
        assert!(!store.valueset_exists(1).await.unwrap(), "a key that is not there");
        for value in 0..5 {
            assert!(!store.valueset_exists(1).await.unwrap());
            store.insert(1, value).await.unwrap();
        }
        assert!(store.valueset_exists(1).await.unwrap());
        assert!(store.is_spilled(1).await.unwrap());
    });
}

#[test]
fn get_tombstone_count_counts_what_was_deleted_from_a_set() {
    run(async {
        let (_scratch, store) = fresh().await;
        assert_eq!(store.get_tombstone_count(1).await.unwrap(), 0, "a key that is not there");
        store.insert(1, 0).await.unwrap();
        assert_eq!(store.get_tombstone_count(1).await.unwrap(), 0, "inline, and zero is a value");
        for value in 1..30 {
            store.insert(1, value).await.unwrap();
        }
        for value in 5..10 {
            store.delete_value(1, value).await.unwrap();
        }
        assert_eq!(store.get_tombstone_count(1).await.unwrap(), 5);
    });
}

#[test]
fn is_spilled_says_where_the_values_are() {
    run(async {
        let (_scratch, store) = fresh().await;
        assert!(!store.is_spilled(1).await.unwrap(), "a key that is not there");
        store.batch_insert(&(0..4).map(|n| (e(1), e(n))).collect::<Vec<_>>()).await.unwrap();
        assert!(!store.is_spilled(1).await.unwrap());
        store.insert(1, 4).await.unwrap();
        assert!(store.is_spilled(1).await.unwrap());
    });
}

#[test]
fn demote_if_possible_brings_four_values_back() {
    run(async {
        let (_scratch, store) = fresh().await;
        assert!(!store.demote_if_possible(1).await.unwrap(), "a key that is not there");
        for value in 0..6 {
            store.insert(1, value).await.unwrap();
        }
        assert!(!store.demote_if_possible(1).await.unwrap(), "six values do not fit");
        store.delete_value(1, 0).await.unwrap();
        store.delete_value(1, 1).await.unwrap();
        // Some deletes bring a set back by themselves; where it lay before, this call does it.
        let was_spilled = store.is_spilled(1).await.unwrap();
        assert_eq!(store.demote_if_possible(1).await.unwrap(), was_spilled);
        assert!(!store.is_spilled(1).await.unwrap());
        assert_eq!(sorted(&store, 1).await, [e(2), e(3), e(4), e(5)]);
        assert!(!store.demote_if_possible(1).await.unwrap(), "inline already");
    });
}

#[test]
fn auto_tune_decides_and_changes_no_answer() {
    run(async {
        let (_scratch, store) = fresh().await;
        for n in 0..200 {
            store.insert(n, n).await.unwrap();
        }
        let metrics = store.metrics().await.unwrap();
        let decision = store.auto_tune(&metrics).await.unwrap();
        assert!(!decision.to_string().is_empty(), "it gives its reason");
        assert_eq!(store.value_len(), 200);
        store.close().await.unwrap();
        assert!(store.auto_tune(&metrics).await.is_err());
    });
}

#[test]
fn expose_metrics_is_text_for_prometheus() {
    run(async {
        let (_scratch, store) = fresh().await;
        store.insert(1, 1).await.unwrap();
        let text = store.expose_metrics().await.unwrap();
        assert!(text.lines().any(|line| line.starts_with("# TYPE cidstore_")), "{text}");
        assert!(text.trim_end().ends_with("# EOF"), "{text}");
    });
}

#[test]
fn debug_dump_tells_every_bucket_and_the_writers_error() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    run(async {
        let (_scratch, store) = fresh().await;
        let pairs: Vec<_> = (0..3000).map(|n| (e(n), e(n))).collect();
        store.batch_insert(&pairs).await.unwrap();
        let mut text = Vec::new();
        store.debug_dump(&mut text).await.unwrap();
        let mut expected = Vec::new();
        store.store().debug_dump(&mut expected).unwrap();
        assert!(text == expected, "{}", text.len());
        assert_eq!(text.iter().filter(|&&byte| byte == b'>').count(), 3000, "a line for each key");
        let error = store.debug_dump(&mut Full).await.unwrap_err();
        assert!(error.to_string().contains("dump"), "{error}");
        store.insert(1, 2).await.unwrap();
    });
}

#[test]
fn reads_on_the_pool_answer_the_same() {
    run(async {
        let scratch = Scratch::new();
        let options = CidStore::options().store(buffered()).reads(Reads::Pool);
        let store = options.open(scratch.data()).await.unwrap();
        for value in 0..9 {
            store.insert(1, value).await.unwrap();
        }
        assert_eq!(store.get(1).await.unwrap().len(), 9);
        assert!(store.get(2).await.unwrap().is_empty());
        assert!(store.contains(1, 8).await.unwrap());
        assert_eq!(store.get_many(&[e(1)]).await.unwrap()[0].len(), 9);
    });
}

#[test]
fn write_is_a_transaction_and_bulk_load_loads() {
    run(async {
        let (_scratch, store) = fresh().await;
        let loaded = store.bulk_load((0..1000).map(|n| (e(n), e(n)))).await.unwrap();
        assert_eq!(loaded.new_pairs, 1000);
        let moved = store.write(|tx| Ok(tx.delete_value(1, 1)? && tx.insert(2, 1)?));
        assert!(moved.await.unwrap());
        let undone: Result<(), _> = store
            .write(|tx| {
                tx.delete(2)?;
                Err(cidstore_engine::Error::RolledBack("the test says so".into()))
            })
            .await;
        undone.unwrap_err();
        assert_eq!(sorted(&store, 2).await, [e(1), e(2)]);
        let snapshot = store.snapshot().await.unwrap();
        store.delete(2).await.unwrap();
        assert_eq!(snapshot.get(2).unwrap().len(), 2);
    });
}
