//! One damaged page: what concerns it is refused by name before anything is promised, and the rest of the store goes on.

use std::fs;
use std::time::{Duration, Instant};

use cidstore::{E, Error, Maintenance, Store};
use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::bucket::ENTRIES_PER_BUCKET;
use cidstore_core::layout::value::GENERATION_WORD;
use cidstore_testkit::Scratch;
use cidstore_testkit::content::set_of;

use crate::buffered;

/// Keys of the sample, each with one value, and a set of ten more for each fourth.
const KEYS: u64 = 600;
const FIRST_SET_KEYS: u64 = KEYS / 4;

/// A store that was closed, and its files.
struct Sample {
    scratch: Scratch,
    data: Vec<u8>,
    log: Vec<u8>,
}

impl Sample {
    fn new() -> Self {
        let scratch = Scratch::new();
        let store = buffered().open(scratch.data()).unwrap();
        let singles = (0..KEYS).map(|key| (E::from(key), E::from(key + 7)));
        let sets = (0..FIRST_SET_KEYS)
            .flat_map(|key| (0..10).map(move |value| (E::from(key), E::from(value + 1_000_000))));
        store.batch_insert(&singles.chain(sets).collect::<Vec<_>>()).unwrap();
        store.close().unwrap();
        let (data, log) = (scratch.data_bytes(), scratch.log_bytes());
        Self { scratch, data, log }
    }

    /// Byte offsets of the pages that begin like this. Some may be of the past: nothing names them.
    fn pages(&self, kind: [u8; 2]) -> Vec<usize> {
        let pages = self.data.chunks(PAGE_BYTES).enumerate().skip(4);
        pages.filter(|(_, page)| page[..2] == kind).map(|(at, _)| at * PAGE_BYTES).collect()
    }

    fn buckets(&self) -> Vec<usize> {
        self.pages(*b"CB")
    }

    fn extents(&self) -> Vec<usize> {
        self.pages(*b"VE")
    }

    /// The store with one bit turned.
    fn with_flip(&self, byte: usize, bit: u8) -> Store {
        let mut data = self.data.clone();
        data[byte] ^= 1 << bit;
        fs::write(self.scratch.data(), data).unwrap();
        fs::write(self.scratch.log(), &self.log).unwrap();
        self.open().unwrap()
    }

    fn open(&self) -> Result<Store, Error> {
        buffered().open(self.scratch.data())
    }
}

/// Counts what is refused as damaged. Everything else must be done.
fn refused<T>(outcomes: impl Iterator<Item = Result<T, Error>>) -> usize {
    outcomes
        .filter(|outcome| match outcome {
            Ok(_) => false,
            Err(Error::Corrupt { .. }) => true,
            Err(error) => panic!("{error}"),
        })
        .count()
}

/// Its neighbours would merge with it, once they are sparse.
#[test]
fn a_damaged_bucket_does_not_fail_its_neighbours() {
    let sample = Sample::new();
    let mut hit = 0;
    for page in sample.buckets() {
        let store = sample.with_flip(page + 2000, 7);
        let count = refused((0..KEYS).map(|key| store.delete(key)));
        assert!(count <= ENTRIES_PER_BUCKET, "{count} keys in the page at {page}");
        hit += usize::from(count > 0);
        store.insert(1_u64 << 40, 1).unwrap_or_else(|error| {
            assert!(matches!(error, Error::Corrupt { .. }), "{error}");
            true
        });
        drop(store);
        let store = sample.open().unwrap();
        assert_eq!(store.stats().failure, None);
    }
    assert!(hit > 10, "{hit}");
}

/// A write that is logged must be applied, now and by recovery: so it is refused before.
#[test]
fn a_damaged_set_refuses_its_own_writes_only() {
    let sample = Sample::new();
    let mut hit = 0;
    for (at, &page) in sample.extents().iter().enumerate() {
        // The owner of the first extent, and a value.
        let byte = page + if at % 2 == 0 { 64 } else { 100 };
        let store = sample.with_flip(byte, 1);
        let keys = || 0..FIRST_SET_KEYS;
        let mut count = refused(keys().map(|key| store.insert(key, 777)));
        count += refused(keys().map(|key| store.delete_value(key, 1_000_003)));
        count += refused(keys().map(|key| store.delete(key)));
        if count == 0 {
            continue;
        }
        hit += 1;
        assert!(store.insert(1_u64 << 40, 1).unwrap());
        // A batch is refused as a whole.
        let batch: Vec<_> = keys().map(|key| (E::from(key), E::from(778))).collect();
        assert!(matches!(store.batch_insert(&batch), Err(Error::Corrupt { .. })));
        drop(store);
        let store = sample.open().unwrap();
        assert!(store.contains(1_u64 << 40, 1).unwrap());
        assert!(store.iter().flatten().all(|(_, value)| value != E::from(778)));
    }
    assert!(hit > 3, "{hit}");
}

/// The number of an overflow page, or of a set's page, that a damaged page tells may be one that no table has.
#[test]
fn numbers_beyond_all_tables_are_damage() {
    const OVERFLOW_TOP: usize = 27;
    let sample = Sample::new();
    let mut hit = 0;
    for page in sample.buckets() {
        let store = sample.with_flip(page + OVERFLOW_TOP, 7);
        // Who looks for what is not there comes to the end of its bucket.
        if refused((0..5 * KEYS).map(|key| store.get(key))) == 0 {
            continue;
        }
        hit += 1;
        assert!(refused((0..5 * KEYS).map(|key| store.contains(key, 3))) > 0);
        assert!(refused(store.iter()) > 0);
        assert!(!store.verify().unwrap().problems.is_empty());
        assert!(refused((0..KEYS).map(|key| store.insert(key, 9))) > 0);
        let batch: Vec<_> = (0..KEYS).map(|key| (E::from(key), E::from(10))).collect();
        assert!(matches!(store.batch_insert(&batch), Err(Error::Corrupt { .. })));
        assert_eq!(store.stats().failure, None);
    }
    assert!(hit > 10, "{hit}");
}

