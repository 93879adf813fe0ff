//! parity-db: a hash index over value tables; one value a key.

use std::path::{Path, PathBuf};

use cidstore_core::E;
use parity_db::{Db, Options};

use super::bytes::{bytes, number};
use crate::Result;
use crate::peer::{Abilities, Mode, Peer, Reader, one_value_only};

const COLUMN: u8 = 0;
/// Pairs in a transaction of a bulk load.
const LOAD_PAIRS: usize = 10_000;

/// One hash-indexed column.
pub struct ParityDb {
    database: Db,
    folder: PathBuf,
}

impl Peer for ParityDb {
    const NAME: &'static str = "parity-db";
    /// Commits are queued in memory and no call waits for them, so it has no synced writes.
    const ABILITIES: Abilities =
        Abilities { synced: false, keeps_buffered: false, many_values: false, ..Abilities::ALL };
    type Reader<'a> = &'a Db;

    fn version() -> String {
        super::locked_version("parity-db").to_owned()
    }

    fn settings() -> Vec<(&'static str, String)> {
        vec![
            (
                "buffered",
                "commits are queued in memory: WEAKER, lost with a killed process".to_owned(),
            ),
            ("synced", "no call waits for the queue".to_owned()),
            ("bulk_load", format!("{LOAD_PAIRS} a transaction; synced by closing and opening")),
            ("get_many", "a loop of get".to_owned()),
        ]
    }

    fn open(folder: &Path, _mode: Mode) -> Result<Self> {
        let database = Db::open_or_create(&Options::with_columns(folder, COLUMN + 1))?;
        Ok(Self { database, folder: folder.to_path_buf() })
    }

    fn bulk_load(&self, mut pairs: impl Iterator<Item = (E, E)>) -> Result<()> {
        loop {
            let some: Vec<_> = pairs.by_ref().take(LOAD_PAIRS).collect();
            if some.is_empty() {
                return Ok(());
            }
            self.insert_batch(&some)?;
        }
    }

    fn insert_batch(&self, batch: &[(E, E)]) -> Result<()> {
        let changes =
            batch.iter().map(|(key, value)| (COLUMN, bytes(*key), Some(bytes(*value).to_vec())));
        Ok(self.database.commit(changes)?)
    }

    fn sync(self) -> Result<Self> {
        let folder = self.folder.clone();
        self.close()?;
        Self::open(&folder, Mode::BUFFERED)
    }

    fn read<T>(&self, work: impl for<'a> FnOnce(&Self::Reader<'a>) -> Result<T>) -> Result<T> {
        work(&&self.database)
    }

    fn close(self) -> Result<()> {
        drop(self.database);
        Ok(())
    }

    fn is_beside_the_data(file_name: &str) -> bool {
        file_name.starts_with("log") || file_name == "lock"
    }
}

impl Reader for &Db {
    fn get(&self, key: E) -> Result<Option<E>> {
        match Db::get(self, COLUMN, &bytes(key))? {
            None => Ok(None),
            Some(value) => Ok(Some(number(&value)?)),
        }
    }

    fn values(&self, _key: E, _each: impl FnMut(E)) -> Result<()> {
        one_value_only(ParityDb::NAME)
    }

    fn contains(&self, _key: E, _value: E) -> Result<bool> {
        one_value_only(ParityDb::NAME)
    }
}
