//! The example program of the original CIDStore does what it says.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use cidstore::{E, Storage, Store, Wal};

#[path = "../examples/seed.rs"]
mod example;

#[test]
fn the_original_example_runs() {
    let folder = tempfile::tempdir().unwrap();
    let values = futures::executor::block_on(example::run(folder.path())).unwrap();
    assert_eq!(values, [E::from(123)]);
    // It has closed its store in exactly these two files, and deleted what it had inserted.
    let storage = Storage::open(folder.path().join("mydata.h5")).unwrap();
    let wal = Wal::open(folder.path().join("mywal.log")).unwrap();
    assert!(storage.bytes > 0 && wal.bytes > 0);
    let store = Store::new(storage, wal).unwrap();
    assert!(store.is_empty());
    assert!(store.get(E::from_name("foo")).unwrap().is_empty());
    // A second run on the same files finds nothing of the first.
    store.close().unwrap();
    let values = futures::executor::block_on(example::run(folder.path())).unwrap();
    assert_eq!(values, [E::from(123)]);
}
