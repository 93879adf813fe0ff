//! Pages as the writer sees them: copied before their first change since a cut, retired when replaced.
//!
//! The rule that everything rests on: a page whose generation is not the current one is immutable. A page of
//! the current generation is a pool page that only this writer stores to, by the page protocol.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use cidstore_core::hash::MAX_DEPTH;
use cidstore_core::layout::bucket::{self, ENTRIES_PER_BUCKET};
use cidstore_core::layout::entry::SetReference;
use cidstore_core::layout::table::Space;
use cidstore_core::layout::table::TableKind;
use cidstore_core::layout::{NO_PAGE, PAGE_WORDS, value};
use cidstore_core::protocol::bucket_write::BucketWriter;
use cidstore_core::protocol::word::Word;

use super::numbers::Numbers;
use crate::error::Error;
use crate::shared::Shared;
pub(crate) use crate::shared::bucket_place;
use crate::space::file_pages::FilePages;
use crate::space::is_pool;
use crate::space::layout::FileLayout;
use crate::space::limbo::{Limbo, Retired, Waiting};
use crate::space::pool::Pool;
use crate::space::region::Region;
use crate::sync::Page;
use crate::sync::whole::{Mutex, MutexGuard};
use crate::table::TableWriter;
use crate::valueset::{FreshPage, ValuePages};

/// Pages that [`Pages::move_beyond`] moves at once: 256 MiB.
pub(crate) const MOVE_PAGES: usize = 1 << 16;

/// Nodes of large sets that are remembered as sound: each write to such a set reads some on its way.
const SOUND_NODES: usize = 256;
/// A pin of this age is named when space runs out.
const LONG_PIN: Duration = Duration::from_millis(20);

/// Generations of the two superblocks: a file page is free only for later ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SuperblockGenerations(pub(crate) [u64; 2]);

impl SuperblockGenerations {
    /// The generation of the superblock that recovery would fall back to.
    pub(crate) fn older(self) -> u64 {
        self.0[0].min(self.0[1])
    }
}

/// All pages of the store, for changing.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) shared: Arc<Shared>,
    pub(crate) files: Arc<Mutex<FileLayout>>,
    pub(crate) tables: TableWriter,
    pub(crate) bucket_pool: Pool,
    pub(crate) value_pool: Pool,
    pub(crate) overflow_numbers: Numbers,
    pub(crate) value_numbers: Numbers,
    pub(crate) limbo: Limbo,
    pub(crate) superblocks: SuperblockGenerations,
    /// Generation of the checkpoint that is being written; its pool pages are still read.
    pub(crate) checkpoint: Option<u64>,
    /// Buckets of each local depth.
    pub(crate) depth_counts: [u64; MAX_DEPTH as usize + 1],
    generation: u64,
    /// Value pages that were sound when they were last looked at, each in the place of its number.
    sound_nodes: Box<[Cell<u32>; SOUND_NODES]>,
    /// Extents that came back from limbo and wait for the extent allocator to fetch them.
    pub(crate) extents_back: Vec<SetReference>,
}

impl Pages {
    /// Pages over tables that are filled already.
    pub(crate) fn new(
        shared: Arc<Shared>,
        files: Arc<Mutex<FileLayout>>,
        overflow_numbers: Numbers,
        value_numbers: Numbers,
        generation: u64,
        superblocks: SuperblockGenerations,
    ) -> Self {
        let limbo = Limbo::new(Arc::clone(&shared.pins));
        Self {
            shared,
            files,
            tables: TableWriter::default(),
            bucket_pool: Pool::new(),
            value_pool: Pool::new(),
            overflow_numbers,
            value_numbers,
            limbo,
            superblocks,
            checkpoint: None,
            depth_counts: [0; MAX_DEPTH as usize + 1],
            generation,
            sound_nodes: Box::new([const { Cell::new(NO_PAGE) }; SOUND_NODES]),
            extents_back: Vec::new(),
        }
    }

