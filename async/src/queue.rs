//! The way of a write from a task to the consumer.
//!
//! Permits bound what is queued or waits for its sync: a task takes one for each change, in turn, before it sends,
//! and the consumer gives them back with the answer. Between permit and send lies no await; so a call that is
//! dropped has either sent its whole request or nothing.

use std::sync::Arc;

use cidstore_engine::{Applied, Durability, Error, GroupWrite, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, oneshot};

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
}

/// The consumer's end.
#[derive(Debug)]
pub(crate) struct Requests {
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) receiver: UnboundedReceiver<Request>,
}

/// A queue that takes so many changes at a time.
pub(crate) fn queue(changes: u32) -> (Queue, Requests) {
    let (sender, receiver) = unbounded_channel();
    // The semaphore's own limit is 2^61 on 64-bit machines.
    let permits = Arc::new(Semaphore::new(changes as usize));
    let queue = Queue { permits: Arc::clone(&permits), permits_max: changes, sender };
    (queue, Requests { permits, receiver })
}

/// The consumer is gone and had the write; nobody can say whether it was applied.
fn consumer_gone() -> Error {
    Error::OutcomeUnknown { cause: "the consumer of the writes has ended".into() }
}

impl Queue {
    /// Waits for its turn, sends the write, waits for the answer.
    pub(crate) async fn write(&self, write: GroupWrite, durability: Durability) -> Result<Applied> {
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
