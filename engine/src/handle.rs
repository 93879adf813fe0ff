//! [`Store`]: the handle that users hold.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cidstore_core::E;

use crate::error::{Error, Result};
use crate::io::{Disk, OsDisk};
use crate::options::{Durability, OpenOptions};
use crate::read::Reader;
use crate::shared::LiveView;
use crate::store::commit::{Outcome, Write};
use crate::store::engine::Engine;
use crate::transaction;
use crate::values::Values;
use crate::writer::apply::Operation;

/// What a write with a durability of its own answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The pair was new (of an insert), or the key had values (of a delete).
    pub new: bool,
    /// Log sequence number of the write: durable once [`Store::durable_lsn`] has reached it.
    pub lsn: u64,
}

/// A durable, concurrent multimap from 128-bit keys to sets of 128-bit values.
///
/// A `Store` is a handle: cloning it is cheap, and all clones are the same store. Every method takes `&self`
/// and may be called from any thread. Reads take no lock and never wait for a writer. The store closes when
/// the last handle goes; [`close`](Self::close) does it at a time of your choosing and tells you of errors.
///
/// ```
/// use cidstore_engine::{Store, Error};
/// # fn main() -> Result<(), Error> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("edges.h5");
/// let store = Store::open(path)?;
/// assert!(store.insert(1, 10)?);
/// assert!(!store.insert(1, 10)?, "the pair was there");
/// store.insert(1, 11)?;
/// assert_eq!(store.get(1)?.sorted().to_vec(), [10.into(), 11.into()]);
/// assert_eq!(store.delete(1)?, 2);
/// store.close()
/// # }
/// ```
///
/// # Errors
///
/// Besides what each method says: after [`close`](Self::close) every method that answers a `Result` answers
/// [`Error::Closed`], reads answer [`Error::Corrupt`] for damaged pages, and writes answer [`Error::ReadOnly`] on a read-only store,
/// [`Error::NoSpace`] if the disk or `max_bytes` is full (the store stays healthy), [`Error::Nested`]
/// from within [`write`](Self::write), and [`Error::Failed`] or [`Error::OutcomeUnknown`] once a write or sync
/// has failed. In a fork of the process that opened the store all that can fail answers [`Error::Forked`], and dropping
/// the store there changes nothing; a program that forks opens its stores afterwards.
///
/// What can't fail tells after closing how the store was left: `len`, `value_len`, `is_empty`, `lsn`, `durable_lsn`,
/// `durability`, `stats`, `metrics`, `failure`, `maintenance_problems`, `tuned_settings`, `tuning_decisions`.
/// A future of [`when_durable`](Self::when_durable) tells whether the write was durable by then.
#[derive(Clone)]
pub struct Store {
    handle: Arc<Handle>,
}

/// Closes the store when the last handle goes.
struct Handle {
    engine: Arc<Engine>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(error) = self.engine.close() {
            let path = self.engine.shared.path.display();
            tracing::error!(%path, %error, "closing the store");
        }
    }
}

