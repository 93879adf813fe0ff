//! The consumer: one task that applies what all others have queued.
//!
//! It takes what is there as one group, lets the engine log and apply it, answers what needs no sync, and keeps the
//! rest in order until the engine's sync thread says that it is durable. It never waits for a sync while there is
//! something to apply. Dropping it answers everybody.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use cidstore_engine::{Applied, Durability, Error, Result, Store, WhenDurable};
use tokio::sync::oneshot;

use crate::queue::{Request, Requests, WriteRequest};

/// Applies what is queued, until the store is closed or its last handle is gone. Made by
/// [`CidStoreOptions::open_with_consumer`](crate::CidStoreOptions::open_with_consumer), for a program that wants to
/// run it on an executor of its own; otherwise the store gives it a thread.
///
/// Writes make progress only while it is polled. It does not block: what would have to wait runs on the `blocking` pool.
/// Dropping it is like pulling a plug: queued writes answer [`Error::Closed`], writes that wait for their sync
/// [`Error::OutcomeUnknown`].
#[must_use = "no write is applied unless the consumer is polled"]
pub struct Consumer {
    work: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Consumer {
    /// `on_own_thread`: it may block, nobody else runs on its thread.
    pub(crate) fn new(store: Store, requests: Requests, on_own_thread: bool) -> Self {
        let work = Work { store, requests, unsynced: VecDeque::new(), synced: None, on_own_thread };
        Self { work: Box::pin(work.run()) }
    }
}

impl Future for Consumer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.work.as_mut().poll(context)
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").finish_non_exhaustive()
    }
}

/// A write that is applied and not yet known to be durable.
struct Unsynced {
    applied: Applied,
    permits: u32,
    reply: oneshot::Sender<Result<Applied>>,
}

/// What woke the consumer.
enum Event {
    /// Requests came.
    Requests,
    /// No handle is left that could send any.
    NoHandles,
    /// The first of the unsynced writes is durable, or never will be.
    Synced(Result<()>),
}

struct Work {
    store: Store,
    requests: Requests,
    /// In log order.
    unsynced: VecDeque<Unsynced>,
    /// Waits for the first of `unsynced`.
    synced: Option<WhenDurable>,
    on_own_thread: bool,
}

impl Work {
    async fn run(mut self) {
        let mut inbox = Vec::new();
        let closing = loop {
            match poll_fn(|context| self.poll_event(context, &mut inbox)).await {
                Event::Synced(outcome) => self.settle(outcome),
                Event::NoHandles => break None,
                Event::Requests => {
                    let (writes, closing) = split(&mut inbox);
                    if !writes.is_empty() {
                        self.apply(writes).await;
                    }
                    if closing.is_some() {
                        break closing;
                    }
                    if !self.on_own_thread {
                        futures_lite::future::yield_now().await;
                    }
                }
            }
        };
        self.refuse_queued();
        while !self.unsynced.is_empty() {
            let outcome = poll_fn(|context| self.poll_synced(context)).await;
            self.settle(outcome);
        }
        if let Some(reply) = closing {
            let store = self.store.clone();
            let closed = self.wait_for(move || store.close()).await;
            // Nobody listens to a `close` that was dropped.
            let _ = reply.send(closed);
        }
    }

    fn poll_event(&mut self, context: &mut Context<'_>, inbox: &mut Vec<Request>) -> Poll<Event> {
        if !self.unsynced.is_empty()
            && let Poll::Ready(outcome) = self.poll_synced(context)
        {
            return Poll::Ready(Event::Synced(outcome));
        }
        // So that the first of a group is not kept waiting: 1,024 unless auto-tuning has set another limit.
        let group_max = self.store.tuned_settings().group_writes_max as usize;
        self.requests
            .receiver
            .poll_recv_many(context, inbox, group_max)
            .map(|count| if count == 0 { Event::NoHandles } else { Event::Requests })
    }

    /// Waits for the first of the unsynced writes.
    fn poll_synced(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(first) = self.unsynced.front() else { return Poll::Ready(Ok(())) };
        let synced = self.synced.get_or_insert_with(|| self.store.when_durable(first.applied.lsn));
        let outcome = Pin::new(synced).poll(context);
        if outcome.is_ready() {
            self.synced = None;
        }
        outcome
    }

