//! Pass two: the pages of both spaces, on all processors.
//!
//! The buckets of the plan are divided into blocks. A thread takes the next block, lays its pages out, and seals and
//! writes them. Value sets are numbered in the order of their keys, so the threads lay those out one block after another,
//! while others seal and write. A thread has one block in memory, and a few value pages.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use cidstore_core::E;
use cidstore_core::crc::page_checksum;
use cidstore_core::ecc;
use cidstore_core::hash::HashSeed;
use cidstore_core::layout::bucket::{BucketPage, ENTRIES_PER_BUCKET};
use cidstore_core::layout::entry::{EntryFlags, HashEntry, SpillPointer};
use cidstore_core::layout::table::Space;
use cidstore_core::layout::value::SMALL_SET_MAX;
use cidstore_core::protocol::bucket_seal;
use cidstore_core::sethash::SetHash;
use cidstore_engine::Snapshot;
use zerocopy::{FromZeros, IntoBytes};

use super::canonical::bucket::{self, Place};
use super::canonical::lines::{LineFault, Lines, is_inline};
use super::canonical::plan::{Plan, PlannedBucket, chain, set_values};
use super::canonical::sets::{PageBytes, SetBuilder};
use super::error::{ExchangeError, Result};
use super::image::{Image, Part};
use super::threads::{self, Turns};

/// Buckets that a thread takes at once: their pages fit the processor's second cache.
const BLOCK_BUCKETS: usize = 32;
/// Value pages that a thread collects before it writes them.
const VALUE_PAGES_MAX: usize = 64;

/// Checksums of the pages of both spaces, by page number; page 0 has none.
pub(super) struct Checksums {
    pub(super) buckets: Vec<u32>,
    pub(super) values: Vec<u32>,
}

/// What pass two reads, and where it writes.
#[derive(Clone, Copy)]
pub(super) struct Pages<'a> {
    pub(super) image: &'a Image,
    pub(super) snapshot: &'a Snapshot,
    pub(super) plan: &'a Plan,
    pub(super) seed: HashSeed,
}

impl Pages<'_> {
    /// Writes all pages of both spaces. `progress` gets how many buckets are done.
    pub(super) fn write(self, progress: &mut dyn FnMut(u64)) -> Result<Checksums> {
        let mut buckets = vec![0; self.plan.bucket_pages as usize];
        let mut values = vec![0; self.plan.value_pages as usize];
        let blocks = Mutex::new(Blocks {
            buckets: &self.plan.buckets,
            checksums: buckets.get_mut(1..).unwrap_or_default(),
            number: 0,
            first_page: 1,
            first_overflow: 1,
        });
        let (sets, done) = (Turns::new(SetBuilder::default()), AtomicU64::new(0));
        let work = |tell: &mut dyn FnMut(u64)| {
            let guard = sets.guard();
            let mut worker = Worker::new(self);
            // Once another thread has panicked there is nothing left to do.
            while let Some(block) = blocks.lock().ok().and_then(|mut blocks| blocks.next()) {
                let count = block.buckets.len() as u64;
                if !worker.run(block, &sets)? {
                    return Ok((0, Vec::new()));
                }
                // Relaxed: people are told, nobody relies on it.
                tell(done.fetch_add(count, Ordering::Relaxed));
            }
            guard.all_went_well();
            Ok((worker.keys, worker.value_pages.written))
        };
        let made = threads::on_all(work, progress)?;
        let sets = sets.into_value();
        if sets.page_count() != self.plan.value_pages {
            return Err(self.contradiction("value sets changed while they were read"));
        }
        let mut last = ValuePages::default();
        sets.finish(&mut |number, page| last.add(self.image, number, page))?;
        last.write(self.image)?;
        let mut keys = 0;
        for (found, pages) in made.into_iter().chain([(0, last.written)]) {
            keys += found;
            for (number, checksum) in pages {
                // Only pages that were planned are written.
                if let Some(place) = values.get_mut(number as usize) {
                    *place = checksum;
                }
            }
        }
        if keys != self.plan.keys {
            let said = self.plan.keys;
            return Err(self.contradiction(&format!("has {keys} keys, and says to have {said}")));
        }
        Ok(Checksums { buckets, values })
    }

    /// The snapshot gave two different answers: its store is damaged.
    fn contradiction(&self, detail: &str) -> ExchangeError {
        self.snapshot.corrupt(detail).into()
    }
}

