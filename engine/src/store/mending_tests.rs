//! Damaged table nodes at opening: mended where the rest of the file proves what they were, refused where it does not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;

use cidstore_core::E;
use cidstore_core::hash::HashSeed;
use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::table::{Space, TableKind};

use crate::error::Error;
use crate::handle::Store;
use crate::options::{Durability, OpenOptions};

type Model = BTreeMap<u64, u64>;

/// How many values a key has at a round: inline ones, sets of one extent, a set of many leaves.
fn value_count(key: u64) -> u64 {
    match key {
        7 => 2000,
        _ if key.is_multiple_of(97) => 20,
        _ => 1,
    }
}

fn options() -> OpenOptions {
    Store::options().durability(Durability::Buffered).hash_seed(HashSeed::new(0, 0))
}

/// A directory of two leaves with a past: loaded, grown, shrunk and changed over several checkpoints, so that the file is
/// full of buckets that were.
fn written(path: &Path) -> (Store, Model) {
    let store = options().open(path).unwrap();
    store.bulk_load((0..20_000).map(|key: u64| (key.into(), E::from(key)))).unwrap();
    let mut model: Model = (0..20_000).map(|key| (key, 1)).collect();
    for round in 0..4_u64 {
        for key in (0..4000).map(|step| step * 13 + round * 7000) {
            let pairs = (0..value_count(key)).map(|value| (E::from(key), E::new(round, value)));
            let new = store.batch_insert(&pairs.collect::<Vec<_>>()).unwrap();
            *model.entry(key).or_default() += new;
        }
        for key in (0..600).map(|step| step * 31 + round) {
            assert_eq!(store.delete(key).unwrap(), model.remove(&key).unwrap_or(0));
        }
        store.checkpoint().unwrap();
        store.merge().unwrap();
        store.checkpoint().unwrap();
    }
    (store, model)
}

fn assert_equals(store: &Store, model: &Model) {
    assert_eq!((store.len(), store.value_len()), (model.len() as u64, model.values().sum()));
    for (&key, &count) in model {
        assert_eq!(store.value_count(key).unwrap(), count, "key {key}");
    }
    assert_eq!(store.verify().unwrap().problems, []);
}

/// Where the nodes of a table lie in a file, leaves first.
fn nodes(path: &Path, kind: TableKind) -> Vec<u64> {
    let store = options().read_only(true).open(path).unwrap();
    let checkpointer = store.engine().checkpointer();
    let nodes = checkpointer.shadows[kind as usize].nodes();
    nodes
        .map(|(_, slot)| checkpointer.files().place_of(Space::Tables, slot.page).unwrap().0)
        .collect()
}

/// Changes a page of the file, opens the store, and puts the page back if it is refused.
fn opened_with(path: &Path, offset: u64, change: impl FnOnce(&mut [u8])) -> Result<Store, Error> {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut page = [0; PAGE_BYTES];
    file.read_exact_at(&mut page, offset).unwrap();
    let sound = page;
    change(&mut page);
    assert!(page != sound);
    file.write_all_at(&page, offset).unwrap();
    let before = std::fs::read(path).unwrap();
    options().open(path).inspect_err(|_| {
        assert!(std::fs::read(path).unwrap() == before, "refused, and yet changed");
        file.write_all_at(&sound, offset).unwrap();
    })
}

#[test]
fn a_flipped_bit_in_any_table_node_is_turned_back_at_opening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flips.h5");
    let (store, model) = written(&path);
    store.close().unwrap();
    drop(store);
    let mut mended = 0;
    for (at, kind) in TableKind::ALL.into_iter().enumerate() {
        for node in 0..nodes(&path, kind).len() {
            // Within the first slot, which every node has; the pages move with each open.
            let (offset, bit) = (nodes(&path, kind)[node], (node * 11 + at * 7) % 64);
            let store = opened_with(&path, offset, |page| page[bit / 8] ^= 1 << (bit % 8)).unwrap();
            assert_eq!(store.stats().maintenance.repairs, 1, "{kind:?} {node}");
            // Opening after a clean close ends with a checkpoint: the file is whole again.
            assert_eq!(store.scrub(false).unwrap().problems, []);
            assert_equals(&store, &model);
            store.close().unwrap();
            mended += 1;
        }
    }
    assert!(
        mended >= 4,
        "{mended}: two leaves of the directory, their root, and a leaf of value pages"
    );
}

