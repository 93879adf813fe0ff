//! [`CidStore`]: the handle that tasks share; opening and closing.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use cidstore_engine::{
    Applied, Durability, Error, GroupWrite, Metrics, Result, Storage, Store, Wal,
};

use crate::consumer::Consumer;
use crate::options::{CidStoreOptions, Reads};
use crate::queue::{Queue, queue};

/// A durable, concurrent multimap from 128-bit keys to sets of 128-bit values, for tasks of any executor.
///
/// A `CidStore` is a handle: cloning it is cheap, and all clones are the same store. Reads answer at once. Writes are
/// queued, applied in groups by a background task, and resolve when their durability is reached; so ten thousand
/// tasks that write durably share a few syncs. A small write that waits for no sync is applied at once if nothing is queued.
///
/// ```
/// use cidstore_core::E;
/// use cidstore_engine::{Error, Storage, Wal};
/// use cidstore_async::CidStore;
/// # fn main() -> Result<(), Error> { futures_lite::future::block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let (data, log) = (folder.path().join("mydata.h5"), folder.path().join("mywal.log"));
/// let store = CidStore::new(Storage::open(data)?, Wal::open(log)?).await?;
/// assert!(store.insert(E::from_name("foo"), E::from(123)).await?);
/// assert_eq!(store.get(E::from_name("foo")).await?.to_vec(), [E::from(123)]);
/// assert_eq!(store.delete(E::from_name("foo")).await?, 1);
/// store.close().await
/// # }) }
/// ```
///
/// # Dropped futures
///
/// A write that is dropped before its turn in the queue, or was never polled, does not happen; dropped later, it happens, and
/// only the answer is lost. Either way it happens whole or not at all. A dropped read leaves nothing. What runs on the
/// `blocking` pool (each such method says so) runs to its end once it has begun.
///
/// # Errors
///
/// Those of [`Store`], of the method with the same name. After [`close`](Self::close) every method that answers a `Result`
/// answers [`Error::Closed`], a stream as its next item; `len`, `value_len`, `is_empty`, `lsn` and `durable_lsn` tell how the
/// store was left. If the store fails while a write waits for its sync, the write answers [`Error::OutcomeUnknown`].
#[derive(Clone, Debug)]
pub struct CidStore {
    // In this order: the consumer ends before the last handle closes the store.
    inner: Arc<Inner>,
    store: Store,
    reads: Reads,
}

#[derive(Debug)]
struct Inner {
    /// `None` only while it is dropped.
    queue: Option<Queue>,
    /// Runs the consumer, unless the caller does.
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Who has that thread: a fork of it has not.
    process: u32,
    /// Writes that were called and do not wait for a sync.
    unsynced_calls: AtomicU64,
    /// To tell whether the last handle goes within a transaction.
    store: Store,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Without senders the consumer finishes what is queued and ends.
        self.queue = None;
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        if self.process != std::process::id() {
            // Neither to be waited for nor to be let go.
            return std::mem::forget(thread);
        }
        if self.store.check_not_nested().is_err() {
            // What is queued waits for the transaction that this thread is in: the consumer finishes it alone.
            return drop(thread);
        }
        // The consumer itself drops the last handle if that lay in a task which it woke.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the consumer of the writes has panicked");
        }
    }
}

