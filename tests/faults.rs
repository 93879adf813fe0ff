//! Disks that fail: every change of the disk in turn, once and for ever.
//!
//! A failed write or sync makes the store `Failed`: the write in flight has an unknown outcome, later ones
//! are refused, reads go on, and the next open finds the model after a prefix that holds at least all that
//! was acknowledged. A refused allocation is not a failure: nothing was promised, and the store goes on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test reports"
)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use cidstore::layout::PAGE_BYTES;
use cidstore::layout::superblock::{SUPERBLOCK_OFFSETS, Superblock};
use cidstore::{Durability, Error, OpenOptions, Store};
use cidstore_engine::io::OsDisk;
use cidstore_engine::io::faulty::{Fault, FaultyDisk, OperationKind};
use cidstore_testkit::Scratch;
use cidstore_testkit::content::{assert_store, assert_verified, model_of};
use cidstore_testkit::history::{History, is_failure, perform};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// More changes than any of the histories makes; reaching it means that a test counts wrongly.
const CHANGES_MAX: u64 = 20_000;

fn options() -> OpenOptions {
    Store::options().durability(Durability::Immediate).wal_bytes(64 << 10)
}

fn faulty() -> FaultyDisk {
    FaultyDisk::new(Arc::new(OsDisk))
}

/// Runs the history on a disk with one fault armed; answers whether the fault was reached.
fn run(history: &History, fault: Fault) -> bool {
    let what = format!("{fault:?}");
    let (scratch, disk) = (Scratch::new(), faulty());
    let reach = fault.after;
    let counted = fault.kind;
    disk.inject(fault);
    let mut promised = 0;
    let mut begun = 0;
    match options().open_on(Arc::new(disk.clone()), scratch.data()) {
        Ok(store) => {
            (promised, begun) = run_steps(history, &store, &what);
            // Whatever close says, it must not hang or panic.
            drop(store.close());
        }
        Err(error) => assert!(is_failure(&error), "{what}: open failed as {error}"),
    }
    let count = counted.map_or_else(|| disk.change_count(), |kind| disk.count(kind));
    let reached = count > reach;
    if reached {
        // Without the power going off, on the same files, by a disk that works again.
        let store =
            options().open(scratch.data()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let prefix = history.assert_prefix(&store, promised, begun);
        assert_verified(&store, history.state(prefix));
        store.insert(1 << 40, 1).unwrap();
        store.close().unwrap();
    } else {
        assert_eq!(promised, history.steps().len(), "{what}: failed without a fault");
    }
    reached
}

/// Runs steps until one fails; answers how many were acknowledged and how many had begun.
fn run_steps(history: &History, store: &Store, what: &str) -> (usize, usize) {
    for (index, step) in history.steps().iter().enumerate() {
        let Err(error) = perform(store, step) else { continue };
        assert!(is_failure(&error), "{what}: step {index} failed as {error}");
        // From here on writes are refused, for a reason that says so.
        for _ in 0..2 {
            let refused = store.insert(1 << 50, 1);
            assert!(matches!(refused, Err(Error::Failed { .. })), "{what}: {refused:?}");
            let refused = store.batch_delete(&[cidstore::E::ZERO]);
            assert!(matches!(refused, Err(Error::Failed { .. })), "{what}: {refused:?}");
            assert!(store.checkpoint().is_err(), "{what}: a failed store makes no checkpoint");
        }
        // Reads go on, with what was applied.
        let seen = history.assert_prefix(store, index, index + 1);
        for (key, set) in history.state(seen).sets() {
            let values = store.get(cidstore_testkit::model::element(key)).unwrap();
            assert_eq!(values.len(), set.len(), "{what}: a read after the failure");
        }
        return (index, index + 1);
    }
    (history.steps().len(), history.steps().len())
}

fn sweep(fault: impl Fn(u64) -> Fault) -> u64 {
    let history = History::of_every_kind();
    let reached = (0..CHANGES_MAX).take_while(|&after| run(&history, fault(after))).count() as u64;
    assert!(reached < CHANGES_MAX, "the history never ends");
    reached
}

#[test]
fn each_change_fails_once() {
    assert!(sweep(|after| Fault::new(EIO).after(after).once()) > 50);
}

#[test]
fn each_change_fails_and_all_after_it() {
    assert!(sweep(|after| Fault::new(EIO).after(after)) > 50);
}

#[test]
fn each_write_is_torn() {
    let torn = |after| Fault::new(EIO).kind(OperationKind::Write).after(after).once().torn();
    assert!(sweep(torn) > 10);
}

#[test]
fn each_sync_of_data_fails() {
    assert!(sweep(|after| Fault::new(EIO).kind(OperationKind::SyncData).after(after).once()) > 20);
}

#[test]
fn each_full_sync_fails() {
    sweep(|after| Fault::new(EIO).kind(OperationKind::SyncAll).after(after).once());
}

#[test]
fn each_refused_allocation_is_survived() {
    let history = History::of_every_kind();
    for after in 0.. {
        let (scratch, disk) = (Scratch::new(), faulty());
        let no_space = Fault::new(ENOSPC).kind(OperationKind::Allocate);
        disk.inject(no_space.after(after).once());
        let open = || options().open_on(Arc::new(disk.clone()), scratch.data());
        let store = match open() {
            Err(error) => {
                assert!(matches!(error, Error::NoSpace { .. }), "{error}");
                open().expect("space is back")
            }
            Ok(store) => store,
        };
        for (index, step) in history.steps().iter().enumerate() {
            if let Err(error) = perform(&store, step) {
                assert!(matches!(error, Error::NoSpace { .. }), "step {index}: {error}");
                assert_eq!(&model_of(&store), history.state(index), "nothing was promised");
                perform(&store, step).expect("space is back");
            }
        }
        let state = history.state(history.steps().len());
        assert_store(&store, state);
        store.close().unwrap();
        let again = options().open(scratch.data()).unwrap();
        assert_store(&again, state);
        if disk.count(OperationKind::Allocate) <= after {
            assert!(after > 0, "nothing allocates");
            return;
        }
    }
}

/// An open that fails half way, in recovery, leaves what it found for the next one.
#[test]
fn each_change_of_a_recovery_fails() {
    let history = History::of_every_kind();
    let whole = Scratch::new();
    let store = options().open(whole.data()).unwrap();
    for step in history.steps() {
        perform(&store, step).unwrap();
    }
    let state = history.state(history.steps().len());
    let killed = whole.copy_as_killed(&store);
    for after in 0.. {
        let (scratch, disk) = (killed.copy(), faulty());
        disk.inject(Fault::new(EIO).after(after));
        let opened = options().open_on(Arc::new(disk.clone()), scratch.data());
        let changes = disk.change_count();
        match opened {
            Ok(store) => {
                assert_eq!(&model_of(&store), state);
                drop(store);
                if changes <= after {
                    assert!(after > 0, "a recovery changes something");
                    return;
                }
            }
            Err(error) => assert!(is_failure(&error), "{error}"),
        }
        let store = options().open(scratch.data()).unwrap();
        assert_store(&store, state);
    }
}

/// A crash between the two superblocks of a checkpoint: the next open writes the second one, so that losing either
/// slot loses nothing again.
#[test]
fn a_recovery_finishes_a_checkpoint_cut_between_its_superblocks() {
    let slots = |path: &Path| SUPERBLOCK_OFFSETS.map(|at| page_at(path, at));
    let whole = Scratch::new();
    let store = options().open(whole.data()).unwrap();
    store.insert(1_u64, 1_u64).unwrap();
    store.checkpoint().unwrap();
    let before = slots(&whole.data());
    store.insert(2_u64, 2_u64).unwrap();
    store.checkpoint().unwrap();
    let killed = whole.copy_as_killed(&store);
    // The slot that was written last gets back what it had.
    let numbers = superblocks(&slots(&killed.data())).map(|found| found.checkpoint_number);
    let last = usize::from(numbers[1] > numbers[0]);
    let file = File::options().write(true).open(killed.data()).unwrap();
    file.write_all_at(&before[last], SUPERBLOCK_OFFSETS[last]).unwrap();
    let [a, b] = superblocks(&slots(&killed.data())).map(|found| found.generation);
    assert_ne!(a, b, "the crash left two states");

    let store = options().open(killed.data()).unwrap();
    let [a, b] = superblocks(&slots(&killed.data())).map(|found| found.generation);
    assert_eq!(a, b, "both slots tell the newer state");
    assert!(store.contains(1_u64, 1_u64).unwrap() && store.contains(2_u64, 2_u64).unwrap());
}

fn page_at(path: &Path, offset: u64) -> [u8; PAGE_BYTES] {
    let mut page = [0; PAGE_BYTES];
    File::open(path).unwrap().read_exact_at(&mut page, offset).unwrap();
    page
}

fn superblocks(pages: &[[u8; PAGE_BYTES]; 2]) -> [Superblock; 2] {
    [0, 1].map(|slot| *Superblock::read(&pages[slot], slot as u8).unwrap())
}
