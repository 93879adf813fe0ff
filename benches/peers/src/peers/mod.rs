//! The stores under test, one file each.

mod bytes;
mod canopydb;
mod cidstore;
mod fjall;
mod hashbrown;
mod lmdb;
mod lmdb_dup;
mod papaya;
mod parity_db;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;

pub use self::canopydb::Canopydb;
pub use self::cidstore::CidStore;
pub use self::fjall::Fjall;
pub use self::hashbrown::Hashbrown;
pub use self::lmdb::{Lmdb, LmdbReader};
pub use self::papaya::{Papaya, PapayaReader};
pub use self::parity_db::ParityDb;
pub use self::redb::{Redb, RedbReader};
#[cfg(feature = "rocksdb")]
pub use self::rocksdb::RocksDb;

use crate::Result;
use crate::peer::{Mode, Peer};

/// Memory for pages or blocks of each store that has such a setting: all pairs of a run of 10 million fit.
const CACHE_BYTES: usize = 4 << 30;

/// Does something with a type of peer that is named at run time.
pub trait ForPeer {
    /// What it gives.
    type Output;

    /// Does it.
    ///
    /// # Errors
    /// Those of what it does.
    fn with<P: Peer>(self) -> Result<Self::Output>;
}

/// Names of all peers, in the order they run.
#[must_use]
pub fn names() -> Vec<&'static str> {
    #[allow(unused_mut, reason = "RocksDB is added only where it is built in")]
    let mut names = vec![
        CidStore::NAME,
        Hashbrown::NAME,
        Papaya::NAME,
        Lmdb::NAME,
        Redb::NAME,
        Fjall::NAME,
        ParityDb::NAME,
        Canopydb::NAME,
    ];
    #[cfg(feature = "rocksdb")]
    names.push(RocksDb::NAME);
    names
}

/// Calls `work` with the type of the peer called `name`.
///
/// # Errors
/// If there is none, and those of `work`.
pub fn named<W: ForPeer>(name: &str, work: W) -> Result<W::Output> {
    match name {
        CidStore::NAME => work.with::<CidStore>(),
        Hashbrown::NAME => work.with::<Hashbrown>(),
        Papaya::NAME => work.with::<Papaya>(),
        Lmdb::NAME => work.with::<Lmdb>(),
        Redb::NAME => work.with::<Redb>(),
        Fjall::NAME => work.with::<Fjall>(),
        ParityDb::NAME => work.with::<ParityDb>(),
        Canopydb::NAME => work.with::<Canopydb>(),
        #[cfg(feature = "rocksdb")]
        RocksDb::NAME => work.with::<RocksDb>(),
        _ => Err(format!("there is no peer {name}; there are {}", names().join(", ")).into()),
    }
}

/// A read of the other shape than the store was opened for.
fn wrong_shape<T>(mode: Mode) -> Result<T> {
    let holds = if mode.many_values { "many values" } else { "one value" };
    Err(format!("the store was opened for {holds} a key").into())
}

/// The version of a dependency that this program was built with.
fn locked_version(package: &str) -> &'static str {
    version_in(include_str!("../../Cargo.lock"), package).unwrap_or("unknown")
}

/// Where a lock file holds several versions of a package, ours is the one that our own entry names.
fn version_in<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let entries = || lock.split("[[package]]");
    let ours = entries().find(|entry| entry.contains("name = \"cidstore-peers\""))?;
    let ours = ours.lines().find_map(|line| {
        let line = line.trim().trim_matches([',', '"']);
        line.strip_prefix(package)?.strip_prefix(' ')
    });
    ours.or_else(|| {
        let entry = entries().find(|entry| entry.contains(&format!("name = \"{package}\"\n")))?;
        let line = entry.lines().find(|line| line.starts_with("version = "))?;
        Some(line.strip_prefix("version = ")?.trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_lock_file() {
        assert!(locked_version("heed").starts_with("0."));
        assert!(locked_version("hashbrown").starts_with("0.17"));
        assert_eq!(locked_version("no such package"), "unknown");
    }

    #[test]
    fn of_several_versions_it_is_ours() {
        let entry = |name: &str, rest: &str| format!("[[package]]\nname = \"{name}\"\n{rest}\n");
        let lock = [
            entry("map", "version = \"1.0.0\""),
            entry("map", "version = \"2.0.0\""),
            entry("log", "version = \"3.0.0\""),
            entry(
                "cidstore-peers",
                "version = \"0.1.0\"\ndependencies = [\n \"log\",\n \"map 2.0.0\",\n]",
            ),
        ]
        .concat();
        assert_eq!(version_in(&lock, "map"), Some("2.0.0"));
        assert_eq!(version_in(&lock, "log"), Some("3.0.0"));
    }

    #[test]
    fn each_name_has_its_peer() {
        struct Name;
        impl ForPeer for Name {
            type Output = &'static str;
            fn with<P: Peer>(self) -> Result<&'static str> {
                Ok(P::NAME)
            }
        }
        for name in names() {
            assert_eq!(named(name, Name).unwrap(), name);
        }
        assert!(named("redis", Name).is_err());
    }
}