impl CidStore {
    /// Opens the store in these two files with default options: creates it if neither exists, recovers it if it was not
    /// closed. Runs on the `blocking` pool.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub async fn new(storage: Storage, wal: Wal) -> Result<Self> {
        Self::options().open_files(storage, wal).await
    }

    /// Opens the store at `path`, or creates it, with default options and the log beside it. Runs on the `blocking` pool.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::options().open(path).await
    }

    /// Options to open with.
    pub fn options() -> CidStoreOptions {
        CidStoreOptions::default()
    }

    /// The asynchronous face of a store that is open already.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the consumer's thread can't be started, [`Error::Closed`] if the store is closed.
    pub fn from_store(store: Store) -> Result<Self> {
        Self::options().on(store)
    }

    /// The synchronous handle, for what has no method here. It blocks: not for a task, unless on a pool of threads.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Finishes all writes that were called before, makes everything durable, marks the file as clean and gives the locks
    /// back. Calls that come later, on any handle, answer [`Error::Closed`].
    ///
    /// Waits until all earlier writes are answered; dropped before that it does nothing, dropped later the store closes
    /// all the same. A write that has been polled and is then neither polled nor dropped keeps its place in the queue,
    /// and so keeps the store open.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if it is closed already; what the last checkpoint met otherwise. The store is closed either way.
    pub async fn close(&self) -> Result<()> {
        // A fork has no consumer that could answer.
        self.store.check_open()?;
        // Nor could the consumer close while this thread has the writer's lock.
        self.store.check_not_nested()?;
        self.queue()?.close().await
    }

    fn queue(&self) -> Result<&Queue> {
        self.inner.queue.as_ref().ok_or(Error::Closed)
    }

    /// Queues a write and waits for its durability.
    pub(crate) async fn write_queued(
        &self,
        write: GroupWrite,
        durability: Durability,
    ) -> Result<Applied> {
        self.store().admit(&write)?;
        let start = self.start_of_write(durability);
        let applied = self.queue()?.write(self.store(), write, durability).await?;
        if let Some(start) = start {
            self.store().note_latency(durability, start.elapsed());
        }
        Ok(applied)
    }

    /// The clock at the call of a write, if the write is to be measured.
    fn start_of_write(&self, durability: Durability) -> Option<Instant> {
        // Counted by call: the engine's count of writes goes on by whole groups, and could miss the same calls always.
        // Relaxed: nothing but the number counts.
        let is_measured = durability == Durability::Immediate
            || self
                .inner
                .unsynced_calls
                .fetch_add(1, Ordering::Relaxed)
                .is_multiple_of(Metrics::SAMPLED_PART);
        is_measured.then(Instant::now)
    }

    /// Runs a read where the options say.
    #[inline]
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match self.reads {
            Reads::Inline => read(self.store()),
            // Boxed, so that the future of a read that needs no pool is small.
            Reads::Pool => Box::pin(self.read_on_pool(read)).await,
        }
    }

    /// Runs a read on the pool. It waits for nobody, so it may come from within a transaction, too.
    pub(crate) async fn read_on_pool<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.store().clone();
        blocking::unblock(move || read(&store)).await
    }

    /// Runs what may wait for the writer on the pool, but not from within a transaction.
    pub(crate) async fn on_pool<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        // Here: the pool's thread would not know, and wait for this one.
        self.store().check_not_nested()?;
        self.read_on_pool(work).await
    }

    /// As [`on_pool`](Self::on_pool), for what the store answers within a transaction, too: that then runs here.
    pub(crate) async fn on_pool_or_nested<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.store().check_not_nested().is_err() {
            return work(self.store());
        }
        self.read_on_pool(work).await
    }

    pub(crate) fn reads(&self) -> Reads {
        self.reads
    }
}

impl CidStoreOptions {
    /// Opens the store at `path` with these options. Runs on the `blocking` pool.
    ///
    /// # Errors
    ///
    /// As [`OpenOptions::open`](cidstore_engine::OpenOptions::open).
    pub async fn open(self, path: impl AsRef<Path>) -> Result<CidStore> {
        let path = path.as_ref().to_path_buf();
        blocking::unblock(move || self.on(self.store.clone().maintained().open(path)?)).await
    }

    /// Opens the store in these two files with these options. Runs on the `blocking` pool.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_files(mut self, storage: Storage, wal: Wal) -> Result<CidStore> {
        self.store = self.store.wal_path(wal.path);
        self.open(storage.path).await
    }

    /// As [`open`](Self::open), for a program that runs the [`Consumer`] on an executor of its own. No write resolves
    /// before somebody polls it.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_with_consumer(self, path: impl AsRef<Path>) -> Result<(CidStore, Consumer)> {
        let path = path.as_ref().to_path_buf();
        let options = self.store.clone().maintained();
        let store = blocking::unblock(move || options.open(path)).await?;
        Ok(self.with_consumer(store))
    }

    /// The asynchronous face of a store that is open already, and the consumer to run.
    pub fn with_consumer(&self, store: Store) -> (CidStore, Consumer) {
        let (queue, requests) = queue(self.queue_changes, false);
        let consumer = Consumer::new(store.clone(), requests, false);
        (self.handle(store, queue, None), consumer)
    }

    /// The asynchronous face of a store that is open already.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the consumer's thread can't be started, [`Error::Closed`] if the store is closed.
    pub fn on(&self, store: Store) -> Result<CidStore> {
        // Where reads go to the pool because they may fault, writes stay on the consumer's thread: so may they.
        let (queue, requests) = queue(self.queue_changes, self.reads == Reads::Inline);
        let consumer = Consumer::new(store.clone(), requests, true);
        let path = store.storage()?.path;
        let thread = std::thread::Builder::new()
            .name("cidstore-writes".into())
            .spawn(move || futures_lite::future::block_on(consumer))
            .map_err(|source| Error::Io { path, action: "start a thread for", source })?;
        Ok(self.handle(store, queue, Some(thread)))
    }

    fn handle(&self, store: Store, queue: Queue, thread: Option<JoinHandle<()>>) -> CidStore {
        let inner = Inner {
            queue: Some(queue),
            thread: Mutex::new(thread),
            process: std::process::id(),
            unsynced_calls: AtomicU64::new(0),
            store: store.clone(),
        };
        CidStore { inner: Arc::new(inner), store, reads: self.reads }
    }
}
