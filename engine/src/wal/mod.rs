//! The log: writes are in it before they are promised, and come back from it after a crash.
//!
//! A header page, then a ring of 64-byte records ([`cidstore_core::layout::record`]) with consecutive log sequence
//! numbers (LSNs): every record takes one, those that carry no operation too. Parts:
//!
//! - [`Wal`] is the file: create, open, sync. Shared between threads.
//! - [`Appender`] writes records. One thread at a time, by `&mut`; a group of records
//!   survives the end of the process as soon as `flush` returns, and a power cut once [`Wal::sync`] did. Small groups are
//!   stored through a map of the file, large ones written.
//! - [`Wal::scan`] reads them back after a crash.
//!
//! Rules:
//! - A group of records is logged only after [`Appender::reserve`] granted room for all of it: all "no
//!   space" answers come before the first byte.
//! - Space is reused only after [`Appender::release`]: the caller proves that no superblock needs it.
//! - Zeros are written to a new part of the file before records go there, so that a sync of records changes no metadata of
//!   the file system. This is done and synced ahead, without the writer lock (`growth`). A write that needs the new part before that
//!   is durable waits for a piece of zeros, never for the disk, and leaves a Grow record where a power cut may end the file.
//! - The first failed write or sync makes the log fail for ever: what reached the disk is unknown, and
//!   asking the kernel again would tell a lie.
//! - After a sync, the next group begins with a Sync record that says how far the log was durable. By that
//!   witness recovery tells a torn tail, which it drops, from damage in acknowledged records, which it refuses.
//!
//! **The window that is left.** Damage in the records of the last sync before a crash looks like a torn
//! tail if no later record says otherwise; [`Appender::witness_when_idle`] closes the window when there is
//! no next group. Sound neighbours are no such witness: sectors reach the disk in any order, and a sector
//! caught while it was stored to may hold a later record without an earlier one.

mod append;
mod durable;
mod file;
mod growth;
#[cfg(test)]
#[cfg(loom)]
mod interleavings;
#[cfg(test)]
mod model_tests;
mod places;
mod ring;
mod scan;
#[cfg(test)]
mod tests;

pub(crate) use append::{Appender, Room};
pub(crate) use file::{LogOwner, Wal, WalOptions, read_header};
pub(crate) use scan::{ScanEnd, ScanStart};
