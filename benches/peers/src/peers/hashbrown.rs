//! The ceiling: a hash map in memory, which loses everything at the end and lets nobody else in.

use std::path::Path;

use cidstore_core::E;
use hashbrown::HashMap;

use crate::Result;
use crate::pairs::Pairs;
use crate::peer::{Peer, Reader};

/// `hashbrown::HashMap` with its default hasher.
pub struct Hashbrown {
    map: HashMap<E, E>,
}

impl Peer for Hashbrown {
    const NAME: &'static str = "hashbrown";
    type Reader<'a> = &'a HashMap<E, E>;

    fn version() -> String {
        super::locked_version("hashbrown").to_owned()
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("durability", "none".to_owned()),
            ("bulk_load", "into a map reserved for the count".to_owned()),
            ("batch_insert", "into a map that grows".to_owned()),
            ("get_many", "a loop of get".to_owned()),
        ]
    }

    fn create(_folder: &Path) -> Result<Self> {
        Ok(Self { map: HashMap::new() })
    }

    fn bulk_load(&mut self, pairs: &Pairs) -> Result<()> {
        self.map.reserve(usize::try_from(pairs.count())?);
        self.map.extend(pairs.iter());
        Ok(())
    }

    fn insert_batch(&mut self, batch: &[(E, E)]) -> Result<()> {
        for (key, value) in batch {
            self.map.insert(*key, *value);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }

    fn reader(&self) -> Result<Self::Reader<'_>> {
        Ok(&self.map)
    }

    fn live_bytes(&self) -> Result<u64> {
        Ok(self.map.allocation_size() as u64)
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Reader for &HashMap<E, E> {
    fn get(&self, key: E) -> Result<Option<E>> {
        Ok(HashMap::get(self, &key).copied())
    }
}
