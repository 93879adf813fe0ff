//! [`Peer`]: what a store must be able to do to be compared.
//!
//! Static dispatch throughout: a virtual call per read would be part of every figure.

use std::path::Path;

use cidstore_core::E;

use crate::Result;
use crate::pairs::Pairs;

/// A store under test, holding one value a key.
pub trait Peer: Sized {
    /// What the tables call it.
    const NAME: &'static str;
    /// Its read handle.
    type Reader<'a>: Reader
    where
        Self: 'a;

    /// Its version.
    fn version() -> String;

    /// Settings that are not the defaults, and the ones that decide about a figure.
    fn settings(&self) -> Vec<(&'static str, String)>;

    /// An empty store in `folder`, which is empty.
    ///
    /// # Errors
    /// The store's own.
    fn create(folder: &Path) -> Result<Self>;

    /// Takes all pairs in by the fastest way it offers; on disk when this returns.
    ///
    /// # Errors
    /// The store's own.
    fn bulk_load(&mut self, pairs: &Pairs) -> Result<()>;

    /// Takes one batch in, atomically; outlives a killed process when this returns, not a power cut.
    ///
    /// # Errors
    /// The store's own.
    fn insert_batch(&mut self, batch: &[(E, E)]) -> Result<()>;

    /// Brings everything on disk.
    ///
    /// # Errors
    /// The store's own.
    fn sync(&mut self) -> Result<()>;

    /// A handle for many reads.
    ///
    /// # Errors
    /// The store's own.
    fn reader(&self) -> Result<Self::Reader<'_>>;

    /// Bytes that hold its pairs, without free space it keeps for later.
    ///
    /// # Errors
    /// The store's own.
    fn live_bytes(&self) -> Result<u64>;

    /// Closes it cleanly.
    ///
    /// # Errors
    /// The store's own.
    fn close(self) -> Result<()>;
}

/// A [`Peer`] that outlives its process.
pub trait Durable: Peer {
    /// Opens what is in `folder`, after a clean close or a kill.
    ///
    /// # Errors
    /// The store's own.
    fn open(folder: &Path) -> Result<Self>;

    /// Files whose size is not the data's: logs, lock files.
    fn is_beside_the_data(file_name: &str) -> bool;
}

/// Reads of one thread.
pub trait Reader {
    /// The value of `key`.
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
}
