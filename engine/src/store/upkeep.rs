//! Carrying out the steps of background maintenance that look at buckets and sets.
//!
//! What a step needs is read first under a pin, without a lock, so that whatever must come from the disk comes while
//! nobody waits; and so that damage is found before anything has changed. Then the step *tries* the writer lock: if
//! somebody has it, the step is put off.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::sync::{Page, PageWord};
use cidstore_core::E;
use cidstore_core::layout::bucket::{COUNTS_WORD, ENTRIES_PER_BUCKET, UNSORTED_WORD};
use cidstore_core::layout::entry::INLINE_VALUES_MAX;
use cidstore_core::layout::table::TableKind;
use cidstore_core::layout::value::INNER_CHILDREN;
use cidstore_core::layout::{PAGE_BYTES, PAGE_WORDS};
use cidstore_core::protocol::bucket_keys;
use cidstore_core::protocol::content::Content;
use cidstore_core::protocol::lookup::{CycleGuard, View};

use super::engine::{Engine, Leading, WriterState};
use super::tidying::{
    LARGE_SET, SPARSE_PART, STEP_PAGES, TOMBSTONE_PART, UNSORTED_PART, sort_bucket,
};
use crate::checkpoint::Checkpointer;
use crate::error::{Error, Result};
use crate::read::{END, Reader};
use crate::shared::{LiveView, bucket_place};
use crate::table::slots::SLOTS_MAX;
use crate::upkeep::{Candidate, Chore, Load, Maintenance, Next, Outcome, Scheduler, Step, add};
use crate::valueset::{self, Chunk, LeafCursor, Reach, SetView, ValuePages};
use crate::writer::buckets::MERGED_POSITIONS_MAX;

const PAGE: u64 = PAGE_BYTES as u64;
/// Buckets that one step looks at.
const SURVEY_BUCKETS: usize = 16;
/// Logical value pages that one step looks at, to learn which extents are free.
const DISCOVER_PAGES: u32 = 64;
/// Pages of extents of which one step looks whether they are nearly empty; a look is at memory only.
const SPARSE_LOOKS: usize = 256;
/// Leaves that are read ahead of one step in a large set: twice those of an inner node, which is what it rewrites.
const LEAVES_AHEAD: usize = 2 * INNER_CHILDREN;

/// Background maintenance of one store: the scheduler, and what carries its steps out.
#[derive(Debug)]
pub(crate) struct Upkeep {
    scheduler: Scheduler,
    config: Maintenance,
    was_paused: bool,
}

/// A step's outcome, and the bytes of pages that it read or changed.
pub(super) type Stepped = Result<(Outcome, u64)>;

impl Upkeep {
    /// For a store that was just opened.
    pub(crate) fn new(engine: &Engine, config: Maintenance, now: Duration) -> Self {
        let lsn = engine.shared.counters.applied_lsn.load(Ordering::Relaxed);
        Self { scheduler: Scheduler::new(config, now, lsn), config, was_paused: false }
    }

    /// Takes at most one step. Answers how long to rest before the next turn; `None` when the store takes no writes
    /// any more.
    pub(crate) fn turn(
        &mut self,
        engine: &Engine,
        clock: &dyn Fn() -> Duration,
    ) -> Option<Duration> {
        engine.check_writable().ok()?;
        let before = clock();
        let lsn = engine.shared.counters.applied_lsn.load(Ordering::Relaxed);
        let next = self.scheduler.next(before, Load { lsn, waiting: engine.is_contended() });
        self.note_pause(engine, before);
        let step = match next {
            Next::Rest(rest) => return Some(rest),
            Next::Run(step) => step,
        };
        let stepped = engine.step(step, &self.config);
        let now = clock();
        let busy = now.saturating_sub(before);
        let counters = &engine.shared.upkeep;
        add(&counters.busy_nanos, u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX));
        match stepped {
            Ok((outcome, bytes)) => {
                let deferred = outcome == Outcome::Deferred;
                add(if deferred { &counters.steps_deferred } else { &counters.steps }, 1);
                add(&counters.bytes, bytes);
                self.scheduler.done(now, busy, bytes, outcome);
            }
            // The store was closed or has failed meanwhile: whoever did that knows.
            Err(Error::Closed | Error::ReadOnly | Error::Failed { .. }) => return None,
            Err(error) => {
                // What may be half changed has poisoned the store already, as in any other call.
                tracing::warn!(%error, ?step, "background maintenance");
                add(&counters.errors, 1);
                self.scheduler.failed(now, busy);
            }
        }
        let (rounds, queued) = (self.scheduler.rounds(), self.scheduler.queue_length());
        counters.rounds.store(rounds, Ordering::Relaxed);
        counters.queue_length.store(queued as u64, Ordering::Relaxed);
        counters.danger_last.store(self.scheduler.danger_last().into(), Ordering::Relaxed);
        Some(Duration::ZERO)
    }

    fn note_pause(&mut self, engine: &Engine, now: Duration) {
        let paused = self.scheduler.is_paused(now);
        if paused != self.was_paused {
            let counters = &engine.shared.upkeep;
            counters.paused.store(paused, Ordering::Relaxed);
            add(&counters.pauses, u64::from(paused));
            tracing::debug!(paused, "background maintenance");
            self.was_paused = paused;
        }
    }
}

