#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Store`] is the whole synchronous face: open one, then insert, get, scan. `CidStore` (feature `async`, on by
//! default) is the same for programs that run tasks. [`E`] is what keys and
//! values are. [`Error`] names what can go wrong. The module [`layout`] has the bytes of a page, for
//! those who want to look into a file.
#![deny(unsafe_code)]

#[cfg(feature = "serve")]
mod serve;

#[cfg(feature = "async")]
pub use cidstore_async::{
    AsyncWritten, CidStore, CidStoreOptions, Consumer, FeedStream, KeyStream, PairStream, Reads,
    ValueStream,
};
pub use cidstore_core::E;
pub use cidstore_core::hash::HashSeed;
pub use cidstore_core::layout;
pub use cidstore_core::layout::bucket::BucketPage as Bucket;
pub use cidstore_core::layout::entry::{HashEntry, SpillPointer};
pub use cidstore_core::layout::table::TablePage as Directory;
pub use cidstore_core::layout::value::LeafPage as ValueSet;
pub use cidstore_engine::*;
#[cfg(feature = "libhdf5")]
pub use cidstore_hdf5::exchange;
#[cfg(feature = "serve")]
pub use serve::{MetricsServer, serve_metrics};
