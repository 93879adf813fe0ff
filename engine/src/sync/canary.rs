//! A race that ThreadSanitizer must report, or its silence about everything else would mean nothing.

#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::cell::UnsafeCell;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use super::{Mutex, lock};

/// A number that nothing guards.
struct Unguarded(UnsafeCell<u64>);

// SAFETY: it is *not* safe: two threads may store to it at once, which is what the detector is to find. Only `race` does, in
// a process of its own that does nothing else.
unsafe impl Sync for Unguarded {}

fn race(guarded: bool) {
    let number = Arc::new((Unguarded(UnsafeCell::new(0)), Mutex::new(())));
    let threads = [(); 2].map(|()| {
        let number = Arc::clone(&number);
        thread::spawn(move || {
            for _ in 0..10_000 {
                let _held = guarded.then(|| lock(&number.1));
                // SAFETY: the pointer is valid for as long as the `Arc` lives. For the race see `Unguarded`.
                unsafe { *number.0.0.get() += 1 };
            }
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
#[ignore = "races; `the_detector_reports_a_race` runs it in a process of its own"]
fn races() {
    race(false);
}

/// The same under a lock of `told`, which is contended.
#[test]
fn a_lock_orders_those_who_have_it() {
    race(true);
}

#[test]
fn the_detector_reports_a_race() {
    let program = std::env::current_exe().unwrap();
    let run = Command::new(program)
        .args(["sync::canary::races", "--exact", "--ignored", "--nocapture"])
        .env("TSAN_OPTIONS", "exitcode=66")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&run.stderr);
    assert!(told.contains("WARNING: ThreadSanitizer: data race"), "no race was reported: {told}");
    assert_eq!(run.status.code(), Some(66));
}
