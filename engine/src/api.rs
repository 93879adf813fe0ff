//! Skeleton of the public face, to be filled.
#![allow(missing_docs, clippy::todo, unused_variables, clippy::missing_errors_doc)]

use std::io;
use std::path::Path;
use std::time::Duration;

use cidstore_core::E;

use crate::error::Result;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    #[default]
    Immediate,
    Interval(Duration),
    Buffered,
}

#[derive(Clone, Debug, Default)]
pub struct OpenOptions {}
impl OpenOptions {
    pub fn create(self, create: bool) -> Self {
        todo!()
    }
    pub fn read_only(self, read_only: bool) -> Self {
        todo!()
    }
    pub fn wal_path(self, path: impl AsRef<Path>) -> Self {
        todo!()
    }
    pub fn wal_bytes(self, bytes: u64) -> Self {
        todo!()
    }
    pub fn durability(self, durability: Durability) -> Self {
        todo!()
    }
    pub fn verify_reads(self, verify: bool) -> Self {
        todo!()
    }
    pub fn max_bytes(self, bytes: u64) -> Self {
        todo!()
    }
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Store> {
        todo!()
    }
    #[cfg(feature = "testing")]
    pub fn open_on(
        &self,
        disk: std::sync::Arc<dyn crate::io::Disk>,
        path: impl AsRef<Path>,
    ) -> Result<Store> {
        todo!()
    }
}

/// What a durable write answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The pair was new (insert), or values went (delete).
    pub new: bool,
    /// Log sequence number of the write.
    pub lsn: u64,
}

/// The values of one key: up to four without allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {}
impl Values {
    pub fn len(&self) -> usize {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    pub fn iter(&self) -> std::iter::Copied<std::slice::Iter<'_, E>> {
        todo!()
    }
    pub fn as_slice(&self) -> &[E] {
        todo!()
    }
    pub fn contains(&self, value: E) -> bool {
        todo!()
    }
    pub fn to_vec(&self) -> Vec<E> {
        todo!()
    }
    pub fn sorted(self) -> Values {
        todo!()
    }
}

#[derive(Clone)]
pub struct Store {}

impl Store {
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        todo!()
    }
    pub fn options() -> OpenOptions {
        todo!()
    }
    pub fn insert(&self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        todo!()
    }
    pub fn insert_with(
        &self,
        key: impl Into<E>,
        value: impl Into<E>,
        durability: Durability,
    ) -> Result<Written> {
        todo!()
    }
    pub fn delete_with(&self, key: impl Into<E>, durability: Durability) -> Result<Written> {
        todo!()
    }
    pub fn get(&self, key: impl Into<E>) -> Result<Values> {
        todo!()
    }
    pub fn get_many(&self, keys: &[E]) -> Result<Vec<Values>> {
        todo!()
    }
    pub fn get_many_with(&self, keys: &[E], each: impl FnMut(usize, Values)) -> Result<()> {
        todo!()
    }
    pub fn contains_key(&self, key: impl Into<E>) -> Result<bool> {
        todo!()
    }
    pub fn contains(&self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        todo!()
    }
    pub fn value_count(&self, key: impl Into<E>) -> Result<u64> {
        todo!()
    }
    pub fn get_entry(&self, key: impl Into<E>) -> Result<Option<Entry>> {
        todo!()
    }
    pub fn delete(&self, key: impl Into<E>) -> Result<u64> {
        todo!()
    }
    pub fn delete_value(&self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        todo!()
    }
    /// How many pairs were new.
    pub fn batch_insert(&self, pairs: &[(E, E)]) -> Result<u64> {
        todo!()
    }
    /// How many values went.
    pub fn batch_delete(&self, keys: &[E]) -> Result<u64> {
        todo!()
    }
    pub fn write<T>(&self, run: impl FnOnce(&mut Transaction<'_>) -> Result<T>) -> Result<T> {
        todo!()
    }
    pub fn bulk_load(&self, pairs: impl IntoIterator<Item = (E, E)>) -> Result<BulkLoaded> {
        todo!()
    }
    pub fn bulk_loader(&self) -> BulkLoader<'_> {
        todo!()
    }
    pub fn pin(&self) -> Result<ReadGuard<'_>> {
        todo!()
    }
    pub fn snapshot(&self) -> Result<Snapshot> {
        todo!()
    }
    pub fn iter(&self) -> Scan {
        todo!()
    }
    pub fn keys(&self) -> Keys {
        todo!()
    }
    pub fn scan(&self, from: Cursor) -> Scan {
        todo!()
    }
    pub fn len(&self) -> u64 {
        todo!()
    }
    pub fn value_len(&self) -> u64 {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    pub fn stats(&self) -> Stats {
        todo!()
    }
    pub fn lsn(&self) -> u64 {
        todo!()
    }
    pub fn durable_lsn(&self) -> u64 {
        todo!()
    }
    pub fn wait_durable(&self, lsn: u64) -> Result<()> {
        todo!()
    }
    pub fn sync(&self) -> Result<()> {
        todo!()
    }
    pub fn checkpoint(&self) -> Result<()> {
        todo!()
    }
    pub fn close(&self) -> Result<()> {
        todo!()
    }
    pub fn compact(&self) -> Result<CompactReport> {
        todo!()
    }
    pub fn merge(&self) -> Result<u64> {
        todo!()
    }
    pub fn gc(&self) -> Result<u64> {
        todo!()
    }
    pub fn run_gc_once(&self) -> Result<u64> {
        todo!()
    }
    pub fn background_maintenance(&self) -> Result<u64> {
        todo!()
    }
    pub fn valueset_exists(&self, key: impl Into<E>) -> Result<bool> {
        todo!()
    }
    pub fn get_tombstone_count(&self, key: impl Into<E>) -> Result<u64> {
        todo!()
    }
    pub fn is_spilled(&self, key: impl Into<E>) -> Result<bool> {
        todo!()
    }
    pub fn demote_if_possible(&self, key: impl Into<E>) -> Result<bool> {
        todo!()
    }
    pub fn debug_dump(&self, out: &mut impl io::Write) -> Result<()> {
        todo!()
    }
    pub fn verify(&self) -> Result<Report> {
        todo!()
    }
}

