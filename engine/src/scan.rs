//! Scans: all pairs, bucket by bucket, resumable.
//!
//! Buckets are visited in bit-reversed order of their prefixes. A split divides a stretch of that order and a
//! merge joins two neighbouring stretches, so a position stays good whatever the writer does: a pair that is in
//! the store from beginning to end is answered exactly once.

use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::sync::Arc;

use cidstore_core::E;
use cidstore_core::layout::{NO_PAGE, PAGE_WORDS};
use cidstore_core::protocol::bucket_keys;
use cidstore_core::protocol::lookup::{CycleGuard, LookupFault, View};

use crate::error::{Error, Result};
use crate::handle::Store;
use crate::read::{END, Reader};
use crate::shared::FrozenView;
use crate::snapshot::Frozen;
use crate::sync::PageWord;
use crate::valueset::{Chunk, LeafCursor, SetView};

/// A place in the scan order: plain data that outlives the scan, the store and the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub u64);

/// What is scanned.
#[derive(Clone)]
pub(crate) enum Source {
    Live(Store),
    Frozen(Arc<Frozen>),
}

/// The next thing to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// A pair.
    Pair(E, E),
    /// A key whose values lie in a set of their own, from this value on.
    Set(E, E),
}

/// A walk over buckets, as keys and where their values are.
struct Walk {
    source: Source,
    position: u64,
    /// Where the bucket begins whose pairs are being answered.
    bucket: u64,
    found: VecDeque<Found>,
    failed: bool,
}

impl Walk {
    fn new(source: Source, from: Cursor) -> Self {
        Self { source, position: from.0, bucket: from.0, found: VecDeque::new(), failed: false }
    }

    /// Reads the next bucket that has keys; false at the end.
    fn advance(&mut self, keys_only: bool) -> Result<bool> {
        while self.found.is_empty() {
            self.bucket = self.position;
            if self.position >= END {
                return Ok(false);
            }
            let (found, position) = (&mut self.found, self.position);
            self.position = match &self.source {
                Source::Live(store) => {
                    store.reading(|reader| read_bucket(&reader, position, keys_only, found))?
                }
                Source::Frozen(frozen) => {
                    frozen.reading(|reader| read_bucket(&reader, position, keys_only, found))?
                }
            };
        }
        Ok(true)
    }

    /// Reads the next chunk of a set and puts its pairs in front.
    fn expand(&mut self, key: E, from: E) -> Result<()> {
        let found = &mut self.found;
        match &self.source {
            Source::Live(store) => store.reading(|reader| read_chunk(&reader, key, from, found)),
            Source::Frozen(frozen) => {
                frozen.reading(|reader| read_chunk(&reader, key, from, found))
            }
        }
    }
}

/// Puts what the bucket at a position has into `found`; answers where the next one begins.
fn read_bucket<V: View<PAGE_WORDS, W = PageWord> + SetView>(
    reader: &Reader<'_, V>,
    position: u64,
    keys_only: bool,
    found: &mut VecDeque<Found>,
) -> Result<u64> {
    let view = &reader.view;
    let (mut page, end) = reader.bucket_at(position)?;
    let mut guard = CycleGuard::default();
    loop {
        let keys = bucket_keys::keys(view.bucket(page))
            .map_err(|fault| reader.shared.corrupt(format!("bucket page {page}: {fault}")))?;
        for &key in keys.as_slice() {
            // A bucket may begin before the position: it was merged since. Its front was answered then.
            let at = reader.shared.seed.hash(key).scan_position();
            if u64::from(at) < position {
                continue;
            }
            if keys_only {
                found.push_back(Found::Pair(key, E::ZERO));
            } else if reader.set_of(key)?.is_some() {
                found.push_back(Found::Set(key, E::ZERO));
            } else {
                found.extend(reader.get(key)?.iter().map(|value| Found::Pair(key, value)));
            }
        }
        if keys.overflow == 0 {
            return Ok(end);
        }
        guard.step(keys.overflow).map_err(|fault| reader.shared.corrupt(fault.to_string()))?;
        page = view.overflow_slot(keys.overflow);
        if page == NO_PAGE {
            let fault = LookupFault::NoOverflow { logical: keys.overflow };
            return Err(reader.shared.corrupt(fault.to_string()));
        }
        reader.check_bucket(page)?;
    }
}

/// Puts the values of a key from `from` on, as many as one leaf has, in front of `found`.
fn read_chunk<V: View<PAGE_WORDS> + SetView>(
    reader: &Reader<'_, V>,
    key: E,
    from: E,
    found: &mut VecDeque<Found>,
) -> Result<()> {
    let Some(set) = reader.set_of(key)? else {
        // Came back inline, or went, since its bucket was read.
        let values = reader.get(key)?;
        values.iter().filter(|value| *value >= from).for_each(|value| {
            found.push_front(Found::Pair(key, value));
        });
        return Ok(());
    };
    let mut cursor = LeafCursor::resume(set.encode(), from);
    let mut chunk = Chunk::new();
    let fault = |fault: crate::valueset::SetFault| reader.shared.corrupt(fault.to_string());
    if cursor.next(&reader.view, &mut chunk).map_err(fault)? {
        if let Some(bound) = cursor.bound() {
            found.push_front(Found::Set(key, bound));
        }
        for &value in chunk.values().iter().rev() {
            found.push_front(Found::Pair(key, value));
        }
    }
    Ok(())
}

