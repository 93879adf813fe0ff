//! Scrubbing and repair on real files: flipped bits of every kind of page, damage that must be refused, writers beside it,
//! and a power cut at every change of the disk.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cidstore_core::E;
use cidstore_core::crc::crc32c;
use cidstore_core::hash::HashSeed;
use cidstore_core::layout::superblock::SUPERBLOCK_OFFSETS;
use cidstore_core::layout::table::{Space, TableKind, TableSlot};
use cidstore_core::layout::{PAGE_BYTES, PageKind};

use crate::error::Error;
use crate::handle::Store;
use crate::io::crash::CrashModel;
use crate::io::record::RecordingDisk;
use crate::io::{Disk, OpenMode, OsDisk};
use crate::options::{Durability, OpenOptions};
use crate::report::Report;

type Model = BTreeMap<u64, BTreeSet<u64>>;

/// A key with a set of several leaves, one with a set of one extent.
const LARGE: u64 = 7;
const SMALL: u64 = 40;

pub(super) fn options() -> OpenOptions {
    Store::options()
        .durability(Durability::Buffered)
        .wal_bytes(1 << 20)
        .hash_seed(HashSeed::new(0, 0))
}

/// A few buckets, small sets, one large one; all in the file.
fn filled(store: &Store, keys: u64) -> Model {
    let mut model = Model::new();
    for key in 0..keys {
        let count = match key {
            LARGE => 1500,
            _ if key % 40 == 0 => 20,
            _ => key % 4 + 1,
        };
        let values: BTreeSet<u64> = (0..count).map(|value| value * 0x9e37_79b9 + key).collect();
        let pairs: Vec<(E, E)> = values.iter().map(|&value| (key.into(), value.into())).collect();
        pairs.chunks(400).for_each(|part| _ = store.batch_insert(part).unwrap());
        model.insert(key, values);
    }
    store.checkpoint().unwrap();
    model
}

fn assert_equals(store: &Store, model: &Model) {
    for (&key, values) in model {
        let found = store.get(key).unwrap().sorted();
        assert!(found.iter().eq(values.iter().map(|&value| value.into())), "key {key}");
    }
    assert_eq!(store.value_len(), model.values().map(|values| values.len() as u64).sum::<u64>());
    assert_eq!(store.verify().unwrap().problems, []);
}

/// Where a page of the last checkpoint lies in the file, found by what it is.
pub(super) fn page_of(store: &Store, kind: PageKind) -> u64 {
    let checkpointer = store.engine().checkpointer();
    let table = if kind == PageKind::Bucket { TableKind::Directory } else { TableKind::Values };
    let slots = checkpointer.shadows[table as usize].slots().iter();
    let mut offsets = slots
        .filter(|slot| slot.page != 0)
        .map(|slot| checkpointer.files().place_of(table.space(), slot.page).unwrap().0);
    let is_kind = |offset: &u64| read(store, *offset)[..2] == (kind as u16).to_le_bytes();
    offsets.find(is_kind).unwrap()
}

pub(super) fn read(store: &Store, offset: u64) -> [u8; PAGE_BYTES] {
    let mut bytes = [0; PAGE_BYTES];
    store.engine().shared.file.read_at(offset, &mut bytes).unwrap();
    bytes
}

/// Flips bits of a page as it lies in the file; the map shows it at once.
pub(super) fn flip(store: &Store, offset: u64, bits: &[usize]) {
    let mut bytes = read(store, offset);
    bits.iter().for_each(|bit| bytes[bit / 8] ^= 1 << (bit % 8));
    store.engine().shared.file.write_at(offset, &bytes).unwrap();
}

/// Scrubs without and with repair: the first finds what the second repairs, and changes nothing.
fn repair_one(store: &Store, what: &str) -> Report {
    let found = store.scrub(false).unwrap();
    assert_eq!((found.problems.len(), found.repaired.len()), (1, 0), "{what}: {found:?}");
    assert_eq!(store.scrub(false).unwrap(), found);
    let repaired = store.scrub(true).unwrap();
    assert_eq!((repaired.problems.len(), repaired.repaired.len()), (0, 1), "{what}: {repaired:?}");
    assert_eq!(repaired.repaired[0].place, found.problems[0].place);
    let clean = store.scrub(false).unwrap();
    assert_eq!((clean.problems, clean.repaired), (vec![], vec![]), "{what}");
    repaired
}