impl Store {
    /// Opens the store at `path`, or creates it, with the default options.
    ///
    /// The log lies beside it, with `-wal` added to the name. A store that was not closed cleanly is recovered
    /// first: everything acknowledged is there, no batch is half there.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] if it is open elsewhere, in this process or another; [`Error::NotAStore`],
    /// [`Error::UnsupportedVersion`], [`Error::Corrupt`], [`Error::WalMissing`], [`Error::WalMismatch`] for files
    /// that cannot be used, which are left as they are; [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::options().open(path)
    }

    /// Options to open with.
    pub fn options() -> OpenOptions {
        OpenOptions::default()
    }

    pub(crate) fn from_engine(engine: Arc<Engine>) -> Self {
        Self { handle: Arc::new(Handle { engine }) }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.handle.engine
    }

    /// Runs `read` under a pin.
    #[inline(always)]
    pub(crate) fn reading<T>(
        &self,
        read: impl FnOnce(Reader<'_, LiveView<'_>>) -> Result<T>,
    ) -> Result<T> {
        let shared = &*self.engine().shared;
        shared.while_open(|| {
            let _pin = shared.pins.pin();
            read(Reader { shared, view: shared.view() })
        })
    }

    /// As [`reading`](Self::reading), and counts the read.
    #[inline(always)]
    fn reading_key<T>(
        &self,
        read: impl FnOnce(Reader<'_, LiveView<'_>>) -> Result<T>,
    ) -> Result<T> {
        self.engine().shared.note_read();
        self.reading(read)
    }

    fn commit(&self, write: Write, durability: Durability) -> Result<Outcome> {
        transaction::check_not_nested(self.engine())?;
        self.engine().commit(write, durability)
    }

    fn commit_one(&self, operation: Operation) -> Result<u64> {
        let durability = self.engine().settings.durability;
        Ok(self.commit(Write::One(operation), durability)?.changed)
    }

    /// Adds a pair. True if it is new; a pair that is there stays as it is.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn insert(&self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        Ok(self.commit_one(Operation::Insert(key.into(), value.into()))? == 1)
    }

    /// Adds a pair with a durability of its own.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn insert_with(
        &self,
        key: impl Into<E>,
        value: impl Into<E>,
        durability: Durability,
    ) -> Result<Written> {
        let write = Write::One(Operation::Insert(key.into(), value.into()));
        let Outcome { changed, lsn } = self.commit(write, durability)?;
        Ok(Written { new: changed == 1, lsn })
    }

    /// Removes a key with all its values. Answers how many values went: 0 for a key that is not there.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn delete(&self, key: impl Into<E>) -> Result<u64> {
        self.commit_one(Operation::DeleteKey(key.into()))
    }

    /// Removes a key with a durability of its own.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn delete_with(&self, key: impl Into<E>, durability: Durability) -> Result<Written> {
        let write = Write::One(Operation::DeleteKey(key.into()));
        let Outcome { changed, lsn } = self.commit(write, durability)?;
        Ok(Written { new: changed > 0, lsn })
    }

    /// Removes one value of a key. True if it was there.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn delete_value(&self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        Ok(self.commit_one(Operation::DeleteValue(key.into(), value.into()))? == 1)
    }

    /// Adds pairs, all or none of which survive a crash. Answers how many were new.
    ///
    /// Readers may see the first of them before the last; a [snapshot](Self::snapshot) sees all or none.
    ///
    /// # Errors
    ///
    /// [`Error::BatchTooLarge`] if the log can't take it (see [`OpenOptions::wal_bytes`]); nothing was
    /// written then. Else see [`Store`].
    pub fn batch_insert(&self, pairs: &[(E, E)]) -> Result<u64> {
        self.batch(pairs.iter().map(|&(key, value)| Operation::Insert(key, value)).collect())
    }

    /// Removes keys, all or none of which survive a crash. Answers how many values went.
    ///
    /// # Errors
    ///
    /// As [`batch_insert`](Self::batch_insert).
    pub fn batch_delete(&self, keys: &[E]) -> Result<u64> {
        self.batch(keys.iter().map(|&key| Operation::DeleteKey(key)).collect())
    }

    fn batch(&self, operations: Vec<Operation>) -> Result<u64> {
        if operations.is_empty() {
            transaction::check_not_nested(self.engine())?;
            return self.engine().check_writable().map(|()| 0);
        }
        let durability = self.engine().settings.durability;
        Ok(self.commit(Write::Batch(operations), durability)?.changed)
    }

    /// All values of a key; empty if it is not there. Up to four come without allocation.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    #[inline]
    pub fn get(&self, key: impl Into<E>) -> Result<Values> {
        let key = key.into();
        self.reading_key(|reader| reader.get(key))
    }

    /// The values of each key, in the order of the keys. Faster than one by one: memory is fetched ahead.
    ///
    /// Each answer is of some instant of the call, in no order: of two writes that came one after the other meanwhile, it may
    /// show the second alone. A [`snapshot`](Self::snapshot) shows one instant.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn get_many(&self, keys: &[E]) -> Result<Vec<Values>> {
        let mut all = Vec::with_capacity(keys.len());
        self.get_many_with(keys, |_, values| all.push(values))?;
        Ok(all)
    }

    /// As [`get_many`](Self::get_many), handing each key's index and values to `each` as they come.
    ///
    /// # Errors
    ///
    /// See [`Store`]. Some keys may have been answered before.
    pub fn get_many_with(&self, keys: &[E], each: impl FnMut(usize, Values)) -> Result<()> {
        self.engine().shared.note_read();
        self.reading(|reader| reader.get_many(keys, each))
    }

    /// True if the key has values.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn contains_key(&self, key: impl Into<E>) -> Result<bool> {
        let key = key.into();
        self.reading_key(|reader| reader.contains_key(key))
    }

    /// True if the key has this value. O(log n) for large sets.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn contains(&self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        let (key, value) = (key.into(), value.into());
        self.reading_key(|reader| reader.contains(key, value))
    }

    /// How many values the key has; 0 if it is not there. O(1).
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn value_count(&self, key: impl Into<E>) -> Result<u64> {
        let key = key.into();
        self.reading_key(|reader| reader.value_count(key))
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.engine().shared.counters.keys.load(Ordering::Relaxed)
    }

    /// How many pairs there are.
    #[must_use]
    pub fn value_len(&self) -> u64 {
        self.engine().shared.counters.values.load(Ordering::Relaxed)
    }

    /// True if there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether reads are answered at all.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], or [`Error::Forked`] in a fork of the process that opened the store.
    pub fn check_open(&self) -> Result<()> {
        self.engine().shared.check_open()
    }

    /// Log sequence number of the last write that readers see.
    #[must_use]
    pub fn lsn(&self) -> u64 {
        self.engine().shared.counters.applied_lsn.load(Ordering::Acquire)
    }

    /// Log sequence number up to which everything survives a power cut.
    #[must_use]
    pub fn durable_lsn(&self) -> u64 {
        match &self.engine().wal {
            // The log counts records of its own, too.
            Some(wal) => wal.durable_lsn().min(self.lsn()),
            None => self.lsn(),
        }
    }

    /// Returns once the write with this number is durable, syncing the log if it must.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for a number that no write has yet. Else see [`Store`].
    pub fn wait_durable(&self, lsn: u64) -> Result<()> {
        self.engine().shared.check_open()?;
        if self.durable_lsn() >= lsn {
            return Ok(());
        }
        if lsn > self.lsn() {
            let detail = format!("{lsn} is beyond the last write, {}", self.lsn());
            return Err(Error::InvalidOption { option: "lsn", detail });
        }
        self.sync()
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn sync(&self) -> Result<()> {
        transaction::check_not_nested(self.engine())?;
        self.engine().sync_log().map(drop)
    }

    /// Brings everything written so far to the data file, so that the log is not needed for it.
    ///
    /// Happens by itself in the background. It does not make the data file of an open store one that can be copied: such a
    /// copy says that it was not closed, and does not open without its log. [`Snapshot::backup`](crate::Snapshot::backup)
    /// makes a copy that does.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn checkpoint(&self) -> Result<()> {
        transaction::check_not_nested(self.engine())?;
        self.engine().checkpoint()
    }

    /// Closes the store: makes everything durable, marks the file as clean, gives the locks back.
    ///
    /// Later calls that can fail answer [`Error::Closed`] on any handle, this one included; one that goes on meanwhile answers
    /// it, or what was there. Guards, snapshots and iterators stay safe to use; they answer `Closed` too.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if it is closed already; what the last checkpoint met otherwise. The store is closed
    /// either way, and what was acknowledged is in the log.
    pub fn close(&self) -> Result<()> {
        transaction::check_not_nested(self.engine())?;
        self.engine().shared.check_open()?;
        self.engine().close()
    }
}

impl OpenOptions {
    /// Opens the store at `path` with these options.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for an option out of its range; [`Error::NotFound`] if there is no store and none
    /// is to be created; [`Error::NeedsRecovery`] for a read-only open of a store that was not closed
    /// cleanly. Else as [`Store::open`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Store> {
        self.open_on(Arc::new(OsDisk), path)
    }

    /// As [`open`](Self::open), on a disk of the caller's: for tests that make disks fail.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    #[doc(hidden)]
    pub fn open_on(&self, disk: Arc<dyn Disk>, path: impl AsRef<Path>) -> Result<Store> {
        let path = path.as_ref();
        let settings = self.settings(path)?;
        crate::store::open::open(&disk, path, settings).map(Store::from_engine)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.engine().shared.path)
            .field("keys", &self.len())
            .field("values", &self.value_len())
            .finish_non_exhaustive()
    }
}
