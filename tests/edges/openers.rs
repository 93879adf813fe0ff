//! Who may open a store that is open: two handles, two threads, two processes.

use std::path::PathBuf;
use std::sync::Barrier;
use std::{env, fs, thread};

use cidstore::{Error, Store};
use cidstore_testkit::content::{assert_store, pairs_of};
use cidstore_testkit::process::{Child, Role, tell_parent, wait_for_parent};
use cidstore_testkit::{Model, Scratch};

use crate::{buffered, empty};

fn assert_locked_by(outcome: Result<Store, Error>, holder: u32) {
    match outcome {
        Err(Error::Locked { pid, .. }) => assert_eq!(pid, Some(holder)),
        other => panic!("expected the lock, got {:?}", other.map(drop)),
    }
}

#[test]
fn a_second_handle_in_this_process_is_locked_out() {
    let (scratch, store) = empty();
    store.insert(1, 1).unwrap();
    let names = || fs::read_dir(scratch.path()).unwrap().count();
    let (bytes, count) = (scratch.data_bytes(), names());
    let me = std::process::id();
    assert_locked_by(Store::open(scratch.data()), me);
    assert_locked_by(Store::options().read_only(true).open(scratch.data()), me);
    let detour: PathBuf = scratch.path().join(".").join("data.h5");
    assert_locked_by(Store::open(detour), me);
    assert_eq!((scratch.data_bytes(), names()), (bytes, count), "a refused open changes nothing");
    // Clones are the same opener; they may come and go.
    drop(store.clone());
    assert_locked_by(Store::open(scratch.data()), me);
    store.insert(2, 2).unwrap();
    store.close().unwrap();
    let again = Store::open(scratch.data()).unwrap();
    assert_eq!(pairs_of(&again), [(1, 1), (2, 2)]);
}

#[test]
fn a_hard_link_is_no_way_around_the_lock() {
    let (scratch, store) = empty();
    let link = scratch.path().join("link.h5");
    fs::hard_link(scratch.data(), &link).unwrap();
    let outcome = buffered().wal_path(scratch.path().join("other-wal")).open(&link);
    assert_locked_by(outcome, std::process::id());
    store.insert(1, 1).unwrap();
}

#[test]
fn of_two_threads_one_gets_the_store() {
    for _ in 0..20 {
        let scratch = Scratch::new();
        let start = Barrier::new(2);
        let open = || {
            start.wait();
            Store::open(scratch.data())
        };
        let outcomes = thread::scope(|scope| {
            let threads = [scope.spawn(open), scope.spawn(open)];
            threads.map(|thread| thread.join().unwrap())
        });
        let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        for outcome in &outcomes {
            // The loser may meet the winner's file before the winner holds its lock.
            let fair = matches!(outcome, Ok(_) | Err(Error::Locked { .. }));
            assert!(fair, "{:?}", outcome.as_ref().map(drop));
        }
        assert_eq!(won, 1, "a new store has one opener");
    }
}

#[test]
fn two_threads_share_a_handle() {
    let (_scratch, store) = empty();
    thread::scope(|scope| {
        for half in 0..2_u64 {
            let store = &store;
            scope.spawn(move || {
                for value in 0..500 {
                    assert!(store.insert(value % 50, value * 2 + half).unwrap());
                }
            });
        }
    });
    let model: Model = (0..1000_u128).map(|value| (value / 2 % 50, value)).collect();
    assert_store(&store, &model);
}

#[test]
fn another_process_is_locked_out_and_the_holder_named() {
    let scratch = Scratch::new();
    let mut child = Child::spawn("openers::child", "hold", &scratch.data());
    child.expect_line("open");
    let before = scratch.data_bytes();
    assert_locked_by(Store::open(scratch.data()), child.id());
    assert_locked_by(Store::options().read_only(true).open(scratch.data()), child.id());
    assert_eq!(scratch.data_bytes(), before, "a refused open changes nothing");
    child.go_on();
    child.expect_line("closed");
    assert!(child.wait().success());
    let store = Store::open(scratch.data()).unwrap();
    assert_eq!(pairs_of(&store), [(1, 1)]);
}

#[test]
fn a_killed_holder_holds_nothing() {
    let scratch = Scratch::new();
    let mut child = Child::spawn("openers::child", "hold", &scratch.data());
    child.expect_line("open");
    child.kill();
    let store = Store::open(scratch.data()).unwrap();
    assert_eq!(pairs_of(&store), [(1, 1)], "what was acknowledged is there");
}

#[test]
fn readers_of_a_clean_store_do_not_lock_each_other_out() {
    let (scratch, store) = empty();
    store.insert(1, 1).unwrap();
    store.close().unwrap();
    let read_only = || Store::options().read_only(true).open(scratch.data()).unwrap();
    let (one, two) = (read_only(), read_only());
    assert_eq!(pairs_of(&one), pairs_of(&two));
    assert!(matches!(Store::open(scratch.data()).map(drop), Err(Error::Locked { .. })));
    drop((one, two));
    Store::open(scratch.data()).unwrap();
}

#[test]
fn a_relative_path_puts_the_log_beside_the_data() {
    // The log lies beside the data file, also when the path has no directory in it.
    let scratch = Scratch::new();
    let relative = relative_to_here(&scratch.data());
    let store = buffered().open(&relative).unwrap();
    store.insert(1, 1).unwrap();
    store.close().unwrap();
    assert!(scratch.data().exists() && scratch.log().exists());
}

/// `path` as seen from the current directory.
fn relative_to_here(path: &std::path::Path) -> PathBuf {
    let up = env::current_dir().unwrap().components().skip(1).map(|_| "..").collect::<PathBuf>();
    up.join(path.strip_prefix("/").unwrap())
}

/// What this binary does as a child of the tests above.
#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    assert_eq!(role.name, "hold");
    let store = buffered().open(&role.path).unwrap();
    store.insert(1, 1).unwrap();
    tell_parent("open");
    wait_for_parent();
    store.close().unwrap();
    tell_parent("closed");
}
