//! Maintenance and looking inside. All of it runs on the `blocking` pool, beside reads and writes; it is not in the
//! queue. None of it changes what a reader sees. From within a transaction it is refused, but for what only tells.

use std::io;

use cidstore_core::E;
use cidstore_engine::{CompactReport, Decision, Error, Metrics, Report, Result};
use tokio::sync::mpsc::{Sender, channel};

use crate::store::CidStore;

/// Pieces of a dump that lie between the pool and the task.
const DUMP_PIECES: usize = 16;

impl CidStore {
    /// Sorts all buckets and sets, drops tombstones, merges what is sparse, and makes the file as short as it can.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn compact(&self) -> Result<CompactReport> {
        self.on_pool(|store| store.compact()).await
    }

    /// Merges sparse buckets with their buddies, and halves the directory where that allows it. Answers how many
    /// merges there were.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn merge(&self) -> Result<u64> {
        self.on_pool(|store| store.merge()).await
    }

    /// Collects garbage until there is none. Answers how many sets changed their place.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn gc(&self) -> Result<u64> {
        self.on_pool(|store| store.gc()).await
    }

    /// One pass of garbage collection. Answers how many sets changed their place.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn run_gc_once(&self) -> Result<u64> {
        self.on_pool(|store| store.run_gc_once()).await
    }

    /// One pass over everything that background maintenance cares for: sorts, merges, collects. Answers how much it
    /// changed; 0 means all was well.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn background_maintenance(&self) -> Result<u64> {
        self.on_pool(|store| store.background_maintenance()).await
    }

    /// Brings the values of a key back inline if there are at most four. True if it did; false for a key that is not
    /// there, is inline already or has more.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn demote_if_possible(&self, key: impl Into<E>) -> Result<bool> {
        let key = key.into();
        self.on_pool(move |store| store.demote_if_possible(key)).await
    }

    /// Looks at what happened lately and may change a setting, as [`Store::auto_tune`](cidstore_engine::Store::auto_tune)
    /// does. Tells what it decided, and why.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn auto_tune(&self, metrics: &Metrics) -> Result<Decision> {
        let metrics = metrics.clone();
        self.on_pool_or_nested(move |store| store.auto_tune(&metrics)).await
    }

    /// What the store has done so far, for [`auto_tune`](Self::auto_tune) and for differences.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn metrics(&self) -> Result<Metrics> {
        self.on_pool_or_nested(|store| store.check_open().map(|()| store.metrics())).await
    }

    /// The metrics as OpenMetrics text, for Prometheus.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn expose_metrics(&self) -> Result<String> {
        self.on_pool(|store| store.expose_metrics()).await
    }

    /// Brings everything written so far to the data file. Happens by itself in the background.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn checkpoint(&self) -> Result<()> {
        self.on_pool(|store| store.checkpoint()).await
    }

    /// Checks the whole store, as [`Store::verify`](cidstore_engine::Store::verify) does.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn verify(&self) -> Result<Report> {
        self.on_pool(|store| store.verify()).await
    }

    /// Compares every page with its checksum and, with `repair`, puts right what can be told for certain, as
    /// [`Store::scrub`](cidstore_engine::Store::scrub) does.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn scrub(&self, repair: bool) -> Result<Report> {
        self.on_pool(move |store| store.scrub(repair)).await
    }

    /// Writes the whole structure as text to `out`: counters, then each bucket with its keys and values. The text is
    /// made on the pool and written here, a bucket at a time.
    ///
    /// Dropped, it leaves `out` with a part of the text.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if `out` fails. Else see [`CidStore`].
    pub async fn debug_dump(&self, out: &mut (impl io::Write + Send)) -> Result<()> {
        let path = self.store().storage()?.path;
        // Here, as for all that runs on the pool.
        self.store().check_not_nested()?;
        let (sender, mut pieces) = channel(DUMP_PIECES);
        let store = self.store().clone();
        let dump = blocking::unblock(move || store.debug_dump(&mut Pieces(sender)));
        while let Some(piece) = pieces.recv().await {
            if let Err(source) = out.write_all(&piece) {
                return Err(Error::Io { path, action: "dump", source });
            }
        }
        dump.await
    }
}

/// Hands what is written to it over to the task.
struct Pieces(Sender<Vec<u8>>);

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(bytes.to_vec());
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
