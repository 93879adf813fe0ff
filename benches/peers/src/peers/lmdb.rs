//! LMDB through `heed`: one unnamed table from 16 bytes to 16 bytes, without duplicate keys, which is its fastest form.
#![allow(unsafe_code, reason = "heed's open and flags are unsafe functions; see docs/unsafe.md")]

use std::path::Path;

use cidstore_core::E;
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, WithTls};

use crate::Result;
use crate::pairs::Pairs;
use crate::peer::{Durable, Peer, Reader};

/// Most address space, and so most file, that LMDB may take.
const MAP_BYTES: usize = 64 << 30;

/// LMDB without a sync per transaction.
pub struct Lmdb {
    env: Env,
    table: Table,
}

type Table = Database<'static, Bytes, Bytes>;

impl Peer for Lmdb {
    const NAME: &'static str = "lmdb";
    type Reader<'a> = LmdbReader<'a>;

    fn version() -> String {
        format!("{} through heed {}", heed::lmdb_version().string, super::locked_version("heed"))
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (
                "durability",
                "MDB_NOSYNC: outlives a killed process; a power cut may damage the file".to_owned(),
            ),
            (
                "bulk_load",
                "pairs sorted in memory, MDB_APPEND in one transaction, synced".to_owned(),
            ),
            ("reads", "one read transaction for a whole round".to_owned()),
            ("get_many", "a loop of get".to_owned()),
            ("map_bytes", MAP_BYTES.to_string()),
        ]
    }

    fn create(folder: &Path) -> Result<Self> {
        Self::open(folder)
    }

    fn bulk_load(&mut self, pairs: &Pairs) -> Result<()> {
        let mut sorted: Vec<([u8; 16], [u8; 16])> =
            pairs.iter().map(|(key, value)| (bytes(key), bytes(value))).collect();
        sorted.sort_unstable();
        let mut transaction = self.env.write_txn()?;
        for (key, value) in &sorted {
            self.table.put_with_flags(&mut transaction, PutFlags::APPEND, key, value)?;
        }
        transaction.commit()?;
        self.sync()
    }

    fn insert_batch(&mut self, batch: &[(E, E)]) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        for (key, value) in batch {
            self.table.put(&mut transaction, &bytes(*key), &bytes(*value))?;
        }
        Ok(transaction.commit()?)
    }

    fn sync(&mut self) -> Result<()> {
        Ok(self.env.force_sync()?)
    }

    fn reader(&self) -> Result<Self::Reader<'_>> {
        Ok(LmdbReader { table: self.table, transaction: self.env.read_txn()? })
    }

    fn live_bytes(&self) -> Result<u64> {
        let reader = self.reader()?;
        let stat = self.table.stat(&reader.transaction)?;
        let pages = stat.branch_pages + stat.leaf_pages + stat.overflow_pages;
        Ok(pages as u64 * u64::from(stat.page_size))
    }

    fn close(self) -> Result<()> {
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

impl Durable for Lmdb {
    fn open(folder: &Path) -> Result<Self> {
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES);
        // SAFETY: NO_SYNC weakens what a power cut leaves behind, and no store here is used after one.
        unsafe { options.flags(EnvFlags::NO_SYNC) };
        // SAFETY: the folder was made for this run, and nothing but LMDB writes to the files in it; a killed child of ours
        // is waited for before the folder is opened again.
        let env = unsafe { options.open(folder)? };
        let opened = env.open_databases_and_commit(env.read_txn()?, |opener, transaction| {
            opener.open_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
        })?;
        let table = opened.commit().flatten().ok_or("LMDB has no unnamed table")?;
        Ok(Self { env, table })
    }

    fn is_beside_the_data(file_name: &str) -> bool {
        file_name == "lock.mdb"
    }
}

/// One read transaction.
pub struct LmdbReader<'a> {
    table: Table,
    transaction: RoTxn<'a, WithTls>,
}

impl Reader for LmdbReader<'_> {
    fn get(&self, key: E) -> Result<Option<E>> {
        match self.table.get(&self.transaction, &bytes(key))? {
            None => Ok(None),
            Some(value) => Ok(Some(number(value.try_into()?))),
        }
    }
}

/// Big-endian, so that LMDB's order of bytes is the order of numbers.
fn bytes(number: E) -> [u8; 16] {
    ((u128::from(number.high) << 64) | u128::from(number.low)).to_be_bytes()
}

fn number(bytes: [u8; 16]) -> E {
    let number = u128::from_be_bytes(bytes);
    E { high: (number >> 64) as u64, low: number as u64 }
}
