//! What readers and the writer share: the mapped spaces, the live tables, the counters, the state.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cidstore_core::E;
use cidstore_core::crc::page_checksum;
use cidstore_core::hash::{HashSeed, KeyHash};
use cidstore_core::layout::bucket;
use cidstore_core::layout::table::{Space, TableKind};
use cidstore_core::layout::{PAGE_BYTES, PAGE_WORDS};
use cidstore_core::protocol::lookup::View;
use cidstore_core::protocol::tag_copy::TagCopy;
use cidstore_core::protocol::word::Word;

use crate::error::{Error, Result};
use crate::io::{self, DiskFile};
use crate::metrics::{Events, ReadCounts};
use crate::space::is_pool;
use crate::space::layout::Regions;
use crate::sync::pins::Pins;
use crate::sync::{AtomicU8, OnceLock, Page, PageWord, fence};
use crate::table::slots::SlotArray;
use crate::table::{FrozenTables, LiveTables};
use crate::upkeep::{Activity, UpkeepCounters};
use crate::valueset::SetView;
use crate::waiters::Waiters;

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
/// Closed, and nothing of the store runs any more.
const ENDED: u8 = 2;

/// Everything that outlives a single operation and needs no lock to read.
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) regions: Regions,
    pub(crate) tables: LiveTables,
    /// Who reads.
    pub(crate) pins: Arc<Pins>,
    pub(crate) seed: HashSeed,
    pub(crate) counters: Counters,
    /// Checksums of the file's pages.
    pub(crate) checksums: Checksums,
    /// Reads check each page that they touch. Writes do in any case: a damaged page that is copied and written again
    /// would have a checksum that fits.
    pub(crate) verify_reads: bool,
    /// What metrics tell. No reader touches it.
    pub(crate) events: Box<Events>,
    /// Log records by bucket, since the last checkpoint.
    pub(crate) activity: Activity,
    pub(crate) upkeep: UpkeepCounters,
    /// Reads, if they are counted.
    pub(crate) reads: Option<ReadCounts>,
    /// Who waits for a write to be durable.
    pub(crate) durable_waiters: Waiters,
    /// Who waits for a write to be visible.
    pub(crate) applied_waiters: Waiters,
    state: AtomicU8,
    /// [`forks`](io::forks) in the process that opened the store.
    forks: u32,
    failure: OnceLock<String>,
}

/// Counts that readers may see at any time. The writer alone changes them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) keys: AtomicU64,
    pub(crate) values: AtomicU64,
    pub(crate) applied_lsn: crate::sync::AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    /// Pages of the present cut, buckets and values, that have no place in the file yet.
    pub(crate) cut_unwritten: [AtomicU64; 2],
}

impl Shared {
    /// Puts the parts together; the tables are still empty.
    pub(crate) fn new(
        path: PathBuf,
        file: Arc<dyn DiskFile>,
        regions: Regions,
        tables: LiveTables,
        seed: HashSeed,
        (checksums, verify_reads): (Checksums, bool),
    ) -> Self {
        Self {
            path,
            file,
            regions,
            tables,
            pins: Pins::new(),
            seed,
            counters: Counters::default(),
            events: Box::default(),
            checksums,
            verify_reads,
            activity: Activity::default(),
            upkeep: UpkeepCounters::default(),
            reads: None,
            durable_waiters: Waiters::default(),
            applied_waiters: Waiters::default(),
            state: AtomicU8::new(OPEN),
            forks: io::forks(),
            failure: OnceLock::new(),
        }
    }

