//! Checkpoints: the pages of a cut, the tables above them, then a superblock that names them.
//!
//! Runs beside the writer. Order on disk: pages and table nodes into pages that both superblocks leave free;
//! sync; superblock into the slot of its number's parity; sync. Only after the second sync does anything that the
//! superblock before last needed become free: file pages, and log space before the *older* cut.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use cidstore_core::crc::page_checksum;
use cidstore_core::layout::superblock::{
    FLAG_CLEAN, SEGMENTS_START, SUPERBLOCK_OFFSETS, Segment, Superblock,
};
use cidstore_core::layout::table::{Space, TableKind, TableSlot};
use cidstore_core::layout::view::{FileDescription, VIEW_FRAME_BYTES, VIEW_OFFSET};
use cidstore_core::layout::{PAGE_BYTES, PAGE_WORDS};
use cidstore_core::protocol::bucket_seal;
use zerocopy::IntoBytes;

use crate::error::{Error, Result};
use crate::io::DiskFile;
use crate::shared::Shared;
use crate::space::HUGE_PAGES;
use crate::space::layout::FileLayout;
use crate::space::region::Region;
use crate::sync::whole::{Mutex, MutexGuard};
use crate::table::shadow::{ShadowTable, TableFile};
use crate::view::{self, NextView, ViewKeeper};
use crate::writer::cut::{Cut, CutPage, WrittenPage};

/// Pages written with one call: a huge page. A file system that has large folios (ext4, XFS, Btrfs) then keeps such a
/// run in the page cache as one, and maps it as one: lookups miss the TLB less.
const RUN_PAGES: u32 = HUGE_PAGES;

/// Pages that the tables space keeps for more than its present nodes.
const TABLE_PAGES_SPARE: u32 = 8;

/// What is on disk, and how to bring more there. One at a time.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) files: Arc<Mutex<FileLayout>>,
    pub(crate) shadows: [ShadowTable; 3],
    /// The superblock that was written last.
    pub(crate) newest: Superblock,
    /// The one before it: what recovery falls back to.
    pub(crate) older: Superblock,
    /// Table pages that were replaced, with the generation whose superblock no longer names them.
    pub(crate) retired_tables: Vec<(u32, u64)>,
    /// The file in another format.
    pub(crate) view: ViewKeeper,
    /// Buckets of the newest cut.
    pub(crate) bucket_count: u64,
    /// Pages that could be spared when the file was cut for a write in vain: refused writes come again and again, and only
    /// more pages than these are worth another try.
    pub(crate) spare_in_vain: u32,
}

/// The pages of a cut as they lie in the file now.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) buckets: Vec<WrittenPage>,
    pub(crate) values: Vec<WrittenPage>,
}

impl Checkpointer {
    fn file(&self) -> &Arc<dyn DiskFile> {
        &self.shared.file
    }

    pub(crate) fn files(&self) -> MutexGuard<'_, FileLayout> {
        // See `Pages::files`.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that all pages of a cut, and all table nodes, have a place in the file.
    ///
    /// # Errors
    /// `NoSpace`; nothing has been written then.
    pub(crate) fn reserve(&self, cut: &Cut) -> Result<()> {
        if cut.is_empty() && !self.has_changed_tables() {
            return Ok(());
        }
        let tables: u64 = [1_u32 << cut.depth, cut.overflow_end, cut.value_end]
            .into_iter()
            .map(ShadowTable::pages_needed_max)
            .sum();
        let mut files = self.files();
        let needs = [
            (Space::Buckets, cut.bucket_pages.len() as u64),
            (Space::Values, cut.value_pages.len() as u64),
            (Space::Tables, tables),
        ];
        for (space, pages) in needs {
            files.ensure_free(space, pages, &**self.file(), &self.shared.regions)?;
        }
        Ok(())
    }

