//! fjall: an LSM tree; many values as key and value in one key.

use std::path::Path;

use cidstore_core::E;
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::CACHE_BYTES;
use super::bytes::{bytes, joined, joined_value, number, sorted};
use crate::Result;
use crate::peer::{Abilities, Durability, Mode, Peer, Reader};

/// A keyspace of an LSM tree.
pub struct Fjall {
    database: Database,
    pairs: Keyspace,
    mode: Mode,
}

impl Peer for Fjall {
    const NAME: &'static str = "fjall";
    const ABILITIES: Abilities = Abilities::ALL;
    type Reader<'a> = &'a Keyspace;

    fn version() -> String {
        super::locked_version("fjall").to_owned()
    }

    fn settings() -> Vec<(&'static str, String)> {
        vec![
            ("buffered", "PersistMode::Buffer: outlives a killed process".to_owned()),
            ("synced", "PersistMode::SyncData with each write".to_owned()),
            ("bulk_load", "pairs sorted in memory, ingested as tables".to_owned()),
            ("many values", "key and value in one key, prefix scan".to_owned()),
            ("get_many", "a loop of get".to_owned()),
            ("compression", "none".to_owned()),
            ("cache_bytes", CACHE_BYTES.to_string()),
        ]
    }

    fn open(folder: &Path, mode: Mode) -> Result<Self> {
        let database = Database::builder(folder).cache_size(CACHE_BYTES as u64).open()?;
        let pairs = database.keyspace("pairs", || {
            KeyspaceCreateOptions::default()
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        })?;
        Ok(Self { database, pairs, mode })
    }

    fn bulk_load(&self, pairs: impl Iterator<Item = (E, E)>) -> Result<()> {
        let mut ingestion = self.pairs.start_ingestion()?;
        for (key, value) in sorted(pairs) {
            if self.mode.many_values {
                ingestion.write(joined(key, value), [])?;
            } else {
                ingestion.write(bytes(key), bytes(value))?;
            }
        }
        Ok(ingestion.finish()?)
    }

    fn insert_batch(&self, batch: &[(E, E)]) -> Result<()> {
        let persist = match self.mode.durability {
            Durability::Buffered => PersistMode::Buffer,
            Durability::Synced => PersistMode::SyncData,
        };
        let mut write = self.database.batch().durability(Some(persist));
        for (key, value) in batch {
            if self.mode.many_values {
                write.insert(&self.pairs, joined(*key, *value), []);
            } else {
                write.insert(&self.pairs, bytes(*key), bytes(*value));
            }
        }
        Ok(write.commit()?)
    }

    fn sync(self) -> Result<Self> {
        self.database.persist(PersistMode::SyncAll)?;
        Ok(self)
    }

    fn read<T>(&self, work: impl for<'a> FnOnce(&Self::Reader<'a>) -> Result<T>) -> Result<T> {
        work(&&self.pairs)
    }

    fn close(self) -> Result<()> {
        self.database.persist(PersistMode::SyncAll)?;
        // Recent writes into a table file: then the files' size is the data's.
        Ok(self.pairs.rotate_memtable_and_wait()?)
    }

    fn is_beside_the_data(file_name: &str) -> bool {
        file_name.ends_with(".jnl") || file_name == "lock"
    }
}

impl Reader for &Keyspace {
    fn get(&self, key: E) -> Result<Option<E>> {
        match Keyspace::get(self, bytes(key))? {
            None => Ok(None),
            Some(value) => Ok(Some(number(&value)?)),
        }
    }

    fn values(&self, key: E, mut each: impl FnMut(E)) -> Result<()> {
        for pair in self.prefix(bytes(key)) {
            each(joined_value(&pair.key()?)?);
        }
        Ok(())
    }

    fn contains(&self, key: E, value: E) -> Result<bool> {
        Ok(self.contains_key(joined(key, value))?)
    }
}
