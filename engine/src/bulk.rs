//! Bulk load: many pairs at once, sorted by hash, written as full pages, without the log.
//!
//! All pairs are taken in before anything is touched, so a source that panics changes nothing. An empty store gets
//! its pages written straight to the file; pairs for a store that has some go through the writer, in hash order.
//! Either way nothing counts before the superblocks do, and they change last: after a crash all of the load is there
//! or none. Other writes wait meanwhile; reads go on.

use std::cmp::Ordering as Order;
use std::sync::atomic::Ordering;

use cidstore_core::E;

use crate::bulk_pages;
use crate::error::{Error, Result};
use crate::handle::Store;
use crate::store::commit::PanicGuard;
use crate::transaction;

/// Parts into which pairs are divided by hash; each is sorted by itself.
const PART_BITS: u32 = 8;
/// Why the store is not to be trusted any more.
const LOAD_PANICKED: &str = "a panic in the middle of a bulk load";

/// What a bulk load did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkLoaded {
    /// Pairs given.
    pub pairs: u64,
    /// Pairs that were not there before.
    pub new_pairs: u64,
    /// Log sequence number at which the load counts.
    pub lsn: u64,
}

/// How far a bulk load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkProgress {
    /// Pairs done so far.
    pub done: u64,
    /// Pairs in all.
    pub total: u64,
}

/// One pair with its place in hash order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    /// The key's hash, bit-reversed: ascending order is the order of prefixes.
    pub(crate) order: u64,
    pub(crate) key: E,
    pub(crate) value: E,
}

impl Pair {
    fn compare(&self, other: &Self) -> Order {
        (self.order, self.key, self.value).cmp(&(other.order, other.key, other.value))
    }
}

/// Pairs divided by hash. Sorting a part at a time keeps it in the processor's caches.
pub(crate) struct Parts {
    /// What one loader took in, divided; that of loaders that were joined to it stands behind.
    loaders: Vec<Vec<Vec<Pair>>>,
}

impl Parts {
    fn new() -> Self {
        Self { loaders: vec![(0..1 << PART_BITS).map(|_| Vec::new()).collect()] }
    }

    fn push(&mut self, pair: Pair) {
        self.loaders[0][(pair.order >> (u64::BITS - PART_BITS)) as usize].push(pair);
    }

    /// Pairs in all parts.
    pub(crate) fn pair_count(&self) -> u64 {
        self.loaders.iter().flatten().map(|part| part.len() as u64).sum()
    }

    /// Hash bits that the pairs of a part share.
    pub(crate) fn part_bits(&self) -> u32 {
        PART_BITS
    }

    /// Sorts each part and drops what is there twice, on another thread, ahead of who takes them.
    pub(crate) fn for_each_sorted(
        self,
        mut take: impl FnMut(Vec<Pair>) -> Result<()>,
    ) -> Result<()> {
        std::thread::scope(|scope| {
            let (send, receive) = std::sync::mpsc::sync_channel::<Vec<Pair>>(4);
            scope.spawn(move || {
                let mut loaders: Vec<_> = self.loaders.into_iter().map(Vec::into_iter).collect();
                for _ in 0..1 << PART_BITS {
                    let mut part = Vec::new();
                    for mut more in loaders.iter_mut().filter_map(Iterator::next) {
                        if part.is_empty() {
                            part = more;
                        } else {
                            part.append(&mut more);
                        }
                    }
                    sort(&mut part);
                    part.dedup_by(|a, b| a.compare(b) == Order::Equal);
                    if send.send(part).is_err() {
                        // The taker has failed and tells why.
                        return;
                    }
                }
            });
            receive.into_iter().try_for_each(&mut take)
        })
    }
}

/// Sorts pairs. By hash alone first: comparing one word needs no branch, and few pairs share one.
fn sort(pairs: &mut [Pair]) {
    pairs.sort_unstable_by_key(|pair| pair.order);
    for same in pairs.chunk_by_mut(|a, b| a.order == b.order).filter(|same| same.len() > 1) {
        same.sort_unstable_by(Pair::compare);
    }
}

/// Takes pairs in, then loads them all at once. Nothing happens to the store before [`finish`](Self::finish); dropping
/// the loader forgets them. Takes 40 bytes of memory a pair.
///
/// *Who sees what.* A [snapshot](Store::snapshot), and what is there after a crash, has the load as a whole or not at all.
/// Plain reads may see a part of it: of a load into an empty store in its last moment only, of one into a store that has
/// pairs while `finish` runs.
pub struct BulkLoader<'a> {
    store: &'a Store,
    parts: Parts,
}

