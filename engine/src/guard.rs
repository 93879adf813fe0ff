//! [`ReadGuard`]: many reads under one pin.

use std::marker::PhantomData;

use cidstore_core::E;

use crate::error::Result;
use crate::handle::Store;
use crate::read::{Reader, Walk};
use crate::shared::LiveView;
use crate::sync::pins::Pin;
use crate::values::Values;

/// A pin on the store: reads through it skip the cost of pinning each time, and what they borrow stays readable.
///
/// Not to be held for long: replaced pages are not used again while a pin from before lives, so the file
/// grows. A guard sees writes that come after it was made.
pub struct ReadGuard<'a> {
    store: &'a Store,
    _pin: Pin<'a>,
}

impl Store {
    /// Pins the store for many reads.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn pin(&self) -> Result<ReadGuard<'_>> {
        let shared = &self.engine().shared;
        shared.check_open()?;
        Ok(ReadGuard { store: self, _pin: shared.pins.pin() })
    }
}

impl ReadGuard<'_> {
    #[inline]
    fn reader(&self) -> Result<Reader<'_, LiveView<'_>>> {
        let shared = &*self.store.engine().shared;
        shared.check_open()?;
        shared.note_read();
        Ok(Reader { shared, view: shared.view() })
    }

    /// As [`Store::get`].
    ///
    /// # Errors
    ///
    /// See [`Store`].
    #[inline]
    pub fn get(&self, key: impl Into<E>) -> Result<Values> {
        self.reader()?.get(key.into())
    }

    /// As [`Store::get_many_with`].
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn get_many_with(&self, keys: &[E], each: impl FnMut(usize, Values)) -> Result<()> {
        self.reader()?.get_many(keys, each)
    }

    /// As [`Store::contains`].
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn contains(&self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        self.reader()?.contains(key.into(), value.into())
    }

    /// As [`Store::contains_key`].
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn contains_key(&self, key: impl Into<E>) -> Result<bool> {
        self.reader()?.contains_key(key.into())
    }

    /// As [`Store::value_count`].
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn value_count(&self, key: impl Into<E>) -> Result<u64> {
        self.reader()?.value_count(key.into())
    }

    /// The values of a key one by one, read a leaf at a time: sets of any size in bounded memory.
    ///
    /// Weakly consistent for large sets that change meanwhile: a value that is there all the time comes exactly once.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn values(&self, key: impl Into<E>) -> Result<SetIter<'_>> {
        let walk = self.reader()?.walk(key.into())?;
        Ok(SetIter {
            store: self.store,
            walk: Some(walk),
            chunk: Vec::new(),
            next: 0,
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
    chunk: Vec<E>,
    next: usize,
    /// The guard keeps the pages that the walk refers to.
    _guard: PhantomData<&'a ReadGuard<'a>>,
}

impl SetIter<'_> {
    fn refill(&mut self) -> Result<()> {
        let shared = &*self.store.engine().shared;
        shared.check_open()?;
        let reader = Reader { shared, view: shared.view() };
        self.next = 0;
        if let Some(walk) = &mut self.walk
            && !reader.next_chunk(walk, &mut self.chunk)?
        {
            self.walk = None;
        }
        Ok(())
    }
}

impl Iterator for SetIter<'_> {
    type Item = Result<E>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.chunk.len() {
            self.chunk.clear();
            self.walk.as_ref()?;
            if let Err(error) = self.refill() {
                self.walk = None;
                self.chunk.clear();
                return Some(Err(error));
            }
        }
        let value = self.chunk.get(self.next).copied()?;
        self.next += 1;
        Some(Ok(value))
    }
}

impl std::iter::FusedIterator for SetIter<'_> {}