#[test]
fn a_flipped_bit_of_every_kind_of_page_is_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flips.h5");
    let store = options().open(&path).unwrap();
    let model = filled(&store, 400);
    let mut repairs = 0;
    for kind in [PageKind::Bucket, PageKind::Extents, PageKind::Leaf, PageKind::Inner] {
        // The whole header bit by bit where it matters most, then every class of byte further on.
        for bit in (0..64).chain((64..PAGE_BYTES * 8).step_by(1009)) {
            flip(&store, page_of(&store, kind), &[bit]);
            repair_one(&store, &format!("{kind:?}, bit {bit}"));
            repairs += 1;
        }
        assert_equals(&store, &model);
    }
    assert_eq!(store.stats().maintenance.repairs, repairs);
    store.close().unwrap();
    drop(store);
    assert_equals(&options().open(&path).unwrap(), &model);
}

/// Pages of overflow chains, with keys that the seed, known here, sends to one bucket.
#[test]
fn an_overflow_page_is_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let store = options().open(folder.path().join("chain.h5")).unwrap();
    let seed = HashSeed::new(0, 0);
    let mut model = Model::new();
    let keys = (0_u64..).filter(|&key| seed.hash(key.into()).directory_index(14) == 1);
    for key in keys.take(200) {
        store.insert(key, key).unwrap();
        model.entry(key).or_default().insert(key);
    }
    store.checkpoint().unwrap();
    assert!(store.stats().overflow_pages > 1);
    for bit in [3, 20, 70, 250, 400, 600, 2000, 20_000] {
        let number = store.engine().checkpointer().shadows[TableKind::Overflow as usize]
            .slots()
            .iter()
            .rposition(|slot| slot.page != 0)
            .unwrap();
        let offset = {
            let checkpointer = store.engine().checkpointer();
            let slot = checkpointer.shadows[TableKind::Overflow as usize].get(number as u32);
            checkpointer.files().place_of(Space::Buckets, slot.page).unwrap().0
        };
        flip(&store, offset, &[bit]);
        repair_one(&store, &format!("bit {bit}"));
    }
    assert_equals(&store, &model);
}

#[test]
fn damage_that_is_no_single_flip_is_reported_with_its_keys_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = options().open(folder.path().join("refused.h5")).unwrap();
    let model = filled(&store, 400);
    // The 2nd and 3rd value of the first position; two bits of one key.
    let value_bits = [(96 + 17) * 8, (96 + 33) * 8 + 5];
    let cases: [(PageKind, &[usize], &str); 4] = [
        (PageKind::Bucket, &[(128 + 3) * 8, (128 + 9) * 8], "keys whose hash ends in the"),
        (PageKind::Leaf, &value_bits, "the key "),
        (PageKind::Extents, &[70 * 8, 1000 * 8], "keys"),
        (PageKind::Inner, &[64 * 8, 65 * 8, 66 * 8, 67 * 8], "the key "),
    ];
    for (kind, bits, concerned) in cases {
        let offset = page_of(&store, kind);
        flip(&store, offset, bits);
        let before = read(&store, offset);
        let report = store.scrub(true).unwrap();
        assert_eq!((report.problems.len(), report.repaired.len()), (1, 0), "{kind:?} {report:?}");
        assert!(report.problems[0].detail.contains(concerned), "{report:?}");
        assert!(read(&store, offset) == before && page_of(&store, kind) == offset);
        flip(&store, offset, bits);
        assert_eq!(store.scrub(true).unwrap().problems, []);
    }
    assert_equals(&store, &model);
}

