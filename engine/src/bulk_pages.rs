//! The pages of a bulk load: built from sorted pairs, written straight to the file.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use cidstore_core::E;
use cidstore_core::hash::{KeyHash, MAX_DEPTH};
use cidstore_core::layout::bucket::ENTRIES_PER_BUCKET;
use cidstore_core::layout::entry::{INLINE_VALUES_MAX, SpillPointer};
use cidstore_core::layout::table::{Space, TableKind};
use cidstore_core::protocol::bucket_build::{self, Item};
use cidstore_core::protocol::content::{Content, InlineValues};

use crate::bulk::{Pair, Parts};
use crate::bulk_writer::{self, PageWriter, Placed};
use crate::checkpoint::Checkpointer;
use crate::error::{Error, Result};
use crate::space::POOL_PAGES;
use crate::store::engine::{Engine, Leading, WriterState};
use crate::store::tidying::STEP_PAGES;
use crate::table::shadow::ShadowTable;
use crate::writer::apply::Operation;
use crate::writer::pages::slots_of;

/// Deepest that a directory may be for this many pages: see `writer::buckets`.
const DEPTH_SLACK: u32 = 8;

/// Why a load ended.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// Nothing was changed.
    Refused(Error),
    /// Pages in memory were changed.
    HalfWay(Error),
}

/// Loads an empty store: full pages in hash order, straight to the file.
pub(crate) fn load_empty(
    engine: &Engine,
    state: &mut WriterState,
    checkpointer: &mut Checkpointer,
    parts: Parts,
    step: &mut dyn FnMut(u64),
) -> Result<(), LoadError> {
    let depth_max = depth_max(parts.pair_count());
    let generation = state.writer.pages.current_generation();
    let (placed, Built { counts, left_over, sets }) = std::thread::scope(|scope| {
        let mut pages = PageWriter::start(scope, engine, checkpointer, generation);
        let built = Built::default();
        let mut builder = Builder { state, pages: &mut pages, depth_max, built };
        let outcome = builder.build(parts, step);
        let built = builder.built;
        (pages.finish(outcome), built)
    });
    let placed = placed.and_then(|placed| {
        // Later it could not be undone.
        reserve_rest(engine, state, &placed, left_over.len() as u64)
            .inspect_err(|_| bulk_writer::give_back(checkpointer, &placed))
            .map(|()| placed)
    });
    let placed = match placed {
        Ok(placed) => placed,
        Err(error @ Error::NoSpace { .. }) => {
            // No table names the sets: they are given up again, and nothing has happened.
            let gone: HashSet<E> = left_over.iter().map(|pair| pair.key).collect();
            for (key, pointer) in sets.into_iter().filter(|(key, _)| !gone.contains(key)) {
                let retired = state.writer.sets().retire_set(key, &pointer);
                retired.map_err(|fault| state.writer.set_fault(fault))?;
            }
            return Err(LoadError::Refused(error));
        }
        Err(error) => return Err(LoadError::HalfWay(error)),
    };
    publish(state, checkpointer, &placed, counts);
    for pair in left_over {
        state.writer.apply_checked(Operation::Insert(pair.key, pair.value))?;
    }
    Ok(())
}

/// Loads of at most this many pairs are divided from the root on.
const SMALL_LOAD: u64 = 1 << 20;

/// Deepest directory for a load of this size.
fn depth_max(pairs: u64) -> u32 {
    let pages = (pairs / ENTRIES_PER_BUCKET as u64).max(1);
    (pages.ilog2() + DEPTH_SLACK).min(MAX_DEPTH)
}

/// Makes sure of all that the checkpoint needs that ends the load, beyond the pages that are written.
fn reserve_rest(
    engine: &Engine,
    state: &WriterState,
    placed: &[Placed],
    left_over: u64,
) -> Result<()> {
    let depth = placed.iter().map(|placed| placed.local_depth).max().unwrap_or(0);
    let pages = |space| state.writer.pages.pages_to_write(space);
    engine.ensure_free(
        state,
        &[
            (Space::Buckets, pages(Space::Buckets) + 2 * left_over + 1),
            (Space::Values, pages(Space::Values) + 3 * left_over),
            (Space::Tables, engine.table_pages_max(state, depth)),
        ],
    )
}

/// What was built, beside the pages.
#[derive(Default)]
struct Built {
    /// Keys and pairs.
    counts: (u64, u64),
    /// Pairs for which a page had no room: the writer chains them once the rest is in place.
    left_over: Vec<Pair>,
    /// All sets that were made, in pages of the pool. Those of left over keys are gone again.
    sets: Vec<(E, SpillPointer)>,
}

