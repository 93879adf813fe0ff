//! A full disk: `NoSpace` leaves the store healthy, reads and deletes go on, and writes do when space is back.
//!
//! The disk is a small memory file system. Mounting one needs a right that not every machine gives; without
//! it the tests say so and pass. The same story by the option `max_bytes` always runs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test reports"
)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use cidstore::{Durability, E, Error, OpenOptions, Store};
use cidstore_testkit::content::{assert_store, assert_verified, model_of, pairs_of};
use cidstore_testkit::model::element;
use cidstore_testkit::process::{Child, Role, tell_parent};
use cidstore_testkit::{Model, Scratch};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

const DISK_BYTES: u64 = 4 << 20;
const BATCH: u64 = 64;

fn options() -> OpenOptions {
    Store::options().durability(Durability::Buffered).wal_bytes(256 << 10)
}

/// Tries again what others may be in the way of for a moment.
#[track_caller]
fn within_patience(is_done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_done() {
        assert!(begin.elapsed() < Duration::from_secs(60), "still not");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A file system of a few MiB; unmounted when dropped.
struct SmallDisk {
    scratch: Scratch,
}

impl SmallDisk {
    /// `None`, with the reason printed, where mounting is not permitted.
    fn mount() -> Option<Self> {
        let scratch = Scratch::on_disk();
        let size = std::ffi::CString::new(format!("size={DISK_BYTES}")).unwrap();
        match mount("none", scratch.path(), "tmpfs", MountFlags::empty(), Some(size.as_c_str())) {
            Ok(()) => Some(Self { scratch }),
            Err(error) => {
                let mut out = std::io::stderr().lock();
                writeln!(out, "skipped: no small disk to fill, mount says {error}").unwrap();
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(self.scratch.path(), UnmountFlags::DETACH).expect("what was mounted comes off");
    }
}

/// Pairs in batches, mostly on keys of their own, some on shared ones, so that both kinds of pages grow.
fn batch(number: u64) -> Vec<(E, E)> {
    let first = number * BATCH;
    let key = |index| if index % 4 == 0 { E::new(9, index % 7) } else { E::new(8, index) };
    (first..first + BATCH).map(|index| (key(index), E::from(index))).collect()
}

/// Inserts batches from number `first` on until there is no space; answers the number that was refused.
fn fill(store: &Store, model: &mut Model, first: u64) -> u64 {
    for number in first..first + 10_000 {
        match store.batch_insert(&batch(number)) {
            Ok(new) => {
                let pairs = batch(number).into_iter();
                let added = model.insert_all(pairs.map(|(key, value)| (u128(key), u128(value))));
                assert_eq!(new, added);
            }
            Err(error) => {
                assert!(matches!(error, Error::NoSpace { .. }), "{error}");
                return number;
            }
        }
    }
    panic!("a disk without end");
}

fn u128(e: E) -> u128 {
    cidstore_testkit::model::number(e)
}

/// Deletes all keys of which `goes` says so, by ones and by dozens: a delete copies a page before it makes
/// room, so a store promises space for small ones only.
fn delete_where(store: &Store, model: &mut Model, goes: impl Fn(u128) -> bool) {
    let keys: Vec<u128> = model.keys().filter(|&key| goes(key)).collect();
    for (index, keys) in keys.chunks(12).enumerate() {
        let elements: Vec<E> = keys.iter().copied().map(element).collect();
        let went = if index % 2 == 0 {
            store.batch_delete(&elements).expect("deletes go on when the disk is full")
        } else {
            let delete = |&key| store.delete(key).expect("deletes go on when the disk is full");
            elements.iter().map(delete).sum()
        };
        assert_eq!(went, model.delete_all(keys.iter().copied()));
    }
}

/// What must be true of a store that has no space, and of one that got some back.
fn live_through(store: &Store, data: &Path, options: &OpenOptions) {
    let mut model = model_of(store);
    let refused = fill(store, &mut model, 0);
    assert!(refused > 5, "filled after {refused} batches");
    assert_store(store, &model);
    // What a checkpoint in the background gives back is taken at once; then full means full.
    let mut next = refused;
    let is_full = (0..100).any(|_| {
        let before = std::mem::replace(&mut next, 0);
        next = fill(store, &mut model, before);
        next == before
    });
    assert!(is_full, "there is always a little more");
    assert_verified(store, &model);
    // A checkpoint may or may not fit; it must not fail the store.
    match store.checkpoint() {
        Ok(()) | Err(Error::NoSpace { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    assert_store(store, &model);
    // Deletes go on, single ones too, and make room.
    let one = model.pairs().next().unwrap();
    assert!(store.delete_value(element(one.0), element(one.1)).unwrap());
    model.delete_value(one.0, one.1);
    delete_where(store, &mut model, |key| key % 8 != 3);
    assert_store(store, &model);
    store.compact().unwrap();
    store.checkpoint().unwrap();
    let more = fill(store, &mut model, 100_000);
    assert!(more > 100_000, "deleting seven of eight keys made no room");
    assert_store(store, &model);
    store.close().unwrap();
    let again = options.open(data).unwrap();
    assert_store(&again, &model);
    assert_verified(&again, &model);
}

#[test]
fn max_bytes_is_a_full_disk() {
    let scratch = Scratch::new();
    let options = options().max_bytes(2 << 20);
    let store = options.open(scratch.data()).unwrap();
    live_through(&store, &scratch.data(), &options);
    let length = fs::metadata(scratch.data()).unwrap().len();
    assert!(length <= 2 << 20, "{length} bytes");
}

/// A refused write names the reader that keeps replaced pages from being used again.
/// Who is refused may try again and again: where nothing can be freed, no checkpoint is made for it.
#[test]
fn a_full_store_refuses_at_once() {
    let scratch = Scratch::new();
    let store = options().max_bytes(4 << 20).open(scratch.data()).unwrap();
    let mut model = Model::default();
    fill(&store, &mut model, 0);
    // A batch did not fit; some single pairs do.
    let first = (0..).find(|&number| store.insert(E::new(number, 99), 1).is_err()).unwrap();
    let refused = |number: u64| {
        let error = store.insert(E::new(number, 99), 1).unwrap_err();
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    };
    let before = store.stats().checkpoints;
    (first..first + 100).for_each(refused);
    let made = store.stats().checkpoints - before;
    assert!(made <= 4, "{made} checkpoints for what cannot be");
}

#[test]
fn no_space_names_who_holds_it_back() {
    let scratch = Scratch::new();
    let store = options().max_bytes(4 << 20).open(scratch.data()).unwrap();
    let keys = || (0..500_u64).map(|key| (element(key.into()), element(1)));
    store.batch_insert(&keys().collect::<Vec<_>>()).unwrap();
    // Rounds that change every page, each with something else before it, until one is refused.
    let refused = |before_round: &mut dyn FnMut()| {
        for value in 0..10_000_u64 {
            before_round();
            let pairs: Vec<_> = keys().map(|(key, _)| (key, E::from(value % 3))).collect();
            let changed = if value % 2 == 0 {
                store.batch_insert(&pairs).map(drop)
            } else {
                keys().try_for_each(|(key, _)| store.delete_value(key, E::from(0)).map(drop))
            };
            if let Err(error) = changed.and_then(|()| store.checkpoint()) {
                return error.to_string();
            }
        }
        panic!("the pages that were replaced are used again");
    };
    let guard = store.pin();
    refused(&mut || ());
    // A reader is named once pages have waited for it for 20 ms: before that it may be on its way out.
    thread::sleep(Duration::from_millis(20));
    let told = refused(&mut || ());
    assert!(told.contains("read guard"), "{told}");
    drop(guard);
    // The pages come back.
    within_patience(|| store.insert(1, 1).and_then(|_| store.checkpoint()).is_ok());
    // A snapshot keeps the pages of its moment: some of them keep those of every round.
    let mut snapshots = Vec::new();
    let told = refused(&mut || snapshots.push(store.snapshot().unwrap()));
    assert!(told.contains("snapshots are alive"), "{told}");
    drop(snapshots);
}

/// What a long reader made one space grow to is there for another once the reader has gone.
#[test]
fn pages_of_another_space_make_room() {
    let scratch = Scratch::new();
    let store = options().max_bytes(2 << 20).open(scratch.data()).unwrap();
    let mut model = Model::new();
    let guard = store.pin();
    // Values that stay inline change buckets only: those take all the room.
    let mut change = |value| -> cidstore::Result<()> {
        for key in 0..500 {
            store.delete(element(key))?;
            model.delete(key);
            store.insert(element(key), element(value))?;
            model.insert(key, value);
        }
        store.checkpoint()
    };
    let refused = (0..1000).find_map(|value| change(value).err()).expect("the reader keeps pages");
    assert!(matches!(refused, Error::NoSpace { .. }), "{refused}");
    drop(guard);
    // Sets need pages of their own, more than the file has left for them.
    let sets = || (0..80).flat_map(|key| (1000..1006).map(move |value| (key, value)));
    let batch: Vec<_> = sets().map(|(key, value)| (element(key), element(value))).collect();
    within_patience(|| store.batch_insert(&batch).is_ok());
    model.insert_all(sets());
    assert_store(&store, &model);
    store.close().unwrap();
    assert_store(&options().max_bytes(2 << 20).open(scratch.data()).unwrap(), &model);
}

#[test]
fn a_larger_max_bytes_makes_room() {
    let scratch = Scratch::new();
    let store = options().max_bytes(1 << 20).open(scratch.data()).unwrap();
    let mut model = Model::new();
    let refused = fill(&store, &mut model, 0);
    store.close().unwrap();
    let store = options().max_bytes(2 << 20).open(scratch.data()).unwrap();
    assert!(fill(&store, &mut model, refused) > refused);
    assert_store(&store, &model);
}

#[test]
fn a_full_disk() {
    let Some(disk) = SmallDisk::mount() else { return };
    let data = disk.scratch.data();
    let store = options().open(&data).unwrap();
    live_through(&store, &data, &options());
}

#[test]
fn space_that_somebody_else_gives_back() {
    let Some(disk) = SmallDisk::mount() else { return };
    let ballast = disk.scratch.path().join("ballast");
    fs::write(&ballast, vec![1; 2 << 20]).unwrap();
    let store = options().open(disk.scratch.data()).unwrap();
    let mut model = Model::new();
    let refused = fill(&store, &mut model, 0);
    fs::remove_file(&ballast).unwrap();
    // Without a word to the store, writing goes on.
    let more = fill(&store, &mut model, refused);
    assert!(more > refused + 5, "{refused}, then {more}");
    assert_store(&store, &model);
}

#[test]
fn no_room_for_a_store_at_all() {
    let Some(disk) = SmallDisk::mount() else { return };
    let ballast = disk.scratch.path().join("ballast");
    fs::write(&ballast, vec![1; DISK_BYTES as usize - (64 << 10)]).unwrap();
    let outcome = options().open(disk.scratch.data()).map(drop);
    assert!(matches!(outcome, Err(Error::NoSpace { .. } | Error::Io { .. })), "{outcome:?}");
    let left = fs::read_dir(disk.scratch.path()).unwrap().count();
    assert_eq!(left, 1, "a store that could not be made leaves nothing");
    fs::remove_file(&ballast).unwrap();
    options().open(disk.scratch.data()).unwrap().insert(1, 1).unwrap();
}

#[test]
fn a_kill_on_a_full_disk() {
    let Some(disk) = SmallDisk::mount() else { return };
    let data = disk.scratch.data();
    let mut child = Child::spawn("child", "fill", &data);
    let mut acknowledged = 0;
    while let Some(line) = child.next_line() {
        match line.strip_prefix("batch ") {
            Some(number) => acknowledged = number.parse().unwrap(),
            None => break,
        }
    }
    child.kill();
    let expected: Model =
        (0..=acknowledged).flat_map(batch).map(|(key, value)| (u128(key), u128(value))).collect();
    match options().open(&data) {
        Ok(store) => assert_store(&store, &expected),
        Err(Error::NoSpace { .. }) => {
            // Recovery may need room; what it found must still be there when it gets some.
            let elsewhere = disk.scratch_copy();
            assert_store(&options().open(elsewhere.data()).unwrap(), &expected);
        }
        Err(error) => panic!("{error}"),
    }
}

impl SmallDisk {
    fn scratch_copy(&self) -> Scratch {
        let copy = Scratch::new();
        for (from, to) in [(self.scratch.data(), copy.data()), (self.scratch.log(), copy.log())] {
            fs::copy(from, to).unwrap();
        }
        copy
    }
}

#[test]
fn a_clean_store_on_a_read_only_file_system() {
    let Some(disk) = SmallDisk::mount() else { return };
    let data = disk.scratch.data();
    let store = options().open(&data).unwrap();
    store.insert(1, 2).unwrap();
    store.close().unwrap();
    // The descriptors go with the last handle.
    drop(store);
    // Busy while another test starts a process: that has all files open until it becomes another program.
    within_patience(|| mount_remount(disk.scratch.path(), MountFlags::RDONLY, c"").is_ok());
    let reader = options().read_only(true).open(&data).unwrap();
    assert_eq!(pairs_of(&reader), [(1, 2)]);
    assert!(matches!(options().open(&data).map(drop), Err(Error::Io { .. })));
}

/// The command's dictionary of names is the first to find the disk full. What it got is given back.
#[cfg(feature = "command")]
#[test]
fn a_load_without_room_leaves_nothing() {
    let Some(disk) = SmallDisk::mount() else { return };
    let names = disk.scratch.path().join("data.h5.names");
    let input = tempfile::Builder::new().suffix(".tsv").tempfile().unwrap();
    let lines =
        (0..60_000).map(|line| format!("a name for key {line}\ta name for a value {line}\n"));
    fs::write(input.path(), lines.collect::<String>()).unwrap();
    let load = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cidstore"));
        command.args(["load", "--ids", "name"]).args([&disk.scratch.data(), input.path()]);
        let ended = command.output().unwrap();
        let told = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(5), "{told}");
        assert!(told.contains("data.h5.names: write: No space"), "{told}");
    };
    load();
    assert_eq!(fs::read_dir(disk.scratch.path()).unwrap().count(), 0);
    let store = options().open(disk.scratch.data()).unwrap();
    store.insert(1, 1).unwrap();
    store.close().unwrap();
    drop(store);
    fs::write(&names, "no name, and not ours to change").unwrap();
    load();
    assert_eq!(fs::read(&names).unwrap(), b"no name, and not ours to change");
    assert_eq!(pairs_of(&options().open(disk.scratch.data()).unwrap()), [(1, 1)]);
}

/// A limit on the size of files is told like a full disk, by the data file and by the log, and kills nobody.
#[cfg(feature = "command")]
#[test]
fn a_limit_on_the_size_of_files() {
    let scratch = Scratch::new();
    for (blocks, name) in [(100, "data.h5"), (1000, "data.h5-wal")] {
        let line = format!("ulimit -f {blocks}; exec \"$0\" insert \"$1\" 0x1 0x2");
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", &line, env!("CARGO_BIN_EXE_cidstore")]).arg(scratch.data());
        let ended = shell.output().unwrap();
        let told = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(5), "{told}");
        assert!(told.contains(&format!("{name}: no space: ")), "{told}");
        let left = fs::read_dir(scratch.path()).unwrap().count();
        assert_eq!(left, usize::from(name != "data.h5"), "no half of a file");
    }
    assert!(options().open(scratch.data()).unwrap().insert(1, 2).unwrap());
}

/// What this binary does as a child of the tests above.
#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    assert_eq!(role.name, "fill");
    let store = options().open(&role.path).unwrap();
    for number in 0.. {
        match store.batch_insert(&batch(number)) {
            Ok(_) => tell_parent(&format!("batch {number}")),
            Err(Error::NoSpace { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    tell_parent("full");
    thread::sleep(Duration::from_secs(60));
}
