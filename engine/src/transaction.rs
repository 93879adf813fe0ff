//! Transactions: several changes that count as one, with reads that see them before they count.
//!
//! The closure runs under the writer lock, so nothing changes beneath it. Its changes gather in an overlay;
//! committing is one batch, rolling back is forgetting.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use cidstore_core::E;

use crate::error::{Error, Result};
use crate::handle::Store;
use crate::inspect::WriterFigures;
use crate::store::commit::Write;
use crate::store::engine::{Engine, WriterState};
use crate::values::Values;
use crate::writer::apply::Operation;

thread_local! {
    /// Stores whose writer lock this thread holds while it runs a caller's code, by address; and what the writer knew
    /// when that began. Not dropped with the thread: what another of its values does when it is dropped may come later, and
    /// be a transaction.
    static OPEN: ManuallyDrop<RefCell<Vec<(usize, WriterFigures)>>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// Looks at the stores that are open here. `None` where a thread's values end with it all the same: then none is.
fn with_open<T>(look: impl FnOnce(&mut Vec<(usize, WriterFigures)>) -> T) -> Option<T> {
    OPEN.try_with(|open| look(&mut open.borrow_mut())).ok()
}

fn address(engine: &Arc<Engine>) -> usize {
    Arc::as_ptr(engine).addr()
}

/// `Nested` if this thread is inside a transaction of this store: waiting for the lock would be for ever.
pub(crate) fn check_not_nested(engine: &Arc<Engine>) -> Result<()> {
    if figures_inside(engine).is_some() { Err(Error::Nested) } else { Ok(()) }
}

/// What the writer knew when this thread's transaction of this store began, if it is inside one.
pub(crate) fn figures_inside(engine: &Arc<Engine>) -> Option<WriterFigures> {
    let address = address(engine);
    with_open(|open| open.iter().find(|(of, _)| *of == address).map(|(_, figures)| *figures))?
}

/// Notes that this thread runs a caller's code under the writer lock, for as long as it lives (a panic included).
pub(crate) struct Inside(usize);

impl Inside {
    pub(crate) fn enter(engine: &Arc<Engine>, state: &WriterState) -> Self {
        let address = address(engine);
        let figures = WriterFigures::of(&engine.shared, state);
        with_open(|open| open.push((address, figures)));
        Self(address)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        with_open(|open| {
            open.retain(|(address, _)| *address != self.0);
            if open.is_empty() {
                // Nobody else gives its memory back.
                *open = Vec::new();
            }
        });
    }
}

/// The changes of one key.
#[derive(Debug, Default)]
struct Overlay {
    /// All values of before are gone.
    cleared: bool,
    /// Of values that were not there before, or are gone with the others.
    added: BTreeSet<E>,
    /// Of values that were there before and are not gone with the others.
    removed: BTreeSet<E>,
}

/// What [`Store::write`]'s closure works with.
#[derive(Debug)]
pub struct Transaction<'a> {
    store: &'a Store,
    operations: Vec<Operation>,
    overlay: HashMap<E, Overlay>,
    /// Not to be sent to another thread: the lock is this thread's.
    _here: PhantomData<*const ()>,
}

