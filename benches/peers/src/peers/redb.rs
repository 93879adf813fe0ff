//! redb: a table from 16 bytes to 16 bytes, or a multimap table.

use std::path::Path;

use cidstore_core::E;
use redb::{
    Database, Durability as Kept, MultimapTableDefinition, ReadOnlyMultimapTable, ReadOnlyTable,
    ReadableDatabase, TableDefinition,
};

use super::bytes::{bytes, number, sorted};
use super::{CACHE_BYTES, wrong_shape};
use crate::Result;
use crate::peer::{Abilities, Durability, Mode, Peer, Reader};

const FILE: &str = "redb";
const ONE: TableDefinition<'_, [u8; 16], [u8; 16]> = TableDefinition::new("one");
const MANY: MultimapTableDefinition<'_, [u8; 16], [u8; 16]> = MultimapTableDefinition::new("many");

/// redb, which has no log: what is not synced is lost with the process.
pub struct Redb {
    database: Database,
    mode: Mode,
}

impl Redb {
    fn insert_all(&self, pairs: &[(E, E)], durability: Durability) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(match durability {
            Durability::Buffered => Kept::None,
            Durability::Synced => Kept::Immediate,
        })?;
        if self.mode.many_values {
            let mut table = transaction.open_multimap_table(MANY)?;
            for (key, value) in pairs {
                table.insert(bytes(*key), bytes(*value))?;
            }
        } else {
            let mut table = transaction.open_table(ONE)?;
            for (key, value) in pairs {
                table.insert(bytes(*key), bytes(*value))?;
            }
        }
        Ok(transaction.commit()?)
    }
}

impl Peer for Redb {
    const NAME: &'static str = "redb";
    const ABILITIES: Abilities = Abilities { keeps_buffered: false, ..Abilities::ALL };
    type Reader<'a> = RedbReader;

    fn version() -> String {
        super::locked_version("redb").to_owned()
    }

    fn settings() -> Vec<(&'static str, String)> {
        vec![
            ("buffered", "Durability::None: WEAKER, lost with a killed process".to_owned()),
            ("synced", "Durability::Immediate".to_owned()),
            ("bulk_load", "pairs sorted in memory, one transaction, synced".to_owned()),
            ("many values", "a multimap table".to_owned()),
            ("reads", "one read transaction and open table for a whole round".to_owned()),
            ("get_many", "a loop of get".to_owned()),
            ("cache_bytes", CACHE_BYTES.to_string()),
        ]
    }

    fn open(folder: &Path, mode: Mode) -> Result<Self> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(folder.join(FILE))?;
        let peer = Self { database, mode };
        // Makes the tables, without which a reader of a new store fails.
        peer.insert_all(&[], Durability::Synced)?;
        Ok(peer)
    }

    fn bulk_load(&self, pairs: impl Iterator<Item = (E, E)>) -> Result<()> {
        self.insert_all(&sorted(pairs), Durability::Synced)
    }

    fn insert_batch(&self, batch: &[(E, E)]) -> Result<()> {
        self.insert_all(batch, self.mode.durability)
    }

    fn sync(self) -> Result<Self> {
        self.insert_all(&[], Durability::Synced)?;
        Ok(self)
    }

    fn read<T>(&self, work: impl for<'a> FnOnce(&Self::Reader<'a>) -> Result<T>) -> Result<T> {
        let transaction = self.database.begin_read()?;
        work(&if self.mode.many_values {
            RedbReader::Many(transaction.open_multimap_table(MANY)?)
        } else {
            RedbReader::One(transaction.open_table(ONE)?)
        })
    }

    fn close(self) -> Result<()> {
        Ok(self.database.close()?)
    }
}

/// The table in one read transaction, which lives as long.
pub enum RedbReader {
    /// One value a key.
    One(ReadOnlyTable<[u8; 16], [u8; 16]>),
    /// Many values a key.
    Many(ReadOnlyMultimapTable<[u8; 16], [u8; 16]>),
}

impl Reader for RedbReader {
    fn get(&self, key: E) -> Result<Option<E>> {
        let Self::One(table) = self else { return wrong_shape(Mode::MANY) };
        match table.get(bytes(key))? {
            None => Ok(None),
            Some(value) => Ok(Some(number(&value.value())?)),
        }
    }

    fn values(&self, key: E, mut each: impl FnMut(E)) -> Result<()> {
        let Self::Many(table) = self else { return wrong_shape(Mode::BUFFERED) };
        for value in table.get(bytes(key))? {
            each(number(&value?.value())?);
        }
        Ok(())
    }

    /// redb has no search for a value of a key in its interface: this looks through them in order.
    fn contains(&self, key: E, value: E) -> Result<bool> {
        let Self::Many(table) = self else { return wrong_shape(Mode::BUFFERED) };
        let wanted = bytes(value);
        for found in table.get(bytes(key))? {
            let found = found?.value();
            if found >= wanted {
                return Ok(found == wanted);
            }
        }
        Ok(false)
    }
}
