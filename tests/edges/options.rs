//! Options out of range: named errors, before anything is touched.

use std::thread;
use std::time::{Duration, Instant};

use cidstore::{Durability, E, Error, Maintenance, OpenOptions, Store};
use cidstore_testkit::Scratch;
use cidstore_testkit::content::pairs_of;

use crate::{PATIENCE, buffered};

/// Opens with options that nobody can mean, on nothing and on a store.
fn assert_refused(name: &str, options: &OpenOptions) {
    let scratch = Scratch::new();
    let outcome = options.open(scratch.data()).map(drop);
    let Err(Error::InvalidOption { option, detail }) = outcome else {
        panic!("{name}: {outcome:?}")
    };
    assert_eq!(option, name);
    assert!(!detail.is_empty(), "the range is told");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing was created");

    buffered().open(scratch.data()).unwrap().insert(1, 1).unwrap();
    let before = scratch.fingerprint();
    let outcome = options.open(scratch.data()).map(drop);
    assert!(matches!(outcome, Err(Error::InvalidOption { .. })), "{name}: {outcome:?}");
    assert_eq!(scratch.fingerprint(), before, "a refused open changes nothing");
    assert_eq!(pairs_of(&buffered().open(scratch.data()).unwrap()), [(1, 1)]);
}

#[test]
fn wal_bytes_of_zero() {
    assert_refused("wal_bytes", &buffered().wal_bytes(0));
}

#[test]
fn wal_bytes_too_small() {
    assert_refused("wal_bytes", &buffered().wal_bytes(1));
    assert_refused("wal_bytes", &buffered().wal_bytes(4096));
}

#[test]
fn wal_bytes_unaligned() {
    assert_refused("wal_bytes", &buffered().wal_bytes((64 << 20) + 1));
    assert_refused("wal_bytes", &buffered().wal_bytes((64 << 20) + 64));
}

#[test]
fn wal_bytes_huge() {
    assert_refused("wal_bytes", &buffered().wal_bytes(u64::MAX));
    assert_refused("wal_bytes", &buffered().wal_bytes(u64::MAX / 4096 * 4096));
    assert_refused("wal_bytes", &buffered().wal_bytes(1 << 62));
}

#[test]
fn max_bytes_of_zero() {
    assert_refused("max_bytes", &buffered().max_bytes(0));
}

#[test]
fn max_bytes_too_small() {
    assert_refused("max_bytes", &buffered().max_bytes(1));
    assert_refused("max_bytes", &buffered().max_bytes(8192));
}

/// The least that is taken is no dead end: a store of that size takes pairs, closes, and opens again.
#[test]
fn the_smallest_max_bytes_has_room_for_thousands_of_pairs() {
    const LEAST: u64 = 1 << 20;
    assert_refused("max_bytes", &buffered().max_bytes(LEAST - 4096));
    let spread = |number: u64| E::new(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number);
    for values_of_a_key in [1, 200] {
        let scratch = Scratch::new();
        let options = buffered().max_bytes(LEAST);
        let store = options.open(scratch.data()).unwrap();
        for number in 0..3000 {
            store.insert(spread(number / values_of_a_key), number).unwrap();
        }
        store.close().unwrap();
        assert_eq!(options.open(scratch.data()).unwrap().value_len(), 3000);
    }
}

#[test]
fn max_bytes_unaligned() {
    assert_refused("max_bytes", &buffered().max_bytes((64 << 20) + 1));
}

#[test]
fn max_bytes_huge() {
    assert_refused("max_bytes", &buffered().max_bytes(u64::MAX));
    assert_refused("max_bytes", &buffered().max_bytes(u64::MAX / 4096 * 4096));
}

/// Its buckets are written and its sets made before the file is found too small for all.
#[test]
fn a_load_that_finds_no_space_leaves_the_store_as_it_was() {
    let scratch = Scratch::new();
    let store = buffered().max_bytes(1 << 20).open(scratch.data()).unwrap();
    let before = store.stats().file_bytes;
    for values in [1, 6, 300] {
        let keys = 60_000 / values;
        let pairs =
            (0..keys).flat_map(|key| (0..values).map(move |value| (key.into(), value.into())));
        let refused = store.bulk_load(pairs);
        assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
        assert_eq!((store.len(), store.stats().failure), (0, None));
        assert_eq!(store.stats().file_bytes, before, "{values} values a key");
    }
    store.bulk_load((0..1000_u64).map(|key| (key.into(), key.into()))).unwrap();
    assert!(store.insert(1, 2).unwrap());
    assert!(store.verify().unwrap().problems.is_empty());
    let store = crate::reopened(&scratch, &store);
    assert_eq!(store.value_len(), 1001);
}

