//! A store made of the two files that the caller names.

use std::{env, fs};

use cidstore::{E, Error, Storage, Store, Wal};
use cidstore_testkit::Scratch;
use cidstore_testkit::process::{Child, Role, tell_parent};

use crate::buffered;

#[test]
fn a_store_in_two_files_named_before_it_exists() {
    let scratch = Scratch::new();
    let (data, log) = (scratch.path().join("mydata.h5"), scratch.path().join("mywal.log"));
    let named = || (Storage::open(&data).unwrap(), Wal::open(&log).unwrap());
    let (storage, wal) = named();
    assert_eq!((&storage.path, storage.bytes), (&data, 0));
    assert_eq!((&wal.path, wal.bytes), (&log, 0));
    assert!(!data.exists() && !log.exists(), "a name creates nothing");

    let store = Store::new(storage, wal).unwrap();
    assert!(store.insert(E::from_name("foo"), 123_u64).unwrap());
    let (storage, wal) = (store.storage().unwrap(), store.wal().unwrap());
    assert_eq!(storage.bytes, fs::metadata(&data).unwrap().len());
    assert_eq!(wal.bytes, fs::metadata(&log).unwrap().len());
    store.close().unwrap();

    let (storage, wal) = named();
    assert!(storage.bytes > 0 && wal.bytes > 0);
    let again = Store::new(storage, wal).unwrap();
    assert!(again.contains(E::from_name("foo"), 123_u64).unwrap());
}

#[test]
fn what_is_no_file_of_a_store_is_refused_by_name() {
    let scratch = Scratch::new();
    drop(Store::open(scratch.data()).unwrap());
    let text = scratch.path().join("text");
    fs::write(&text, "not a store, though it is long enough to be one\n".repeat(1000)).unwrap();
    let before = fs::read(&text).unwrap();
    for error in [
        Storage::open(&text).unwrap_err(),
        Wal::open(&text).unwrap_err(),
        Wal::open(scratch.data()).unwrap_err(),
    ] {
        assert!(matches!(error, Error::NotAStore { .. }), "{error:?}");
    }
    assert!(Storage::open(scratch.path()).is_err(), "a directory");
    assert_eq!(fs::read(&text).unwrap(), before);
}

#[test]
fn the_files_of_an_open_store_are_found_from_another_directory() {
    let scratch = Scratch::new();
    // A child: the current directory is the whole process's.
    let mut child = Child::spawn("named_files::child", "moves", &scratch.data());
    assert_eq!(child.next_line().as_deref(), Some("told"));
}

/// What this binary does as a child of the test above.
#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    assert_eq!(role.name, "moves");
    let folder = role.path.parent().unwrap();
    env::set_current_dir(folder).unwrap();
    let store = buffered().open(role.path.file_name().unwrap()).unwrap();
    store.insert(1, 1).unwrap();
    env::set_current_dir("/").unwrap();
    let (storage, wal) = (store.storage().unwrap(), store.wal().unwrap());
    assert_eq!(storage.bytes, fs::metadata(&role.path).unwrap().len());
    assert_eq!(wal.bytes, fs::metadata(folder.join(&wal.path)).unwrap().len());
    store.close().unwrap();
    tell_parent("told");
}
