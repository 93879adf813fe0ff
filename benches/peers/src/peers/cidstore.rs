//! This store.

use std::path::Path;

use cidstore_core::E;
use cidstore_engine::{Durability as Kept, Store};

use crate::Result;
use crate::peer::{Abilities, Durability, Mode, Peer, Reader};

const FILE: &str = "cidstore.h5";

/// This store, in its default configuration but for the durability of single writes.
pub struct CidStore {
    store: Store,
}

impl Peer for CidStore {
    const NAME: &'static str = "cidstore";
    const ABILITIES: Abilities = Abilities::ALL;
    type Reader<'a> = &'a Store;

    fn version() -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    fn settings() -> Vec<(&'static str, String)> {
        vec![
            ("buffered", "Durability::Buffered: outlives a killed process".to_owned()),
            ("synced", "Durability::Immediate, the default".to_owned()),
            ("all else", "the defaults".to_owned()),
            ("reads", "each by itself, none under a shared pin".to_owned()),
        ]
    }

    fn open(folder: &Path, mode: Mode) -> Result<Self> {
        let durability = match mode.durability {
            Durability::Buffered => Kept::Buffered,
            Durability::Synced => Kept::Immediate,
        };
        let options = Store::options().create(true).durability(durability);
        Ok(Self { store: options.open(folder.join(FILE))? })
    }

    fn bulk_load(&self, pairs: impl Iterator<Item = (E, E)>) -> Result<()> {
        self.store.bulk_load(pairs)?;
        Ok(())
    }

    fn insert_batch(&self, batch: &[(E, E)]) -> Result<()> {
        self.store.batch_insert(batch)?;
        Ok(())
    }

    fn insert(&self, key: E, value: E) -> Result<()> {
        self.store.insert(key, value)?;
        Ok(())
    }

    fn sync(self) -> Result<Self> {
        self.store.sync()?;
        Ok(self)
    }

    fn read<T>(&self, work: impl for<'a> FnOnce(&Self::Reader<'a>) -> Result<T>) -> Result<T> {
        work(&&self.store)
    }

    fn live_bytes(&self) -> Result<Option<u64>> {
        Ok(Some(self.store.stats().live_bytes))
    }

    fn checkpoints(&self) -> Option<u64> {
        Some(self.store.stats().checkpoints)
    }

    fn close(self) -> Result<()> {
        Ok(self.store.close()?)
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

    fn values(&self, key: E, mut each: impl FnMut(E)) -> Result<()> {
        for value in Store::get(self, key)?.as_slice() {
            each(*value);
        }
        Ok(())
    }

    fn iterate(&self, key: E, mut each: impl FnMut(E)) -> Result<()> {
        for value in self.pin().values(key)? {
            each(value?);
        }
        Ok(())
    }

    fn contains(&self, key: E, value: E) -> Result<bool> {
        Ok(Store::contains(self, key, value)?)
    }
}
