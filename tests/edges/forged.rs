//! Files whose checksums fit and whose content makes no sense: refused by name, or told by `verify`; never a panic, an endless
//! loop, or a store to memory that may only be read.

use cidstore::{E, Error, Store};
use cidstore_core::layout::PageKind;
use cidstore_core::layout::table::{Space, TableKind, TableSlot};
use cidstore_core::layout::value::INNER_CHILDREN_WORD;
use cidstore_testkit::Scratch;
use cidstore_testkit::forge::Forge;

use crate::{buffered, within_patience};

/// Where a bucket's header has its local depth and its prefix, in bytes.
const LOCAL_DEPTH: usize = 2;
const PREFIX: usize = 40;

/// Keys of the sample: enough for a directory of 64 slots.
const KEYS: u64 = 3000;

/// A store that was closed: keys with a value each, one with a few, one with many.
fn sample() -> (Scratch, Forge) {
    let scratch = Scratch::new();
    let store = buffered().open(scratch.data()).unwrap();
    let pairs: Vec<(E, E)> = (0..KEYS).map(|key| (E::from(key), E::from(key))).collect();
    store.batch_insert(&pairs).unwrap();
    for (key, count) in [(1_u64, 20_u64), (2, 1000)] {
        let set: Vec<(E, E)> = (0..count).map(|value| (E::from(key), E::from(value))).collect();
        store.batch_insert(&set).unwrap();
    }
    store.close().unwrap();
    let forge = Forge::new(scratch.data_bytes());
    (scratch, forge)
}

fn first_bucket(forge: &Forge) -> u32 {
    forge.pages(TableKind::Directory)[0]
}

fn is_told(store: &Store) -> bool {
    !store.verify().unwrap().problems.is_empty()
}

fn assert_corrupt<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    assert!(matches!(outcome, Err(Error::Corrupt { .. })), "{outcome:?}");
}

/// A page of the generation in use may be stored to: one of the file must not be, whatever it says.
#[test]
fn a_page_of_a_generation_to_come_is_refused() {
    for kind in [TableKind::Directory, TableKind::Values] {
        for ahead in 1..=5 {
            let (scratch, mut forge) = sample();
            let generation = (forge.superblock().generation + ahead).to_le_bytes();
            for page in forge.pages(kind).into_iter().filter(|&page| page != 0) {
                forge.page(kind.space(), page)[8..16].copy_from_slice(&generation);
            }
            forge.write(&scratch.data());
            let store = buffered().open(scratch.data()).unwrap();
            // Opening has ended a few more generations.
            assert!(ahead < 5 || is_told(&store), "{kind:?}, {ahead} ahead");
            if let Err(error) = store.insert(1_u64, 100_u64) {
                assert!(matches!(error, Error::Corrupt { .. }), "{error}");
            }
            assert_eq!(store.stats().failure, None);
        }
    }
}

/// It would be published over buckets that are not its own.
#[test]
fn a_bucket_that_says_it_is_another_is_refused() {
    // Header fields, and what is put there.
    for (byte, forged) in [(LOCAL_DEPTH, 1), (LOCAL_DEPTH, 200), (PREFIX, 5), (PREFIX + 3, 0x80)] {
        within_patience(move || {
            let (scratch, mut forge) = sample();
            let page = first_bucket(&forge);
            forge.page(Space::Buckets, page)[byte] = forged;
            forge.write(&scratch.data());
            let store = buffered().open(scratch.data()).unwrap();
            assert!(is_told(&store), "byte {byte}");
            let refused = (KEYS..2 * KEYS).filter(|&key| store.insert(key, key).is_err()).count();
            assert!(refused > 10, "{refused} of {KEYS}");
            assert_corrupt(store.merge());
            assert_corrupt(store.compact());
            store.debug_dump(&mut std::io::sink()).unwrap();
            assert!(
                (0..KEYS).filter(|&key| store.contains(key, key).unwrap_or(false)).count() > 2900
            );
            assert_eq!(store.stats().failure, None);
        });
    }
}