/// Three flips whose checksum is that of one: the page would fit its checksum again and be wrong. The set's hash tells.
#[test]
fn damage_that_the_checksum_takes_for_one_flip_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = options().open(folder.path().join("mistaken.h5")).unwrap();
    let model = filled(&store, 400);
    // Four bits among live values whose flips cancel out: two pairs of the same sum.
    let message = |bits: &[usize]| {
        let mut bytes = [0_u8; PAGE_BYTES + 5];
        bits.iter().for_each(|bit| bytes[bit / 8] ^= 1 << (bit % 8));
        crc32c(&bytes)
    };
    let sound = message(&[]);
    let bits: Vec<usize> = (96 * 8..(96 + 120 * 16) * 8).step_by(7).collect();
    let changes: Vec<u32> = bits.iter().map(|&bit| message(&[bit]) ^ sound).collect();
    let mut pairs = HashMap::new();
    let four = (0..bits.len()).flat_map(|a| (0..a).map(move |b| (a, b))).find_map(|(a, b)| {
        let (c, d) = pairs.insert(changes[a] ^ changes[b], (a, b))?;
        Some([a, b, c, d].map(|at: usize| bits[at]))
    });
    let four = four.expect("among two million pairs two have the same sum");
    let leaf = page_of(&store, PageKind::Leaf);
    assert!(u16::from_le_bytes([read(&store, leaf)[20], read(&store, leaf)[21]]) >= 120);
    flip(&store, leaf, &four[..3]);
    let report = store.scrub(true).unwrap();
    assert_eq!((report.problems.len(), report.repaired.len()), (1, 0), "{report:?}");
    assert!(report.problems[0].detail.contains("the set of"), "{report:?}");
    flip(&store, leaf, &four[..3]);
    assert_equals(&store, &model);
}

/// Pages of one set are judged together: all of them right, or none.
#[test]
fn pages_of_one_set_are_repaired_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = options().open(folder.path().join("together.h5")).unwrap();
    let model = filled(&store, 400);
    let leaves = |store: &Store| -> Vec<u64> {
        let checkpointer = store.engine().checkpointer();
        let slots = checkpointer.shadows[TableKind::Values as usize].slots().to_vec();
        let offset = |slot: TableSlot| checkpointer.files().place_of(Space::Values, slot.page);
        let all =
            slots.into_iter().filter(|slot| slot.page != 0).map(|slot| offset(slot).unwrap().0);
        all.filter(|&at| read(store, at)[..2] == (PageKind::Leaf as u16).to_le_bytes()).collect()
    };
    let bit = |at: usize| 96 * 8 + at * 311;
    for (at, offset) in leaves(&store).into_iter().enumerate() {
        flip(&store, offset, &[bit(at)]);
    }
    let bucket = page_of(&store, PageKind::Bucket);
    flip(&store, bucket, &[5000]);
    // One of them with two: neither it nor the others can be confirmed; the bucket can.
    let last = *leaves(&store).last().unwrap();
    flip(&store, last, &[bit(77), bit(78)]);
    let count = leaves(&store).len();
    assert!(count > 5);
    let report = store.scrub(true).unwrap();
    assert_eq!((report.problems.len(), report.repaired.len()), (count, 1), "{report:?}");
    flip(&store, last, &[bit(77), bit(78)]);
    let report = store.scrub(true).unwrap();
    assert_eq!((report.problems.len(), report.repaired.len()), (0, count), "{report:?}");
    assert_equals(&store, &model);
}

