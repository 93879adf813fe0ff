//! The asynchronous face of CIDStore: [`CidStore`], for programs that run tasks.
//!
//! It works with any executor: nothing here starts a runtime or needs one. Users take it from the `cidstore` facade
//! crate. How it works, what a dropped future leaves behind, and why no wake-up is lost: `docs/async.md`.
//!
//! # Reading order
//!
//! [`options`](CidStoreOptions), `queue` (requests and their bound), `consumer` (who applies them), `store` (the
//! handle: open, close), `writes`, `stream`, `reads`, `maintenance`. A file imports from those before it.
#![deny(unsafe_code)]

mod options;

mod queue;

mod consumer;

mod store;

mod maintenance;
mod reads;
mod stream;
mod writes;

pub use consumer::Consumer;
pub use options::{CidStoreOptions, Reads};
pub use store::CidStore;
pub use stream::{FeedStream, KeyStream, PairStream, ValueStream};
pub use writes::AsyncWritten;
