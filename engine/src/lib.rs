//! The storage engine of CIDStore: files, memory maps, threads.
//!
//! [`Store`] is the public face; start there. Users take it from the `cidstore` facade crate.
//!
//! # Reading order
//!
//! [`error`], `values`, `report`; `sync` (atomics and locks, or a checker's) with `pins` (who still reads what was
//! replaced), `waiters`; [`io`] (every byte passes it), `space` (where pages live), `table` (which page is whose),
//! `valueset` (large sets), `wal` (the log); `upkeep` (what is tidied when), `tuning` (which settings follow the load),
//! [`view`] (the file in another format), `options`; `shared` (what readers see), `read`; `writer` (changes to pages),
//! `checkpoint` (pages to disk), `store` (the parts together); then the public face: `transaction`, `handle`, `files`,
//! `group`, `feed`, `guard`, `scan`, `snapshot`, `backup`, `buckets`, `bulk`, `bulk_writer`, `bulk_pages`,
//! `maintenance`, `tune`, `inspect`, `metrics`, `verify`, `scrub`.
//!
//! A file imports from those before it, but for two things. All parts count for `metrics`, which has the counts of
//! `inspect` too; and the files of the public face use each other, as the methods of one [`Store`] do.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", target_endian = "little")))]
compile_error!(
    "CIDStore needs Linux on a 64-bit little-endian machine: it maps its files into memory as they are"
);

mod checkpoint;
pub mod error;
#[doc(hidden)]
pub mod io;
mod options;
#[cfg(not(shuttle))]
mod pins;
mod read;
mod report;
mod shared;
mod space;
mod store;
mod sync;
mod table;
mod tuning;
mod upkeep;
mod values;
mod valueset;
pub mod view;
mod waiters;
mod wal;
mod writer;

pub use error::{Error, Result};
pub use options::{Durability, OpenOptions};
pub use tuning::{Breaker, Change, Decision, Knob, Reason, TunedSettings, Tuning, TuningStats};
pub use upkeep::{Maintenance, MaintenanceStats};
pub use values::{IntoIter as ValuesIntoIter, Values};

mod backup;
mod buckets;
mod bulk;
mod bulk_pages;
mod bulk_writer;
#[cfg(test)]
#[cfg(shuttle)]
mod campaign;
mod feed;
mod files;
mod group;
mod guard;
mod handle;
mod inspect;
#[cfg(test)]
#[cfg(loom)]
mod interleavings;
mod maintenance;
mod metrics;
mod scan;
#[cfg(test)]
mod scratch;
mod scrub;
mod snapshot;
mod transaction;
mod tune;
mod verify;

pub use bulk::{BulkLoaded, BulkLoader, BulkProgress};
pub use feed::{Feed, FeedChange, FeedItem};
pub use files::{Storage, Wal};
pub use group::{Applied, GroupWrite, WhenDurable};
pub use guard::{ReadGuard, SetIter};
pub use handle::{Store, Written};
pub use inspect::{Entry, Stats};
pub use maintenance::CompactReport;
pub use metrics::{CommitLatency, Histogram, Metrics, Operations, Scale};
pub use report::{Problem, Report};
pub use scan::{Cursor, Keys, Scan, ValueScan};
pub use snapshot::Snapshot;
pub use transaction::Transaction;