    /// The generation that changes belong to.
    pub(crate) fn current_generation(&self) -> u64 {
        self.generation
    }

    /// Ends the current generation: all its pages are immutable from here on. Answers its number.
    pub(crate) fn end_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation - 1
    }

    /// Undoes the end of a generation: what a model plants.
    #[cfg(test)]
    #[cfg(loom)]
    pub(crate) fn restore_generation(&mut self, generation: u64) {
        self.generation = generation;
    }

    /// The page that a directory slot names.
    pub(crate) fn bucket_at(&self, index: u32) -> u32 {
        self.shared.tables.of(TableKind::Directory).get(index)
    }

    /// The words of a bucket-space page.
    pub(crate) fn bucket(&self, page: u32) -> &Page {
        self.shared.regions.buckets.page(page)
    }

    /// Writes to a bucket-space page of the current generation.
    pub(crate) fn bucket_writer(&self, page: u32) -> BucketWriter<'_, super::Word, PAGE_WORDS> {
        debug_assert!(is_pool(page), "the file is never stored to");
        BucketWriter::new(self.bucket(page))
    }

    /// Whether a page may be stored to. One of the file never is, whatever it says of itself.
    fn is_current(&self, number: u32, page: &Page) -> bool {
        // Relaxed: only this thread writes generations of pages that it can reach here.
        is_pool(number) && page[value::GENERATION_WORD].load(Ordering::Relaxed) == self.generation
    }

    /// Whether a page is of a generation that there has been: what snapshots and superblocks need goes by that. A bulk load
    /// writes pages of the current one to the file.
    pub(super) fn has_known_generation(&self, number: u32, page: &Page) -> bool {
        // Relaxed, as above.
        is_pool(number) || page[value::GENERATION_WORD].load(Ordering::Relaxed) <= self.generation
    }

    /// A pool page of the bucket space, all zeros; `owner` is its overflow number, or 0.
    pub(crate) fn fresh_bucket(&mut self, owner: u32) -> u32 {
        let page = take(&mut self.bucket_pool, owner);
        clear(&self.shared.regions.buckets, page);
        page
    }

    /// The page at a directory index, copied to the pool if it belongs to an earlier generation.
    pub(crate) fn bucket_for_change(&mut self, index: u32) -> u32 {
        let old = self.bucket_at(index);
        if self.is_current(old, self.bucket(old)) {
            return old;
        }
        let new = take(&mut self.bucket_pool, 0);
        self.copy(Space::Buckets, old, new);
        self.publish_bucket(new);
        self.retire_bucket_page(old);
        new
    }

    /// The page of an overflow number, copied to the pool if it belongs to an earlier generation.
    pub(crate) fn overflow_for_change(&mut self, number: u32) -> u32 {
        let old = self.overflow_page(number);
        if self.is_current(old, self.bucket(old)) {
            return old;
        }
        let new = take(&mut self.bucket_pool, number);
        self.copy(Space::Buckets, old, new);
        self.set_slot(TableKind::Overflow, number, new);
        self.retire_bucket_page(old);
        new
    }

    /// The page of an overflow number.
    pub(crate) fn overflow_page(&self, number: u32) -> u32 {
        self.shared.tables.of(TableKind::Overflow).get(number)
    }

    /// Names a page in all directory slots of the prefix in its header.
    pub(crate) fn publish_bucket(&self, page: u32) {
        let (prefix, local_depth) = bucket_place(self.bucket(page));
        let depth = self.shared.tables.depth();
        for index in slots_of(prefix, local_depth, depth) {
            self.set_slot(TableKind::Directory, index, page);
        }
    }

    /// Names a page in one slot.
    pub(crate) fn set_slot(&self, kind: TableKind, index: u32, page: u32) {
        self.tables.set(&self.shared.tables, kind, index, page);
    }

    /// A bucket-space page that no slot names any more.
    pub(crate) fn retire_bucket_page(&mut self, page: u32) {
        let built = self.bucket(page)[bucket::GENERATION_WORD].load(Ordering::Relaxed);
        if is_pool(page) {
            self.bucket_pool.retire(page);
        }
        self.limbo.retire(Retired::BucketPage(page), built, self.generation);
    }

    /// An overflow number, and its page, that no chain names any more.
    pub(crate) fn retire_overflow(&mut self, number: u32) {
        let page = self.overflow_page(number);
        self.retire_bucket_page(page);
        self.overflow_numbers.give_up(number);
        self.limbo.retire(Retired::OverflowNumber(number), self.generation, self.generation);
    }

    fn retire_value_page(&mut self, page: u32) {
        let words = self.shared.regions.values.page(page);
        let built = words[value::GENERATION_WORD].load(Ordering::Relaxed);
        if is_pool(page) {
            self.value_pool.retire(page);
        }
        self.limbo.retire(Retired::ValuePage(page), built, self.generation);
    }

    fn value_slot(&self, logical: u32) -> u32 {
        self.shared.tables.of(TableKind::Values).get(logical)
    }

    /// False if all pages of sets are in memory. Each number in use names one page, of the pool or of the file.
    pub(super) fn has_value_pages_in_file(&self) -> bool {
        self.value_numbers.used() > self.value_pool.live_pages() as u64
    }

    /// Asks for the slot of a value page, for [`page`](ValuePages::page) a few operations later.
    pub(super) fn prefetch_value_slot(&self, logical: u32) {
        self.shared.tables.of(TableKind::Values).prefetch(logical);
    }

    /// Copies a page into a pool page and stamps the current generation into it.
    fn copy(&self, space: Space, from: u32, to: u32) {
        let region = match space {
            Space::Values => &self.shared.regions.values,
            _ => &self.shared.regions.buckets,
        };
        // Relaxed: nobody reads the copy before a slot names it, with Release.
        Word::copy_all(region.page(from), region.page(to));
        region.page(to)[value::GENERATION_WORD].store(self.generation, Ordering::Relaxed);
    }

    /// The file's layout and free pages.
    pub(crate) fn files(&self) -> MutexGuard<'_, FileLayout> {
        // A panic elsewhere cannot leave the bitmap half changed: its methods do not panic in between.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changed pages of a space that still need a free page of the file.
    pub(crate) fn pages_to_write(&self, space: Space) -> u64 {
        let pool = if space == Space::Values { &self.value_pool } else { &self.bucket_pool };
        // Relaxed: a moment's error shifts when the file grows, nothing else.
        let in_cut = self.shared.counters.cut_unwritten[space as usize].load(Ordering::Relaxed);
        pool.new_pages() as u64 + in_cut
    }

    /// Copies pages of the file at and beyond `limit` to the pool, so that the next checkpoint writes them to the
    /// first free pages. At most [`MOVE_PAGES`] at once; answers whether there was any. A damaged page stays where it is.
    pub(crate) fn move_beyond(&mut self, space: Space, limit: u32) -> bool {
        let shared = Arc::clone(&self.shared);
        self.files().pages_mut(space).start_over();
        let mut moved = 0;
        let is_beyond = |page: u32| page >= limit && !is_pool(page);
        if space == Space::Values {
            let beyond: Vec<u32> = self
                .value_numbers
                .in_use()
                .filter(|&logical| is_beyond(self.value_slot(logical)) && self.is_sound(logical))
                .take(MOVE_PAGES)
                .collect();
            for &logical in &beyond {
                self.page_mut(logical);
            }
            return !beyond.is_empty();
        }
        for index in 0..1_u32 << shared.tables.depth() {
            let is_sound = |pages: &Self| pages.check_chain(index).is_ok();
            if moved < MOVE_PAGES && is_beyond(self.bucket_at(index)) && is_sound(self) {
                self.bucket_for_change(index);
                moved += 1;
            }
        }
        let beyond: Vec<u32> = self
            .overflow_numbers
            .in_use()
            .map(|number| (number, self.overflow_page(number)))
            .filter(|&(_, page)| is_beyond(page))
            .filter(|&(_, page)| self.shared.check_bucket_for_change(page).is_ok())
            .map(|(number, _)| number)
            .take(MOVE_PAGES)
            .collect();
        for &number in &beyond {
            self.overflow_for_change(number);
        }
        moved + beyond.len() > 0
    }

    /// Says in a lack of space who keeps replaced pages from being used again, if somebody has for a while.
    pub(crate) fn with_holder(&self, error: Error) -> Error {
        let Error::NoSpace { path, detail } = error else { return error };
        let snapshots = match self.tables.snapshot_count() {
            0 => None,
            1 => Some("a snapshot is alive".to_string()),
            count => Some(format!("{count} snapshots are alive")),
        };
        let pin = self.limbo.oldest_wait().filter(|wait| *wait >= LONG_PIN);
        let pin = pin.map(|wait| {
            format!("a read guard or iterator has been held for {:.1} s", wait.as_secs_f64())
        });
        let holders: Vec<String> = snapshots.into_iter().chain(pin).collect();
        let waiting = self.limbo.len();
        if waiting == 0 || holders.is_empty() {
            return Error::NoSpace { path, detail };
        }
        let holders = holders.join(", ");
        let detail = format!("{detail}; {holders}, and {waiting} replaced pages wait for that");
        Error::NoSpace { path, detail }
    }

    /// Frees what no reader, snapshot or superblock needs any more.
    pub(crate) fn collect(&mut self) {
        while self.collect_some(usize::MAX) {}
    }

    /// As [`collect`](Self::collect), but at most so many things. Answers whether there is more.
    pub(crate) fn collect_some(&mut self, count_max: usize) -> bool {
        let (passed, more) = self.limbo.take_passed(count_max);
        self.free_or_hold(&passed);
        more
    }

    /// As [`collect`](Self::collect), and looks again at what waits for a snapshot or superblock.
    pub(crate) fn collect_held(&mut self) {
        let held = self.take_held();
        self.free_or_hold(&held);
        self.collect();
    }

    /// What waits for a snapshot or superblock, to be looked at again.
    pub(crate) fn take_held(&mut self) -> Vec<Waiting> {
        self.tables.forget_dropped();
        self.limbo.take_held()
    }

    pub(super) fn free_or_hold(&mut self, things: &[Waiting]) {
        if things.is_empty() {
            return;
        }
        let files = Arc::clone(&self.files);
        let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
        for &thing in things {
            match thing.what {
                Retired::BucketPage(page) => {
                    self.free_page(Space::Buckets, page, thing, &mut files)
                }
                Retired::ValuePage(page) => self.free_page(Space::Values, page, thing, &mut files),
                Retired::OverflowNumber(number) => self.overflow_numbers.release(number),
                Retired::ValueNumber(number) => self.value_numbers.release(number),
                Retired::Extent(extent) => self.extents_back.push(extent),
            }
        }
    }

    fn free_page(&mut self, space: Space, page: u32, thing: Waiting, files: &mut FileLayout) {
        let Waiting { built, retired, .. } = thing;
        let read_by_checkpoint = self.checkpoint.is_some_and(|cut| built <= cut && cut < retired);
        let needed = self.tables.is_needed(built, retired);
        if is_pool(page) {
            if needed || read_by_checkpoint {
                self.limbo.hold(thing);
            } else if space == Space::Values {
                self.value_pool.release(page);
            } else {
                self.bucket_pool.release(page);
            }
        } else if needed || read_by_checkpoint || self.superblocks.older() < retired {
            self.limbo.hold(thing);
        } else {
            let pages: &mut FilePages = files.pages_mut(space);
            pages.release(page);
        }
    }
}

