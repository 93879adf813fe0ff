//! Blocks that are reserved ahead, in stores whose file is large: mostly free pages, so that they are quickly made.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::{Duration, Instant};

use cidstore_core::layout::table::Space;

use crate::handle::Store;
use crate::options::Durability;

/// Pages of a file that is large enough: the next segment has 2,048 of them.
const PAGES: u64 = 17 << 10;

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

fn grown(path: &Path) -> Store {
    let store = Store::options().durability(Durability::Buffered).open(path).unwrap();
    let engine = store.engine();
    let state = engine.writer();
    let mut files = state.writer.pages.files();
    files.ensure_free(Space::Buckets, PAGES, &*engine.shared.file, &engine.shared.regions).unwrap();
    assert_eq!(length(path), files.end(), "nothing is reserved before a write asks for it");
    drop(files);
    drop(state);
    store
}

/// Gives the buckets one more segment and answers where it ends.
fn add_segment(store: &Store) -> u64 {
    let engine = store.engine();
    let state = engine.writer();
    let mut files = state.writer.pages.files();
    let more = u64::from(files.pages(Space::Buckets).free_count()) + 1;
    files.ensure_free(Space::Buckets, more, &*engine.shared.file, &engine.shared.regions).unwrap();
    files.end()
}

/// Waits until more is reserved, and answers how much.
fn reserved(store: &Store, path: &Path) -> u64 {
    let start = Instant::now();
    let end = store.engine().writer().writer.pages.files().end();
    while store.engine().file_length.bytes() == end {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing is reserved");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(store.engine().file_length.bytes(), length(path));
    length(path) - end
}

#[test]
fn a_large_file_has_its_next_blocks_before_they_are_needed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.h5");
    let store = grown(&path);
    store.insert(1, 2).unwrap();
    let ahead = reserved(&store, &path);
    assert!(ahead >= 8 << 20, "{ahead}");
    let after = length(&path);
    let end = add_segment(&store);
    assert!(end <= after, "the segment lies in what was reserved");
    store.insert(3, 4).unwrap();
    let ahead = reserved(&store, &path);
    assert_eq!(store.stats().file_bytes, end + ahead);
    let report = store.compact().unwrap();
    assert_eq!((report.bytes_before, report.bytes_after), (end + ahead, length(&path)));
    let end = add_segment(&store);
    store.insert(5, 6).unwrap();
    assert!(length(&path) >= end);
    store.close().unwrap();
    let store = Store::open(&path).unwrap();
    let end = store.engine().writer().writer.pages.files().end();
    assert_eq!(length(&path), end, "closing gives the reserve back");
    assert!(store.contains(1, 2).unwrap() && store.contains(3, 4).unwrap());
    store.verify().unwrap();
}

#[test]
fn what_a_killed_process_had_reserved_goes_when_the_next_one_closes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.h5");
    let store = Store::open(&path).unwrap();
    store.insert(1, 2).unwrap();
    store.close().unwrap();
    let end = length(&path);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(end + (32 << 20)).unwrap();
    let store = Store::open(&path).unwrap();
    assert!(store.contains(1, 2).unwrap());
    store.close().unwrap();
    assert_eq!(length(&path), end);
}