    /// Writes the pages of a cut and the tables above them. Nothing names them on disk yet.
    pub(crate) fn write_pages(&mut self, cut: &Cut) -> Result<Written> {
        let regions = &self.shared.regions;
        let buckets = self.write_space(Space::Buckets, &regions.buckets, &cut.bucket_pages)?;
        let values = self.write_space(Space::Values, &regions.values, &cut.value_pages)?;
        self.update_shadows(cut, &buckets, &values);
        Ok(Written { buckets, values })
    }

    /// Writes pool pages of one space, in runs as long as the free pages allow.
    fn write_space(
        &self,
        space: Space,
        region: &Region,
        pages: &[CutPage],
    ) -> Result<Vec<WrittenPage>> {
        let mut written = Vec::with_capacity(pages.len());
        let mut buffer = vec![[0; PAGE_WORDS]; pages.len().min(RUN_PAGES as usize)];
        let mut rest = pages;
        while !rest.is_empty() {
            let pages_max = RUN_PAGES.min(rest.len() as u32);
            let run = self.files().take_run(space, pages_max);
            let Some((run, offset)) = run else {
                return Err(self.shared.corrupt(format!("{space:?}: reserved pages are not free")));
            };
            let (now, later) = rest.split_at(run.len());
            let unwritten = &self.shared.counters.cut_unwritten[space as usize];
            unwritten.fetch_sub(now.len() as u64, Ordering::Relaxed);
            let out = &mut buffer[..now.len()];
            for ((cut_page, to), words) in now.iter().zip(run).zip(out.iter_mut()) {
                region.copy_out(cut_page.page, words);
                if space == Space::Buckets {
                    bucket_seal::seal_words(words);
                    self.shared.copy_tags(to, words);
                }
                let checksum = checksum(space, to, words);
                let CutPage { page: from, owner } = *cut_page;
                written.push(WrittenPage { from, to, owner, checksum });
            }
            self.file().write_at(offset, out.as_bytes())?;
            rest = later;
        }
        Ok(written)
    }

    /// Brings the tables as they are on disk up to the cut.
    fn update_shadows(&mut self, cut: &Cut, buckets: &[WrittenPage], values: &[WrittenPage]) {
        let [directory, overflow, value_table] = &mut self.shadows;
        for &number in &cut.overflow_given_up {
            overflow.set(number, TableSlot::default());
        }
        for &number in &cut.values_given_up {
            value_table.set(number, TableSlot::default());
        }
        directory.set_depth(cut.depth);
        for page in buckets {
            let slot = TableSlot { page: page.to, checksum: page.checksum };
            if page.owner != 0 {
                overflow.set(page.owner, slot);
                continue;
            }
            let words = self.shared.regions.buckets.page(page.from);
            let (prefix, local_depth) = crate::writer::pages::bucket_place(words);
            for index in crate::writer::pages::slots_of(prefix, local_depth, cut.depth) {
                directory.set(index, slot);
            }
        }
        for page in values {
            value_table.set(page.owner, TableSlot { page: page.to, checksum: page.checksum });
        }
    }

    /// True if a table has slots that no superblock names yet (a bulk load sets them without a cut), or the view is to be
    /// written for another reason than a cut.
    pub(crate) fn has_changed_tables(&self) -> bool {
        self.view.is_stale() || self.shadows.iter().any(ShadowTable::is_changed)
    }

    /// Lets the next checkpoint bring table nodes forward that lie beyond the room that they need, or beyond `pages_max` if
    /// that is room enough. Answers whether there was any.
    pub(crate) fn move_tables(&mut self, pages_max: u32) -> bool {
        let nodes: usize = self.shadows.iter().map(|table| table.node_pages().count()).sum();
        let roomy = (nodes + nodes / 8) as u32 + TABLE_PAGES_SPARE + self.view.pages_needed();
        let limit = roomy.min(pages_max.max(nodes as u32 + 1 + self.view.pages_needed()));
        let moves = self.shadows.iter_mut().map(|table| table.move_beyond(limit));
        let moved = moves.fold(false, |any, moved| any | moved);
        let files = Arc::clone(&self.files);
        let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
        files.pages_mut(Space::Tables).start_over();
        self.view.move_beyond(limit, &files) || moved
    }

