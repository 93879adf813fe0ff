//! The other ceiling: a concurrent hash map in memory, whose readers take no lock.

use std::path::Path;

use cidstore_core::E;
use papaya::{HashMap, LocalGuard};

use crate::Result;
use crate::peer::{Abilities, Mode, Peer, Reader, one_value_only};

/// `papaya::HashMap` with its default hasher.
pub struct Papaya {
    map: HashMap<E, E>,
}

impl Peer for Papaya {
    const NAME: &'static str = "papaya";
    const ABILITIES: Abilities = Abilities { concurrent: true, ..Abilities::MEMORY };
    type Reader<'a> = PapayaReader<'a>;

    fn version() -> String {
        super::locked_version("papaya").to_owned()
    }

    fn settings() -> Vec<(&'static str, String)> {
        vec![
            ("durability", "none".to_owned()),
            ("bulk_load", "a map that grows".to_owned()),
            ("reads", "one guard for a whole round".to_owned()),
            ("get_many", "a loop of get".to_owned()),
        ]
    }

    fn open(_folder: &Path, _mode: Mode) -> Result<Self> {
        Ok(Self { map: HashMap::new() })
    }

    fn bulk_load(&self, pairs: impl Iterator<Item = (E, E)>) -> Result<()> {
        let map = self.map.pin();
        for (key, value) in pairs {
            map.insert(key, value);
        }
        Ok(())
    }

    fn insert_batch(&self, batch: &[(E, E)]) -> Result<()> {
        let map = self.map.pin();
        for (key, value) in batch {
            map.insert(*key, *value);
        }
        Ok(())
    }

    fn sync(self) -> Result<Self> {
        Ok(self)
    }

    fn read<T>(&self, work: impl for<'a> FnOnce(&Self::Reader<'a>) -> Result<T>) -> Result<T> {
        work(&PapayaReader { map: &self.map, guard: self.map.guard() })
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

/// The map under one guard.
pub struct PapayaReader<'a> {
    map: &'a HashMap<E, E>,
    guard: LocalGuard<'a>,
}

impl Reader for PapayaReader<'_> {
    fn get(&self, key: E) -> Result<Option<E>> {
        Ok(self.map.get(&key, &self.guard).copied())
    }

    fn values(&self, _key: E, _each: impl FnMut(E)) -> Result<()> {
        one_value_only(Papaya::NAME)
    }

    fn contains(&self, _key: E, _value: E) -> Result<bool> {
        one_value_only(Papaya::NAME)
    }
}
