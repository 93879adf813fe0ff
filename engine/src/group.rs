//! Writing without a thread of one's own: groups of writes for whoever gathers them, and a future that says when
//! one is durable. The asynchronous face is built on this.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use cidstore_core::E;

use crate::error::{Error, Result};
use crate::handle::Store;
use crate::options::Durability;
use crate::store::commit::Write;
use crate::store::engine::Engine;
use crate::transaction;
use crate::waiters::Place;
use crate::writer::apply::Operation;

/// One write of a group: a single change, or a batch that counts as one.
#[derive(Debug)]
pub struct GroupWrite(Write);

impl GroupWrite {
    /// Adds a pair.
    #[must_use]
    pub fn insert(key: E, value: E) -> Self {
        Self(Write::One(Operation::Insert(key, value)))
    }

    /// Removes one value of a key.
    #[must_use]
    pub fn delete_value(key: E, value: E) -> Self {
        Self(Write::One(Operation::DeleteValue(key, value)))
    }

    /// Removes a key with all its values.
    #[must_use]
    pub fn delete(key: E) -> Self {
        Self(Write::One(Operation::DeleteKey(key)))
    }

    /// Adds pairs, all or none.
    #[must_use]
    pub fn batch_insert(pairs: &[(E, E)]) -> Self {
        let insert = |&(key, value): &(E, E)| Operation::Insert(key, value);
        Self(Write::Batch(pairs.iter().map(insert).collect()))
    }

    /// Removes keys, all or none.
    #[must_use]
    pub fn batch_delete(keys: &[E]) -> Self {
        Self(Write::Batch(keys.iter().map(|&key| Operation::DeleteKey(key)).collect()))
    }

    /// How many changes it has.
    #[must_use]
    pub fn change_count(&self) -> usize {
        match &self.0 {
            Write::One(_) => 1,
            Write::Batch(operations) => operations.len(),
        }
    }
}

/// What a write of a group did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Pairs that came or went.
    pub changed: u64,
    /// Log sequence number of the write's last record.
    pub lsn: u64,
}

impl Store {
    /// Refuses what [`apply_group`](Self::apply_group) would refuse whatever happens meanwhile: a write on a store
    /// that takes none, from within a transaction on this thread, or larger than the log.
    ///
    /// # Errors
    ///
    /// [`Error::Nested`], [`Error::BatchTooLarge`]; else see [`Store`].
    pub fn admit(&self, write: &GroupWrite) -> Result<()> {
        transaction::check_not_nested(self.engine())?;
        self.engine().check_writable()?;
        self.engine().check_size(&write.0)
    }

    /// Carries out admitted writes in their order and tells `answer` what became of each: its place in the group, and
    /// its outcome. Others' writes may come before or after the group.
    ///
    /// They are logged and visible when this returns, but not synced: see [`request_sync`](Self::request_sync) and
    /// [`when_durable`](Self::when_durable). Waits for others' writes, and for a checkpoint if there is no room.
    pub fn apply_group<'a>(
        &self,
        writes: impl IntoIterator<Item = &'a GroupWrite>,
        mut answer: impl FnMut(usize, Result<Applied>),
    ) {
        self.group(writes, true, &mut answer);
    }

    /// As [`apply_group`](Self::apply_group), but stops before the first write that would have to wait. Answers how
    /// many were carried out.
    pub fn try_apply_group<'a>(
        &self,
        writes: impl IntoIterator<Item = &'a GroupWrite>,
        mut answer: impl FnMut(usize, Result<Applied>),
    ) -> usize {
        self.group(writes, false, &mut answer)
    }

    fn group<'a>(
        &self,
        writes: impl IntoIterator<Item = &'a GroupWrite>,
        may_wait: bool,
        answer: &mut dyn FnMut(usize, Result<Applied>),
    ) -> usize {
        let writes = writes.into_iter().map(|write| &write.0);
        self.engine().commit_group(writes, may_wait, |at, outcome| {
            answer(at, outcome.map(|done| Applied { changed: done.changed, lsn: done.lsn }));
        })
    }

    /// The durability of writes that do not name their own.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.engine().settings.durability
    }

    /// Notes how long a write of a group took, from its call to its answer, which was no error: whoever gathers the
    /// group knows. For the metrics and for auto-tuning.
    pub fn note_latency(&self, durability: Durability, took: Duration) {
        self.engine().shared.events.note_latency(durability, took);
    }

    /// Asks that everything written so far be durable at most `within` later, or sooner if auto-tuning has shortened
    /// the flush interval, and returns at once.
    pub fn request_sync(&self, within: Duration) {
        let engine = self.engine();
        if engine.wal.is_some() {
            engine.background.request_sync(engine.tuned.flush_within(within));
        }
    }

    /// A future that ends once the write with this number is durable. Asks for a sync when it is first polled.
    ///
    /// Any executor can run it. It does not keep the store open.
    pub fn when_durable(&self, lsn: u64) -> WhenDurable {
        WhenDurable { engine: Arc::clone(self.engine()), lsn, place: None }
    }
}