    /// Answers those whose sync is done, or all if no sync will ever be.
    fn settle(&mut self, outcome: Result<()>) {
        let count = match &outcome {
            Ok(()) => {
                let durable = self.store.durable_lsn();
                self.unsynced.partition_point(|unsynced| unsynced.applied.lsn <= durable)
            }
            Err(_) => self.unsynced.len(),
        };
        let due = self.unsynced.range(..count);
        // Before the answers: who has one finds its permit free.
        self.requests.permits.add_permits(due.map(|done| done.permits as usize).sum());
        for done in self.unsynced.drain(..count) {
            let answer = match &outcome {
                Ok(()) => Ok(done.applied),
                Err(Error::OutcomeUnknown { cause }) => {
                    Err(Error::OutcomeUnknown { cause: cause.clone() })
                }
                Err(error) => Err(Error::OutcomeUnknown { cause: error.to_string() }),
            };
            // Nobody listens to a call that was dropped.
            let _ = done.reply.send(answer);
        }
    }

    /// Applies a group and answers what needs no sync.
    async fn apply(&mut self, writes: Vec<WriteRequest>) {
        let group = Group { outcomes: Vec::with_capacity(writes.len()), writes };
        let store = self.store.clone();
        let group = if self.on_own_thread {
            group.apply(&store)
        } else {
            let group = group.try_apply(&store);
            if group.is_done() { group } else { self.wait_for(move || group.apply(&store)).await }
        };
        let answered = group.writes.iter().zip(&group.outcomes).filter(|(request, outcome)| {
            outcome.is_err() || request.durability != Durability::Immediate
        });
        // Before the answers: who has one finds its permit free.
        let permits = answered.map(|(request, _)| request.permits as usize).sum();
        self.requests.permits.add_permits(permits);
        let mut sync_within: Option<Duration> = None;
        let mut within = |duration: Duration| {
            sync_within = Some(sync_within.map_or(duration, |sooner| sooner.min(duration)));
        };
        for (request, outcome) in group.writes.into_iter().zip(group.outcomes) {
            match (outcome, request.durability) {
                (Ok(applied), Durability::Immediate) => {
                    within(Duration::ZERO);
                    let WriteRequest { permits, reply, .. } = request;
                    self.unsynced.push_back(Unsynced { applied, permits, reply });
                }
                (outcome, durability) => {
                    if let Durability::Interval(duration) = durability {
                        within(duration);
                    }
                    // Nobody listens to a call that was dropped.
                    let _ = request.reply.send(outcome);
                }
            }
        }
        if let Some(duration) = sync_within {
            self.store.request_sync(duration);
        }
    }

    /// Runs what may block where that delays nobody.
    async fn wait_for<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        if self.on_own_thread { work() } else { blocking::unblock(work).await }
    }

    /// Takes no more requests, and refuses those that nobody will apply.
    fn refuse_queued(&mut self) {
        self.requests.permits.close();
        self.requests.receiver.close();
        while let Ok(request) = self.requests.receiver.try_recv() {
            // Nobody listens to a call that was dropped.
            match request {
                Request::Write(request) => drop(request.reply.send(Err(Error::Closed))),
                Request::Close(reply) => drop(reply.send(Err(Error::Closed))),
            }
        }
    }
}

/// After a panic, or when the caller drops the consumer, everybody is answered.
impl Drop for Work {
    fn drop(&mut self) {
        self.refuse_queued();
        for lost in self.unsynced.drain(..) {
            let cause = "the consumer was dropped before the sync".into();
            // Nobody listens to a call that was dropped.
            let _ = lost.reply.send(Err(Error::OutcomeUnknown { cause }));
        }
    }
}

/// The writes up to the first request to close, and that request. What comes after it is refused.
fn split(inbox: &mut Vec<Request>) -> (Vec<WriteRequest>, Option<oneshot::Sender<Result<()>>>) {
    let mut writes = Vec::with_capacity(inbox.len());
    let mut closing = None;
    for request in inbox.drain(..) {
        // Nobody listens to a call that was dropped.
        match request {
            Request::Write(write) if closing.is_none() => writes.push(write),
            Request::Close(reply) if closing.is_none() => closing = Some(reply),
            Request::Write(write) => drop(write.reply.send(Err(Error::Closed))),
            Request::Close(reply) => drop(reply.send(Err(Error::Closed))),
        }
    }
    (writes, closing)
}

/// Requests that are applied as one group, and the outcomes of the first of them.
struct Group {
    writes: Vec<WriteRequest>,
    outcomes: Vec<Result<Applied>>,
}

impl Group {
    fn is_done(&self) -> bool {
        self.outcomes.len() == self.writes.len()
    }

    /// Applies what is left of it.
    fn apply(mut self, store: &Store) -> Self {
        let rest = self.writes[self.outcomes.len()..].iter().map(|request| &request.write);
        store.apply_group(rest, |_, outcome| self.outcomes.push(outcome));
        self
    }

    /// Applies as much of it as can be without waiting.
    fn try_apply(mut self, store: &Store) -> Self {
        let writes = self.writes.iter().map(|request| &request.write);
        store.try_apply_group(writes, |_, outcome| self.outcomes.push(outcome));
        self
    }
}
