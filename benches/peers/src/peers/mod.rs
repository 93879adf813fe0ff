//! The stores under test, one file each.

mod cidstore;
mod hashbrown;
mod lmdb;

pub use self::cidstore::{CidStore, Pinned};
pub use self::hashbrown::Hashbrown;
pub use self::lmdb::Lmdb;

/// The version of a dependency that this program was built with.
fn locked_version(package: &str) -> &'static str {
    const LOCK: &str = include_str!("../../Cargo.lock");
    LOCK.split("[[package]]")
        .find_map(|entry| {
            let mut lines = entry.lines().map(str::trim).filter(|line| !line.is_empty());
            let name = lines.next()?.strip_prefix("name = ")?.trim_matches('"');
            let version = lines.next()?.strip_prefix("version = ")?.trim_matches('"');
            (name == package).then_some(version)
        })
        .unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_lock_file() {
        assert!(locked_version("heed").starts_with("0."));
        assert_eq!(locked_version("no such package"), "unknown");
    }
}