/// Buckets of the plan whose pages lie one after another, and the places for their checksums.
struct Block<'a> {
    number: u64,
    buckets: &'a [PlannedBucket],
    first_page: u32,
    /// Overflow number of the first page that is in a chain behind another.
    first_overflow: u32,
    checksums: &'a mut [u32],
}

/// The blocks that nobody has taken yet.
struct Blocks<'a> {
    buckets: &'a [PlannedBucket],
    checksums: &'a mut [u32],
    number: u64,
    first_page: u32,
    first_overflow: u32,
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        let (buckets, rest) = self.buckets.split_at(self.buckets.len().min(BLOCK_BUCKETS));
        if buckets.is_empty() {
            return None;
        }
        let pages = buckets.iter().map(|bucket| bucket.pages).sum::<u32>();
        let (checksums, others) = std::mem::take(&mut self.checksums).split_at_mut(pages as usize);
        let &mut Self { number, first_page, first_overflow, .. } = self;
        self.buckets = rest;
        self.checksums = others;
        self.number += 1;
        self.first_page += pages;
        self.first_overflow += pages - buckets.len() as u32;
        Some(Block { number, buckets, first_page, first_overflow, checksums })
    }
}

/// Where the checksums of a block's pages go.
struct Seals<'a> {
    first_page: u32,
    checksums: &'a mut [u32],
}

impl Seals<'_> {
    /// Seals the page at this place of the block.
    fn seal(&mut self, at: usize, page: &mut BucketPage) {
        bucket_seal::seal(page);
        let bytes: &PageBytes = zerocopy::transmute_ref!(page);
        // A block has as many places as planned pages, which its builder counted.
        if let Some(place) = self.checksums.get_mut(at) {
            *place = page_checksum(Space::Buckets, self.first_page + at as u32, bytes);
        }
    }
}

/// A thread's own memory.
struct Worker<'a> {
    pages: Pages<'a>,
    lines: Lines,
    /// Pages of the block, in `built[..built_count]`; those behind are to be filled anew.
    built: Vec<BucketPage>,
    built_count: usize,
    /// Which entries of `built` have their values in a set: page and position. Such pages are sealed last.
    spilled: Vec<(usize, usize)>,
    value_pages: ValuePages,
    keys: u64,
}

impl<'a> Worker<'a> {
    fn new(pages: Pages<'a>) -> Self {
        Self {
            pages,
            lines: Lines::default(),
            built: Vec::new(),
            built_count: 0,
            spilled: Vec::new(),
            value_pages: ValuePages::default(),
            keys: 0,
        }
    }

    /// Lays the pages of a block out, with those of its value sets, and writes them. False if another thread gave up,
    /// and will say why.
    fn run(&mut self, block: Block<'_>, sets: &Turns<SetBuilder>) -> Result<bool> {
        self.built_count = 0;
        self.spilled.clear();
        let Block { buckets, first_page, first_overflow: mut overflow, checksums, number } = block;
        let mut seals = Seals { first_page, checksums };
        let ahead = buckets.iter().skip(1).map(Some).chain([None]);
        for (planned, next) in buckets.iter().zip(ahead) {
            self.build(planned, next, overflow, &mut seals)?;
            overflow += planned.pages - 1;
        }
        // If there are sets anywhere, everyone waits for those before: they are numbered on from there.
        if self.pages.plan.value_pages > 1 {
            let Some(mut turn) = sets.wait(number) else { return Ok(false) };
            self.copy_sets(&mut turn)?;
        }
        self.value_pages.write(self.pages.image)?;
        for of_page in self.spilled.chunk_by(|a, b| a.0 == b.0) {
            let page = of_page.first().and_then(|&(at, _)| Some((at, self.built.get_mut(at)?)));
            page.into_iter().for_each(|(at, page)| seals.seal(at, page));
        }
        let built = self.built.get(..self.built_count).unwrap_or_default();
        self.pages.image.write(Part::Buckets, first_page.into(), built.as_bytes())?;
        Ok(true)
    }

