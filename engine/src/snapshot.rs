//! Snapshots: the store as it was at one point in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cidstore_core::E;

use crate::error::{Error, Result};
use crate::handle::Store;
use crate::scan::{Cursor, Keys, Scan, Source};
use crate::store::engine::Engine;
use crate::table::FrozenTables;
use crate::transaction;
use crate::values::Values;

/// The tables of a snapshot, kept as long as anything reads from it.
pub(crate) struct Frozen {
    store: Store,
    tables: Arc<FrozenTables>,
    lsn: u64,
    keys: u64,
    values: u64,
    /// Each page that is read is checked, as with `verify_reads`.
    checks_pages: AtomicBool,
}

impl Frozen {
    /// Has each page checked from now on that is read from the snapshot.
    pub(crate) fn check_pages(&self) {
        // Relaxed: whoever asks for it reads on the same thread, for others it is early or late.
        self.checks_pages.store(true, Ordering::Relaxed);
    }

    pub(crate) fn checks_pages(&self) -> bool {
        self.checks_pages.load(Ordering::Relaxed)
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.store.engine()
    }

    pub(crate) fn tables(&self) -> &FrozenTables {
        &self.tables
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // The writer forgets it when it next collects; nothing here waits for the writer.
        self.tables.mark_dropped();
    }
}

/// The store as it was at one point in time, between two writes or batches. Cheap to make and to clone; reading
/// it takes no lock. While it lives, pages that it needs are kept: see [`Stats`](crate::Stats).
#[derive(Clone)]
pub struct Snapshot {
    frozen: Arc<Frozen>,
}

impl Store {
    /// Freezes the present state: every write that was answered is in, none that comes later.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn snapshot(&self) -> Result<Snapshot> {
        transaction::check_not_nested(self.engine())?;
        let engine = self.engine();
        engine.shared.check_open()?;
        let mut state = engine.writer();
        let tables = state.writer.freeze();
        let counters = &engine.shared.counters;
        let frozen = Frozen {
            store: self.clone(),
            tables,
            lsn: counters.applied_lsn.load(Ordering::Relaxed),
            keys: counters.keys.load(Ordering::Relaxed),
            values: counters.values.load(Ordering::Relaxed),
            checks_pages: AtomicBool::new(false),
        };
        drop(state);
        Ok(Snapshot { frozen: Arc::new(frozen) })
    }
}

impl Snapshot {
    pub(crate) fn frozen(&self) -> &Frozen {
        &self.frozen
    }

    /// All values that the key had.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn get(&self, key: impl Into<E>) -> Result<Values> {
        let key = key.into();
        self.frozen.reading(|reader| reader.get(key))
    }

    /// True if the key had this value.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn contains(&self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        let (key, value) = (key.into(), value.into());
        self.frozen.reading(|reader| reader.contains(key, value))
    }

    /// True if the key had values.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn contains_key(&self, key: impl Into<E>) -> Result<bool> {
        let key = key.into();
        self.frozen.reading(|reader| reader.contains_key(key))
    }

    /// How many values the key had.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn value_count(&self, key: impl Into<E>) -> Result<u64> {
        let key = key.into();
        self.frozen.reading(|reader| reader.value_count(key))
    }

    /// All pairs, each exactly once.
    #[must_use]
    pub fn iter(&self) -> Scan {
        self.scan(Cursor::default())
    }

    /// All pairs from a place on. See [`Scan::cursor`].
    #[must_use]
    pub fn scan(&self, from: Cursor) -> Scan {
        Scan::new(Source::Frozen(Arc::clone(&self.frozen)), from)
    }

    /// All keys, each exactly once.
    #[must_use]
    pub fn keys(&self) -> Keys {
        Keys::new(Source::Frozen(Arc::clone(&self.frozen)))
    }

    /// How many keys there were.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.frozen.keys
    }

    /// How many pairs there were.
    #[must_use]
    pub fn value_len(&self) -> u64 {
        self.frozen.values
    }

    /// True if there was no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Log sequence number of the last write that is in.
    #[must_use]
    pub fn lsn(&self) -> u64 {
        self.frozen.lsn
    }

    /// Writes the snapshot as a store of its own to `path`, where nothing is yet: compact, cleanly closed, with a
    /// new hash seed and id. Writers of this store go on meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) if something is at `path`; else as [`Store::open`]
    /// and [`Store::bulk_load`] there. What was written is removed then.
    pub fn backup(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        crate::backup::backup(self, path.as_ref())
    }

    /// Has each page checked from now on that is read from the snapshot or a clone of it. For those who write what they read
    /// with checksums of their own, and would make damage look sound.
    #[doc(hidden)]
    pub fn check_pages(&self) {
        self.frozen.check_pages();
    }

    /// Device and inode of the store's file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the system does not tell.
    #[doc(hidden)]
    pub fn file_identity(&self) -> Result<(u64, u64)> {
        let identity = self.frozen.engine().shared.file.identity()?;
        Ok((identity.device, identity.inode))
    }

    /// What is said of damage in the snapshot that its reader found.
    #[doc(hidden)]
    #[must_use]
    pub fn corrupt(&self, detail: &str) -> Error {
        self.frozen.engine().shared.corrupt(detail)
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("lsn", &self.lsn())
            .field("keys", &self.len())
            .field("values", &self.value_len())
            .finish_non_exhaustive()
    }
}