/// It lies where one of the slots that it claims is, but not the others.
#[test]
fn a_bucket_that_claims_its_neighbours_is_refused_wherever_it_lies() {
    for local_depth in 0..5 {
        let (scratch, mut forge) = sample();
        let page = forge.pages(TableKind::Directory)[1 << local_depth];
        let header = forge.page(Space::Buckets, page);
        header[LOCAL_DEPTH] = local_depth;
        header[PREFIX..PREFIX + 8].fill(0);
        forge.write(&scratch.data());
        let store = buffered().open(scratch.data()).unwrap();
        assert!(is_told(&store), "local depth {local_depth}");
        let refused = (KEYS..2 * KEYS).filter(|&key| store.insert(key, key).is_err()).count();
        assert!(refused > 10, "{refused} of {KEYS}");
        assert_corrupt(store.compact());
        assert_eq!(store.stats().failure, None);
    }
}

/// Maintenance that followed it would go round and round.
#[test]
fn a_bucket_that_says_it_comes_earlier_ends_no_walk() {
    within_patience(|| {
        let (scratch, mut forge) = sample();
        let mut pages = forge.pages(TableKind::Directory);
        pages.dedup();
        let last = pages.into_iter().max_by_key(|&page| {
            forge.page(Space::Buckets, page)[40..44]
                .first_chunk()
                .map(|bytes| u32::from_le_bytes(*bytes).reverse_bits())
        });
        forge.page(Space::Buckets, last.unwrap())[40..48].fill(0);
        forge.write(&scratch.data());
        let store = buffered().open(scratch.data()).unwrap();
        assert!(is_told(&store));
        assert_corrupt(store.merge());
        store.debug_dump(&mut std::io::sink()).unwrap();
        assert!(store.iter().any(|pair| pair.is_err()));
    });
}

/// A split gives the overflow pages of its bucket up: one that is not there must be found out before the write is logged.
#[test]
fn an_overflow_page_that_is_not_there_is_refused() {
    let (scratch, mut forge) = sample();
    for page in forge.pages(TableKind::Directory) {
        forge.page(Space::Buckets, page)[24..28].copy_from_slice(&0x20_0000_u32.to_le_bytes());
    }
    forge.write(&scratch.data());
    for _ in 0..2 {
        let store = buffered().open(scratch.data()).unwrap();
        assert!(is_told(&store));
        assert_corrupt(store.insert(KEYS, 1_u64));
        assert_eq!(store.stats().failure, None);
        store.close().unwrap();
    }
}

