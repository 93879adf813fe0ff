//! [`Feed`]: what the log says, as it is written.
//!
//! A feed reads the log's file behind the writer and never ahead of what is applied, so what it reads is whole. That a
//! record is the one expected, each record proves itself; one that is not was overwritten, and the feed has lagged.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use cidstore_core::E;
use cidstore_core::layout::record::{Opcode, RECORD_BYTES, RING_START, Record};

use crate::error::{Error, Result};
use crate::handle::Store;
use crate::store::engine::Engine;
use crate::transaction;
use crate::waiters::Place;

/// Records that are read at once.
const PIECE_RECORDS: u64 = 4096;
/// How long a feed of durable changes waits at most before it asks for a sync. No time passes under a scheduler.
const SYNC_WITHIN: Duration = Duration::from_millis(if cfg!(shuttle) { 0 } else { 5 });

/// What happened to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FeedChange {
    /// A pair was added, or was there already.
    Insert {
        /// The key.
        key: E,
        /// The value.
        value: E,
    },
    /// A value was removed from a key, or was not there.
    DeleteValue {
        /// The key.
        key: E,
        /// The value.
        value: E,
    },
    /// A key was removed with all its values, or was not there.
    Delete {
        /// The key.
        key: E,
    },
    /// Many pairs came at once, past the log: what a feed shows of the store is whole again only after a look at it.
    BulkLoaded,
}

/// A change, with the number of the write that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedItem {
    /// Number of the write; all changes of a batch or transaction have the same. A subscriber that has dealt with the last
    /// of them goes on at this plus one.
    pub lsn: u64,
    /// True for the last change of its write.
    pub last: bool,
    /// What happened.
    pub change: FeedChange,
}

/// The changes of a store, in the order in which they were applied. Made by [`Store::subscribe`].
///
/// Polled by a task ([`poll_next`](Self::poll_next)); it never blocks, but to read the log's file, which is mostly in memory.
/// It does not keep the store open, and ends with [`Error::Closed`] when that is closed. After an error it ends.
pub struct Feed {
    engine: Arc<Engine>,
    reader: u64,
    salt: u64,
    /// Writes before this number are passed over.
    from: u64,
    /// The next record, and where it lies.
    lsn: u64,
    offset: u64,
    /// Changes of a batch whose end was not read yet.
    batch: Option<Vec<FeedChange>>,
    items: VecDeque<FeedItem>,
    piece: Vec<u8>,
    durable_only: bool,
    /// Where its waker lies.
    place: Option<(Place, bool)>,
    ended: bool,
}

impl Store {
    /// The changes of all writes from this number on, and of those to come. See [`Feed`].
    ///
    /// The first number after which nothing is missed: that of a [snapshot](Self::snapshot) plus one, or
    /// [`lsn`](Self::lsn) plus one for what comes from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Lagged`] if the log no longer has that number; [`Error::InvalidOption`] if it is beyond the next write;
    /// [`Error::ReadOnly`] for a store that is only read. Else see [`Store`].
    pub fn subscribe(&self, from_lsn: u64) -> Result<Feed> {
        let engine = self.engine();
        transaction::check_not_nested(engine)?;
        engine.shared.check_open()?;
        let state = engine.writer();
        let Some(log) = &state.log else { return Err(Error::ReadOnly) };
        let next = log.last_lsn() + 1;
        if from_lsn > next {
            let detail = format!("{from_lsn} is beyond the next write, {next}");
            return Err(Error::InvalidOption { option: "from_lsn", detail });
        }
        let Some(place) = log.place_before(from_lsn) else {
            return Err(Error::Lagged { from: from_lsn, oldest: log.oldest_lsn() });
        };
        Ok(Feed {
            // Under the writer lock: no checkpoint gives the record up in between.
            reader: engine.feeds.enter(place.lsn),
            engine: Arc::clone(engine),
            salt: log.salt(),
            from: from_lsn,
            lsn: place.lsn,
            offset: place.offset,
            batch: None,
            items: VecDeque::new(),
            piece: Vec::new(),
            durable_only: false,
            place: None,
            ended: false,
        })
    }
}

impl Feed {
    /// Only what no power cut can take back. The feed then asks for syncs, some milliseconds apart. Otherwise it gives what
    /// readers see.
    #[must_use]
    pub fn durable_only(mut self) -> Self {
        self.durable_only = true;
        self
    }

    /// The next change, if there is one; else the task is woken when there is.
    ///
    /// # Errors
    ///
    /// In the item: [`Error::Lagged`], [`Error::Closed`], [`Error::Failed`], [`Error::Io`], [`Error::Corrupt`].
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<FeedItem>>> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Poll::Ready(Some(Ok(item)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let limit = match self.poll_limit(context) {
                Poll::Ready(Ok(limit)) => limit,
                Poll::Ready(Err(error)) => return self.end(error),
                Poll::Pending => return Poll::Pending,
            };
            if let Err(error) = self.read(limit) {
                return self.end(error);
            }
        }
    }

    fn end(&mut self, error: Error) -> Poll<Option<Result<FeedItem>>> {
        self.ended = true;
        self.engine.feeds.leave(self.reader);
        Poll::Ready(Some(Err(error)))
    }

