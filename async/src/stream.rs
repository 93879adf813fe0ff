//! Streams over pairs, keys and values: an iterator of the engine, read a chunk at a time.
//!
//! Each chunk is read in one poll, or on the pool, under pins that last no longer; between two chunks other tasks
//! get their turn.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use blocking::Task;
use cidstore_core::E;
use cidstore_engine::{Cursor, Feed, FeedItem, Keys, Result, Scan, ValueScan};
use futures_core::Stream;

use crate::options::Reads;

/// Most items in a chunk.
const CHUNK_ITEMS: usize = 256;

/// An iterator of the engine, and where a later one could go on.
trait Place: Iterator {
    fn place(&self) -> Cursor;
}

impl Place for Scan {
    fn place(&self) -> Cursor {
        self.cursor()
    }
}

/// Keys are always given from the beginning.
impl Place for Keys {
    fn place(&self) -> Cursor {
        Cursor::default()
    }
}

/// The values of a key are always given from the beginning.
impl Place for ValueScan {
    fn place(&self) -> Cursor {
        Cursor::default()
    }
}

/// An iterator with the items that it has given and nobody has taken.
struct Chunked<I: Iterator> {
    items: I,
    chunk: VecDeque<I::Item>,
    ended: bool,
}

impl<I: Iterator> Chunked<I> {
    fn fill(&mut self) {
        self.chunk.extend(self.items.by_ref().take(CHUNK_ITEMS));
        self.ended = self.chunk.len() < CHUNK_ITEMS;
    }
}

/// Where the chunks are.
enum State<I: Iterator> {
    Here(Chunked<I>),
    /// The next one is being read.
    OnPool(Task<Chunked<I>>),
    /// Only while one state becomes another, or after a panic on the pool.
    Gone,
}

/// A stream of what an iterator gives.
struct Items<I: Iterator> {
    state: State<I>,
    reads: Reads,
    /// The next chunk has waited for the other tasks.
    yielded: bool,
    /// Where the iterator was before the present chunk.
    place: Cursor,
}

impl<I> Items<I>
where
    I: Place + Send + 'static,
    I::Item: Send,
{
    fn new(items: I, reads: Reads) -> Self {
        let place = items.place();
        let chunked = Chunked { items, chunk: VecDeque::new(), ended: false };
        // The first chunk needs not wait.
        Self { state: State::Here(chunked), reads, yielded: true, place }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<I::Item>> {
        loop {
            match &mut self.state {
                State::Gone => return Poll::Ready(None),
                State::OnPool(task) => match Pin::new(task).poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(chunked) => self.state = State::Here(chunked),
                },
                State::Here(chunked) => {
                    if let Some(item) = chunked.chunk.pop_front() {
                        return Poll::Ready(Some(item));
                    }
                    self.place = chunked.items.place();
                    if chunked.ended {
                        return Poll::Ready(None);
                    }
                    if self.reads == Reads::Pool {
                        self.read_on_pool();
                    } else if std::mem::take(&mut self.yielded) {
                        chunked.fill();
                    } else {
                        self.yielded = true;
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn read_on_pool(&mut self) {
        if let State::Here(mut chunked) = std::mem::replace(&mut self.state, State::Gone) {
            self.state = State::OnPool(blocking::unblock(move || {
                chunked.fill();
                chunked
            }));
        }
    }
}

/// Defines a public stream over one of the engine's iterators.
macro_rules! stream {
    ($(#[$about:meta])* $name:ident over $iterator:ty as $item:ty) => {
        $(#[$about])*
        #[must_use = "streams do nothing unless polled"]
        pub struct $name {
            items: Items<$iterator>,
        }

        impl $name {
            pub(crate) fn new(items: $iterator, reads: Reads) -> Self {
                Self { items: Items::new(items, reads) }
            }
        }

        impl Stream for $name {
            type Item = $item;

            fn poll_next(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<Option<Self::Item>> {
                self.items.poll(context)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

stream! {
    /// All pairs. Made by [`CidStore::scan`](crate::CidStore::scan). Ends after an error.
    PairStream over Scan as Result<(E, E)>
}

stream! {
    /// All keys. Made by [`CidStore::keys`](crate::CidStore::keys). Ends after an error.
    KeyStream over Keys as Result<E>
}

stream! {
    /// The values of one key. Made by [`CidStore::values`](crate::CidStore::values). Ends after an error.
    ValueStream over ValueScan as Result<E>
}

impl PairStream {
    /// Where to go on with [`CidStore::scan`](crate::CidStore::scan), in this process or a later one. What a scan from here
    /// gives begins with the bucket that the present chunk began in: some hundred pairs may be given again, none is
    /// left out.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.items.place
    }
}

/// Items of a feed between two turns of the other tasks.
const FEED_ITEMS: usize = 1024;

/// The changes of a store. Made by [`CidStore::subscribe`](crate::CidStore::subscribe). Ends after an error; see [`Feed`].
///
/// Dropping it gives up its hold on the log.
#[must_use = "streams do nothing unless polled"]
#[derive(Debug)]
pub struct FeedStream {
    feed: Feed,
    /// Items since the other tasks had their turn.
    given: usize,
}

impl FeedStream {
    pub(crate) fn new(feed: Feed) -> Self {
        Self { feed, given: 0 }
    }

    /// Only what no power cut can take back. The feed then asks for syncs, some milliseconds apart. Otherwise it gives what
    /// readers see.
    pub fn durable_only(self) -> Self {
        Self { feed: self.feed.durable_only(), ..self }
    }
}

impl Stream for FeedStream {
    type Item = Result<FeedItem>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<FeedItem>>> {
        if self.given >= FEED_ITEMS {
            self.given = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let item = self.feed.poll_next(context);
        self.given = if item.is_ready() { self.given + 1 } else { 0 };
        item
    }
}