    /// The live tables and pages, for a reader that is pinned.
    #[inline]
    pub(crate) fn view(&self) -> LiveView<'_> {
        LiveView { shared: self }
    }

    /// `Closed` after [`mark_closed`](Self::mark_closed), `Forked` in a child of the process that opened the store.
    #[inline]
    pub(crate) fn check_open(&self) -> Result<()> {
        // Relaxed: closing races with a read either way; memory stays mapped until the last owner goes.
        if self.state.load(Ordering::Relaxed) == OPEN && !self.is_inherited() {
            Ok(())
        } else {
            Err(self.why_not_open())
        }
    }

    #[cold]
    fn why_not_open(&self) -> Error {
        if self.is_inherited() { Error::Forked { path: self.path.clone() } } else { Error::Closed }
    }

    /// True in a fork of the process that opened the store: its locks and files are the parent's, its threads are not
    /// there, and its memory is a copy that the parent's checkpoints make wrong.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.forks != io::forks()
    }

    /// Counts a read, if reads are counted.
    #[inline]
    pub(crate) fn note_read(&self) {
        if let Some(reads) = &self.reads {
            reads.add();
        }
    }

    /// Runs a read. What it found counts only if the store was not closed under it: then another opener may have changed
    /// the file that it read, and the memory that had it was taken away.
    #[inline(always)]
    pub(crate) fn while_open<T>(&self, read: impl FnOnce() -> Result<T>) -> Result<T> {
        self.check_open()?;
        let answer = read();
        self.check_not_ended()?;
        answer
    }

    /// `Closed` if what was read until now may be somebody else's.
    #[inline(always)]
    pub(crate) fn check_not_ended(&self) -> Result<()> {
        // Acquire: the loads before come before the look at the state. Who closes stores the state before it gives anything up.
        fence(Ordering::Acquire);
        if self.state.load(Ordering::Relaxed) == ENDED { Err(self.why_not_open()) } else { Ok(()) }
    }

    /// `Closed`, or `Failed` after a failed write or sync.
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        self.check_healthy()
    }

    /// `Failed` after a failed write or sync.
    pub(crate) fn check_healthy(&self) -> Result<()> {
        match self.failure.get() {
            None => Ok(()),
            Some(cause) => Err(Error::Failed { cause: cause.clone() }),
        }
    }

    /// Refuses everything from now on; false if it was closed before. The caller has the writer lock.
    pub(crate) fn mark_closed(&self) -> bool {
        // No swap: what has ended must not be merely closed again.
        let is_first = self.state.load(Ordering::Acquire) == OPEN;
        if is_first {
            self.state.store(CLOSED, Ordering::Release);
        }
        is_first
    }

    /// Notes that closing is done, the last sync included.
    pub(crate) fn mark_ended(&self) {
        // Release: who sees it sees what the last sync made durable.
        self.state.store(ENDED, Ordering::Release);
        self.wake_waiters();
    }

    /// True after [`mark_ended`](Self::mark_ended).
    pub(crate) fn has_ended(&self) -> bool {
        self.state.load(Ordering::Acquire) == ENDED
    }

    /// Wakes every task that waits for a write: no number will come any more.
    fn wake_waiters(&self) {
        self.durable_waiters.wake_all();
        self.applied_waiters.wake_all();
    }

    /// Refuses writes for ever: a write or sync has failed, and what is on disk is unknown.
    pub(crate) fn mark_failed(&self, cause: &Error) -> String {
        let mut is_first = false;
        let cause = self.failure.get_or_init(|| {
            tracing::error!(path = %self.path.display(), %cause, "the store has failed");
            is_first = true;
            cause.to_string()
        });
        if is_first {
            self.wake_waiters();
        }
        cause.clone()
    }

    /// True after [`mark_failed`](Self::mark_failed).
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// What [`mark_failed`](Self::mark_failed) was told first.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }

    /// An error about a page of this store.
    pub(crate) fn corrupt(&self, place: impl Into<String>) -> Error {
        Error::Corrupt { path: self.path.clone(), offset: 0, detail: place.into() }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What each page of the file must sum up to, by page number.
#[derive(Debug)]
pub(crate) struct Checksums {
    buckets: SlotArray,
    values: SlotArray,
}

impl Checksums {
    /// An empty list.
    pub(crate) fn reserve() -> std::io::Result<Self> {
        Ok(Self { buckets: SlotArray::reserve()?, values: SlotArray::reserve()? })
    }

    fn of(&self, space: Space) -> &SlotArray {
        if space == Space::Values { &self.values } else { &self.buckets }
    }

    /// Notes the checksum of a page before any table names it.
    pub(crate) fn note(&self, space: Space, page: u32, checksum: u32) {
        self.of(space).set(page, checksum);
    }

    /// Whether a page is as it was written. Pages in memory are.
    #[inline(never)]
    fn is_sound(&self, space: Space, number: u32, page: &Page) -> bool {
        if is_pool(number) || number == 0 {
            return true;
        }
        // Relaxed: pages of the file do not change while a pin holds them.
        let words = Word::load_all(page);
        let bytes: &[u8; PAGE_BYTES] = zerocopy::transmute_ref!(&words);
        page_checksum(space, number, bytes) == self.of(space).get(number)
    }
}

impl Shared {
    /// Makes the copy of the tags of a bucket page that is written to the file. Before any slot names the page. (C3)
    pub(crate) fn copy_tags(&self, page: u32, words: &[u64; PAGE_WORDS]) {
        self.tables.tag_copies.renew(page, words, self.seed);
    }

    /// Readies what is known of a page of the file for what was written to it. Before any slot names the page. (C3)
    pub(crate) fn note_written(&self, space: Space, page: u32, checksum: u32) {
        if space == Space::Buckets {
            self.tables.tag_copies.forget(page);
        }
        self.note_checksum(space, page, checksum);
    }

    /// Notes the checksum of a page of the file, of which nothing else is known yet.
    pub(crate) fn note_checksum(&self, space: Space, page: u32, checksum: u32) {
        self.checksums.note(space, page, checksum);
    }

    /// `Corrupt` if this bucket page is not what was written.
    pub(crate) fn check_bucket_for_change(&self, number: u32) -> Result<()> {
        let page = self.regions.buckets.page(number);
        if self.checksums.is_sound(Space::Buckets, number, page) {
            return Ok(());
        }
        Err(self.corrupt(format!("bucket page {number}: wrong checksum")))
    }

    /// Whether a value page is what was written.
    pub(crate) fn is_sound_value_page(&self, number: u32) -> bool {
        self.checksums.is_sound(Space::Values, number, self.regions.values.page(number))
    }

    /// A value page, unless it is to be checked and is not what was written.
    fn value_page(&self, number: u32, verify: bool) -> Option<&Page> {
        let page = (number != 0).then(|| self.regions.values.page(number))?;
        let sound = !verify || self.checksums.is_sound(Space::Values, number, page);
        sound.then_some(page)
    }
}

/// Prefix and local depth in a bucket page's header.
pub(crate) fn bucket_place(page: &Page) -> (u32, u32) {
    let prefix = page[bucket::PREFIX_WORD].load(Ordering::Relaxed) as u32;
    let local_depth = (page[bucket::KIND_WORD].load(Ordering::Relaxed) >> 16) as u8;
    (prefix, local_depth as u32)
}

/// Whether a bucket page that a directory of this depth names at `index` is, by the place in its header, named where it should
/// be and nowhere else. `slot` answers what the directory names.
pub(crate) fn fits_directory(
    (prefix, local_depth): (u32, u32),
    page: u32,
    (index, depth): (u32, u32),
    slot: impl Fn(u32) -> u32,
) -> bool {
    // One slot of its buddy, and one of its own that only the next bit tells from `index`: deeper or less deep than it says, it
    // would fail at one of them.
    local_depth <= depth
        && index & ((1_u64 << local_depth) - 1) as u32 == prefix
        && (local_depth == 0 || slot(prefix ^ 1 << (local_depth - 1)) != page)
        && (local_depth == depth || slot(index ^ 1 << local_depth) == page)
}

/// The store as it is now.
#[derive(Clone, Copy)]
pub(crate) struct LiveView<'a> {
    shared: &'a Shared,
}