impl Store {
    /// A loader for pairs that come one by one.
    #[must_use]
    pub fn bulk_loader(&self) -> BulkLoader<'_> {
        BulkLoader { store: self, parts: Parts::new() }
    }

    /// Loads all pairs of an iterator at once, many times faster than inserting them. Durable when it returns.
    /// Plain reads may see a part of it before: see [`BulkLoader`].
    ///
    /// If the iterator panics, nothing was loaded.
    ///
    /// # Errors
    ///
    /// As [`BulkLoader::finish`].
    pub fn bulk_load(&self, pairs: impl IntoIterator<Item = (E, E)>) -> Result<BulkLoaded> {
        let mut loader = self.bulk_loader();
        for (key, value) in pairs {
            loader.push(key, value)?;
        }
        loader.finish(|_| ())
    }
}

impl BulkLoader<'_> {
    /// Takes one pair in.
    ///
    /// # Errors
    ///
    /// None at present; a loader may one day spill to disk.
    pub fn push(&mut self, key: impl Into<E>, value: impl Into<E>) -> Result<()> {
        let key = key.into();
        let order = self.store.engine().shared.seed.hash(key).0.reverse_bits();
        self.parts.push(Pair { order, key, value: value.into() });
        Ok(())
    }

    /// Takes over what another loader has taken in, so that several threads may fill one each. A loader for another store
    /// serves as well; its pairs are hashed anew.
    pub fn append(&mut self, other: BulkLoader<'_>) {
        let seed = |loader: &BulkLoader<'_>| loader.store.engine().shared.seed;
        if seed(self) == seed(&other) {
            self.parts.loaders.extend(other.parts.loaders);
            return;
        }
        let seed = seed(self);
        for Pair { key, value, .. } in other.parts.loaders.into_iter().flatten().flatten() {
            self.parts.push(Pair { order: seed.hash(key).0.reverse_bits(), key, value });
        }
    }

    /// How many pairs were taken in.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.parts.pair_count()
    }

    /// True if no pair was taken in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Loads the pairs, telling `progress` now and then. Durable and visible when it returns. `progress` may read the
    /// store; a write on it there is refused as [`Error::Nested`].
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] if the disk is full: nothing was loaded. Any other failure half way makes the store
    /// [`Error::Failed`]; opened again it is as it was before the load. Else see [`Store`].
    ///
    /// # Panics
    ///
    /// If `progress` does. That is a failure half way, too.
    pub fn finish(self, mut progress: impl FnMut(BulkProgress)) -> Result<BulkLoaded> {
        let engine = self.store.engine();
        transaction::check_not_nested(engine)?;
        engine.check_writable()?;
        let pairs = self.parts.pair_count();
        let (mut checkpointer, mut state) = loop {
            let mut checkpointer = engine.checkpointer();
            // What is in memory goes to the file first: from here to the end nothing else changes.
            engine.checkpoint_with(&mut checkpointer, false)?;
            let state = engine.writer();
            if !engine.interlude.is_on() {
                break (checkpointer, state);
            }
            // It waits for the checkpointer.
            drop((state, checkpointer));
            engine.interlude.wait();
        };
        engine.check_writable()?;
        // What `progress` asks of this store must not wait for the lock that is held here.
        let _inside = transaction::Inside::enter(engine, &state);
        // Not logged, so it cannot be undone: what is half there must never reach the file.
        let _guard = PanicGuard::new(engine, LOAD_PANICKED);
        let lsn = engine.number_of_load(&mut state)?;
        let counters = &engine.shared.counters;
        let before = counters.values.load(Ordering::Relaxed);
        let mut done = 0;
        let mut step = |count: u64| {
            done += count;
            progress(BulkProgress { done, total: pairs });
        };
        let loaded = if before == 0 && state.writer.pages.bucket_count() == 1 {
            bulk_pages::load_empty(engine, &mut state, &mut checkpointer, self.parts, &mut step)
        } else {
            bulk_pages::load_into(engine, &mut state, self.parts, &mut step)
        };
        let written = loaded.and_then(|()| {
            // With the writer lock, which publishing gives up: after that, what others write counts as well.
            let new_pairs = counters.values.load(Ordering::Relaxed) - before;
            engine.publish_bulk(state, lsn, &mut checkpointer)?;
            Ok(new_pairs)
        });
        match written {
            Ok(new_pairs) => {
                // The checkpointer's lock is held: bulk loads come one at a time.
                engine.shared.events.bulk_loads.add(1);
                engine.shared.events.bulk_pairs.add(pairs);
                Ok(BulkLoaded { pairs, new_pairs, lsn })
            }
            Err(bulk_pages::LoadError::Refused(error)) => {
                engine.give_back(&mut checkpointer)?;
                Err(error)
            }
            Err(bulk_pages::LoadError::HalfWay(error)) => {
                engine.shared.mark_failed(&error);
                Err(error)
            }
        }
    }
}

impl std::fmt::Debug for BulkLoader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BulkLoader").field("pairs", &self.len()).finish_non_exhaustive()
    }
}

impl From<Error> for bulk_pages::LoadError {
    fn from(error: Error) -> Self {
        Self::HalfWay(error)
    }
}