#[test]
fn superblocks_and_table_nodes_are_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("twins.h5");
    let store = options().open(&path).unwrap();
    let model = filled(&store, 400);
    for (round, offset) in SUPERBLOCK_OFFSETS.into_iter().cycle().take(6).enumerate() {
        // The version too, which another program's file would have.
        flip(&store, offset, &[64 + round * 5000, 9]);
        repair_one(&store, &format!("superblock at {offset}"));
    }
    flip(&store, 0, &[1000]);
    flip(&store, 4096, &[2000]);
    assert_eq!(store.scrub(true).unwrap().repaired.len(), 2);
    for kind in TableKind::ALL {
        let offset = {
            let checkpointer = store.engine().checkpointer();
            let node = checkpointer.shadows[kind as usize].nodes().next();
            node.map(|(_, slot)| checkpointer.files().place_of(Space::Tables, slot.page).unwrap().0)
        };
        if let Some(offset) = offset {
            // What a node says is in memory, so any damage will do.
            flip(&store, offset, &(0..4000).collect::<Vec<_>>());
            repair_one(&store, &format!("{kind:?}"));
        }
    }
    assert_equals(&store, &model);
    store.close().unwrap();
    drop(store);
    for offset in SUPERBLOCK_OFFSETS {
        // Each slot alone is enough, and the open mends the other.
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[0x5a; 4096], offset).unwrap();
        let store = options().open(&path).unwrap();
        assert_equals(&store, &model);
        store.close().unwrap();
    }
}

#[test]
fn a_snapshot_sees_what_was_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let store = options().open(folder.path().join("snapshot.h5")).unwrap();
    let model = filled(&store, 400);
    let snapshot = store.snapshot().unwrap();
    // A snapshot's own chunks: something in each table changes after it.
    store.insert(1_000_000, 1).unwrap();
    store.insert(SMALL, 5_u64).unwrap();
    store.checkpoint().unwrap();
    for kind in [PageKind::Bucket, PageKind::Leaf] {
        flip(&store, page_of(&store, kind), &[96 * 8 + 9]);
        repair_one(&store, "beside a snapshot");
    }
    for (&key, values) in &model {
        let found = snapshot.get(key).unwrap().sorted();
        assert!(found.iter().eq(values.iter().map(|&value| value.into())), "key {key}");
    }
    drop(snapshot);
    store.delete_value(SMALL, 5_u64).unwrap();
    store.delete(1_000_000).unwrap();
    store.checkpoint().unwrap();
    assert_equals(&store, &model);
}

struct StopWriters<'a>(&'a AtomicBool);

impl Drop for StopWriters<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Flips and repairs beside two writers and a reader. A write to a damaged bucket may be refused, and then has not happened.
#[test]
fn repairs_go_on_beside_writes() {
    let folder = tempfile::tempdir().unwrap();
    let store = options().wal_bytes(16 << 20).open(folder.path().join("beside.h5")).unwrap();
    let model = filled(&store, 2000);
    let seed = HashSeed::new(0, 0);
    let (done, refused) = (AtomicBool::new(false), AtomicU64::new(0));
    let written = std::thread::scope(|scope| {
        let writers = [1_u64, 2].map(|writer| {
            let (store, done, refused) = (store.clone(), &done, &refused);
            scope.spawn(move || {
                let mut mine = Model::new();
                for step in 0_u64.. {
                    if done.load(Ordering::Relaxed) {
                        return mine;
                    }
                    let (key, value) = ((writer << 40) | (step % 3000), step / 3000);
                    // Seldom to the half of the buckets that the damage is in: else each has been replaced before the
                    // scrub comes to it.
                    let index = seed.hash(key.into()).directory_index(1);
                    if index == 1 && !(step + step / 3000).is_multiple_of(512) {
                        continue;
                    }
                    match store.insert(key, value) {
                        Ok(new) => assert_eq!(new, mine.entry(key).or_default().insert(value)),
                        Err(Error::Corrupt { .. }) => _ = refused.fetch_add(1, Ordering::Relaxed),
                        Err(error) => unreachable!("{error}"),
                    }
                }
                mine
            })
        });
        // Also if an assertion fails here.
        let _stop = StopWriters(&done);
        let mut repaired = 0;
        for round in 0..30_usize {
            {
                // No checkpoint meanwhile: the page stays the one in use on disk.
                let leaf = page_of(&store, PageKind::Leaf);
                let held = store.engine().checkpointer();
                let slot = held.shadows[0].slots().last().copied().unwrap();
                let bucket = held.files().place_of(Space::Buckets, slot.page).unwrap().0;
                let tables = &store.engine().shared.tables;
                let last = held.shadows[0].slots().len() as u32 - 1;
                if round % 3 != 0 && tables.of(TableKind::Directory).get(last) != slot.page {
                    // Replaced already by a copy that the next checkpoint writes: not repaired, and a second flip would add up.
                    continue;
                }
                let offset = if round % 3 == 0 { leaf } else { bucket };
                flip(&store, offset, &[(round * 7919 + 129) % (PAGE_BYTES * 8)]);
            }
            let report = store.scrub(true).unwrap();
            assert_eq!(report.problems, []);
            repaired += report.repaired.len();
        }
        done.store(true, Ordering::Relaxed);
        // All of the ten leaves. A bucket may have been replaced before it was damaged, or before the scrub came to it.
        assert!(repaired >= 10, "{repaired}");
        writers.map(|writer| writer.join().unwrap())
    });
    let mut model = model;
    written
        .into_iter()
        .for_each(|mine| model.extend(mine.into_iter().filter(|(_, v)| !v.is_empty())));
    assert_equals(&store, &model);
    store.close().unwrap();
    drop(store);
    assert_equals(&options().open(folder.path().join("beside.h5")).unwrap(), &model);
}

