//! [`Peer`]: what a store must be able to do to be compared.
//!
//! Static dispatch throughout: a virtual call per read would be part of every figure.

use std::path::Path;

use cidstore_core::E;

use crate::Result;

/// What an acknowledged write outlives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A killed process, not a power cut. A peer that gives less says so in its settings.
    Buffered,
    /// A power cut: each write is synced before it is acknowledged.
    Synced,
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Of its writes.
    pub durability: Durability,
    /// Whether a key may have several values. The same store is always opened with the same answer.
    pub many_values: bool,
}

impl Mode {
    /// One value a key, buffered.
    pub const BUFFERED: Self = Self { durability: Durability::Buffered, many_values: false };
    /// One value a key, synced.
    pub const SYNCED: Self = Self { durability: Durability::Synced, many_values: false };
    /// Many values a key, buffered.
    pub const MANY: Self = Self { durability: Durability::Buffered, many_values: true };
}

/// What a peer promises, and so which workloads it takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// It outlives its process: it can be closed, opened and killed.
    pub persistent: bool,
    /// It can sync each write before acknowledging it.
    pub synced: bool,
    /// An acknowledged buffered write outlives a killed process.
    pub keeps_buffered: bool,
    /// It can hold several values a key, by itself or with both in the key.
    pub many_values: bool,
    /// It may be written by one thread while another reads.
    pub concurrent: bool,
}

impl Abilities {
    /// A durable store that can do everything.
    pub const ALL: Self = Self {
        persistent: true,
        synced: true,
        keeps_buffered: true,
        many_values: true,
        concurrent: true,
    };
    /// A map in memory.
    pub const MEMORY: Self = Self {
        persistent: false,
        synced: false,
        keeps_buffered: false,
        many_values: false,
        concurrent: false,
    };
}

/// A store under test.
pub trait Peer: Sized + Sync + 'static {
    /// What the tables call it.
    const NAME: &'static str;
    /// What it promises.
    const ABILITIES: Abilities;
    /// Its read handle.
    type Reader<'a>: Reader;

    /// Its version.
    fn version() -> String;

    /// Settings that are not the defaults, and the ones that decide about a figure.
    fn settings() -> Vec<(&'static str, String)>;

    /// Opens what is in `folder`, after a clean close or a kill; an empty store if there is nothing.
    ///
    /// # Errors
    /// The store's own.
    fn open(folder: &Path, mode: Mode) -> Result<Self>;

    /// Takes pairs into an empty store by the fastest way it offers. [`Peer::sync`] brings them on disk.
    ///
    /// # Errors
    /// The store's own.
    fn bulk_load(&self, pairs: impl Iterator<Item = (E, E)>) -> Result<()>;

    /// Takes one batch in, atomically, as durable as the [`Mode`] says when this returns.
    ///
    /// # Errors
    /// The store's own.
    fn insert_batch(&self, batch: &[(E, E)]) -> Result<()>;

    /// Takes one pair in, as durable as the [`Mode`] says when this returns.
    ///
    /// # Errors
    /// The store's own.
    fn insert(&self, key: E, value: E) -> Result<()> {
        self.insert_batch(&[(key, value)])
    }

    /// Brings everything on disk. A store that can only do so by closing is closed and opened again.
    ///
    /// # Errors
    /// The store's own.
    fn sync(self) -> Result<Self>;

    /// Runs `work` with a handle for many reads.
    ///
    /// # Errors
    /// The store's own, and those of `work`.
    fn read<T>(&self, work: impl for<'a> FnOnce(&Self::Reader<'a>) -> Result<T>) -> Result<T>;

    /// Bytes that hold its pairs, without free space it keeps for later; `None` if it cannot tell.
    ///
    /// # Errors
    /// The store's own.
    fn live_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Checkpoints since it was opened; `None` if it does not count them.
    fn checkpoints(&self) -> Option<u64> {
        None
    }

    /// Closes it cleanly.
    ///
    /// # Errors
    /// The store's own.
    fn close(self) -> Result<()>;

    /// Files whose size is not the data's: logs, lock files.
    fn is_beside_the_data(file_name: &str) -> bool {
        let _ = file_name;
        false
    }
}

/// Reads of one thread.
pub trait Reader {
    /// The value of `key`, in a store with one value a key.
    ///
    /// # Errors
    /// The store's own.
    fn get(&self, key: E) -> Result<Option<E>>;

    /// Calls `each` with the value of each of `keys`, in any order, through the batched read if the store has one.
    ///
    /// # Errors
    /// The store's own.
    fn get_many(&self, keys: &[E], mut each: impl FnMut(Option<E>)) -> Result<()> {
        for key in keys {
            each(self.get(*key)?);
        }
        Ok(())
    }

    /// Calls `each` with all values of `key`, in a store with many values a key.
    ///
    /// # Errors
    /// The store's own; always, if the peer has not [`Abilities::many_values`].
    fn values(&self, key: E, each: impl FnMut(E)) -> Result<()>;

    /// The same, by the way the store offers for so many values that a copy of all of them is not wanted.
    ///
    /// # Errors
    /// As of [`Reader::values`].
    fn iterate(&self, key: E, each: impl FnMut(E)) -> Result<()> {
        self.values(key, each)
    }

    /// Whether `value` is a value of `key`, in a store with many values a key.
    ///
    /// # Errors
    /// The store's own; always, if the peer has not [`Abilities::many_values`].
    fn contains(&self, key: E, value: E) -> Result<bool>;
}

/// The answer of a peer with one value a key to a question about many.
///
/// # Errors
/// Always.
pub fn one_value_only<T>(name: &str) -> Result<T> {
    Err(format!("{name} holds one value a key").into())
}
