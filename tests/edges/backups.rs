//! Backups: whole or not there, and in nobody's way.

use std::fs;
use std::time::Duration;

use cidstore::{E, Error, Store};
use cidstore_testkit::Scratch;
use cidstore_testkit::content::{assert_store, model_of};
use cidstore_testkit::process::{Child, Role, tell_parent};
use cidstore_testkit::random::Random;

use crate::{buffered, empty};

const KEYS: u64 = 30_000;

#[test]
fn a_backup_is_one_file_with_the_moment_of_the_snapshot() {
    let (scratch, store) = empty();
    for value in 0..500_u64 {
        store.insert(value % 60, value).unwrap();
    }
    let (snapshot, model) = (store.snapshot().unwrap(), model_of(&store));
    store.delete(7).unwrap();
    let copy = scratch.path().join("copy.h5");
    snapshot.backup(&copy).unwrap();
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 3, "store, log and copy");
    assert_store(&buffered().open(&copy).unwrap(), &model);
}

/// What lies where the backup is to be is somebody's, and so is a log that lies beside it.
#[test]
fn a_backup_takes_nobodys_place() {
    let (scratch, store) = empty();
    store.insert(1, 1).unwrap();
    let copy = scratch.path().join("copy.h5");
    for name in ["copy.h5", "copy.h5-wal"] {
        let taken = scratch.path().join(name);
        fs::write(&taken, "somebody's last hope").unwrap();
        let refused = store.snapshot().unwrap().backup(&copy).unwrap_err();
        assert!(matches!(refused, Error::InvalidOption { .. }), "{refused:?}");
        assert!(refused.to_string().contains(name), "{refused}");
        assert_eq!(fs::read(&taken).unwrap(), b"somebody's last hope");
        fs::remove_file(taken).unwrap();
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2, "store and log");
    }
}

#[test]
fn a_missing_directory_is_told_of_the_file_that_was_asked_for() {
    let (scratch, store) = empty();
    let nowhere = scratch.path().join("nowhere").join("x.h5");
    for refused in [
        store.snapshot().unwrap().backup(&nowhere).unwrap_err(),
        Store::open(&nowhere).unwrap_err(),
        buffered().wal_path(&nowhere).open(scratch.path().join("y.h5")).unwrap_err(),
    ] {
        let told = refused.to_string();
        assert_eq!(told, format!("{}: create: no such directory", nowhere.display()));
    }
}

/// Killed in the middle there is no backup, rather than a sound store with nothing in it.
#[test]
fn a_killed_backup_is_whole_or_not_there() {
    let scratch = Scratch::new();
    let store = buffered().open(scratch.data()).unwrap();
    let pairs: Vec<_> = (0..KEYS).map(|key| (E::from(key), E::from(key))).collect();
    store.batch_insert(&pairs).unwrap();
    store.close().unwrap();
    drop(store);
    let mut random = Random::new(5);
    let mut missing = 0;
    for round in 0..12 {
        let copy = scratch.path().join(format!("{round}.h5"));
        let mut child = Child::spawn("backups::child", &copy.to_string_lossy(), &scratch.data());
        child.expect_line("begins");
        // The first at once, so that some die early on any machine.
        child.kill_after(0, Duration::from_micros(random.below(round * 6000 + 1)));
        if !copy.exists() {
            missing += 1;
            continue;
        }
        let copied = Store::options().read_only(true).open(&copy).unwrap();
        assert_eq!(copied.len(), KEYS);
        assert!(copied.verify().unwrap().problems.is_empty());
    }
    assert!(missing > 0, "none was killed in the middle");
}

/// What this binary does as a child of the test above.
#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    let store = Store::options().read_only(true).open(&role.path).unwrap();
    let snapshot = store.snapshot().unwrap();
    tell_parent("begins");
    snapshot.backup(role.name).unwrap();
}