/// A store with a flipped bit in each kind of page, repaired while every change of the disk is recorded, with durable
/// writes before and after.
fn recorded_repair(folder: &Path) -> (Vec<crate::io::record::Operation>, usize, Model) {
    let disk = RecordingDisk::new(Arc::new(OsDisk));
    let durable = options().durability(Durability::Immediate).wal_bytes(64 << 10);
    let path = folder.join("data.h5");
    let store = durable.open_on(Arc::new(disk.clone()), &path).unwrap();
    let mut model = filled(&store, 60);
    let kinds = [PageKind::Bucket, PageKind::Extents, PageKind::Leaf];
    for kind in kinds {
        let (offset, opened) =
            (page_of(&store, kind), disk.open(&path, OpenMode::ReadWrite).unwrap());
        let mut bytes = read(&store, offset);
        bytes[200] ^= 16;
        // Damage on the disk itself, not in a write that a power cut could lose.
        opened.write_at(offset, &bytes).unwrap();
        opened.sync_data().unwrap();
    }
    let damaged = disk.operation_count();
    assert_eq!(store.scrub(true).unwrap().repaired.len(), kinds.len());
    for key in 0..60 {
        store.insert(key, u64::MAX).unwrap();
        model.get_mut(&key).unwrap().insert(u64::MAX);
    }
    (disk.operations(), damaged, model)
}

#[test]
fn a_power_cut_during_a_repair_leaves_the_damage_or_the_repair() {
    let folder = tempfile::tempdir().unwrap();
    let (changes, damaged, model) = recorded_repair(folder.path());
    let base: Model = model
        .iter()
        .map(|(&key, values)| {
            (key, values.iter().copied().filter(|&value| value != u64::MAX).collect())
        })
        .collect();
    let mut model_of_cut = CrashModel::after(&changes[..damaged]);
    let (mut before, mut after) = (0, 0);
    for (cut, change) in changes.iter().enumerate().skip(damaged) {
        model_of_cut.apply(change);
        for image in [model_of_cut.image_of_durable(), model_of_cut.image_of_latest()] {
            let scratch = tempfile::tempdir().unwrap();
            image.write_to(folder.path(), scratch.path()).unwrap();
            let path = scratch.path().join("data.h5");
            let store = options().open(&path).unwrap_or_else(|error| panic!("cut {cut}: {error}"));
            let report = store.scrub(true).unwrap();
            assert_eq!(report.problems, [], "cut {cut}");
            // All three in one checkpoint.
            assert!([0, 3].contains(&report.repaired.len()), "cut {cut}: {report:?}");
            (before, after) =
                if report.repaired.is_empty() { (before, after + 1) } else { (before + 1, after) };
            assert_eq!(store.verify().unwrap().problems, [], "cut {cut}");
            for (&key, values) in &base {
                let found: BTreeSet<E> = store.get(key).unwrap().into_iter().collect();
                let all = &model[&key];
                assert!(
                    found.iter().all(|value| all.iter().any(|&other| E::from(other) == *value))
                );
                assert!(
                    values.iter().all(|&value| found.contains(&value.into())),
                    "cut {cut}, key {key}"
                );
            }
        }
    }
    assert!(before > 5 && after > 60, "{before} {after}");
}