impl View<PAGE_WORDS> for LiveView<'_> {
    type W = PageWord;

    #[inline(always)]
    fn hash_of(&self, key: E) -> KeyHash {
        self.shared.seed.hash(key)
    }

    #[inline]
    fn depth(&self) -> u32 {
        self.shared.tables.depth()
    }

    #[inline]
    fn directory_slot(&self, index: u32) -> u32 {
        self.shared.tables.of(TableKind::Directory).get(index)
    }

    #[inline]
    fn prefetch_slot(&self, index: u32) {
        self.shared.tables.of(TableKind::Directory).prefetch(index);
    }

    #[inline]
    fn bucket(&self, page: u32) -> &Page {
        self.shared.regions.buckets.page(page)
    }

    fn overflow_slot(&self, logical: u32) -> u32 {
        self.shared.tables.of(TableKind::Overflow).get(logical)
    }

    #[inline(always)]
    fn tag_copy(&self, page: u32) -> Option<&TagCopy<PageWord>> {
        self.shared.tables.tag_copies.of(page)
    }
}

impl SetView for LiveView<'_> {
    #[inline]
    fn value_page(&self, logical: u32) -> Option<&Page> {
        let page = self.shared.tables.of(TableKind::Values).get(logical);
        self.shared.value_page(page, self.shared.verify_reads)
    }

    #[inline(always)]
    fn verifies(&self) -> bool {
        self.shared.verify_reads
    }
}

/// The store as it was at a snapshot.
#[derive(Clone, Copy)]
pub(crate) struct FrozenView<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) frozen: &'a FrozenTables,
    /// Pages are checked whatever the store was told.
    pub(crate) verify: bool,
}

impl View<PAGE_WORDS> for FrozenView<'_> {
    type W = PageWord;

    fn hash_of(&self, key: E) -> KeyHash {
        self.shared.seed.hash(key)
    }

    fn depth(&self) -> u32 {
        self.frozen.depth
    }

    fn directory_slot(&self, index: u32) -> u32 {
        self.frozen.get(&self.shared.tables, TableKind::Directory, index)
    }

    fn prefetch_slot(&self, index: u32) {
        // Unless it changed since, the slot is still that of the live table.
        self.shared.tables.of(TableKind::Directory).prefetch(index);
    }

    fn bucket(&self, page: u32) -> &Page {
        self.shared.regions.buckets.page(page)
    }

    fn overflow_slot(&self, logical: u32) -> u32 {
        self.frozen.get(&self.shared.tables, TableKind::Overflow, logical)
    }

    #[inline(always)]
    fn tag_copy(&self, page: u32) -> Option<&TagCopy<PageWord>> {
        self.shared.tables.tag_copies.of(page)
    }
}

impl SetView for FrozenView<'_> {
    fn value_page(&self, logical: u32) -> Option<&Page> {
        let page = self.frozen.get(&self.shared.tables, TableKind::Values, logical);
        self.shared.value_page(page, self.verifies())
    }

    #[inline(always)]
    fn verifies(&self) -> bool {
        self.verify || self.shared.verify_reads
    }
}
