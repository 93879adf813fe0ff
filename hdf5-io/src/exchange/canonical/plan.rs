//! Pass one: how keys divide into pages, and how many pages of each kind there will be. Reads keys, and of
//! sets how many values they have, not the values.
//!
//! A stretch of the scan order that has more keys than a page is divided whatever lies beside it. So all of a large
//! snapshot's stretches are planned at once, on all processors; if one turns out too small for that, all are planned
//! in one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use cidstore_core::E;
use cidstore_core::hash::MAX_DEPTH;
use cidstore_core::layout::bucket::ENTRIES_PER_BUCKET;
use cidstore_core::layout::entry::{SetReference, SpillPointer};
use cidstore_core::layout::value::{EXTENT_CAPACITIES, SMALL_SET_MAX, class_for, extents_per_page};
use cidstore_core::protocol::content::Content;
use cidstore_engine::{Snapshot, Store};

use super::lines::{Tally, is_inline, set_entries};
use super::sets::large_set_pages;
use crate::exchange::error::Result;
use crate::exchange::threads;

/// Positions of the scan order: one for each value of the lowest 32 hash bits, reversed.
pub(crate) const SCAN_END: u64 = 1 << 32;
/// A directory is at most this much deeper than its pages would need if keys spread evenly.
const DEPTH_SLACK: u32 = 8;
/// Stretches that are planned by themselves: so many leading bits of the scan order. At most `DEPTH_SLACK`, so that the
/// directory may always be that deep.
const PART_BITS: u32 = 8;
/// Fewer keys than this are planned in one.
const PARTS_KEYS: u64 = 1 << 17;

const _: () = assert!(PART_BITS <= DEPTH_SLACK);

/// A bucket of the canonical layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlannedBucket {
    /// The hash bits that all its keys share: its lowest directory slot.
    pub(crate) prefix: u32,
    /// How many bits those are.
    pub(crate) local_depth: u8,
    /// Pages, those of its overflow chain included.
    pub(crate) pages: u32,
}

impl PlannedBucket {
    /// Where the bucket begins and ends in the scan order.
    pub(crate) fn stretch(&self) -> (u64, u64) {
        let start = u64::from(self.prefix.reverse_bits());
        (start, start + (SCAN_END >> self.local_depth))
    }
}

/// What an export will consist of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The buckets, in directory order.
    pub(crate) buckets: Vec<PlannedBucket>,
    /// Depth of the directory.
    pub(crate) global_depth: u32,
    /// Bucket pages, page 0 included.
    pub(crate) bucket_pages: u64,
    /// Overflow pages among them.
    pub(crate) overflow_pages: u64,
    /// Value pages, page 0 included.
    pub(crate) value_pages: u64,
    /// Keys.
    pub(crate) keys: u64,
}

impl Plan {
    /// Plans the export of a snapshot of `store`. `progress` gets the position in the scan order now and then.
    pub(crate) fn make(
        store: &Store,
        snapshot: &Snapshot,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self> {
        let mut parts = Vec::new();
        if snapshot.len() >= PARTS_KEYS {
            parts = plan_parts(store, snapshot, progress)?;
        }
        if parts.is_empty() {
            parts.push(Planner::new(store, snapshot, 0, progress).plan(0)?);
        }
        // A forged page may say anything, and memory and file are made for what it says.
        let values = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.sets.values));
        if values > snapshot.value_len() {
            return Err(snapshot.corrupt("its sets say to have more values than it has").into());
        }
        Ok(Self::of(parts, snapshot.len()))
    }

    /// The plan that these parts make.
    fn of(parts: Vec<Part>, keys: u64) -> Self {
        let mut buckets = Vec::with_capacity(parts.iter().map(|part| part.buckets.len()).sum());
        let mut sets = SetPages::default();
        for part in parts {
            buckets.extend(part.buckets);
            sets.join(&part.sets);
        }
        buckets.sort_unstable_by_key(|bucket| bucket.prefix);
        let pages = buckets.iter().map(|bucket| u64::from(bucket.pages)).sum::<u64>();
        Self {
            global_depth: buckets.iter().map(|bucket| bucket.local_depth).max().unwrap_or(0).into(),
            bucket_pages: 1 + pages,
            overflow_pages: pages - buckets.len() as u64,
            value_pages: 1 + sets.pages(),
            keys,
            buckets,
        }
    }
}