/// Buckets of the last checkpoint that nothing has changed since, by the offset of their page.
fn unchanged_buckets(store: &Store) -> Vec<(u32, u64)> {
    let checkpointer = store.engine().checkpointer();
    let slots = checkpointer.shadows[TableKind::Directory as usize].slots();
    let live = store.engine().shared.tables.of(TableKind::Directory);
    let unchanged = (0..).zip(slots).filter(|&(index, slot)| live.get(index) == slot.page);
    let place = |(index, slot): (u32, &TableSlot)| {
        (index, checkpointer.files().place_of(Space::Buckets, slot.page).unwrap().0)
    };
    unchanged.map(place).collect()
}

fn free_bucket_pages(store: &Store) -> u64 {
    store.engine().checkpointer().files().pages(Space::Buckets).free_count().into()
}

/// The repair takes free pages that changed ones were promised, so its checkpoint finds no room: the repair is undone, and
/// done again once there is room.
#[test]
fn a_repair_whose_checkpoint_finds_no_space_is_undone() {
    const DAMAGED: usize = 6;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tight.h5");
    let store = options().max_bytes(3 << 20).open(&path).unwrap();
    let mut model = Model::new();
    for key in 0.. {
        match store.insert(key, key) {
            Ok(_) => _ = model.insert(key, BTreeSet::from([key])),
            Err(Error::NoSpace { .. }) => break,
            Err(error) => unreachable!("{error}"),
        }
    }
    store.checkpoint().unwrap();
    // Deletes may use the last pages: so many buckets change that fewer pages than the repair needs are left to it.
    let changed = |store: &Store| store.stats().pool_bytes / PAGE_BYTES as u64;
    let keys: Vec<u64> = model.keys().copied().collect();
    for key in keys {
        if changed(&store) + 4 >= free_bucket_pages(&store) {
            break;
        }
        assert_eq!(store.delete(key).unwrap(), 1);
        model.remove(&key);
    }
    let free = free_bucket_pages(&store);
    assert!(free > DAMAGED as u64 && changed(&store) + (DAMAGED as u64) > free, "{free} free");
    let seed = HashSeed::new(0, 0);
    let depth = store.stats().global_depth;
    let damaged: Vec<(u32, u64)> = unchanged_buckets(&store).into_iter().take(DAMAGED).collect();
    damaged.iter().for_each(|&(_, offset)| flip(&store, offset, &[5000]));
    let in_damaged = |key: &u64| {
        damaged.iter().any(|(index, _)| seed.hash((*key).into()).directory_index(depth) == *index)
    };
    let concerned = *model.keys().find(|key| in_damaged(key)).unwrap();

    let found = store.scrub(false).unwrap();
    assert_eq!(found.problems.len(), DAMAGED, "{found:?}");
    for _ in 0..2 {
        let refused = store.scrub(true).unwrap_err();
        assert!(matches!(refused, Error::NoSpace { .. }), "{refused}");
        // As if nothing had been tried: the same damage, the same free pages, writes refused where they were.
        assert_eq!(store.scrub(false).unwrap().problems, found.problems);
        assert_eq!(free_bucket_pages(&store), free);
        assert!(store.delete(concerned).unwrap_err().is_corruption());
    }
    // The pages that a checkpoint replaces are room enough.
    store.checkpoint().unwrap();
    let repaired = store.scrub(true).unwrap();
    assert_eq!((repaired.problems.len(), repaired.repaired.len()), (0, DAMAGED), "{repaired:?}");
    assert_eq!(store.delete(concerned).unwrap(), 1);
    model.remove(&concerned);
    assert_equals(&store, &model);
    store.close().unwrap();
    drop(store);
    assert_equals(&options().open(&path).unwrap(), &model);
}
