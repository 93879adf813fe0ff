//! LMDB through `heed`: the unnamed table from 16 bytes to 16 bytes, without duplicate keys, or with duplicates of one size.
#![allow(unsafe_code, reason = "heed's open and flags are unsafe functions; see docs/unsafe.md")]

use std::path::Path;

use cidstore_core::E;
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, WithoutTls};

use super::bytes::{bytes, number, sorted};
use super::lmdb_dup::{DupReader, DupTable};
use super::wrong_shape;
use crate::Result;
use crate::peer::{Abilities, Durability, Mode, Peer, Reader};

/// Most address space, and so most file, that LMDB may take.
const MAP_BYTES: usize = 64 << 30;

/// An environment with one table.
pub enum Lmdb {
    /// One value a key.
    One {
        /// The environment.
        env: Env<WithoutTls>,
        /// Its unnamed table.
        table: Table,
    },
    /// Many values a key.
    Many(DupTable),
}

/// The unnamed table.
pub type Table = Database<'static, Bytes, Bytes>;

impl Peer for Lmdb {
    const NAME: &'static str = "lmdb";
    const ABILITIES: Abilities = Abilities::ALL;
    type Reader<'a> = LmdbReader<'a>;

    fn version() -> String {
        format!("{} through heed {}", heed::lmdb_version().string, super::locked_version("heed"))
    }

    fn settings() -> Vec<(&'static str, String)> {
        vec![
            ("buffered", "MDB_NOSYNC: outlives a killed process; a power cut may damage the file".to_owned()),
            ("synced", "the default".to_owned()),
            ("bulk_load", "pairs sorted in memory, MDB_APPEND or MDB_APPENDDUP in one transaction".to_owned()),
            ("many values", "MDB_DUPSORT and MDB_DUPFIXED; MDB_GET_BOTH, MDB_GET_MULTIPLE; through the C interface".to_owned()),
            ("reads", "one read transaction for a whole round, MDB_NOTLS".to_owned()),
            ("get_many", "a loop of get".to_owned()),
            ("map_bytes", MAP_BYTES.to_string()),
        ]
    }

    fn open(folder: &Path, mode: Mode) -> Result<Self> {
        let synced = mode.durability == Durability::Synced;
        if mode.many_values {
            return Ok(Self::Many(DupTable::open(folder, MAP_BYTES, synced)?));
        }
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(MAP_BYTES);
        if !synced {
            // SAFETY: NO_SYNC weakens what a power cut leaves behind, and no store here is used after one.
            unsafe { options.flags(EnvFlags::NO_SYNC) };
        }
        // SAFETY: the folder was made for this run, and nothing but LMDB writes to the files in it; a killed child of ours
        // is waited for before the folder is opened again.
        let env = unsafe { options.open(folder)? };
        let opened = env.open_databases_and_commit(env.read_txn()?, |opener, transaction| {
            opener.open_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
        })?;
        let table = opened.commit().flatten().ok_or("LMDB has no unnamed table")?;
        Ok(Self::One { env, table })
    }

    fn bulk_load(&self, pairs: impl Iterator<Item = (E, E)>) -> Result<()> {
        let sorted = sorted(pairs);
        match self {
            Self::Many(table) => table.insert_all(&sorted, true),
            Self::One { env, table } => {
                let mut transaction = env.write_txn()?;
                for (key, value) in &sorted {
                    let (key, value) = (bytes(*key), bytes(*value));
                    table.put_with_flags(&mut transaction, PutFlags::APPEND, &key, &value)?;
                }
                Ok(transaction.commit()?)
            }
        }
    }

    fn insert_batch(&self, batch: &[(E, E)]) -> Result<()> {
        match self {
            Self::Many(table) => table.insert_all(batch, false),
            Self::One { env, table } => {
                let mut transaction = env.write_txn()?;
                for (key, value) in batch {
                    table.put(&mut transaction, &bytes(*key), &bytes(*value))?;
                }
                Ok(transaction.commit()?)
            }
        }
    }

    fn sync(self) -> Result<Self> {
        match &self {
            Self::Many(table) => table.sync()?,
            Self::One { env, .. } => env.force_sync()?,
        }
        Ok(self)
    }

    fn read<T>(&self, work: impl for<'a> FnOnce(&Self::Reader<'a>) -> Result<T>) -> Result<T> {
        match self {
            Self::Many(table) => work(&LmdbReader::Many(table.reader()?)),
            Self::One { env, table } => {
                work(&LmdbReader::One { table: *table, transaction: env.read_txn()? })
            }
        }
    }

    fn live_bytes(&self) -> Result<Option<u64>> {
        let Self::One { env, table } = self else { return Ok(None) };
        let transaction = env.read_txn()?;
        let stat = table.stat(&transaction)?;
        let pages = stat.branch_pages + stat.leaf_pages + stat.overflow_pages;
        Ok(Some(pages as u64 * u64::from(stat.page_size)))
    }

    fn close(self) -> Result<()> {
        match self {
            Self::Many(table) => table.sync(),
            Self::One { env, .. } => {
                env.force_sync()?;
                env.prepare_for_closing().wait();
                Ok(())
            }
        }
    }

    fn is_beside_the_data(file_name: &str) -> bool {
        file_name == "lock.mdb"
    }
}

/// One read transaction.
pub enum LmdbReader<'a> {
    /// One value a key.
    One {
        /// The unnamed table.
        table: Table,
        /// What it is read in.
        transaction: RoTxn<'a, WithoutTls>,
    },
    /// Many values a key.
    Many(DupReader<'a>),
}

impl Reader for LmdbReader<'_> {
    fn get(&self, key: E) -> Result<Option<E>> {
        let Self::One { table, transaction } = self else { return wrong_shape(Mode::MANY) };
        match table.get(transaction, &bytes(key))? {
            None => Ok(None),
            Some(value) => Ok(Some(number(value)?)),
        }
    }

    fn values(&self, key: E, each: impl FnMut(E)) -> Result<()> {
        let Self::Many(reader) = self else { return wrong_shape(Mode::BUFFERED) };
        reader.values(key, each)
    }

    fn contains(&self, key: E, value: E) -> Result<bool> {
        let Self::Many(reader) = self else { return wrong_shape(Mode::BUFFERED) };
        reader.contains(key, value)
    }
}
