//! A ceiling: a hash map in memory, which loses everything at the end and lets nobody else in.

use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use cidstore_core::E;
use hashbrown::HashMap;

use crate::Result;
use crate::peer::{Abilities, Mode, Peer, Reader, one_value_only};

/// `hashbrown::HashMap` with its default hasher.
pub struct Hashbrown {
    /// Locked once a batch, and once for a whole round of reads.
    map: RwLock<HashMap<E, E>>,
}

impl Peer for Hashbrown {
    const NAME: &'static str = "hashbrown";
    const ABILITIES: Abilities = Abilities::MEMORY;
    type Reader<'a> = RwLockReadGuard<'a, HashMap<E, E>>;

    fn version() -> String {
        super::locked_version("hashbrown").to_owned()
    }

    fn settings() -> Vec<(&'static str, String)> {
        vec![
            ("durability", "none".to_owned()),
            ("bulk_load", "a map that grows".to_owned()),
            ("get_many", "a loop of get".to_owned()),
        ]
    }

    fn open(_folder: &Path, _mode: Mode) -> Result<Self> {
        Ok(Self { map: RwLock::new(HashMap::new()) })
    }

    fn bulk_load(&self, pairs: impl Iterator<Item = (E, E)>) -> Result<()> {
        self.map.write().unwrap_or_else(PoisonError::into_inner).extend(pairs);
        Ok(())
    }

    fn insert_batch(&self, batch: &[(E, E)]) -> Result<()> {
        self.map.write().unwrap_or_else(PoisonError::into_inner).extend(batch.iter().copied());
        Ok(())
    }

    fn sync(self) -> Result<Self> {
        Ok(self)
    }

    fn read<T>(&self, work: impl for<'a> FnOnce(&Self::Reader<'a>) -> Result<T>) -> Result<T> {
        work(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn live_bytes(&self) -> Result<Option<u64>> {
        Ok(Some(self.map.read().unwrap_or_else(PoisonError::into_inner).allocation_size() as u64))
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Reader for RwLockReadGuard<'_, HashMap<E, E>> {
    fn get(&self, key: E) -> Result<Option<E>> {
        Ok(HashMap::get(self, &key).copied())
    }

    fn values(&self, _key: E, _each: impl FnMut(E)) -> Result<()> {
        one_value_only(Hashbrown::NAME)
    }

    fn contains(&self, _key: E, _value: E) -> Result<bool> {
        one_value_only(Hashbrown::NAME)
    }
}