/// Deepest directory for this many keys.
fn depth_max(keys: u64) -> u32 {
    let pages = (keys / ENTRIES_PER_BUCKET as u64).max(1);
    (pages.ilog2() + DEPTH_SLACK).min(MAX_DEPTH)
}

/// Plans all stretches by themselves, on all processors. Answers none if one of them can't be.
fn plan_parts(
    store: &Store,
    snapshot: &Snapshot,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<Part>> {
    const PARTS: u64 = 1 << PART_BITS;
    const STRETCH: u64 = SCAN_END >> PART_BITS;
    let next = AtomicU64::new(0);
    let work = |tell: &mut dyn FnMut(u64)| -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        loop {
            // Relaxed: a number is all that is handed over.
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= PARTS {
                return Ok(parts);
            }
            tell(number * STRETCH);
            let part = Planner::new(store, snapshot, number * STRETCH, &mut |_| ()).plan(PART_BITS);
            match part {
                Ok(part) if part.stands_alone(STRETCH) => parts.push(part),
                other => {
                    next.store(PARTS, Ordering::Relaxed);
                    return other.map(|_| Vec::new());
                }
            }
        }
    };
    let parts: Vec<Part> = threads::on_all(work, progress)?.into_iter().flatten().collect();
    Ok(if parts.len() as u64 == PARTS { parts } else { Vec::new() })
}

/// What is planned of a stretch of the scan order.
struct Part {
    start: u64,
    /// Where the next bucket of the snapshot begins.
    end: u64,
    entries: usize,
    buckets: Vec<PlannedBucket>,
    sets: SetPages,
}

impl Part {
    /// True if the stretch is planned as it would be with its neighbours: no bucket of the snapshot reaches beyond its
    /// end, and it has too many entries to be part of a larger bucket.
    fn stands_alone(&self, length: u64) -> bool {
        self.end == self.start + length && self.entries > ENTRIES_PER_BUCKET
    }
}

/// Divides keys that take so many entries, in ascending order of keys, among the pages of a chain: how many entries each
/// page gets. A key lies wholly in one page.
pub(crate) fn chain(entries: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let mut pages = vec![0];
    let mut room = ENTRIES_PER_BUCKET;
    for needed in entries {
        if needed > room {
            pages.push(0);
            room = ENTRIES_PER_BUCKET;
        }
        room -= needed;
        if let Some(last) = pages.last_mut() {
            *last += needed;
        }
    }
    pages
}

/// How many values a set has. Both passes ask here: a damaged store must not give them two answers.
pub(crate) fn set_values(snapshot: &Snapshot, set: &SpillPointer) -> Result<u64> {
    match SetReference::decode(set.reference) {
        // What the pointer says is held against the values when they are copied, and to ask their page costs its checksum.
        Some(SetReference { extent: Some(_), .. }) if set.value_count <= SMALL_SET_MAX as u32 => {
            Ok(set.value_count.into())
        }
        // The pointer of a large one says it modulo 2^32.
        _ => Ok(snapshot.set_count(set.reference)?),
    }
}

/// A bucket of the snapshot on its way into the plan.
struct Run {
    /// Where it lies in the scan order.
    start: u64,
    end: u64,
    /// Entries that its keys take.
    entries: usize,
    /// Its keys, if they do not fit a page: only then can a bucket of the plan be smaller than one of the snapshot.
    keys: Vec<PlannedKey>,
}

#[derive(Clone, Copy)]
struct PlannedKey {
    position: u32,
    key: E,
    entries: usize,
}

impl Run {
    /// Entries of the keys that lie from `start` up to `end` in the scan order.
    fn entries_within(&self, start: u64, end: u64) -> usize {
        if start <= self.start && self.end <= end {
            return self.entries;
        }
        self.keys_within(start, end).map(|planned| planned.entries).sum()
    }

    fn keys_within(&self, start: u64, end: u64) -> impl Iterator<Item = &PlannedKey> {
        self.keys.iter().filter(move |planned| (start..end).contains(&u64::from(planned.position)))
    }
}

/// The buckets of a snapshot in scan order, read ahead as far as a decision needs them.
struct Keys<'a> {
    store: &'a Store,
    snapshot: &'a Snapshot,
    buffer: VecDeque<Run>,
    read_to: u64,
    /// Entries of all buckets that were read.
    entries_read: usize,
    sets: SetPages,
    /// For reuse.
    tally: Tally,
}