/// All pairs. Made by [`Store::iter`], [`Store::scan`] and the like.
///
/// On the live store a scan is *weakly consistent*: it never waits, a pair that is there all the time is answered
/// exactly once, of others nothing is promised. On a snapshot it is exact. The order is that of the hash, not of the
/// keys. After an error it ends.
pub struct Scan {
    walk: Walk,
}

impl Scan {
    pub(crate) fn new(source: Source, from: Cursor) -> Self {
        Self { walk: Walk::new(source, from) }
    }

    /// Where to go on with [`Store::scan`], in this process or a later one: what a scan from here answers begins
    /// with the bucket that this one is in, so that up to a bucket's pairs may be answered again.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor(if self.walk.found.is_empty() { self.walk.position } else { self.walk.bucket })
    }

    /// True between two buckets: what was answered lies before [`Self::cursor`], all else at or after it, so that
    /// going on from there repeats nothing.
    #[must_use]
    pub fn is_between_buckets(&self) -> bool {
        self.walk.found.is_empty()
    }

    fn step(&mut self) -> Result<Option<(E, E)>> {
        loop {
            match self.walk.found.pop_front() {
                Some(Found::Pair(key, value)) => return Ok(Some((key, value))),
                Some(Found::Set(key, from)) => self.walk.expand(key, from)?,
                None if self.walk.advance(false)? => {}
                None => return Ok(None),
            }
        }
    }
}

impl Iterator for Scan {
    type Item = Result<(E, E)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.walk.failed {
            return None;
        }
        let step = self.step();
        self.walk.failed = step.is_err();
        step.transpose()
    }
}

impl FusedIterator for Scan {}

/// The values of one key, a leaf at a time. Made by [`Store::scan_values`]; as [`Scan`] otherwise.
pub struct ValueScan {
    scan: Scan,
}

impl Iterator for ValueScan {
    type Item = Result<E>;

    fn next(&mut self) -> Option<Self::Item> {
        self.scan.next().map(|step| step.map(|(_, value)| value))
    }
}

impl FusedIterator for ValueScan {}

/// All keys. Made by [`Store::keys`]; as [`Scan`] otherwise.
pub struct Keys {
    walk: Walk,
}

impl Keys {
    pub(crate) fn new(source: Source) -> Self {
        Self { walk: Walk::new(source, Cursor::default()) }
    }
}

impl Iterator for Keys {
    type Item = Result<E>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.walk.failed {
            return None;
        }
        let advanced = self.walk.advance(true);
        self.walk.failed = advanced.is_err();
        match advanced {
            Err(error) => Some(Err(error)),
            Ok(false) => None,
            Ok(true) => match self.walk.found.pop_front() {
                Some(Found::Pair(key, _) | Found::Set(key, _)) => Some(Ok(key)),
                None => None,
            },
        }
    }
}

impl FusedIterator for Keys {}

impl Store {
    /// All pairs, in no order that means something. See [`Scan`].
    #[must_use]
    pub fn iter(&self) -> Scan {
        self.scan(Cursor::default())
    }

    /// All pairs from a place on, where an earlier scan stopped. See [`Scan::cursor`].
    #[must_use]
    pub fn scan(&self, from: Cursor) -> Scan {
        Scan::new(Source::Live(self.clone()), from)
    }

    /// The values of a key, read a leaf at a time under pins of their own: sets of any size in bounded memory, for as
    /// long as it takes. Nothing for a key that is not there. See [`Scan`].
    #[must_use]
    pub fn scan_values(&self, key: impl Into<E>) -> ValueScan {
        let mut scan = self.scan(Cursor(END));
        scan.walk.found.push_back(Found::Set(key.into(), E::ZERO));
        ValueScan { scan }
    }

    /// All keys, in no order that means something. See [`Scan`].
    #[must_use]
    pub fn keys(&self) -> Keys {
        Keys::new(Source::Live(self.clone()))
    }
}

impl IntoIterator for &Store {
    type Item = Result<(E, E), Error>;
    type IntoIter = Scan;

    fn into_iter(self) -> Scan {
        self.iter()
    }
}

impl Frozen {
    /// Reads from the snapshot, unless the store was closed.
    pub(crate) fn reading<T>(
        &self,
        read: impl FnOnce(Reader<'_, FrozenView<'_>>) -> Result<T>,
    ) -> Result<T> {
        let shared = &*self.engine().shared;
        shared.while_open(|| {
            // The pin keeps pool pages that a checkpoint swings away while they are read.
            let _pin = shared.pins.pin();
            let view = FrozenView { shared, frozen: self.tables(), verify: self.checks_pages() };
            read(Reader { shared, view })
        })
    }
}