impl Engine {
    fn step(&self, step: Step, config: &Maintenance) -> Stepped {
        match step {
            Step::Survey { from } => Ok(self.survey(from, config)),
            Step::Tidy { position, chore } => self.tidy(position, chore),
            Step::Discover { from } => self.discover_some(from),
            Step::Empty { class, after } => self.empty_one(class, after),
            Step::Collect => Ok(self.collect_replaced()),
            Step::Shrink(stage) => self.shrink_step(stage),
            Step::Scrub(place) => Ok(self.scrub_step(place)),
        }
    }

    /// The writer, if nobody has it and nobody waits for it.
    pub(super) fn idle_writer(&self) -> Option<Leading<'_>> {
        if self.is_contended() { None } else { self.try_writer() }
    }

    /// Runs `read` under a pin.
    fn pinned<T>(&self, read: impl FnOnce(&Reader<'_, LiveView<'_>>) -> T) -> T {
        let _pin = self.shared.pins.pin();
        read(&Reader { shared: &self.shared, view: self.shared.view() })
    }

    /// Damage that was found before anything changed is a problem to report, not a failure of the store.
    fn sound<T>(&self, place: impl Into<String>, found: Result<T>) -> Result<Option<T>> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(Error::Corrupt { detail, .. }) => {
                self.shared.upkeep.note_problem(&self.shared.path, place.into(), detail);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Looks at the next few buckets. Takes no lock.
    fn survey(&self, from: u64, config: &Maintenance) -> (Outcome, u64) {
        let (mut position, mut found, mut pages) = (from, Vec::new(), 0);
        for _ in 0..SURVEY_BUCKETS {
            if position >= END {
                break;
            }
            let surveyed =
                self.pinned(|reader| survey_bucket(reader, position, config, &mut found));
            match surveyed {
                Ok((next, read)) => {
                    position = next;
                    pages += read;
                }
                Err(error) => {
                    let place = format!("bucket at {position:#010x}");
                    self.shared.upkeep.note_problem(&self.shared.path, place, error.to_string());
                    position += END >> self.shared.tables.depth();
                }
            }
        }
        (Outcome::Surveyed { next: (position < END).then_some(position), found }, pages * PAGE)
    }

    fn tidy(&self, position: u64, chore: Chore) -> Stepped {
        let nothing = Outcome::Tidied { changed: false, rest: None };
        let place = || format!("bucket at {position:#010x}");
        let ahead = self.pinned(|reader| read_ahead(reader, position, chore));
        let Some(pages) = self.sound(place(), ahead)? else { return Ok((nothing, PAGE)) };
        let Some(checkpointer) = self.try_checkpointer() else { return Ok((Outcome::Deferred, 0)) };
        let bits = (position as u32).reverse_bits();
        let index_now = || bits & ((1_u64 << self.shared.tables.depth()) - 1) as u32;
        if !self.both_may_be_copied(&checkpointer, index_now()) {
            return Ok((nothing, pages * PAGE));
        }
        let Some(mut state) = self.idle_writer() else { return Ok((Outcome::Deferred, 0)) };
        drop(checkpointer);
        // The directory may have been halved before the lock was had.
        let index = index_now();
        self.check_writable()?;
        self.reserve_pages(&state, STEP_PAGES + INNER_CHILDREN as u64)?;
        let counters = &self.shared.upkeep;
        if let Chore::Set(key, bound) = chore {
            let (changed, rest) = self.tidy_set(&mut state, key, bound)?;
            self.note_due(&state);
            let written = if changed { pages * PAGE } else { 0 };
            return Ok((Outcome::Tidied { changed, rest }, pages * PAGE + written));
        }
        if self.sound(place(), items_of_both(&state, index))?.is_none() {
            return Ok((nothing, pages * PAGE));
        }
        let changed = if chore == Chore::Sort {
            let sorted = sort_bucket(&mut state, index, UNSORTED_PART);
            let sorted = self.fail_on_error(sorted)?;
            add(&counters.buckets_sorted, u64::from(sorted));
            sorted
        } else {
            let merged = state.writer.pages.merge_if_sparse(index);
            let merged = self.fail_on_error(merged)?;
            add(&counters.buckets_merged, u64::from(merged));
            merged
        };
        self.note_due(&state);
        let written = u64::from(changed) * PAGE;
        Ok((Outcome::Tidied { changed, rest: None }, pages * PAGE + written))
    }

    /// The page of a bucket and that of its buddy are what the last checkpoint wrote, or newer.
    fn both_may_be_copied(&self, checkpointer: &Checkpointer, index: u32) -> bool {
        let buddy = self.pinned(|reader| {
            let (_, local_depth) =
                bucket_place(reader.view.bucket(reader.view.directory_slot(index)));
            // Not checked yet: a depth that cannot be has no buddy.
            let has_buddy = (1..=reader.view.depth()).contains(&local_depth);
            if has_buddy { index ^ 1 << (local_depth - 1) } else { index }
        });
        [index, buddy].iter().all(|&at| self.may_copy(checkpointer, TableKind::Directory, at))
    }

    /// Demotes or compacts a set that still needs it.
    fn tidy_set(&self, state: &mut WriterState, key: E, bound: E) -> Result<(bool, Option<Chore>)> {
        let place = || format!("value set of {key}");
        let hash = self.shared.seed.hash(key);
        let looked_up =
            state.writer.check_bucket_of(hash).and_then(|()| state.writer.look_up(key, hash));
        let Some(entry) = self.sound(place(), looked_up)? else {
            return Ok((false, None));
        };
        let Some((_, Content::Spilled(pointer))) = entry else { return Ok((false, None)) };
        let counts = state.writer.set_counts(&pointer);
        let Some((values, tombstones)) = self.sound(place(), counts)? else {
            return Ok((false, None));
        };
        let in_steps = values + tombstones > LARGE_SET;
        let reach = if in_steps { Reach::Part(bound) } else { Reach::All };
        if self.sound(place(), state.writer.check_set(key, &pointer, reach))?.is_none() {
            return Ok((false, None));
        }
        let counters = &self.shared.upkeep;
        if values <= INLINE_VALUES_MAX as u64 {
            let demoted = state.writer.demote(key);
            let demoted = self.fail_on_error(demoted)?;
            add(&counters.sets_demoted, u64::from(demoted));
            return Ok((demoted, None));
        }
        if bound == E::ZERO && tombstones * TOMBSTONE_PART <= values + tombstones {
            return Ok((false, None));
        }
        if !in_steps {
            let compacted = state.writer.compact_set(key);
            let compacted = self.fail_on_error(compacted)?;
            add(&counters.sets_compacted, 1);
            return Ok((compacted || tombstones > 0, None));
        }
        let next = state.writer.compact_set_step(key, bound);
        let next = self.fail_on_error(next)?;
        add(&counters.sets_compacted, 1);
        Ok((true, next.map(|bound| Chore::Set(key, bound))))
    }

    /// Learns which extents of the next few value pages are free.
    fn discover_some(&self, from: u32) -> Stepped {
        let end = from.saturating_add(DISCOVER_PAGES);
        let pages = self.pinned(|reader| {
            // Numbers that are not in use name no page.
            let numbers = from..end.min(SLOTS_MAX as u32);
            numbers.filter_map(|number| reader.view.value_page(number)).map(touch).count()
        });
        let Some(mut state) = self.idle_writer() else { return Ok((Outcome::Deferred, 0)) };
        let writer = &mut state.writer;
        let last = writer.pages.value_numbers.end();
        for logical in from..end.min(last) {
            if writer.pages.value_numbers.is_in_use(logical) {
                let known = writer.extents.discover(logical, writer.pages.page(logical));
                let known = known.map_err(|fault| self.shared.corrupt(fault.to_string()));
                self.sound(format!("value page {logical}"), known)?;
            }
        }
        writer.extents_known |= end >= last;
        let next = (end < last).then_some(end);
        Ok((Outcome::Discovered { next }, pages as u64 * PAGE))
    }

    /// Moves the sets out of one page of extents of which few are in use.
    fn empty_one(&self, class: usize, after: u32) -> Stepped {
        let Some(state) = self.idle_writer() else { return Ok((Outcome::Deferred, 0)) };
        let (sparse, next) =
            state.writer.extents.next_sparse(SPARSE_PART, (class, after), SPARSE_LOOKS);
        drop(state);
        let Some(logical) = sparse else { return Ok((Outcome::Emptied { moved: 0, next }, 0)) };
        let place = format!("value page {logical}");
        let ahead = self.pinned(|reader| read_owners_ahead(reader, logical));
        let nothing = (Outcome::Emptied { moved: 0, next }, PAGE);
        let Some(pages) = self.sound(place, ahead)? else { return Ok(nothing) };
        let Some(mut state) = self.idle_writer() else { return Ok((Outcome::Deferred, 0)) };
        self.check_writable()?;
        if !state.writer.extents.is_open(logical) {
            return Ok(nothing);
        }
        self.reserve_pages(&state, STEP_PAGES + pages)?;
        let moved = state.writer.empty_extents_page(logical);
        let moved = self.fail_on_error(moved)?;
        self.note_due(&state);
        add(&self.shared.upkeep.sets_moved, moved);
        Ok((Outcome::Emptied { moved, next }, (pages + moved) * PAGE))
    }

    /// Frees what was replaced, as far as readers have let go of it.
    fn collect_replaced(&self) -> (Outcome, u64) {
        let Some(mut state) = self.idle_writer() else { return (Outcome::Deferred, 0) };
        state.writer.pages.limbo.seal();
        state.writer.collect(true);
        add(&self.shared.upkeep.collections, 1);
        (Outcome::Collected, 0)
    }
}

