//! Filling the live tables when a store is opened, from what the last checkpoint wrote of them.

use std::thread;

use cidstore_core::hash::MAX_DEPTH;
use cidstore_core::layout::NO_PAGE;
use cidstore_core::layout::table::{Space, TableKind, TableSlot};

use crate::error::{Error, Result};
use crate::shared::Shared;
use crate::space::file_pages::FilePages;
use crate::space::layout::FileLayout;
use crate::table::TableWriter;
use crate::table::partition::{DirectoryBucket, for_each_bucket};
use crate::table::shadow::ShadowTable;

/// Slots of a directory from which on a second thread helps: one costs as much as some ten thousand slots.
const HELPED_SLOTS: usize = 1 << 16;

/// What the tables say beside where pages lie.
pub(super) struct Filled {
    /// Buckets of each local depth.
    pub(super) depth_counts: [u64; MAX_DEPTH as usize + 1],
    /// Numbers that name no page, of the overflow table and the value table, largest first.
    pub(super) free_numbers: [Vec<u32>; 2],
}

/// Fills the live tables, and marks what they reach as taken.
pub(super) fn fill_tables(
    shared: &Shared,
    depth: u32,
    shadows: &[ShadowTable; 3],
    files: &mut FileLayout,
) -> Result<Filled> {
    for node in shadows.iter().flat_map(ShadowTable::node_pages) {
        if !files.pages_mut(Space::Tables).take(node) {
            return Err(damaged(shared, format!("table page {node} is used twice")));
        }
    }
    let directory = shadows[TableKind::Directory as usize].slots();
    if depth > MAX_DEPTH || directory.len() != 1 << depth {
        let detail = format!("directory of depth {depth} with {} slots", directory.len());
        return Err(damaged(shared, detail));
    }
    let depth_counts = fill_directory(shared, depth, directory, files)?;
    let mut fill =
        |kind: TableKind| fill_numbered(shared, kind, shadows[kind as usize].slots(), files);
    let free_numbers = [fill(TableKind::Overflow)?, fill(TableKind::Values)?];
    Ok(Filled { depth_counts, free_numbers })
}

/// Fills the directory; answers how many buckets of each local depth it has.
fn fill_directory(
    shared: &Shared,
    depth: u32,
    slots: &[TableSlot],
    files: &mut FileLayout,
) -> Result<[u64; MAX_DEPTH as usize + 1]> {
    let writer = TableWriter::default();
    writer.expect_depth(&shared.tables, depth);
    let pages = files.pages_mut(Space::Buckets);
    let page_count = pages.page_count();
    let name_pages = || {
        let named = slots.iter().map(|slot| {
            // A slot that names no page of the file refuses the open; a bucket of several slots is noted several times.
            if slot.page < page_count {
                shared.note_checksum(Space::Buckets, slot.page, slot.checksum);
            }
            slot.page
        });
        writer.fill(&shared.tables, TableKind::Directory, named);
    };
    let depth_counts = if slots.len() < HELPED_SLOTS {
        name_pages();
        take_buckets(shared, slots, pages)
    } else {
        thread::scope(|scope| {
            let helper = thread::Builder::new().name("cidstore-open".into());
            let helping = helper.spawn_scoped(scope, name_pages);
            let depth_counts = take_buckets(shared, slots, pages);
            if helping.is_err() {
                // No thread to be had: not a reason to refuse the open.
                name_pages();
            }
            depth_counts
        })
    };
    writer.set_depth(&shared.tables, depth);
    depth_counts
}

/// Marks the pages of all buckets as taken; answers how many buckets there are of each local depth.
fn take_buckets(
    shared: &Shared,
    slots: &[TableSlot],
    pages: &mut FilePages,
) -> Result<[u64; MAX_DEPTH as usize + 1]> {
    let mut depth_counts = [0; MAX_DEPTH as usize + 1];
    for_each_bucket(slots, |DirectoryBucket { slot: TableSlot { page, .. }, local_depth }| {
        if page == NO_PAGE || !pages.take(page) {
            let detail = format!("page {page} is no bucket's, or two buckets', in the directory");
            return Err(damaged(shared, detail));
        }
        depth_counts[local_depth as usize] += 1;
        Ok(())
    })?;
    Ok(depth_counts)
}

/// Fills the table of overflow pages or of value pages; answers the numbers that name none.
fn fill_numbered(
    shared: &Shared,
    kind: TableKind,
    slots: &[TableSlot],
    files: &mut FileLayout,
) -> Result<Vec<u32>> {
    let (writer, space) = (TableWriter::default(), kind.space());
    let mut free = Vec::new();
    for (number, slot) in slots.iter().enumerate().skip(1) {
        if slot.page == NO_PAGE {
            free.push(number as u32);
        } else if files.pages_mut(space).take(slot.page) {
            shared.note_checksum(space, slot.page, slot.checksum);
            writer.set(&shared.tables, kind, number as u32, slot.page);
        } else {
            let detail = format!("{kind:?} {number} names page {}", slot.page);
            return Err(damaged(shared, detail));
        }
    }
    free.reverse();
    Ok(free)
}

fn damaged(shared: &Shared, detail: String) -> Error {
    Error::Corrupt { path: shared.path.clone(), offset: 0, detail }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use cidstore_core::E;
    use cidstore_core::hash::HashSeed;

    use super::HELPED_SLOTS;
    use crate::handle::Store;
    use crate::options::Durability;

    #[test]
    fn a_directory_long_enough_for_two_threads_is_filled_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep.h5");
        let seed = HashSeed::new(0, 0);
        let options = || Store::options().durability(Durability::Buffered).hash_seed(seed);
        let store = options().open(&path).unwrap();
        // Keys that only the last bits of such a directory tell apart, and as many others as it takes to be let that deep.
        let depth = HELPED_SLOTS.ilog2();
        let alike = |key: &u64| seed.hash(E::from(*key)).directory_index(depth - 1) == 0;
        let mut keys: Vec<u64> = (0..).filter(alike).take(100).collect();
        keys.extend(0..400_000);
        let pairs: Vec<(E, E)> = keys.iter().map(|&key| (key.into(), (!key).into())).collect();
        store.bulk_load(pairs.iter().copied()).unwrap();
        let stats = store.stats();
        assert!(stats.global_depth >= depth, "depth {}", stats.global_depth);
        store.close().unwrap();

        let store = options().open(&path).unwrap();
        assert_eq!(store.verify().unwrap().problems, []);
        assert_eq!(store.stats().buckets, stats.buckets);
        assert_eq!(store.stats().global_depth, stats.global_depth);
        assert!(pairs.iter().all(|(key, value)| store.get(*key).unwrap().as_slice() == [*value]));
        // What is taken and what is free is known: new pages overwrite none.
        let more: Vec<(E, E)> =
            (1 << 40..(1 << 40) + 20_000_u64).map(|key| (key.into(), key.into())).collect();
        store.batch_insert(&more).unwrap();
        store.checkpoint().unwrap();
        assert_eq!(store.verify().unwrap().problems, []);
        assert_eq!(store.get(pairs[0].0).unwrap().as_slice(), [pairs[0].1]);
    }
}