#[test]
fn intervals_of_any_length_are_taken_or_named() {
    for interval in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        let scratch = Scratch::new();
        let options = Store::options().durability(Durability::Interval(interval));
        match options.open(scratch.data()) {
            Ok(store) => {
                store.insert(1, 1).unwrap();
                store.sync().unwrap();
                store.close().unwrap();
            }
            Err(Error::InvalidOption { option, .. }) => assert_eq!(option, "durability"),
            Err(error) => panic!("{interval:?}: {error}"),
        }
    }
}

#[test]
fn a_path_that_is_empty() {
    let refused = Store::open("").map(drop);
    assert!(matches!(refused, Err(Error::InvalidOption { option: "path", .. })), "{refused:?}");
}

#[test]
fn a_wal_path_that_is_empty() {
    assert_refused("wal_path", &buffered().wal_path(""));
}

/// What lies where the log is to be is called what it is, and no store comes to lie beside it.
#[test]
fn a_wal_path_that_leads_to_no_file() {
    let (scratch, elsewhere) = (Scratch::new(), Scratch::new());
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    for (path, what) in [
        (elsewhere.path().to_path_buf(), "a directory"),
        ("/dev/null".into(), "not a regular file"),
        (link, "a symbolic link"),
    ] {
        let refused = buffered().wal_path(&path).open(scratch.data()).unwrap_err();
        assert!(matches!(refused, Error::NotAStore { .. }), "{refused:?}");
        let told = refused.to_string();
        assert!(told.starts_with(path.to_str().unwrap()) && told.contains(what), "{told}");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing was created");
    }
}

#[test]
fn a_wal_path_whose_directory_is_not_there() {
    let scratch = Scratch::new();
    let log = scratch.path().join("no/dir/log");
    let refused = buffered().wal_path(&log).open(scratch.data()).unwrap_err();
    assert_eq!(refused.to_string(), format!("{}: create: no such directory", log.display()));
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing was created");
}

/// "Never again" is a rest that somebody may mean, and all the speed there is a rate.
#[test]
fn maintenance_with_the_largest_figures_runs_once_and_with_the_longest_quiet_never() {
    let largest = Maintenance {
        cpu_percent: 100,
        bytes_per_second: u64::MAX,
        busy_records_per_second: u64::MAX,
        quiet: Duration::ZERO,
        rest: Duration::MAX,
        scrub_rest: Duration::MAX,
        ..Maintenance::default()
    };
    let scratch = Scratch::new();
    let store = buffered().maintenance(largest).open(scratch.data()).unwrap();
    for key in 0..2000_u64 {
        store.insert(key, key).unwrap();
    }
    store.checkpoint().unwrap();
    let begin = Instant::now();
    let did = || store.stats().maintenance;
    while did().scrubs == 0 || did().rounds == 0 {
        assert!(begin.elapsed() < PATIENCE, "{:?}", did());
        thread::sleep(Duration::from_millis(5));
    }
    store.close().unwrap();
    assert_eq!((did().errors, did().problems), (0, 0));
    drop(store);
    let never = Maintenance { quiet: Duration::MAX, ..largest };
    let store = buffered().maintenance(never).open(scratch.data()).unwrap();
    let begin = Instant::now();
    while !store.stats().maintenance.paused {
        assert!(begin.elapsed() < PATIENCE, "the thread has ended");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(store.stats().maintenance.steps, 0);
    store.close().unwrap();
}

#[test]
fn the_log_may_change_its_size_between_opens() {
    let scratch = Scratch::new();
    for (round, megabytes) in [(0_u64, 64), (1, 1), (2, 256), (3, 1)] {
        let store = buffered().wal_bytes(megabytes << 20).open(scratch.data()).unwrap();
        assert_eq!(store.value_len(), round * 30_000);
        for value in 0..30_000 {
            store.insert(value % 977, round * 30_000 + value).unwrap();
        }
        // Every other round ends in a kill.
        if round % 2 == 0 {
            store.close().unwrap();
        } else {
            let killed = scratch.copy_as_killed(&store);
            drop(store);
            let smaller = buffered().wal_bytes(1 << 20).open(killed.data()).unwrap();
            assert_eq!(smaller.value_len(), (round + 1) * 30_000);
        }
    }
}

#[test]
fn a_log_elsewhere_is_used_and_wanted() {
    let (scratch, elsewhere) = (Scratch::new(), Scratch::new());
    let options = buffered().wal_path(elsewhere.path().join("log"));
    let store = options.open(scratch.data()).unwrap();
    store.insert(1, 1).unwrap();
    assert!(!scratch.log().exists());
    let (data, log) = (scratch.copy_as_killed(&store), elsewhere.copy());
    drop(store);
    let killed = buffered().wal_path(log.path().join("log")).open(data.data()).unwrap();
    assert_eq!(pairs_of(&killed), [(1, 1)]);
}