/// Reads a page's first word: enough to bring the page into memory.
pub(super) fn touch(page: &Page) {
    std::hint::black_box(page[0].load(Ordering::Relaxed));
}

/// The keys of the bucket at an index and of its buddy can be read.
fn items_of_both(state: &WriterState, index: u32) -> Result<()> {
    let pages = &state.writer.pages;
    // The heads were looked at before, the overflow pages behind them were not.
    pages.check_chain(index)?;
    let (prefix, local_depth) = bucket_place(pages.bucket(pages.bucket_at(index)));
    let buddy = (local_depth > 0).then(|| prefix ^ 1 << (local_depth - 1));
    for index in [prefix].into_iter().chain(buddy) {
        pages.check_chain(index)?;
        pages.items(index)?;
    }
    Ok(())
}

/// Entries of a page, and how many of them are out of order.
fn entries(view: &LiveView<'_>, page: u32) -> (u64, u64) {
    let words = view.bucket(page);
    // Relaxed: hints. Whoever acts on them looks again under the lock.
    let entries = words[COUNTS_WORD].load(Ordering::Relaxed) as u16;
    (entries.into(), words[UNSORTED_WORD].load(Ordering::Relaxed).count_ones().into())
}

/// What is to be done about the bucket at a position. Answers where the next one begins, and how many pages were read.
fn survey_bucket(
    reader: &Reader<'_, LiveView<'_>>,
    position: u64,
    config: &Maintenance,
    found: &mut Vec<Candidate>,
) -> Result<(u64, u64)> {
    let (page, end) = reader.bucket_at(position)?;
    let view = &reader.view;
    let (prefix, local_depth) = bucket_place(view.bucket(page));
    let records_pending = reader.shared.activity.of(prefix, local_depth);
    let mut note = |chore, disorder| {
        found.push(Candidate { position, chore, disorder, records_pending });
    };
    let (used, unsorted) = entries(view, page);
    if config.sort && unsorted * u64::from(UNSORTED_PART) > used {
        note(Chore::Sort, 1000 * unsorted / used.max(1));
    }
    let mut pages = 1;
    // The buddy with the higher prefix is merged into the other.
    if config.merge && local_depth > 0 && prefix >> (local_depth - 1) == 0 {
        let buddy = view.directory_slot(prefix | 1 << (local_depth - 1));
        let (buddy_used, _) = entries(view, buddy);
        let (_, buddy_depth) = bucket_place(view.bucket(buddy));
        let both = used + buddy_used;
        pages += 1;
        if buddy_depth == local_depth && both <= MERGED_POSITIONS_MAX as u64 {
            note(Chore::Merge, 1000 - 1000 * both / (2 * ENTRIES_PER_BUCKET as u64));
        }
    }
    if !config.compact {
        return Ok((end, pages));
    }
    each_page(reader, page, |keys| {
        for &key in keys {
            let Some(set) = reader.set_of(key)? else { continue };
            let fault = |fault: valueset::SetFault| reader.shared.corrupt(fault.to_string());
            let values = valueset::count(view, set.encode()).map_err(fault)?;
            let tombstones = valueset::tombstones(view, set.encode()).map_err(fault)?;
            pages += 1;
            if values <= INLINE_VALUES_MAX as u64 {
                note(Chore::Set(key, E::ZERO), 1000);
            } else if tombstones * TOMBSTONE_PART > values + tombstones {
                let disorder = 1000 * tombstones / (values + tombstones);
                note(Chore::Set(key, E::ZERO), disorder);
            }
        }
        Ok(())
    })?;
    Ok((end, pages))
}

