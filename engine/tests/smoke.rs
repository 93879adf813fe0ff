//! The whole engine in a few strokes; the deep tests live with the facade.

use cidstore_core::E;
use cidstore_engine::{Durability, Store};

fn value(n: u64) -> E {
    E::new(n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n)
}

#[test]
fn pairs_survive_closing_and_opening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.h5");
    let store = Store::options().durability(Durability::Buffered).open(&path).unwrap();
    for key in 0..20_000_u64 {
        for n in 0..=key % 7 {
            assert!(store.insert(key, value(n)).unwrap(), "key {key} value {n}");
        }
    }
    assert_eq!(store.len(), 20_000);
    store.checkpoint().unwrap();
    for key in 0..20_000_u64 {
        assert_eq!(store.get(key).unwrap().len() as u64, key % 7 + 1, "key {key}");
    }
    for key in (0..20_000_u64).step_by(2) {
        assert_eq!(store.delete(key).unwrap(), key % 7 + 1);
    }
    store.close().unwrap();
    let store = Store::open(&path).unwrap();
    assert_eq!(store.len(), 10_000);
    for key in 0..20_000_u64 {
        let expected = if key % 2 == 0 { 0 } else { key % 7 + 1 };
        let values = store.get(key).unwrap();
        assert_eq!(values.len() as u64, expected, "key {key}");
        assert!((0..expected).all(|n| values.contains(value(n))));
    }
    assert_eq!(store.iter().map(Result::unwrap).count() as u64, store.value_len());
}

#[test]
fn a_copy_made_while_open_recovers_from_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("a.h5"), folder.path().join("b.h5"));
    let store = Store::options().durability(Durability::Buffered).open(&path).unwrap();
    let pairs: Vec<(E, E)> = (0..50_000_u64).map(|n| (E::from(n / 3), value(n))).collect();
    for batch in pairs.chunks(1000) {
        store.batch_insert(batch).unwrap();
    }
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(folder.path().join("a.h5-wal"), folder.path().join("b.h5-wal")).unwrap();
    let recovered = Store::open(&copy).unwrap();
    assert_eq!(recovered.value_len(), 50_000);
    for &(key, value) in &pairs {
        assert!(recovered.contains(key, value).unwrap());
    }
}

#[test]
fn a_bulk_load_and_a_snapshot_and_a_large_set() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store.h5")).unwrap();
    let loaded = store.bulk_load((0..300_000_u64).map(|n| (value(n), E::from(n)))).unwrap();
    assert_eq!((loaded.new_pairs, store.len()), (300_000, 300_000));
    let snapshot = store.snapshot().unwrap();
    let many: Vec<(E, E)> = (0..100_000_u64).map(|n| (E::from(1), value(n))).collect();
    store.batch_insert(&many).unwrap();
    assert_eq!(store.value_count(1).unwrap(), 100_000);
    assert!(store.contains(1, value(77_777)).unwrap());
    assert!(snapshot.get(1).unwrap().is_empty());
    store.checkpoint().unwrap();
    assert_eq!(snapshot.iter().map(Result::unwrap).count(), 300_000);
    assert_eq!(store.get(value(123)).unwrap().to_vec(), [E::from(123)]);
    drop(snapshot);
    let keys: Vec<E> = (0..1000).map(value).collect();
    let answers = store.get_many(&keys).unwrap();
    assert!(answers.iter().enumerate().all(|(n, a)| a.to_vec() == [E::from(n as u64)]));
    let report = store.compact().unwrap();
    assert!(report.bytes_after <= report.bytes_before);
    assert_eq!(store.iter().map(Result::unwrap).count(), 400_000);
}

#[test]
fn a_bulk_load_of_inline_values_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("a.h5"), folder.path().join("b.h5"));
    let store = Store::open(&path).unwrap();
    store.bulk_load((0..1000_u64).map(|n| (value(n), E::from(n)))).unwrap();
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(folder.path().join("a.h5-wal"), folder.path().join("b.h5-wal")).unwrap();
    let recovered = Store::open(&copy).unwrap();
    assert_eq!(recovered.value_len(), 1000);
    assert!((0..1000_u64).all(|n| recovered.contains(value(n), n).unwrap()));
}

/// Values nearly fill their space, so that room is made for what compacting may change: the file grows on the way and must
/// come back.
#[test]
fn compacting_again_and_again_never_lengthens_the_file() {
    let folder = tempfile::tempdir().unwrap();
    for keys in [9_600_u64, 9_700, 9_800] {
        let path = folder.path().join(format!("{keys}.h5"));
        let store = Store::open(&path).unwrap();
        let count = |key: u64| [6, 9, 17, 33, 20, 90, 7, 40][key as usize % 8] + key % 5;
        let pairs = (0..keys).flat_map(|key| (0..count(key)).map(move |n| (key.into(), value(n))));
        let loaded = store.bulk_load(pairs).unwrap();
        store.close().unwrap();
        for round in 0..3 {
            let store = Store::open(&path).unwrap();
            let report = store.compact().unwrap();
            assert!(report.bytes_after <= report.bytes_before, "{keys} {round}: {report:?}");
            assert_eq!((store.len(), store.value_len()), (keys, loaded.pairs));
            assert_eq!(store.verify().unwrap().problems, []);
            store.close().unwrap();
            let bytes = std::fs::metadata(&path).unwrap().len();
            assert!(bytes <= report.bytes_before, "{keys} {round}: {bytes}, {report:?}");
        }
    }
}
