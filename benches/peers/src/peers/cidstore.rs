//! This store.

use std::path::Path;

use cidstore_core::E;
use cidstore_engine::{Durability, ReadGuard, Store};

use crate::Result;
use crate::pairs::Pairs;
use crate::peer::{Durable, Peer, Reader};

const FILE: &str = "cidstore.h5";
/// Largest log: what a store has unless told otherwise, said here so that the record says it.
const WAL_BYTES: u64 = 256 << 20;

/// This store, in its default configuration but for the durability of single writes.
pub struct CidStore {
    store: Store,
}

impl CidStore {
    /// A handle whose reads share one pin.
    ///
    /// # Errors
    /// The store's own.
    pub fn pinned(&self) -> Result<Pinned<'_>> {
        Ok(Pinned { guard: self.store.pin()? })
    }
}

impl Peer for CidStore {
    const NAME: &'static str = "cidstore";
    type Reader<'a> = &'a Store;

    fn version() -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("durability", "Buffered: outlives a killed process, not a power cut".to_owned()),
            ("wal_bytes", format!("{WAL_BYTES} at most, the default")),
        ]
    }

    fn create(folder: &Path) -> Result<Self> {
        Self::open(folder)
    }

    fn bulk_load(&mut self, pairs: &Pairs) -> Result<()> {
        let loaded = self.store.bulk_load(pairs.iter())?;
        if loaded.new_pairs == pairs.count() {
            Ok(())
        } else {
            Err(format!("{} of {} pairs loaded", loaded.new_pairs, pairs.count()).into())
        }
    }

    fn insert_batch(&mut self, batch: &[(E, E)]) -> Result<()> {
        self.store.batch_insert(batch)?;
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(self.store.sync()?)
    }

    fn reader(&self) -> Result<Self::Reader<'_>> {
        Ok(&self.store)
    }

    fn live_bytes(&self) -> Result<u64> {
        Ok(self.store.stats().live_bytes)
    }

    fn close(self) -> Result<()> {
        Ok(self.store.close()?)
    }
}

impl Durable for CidStore {
    fn open(folder: &Path) -> Result<Self> {
        let store = Store::options()
            .create(true)
            .durability(Durability::Buffered)
            .wal_bytes(WAL_BYTES)
            .open(folder.join(FILE))?;
        Ok(Self { store })
    }

    fn is_beside_the_data(file_name: &str) -> bool {
        file_name.ends_with("-wal")
    }
}

impl Reader for &Store {
    fn get(&self, key: E) -> Result<Option<E>> {
        Ok(Store::get(self, key)?.as_slice().first().copied())
    }

    fn get_many(&self, keys: &[E], mut each: impl FnMut(Option<E>)) -> Result<()> {
        self.get_many_with(keys, |_, values| each(values.as_slice().first().copied()))?;
        Ok(())
    }
}

/// Reads under one pin.
pub struct Pinned<'a> {
    guard: ReadGuard<'a>,
}

impl Reader for Pinned<'_> {
    fn get(&self, key: E) -> Result<Option<E>> {
        Ok(self.guard.get(key)?.as_slice().first().copied())
    }
}
