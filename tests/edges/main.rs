//! The edges of the store, by name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test reports"
)]

mod batches;
mod files;
mod lifetime;
mod named_files;
mod openers;
mod options;
mod scale;
mod values;

use cidstore::{Durability, OpenOptions, Store};
use cidstore_testkit::Scratch;

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