impl Keys<'_> {
    /// Reads one bucket of the snapshot.
    fn read_bucket(&mut self) -> Result<()> {
        let start = self.read_to;
        let tally = &mut self.tally;
        tally.clear();
        self.read_to = self.snapshot.visit_bucket_pages(start, |page| tally.add(page))?;
        let mut entries = tally.entries;
        for set in &tally.sets {
            let values = set_values(self.snapshot, set)?;
            entries += set_entries(values);
            if !is_inline(values) {
                self.sets.add(values);
            }
        }
        let fits = entries <= ENTRIES_PER_BUCKET;
        let keys = if fits { Vec::new() } else { self.keys_of_bucket(start)? };
        self.buffer.push_back(Run { start, end: self.read_to, entries, keys });
        self.entries_read += entries;
        Ok(())
    }

    /// The keys of one bucket of the snapshot, and the entries of each.
    fn keys_of_bucket(&self, start: u64) -> Result<Vec<PlannedKey>> {
        let seed = self.store.hash_seed();
        let (mut keys, mut sets) = (Vec::new(), Vec::new());
        self.snapshot.visit_bucket(start, |key, content| {
            if let Content::Spilled(set) = content {
                sets.push((keys.len(), *set));
            }
            let position = seed.hash(key).scan_position();
            keys.push(PlannedKey { position, key, entries: content.entries() });
        })?;
        for (at, set) in sets {
            keys[at].entries = set_entries(set_values(self.snapshot, &set)?);
        }
        Ok(keys)
    }

    /// Entries of the keys of a stretch; if they are more than a page has, perhaps not all are counted.
    fn entries(&mut self, start: u64, end: u64) -> Result<usize> {
        loop {
            let entries = self
                .buffer
                .iter()
                .take_while(|run| run.start < end)
                .map(|run| run.entries_within(start, end))
                .sum();
            if entries > ENTRIES_PER_BUCKET || self.read_to >= end {
                return Ok(entries);
            }
            self.read_bucket()?;
        }
    }

    /// How many pages the keys of a stretch fill. Those before its end are not needed again.
    fn take_pages(&mut self, start: u64, end: u64) -> Result<u32> {
        let fits = self.entries(start, end)? <= ENTRIES_PER_BUCKET;
        while self.read_to < end {
            self.read_bucket()?;
        }
        let pages = if fits {
            1
        } else {
            let mut keys: Vec<PlannedKey> = Vec::new();
            for run in self.buffer.iter().take_while(|run| run.start < end) {
                keys.extend(run.keys_within(start, end));
            }
            keys.sort_unstable_by_key(|planned| planned.key);
            chain(keys.iter().map(|planned| planned.entries)).len() as u32
        };
        while self.buffer.front().is_some_and(|run| run.end <= end) {
            self.buffer.pop_front();
        }
        Ok(pages)
    }
}

/// Counts the pages that value sets will take.
#[derive(Default)]
struct SetPages {
    /// Values of all sets.
    values: u64,
    extents: [u64; EXTENT_CAPACITIES.len()],
    large_pages: u64,
}

impl SetPages {
    fn add(&mut self, values: u64) {
        self.values = self.values.saturating_add(values);
        let class = if values <= SMALL_SET_MAX as u64 { class_for(values as usize) } else { None };
        match class.and_then(|class| self.extents.get_mut(class)) {
            Some(extents) => *extents += 1,
            None => {
                self.large_pages = self.large_pages.saturating_add(large_set_pages(values));
            }
        }
    }

    /// Adds what another one has counted.
    fn join(&mut self, other: &Self) {
        self.values = self.values.saturating_add(other.values);
        for (extents, more) in self.extents.iter_mut().zip(other.extents) {
            *extents += more;
        }
        self.large_pages = self.large_pages.saturating_add(other.large_pages);
    }

    fn pages(&self) -> u64 {
        let shared = self.extents.iter().enumerate();
        let shared =
            shared.map(|(class, extents)| extents.div_ceil(extents_per_page(class) as u64));
        shared.sum::<u64>() + self.large_pages
    }
}

/// Finds the buckets, in scan order.
struct Planner<'a> {
    keys: Keys<'a>,
    depth_max: u32,
    buckets: Vec<PlannedBucket>,
    progress: &'a mut dyn FnMut(u64),
}