/// As before, for the page that an entry's set lies in.
#[test]
fn a_set_reference_beyond_all_tables_is_damage() {
    const ENTRIES: usize = 128;
    const SPILLED: u8 = 0x1e;
    let sample = Sample::new();
    let mut hit = 0;
    for page in sample.buckets() {
        let entries = (page + ENTRIES..page + PAGE_BYTES).step_by(64);
        let Some(entry) = entries.into_iter().find(|at| sample.data[at + 49] == SPILLED) else {
            continue;
        };
        let store = sample.with_flip(entry + 16 + 3, 7);
        refused((0..KEYS).map(|key| store.get(key)));
        refused((0..KEYS).map(|key| store.value_count(key)));
        refused(store.iter());
        hit += usize::from(refused((0..KEYS).map(|key| store.insert(key, 9))) > 0);
        assert_eq!(store.stats().failure, None);
    }
    assert!(hit > 3, "{hit}");
}

#[test]
fn maintenance_tells_damage_and_leaves_the_store_as_it_is() {
    let sample = Sample::new();
    type Work = fn(&Store) -> Result<(), Error>;
    let work: [(&str, Work); 4] = [
        ("merge", |store| store.merge().map(drop)),
        ("gc", |store| store.gc().map(drop)),
        ("compact", |store| store.compact().map(drop)),
        ("background_maintenance", |store| store.background_maintenance().map(drop)),
    ];
    let buckets = sample.buckets().into_iter().map(|page| page + 2000);
    let values = sample.extents().into_iter().map(|page| page + 8 * GENERATION_WORD);
    let kinds = sample.extents().into_iter().map(|page| page + 2);
    for byte in buckets.step_by(3).chain(values.step_by(2)).chain(kinds.step_by(2)) {
        for (name, work) in work {
            let store = sample.with_flip(byte, 7);
            let content = || (0..KEYS).map(|key| store.get(key).ok().map(|values| set_of(&values)));
            let before: Vec<_> = content().collect();
            assert!(refused(std::iter::once(work(&store))) <= 1);
            assert_eq!(store.stats().failure, None, "{name}, byte {byte}");
            assert!(content().eq(before), "{name}, byte {byte}");
        }
    }
}

/// A walk goes from bucket to bucket by what their headers say: one that says it covers more would hide its neighbours.
#[test]
fn a_walk_loses_nothing_in_silence() {
    const LOCAL_DEPTH: usize = 2;
    let sample = Sample::new();
    let mut hit = 0;
    for page in sample.buckets() {
        for bit in 0..8 {
            let store = sample.with_flip(page + LOCAL_DEPTH, bit);
            let keys = store.keys().flatten().count() as u64;
            let refused = refused(store.keys());
            assert!(keys == KEYS || refused > 0, "{keys} keys, bit {bit} of the page at {page}");
            hit += usize::from(refused > 0);
        }
    }
    assert!(hit > 10, "{hit}");
}

/// It looks at headers before it has compared the page with its checksum.
#[test]
fn upkeep_lives_on_beside_a_damaged_header() {
    const LOCAL_DEPTH: usize = 2;
    let sample = Sample::new();
    for bit in [2, 5, 7] {
        let page = sample.buckets().into_iter().find(|page| {
            let store = sample.with_flip(page + LOCAL_DEPTH, bit);
            refused(store.keys()) > 0
        });
        let mut data = sample.data.clone();
        data[page.unwrap() + LOCAL_DEPTH] ^= 1 << bit;
        fs::write(sample.scratch.data(), data).unwrap();
        fs::write(sample.scratch.log(), &sample.log).unwrap();
        let mut eager = Maintenance::default();
        (eager.quiet, eager.rest) = (Duration::ZERO, Duration::ZERO);
        let store = buffered().maintenance(eager).open(sample.scratch.data()).unwrap();
        let end = Instant::now() + Duration::from_secs(30);
        while store.stats().maintenance.rounds == 0 {
            assert!(Instant::now() < end, "upkeep is dead: {:?}", store.stats().maintenance);
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(store.stats().failure, None);
        store.close().unwrap();
    }
}

/// The root of a large set tells how many tombstones there are; sums of what damage makes of that need not fit.
#[test]
fn counters_of_a_set_that_cannot_be_are_damage() {
    let scratch = Scratch::new();
    let store = buffered().open(scratch.data()).unwrap();
    let pairs: Vec<_> = (0..3000).map(|value| (E::from(7), E::from(value))).collect();
    store.bulk_load(pairs).unwrap();
    store.close().unwrap();
    let (data, log) = (scratch.data_bytes(), scratch.log_bytes());
    let sample = Sample { scratch, data, log };
    let mut hit = 0;
    for node in sample.pages(*b"VI") {
        for (field, bit) in [(16, 63), (24, 61), (24, 62), (24, 63)] {
            let store = sample.with_flip(node + field + bit / 8, (bit % 8) as u8);
            hit += refused(std::iter::once(store.gc()));
            refused(std::iter::once(store.background_maintenance()));
            refused(std::iter::once(store.value_count(7)));
            assert_eq!(store.stats().failure, None);
        }
    }
    assert!(hit > 3, "{hit}");
}