    /// Lays the pages of a bucket out; the second of its chain has this overflow number.
    ///
    /// Brings the page of the next bucket near meanwhile: in directory order the pages of a store lie far from each other,
    /// and the memory of one takes as long to come as the work on another.
    fn build(
        &mut self,
        planned: &PlannedBucket,
        next: Option<&PlannedBucket>,
        mut overflow: u32,
        seals: &mut Seals<'_>,
    ) -> Result<()> {
        let snapshot = self.pages.snapshot;
        let bring = |quarter| {
            if let Some(next) = next {
                snapshot.prefetch_bucket(next.stretch().0, quarter);
            }
        };
        bring(0);
        self.read(planned)?;
        bring(1);
        let settled = self.lines.settle();
        self.keys += settled.map_err(|fault| self.pages.contradiction(&fault.to_string()))?;
        bring(2);
        let Self { lines, built, built_count, spilled, .. } = self;
        let mut first = 0;
        let pages = divide(&lines.entries);
        if pages.len() != planned.pages as usize {
            return Err(self.pages.contradiction("a bucket changed while it was read"));
        }
        for (link, count) in pages.iter().enumerate() {
            let more = link + 1 < pages.len();
            let place = Place {
                prefix: planned.prefix,
                local_depth: planned.local_depth,
                overflow: if more { overflow } else { 0 },
            };
            overflow += u32::from(more);
            let entries = first..first + count;
            if *built_count == built.len() {
                built.push(BucketPage::new_zeroed());
            }
            let (at, page) = (*built_count, &mut built[*built_count]);
            let (tags, entries) = (&lines.tags[entries.clone()], &lines.entries[entries]);
            bucket::fill(page, place, tags, entries);
            let spilled_before = spilled.len();
            spilled.extend(spilled_positions(entries).map(|position| (at, position)));
            if spilled.len() == spilled_before {
                // Now, while the page is in the nearest cache.
                seals.seal(at, page);
            }
            *built_count += 1;
            first += count;
        }
        bring(3);
        Ok(())
    }

    /// Reads the entries of a bucket of the plan: `lines` has them then, as they lay, and the values of small sets.
    fn read(&mut self, planned: &PlannedBucket) -> Result<()> {
        let Self { lines, pages, .. } = self;
        let Pages { snapshot, seed, .. } = *pages;
        lines.clear();
        let (start, end) = planned.stretch();
        let mut position = start;
        while position < end {
            let from = position;
            position =
                snapshot.visit_bucket_pages(from, |page| -> std::result::Result<_, LineFault> {
                    // A bucket of the store may be larger than one of the plan, if it has a chain.
                    lines.add(page, |key| {
                        (from..end).contains(&u64::from(seed.hash(key).scan_position()))
                    })
                })?;
        }
        lines.inline_sets(|line| {
            let set = SpillPointer::from_slots(line.slots);
            let count = set_values(snapshot, &set)?;
            is_inline(count).then(|| pages.inline_values(line.key, &set, count)).transpose()
        })
    }

    /// Copies the value sets of the block's keys, and lets the entries point to the copies.
    fn copy_sets(&mut self, sets: &mut SetBuilder) -> Result<()> {
        let Self { pages, built, spilled, value_pages, .. } = self;
        for &(page, at) in &*spilled {
            let Some(entry) = built.get_mut(page).and_then(|page| page.entries.get_mut(at)) else {
                continue;
            };
            let (key, set) = (entry.key(), SpillPointer::from_slots(entry.slots));
            let copy = pages.copy_set(key, &set, sets, value_pages)?;
            pages.check_copy(key, &set, copy.value_count, copy.checksum())?;
            entry.slots = copy.to_slots();
        }
        Ok(())
    }
}