/// Turns sorted pairs into items and items into pages.
struct Builder<'a, 'b> {
    state: &'a mut WriterState,
    pages: &'a mut PageWriter<'b>,
    depth_max: u32,
    built: Built,
}

impl Builder<'_, '_> {
    /// Builds and writes the pages of all parts.
    fn build(&mut self, parts: Parts, step: &mut dyn FnMut(u64)) -> Result<()> {
        let (total, part_bits) = (parts.pair_count(), parts.part_bits());
        if total <= SMALL_LOAD {
            // One stretch from the root, so that a small load makes few pages.
            let mut all = Vec::with_capacity(total as usize);
            parts.for_each_sorted(|part| {
                all.extend(part);
                Ok(())
            })?;
            step(total);
            let items = self.items_of(&all)?;
            self.divide(&items, 0, 0)?;
        } else {
            let mut part_number = 0_u32;
            parts.for_each_sorted(|part| {
                step(part.len() as u64);
                let prefix = part_number.reverse_bits() >> (u32::BITS - part_bits);
                part_number += 1;
                let items = self.items_of(&part)?;
                self.divide(&items, prefix, part_bits)
            })?;
        }
        Ok(())
    }

    /// Groups sorted pairs by key; sets of more than four values go to value pages.
    fn items_of(&mut self, pairs: &[Pair]) -> Result<Vec<Item>> {
        let mut items = Vec::with_capacity(pairs.len());
        let mut values: Vec<E> = Vec::new();
        for group in pairs.chunk_by(|a, b| a.key == b.key) {
            let (key, hash) = (group[0].key, KeyHash(group[0].order.reverse_bits()));
            values.clear();
            values.extend(group.iter().map(|pair| pair.value));
            let inline = InlineValues::new(&values).filter(|_| values.len() <= INLINE_VALUES_MAX);
            let content = match inline {
                Some(inline) => Content::Inline(inline),
                None => {
                    let pointer = self.state.writer.sets().create(key, &values);
                    self.built.sets.push((key, pointer));
                    Content::Spilled(pointer)
                }
            };
            self.built.counts.0 += 1;
            self.built.counts.1 += values.len() as u64;
            items.push(Item { hash, key, content });
        }
        Ok(items)
    }

    /// Writes the items of a prefix as one page, or divides them by the next bit.
    fn divide(&mut self, items: &[Item], prefix: u32, local_depth: u32) -> Result<()> {
        // Each item needs one position at least.
        let fits =
            items.len() <= ENTRIES_PER_BUCKET && bucket_build::needed(items) <= ENTRIES_PER_BUCKET;
        if fits {
            return self.pages.add(prefix, local_depth, items);
        }
        if local_depth >= self.depth_max {
            return self.leave_over(items, prefix, local_depth);
        }
        // In hash order the keys with a zero in the next bit come first.
        let bit = 1_u64 << local_depth;
        let half = items.partition_point(|item| item.hash.0 & bit == 0);
        let (low, high) = items.split_at(half);
        self.divide(low, prefix, local_depth + 1)?;
        self.divide(high, prefix | 1 << local_depth, local_depth + 1)
    }

    /// Keys that no allowed split separates: the page gets what it holds, the writer chains the rest.
    fn leave_over(&mut self, items: &[Item], prefix: u32, local_depth: u32) -> Result<()> {
        let mut used = 0;
        let kept = items.iter().take_while(|item| {
            used += bucket_build::needed(std::slice::from_ref(*item));
            used <= ENTRIES_PER_BUCKET
        });
        let kept = kept.count();
        let (kept, rest) = items.split_at(kept);
        for item in rest {
            let order = item.hash.0.reverse_bits();
            let mut values = Vec::new();
            match item.content {
                Content::Inline(inline) => values.extend_from_slice(inline.as_slice()),
                Content::Spilled(pointer) => {
                    let mut sets = self.state.writer.sets();
                    let collected = sets.collect(&pointer, &mut values);
                    collected
                        .and_then(|()| sets.retire_set(item.key, &pointer))
                        .map_err(|fault| self.state.writer.set_fault(fault))?;
                }
            }
            self.built.counts.0 -= 1;
            self.built.counts.1 -= values.len() as u64;
            let pairs = values.into_iter().map(|value| Pair { order, key: item.key, value });
            self.built.left_over.extend(pairs);
        }
        self.pages.add(prefix, local_depth, kept)
    }
}

