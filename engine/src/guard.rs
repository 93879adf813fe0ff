//! [`ReadGuard`]: many reads under one pin.

use std::marker::PhantomData;

use cidstore_core::E;

use crate::error::{Error, Result};
use crate::handle::Store;
use crate::read::{Reader, Walk};
use crate::shared::LiveView;
use crate::sync::pins::Pin;
use crate::values::Values;
use crate::valueset::Chunk;

/// A pin on the store: reads through it skip the cost of pinning each time, and what they borrow stays readable.
///
/// Not to be held for long: replaced pages are not used again while a pin from before lives, so the file
/// grows. A guard sees writes that come after it was made.
pub struct ReadGuard<'a> {
    store: &'a Store,
    /// `None` if the store was closed before: then there is nothing to read.
    _pin: Option<Pin<'a>>,
}

impl Store {
    /// Pins the store for many reads. Those of a guard of a closed store answer [`Error::Closed`].
    #[must_use = "the pin ends with the guard"]
    pub fn pin(&self) -> ReadGuard<'_> {
        let shared = &self.engine().shared;
        // In a fork nobody may wait for a seat: who was about to make one is not there.
        let is_open = shared.check_open().is_ok();
        ReadGuard { store: self, _pin: is_open.then(|| shared.pins.pin()) }
    }
}

impl ReadGuard<'_> {
    /// Runs `read`, which the guard has pinned already.
    #[inline(always)]
    fn reading<T>(&self, read: impl FnOnce(Reader<'_, LiveView<'_>>) -> Result<T>) -> Result<T> {
        let shared = &*self.store.engine().shared;
        shared.while_open(|| {
            shared.note_read();
            read(Reader { shared, view: shared.view() })
        })
    }

    /// As [`Store::get`].
    ///
    /// # Errors
    ///
    /// See [`Store`].
    #[inline]
    pub fn get(&self, key: impl Into<E>) -> Result<Values> {
        let key = key.into();
        self.reading(|reader| reader.get(key))
    }

    /// As [`Store::get_many_with`].
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn get_many_with(&self, keys: &[E], each: impl FnMut(usize, Values)) -> Result<()> {
        self.reading(|reader| reader.get_many(keys, each))
    }

    /// As [`Store::contains`].
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn contains(&self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        let (key, value) = (key.into(), value.into());
        self.reading(|reader| reader.contains(key, value))
    }

    /// As [`Store::contains_key`].
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn contains_key(&self, key: impl Into<E>) -> Result<bool> {
        let key = key.into();
        self.reading(|reader| reader.contains_key(key))
    }

    /// As [`Store::value_count`].
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn value_count(&self, key: impl Into<E>) -> Result<u64> {
        let key = key.into();
        self.reading(|reader| reader.value_count(key))
    }

    /// The values of a key one by one, read a leaf at a time: sets of any size in bounded memory.
    ///
    /// Weakly consistent for large sets that change meanwhile: a value that is there all the time comes exactly once.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn values(&self, key: impl Into<E>) -> Result<SetIter<'_>> {
        let key = key.into();
        let walk = self.reading(|reader| reader.walk(key))?;
        Ok(SetIter {
            store: self.store,
            walk: Some(walk),
            chunk: Chunk::new(),
            given: 0,
            failure: None,
            _guard: PhantomData,
        })
    }
}

impl std::fmt::Debug for ReadGuard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ReadGuard").field(self.store).finish()
    }
}

/// The values of one key. Made by [`ReadGuard::values`]. Ends after an error.
#[derive(Debug)]
pub struct SetIter<'a> {
    store: &'a Store,
    /// `None` at the end, or after an error.
    walk: Option<Walk>,
    chunk: Chunk,
    /// Values of the chunk that were given.
    given: usize,
    /// Why the walk ended, until that is told.
    failure: Option<Error>,
    /// The guard keeps the pages that the walk refers to.
    _guard: PhantomData<&'a ReadGuard<'a>>,
}

impl SetIter<'_> {
    /// Reads the next chunk; false if there is none, for whatever reason.
    #[inline(never)]
    fn refill(&mut self) -> bool {
        self.given = 0;
        self.chunk.clear();
        let Some(walk) = &mut self.walk else { return false };
        let shared = &*self.store.engine().shared;
        let reader = Reader { shared, view: shared.view() };
        let read = shared.while_open(|| reader.next_chunk(walk, &mut self.chunk));
        if read.is_err() {
            self.chunk.clear();
        }
        self.failure = read.err();
        let has_more = !self.chunk.values().is_empty();
        if !has_more {
            self.walk = None;
        }
        has_more
    }
}

impl Iterator for SetIter<'_> {
    type Item = Result<E>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // The answer is not given by `refill`, so that that of all values but the first of a chunk stays in registers.
        loop {
            if let Some(&value) = self.chunk.values().get(self.given) {
                self.given += 1;
                return Some(Ok(value));
            }
            if !self.refill() {
                return self.failure.take().map(Err);
            }
        }
    }
}

impl std::iter::FusedIterator for SetIter<'_> {}
