//! Closing and dropping a store that others still look at.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use cidstore::{E, Error, Store};
use cidstore_testkit::content::{assert_store, set_of};
use cidstore_testkit::{Model, Scratch};

use crate::{buffered, empty};

/// A store with inline, small and large sets, and the model beside it.
fn populated() -> (Scratch, Store, Model) {
    let (scratch, store) = empty();
    let pairs: Vec<(u64, u64)> = (0..3000)
        .map(|index| if index < 2000 { (index, index) } else { (index % 3, index) })
        .collect();
    let elements: Vec<_> =
        pairs.iter().map(|&(key, value)| (E::from(key), E::from(value))).collect();
    store.batch_insert(&elements).unwrap();
    let model = pairs.iter().map(|&(key, value)| (key.into(), value.into())).collect();
    (scratch, store, model)
}

#[test]
fn everything_is_closed_after_close_for_every_clone() {
    let (_scratch, store, _) = populated();
    let clone = store.clone();
    store.close().unwrap();
    for store in [&store, &clone] {
        assert!(matches!(store.get(1), Err(Error::Closed)));
        assert!(matches!(store.contains(1, 1), Err(Error::Closed)));
        assert!(matches!(store.insert(1, 1), Err(Error::Closed)));
        assert!(matches!(store.delete(1), Err(Error::Closed)));
        assert!(matches!(store.batch_insert(&[(E::ZERO, E::ZERO)]), Err(Error::Closed)));
        assert!(matches!(store.write(|_| Ok(())), Err(Error::Closed)));
        assert!(matches!(store.bulk_load([(E::ZERO, E::ZERO)]), Err(Error::Closed)));
        assert!(matches!(store.snapshot(), Err(Error::Closed)));
        assert!(matches!(store.pin().get(1), Err(Error::Closed)));
        assert!(matches!(store.sync(), Err(Error::Closed)));
        assert!(matches!(store.checkpoint(), Err(Error::Closed)));
        assert!(matches!(store.compact(), Err(Error::Closed)));
        assert!(matches!(store.verify(), Err(Error::Closed)));
        assert!(matches!(store.storage(), Err(Error::Closed)));
        assert!(matches!(store.wal(), Err(Error::Closed)));
        assert!(matches!(store.wait_durable(1), Err(Error::Closed)));
        assert!(matches!(store.expose_metrics(), Err(Error::Closed)));
        assert!(matches!(store.subscribe(1), Err(Error::Closed)));
        let mut scan = store.iter();
        assert!(matches!(scan.next(), None | Some(Err(Error::Closed))));
        assert!(scan.next().is_none(), "a scan that failed has ended");
        // Once more is not an accident worth a panic.
        assert!(matches!(store.close(), Ok(()) | Err(Error::Closed)));
    }
}

/// What can't fail has no way to say that the store is closed.
#[test]
fn what_only_counts_tells_after_close_how_the_store_was_left() {
    let (_scratch, store, model) = populated();
    store.close().unwrap();
    let values = model.pairs().count() as u64;
    assert_eq!((store.value_len(), store.is_empty()), (values, false));
    assert_eq!((store.stats().keys, store.stats().values), (store.len(), values));
    assert_eq!(store.metrics().stats.values, values);
    assert!(store.lsn() > 0 && store.durable_lsn() == store.lsn());
    assert!(store.failure().is_none() && store.maintenance_problems().is_empty());
    assert!(store.tuning_decisions().is_empty());
}

#[test]
fn closing_with_a_live_guard_is_safe() {
    let (scratch, store, model) = populated();
    let guard = store.pin();
    let mut values = guard.values(0).unwrap();
    let first = values.next().unwrap().unwrap();
    assert!(model.contains(0, u128::from(first.low)));
    store.close().unwrap();
    let clone = buffered().open(scratch.data());
    // The guard answers what was there, or that the store is closed; never anything else.
    match guard.get(0) {
        Ok(values) => assert_eq!(set_of(&values), model.get(0)),
        Err(Error::Closed) => {}
        Err(error) => panic!("{error}"),
    }
    for value in values {
        match value {
            Ok(value) => assert!(model.contains(0, u128::from(value.low))),
            Err(Error::Closed) => break,
            Err(error) => panic!("{error}"),
        }
    }
    drop(guard);
    drop(clone);
    let again = buffered().open(scratch.data()).unwrap();
    assert_store(&again, &model);
}