/// Number 0 of a numbered table is none.
#[test]
fn scrubbing_passes_over_number_zero() {
    let (scratch, mut forge) = sample();
    let root = forge.superblock().roots[TableKind::Values as usize];
    assert_eq!(root.height, 1, "the root has the slots");
    // A page that there is not.
    forge.page(Space::Tables, root.slot.page)[..4].copy_from_slice(&0x0fff_ffff_u32.to_le_bytes());
    forge.write(&scratch.data());
    let store = buffered().open(scratch.data()).unwrap();
    let problems = store.scrub(true).unwrap().problems;
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn numbers_that_would_overflow_are_refused() {
    let fields: [fn(&mut Forge) -> &mut u64; 4] = [
        |forge| &mut forge.superblock().checkpoint_number,
        |forge| &mut forge.superblock().generation,
        |forge| &mut forge.superblock().lsn,
        |forge| &mut forge.superblock().value_count,
    ];
    for field in fields {
        let (scratch, mut forge) = sample();
        *field(&mut forge) = u64::MAX;
        forge.write(&scratch.data());
        assert_corrupt(buffered().open(scratch.data()));
    }
}

/// One node named by all slots of the node above, level by level: the file is small, what it says is not.
#[test]
fn a_table_whose_nodes_are_all_one_is_refused() {
    within_patience(|| {
        let (scratch, mut forge) = sample();
        let mut child = first_bucket(&forge);
        for page in forge.free_table_pages().into_iter().take(4) {
            for slot in forge.page(Space::Tables, page).chunks_mut(size_of::<TableSlot>()) {
                slot[..4].copy_from_slice(&child.to_le_bytes());
            }
            child = page;
        }
        let superblock = forge.superblock();
        superblock.global_depth = 28;
        let root = &mut superblock.roots[TableKind::Directory as usize];
        (root.slot.page, root.height, root.slot_count) = (child, 4, 1 << 28);
        forge.write(&scratch.data());
        assert_corrupt(buffered().open(scratch.data()));
    });
}

/// A key goes with the last value of its set.
#[test]
fn a_set_without_values_is_refused() {
    let (scratch, mut forge) = sample();
    for page in forge.pages(TableKind::Values).into_iter().filter(|&page| page != 0) {
        let page = forge.page(Space::Values, page);
        if page[..2] == *b"VI" {
            page[16..24].fill(0);
        }
    }
    forge.write(&scratch.data());
    let store = buffered().open(scratch.data()).unwrap();
    assert!(is_told(&store));
    assert_corrupt(store.gc());
    assert_eq!(store.stats().failure, None);
}

/// The place in the table of value pages of the first page of this kind.
fn numbered(forge: &mut Forge, kind: PageKind) -> usize {
    let kind = (kind as u16).to_le_bytes();
    let mut pages = forge.pages(TableKind::Values).into_iter();
    pages
        .position(|page| page != 0 && forge.page(Space::Values, page).starts_with(&kind))
        .expect("the sample has one")
}

/// Whether a key has these values and no others.
fn has_values(store: &Store, key: u64, count: u64) -> bool {
    let values = store.get(key).unwrap();
    values.len() as u64 == count && (0..count).all(|value| values.contains(value))
}

/// Who frees a set frees nothing of another's, whatever its nodes say.
#[test]
fn a_set_that_names_a_page_of_another_takes_nothing_with_it() {
    let (scratch, mut forge) = sample();
    let small = numbered(&mut forge, PageKind::Extents) as u32;
    let root = numbered(&mut forge, PageKind::Inner);
    let root = forge.pages(TableKind::Values)[root];
    let child = &mut forge.page(Space::Values, root)[INNER_CHILDREN_WORD * 8..];
    child[..4].copy_from_slice(&small.to_le_bytes());
    forge.write(&scratch.data());
    let store = buffered().open(scratch.data()).unwrap();
    assert!(is_told(&store));
    assert_eq!(store.delete(2_u64).unwrap(), 1000);
    // What was freed is used again.
    for round in 0..3_u64 {
        for key in 10..200_u64 {
            let values = round..round + 20;
            let set: Vec<(E, E)> = values.map(|value| (key.into(), value.into())).collect();
            store.batch_insert(&set).unwrap();
        }
        store.checkpoint().unwrap();
        store.batch_delete(&(10..200_u64).map(E::from).collect::<Vec<_>>()).unwrap();
    }
    assert!(has_values(&store, 1, 20));
    assert_eq!(store.stats().failure, None);
}

/// A write into it is refused before it is logged: what is in the log must be applied, or no one opens the store again.
#[test]
fn an_entry_that_names_the_set_of_another_key_is_refused() {
    let (scratch, mut forge) = sample();
    let pages = forge.pages(TableKind::Directory);
    let mut set = [0; 4];
    // The second time round it is known.
    for page in [&*pages, &*pages].concat() {
        forge.change_bucket(page, |bucket| {
            let live = bucket.entries.iter_mut().zip(bucket.tags).filter(|(_, tag)| *tag != 0);
            for (entry, _) in live {
                if entry.key() == E::from(1) {
                    set = entry.slots;
                } else if entry.key() == E::from(2) {
                    entry.slots = set;
                }
            }
        });
    }
    forge.write(&scratch.data());
    for _ in 0..2 {
        let store = buffered().open(scratch.data()).unwrap();
        assert!(is_told(&store));
        assert_corrupt(store.insert(2_u64, 5000_u64));
        assert_corrupt(store.delete_value(2_u64, 5_u64));
        assert_corrupt(store.delete(2_u64));
        assert_corrupt(store.demote_if_possible(2_u64).and(store.gc()).and(store.compact()));
        assert_eq!(store.stats().failure, None);
        assert!(has_values(&store, 1, 20));
        store.close().unwrap();
    }
}