impl<'a> Planner<'a> {
    /// A planner that begins at a position of the scan order.
    fn new(
        store: &'a Store,
        snapshot: &'a Snapshot,
        start: u64,
        progress: &'a mut dyn FnMut(u64),
    ) -> Self {
        let keys = Keys {
            store,
            snapshot,
            buffer: VecDeque::new(),
            read_to: start,
            entries_read: 0,
            sets: SetPages::default(),
            tally: Tally::default(),
        };
        Self { keys, depth_max: depth_max(snapshot.len()), buckets: Vec::new(), progress }
    }

    /// Plans the stretch that begins where the planner does, and that `depth` leading bits name.
    fn plan(mut self, depth: u32) -> Result<Part> {
        let start = self.keys.read_to;
        self.divide(start, depth)?;
        let Keys { read_to, entries_read, sets, .. } = self.keys;
        Ok(Part { start, end: read_to, entries: entries_read, buckets: self.buckets, sets })
    }

    /// Plans the stretch of the scan order that `depth` leading bits of `start` name.
    fn divide(&mut self, start: u64, depth: u32) -> Result<()> {
        let end = start + (SCAN_END >> depth);
        if depth < self.depth_max && self.keys.entries(start, end)? > ENTRIES_PER_BUCKET {
            self.divide(start, depth + 1)?;
            return self.divide(start + (SCAN_END >> (depth + 1)), depth + 1);
        }
        let pages = self.keys.take_pages(start, end)?;
        let prefix = (start as u32).reverse_bits();
        self.buckets.push(PlannedBucket { prefix, local_depth: depth as u8, pages });
        if self.buckets.len().is_multiple_of(1024) {
            (self.progress)(start);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use cidstore_core::hash::HashSeed;

    use super::*;

    #[test]
    fn a_chain_keeps_keys_whole() {
        assert_eq!(chain([]), [0]);
        assert_eq!(chain([1; 62]), [62]);
        assert_eq!(chain([2; 32]), [62, 2]);
        let mixed = std::iter::once(1).chain([2; 31]);
        assert_eq!(chain(mixed), [61, 2], "61 entries leave one free, which is not enough for two");
    }

    /// Plans a store of this many keys that `wanted` wants in parts and in one.
    fn plans(keys: u64, wanted: impl Fn(HashSeed, E) -> bool) -> (usize, [Plan; 2]) {
        let scratch = cidstore_testkit::Scratch::new();
        let store = Store::options().hash_seed(HashSeed::new(5, 6)).open(scratch.data()).unwrap();
        let seed = store.hash_seed();
        let keys =
            (0..).map(|key| E::new(key, key)).filter(|key| wanted(seed, *key)).take(keys as usize);
        // Some keys have two entries, some a set.
        let values = |key: E| 1 + key.low % 11 / 5 * 3;
        let pairs = keys.flat_map(|key| (0..values(key)).map(move |value| (key, E::from(value))));
        store.bulk_load(pairs).unwrap();
        let snapshot = store.snapshot().unwrap();
        let parts = plan_parts(&store, &snapshot, &mut |_| ()).unwrap().len();
        let whole = Planner::new(&store, &snapshot, 0, &mut |_| ()).plan(0).unwrap();
        let whole = Plan::of(vec![whole], snapshot.len());
        (parts, [Plan::make(&store, &snapshot, &mut |_| ()).unwrap(), whole])
    }

    #[test]
    fn parts_are_planned_as_the_whole_is() {
        let (parts, [plan, whole]) = plans(PARTS_KEYS, |_, _| true);
        assert_eq!((parts, plan), (1 << PART_BITS, whole));
    }

    #[test]
    fn what_cant_be_planned_in_parts_is_planned_in_one() {
        // Nearly no key in one of the parts.
        let spare = |seed: HashSeed, key: E| {
            let position = seed.hash(key).scan_position();
            position >> (32 - PART_BITS) != 77 || key.low < 2000
        };
        let (parts, [plan, whole]) = plans(PARTS_KEYS, spare);
        assert_eq!((parts, plan), (0, whole));
        // Buckets of a small store reach over several parts.
        let (parts, [plan, whole]) = plans(3000, |_, _| true);
        assert_eq!((parts, plan), (0, whole));
    }

    #[test]
    fn stretches_of_buckets_are_those_of_the_scan() {
        let bucket = PlannedBucket { prefix: 0b01, local_depth: 2, pages: 1 };
        assert_eq!(bucket.stretch(), (1 << 31, (1 << 31) + (1 << 30)));
        let whole = PlannedBucket { prefix: 0, local_depth: 0, pages: 1 };
        assert_eq!(whole.stretch(), (0, SCAN_END));
    }
}