impl Pages<'_> {
    /// Copies a value set; answers the pointer to the copy.
    fn copy_set(
        &self,
        key: E,
        set: &SpillPointer,
        sets: &mut SetBuilder,
        value_pages: &mut ValuePages,
    ) -> Result<SpillPointer> {
        let mut take = |number: u32, page: &PageBytes| value_pages.add(self.image, number, page);
        let count = set_values(self.snapshot, set)?;
        if count <= SMALL_SET_MAX as u64 {
            let mut values = self.small_set(key, set, count)?;
            return sets.add_small(key, &mut values, &mut take);
        }
        let mut large = sets.begin_large(key, count);
        let mut part = Vec::new();
        let mut added = Ok(true);
        self.snapshot.visit_set(set.reference, |values| {
            if matches!(added, Ok(true)) {
                part.clear();
                part.extend_from_slice(values);
                added = large.add(&mut part, &mut take);
            }
        })?;
        if !added? || !large.is_complete() {
            return Err(self.miscounts(key));
        }
        sets.finish_large(large, &mut take)
    }

    /// The values of a set that says to have so many, at most [`SMALL_SET_MAX`].
    fn small_set(&self, key: E, set: &SpillPointer, count: u64) -> Result<Vec<E>> {
        let mut values = Vec::with_capacity(count as usize);
        self.snapshot.visit_set(set.reference, |part| values.extend_from_slice(part))?;
        if values.len() as u64 == count { Ok(values) } else { Err(self.miscounts(key)) }
    }

    /// The values of a set that has so few that they fit the entries of its key.
    fn inline_values(&self, key: E, set: &SpillPointer, count: u64) -> Result<Vec<E>> {
        let values = self.small_set(key, set, count)?;
        let hash: SetHash = values.iter().copied().collect();
        self.check_copy(key, set, values.len() as u32, hash.0)?;
        Ok(values)
    }

    /// Holds what was copied of a set against what its key's entry says.
    fn check_copy(&self, key: E, set: &SpillPointer, count: u32, hash: u128) -> Result<()> {
        if count != set.value_count {
            return Err(self.miscounts(key));
        }
        if hash != set.checksum() {
            let detail = format!("the set of key {key} has other values than its hash says");
            return Err(self.contradiction(&detail));
        }
        Ok(())
    }

    fn miscounts(&self, key: E) -> ExchangeError {
        self.contradiction(&format!("the set of key {key} miscounts its values"))
    }
}

/// How many of these entries each page gets.
fn divide(entries: &[HashEntry]) -> Vec<usize> {
    if entries.len() <= ENTRIES_PER_BUCKET {
        return vec![entries.len()];
    }
    chain(entries.chunk_by(|a, b| a.key() == b.key()).map(<[_]>::len))
}

/// Positions of the entries whose values are in a set.
fn spilled_positions(entries: &[HashEntry]) -> impl Iterator<Item = usize> {
    const FLAGS: u8 = ecc::encode(EntryFlags::LIVE | EntryFlags::SPILLED);
    entries.iter().enumerate().filter(|(_, entry)| entry.flags == FLAGS).map(|(at, _)| at)
}

/// Value pages that wait to be written, and the checksums of those that were.
#[derive(Default)]
struct ValuePages {
    numbers: Vec<u32>,
    pages: Vec<PageBytes>,
    written: Vec<(u32, u32)>,
}

impl ValuePages {
    fn add(&mut self, image: &Image, number: u32, page: &PageBytes) -> Result<()> {
        self.numbers.push(number);
        self.pages.push(*page);
        if self.pages.len() == VALUE_PAGES_MAX { self.write(image) } else { Ok(()) }
    }

    /// Writes those that wait: pages with numbers in a row, as nearly all are, in one go.
    fn write(&mut self, image: &Image) -> Result<()> {
        let Self { numbers, pages, written } = self;
        let mut rest = pages.as_slice();
        for row in numbers.chunk_by(|a, b| a + 1 == *b) {
            let (now, later) = rest.split_at(row.len());
            rest = later;
            for (page, &number) in now.iter().zip(row) {
                if u64::from(number) >= image.pages[Part::Values as usize] {
                    let detail = "there are more value pages than planned";
                    return Err(ExchangeError::content(&image.path, "/", detail));
                }
                written.push((number, page_checksum(Space::Values, number, page)));
            }
            let first = row.first().copied().unwrap_or(0);
            image.write(Part::Values, first.into(), now.as_bytes())?;
        }
        numbers.clear();
        pages.clear();
        Ok(())
    }
}