#[test]
fn closing_with_a_live_snapshot_and_iterator_is_safe() {
    let (scratch, store, model) = populated();
    let snapshot = store.snapshot().unwrap();
    let mut scans = [store.iter(), snapshot.iter()];
    for scan in &mut scans {
        scan.next().unwrap().unwrap();
    }
    store.insert(1, 999_999).unwrap();
    store.close().unwrap();
    // Somebody else may now open the store and change everything that the snapshot stands on.
    let next = buffered().open(scratch.data());
    if let Ok(next) = &next {
        for key in 0..2000 {
            next.delete(key).unwrap();
            next.insert(key, 7).unwrap();
        }
        for _ in 0..3 {
            next.checkpoint().unwrap();
            next.compact().unwrap();
        }
    }
    match snapshot.get(0) {
        Ok(values) => assert_eq!(set_of(&values), model.get(0)),
        Err(Error::Closed) => {}
        Err(error) => panic!("{error}"),
    }
    for scan in scans {
        for item in scan {
            match item {
                Ok((key, value)) => {
                    let known = model.contains(key.low.into(), value.low.into());
                    assert!(known || value == E::from(999_999), "({key:?}, {value:?})");
                }
                Err(Error::Closed) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn dropping_with_live_snapshots_and_iterators_is_safe() {
    let (scratch, store, mut model) = populated();
    let snapshot = store.snapshot().unwrap();
    let mut scan = store.iter();
    scan.next().unwrap().unwrap();
    let at_snapshot = model.clone();
    store.delete(0).unwrap();
    model.delete(0);
    drop(store);
    // As long as the store lives on in its snapshot it answers from it.
    match snapshot.get(0) {
        Ok(values) => assert_eq!(set_of(&values), at_snapshot.get(0)),
        Err(Error::Closed) => {}
        Err(error) => panic!("{error}"),
    }
    drop(scan);
    drop(snapshot);
    let again = buffered().open(scratch.data()).unwrap();
    assert_store(&again, &model);
}

#[test]
fn dropping_is_closing() {
    let (scratch, store, model) = populated();
    drop(store);
    std::fs::remove_file(scratch.log()).unwrap();
    // Without the log only a clean close opens.
    let again = buffered().open(scratch.data()).unwrap();
    assert_store(&again, &model);
}

#[test]
fn closing_beside_readers_and_writers_ends_them_politely() {
    for round in 0..10 {
        let (scratch, store, _) = populated();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for writer in 0..2_u64 {
                let store = store.clone();
                scope.spawn(move || {
                    let ended = (0..u64::MAX).find_map(|value| store.insert(writer, value).err());
                    assert!(matches!(ended, Some(Error::Closed)), "{ended:?}");
                });
            }
            let (reader, stop) = (store.clone(), &stop);
            scope.spawn(move || {
                // Relaxed: only ends the loop.
                while !stop.load(Ordering::Relaxed) {
                    match reader.get(1500) {
                        Ok(values) => assert_eq!(values.as_slice(), [E::from(1500)]),
                        Err(Error::Closed) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            thread::sleep(Duration::from_millis(5 * round));
            store.close().unwrap();
            stop.store(true, Ordering::Relaxed);
        });
        let again = buffered().open(scratch.data()).unwrap();
        assert!(again.verify().unwrap().problems.is_empty());
        assert!(again.contains(1500, 1500).unwrap());
    }
}

#[test]
fn a_walk_through_a_set_that_closing_cuts_short_says_so_once() {
    let (_scratch, store) = empty();
    let pairs: Vec<(E, E)> = (0..10_000_u64).map(|n| (E::ZERO, E::from(n))).collect();
    store.batch_insert(&pairs).unwrap();
    let guard = store.pin();
    let mut values = guard.values(0).unwrap();
    assert!(values.next().unwrap().is_ok());
    store.close().unwrap();
    let rest: Vec<_> = values.by_ref().collect();
    let (last, before) = rest.split_last().unwrap();
    assert!(matches!(last, Err(Error::Closed)), "{last:?}");
    assert!(before.len() < 9_999 && before.iter().all(Result::is_ok));
    assert!(values.next().is_none(), "a walk that failed has ended");
}

/// What a call has not read yet may be another opener's by the time it does: its pages are used again, its file is shorter.
#[test]
fn a_call_that_goes_on_while_its_store_is_closed_and_opened_again_tells_nothing_wrong() {
    const COUNT: u64 = 100_000;
    let pairs = |keys: std::ops::Range<u64>| keys.map(|key| (E::from(key), E::from(key + 1)));
    for shorter in [false, true] {
        let scratch = Scratch::new();
        let store = buffered().open(scratch.data()).unwrap();
        store.bulk_load(pairs(0..COUNT)).unwrap();
        let keys: Vec<E> = (0..COUNT).map(E::from).collect();
        let mut answers = 0;
        let mut next = None;
        let outcome = store.get_many_with(&keys, |at, values| {
            assert_eq!(values.as_slice(), [E::from(at as u64 + 1)]);
            answers += 1;
            if answers == 100 {
                store.close().unwrap();
                let other = buffered().open(scratch.data()).unwrap();
                if shorter {
                    other.batch_delete(&keys[..keys.len() / 2]).unwrap();
                    other.batch_delete(&keys[keys.len() / 2..]).unwrap();
                    other.compact().unwrap();
                } else {
                    for part in 1..4 {
                        let more: Vec<_> = pairs(part * COUNT..(part + 1) * COUNT).collect();
                        other.batch_insert(&more).unwrap();
                        other.checkpoint().unwrap();
                    }
                }
                next = Some(other);
            }
        });
        assert!(matches!(outcome, Err(Error::Closed)), "{outcome:?} after {answers} answers");
        assert!(answers < 1000, "{answers}");
    }
}
