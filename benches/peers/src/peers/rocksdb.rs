//! RocksDB as the system has it: an LSM tree; many values as key and value in one key.

use std::path::{Path, PathBuf};

use cidstore_core::E;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Direction, IngestExternalFileOptions,
    IteratorMode, Options, SstFileWriter, WriteBatch, WriteOptions,
};

use super::CACHE_BYTES;
use super::bytes::{bytes, joined, joined_value, number, sorted};
use crate::Result;
use crate::peer::{Abilities, Durability, Mode, Peer, Reader};

/// Pairs in a table file of a bulk load.
const LOAD_PAIRS: usize = 1 << 20;
/// Memory of a table of recent writes.
const WRITE_BUFFER_BYTES: usize = 64 << 20;

/// The default column family.
pub struct RocksDb {
    database: DB,
    folder: PathBuf,
    mode: Mode,
}

fn options() -> Result<Options> {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES)?);
    blocks.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_block_based_table_factory(&blocks);
    Ok(options)
}

impl Peer for RocksDb {
    const NAME: &'static str = "rocksdb";
    const ABILITIES: Abilities = Abilities::ALL;
    type Reader<'a> = &'a DB;

    fn version() -> String {
        format!("of the system, through rocksdb {}", super::locked_version("rocksdb"))
    }

    fn settings() -> Vec<(&'static str, String)> {
        vec![
            ("buffered", "log without sync: outlives a killed process".to_owned()),
            ("synced", "WriteOptions::sync".to_owned()),
            ("bulk_load", "pairs sorted in memory, table files written and ingested".to_owned()),
            ("many values", "key and value in one key, iterator from a prefix".to_owned()),
            ("get_many", "a loop of get_pinned".to_owned()),
            ("compression", "none".to_owned()),
            ("bloom bits a key", "10".to_owned()),
            ("cache_bytes", CACHE_BYTES.to_string()),
            ("write_buffer_bytes", WRITE_BUFFER_BYTES.to_string()),
        ]
    }

    fn open(folder: &Path, mode: Mode) -> Result<Self> {
        let folder = folder.join("rocksdb");
        Ok(Self { database: DB::open(&options()?, &folder)?, folder, mode })
    }

    fn bulk_load(&self, pairs: impl Iterator<Item = (E, E)>) -> Result<()> {
        let options = options()?;
        let mut files = Vec::new();
        for (index, some) in sorted(pairs).chunks(LOAD_PAIRS).enumerate() {
            let path = self.folder.with_extension(format!("{index}.sst"));
            let mut writer = SstFileWriter::create(&options);
            writer.open(&path)?;
            for (key, value) in some {
                if self.mode.many_values {
                    writer.put(joined(*key, *value), [])?;
                } else {
                    writer.put(bytes(*key), bytes(*value))?;
                }
            }
            writer.finish()?;
            files.push(path);
        }
        let mut ingest = IngestExternalFileOptions::default();
        ingest.set_move_files(true);
        Ok(self.database.ingest_external_file_opts(&ingest, files)?)
    }

    fn insert_batch(&self, batch: &[(E, E)]) -> Result<()> {
        let mut write = WriteBatch::default();
        for (key, value) in batch {
            if self.mode.many_values {
                write.put(joined(*key, *value), []);
            } else {
                write.put(bytes(*key), bytes(*value));
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(self.mode.durability == Durability::Synced);
        Ok(self.database.write_opt(write, &options)?)
    }

    fn sync(self) -> Result<Self> {
        self.database.flush_wal(true)?;
        Ok(self)
    }

    fn read<T>(&self, work: impl for<'a> FnOnce(&Self::Reader<'a>) -> Result<T>) -> Result<T> {
        work(&&self.database)
    }

    fn close(self) -> Result<()> {
        // Recent writes into a table file: then the files' size is the data's, and the next open has no log to read.
        self.database.flush()?;
        Ok(())
    }

    fn is_beside_the_data(file_name: &str) -> bool {
        !file_name.ends_with(".sst")
    }
}

impl Reader for &DB {
    fn get(&self, key: E) -> Result<Option<E>> {
        match self.get_pinned(bytes(key))? {
            None => Ok(None),
            Some(value) => Ok(Some(number(&value)?)),
        }
    }

    fn values(&self, key: E, mut each: impl FnMut(E)) -> Result<()> {
        let prefix = bytes(key);
        for found in self.iterator(IteratorMode::From(&prefix, Direction::Forward)) {
            let (both, _) = found?;
            if !both.starts_with(&prefix) {
                break;
            }
            each(joined_value(&both)?);
        }
        Ok(())
    }

    fn contains(&self, key: E, value: E) -> Result<bool> {
        Ok(self.get_pinned(joined(key, value))?.is_some())
    }
}