impl ValuePages for Pages {
    fn page(&self, logical: u32) -> &Page {
        self.shared.regions.values.page(self.value_slot(logical))
    }

    fn is_sound(&self, logical: u32) -> bool {
        let page = self.value_slot(logical);
        // The slot of a number that was given up names a page that may be another's by now.
        page != NO_PAGE
            && self.value_numbers.is_in_use(logical)
            && self.shared.is_sound_value_page(page)
            && self.has_known_generation(page, self.shared.regions.values.page(page))
    }

    fn is_sound_to_read(&self, logical: u32) -> bool {
        let page = self.value_slot(logical);
        // A page of the file does not change while it is named, and what is written there next is sound, too.
        let last = &self.sound_nodes[page as usize % SOUND_NODES];
        let is_sound = last.get() == page && page != NO_PAGE || self.is_sound(logical);
        if is_sound {
            last.set(page);
        }
        is_sound
    }

    fn page_mut(&mut self, logical: u32) -> &Page {
        let old = self.value_slot(logical);
        if self.is_current(old, self.shared.regions.values.page(old)) {
            return self.shared.regions.values.page(old);
        }
        let new = take(&mut self.value_pool, logical);
        self.copy(Space::Values, old, new);
        self.set_slot(TableKind::Values, logical, new);
        self.retire_value_page(old);
        self.shared.regions.values.page(new)
    }

