//! The way of a write from a task to the consumer.
//!
//! Permits bound what is queued or waits for its sync: a task takes one for each change, in turn, before it sends,
//! and the consumer gives them back with the answer. Between permit and send lies no await; so a call that is
//! dropped has either sent its whole request or nothing.
//!
//! A small write that waits for no sync does not go that way if nothing is on it: to wake the consumer and be woken by
//! it takes longer than the write. The task then applies it itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cidstore_engine::{Applied, Durability, Error, GroupWrite, Result, Store};
use futures_lite::future::yield_now;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, oneshot};

/// Most changes of a write that a task applies itself: some hundred microseconds of its executor's time.
const CHANGES_HERE_MAX: usize = 128;
/// So many changes that tasks applied themselves, then the other tasks of the executor have their turn.
const CHANGES_TILL_YIELD: u64 = 1024;

/// What a task wants of the consumer.
#[derive(Debug)]
pub(crate) enum Request {
    Write(WriteRequest),
    /// Finish all that came before, close the store, and answer.
    Close(oneshot::Sender<Result<()>>),
}

/// A write, and whom to answer.
#[derive(Debug)]
pub(crate) struct WriteRequest {
    pub(crate) write: GroupWrite,
    pub(crate) durability: Durability,
    /// To be given back with the answer.
    pub(crate) permits: u32,
    pub(crate) reply: oneshot::Sender<Result<Applied>>,
}

/// The tasks' end.
#[derive(Debug)]
pub(crate) struct Queue {
    permits: Arc<Semaphore>,
    permits_max: u32,
    sender: UnboundedSender<Request>,
    /// Tasks may apply writes themselves.
    may_apply_here: bool,
    /// Changes that tasks have applied themselves.
    applied_here: AtomicU64,
}

/// The consumer's end.
#[derive(Debug)]
pub(crate) struct Requests {
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) receiver: UnboundedReceiver<Request>,
}

/// A queue that takes so many changes at a time. `may_apply_here`: tasks may apply writes themselves.
pub(crate) fn queue(changes: u32, may_apply_here: bool) -> (Queue, Requests) {
    let (sender, receiver) = unbounded_channel();
    // The semaphore's own limit is 2^61 on 64-bit machines.
    let permits = Arc::new(Semaphore::new(changes as usize));
    let queue = Queue {
        permits: Arc::clone(&permits),
        permits_max: changes,
        sender,
        may_apply_here,
        applied_here: AtomicU64::new(0),
    };
    (queue, Requests { permits, receiver })
}

/// The consumer is gone and had the write; nobody can say whether it was applied.
fn consumer_gone() -> Error {
    Error::OutcomeUnknown { cause: "the consumer of the writes has ended".into() }
}

impl Queue {
    /// Carries out a write, here or through the consumer, and answers once it has its durability.
    pub(crate) async fn write(
        &self,
        store: &Store,
        write: GroupWrite,
        durability: Durability,
    ) -> Result<Applied> {
        let Some(outcome) = self.apply_here(store, &write, durability) else {
            return self.send(write, durability).await;
        };
        // Relaxed: a rhythm, nothing else.
        let changes = write.change_count() as u64;
        let before = self.applied_here.fetch_add(changes, Ordering::Relaxed);
        if before % CHANGES_TILL_YIELD + changes >= CHANGES_TILL_YIELD {
            // After the write, not before: calls take effect in the order of their first polls.
            yield_now().await;
        }
        outcome
    }

    /// Applies a small write that waits for no sync, if nothing is before it and nothing has to be waited for.
    fn apply_here(
        &self,
        store: &Store,
        write: &GroupWrite,
        durability: Durability,
    ) -> Option<Result<Applied>> {
        // All permits are there: nothing is queued, nobody waits in front of the queue. What comes from now on comes
        // while this call is polled, and so neither before nor after it.
        let is_next = || {
            self.permits.available_permits() == self.permits_max as usize
                && !self.permits.is_closed()
        };
        let is_small =
            durability != Durability::Immediate && write.change_count() <= CHANGES_HERE_MAX;
        if !(self.may_apply_here && is_small && is_next()) {
            return None;
        }
        let mut outcome = None;
        store.try_apply_group([write], |_, applied| outcome = Some(applied));
        if let (Some(Ok(_)), Durability::Interval(within)) = (&outcome, durability) {
            store.request_sync(within);
        }
        outcome
    }

    /// Waits for its turn, sends the write, waits for the answer.
    async fn send(&self, write: GroupWrite, durability: Durability) -> Result<Applied> {
        // A batch beyond the bound takes all permits, and so goes alone.
        let changes = u32::try_from(write.change_count()).unwrap_or(u32::MAX);
        let permits = changes.clamp(1, self.permits_max);
        let turn = self.permits.acquire_many(permits).await.map_err(|_| Error::Closed)?;
        let (reply, answer) = oneshot::channel();
        let request = WriteRequest { write, durability, permits, reply };
        self.sender.send(Request::Write(request)).map_err(|_| Error::Closed)?;
        turn.forget();
        answer.await.unwrap_or_else(|_| Err(consumer_gone()))
    }

    /// Lets the consumer finish what came before, and close the store.
    pub(crate) async fn close(&self) -> Result<()> {
        // All permits, and in turn: all that was called before is answered by then, and what comes later waits behind.
        let turn = self.permits.acquire_many(self.permits_max).await.map_err(|_| Error::Closed)?;
        let (reply, answer) = oneshot::channel();
        self.sender.send(Request::Close(reply)).map_err(|_| Error::Closed)?;
        turn.forget();
        answer.await.unwrap_or_else(|_| Err(consumer_gone()))
    }
}