/// Lets the tables name the written pages: the depth and slot 0 last, so that readers see the empty store until then. The depth first: until
/// slot 0 follows, the old page that it names covers all keys. A page of the new depth under the old one would look damaged.
fn publish(
    state: &mut WriterState,
    checkpointer: &mut Checkpointer,
    placed: &[Placed],
    (keys, values): (u64, u64),
) {
    let pages = &mut state.writer.pages;
    let depth = placed.iter().map(|placed| placed.local_depth).max().unwrap_or(0);
    let old = pages.bucket_at(0);
    pages.depth_counts = [0; MAX_DEPTH as usize + 1];
    checkpointer.shadows[TableKind::Directory as usize].set_depth(depth);
    let mut first = 0;
    for placed in placed {
        pages.depth_counts[placed.local_depth as usize] += 1;
        pages.shared.note_checksum(Space::Buckets, placed.slot.page, placed.slot.checksum);
        for index in slots_of(placed.prefix, placed.local_depth, depth) {
            checkpointer.shadows[TableKind::Directory as usize].set(index, placed.slot);
            if index == 0 {
                first = placed.slot.page;
            } else {
                pages.set_slot(TableKind::Directory, index, placed.slot.page);
            }
        }
    }
    pages.tables.set_depth(&pages.shared.tables, depth);
    pages.set_slot(TableKind::Directory, 0, first);
    pages.retire_bucket_page(old);
    let counters = &pages.shared.counters;
    counters.keys.store(keys, Ordering::Relaxed);
    counters.values.store(values, Ordering::Relaxed);
}

/// Loads a store that has pairs: through the writer, in hash order, without the log.
pub(crate) fn load_into(
    engine: &Engine,
    state: &mut WriterState,
    parts: Parts,
    step: &mut dyn FnMut(u64),
) -> Result<(), LoadError> {
    let pages = &state.writer.pages;
    let pairs = parts.pair_count();
    let pages_max = pages.bucket_count() + pages.value_numbers.used() + pairs / 16 + 64;
    if pages_max > u64::from(POOL_PAGES) / 2 {
        return Err(LoadError::Refused(Error::NoSpace {
            path: engine.shared.path.clone(),
            detail: format!(
                "a load of {pairs} pairs into this store may change {pages_max} pages, more than the \
                 pool of {POOL_PAGES} takes at once; load in parts"
            ),
        }));
    }
    let depth = (pages.bucket_count() + pairs / 31).ilog2() + 2;
    let depth = depth.clamp(engine.shared.tables.depth(), MAX_DEPTH);
    let tables = engine.table_pages_max(state, depth);
    // As for a group of inserts: see `room`.
    let buckets = pairs.min(pages.bucket_count() + pairs / 31) + STEP_PAGES;
    let values = (3 * pairs).min(pages.value_numbers.used() + pairs / 16 + 64) + STEP_PAGES;
    let new_numbers = ShadowTable::pages_needed_max((buckets + values).min(1 << MAX_DEPTH) as u32);
    let needs = [
        (Space::Buckets, pages.pages_to_write(Space::Buckets) + buckets),
        (Space::Values, pages.pages_to_write(Space::Values) + values),
        (Space::Tables, tables + new_numbers),
    ];
    engine.ensure_free(state, &needs).map_err(LoadError::Refused)?;
    parts.for_each_sorted(|part| {
        for pair in &part {
            state.writer.apply_checked(Operation::Insert(pair.key, pair.value))?;
        }
        step(part.len() as u64);
        Ok(())
    })?;
    Ok(())
}

impl Engine {
    /// A number for a load, before anything of it is done: a record that says nothing has it in the log.
    pub(crate) fn number_of_load(&self, state: &mut WriterState) -> Result<u64, Error> {
        let Some(log) = &mut state.log else { return Err(Error::ReadOnly) };
        let marked = log.mark().inspect_err(|error| {
            if !matches!(error, Error::NoSpace { .. }) {
                self.shared.mark_failed(error);
            }
        })?;
        marked.ok_or_else(|| {
            let detail = "the log is full until a checkpoint finds space".into();
            Error::NoSpace { path: self.settings.wal_path.clone(), detail }
        })
    }

    /// Makes a load durable: a checkpoint whose cut is made under the lock that the load held all the time.
    pub(crate) fn publish_bulk(
        &self,
        mut state: Leading<'_>,
        lsn: u64,
        checkpointer: &mut Checkpointer,
    ) -> Result<(), LoadError> {
        // Before the number is seen: feeds stop in front of it until the load is in the file.
        self.feeds.begin_load(lsn);
        self.shared.counters.applied_lsn.store(lsn, Ordering::Release);
        let cut = self.cut_under_lock(&mut state)?;
        drop(state);
        self.write_cut(checkpointer, cut, false).map_err(LoadError::HalfWay)?;
        self.feeds.publish_load();
        self.shared.applied_waiters.wake_all();
        self.shared.durable_waiters.wake_all();
        Ok(())
    }
}
