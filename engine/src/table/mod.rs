//! Tables: small number to page number.
//!
//! In memory a table is a flat array of atomic slots ([`slots`]); snapshots keep the chunks that changed
//! since ([`frozen`]); on disk it is a radix tree of checksummed nodes ([`shadow`]). [`partition`] tells the buckets that
//! a directory names. [`LiveTables`] is what readers use, beside them the [`tag_copies`] of the pages they name, and
//! [`TableWriter`] the only way to change it.

pub(crate) mod frozen;
pub(crate) mod partition;
pub(crate) mod shadow;
pub(crate) mod slots;
pub(crate) mod tag_copies;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cidstore_core::layout::table::TableKind;

use frozen::FrozenTable;
use slots::SlotArray;
use tag_copies::TagCopies;

use crate::sync::{AtomicBool, AtomicU32};

/// Spares a look at each snapshot. What a dropped one orders its own flag does, so this is not the model checkers' business.
type Hint = std::sync::atomic::AtomicBool;

/// Depth from which the directory is worth a huge page: its slots fill an eighth of one.
const HUGE_DEPTH: u32 = 16;

/// The three tables as they are now, and the tags of the bucket pages that they name.
#[derive(Debug)]
pub(crate) struct LiveTables {
    arrays: [SlotArray; 3],
    pub(crate) tag_copies: TagCopies,
    /// Lowest hash bits that index the directory.
    depth: AtomicU32,
}

impl LiveTables {
    /// Empty tables of depth 0.
    pub(crate) fn reserve() -> io::Result<Self> {
        let arrays = [SlotArray::reserve()?, SlotArray::reserve()?, SlotArray::reserve()?];
        Ok(Self { arrays, tag_copies: TagCopies::reserve()?, depth: AtomicU32::new(0) })
    }

    /// The slots of one table.
    #[inline]
    pub(crate) fn of(&self, kind: TableKind) -> &SlotArray {
        &self.arrays[kind as usize]
    }

    /// Depth of the directory.
    ///
    /// Acquire: whoever sees a depth sees the upper half of the directory filled.
    #[inline]
    pub(crate) fn depth(&self) -> u32 {
        self.depth.load(Ordering::Acquire)
    }

    /// Huge pages for what a lookup in a large store touches in turn.
    fn use_huge_pages(&self) {
        self.of(TableKind::Directory).use_huge_page();
        self.tag_copies.prefer_huge_page();
    }
}

/// The three tables as they were at a snapshot.
#[derive(Debug)]
pub(crate) struct FrozenTables {
    /// Pages of this generation and older are what the snapshot sees.
    pub(crate) generation: u64,
    /// Depth of the directory then.
    pub(crate) depth: u32,
    tables: [FrozenTable; 3],
    dropped: AtomicBool,
    some_dropped: Arc<Hint>,
}

impl FrozenTables {
    /// The page that a slot named when the snapshot was made.
    pub(crate) fn get(&self, live: &LiveTables, kind: TableKind, index: u32) -> u32 {
        self.tables[kind as usize].get(live.of(kind), index)
    }

    /// The snapshot is not used any more; the writer forgets it when it next looks.
    pub(crate) fn mark_dropped(&self) {
        // Release: the snapshot's reads happen before the writer frees what they read.
        self.dropped.store(true, Ordering::Release);
        self.some_dropped.store(true, Ordering::Release);
    }
}

/// The writer's side of the tables: every change goes through here, so that no snapshot is missed.
#[derive(Debug, Default)]
pub(crate) struct TableWriter {
    snapshots: Vec<Arc<FrozenTables>>,
    some_dropped: Arc<Hint>,
}