impl Transaction<'_> {
    /// Adds a pair; true if it is new, this transaction's changes considered.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn insert(&mut self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        let (key, value) = (key.into(), value.into());
        if self.contains(key, value)? {
            return Ok(false);
        }
        let overlay = self.overlay.entry(key).or_default();
        if !overlay.removed.remove(&value) {
            overlay.added.insert(value);
        }
        self.operations.push(Operation::Insert(key, value));
        Ok(true)
    }

    /// Removes a key; answers how many values go, this transaction's changes considered.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn delete(&mut self, key: impl Into<E>) -> Result<u64> {
        let key = key.into();
        let gone = self.value_count(key)?;
        if gone > 0 {
            let cleared = Overlay { cleared: true, ..Overlay::default() };
            self.overlay.insert(key, cleared);
            self.operations.push(Operation::DeleteKey(key));
        }
        Ok(gone)
    }

    /// Removes one value of a key; true if it was there, this transaction's changes considered.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn delete_value(&mut self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        let (key, value) = (key.into(), value.into());
        if !self.contains(key, value)? {
            return Ok(false);
        }
        let overlay = self.overlay.entry(key).or_default();
        if !overlay.added.remove(&value) {
            overlay.removed.insert(value);
        }
        self.operations.push(Operation::DeleteValue(key, value));
        Ok(true)
    }

    /// All values of a key, this transaction's changes included.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn get(&self, key: impl Into<E>) -> Result<Values> {
        let key = key.into();
        let Some(overlay) = self.overlay.get(&key) else { return self.store.get(key) };
        let before = if overlay.cleared { Values::default() } else { self.store.get(key)? };
        let kept = before.iter().filter(|value| !overlay.removed.contains(value));
        Ok(Values::many(kept.chain(overlay.added.iter().copied()).collect()))
    }

    /// True if the key has this value, this transaction's changes included.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn contains(&self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        let (key, value) = (key.into(), value.into());
        match self.overlay.get(&key) {
            Some(overlay) if overlay.added.contains(&value) => Ok(true),
            Some(overlay) if overlay.cleared || overlay.removed.contains(&value) => Ok(false),
            _ => self.store.contains(key, value),
        }
    }

    /// True if the key has values, this transaction's changes included.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn contains_key(&self, key: impl Into<E>) -> Result<bool> {
        let key = key.into();
        if self.overlay.contains_key(&key) {
            Ok(self.value_count(key)? > 0)
        } else {
            self.store.contains_key(key)
        }
    }

    /// How many values the key has, this transaction's changes included. Reads none of them.
    fn value_count(&self, key: E) -> Result<u64> {
        let Some(overlay) = self.overlay.get(&key) else { return self.store.value_count(key) };
        let before = if overlay.cleared { 0 } else { self.store.value_count(key)? };
        let (added, removed) = (overlay.added.len() as u64, overlay.removed.len() as u64);
        // Not below zero, whatever a damaged set says of itself.
        Ok((before + added).saturating_sub(removed))
    }
}

impl Store {
    /// `Ok` unless this thread is within a transaction of this store: for who hands a call over to another thread, which
    /// would wait for this one.
    ///
    /// # Errors
    ///
    /// [`Error::Nested`].
    pub fn check_not_nested(&self) -> Result<()> {
        check_not_nested(self.engine())
    }

    /// Runs `run` alone among writers, then writes its changes as one: all or none survive a crash.
    ///
    /// The transaction's own reads see its changes; nobody else does before it is committed. If `run` answers
    /// an error or panics, nothing is changed. Use the transaction inside `run`, not the store: a write on
    /// the store is refused as [`Error::Nested`]. Other threads' writes wait meanwhile, reads don't.
    ///
    /// ```
    /// # use cidstore_engine::{Store, Error};
    /// # fn main() -> Result<(), Error> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let store = Store::open(folder.path().join("accounts.h5"))?;
    /// # store.insert(1, 100)?;
    /// // Moves the value from one key to another, or does nothing.
    /// let moved = store.write(|tx| Ok(tx.delete_value(1, 100)? && tx.insert(2, 100)?))?;
    /// assert!(moved && store.contains(2, 100)? && !store.contains_key(1)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The closure's own error, [`Error::BatchTooLarge`] if there are more changes than the log takes as one,
    /// else see [`Store`].
    pub fn write<T>(&self, run: impl FnOnce(&mut Transaction<'_>) -> Result<T>) -> Result<T> {
        let engine = self.engine();
        check_not_nested(engine)?;
        engine.check_writable()?;
        engine.step_back();
        let state = engine.writer_to_change();
        let mut transaction = Transaction {
            store: self,
            operations: Vec::new(),
            overlay: HashMap::new(),
            _here: PhantomData,
        };
        let answer = {
            let _inside = Inside::enter(engine, &state);
            run(&mut transaction)
        };
        let operations = transaction.operations;
        match answer {
            Ok(answer) if !operations.is_empty() => {
                let durability = engine.settings.durability;
                engine.commit_locked(state, Write::Batch(operations), durability)?;
                Ok(answer)
            }
            answer => answer,
        }
    }
}
