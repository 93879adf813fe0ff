//! The exposed text.

use cidstore::{Durability, Error, Store};
use cidstore_testkit::openmetrics::{Exposition, parse};

/// Exposes and reads, strictly.
#[track_caller]
pub(crate) fn exposed(store: &Store) -> Exposition {
    let text = store.expose_metrics().unwrap();
    parse(&text).unwrap_or_else(|fault| panic!("{fault}\n{text}"))
}

#[test]
fn the_text_says_what_the_snapshot_says() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("s.h5")).unwrap();
    for key in 0..40_u64 {
        store.insert_with(key, key, Durability::Buffered).unwrap();
    }
    store.insert(1, 100).unwrap();
    store.delete(2).unwrap();
    store.checkpoint().unwrap();
    let (metrics, text) = (store.metrics(), exposed(&store));
    let total = |op| text.value("cidstore_operations_total", &[("op", op)]);
    assert_eq!((total("insert"), total("delete"), total("delete_value")), (41.0, 1.0, 0.0));
    assert_eq!(text.value("cidstore_commits_total", &[("outcome", "ok")]), 42.0);
    assert_eq!(text.value("cidstore_keys", &[]), 39.0);
    assert_eq!(text.value("cidstore_pairs", &[]), 40.0);
    let synced = metrics.log_sync_latency;
    let log = [("file", "log")];
    assert_eq!(text.value("cidstore_sync_duration_seconds_count", &log), synced.count() as f64);
    assert_eq!(text.value("cidstore_sync_duration_seconds_sum", &log), synced.sum() as f64 / 1e9);
    assert_eq!(text.value("cidstore_log_max_bytes", &[]), (256 << 20) as f64);
    assert_eq!(text.value("cidstore_failed", &[]), 0.0);
    assert_eq!(text.value("cidstore_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    let pages = |kind| text.value("cidstore_pages", &[("kind", kind)]);
    assert_eq!(pages("bucket"), metrics.stats.buckets as f64);
    assert_eq!(pages("free"), metrics.stats.free_pages as f64);
}

#[test]
fn names_follow_the_conventions() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("s.h5")).unwrap();
    let text = exposed(&store);
    for (name, family) in &text.families {
        let ours = name == "cidstore" || name.starts_with("cidstore_");
        // The original's WAL metrics had this prefix.
        assert!(ours || name.starts_with("cidtree_wal_"), "{name}");
        assert!(!family.help.ends_with('.') && !name.ends_with("_total"), "{name}");
        let unit = ["bytes", "seconds"].into_iter().find(|unit| name.ends_with(unit));
        assert_eq!(family.unit.as_deref(), unit, "{name}");
        // Few series: a label has a handful of values, and none has the name of a key or file.
        let series = family.samples.iter().filter(|sample| !sample.labels.contains_key("le"));
        assert!(series.count() <= 8, "{name}");
    }
    let first = text
        .samples()
        .find(|sample| sample.name == "cidstore_commit_duration_seconds_bucket")
        .unwrap();
    assert_eq!(first.labels["le"], "1e-7", "below a microsecond");
}

#[test]
fn a_closed_store_and_a_transaction_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("s.h5")).unwrap();
    let nested = store.write(|_| store.expose_metrics());
    assert!(matches!(nested, Err(Error::Nested)), "{nested:?}");
    store.close().unwrap();
    assert!(matches!(store.expose_metrics(), Err(Error::Closed)));
}

#[test]
fn a_read_only_store_tells_how_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.h5");
    let store = Store::open(&path).unwrap();
    store.insert(1, 1).unwrap();
    store.close().unwrap();
    let store = Store::options().read_only(true).open(&path).unwrap();
    let text = exposed(&store);
    assert_eq!(text.value("cidstore_read_only", &[]), 1.0);
    assert_eq!(
        (text.value("cidstore_keys", &[]), text.value("cidstore_log_max_bytes", &[])),
        (1.0, 0.0)
    );
}