/// Ends when a write is durable. Made by [`Store::when_durable`].
///
/// Answers [`Error::OutcomeUnknown`] if the store fails before, [`Error::Closed`] if it is closed before, and
/// [`Error::InvalidOption`] for a number that no write has yet. First polled within a transaction of
/// the store, it answers [`Error::Nested`] rather than wait.
#[must_use = "futures do nothing unless polled"]
pub struct WhenDurable {
    engine: Arc<Engine>,
    lsn: u64,
    /// Where its waker lies, after the first poll.
    place: Option<Place>,
}

impl WhenDurable {
    /// The number that it waits for.
    #[must_use]
    pub fn lsn(&self) -> u64 {
        self.lsn
    }

    /// What a poll answers now.
    fn look(engine: &Engine, lsn: u64) -> Poll<Result<()>> {
        let shared = &engine.shared;
        let applied = shared.counters.applied_lsn.load(std::sync::atomic::Ordering::Acquire);
        // Without a log open the store is only read: all that is in it is durable.
        let durable = engine.wal.as_ref().map_or(applied, |wal| wal.durable_lsn());
        if lsn > applied {
            let detail = format!("{lsn} is beyond the last write, {applied}");
            return Poll::Ready(Err(Error::InvalidOption { option: "lsn", detail }));
        }
        if durable >= lsn {
            return Poll::Ready(Ok(()));
        }
        if let Some(cause) = shared.failure() {
            return Poll::Ready(Err(Error::OutcomeUnknown { cause }));
        }
        // While a store is being closed its last sync is still to come.
        if shared.has_ended() { Poll::Ready(Err(Error::Closed)) } else { Poll::Pending }
    }
}

/// A clone waits for the same number on its own.
impl Clone for WhenDurable {
    fn clone(&self) -> Self {
        Self { engine: Arc::clone(&self.engine), lsn: self.lsn, place: None }
    }
}

impl Future for WhenDurable {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let lsn = self.lsn;
        let is_first = self.place.is_none();
        let waiters = &self.engine.shared.durable_waiters;
        let place = self.place.unwrap_or_else(|| waiters.place(lsn));
        let answer = waiters.poll(place, context, || {
            let answer = Self::look(&self.engine, lsn);
            match transaction::check_not_nested(&self.engine) {
                // The sync needs the lock that this thread has: who waits for it here does so for ever.
                Err(nested) if is_first && answer.is_pending() => Poll::Ready(Err(nested)),
                _ => answer,
            }
        });
        if answer.is_pending() && is_first {
            self.engine.background.request_sync(Duration::ZERO);
        }
        self.place = Some(place);
        answer
    }
}

impl Drop for WhenDurable {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.engine.shared.durable_waiters.forget(place);
        }
    }
}

impl fmt::Debug for WhenDurable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WhenDurable").field("lsn", &self.lsn).finish_non_exhaustive()
    }
}
