//! A store in a fork of the process that opened it: refused there, and unharmed here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use cidstore_core::E;

use crate::error::{Error, Result};
use crate::handle::Store;
use crate::io::in_fork;
use crate::options::Durability;
use crate::scan::Cursor;

fn is_refused<T>(answer: &Result<T>) -> bool {
    matches!(answer, Err(Error::Forked { .. }))
}

#[test]
fn a_fork_is_refused_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("parent.h5");
    let other = folder.path().join("child.h5");
    let store = Store::options().durability(Durability::Buffered).open(&path).unwrap();
    (0..1000_u64).for_each(|key| assert!(store.insert(key, key).unwrap()));
    let snapshot = store.snapshot().unwrap();
    let (lsn, bytes) = (store.lsn(), std::fs::read(&path).unwrap());
    let in_child = || {
        let refused = [
            is_refused(&store.insert(5000, 1)),
            is_refused(&store.insert_with(5000, 1, Durability::Immediate)),
            is_refused(&store.batch_delete(&[E::from(1)])),
            is_refused(&store.write(|transaction| transaction.insert(5000, 1))),
            is_refused(&store.bulk_load([(E::from(5000), E::from(1))])),
            is_refused(&store.get(1)),
            is_refused(&store.get_many(&[E::from(1)])),
            is_refused(&store.pin().get(1)),
            is_refused(&store.snapshot()),
            is_refused(&snapshot.get(1)),
            is_refused(&store.scan(Cursor::default()).next().unwrap()),
            is_refused(&store.sync()),
            is_refused(&store.checkpoint()),
            is_refused(&store.compact()),
            is_refused(&store.verify()),
            is_refused(&store.scrub(true)),
            is_refused(&store.close()),
        ];
        let is_locked = matches!(Store::open(&path), Err(Error::Locked { .. }));
        // A store of the child's own is one like any other.
        let mine = Store::open(&other).unwrap();
        mine.insert(1, 2).unwrap();
        mine.close().unwrap();
        refused.iter().all(|refused| *refused) && is_locked
    };
    assert!(in_fork(in_child).unwrap());
    // The last handle, dropped there: no thread to wait for, no checkpoint, the lock still held.
    let slot = std::cell::Cell::new(Some((store, snapshot)));
    assert!(in_fork(|| slot.take().is_some()).unwrap());
    let (store, snapshot) = slot.take().unwrap();
    assert!(matches!(Store::open(&path), Err(Error::Locked { .. })));
    assert!(std::fs::read(&path).unwrap() == bytes && store.lsn() == lsn);
    drop(snapshot);
    (1000..2000_u64).for_each(|key| assert!(store.insert(key, key).unwrap()));
    assert_eq!(store.verify().unwrap().problems, []);
    store.close().unwrap();
    let again = Store::open(&path).unwrap();
    assert_eq!((again.len(), Store::open(&other).unwrap().len()), (2000, 1));
}
