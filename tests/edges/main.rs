//! The edges of the store, by name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test reports"
)]

mod backups;
mod batches;
mod damage;
mod files;
mod forged;
mod lifetime;
mod many;
mod named_files;
mod openers;
mod options;
mod reentry;
mod scale;
mod transactions;
mod values;

use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cidstore::{Durability, OpenOptions, Store};
use cidstore_testkit::Scratch;

/// Longer than anything here takes; a deadlock is told from slowness by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options for tests that are not about durability.
fn buffered() -> OpenOptions {
    Store::options().durability(Durability::Buffered)
}

/// An empty store in a directory of its own.
fn empty() -> (Scratch, Store) {
    let scratch = Scratch::new();
    let store = buffered().open(scratch.data()).expect("a new store");
    (scratch, store)
}

/// The store closed and opened again.
fn reopened(scratch: &Scratch, store: &Store) -> Store {
    store.close().expect("close");
    buffered().open(scratch.data()).expect("open again")
}

/// Runs `work` on a thread of its own and gives up when it hangs.
fn within_patience(work: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel::<()>();
    let worker = thread::spawn(move || {
        work();
        drop(done);
    });
    let hung = finished.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
    assert!(!hung, "a deadlock");
    if let Err(payload) = worker.join() {
        resume_unwind(payload);
    }
}