/// The canonical entry of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    pub key: E,
    /// Inline values (empty when spilled).
    pub values: Vec<E>,
    /// Decoded nibble: which of the key's four inline values are valid.
    pub valid: u8,
    pub version: u32,
    pub spill: Option<cidstore_core::layout::entry::SpillPointer>,
}

pub struct ReadGuard<'a> {
    _store: std::marker::PhantomData<&'a Store>,
}
impl ReadGuard<'_> {
    pub fn get(&self, key: impl Into<E>) -> Result<Values> {
        todo!()
    }
    pub fn contains(&self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        todo!()
    }
    pub fn contains_key(&self, key: impl Into<E>) -> Result<bool> {
        todo!()
    }
    pub fn value_count(&self, key: impl Into<E>) -> Result<u64> {
        todo!()
    }
    /// Borrowing iterator, leaf by leaf for large sets.
    pub fn values(&self, key: impl Into<E>) -> Result<SetIter<'_>> {
        todo!()
    }
}
pub struct SetIter<'a> {
    _guard: std::marker::PhantomData<&'a ()>,
}
impl Iterator for SetIter<'_> {
    type Item = Result<E>;
    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}

/// A consistent point in time.
pub struct Snapshot {}
impl Snapshot {
    pub fn get(&self, key: impl Into<E>) -> Result<Values> {
        todo!()
    }
    pub fn contains(&self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        todo!()
    }
    pub fn iter(&self) -> Scan {
        todo!()
    }
    pub fn scan(&self, from: Cursor) -> Scan {
        todo!()
    }
    pub fn len(&self) -> u64 {
        todo!()
    }
    pub fn value_len(&self) -> u64 {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    pub fn lsn(&self) -> u64 {
        todo!()
    }
    /// Writes a clean, compact store with this snapshot's content to a new file.
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<()> {
        todo!()
    }
}

/// Where a scan is: plain data that outlives the process (`u64` inside).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(pub u64);

/// (key, value) pairs.
pub struct Scan {}
impl Scan {
    /// Where to go on: all pairs of buckets before this point have been answered.
    pub fn cursor(&self) -> Cursor {
        todo!()
    }
}
impl Iterator for Scan {
    type Item = Result<(E, E)>;
    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
/// Keys only.
pub struct Keys {}
impl Iterator for Keys {
    type Item = Result<E>;
    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}

/// Handle of `Store::write`.
pub struct Transaction<'a> {
    _store: std::marker::PhantomData<&'a Store>,
}
impl Transaction<'_> {
    pub fn insert(&mut self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        todo!()
    }
    pub fn delete(&mut self, key: impl Into<E>) -> Result<u64> {
        todo!()
    }
    pub fn delete_value(&mut self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        todo!()
    }
    pub fn get(&self, key: impl Into<E>) -> Result<Values> {
        todo!()
    }
    pub fn contains(&self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        todo!()
    }
    pub fn contains_key(&self, key: impl Into<E>) -> Result<bool> {
        todo!()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkLoaded {
    pub pairs: u64,
    pub new_pairs: u64,
    pub lsn: u64,
}
/// Loader with progress; nothing is visible or durable before `finish`.
pub struct BulkLoader<'a> {
    _store: std::marker::PhantomData<&'a Store>,
}
impl BulkLoader<'_> {
    pub fn push(&mut self, key: impl Into<E>, value: impl Into<E>) -> Result<()> {
        todo!()
    }
    pub fn finish(self, progress: impl FnMut(BulkProgress)) -> Result<BulkLoaded> {
        todo!()
    }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkProgress {
    /// Pairs done so far.
    pub done: u64,
    /// Pairs in all.
    pub total: u64,
}

#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CompactReport {
    pub bytes_before: u64,
    pub bytes_after: u64,
}

/// Counters of a store; all sizes in bytes.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    pub keys: u64,
    pub values: u64,
    pub global_depth: u32,
    pub bucket_pages: u64,
    pub value_pages: u64,
    pub live_bytes: u64,
    pub file_bytes: u64,
    pub wal_bytes: u64,
    pub wal_used_bytes: u64,
    pub pool_bytes: u64,
    pub checkpoints: u64,
    pub snapshots: u64,
    pub oldest_pin: Option<Duration>,
}

/// What `verify` found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    pub pages_checked: u64,
    pub keys: u64,
    pub values: u64,
    pub problems: Vec<Problem>,
}
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Problem {
    /// Where: "bucket page 17", "value page 3", "directory", ...
    pub place: String,
    pub detail: String,
}