    /// Writes the changed table nodes and a superblock that names everything, with the syncs around it.
    pub(crate) fn write_superblock(&mut self, next: Superblock) -> Result<()> {
        let mut next = next;
        // Set again when it is published; the view tells it before.
        next.checkpoint_number = self.newest.checkpoint_number + 1;
        let file = Arc::clone(self.file());
        for kind in TableKind::ALL {
            let mut file = ShadowFile { file: &*file, files: &self.files, retired: Vec::new() };
            let root = self.shadows[kind as usize].write(&mut file)?;
            next.roots[kind as usize] = root;
            let retired = file.retired;
            self.retired_tables.extend(retired.into_iter().map(|page| (page, next.generation)));
        }
        let view = self.write_view(&mut next)?;
        self.sync_data()?;
        self.publish(next, view)
    }

    fn sync_data(&self) -> Result<()> {
        let start = Instant::now();
        self.file().sync_data()?;
        self.shared.events.data_sync_latency.record_latency(start.elapsed());
        Ok(())
    }

    /// Writes the body of a view that shows `next`; answers the header that will lead to it, if it is to change. Sets the
    /// segments of `next`.
    ///
    /// Without room for a body the file has no view for a while: that is nothing to fail for.
    fn write_view(&mut self, next: &mut Superblock) -> Result<Option<NextView>> {
        let Some(view) = self.view.view() else { return Ok(self.view.without_view()) };
        let mut run = self.view.take_prepared();
        loop {
            let segments = self.describe_segments(next)?;
            let place = self.files().place_of(Space::Tables, run.start);
            // Before there is a place, any will do to learn the length.
            let offset = place.filter(|_| !run.is_empty()).map_or(SEGMENTS_START, |(at, _)| at);
            let description = FileDescription {
                superblock: next,
                segments: segments.each_ref().map(Vec::as_slice),
                bucket_count: self.bucket_count,
                leaves: self.shadows.each_ref().map(ShadowTable::leaves),
                directory: self.shadows[TableKind::Directory as usize].slots(),
            };
            let bytes = view.emit(&description, offset + VIEW_FRAME_BYTES as u64);
            let pages = view::pages_for(bytes.body.len());
            let mut files = self.files();
            if pages as usize <= run.len() {
                let unused = run.start + pages..run.end;
                unused.for_each(|page| files.pages_mut(Space::Tables).release(page));
                drop(files);
                view::write_body(&**self.file(), offset, next, &bytes)?;
                let run = run.start..run.start + pages;
                return Ok(Some(NextView { header: bytes.header, run }));
            }
            run.for_each(|page| files.pages_mut(Space::Tables).release(page));
            let (file, regions) = (&**self.file(), &self.shared.regions);
            match files.take_adjacent_or_grow(Space::Tables, pages, file, regions) {
                // If the file grew for it, the body may be longer now: it is made again either way.
                Ok(taken) => run = taken,
                Err(error @ Error::NoSpace { .. }) => {
                    drop(files);
                    tracing::warn!(%error, "no room for the view of the file");
                    return Ok(self.view.without_view());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sets the segments and the length of the file in a superblock; answers the segments.
    fn describe_segments(&self, next: &mut Superblock) -> Result<[Vec<Segment>; 3]> {
        let (segments, end) = {
            let files = self.files();
            (Space::ALL.map(|space| files.segments(space)), files.end())
        };
        next.file_bytes = end;
        next.set_segments(segments.each_ref().map(Vec::as_slice)).map_err(|too_many| {
            Error::NoSpace {
                path: self.shared.path.clone(),
                detail: format!("the file has {} segments, more than it can list", too_many.count),
            }
        })?;
        Ok(segments)
    }

    /// Writes a superblock whose pages are all on disk, and the header of the view that shows it. It becomes the newest.
    fn publish(&mut self, mut next: Superblock, view: Option<NextView>) -> Result<()> {
        next.checkpoint_number = self.newest.checkpoint_number + 1;
        next.previous_checksum = self.newest.checksum;
        self.describe_segments(&mut next)?;
        next.seal();
        let slot = (next.checkpoint_number & 1) as usize;
        self.file().write_at(SUPERBLOCK_OFFSETS[slot], next.as_bytes())?;
        if let Some(view) = &view {
            self.file().write_at(VIEW_OFFSET, &view.header)?;
        }
        self.sync_data()?;
        if let Some(view) = view {
            let files = Arc::clone(&self.files);
            self.view.published(view, &mut files.lock().unwrap_or_else(PoisonError::into_inner));
        }
        self.older = std::mem::replace(&mut self.newest, next);
        self.free_tables();
        Ok(())
    }

    /// Frees table pages that neither superblock names.
    fn free_tables(&mut self) {
        let older = self.older.generation.min(self.newest.generation);
        let retired = std::mem::take(&mut self.retired_tables);
        let (free, kept): (Vec<_>, Vec<_>) =
            retired.into_iter().partition(|&(_, generation)| generation <= older);
        self.retired_tables = kept;
        let mut files = self.files();
        for (page, _) in free {
            files.pages_mut(Space::Tables).release(page);
        }
    }

    /// The superblock for a cut, its tables and segments still to be filled in.
    pub(crate) fn superblock_for(&self, cut: &Cut, wal_salt: u64) -> Superblock {
        Superblock {
            generation: cut.generation,
            lsn: cut.lsn,
            wal_offset: cut.wal_offset,
            wal_salt,
            flags: self.newest.flags & !FLAG_CLEAN,
            global_depth: cut.depth,
            key_count: cut.keys,
            value_count: cut.values,
            ..self.newest
        }
    }

    /// Writes the newest superblock once more, changed as told: both slots then agree on the tables.
    pub(crate) fn rewrite(&mut self, change: impl FnOnce(&mut Superblock)) -> Result<()> {
        let mut next = self.newest;
        change(&mut next);
        self.publish(next, None)
    }

    /// As [`rewrite`](Self::rewrite) without a change, with a view of the file as it is now.
    pub(crate) fn rewrite_with_view(&mut self) -> Result<()> {
        let mut next = self.newest;
        next.checkpoint_number += 1;
        let view = self.write_view(&mut next)?;
        self.sync_data()?;
        self.publish(next, view)
    }

    /// Writes the view if the one on disk does not show the newest superblock, before anything overwrites what it shows.
    pub(crate) fn refresh_view(&mut self) -> Result<()> {
        if self.view.is_stale() { self.rewrite_with_view() } else { Ok(()) }
    }
}

/// CRC-32C of a page at its place in the file.
fn checksum(space: Space, page: u32, words: &[u64; PAGE_WORDS]) -> u32 {
    let bytes: &[u8; PAGE_BYTES] = zerocopy::transmute_ref!(words);
    page_checksum(space, page, bytes)
}

/// Table nodes go to the tables space.
struct ShadowFile<'a> {
    file: &'a dyn DiskFile,
    files: &'a Mutex<FileLayout>,
    retired: Vec<u32>,
}

impl ShadowFile<'_> {
    fn files(&self) -> MutexGuard<'_, FileLayout> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TableFile for ShadowFile<'_> {
    fn allocate(&mut self) -> Result<u32> {
        let run = self.files().take_run(Space::Tables, 1);
        run.map(|(run, _)| run.start).ok_or_else(|| Error::NoSpace {
            path: self.file.path().into(),
            detail: "no free table page, although some were reserved".into(),
        })
    }

    fn write(&mut self, page: u32, bytes: &[u8]) -> Result<()> {
        let place = self.files().place_of(Space::Tables, page);
        let (offset, _) = place.ok_or_else(|| Error::Corrupt {
            path: self.file.path().into(),
            offset: 0,
            detail: format!("table page {page} lies outside the file"),
        })?;
        self.file.write_at(offset, bytes)
    }

    fn retire(&mut self, page: u32) {
        self.retired.push(page);
    }
}
