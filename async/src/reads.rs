//! The methods that read. They answer in their first poll, unless the options send them to the pool.

use cidstore_core::E;
use cidstore_engine::{Cursor, Entry, Result, Snapshot, Stats, Values};

use crate::options::Reads;
use crate::store::CidStore;
use crate::stream::{FeedStream, KeyStream, PairStream, ValueStream};

impl CidStore {
    /// All values of a key; empty if it is not there. Up to four come without allocation.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    #[inline]
    pub async fn get(&self, key: impl Into<E>) -> Result<Values> {
        let key = key.into();
        // As `read`, without its future around the answer: it would be moved once more.
        match self.reads() {
            Reads::Inline => self.store().get(key),
            Reads::Pool => Box::pin(self.read_on_pool(move |store| store.get(key))).await,
        }
    }

    /// The values of each key, in the order of the keys. Faster than one by one: memory is fetched ahead.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn get_many(&self, keys: &[E]) -> Result<Vec<Values>> {
        let keys = keys.to_vec();
        self.read(move |store| store.get_many(&keys)).await
    }

    /// True if the key has values.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn contains_key(&self, key: impl Into<E>) -> Result<bool> {
        let key = key.into();
        self.read(move |store| store.contains_key(key)).await
    }

    /// True if the key has this value.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn contains(&self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        let (key, value) = (key.into(), value.into());
        self.read(move |store| store.contains(key, value)).await
    }

    /// How many values the key has; 0 if it is not there.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn value_count(&self, key: impl Into<E>) -> Result<u64> {
        let key = key.into();
        self.read(move |store| store.value_count(key)).await
    }

    /// True if the key's values lie in a set of their own; false if they are inline or the key is not there.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn is_spilled(&self, key: impl Into<E>) -> Result<bool> {
        let key = key.into();
        self.read(move |store| store.is_spilled(key)).await
    }

    /// True if a value set exists for the key: the same as [`is_spilled`](Self::is_spilled), by its other name.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn valueset_exists(&self, key: impl Into<E>) -> Result<bool> {
        let key = key.into();
        self.read(move |store| store.valueset_exists(key)).await
    }

    /// Deleted positions in the key's value set that are not yet reused; 0 if it has no set or is not there.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn get_tombstone_count(&self, key: impl Into<E>) -> Result<u64> {
        let key = key.into();
        self.read(move |store| store.get_tombstone_count(key)).await
    }

    /// The entry of a key; `None` if it is not there. Takes the writer's lock, so it runs on the `blocking` pool.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn get_entry(&self, key: impl Into<E>) -> Result<Option<Entry>> {
        let key = key.into();
        self.on_pool(move |store| store.get_entry(key)).await
    }

    /// A consistent point in time, to be read with the methods of [`Snapshot`], which do not wait for writers. Made on the
    /// `blocking` pool.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn snapshot(&self) -> Result<Snapshot> {
        self.on_pool(|store| store.snapshot()).await
    }

    /// The counters of the store, at one time between two writes. Runs on the `blocking` pool; within a transaction
    /// at once, and tells how the store was when that began.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn stats(&self) -> Result<Stats> {
        self.on_pool_or_nested(|store| store.check_open().map(|()| store.stats())).await
    }

    /// All pairs, in no order that means something. Weakly consistent, as [`Scan`](cidstore_engine::Scan) is.
    pub fn iter(&self) -> PairStream {
        self.scan(Cursor::default())
    }

    /// All pairs from a place on, where an earlier scan stopped: see [`PairStream::cursor`].
    pub fn scan(&self, from: Cursor) -> PairStream {
        PairStream::new(self.store().scan(from), self.reads())
    }

    /// All keys, in no order that means something.
    pub fn keys(&self) -> KeyStream {
        KeyStream::new(self.store().keys(), self.reads())
    }

    /// The values of a key, a leaf at a time: sets of any size in bounded memory. Nothing for a key that is not there.
    ///
    /// Weakly consistent: a value that is there all the time comes exactly once.
    pub fn values(&self, key: impl Into<E>) -> ValueStream {
        ValueStream::new(self.store().scan_values(key), self.reads())
    }

    /// The changes of all writes from this number on, and of those to come: see [`Feed`](cidstore_engine::Feed). The first
    /// number after which nothing is missed is that of a snapshot plus one. Made on the `blocking` pool.
    ///
    /// # Errors
    ///
    /// As [`Store::subscribe`](cidstore_engine::Store::subscribe).
    pub async fn subscribe(&self, from_lsn: u64) -> Result<FeedStream> {
        self.on_pool(move |store| store.subscribe(from_lsn).map(FeedStream::new)).await
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.store().len()
    }

    /// How many pairs there are.
    #[must_use]
    pub fn value_len(&self) -> u64 {
        self.store().value_len()
    }

    /// True if there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.store().is_empty()
    }

    /// Log sequence number of the last write that readers see.
    #[must_use]
    pub fn lsn(&self) -> u64 {
        self.store().lsn()
    }

    /// Log sequence number up to which everything survives a power cut.
    #[must_use]
    pub fn durable_lsn(&self) -> u64 {
        self.store().durable_lsn()
    }
}