    fn allocate(&mut self) -> u32 {
        let logical = self.value_numbers.allocate();
        let page = take(&mut self.value_pool, logical);
        clear(&self.shared.regions.values, page);
        let generation = &self.shared.regions.values.page(page)[value::GENERATION_WORD];
        generation.store(self.generation, Ordering::Relaxed);
        self.set_slot(TableKind::Values, logical, page);
        logical
    }

    fn fresh(&mut self) -> FreshPage {
        let page = take(&mut self.value_pool, 0);
        clear(&self.shared.regions.values, page);
        FreshPage(page)
    }

    fn fresh_page(&self, fresh: &FreshPage) -> &Page {
        self.shared.regions.values.page(fresh.0)
    }

    fn publish(&mut self, logical: u32, fresh: FreshPage) {
        let old = self.value_slot(logical);
        self.value_pool.set_owner(fresh.0, logical);
        self.set_slot(TableKind::Values, logical, fresh.0);
        self.retire_value_page(old);
    }

    fn retire(&mut self, logical: u32) {
        if !self.value_numbers.is_in_use(logical) {
            // A damaged set may name what there is not.
            return;
        }
        let page = self.value_slot(logical);
        self.retire_value_page(page);
        self.value_numbers.give_up(logical);
        self.limbo.retire(Retired::ValueNumber(logical), self.generation, self.generation);
    }

    fn retire_extent(&mut self, set: SetReference) {
        self.limbo.retire(Retired::Extent(set), self.generation, self.generation);
    }

    fn generation(&self) -> u64 {
        self.generation
    }
}

/// Takes a pool page. The commit path keeps the pool below its limit before a group is logged.
fn take(pool: &mut Pool, owner: u32) -> u32 {
    match pool.allocate(owner) {
        Ok(page) => page,
        Err(_) => unreachable!("the writer reserves pool pages before it applies a group"),
    }
}

/// Makes a pool page all zeros.
fn clear(region: &Region, page: u32) {
    for word in region.page(page) {
        // Relaxed: nobody reads the page before a slot names it, with Release.
        word.store(0, Ordering::Relaxed);
    }
}

/// The directory slots of a prefix, in a directory of this depth.
pub(crate) fn slots_of(prefix: u32, local_depth: u32, depth: u32) -> impl Iterator<Item = u32> {
    let count = 1_u32 << depth.saturating_sub(local_depth);
    (0..count).map(move |high| prefix | high << local_depth)
}

/// Entries that a bucket should not fall below without looking for its buddy.
pub(crate) const SPARSE_ENTRIES: usize = ENTRIES_PER_BUCKET / 8;