    /// The last record that may be read, once that is the next one or a later one.
    fn poll_limit(&mut self, context: &mut Context<'_>) -> Poll<Result<u64>> {
        loop {
            self.forget_place();
            let engine = Arc::clone(&self.engine);
            let applied = || engine.shared.counters.applied_lsn.load(Ordering::Acquire);
            let wants_sync = self.durable_only && applied() >= self.lsn;
            let shared = &engine.shared;
            let waiters =
                if wants_sync { &shared.durable_waiters } else { &shared.applied_waiters };
            let place = waiters.place(self.lsn);
            let answer = waiters.poll(place, context, || self.look());
            if answer.is_pending() {
                self.place = Some((place, wants_sync));
                if wants_sync {
                    engine.background.request_sync(SYNC_WITHIN);
                } else if self.durable_only && applied() >= self.lsn {
                    // Applied meanwhile, and whoever did that has woken the list before this was in it.
                    continue;
                }
            }
            return answer;
        }
    }

    /// Takes its waker out of the list in which it lies: in the other one its place may be somebody else's.
    fn forget_place(&mut self) {
        if let Some((place, is_for_sync)) = self.place.take() {
            let shared = &self.engine.shared;
            let waiters =
                if is_for_sync { &shared.durable_waiters } else { &shared.applied_waiters };
            waiters.forget(place);
        }
    }

    fn look(&self) -> Poll<Result<u64>> {
        let shared = &self.engine.shared;
        let mut limit =
            shared.counters.applied_lsn.load(Ordering::Acquire).min(self.engine.feeds.limit());
        if self.durable_only
            && let Some(wal) = &self.engine.wal
        {
            limit = limit.min(wal.durable_lsn());
        }
        if let Err(error) = shared.check_open() {
            return Poll::Ready(Err(error));
        }
        if limit >= self.lsn {
            return Poll::Ready(Ok(limit));
        }
        shared.check_writable().map_or_else(|error| Poll::Ready(Err(error)), |()| Poll::Pending)
    }

    /// Reads a piece of the log, up to this record at the most.
    fn read(&mut self, limit: u64) -> Result<()> {
        let engine = Arc::clone(&self.engine);
        let Some(wal) = &engine.wal else { return Err(Error::ReadOnly) };
        let records = (limit - self.lsn + 1).min(PIECE_RECORDS);
        let bytes = (records * RECORD_BYTES as u64).min(wal.end()?.saturating_sub(self.offset));
        let mut piece = std::mem::take(&mut self.piece);
        piece.resize(bytes as usize, 0);
        let taken = wal.read_at(self.offset, &mut piece).and_then(|()| self.take_all(&piece));
        self.piece = piece;
        engine.feeds.advance(self.reader, self.lsn);
        taken
    }

    /// Takes the records of a piece, up to where the log goes on elsewhere.
    fn take_all(&mut self, piece: &[u8]) -> Result<()> {
        for bytes in piece.as_chunks::<RECORD_BYTES>().0 {
            let record = Record::check(bytes, self.salt, self.lsn)
                .map_err(|reason| self.not_expected(&reason.to_string()))?;
            let opcode = record.opcode();
            self.take(&record)?;
            self.lsn += 1;
            if opcode == Some(Opcode::Wrap) {
                self.offset = RING_START;
                break;
            }
            self.offset += RECORD_BYTES as u64;
        }
        Ok(())
    }

    /// Why the record is not there: it was given up, or it is damaged.
    fn not_expected(&self, reason: &str) -> Error {
        if let Err(nested) = transaction::check_not_nested(&self.engine) {
            return nested;
        }
        // Of a closed store the log may be another opener's.
        if let Err(closed) = self.engine.shared.check_open() {
            return closed;
        }
        let oldest = self.engine.writer().log.as_ref().map_or(u64::MAX, |log| log.oldest_lsn());
        if self.lsn < oldest {
            return Error::Lagged { from: self.lsn.max(self.from), oldest };
        }
        let detail = format!("record {} of the log: {reason}", self.lsn);
        Error::Corrupt { path: self.engine.settings.wal_path.clone(), offset: self.offset, detail }
    }

    fn take(&mut self, record: &Record) -> Result<()> {
        let (key, value) = (record.key, record.value);
        match record.opcode() {
            Some(Opcode::Insert) => self.change(record.lsn, FeedChange::Insert { key, value }),
            Some(Opcode::DeleteValue) => {
                self.change(record.lsn, FeedChange::DeleteValue { key, value })
            }
            Some(Opcode::DeleteKey) => self.change(record.lsn, FeedChange::Delete { key }),
            Some(Opcode::Begin) => self.batch = Some(Vec::new()),
            Some(Opcode::Commit) => {
                let changes = self.batch.take().ok_or_else(|| self.not_expected("no begin"))?;
                let count = changes.len();
                for (at, change) in changes.into_iter().enumerate() {
                    self.give(FeedItem { lsn: record.lsn, last: at + 1 == count, change });
                }
            }
            Some(Opcode::Sync) => match self.engine.feeds.is_load(record.lsn) {
                Ok(false) => {}
                Err(_) if record.lsn < self.from => {}
                Ok(true) => {
                    let change = FeedChange::BulkLoaded;
                    self.give(FeedItem { lsn: record.lsn, last: true, change });
                }
                Err(forgotten) => {
                    let (from, oldest) = (self.lsn.max(self.from), forgotten + 1);
                    return Err(Error::Lagged { from, oldest });
                }
            },
            _ => {}
        }
        Ok(())
    }

    fn change(&mut self, lsn: u64, change: FeedChange) {
        match &mut self.batch {
            Some(batch) => batch.push(change),
            None => self.give(FeedItem { lsn, last: true, change }),
        }
    }

    fn give(&mut self, item: FeedItem) {
        if item.lsn >= self.from {
            self.items.push_back(item);
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.engine.feeds.leave(self.reader);
        self.forget_place();
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("lsn", &self.lsn).finish_non_exhaustive()
    }
}
