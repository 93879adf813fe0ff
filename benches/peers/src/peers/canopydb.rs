//! canopydb: a B+tree with a log; many values as key and value in one key.

use std::path::Path;

use canopydb::{Database, DbOptions, EnvOptions, Error, Tree, TreeOptions};
use cidstore_core::E;

use super::CACHE_BYTES;
use super::bytes::{bytes, joined, joined_value, number, sorted};
use crate::Result;
use crate::peer::{Abilities, Durability, Mode, Peer, Reader};

const TREE: &[u8] = b"pairs";
/// Pairs in a transaction of a bulk load: few enough to stay in its log's memory.
const LOAD_PAIRS: usize = 100_000;

/// A tree with keys and values of fixed length.
pub struct Canopydb {
    database: Database,
    mode: Mode,
}

impl Canopydb {
    fn insert_all(&self, pairs: &[(E, E)], durability: Durability) -> Result<()> {
        // Synced writers may run side by side, so that they share a sync; a conflict is tried again.
        let synced = durability == Durability::Synced;
        loop {
            let transaction = self.database.begin_write_with(synced)?;
            let mut tree = transaction.get_or_create_tree_with(TREE, self.options())?;
            for (key, value) in pairs {
                if self.mode.many_values {
                    tree.insert(&joined(*key, *value), &[])?;
                } else {
                    tree.insert(&bytes(*key), &bytes(*value))?;
                }
            }
            drop(tree);
            match transaction.commit_with(synced) {
                Ok(_) => return Ok(()),
                Err(Error::WriteConflict) if synced => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn options(&self) -> TreeOptions {
        let mut options = TreeOptions::default();
        (options.fixed_key_len, options.fixed_value_len) =
            if self.mode.many_values { (32, 0) } else { (16, 16) };
        options
    }
}

impl Peer for Canopydb {
    const NAME: &'static str = "canopydb";
    const ABILITIES: Abilities = Abilities::ALL;
    type Reader<'a> = Tree<'a>;

    fn version() -> String {
        super::locked_version("canopydb").to_owned()
    }

    fn settings() -> Vec<(&'static str, String)> {
        vec![
            ("buffered", "commit without sync: outlives a killed process".to_owned()),
            ("synced", "concurrent transactions, commit with sync".to_owned()),
            (
                "bulk_load",
                format!("pairs sorted in memory, {LOAD_PAIRS} a transaction, checkpoint"),
            ),
            ("many values", "key and value in one key, prefix scan".to_owned()),
            ("reads", "one read transaction and tree for a whole round".to_owned()),
            ("get_many", "a loop of get".to_owned()),
            ("tree", "fixed lengths of key and value".to_owned()),
            ("page_cache_size", CACHE_BYTES.to_string()),
        ]
    }

    fn open(folder: &Path, mode: Mode) -> Result<Self> {
        let mut environment = EnvOptions::new(folder);
        environment.page_cache_size = CACHE_BYTES;
        let database = Database::with_options(environment, DbOptions::default())?;
        let peer = Self { database, mode };
        // Makes the tree, without which a reader of a new store fails.
        peer.insert_all(&[], Durability::Buffered)?;
        Ok(peer)
    }

    fn bulk_load(&self, pairs: impl Iterator<Item = (E, E)>) -> Result<()> {
        for some in sorted(pairs).chunks(LOAD_PAIRS) {
            self.insert_all(some, Durability::Buffered)?;
        }
        Ok(self.database.checkpoint()?)
    }

    fn insert_batch(&self, batch: &[(E, E)]) -> Result<()> {
        self.insert_all(batch, self.mode.durability)
    }

    fn sync(self) -> Result<Self> {
        self.database.sync()?;
        Ok(self)
    }

    fn read<T>(&self, work: impl for<'a> FnOnce(&Self::Reader<'a>) -> Result<T>) -> Result<T> {
        let transaction = self.database.begin_read()?;
        let tree = transaction.get_tree(TREE)?.ok_or("canopydb has no tree")?;
        work(&tree)
    }

    fn close(self) -> Result<()> {
        Ok(self.database.checkpoint()?)
    }

    fn is_beside_the_data(file_name: &str) -> bool {
        !file_name.ends_with("DATA")
    }
}

impl Reader for Tree<'_> {
    fn get(&self, key: E) -> Result<Option<E>> {
        match Tree::get(self, &bytes(key))? {
            None => Ok(None),
            Some(value) => Ok(Some(number(&value)?)),
        }
    }

    fn values(&self, key: E, mut each: impl FnMut(E)) -> Result<()> {
        for found in self.prefix_keys(&bytes(key))? {
            each(joined_value(&found?)?);
        }
        Ok(())
    }

    fn contains(&self, key: E, value: E) -> Result<bool> {
        Ok(Tree::get(self, &joined(key, value))?.is_some())
    }
}