impl TableWriter {
    /// Freezes the tables: a snapshot of this generation.
    pub(crate) fn freeze(
        &mut self,
        live: &LiveTables,
        generation: u64,
        number_ends: [u32; 2],
    ) -> Arc<FrozenTables> {
        let depth = live.depth();
        let [overflow_end, value_end] = number_ends;
        let frozen = Arc::new(FrozenTables {
            generation,
            depth,
            tables: [1 << depth, overflow_end, value_end].map(FrozenTable::new),
            dropped: AtomicBool::new(false),
            some_dropped: Arc::clone(&self.some_dropped),
        });
        self.snapshots.push(Arc::clone(&frozen));
        frozen
    }

    /// Names a page in a slot.
    pub(crate) fn set(&self, live: &LiveTables, kind: TableKind, index: u32, page: u32) {
        for snapshot in &self.snapshots {
            snapshot.tables[kind as usize].keep(live.of(kind), index);
        }
        live.of(kind).set(index, page);
    }

    /// Names pages in the first slots of a table that nobody reads yet, while there is no snapshot.
    pub(crate) fn fill(
        &self,
        live: &LiveTables,
        kind: TableKind,
        pages: impl Iterator<Item = u32>,
    ) {
        debug_assert!(self.snapshots.is_empty(), "a snapshot of a table that is not filled");
        let array = live.of(kind);
        for (index, page) in (0..).zip(pages) {
            array.set(index, page);
        }
    }

    /// Replaces a page by one of equal content wherever it is named in this slot, snapshots included.
    ///
    /// Answers whether the live slot named it.
    pub(crate) fn swing(
        &self,
        live: &LiveTables,
        kind: TableKind,
        index: u32,
        from: u32,
        to: u32,
    ) -> bool {
        for snapshot in &self.snapshots {
            snapshot.tables[kind as usize].swing(index, from, to);
        }
        let named = live.of(kind).get(index) == from;
        if named {
            live.of(kind).set(index, to);
        }
        named
    }

    /// Readies the memory of a directory that is about to be filled to this depth.
    pub(crate) fn expect_depth(&self, live: &LiveTables, depth: u32) {
        if depth >= HUGE_DEPTH {
            live.use_huge_pages();
        }
    }

    /// Publishes a new depth of the directory.
    pub(crate) fn set_depth(&self, live: &LiveTables, depth: u32) {
        // Release: pairs with the Acquire in `LiveTables::depth`.
        let before = live.depth.swap(depth, Ordering::Release);
        if before < HUGE_DEPTH && depth >= HUGE_DEPTH {
            live.use_huge_pages();
        }
    }

    /// True if [`forget_dropped`](Self::forget_dropped) has something to do, as far as is known.
    pub(crate) fn has_dropped(&self) -> bool {
        // Relaxed: who misses it now sees it at the next write.
        self.some_dropped.load(Ordering::Relaxed)
    }

    /// Forgets snapshots that were dropped; true if there were any.
    pub(crate) fn forget_dropped(&mut self) -> bool {
        let before = self.snapshots.len();
        // Before the looks: a snapshot that goes later says so again. Acquire: pairs with `mark_dropped`, so that who is told
        // of here is found below.
        self.some_dropped.swap(false, Ordering::Acquire);
        // Acquire: pairs with `mark_dropped`.
        self.snapshots.retain(|snapshot| !snapshot.dropped.load(Ordering::Acquire));
        self.snapshots.len() != before
    }

    /// True if a live snapshot may need a thing that was in use from `built` up to `retired`.
    pub(crate) fn is_needed(&self, built: u64, retired: u64) -> bool {
        self.snapshots
            .iter()
            .any(|snapshot| built <= snapshot.generation && snapshot.generation < retired)
    }

    /// Snapshots alive.
    pub(crate) fn snapshot_count(&self) -> usize {
        let is_alive = |frozen: &&Arc<FrozenTables>| !frozen.dropped.load(Ordering::Relaxed);
        self.snapshots.iter().filter(is_alive).count()
    }

    /// Deepest directory of any live snapshot.
    pub(crate) fn snapshot_depth_max(&self) -> u32 {
        self.snapshots.iter().map(|snapshot| snapshot.depth).max().unwrap_or(0)
    }
}