#[test]
fn a_leaf_of_the_directory_is_put_together_from_the_buckets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leaves.h5");
    let (store, model) = written(&path);
    store.close().unwrap();
    drop(store);
    let damages: [fn(&mut [u8]); 3] =
        [|page| page.fill(0), |page| page.fill(0xa5), |page| page[100..140].reverse()];
    for (round, damage) in damages.into_iter().enumerate() {
        let offset = nodes(&path, TableKind::Directory)[round % 2];
        let store = opened_with(&path, offset, damage).unwrap();
        assert_equals(&store, &model);
        assert_eq!(store.scrub(false).unwrap().problems, []);
        store.close().unwrap();
    }
    // Both leaves at once, for a reader, who writes nothing.
    let leaves = nodes(&path, TableKind::Directory);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    leaves[..2].iter().for_each(|&leaf| file.write_all_at(&[1; PAGE_BYTES], leaf).unwrap());
    let damaged = std::fs::read(&path).unwrap();
    let store = options().read_only(true).open(&path).unwrap();
    assert_equals(&store, &model);
    assert_eq!(store.scrub(false).unwrap().problems.len(), 2, "still damaged in the file");
    store.close().unwrap();
    assert!(std::fs::read(&path).unwrap() == damaged);
}

/// A store that was killed: what the log has is applied to what was mended.
#[test]
fn a_directory_is_mended_before_the_log_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, killed) = (folder.path().join("open.h5"), folder.path().join("killed.h5"));
    let (store, mut model) = written(&path);
    for key in 100_000..100_500 {
        assert!(store.insert(key, 1).unwrap());
        model.insert(key, 1);
    }
    store.sync().unwrap();
    let leaf = {
        let checkpointer = store.engine().checkpointer();
        let slot = checkpointer.shadows[TableKind::Directory as usize].leaves()[0];
        checkpointer.files().place_of(Space::Tables, slot.page).unwrap().0
    };
    for (from, to) in [("open.h5", "killed.h5"), ("open.h5-wal", "killed.h5-wal")] {
        std::fs::copy(folder.path().join(from), folder.path().join(to)).unwrap();
    }
    let store = opened_with(&killed, leaf, |page| page.fill(0)).unwrap();
    assert_equals(&store, &model);
    store.close().unwrap();
    assert_equals(&options().open(&killed).unwrap(), &model);
}

/// The file has an older copy of most buckets. With the newest one damaged they must not be served in its place.
#[test]
fn a_directory_is_not_put_together_from_buckets_of_the_past() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("past.h5");
    let (store, model) = written(&path);
    store.close().unwrap();
    drop(store);
    let leaf = nodes(&path, TableKind::Directory)[0];
    let buckets: Vec<u64> = {
        let store = options().read_only(true).open(&path).unwrap();
        let checkpointer = store.engine().checkpointer();
        let slots = checkpointer.shadows[TableKind::Directory as usize].slots();
        let place = |page| checkpointer.files().place_of(Space::Buckets, page).unwrap().0;
        slots[..512].iter().step_by(37).map(|slot| place(slot.page)).collect()
    };
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    for bucket in buckets {
        let mut sound = [0; PAGE_BYTES];
        file.read_exact_at(&mut sound, bucket).unwrap();
        for damage in [0, 1] {
            let mut page = sound;
            // Not to be taken for a bucket at all; or one bit of an entry.
            page[damage * 2000] ^= 0x10;
            file.write_all_at(&page, bucket).unwrap();
            let refused = opened_with(&path, leaf, |page| page.fill(0)).unwrap_err();
            assert!(
                refused.is_corruption() && refused.to_string().contains("Directory"),
                "{refused}"
            );
        }
        file.write_all_at(&sound, bucket).unwrap();
    }
    // And of the other tables nothing but a flip can be told.
    let leaf = nodes(&path, TableKind::Values)[0];
    let refused = opened_with(&path, leaf, |page| page[0..16].reverse()).unwrap_err();
    assert!(refused.to_string().contains("Values table, node in page"), "{refused}");
    assert_equals(&options().open(&path).unwrap(), &model);
}
