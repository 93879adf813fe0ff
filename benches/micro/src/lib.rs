//! What the small benches measure on: pages, keys and loaded stores, always the same ones.
//!
//! The benches in `benches/` are thin; whatever prepares them and checks their answers is here and has tests. The
//! comparison with other stores is another package, `benches/peers`.

use std::io;

use cidstore_core::E;
use cidstore_core::layout::bucket::BucketPage;
use cidstore_core::probe::Tags;
use cidstore_engine::{Durability, Store};
use tempfile::TempDir;
use zerocopy::FromZeros;

/// The finisher of `SplitMix64`: one to one, so distinct indices have distinct keys.
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The key at `index`.
#[must_use]
pub fn key(index: u64) -> E {
    let high = mix(index.wrapping_add(0x9e37_79b9_7f4a_7c15));
    E { high, low: mix(high) }
}

/// Value `which` of the key at `index`.
#[must_use]
pub fn value(index: u64, which: u64) -> E {
    let E { high, low } = key(index);
    E { high: mix(high ^ which), low: !low }
}

/// Tags as random as those of a full bucket.
#[must_use]
pub fn tags() -> Tags {
    std::array::from_fn(|word| mix(word as u64 + 1))
}

/// An empty bucket page: every code in it is sound.
#[must_use]
pub fn sound_page() -> BucketPage {
    BucketPage::new_zeroed()
}

/// Bytes that are not all alike.
#[must_use]
pub fn bytes(count: usize) -> Vec<u8> {
    (0..count as u64).map(|index| mix(index) as u8).collect()
}

/// A store in a folder that goes with it.
#[derive(Debug)]
pub struct Loaded {
    /// The store.
    pub store: Store,
    /// How many keys it has.
    pub key_count: u64,
    _folder: TempDir,
}

impl Loaded {
    /// A store with `key_count` keys of `values_per_key` values each, buffered.
    ///
    /// # Errors
    /// If the folder cannot be made, and the store's own.
    pub fn new(key_count: u64, values_per_key: u64) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let options = Store::options().create(true).durability(Durability::Buffered);
        let store = options.open(folder.path().join("store.h5")).map_err(io::Error::other)?;
        let pairs = (0..key_count).flat_map(|index| {
            (0..values_per_key).map(move |which| (key(index), value(index, which)))
        });
        store.bulk_load(pairs).map_err(io::Error::other)?;
        Ok(Self { store, key_count, _folder: folder })
    }

    /// Present keys in an order that is none, without end.
    pub fn keys(&self) -> impl Iterator<Item = E> + use<> {
        let count = self.key_count;
        (0..).map(move |step| key(mix(step) % count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cidstore_core::ecc::check_page;
    use std::collections::HashSet;

    #[test]
    fn keys_and_values_are_distinct() {
        let keys: HashSet<E> = (0..10_000).map(key).collect();
        assert_eq!(keys.len(), 10_000);
        let values: HashSet<E> =
            (0..100).flat_map(|i| (0..100).map(move |w| value(i, w))).collect();
        assert_eq!(values.len(), 10_000);
    }

    #[test]
    fn the_page_is_sound() {
        let check = check_page(&sound_page());
        assert_eq!((check.corrected, check.uncorrectable), (0, 0));
        assert_ne!(check.clean, 0);
    }

    #[test]
    fn a_loaded_store_has_all_its_values() -> io::Result<()> {
        let loaded = Loaded::new(50, 7)?;
        for index in 0..50 {
            let found = loaded.store.get(key(index)).map_err(io::Error::other)?;
            let found: HashSet<E> = found.iter().collect();
            assert_eq!(found, (0..7).map(|which| value(index, which)).collect());
        }
        let all: HashSet<E> = (0..50).map(key).collect();
        assert!(loaded.keys().take(1_000).all(|key| all.contains(&key)));
        Ok(())
    }
}