/// Gives the keys of each page of a chain to `each`. Answers how many pages there are.
fn each_page<V: View<PAGE_WORDS, W = PageWord> + SetView>(
    reader: &Reader<'_, V>,
    head: u32,
    mut each: impl FnMut(&[E]) -> Result<()>,
) -> Result<u64> {
    let (mut page, mut pages, mut guard) = (head, 0, CycleGuard::default());
    loop {
        let keys = bucket_keys::keys(reader.view.bucket(page))
            .map_err(|fault| reader.shared.corrupt(format!("bucket page {page}: {fault}")))?;
        each(keys.as_slice())?;
        pages += 1;
        if keys.overflow == 0 {
            return Ok(pages);
        }
        guard.step(keys.overflow).map_err(|fault| reader.shared.corrupt(fault.to_string()))?;
        page = reader.view.overflow_slot(keys.overflow);
        reader.check_bucket(page)?;
    }
}

/// Reads what a chore will touch. Answers how many pages that is.
fn read_ahead(reader: &Reader<'_, LiveView<'_>>, position: u64, chore: Chore) -> Result<u64> {
    let (page, _) = reader.bucket_at(position)?;
    let mut pages = each_page(reader, page, |_| Ok(()))?;
    match chore {
        Chore::Sort => {}
        Chore::Merge => {
            let (prefix, local_depth) = bucket_place(reader.view.bucket(page));
            if local_depth > 0 {
                let buddy = reader.view.directory_slot(prefix ^ 1 << (local_depth - 1));
                pages += each_page(reader, buddy, |_| Ok(()))?;
            }
        }
        Chore::Set(key, bound) => {
            let Some(set) = reader.set_of(key)? else { return Ok(pages) };
            let mut cursor = LeafCursor::resume(set.encode(), bound);
            let mut chunk = Chunk::new();
            let fault = |fault: valueset::SetFault| reader.shared.corrupt(fault.to_string());
            for _ in 0..LEAVES_AHEAD {
                if !cursor.next(&reader.view, &mut chunk).map_err(fault)? {
                    break;
                }
                pages += 1;
            }
        }
    }
    Ok(pages)
}

/// Reads a page of extents and the buckets of its owners. Answers how many pages that is.
fn read_owners_ahead(reader: &Reader<'_, LiveView<'_>>, logical: u32) -> Result<u64> {
    let owners = valueset::extent_owners(&reader.view, logical)
        .map_err(|fault| reader.shared.corrupt(fault.to_string()))?;
    for (_, owner) in &owners {
        reader.value_count(*owner)?;
    }
    Ok(1 + owners.len() as u64)
}
