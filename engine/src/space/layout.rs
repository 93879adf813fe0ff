//! The data file's segments: which run of the file belongs to which space, and how spaces grow and shrink.
//!
//! Segments are only ever added at the end of the file, so within a space both page numbers and file
//! offsets ascend. `fallocate` reserves a segment's blocks before anything refers to it: a full disk is an
//! error value here and nowhere else. [`FileLength`] may have had them reserved ahead.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::superblock::{
    SEGMENT_UNIT_PAGES, SEGMENTS_MAX, SEGMENTS_START, Segment,
};
use cidstore_core::layout::table::Space;

use super::file_pages::FilePages;
use super::length::FileLength;
use super::region::Region;
use super::{HUGE_PAGES, POOL_BASE};
use crate::error::{Error, Result};
use crate::io::DiskFile;

/// Segments that only the tables may take: without them no checkpoint could be made.
const SEGMENTS_FOR_TABLES: usize = 16;
/// Pages of the other spaces for each page of tables: a directory has two to four slots a bucket page, a node 512, and
/// a checkpoint writes new nodes before the old ones are free.
const PAGES_PER_TABLE_PAGE: u32 = 64;

/// Segments of so many pages and more, 8 MiB, get their blocks ahead of the write that needs them. Smaller ones take the
/// file system no longer than any other write.
const AHEAD_PAGES_MIN: u32 = 2048;

/// A segment with the first of its page numbers.
#[derive(Clone, Copy, Debug)]
struct Placed {
    first_page: u32,
    segment: Segment,
}

/// One space's part of the file.
#[derive(Debug, Default)]
struct SpaceLayout {
    segments: Vec<Placed>,
    pages: FilePages,
}

/// Address ranges of the two mapped spaces.
#[derive(Debug)]
pub(crate) struct Regions {
    pub(crate) buckets: Region,
    pub(crate) values: Region,
}

impl Regions {
    /// Takes the whole file out of both maps: see [`Region::unmap_all`].
    pub(crate) fn unmap_all(&self) -> io::Result<()> {
        self.buckets.unmap_all().and(self.values.unmap_all())
    }

    /// The region of a space; the tables space is not mapped.
    fn of(&self, space: Space) -> Option<&Region> {
        match space {
            Space::Buckets => Some(&self.buckets),
            Space::Values => Some(&self.values),
            Space::Tables => None,
        }
    }
}

/// All spaces of the data file.
#[derive(Debug)]
pub(crate) struct FileLayout {
    spaces: [SpaceLayout; 3],
    end: u64,
    bytes_max: u64,
    length: Arc<FileLength>,
}

impl FileLayout {
    /// The layout of an empty file.
    pub(crate) fn empty(bytes_max: u64) -> Self {
        let length = Arc::new(FileLength::new(SEGMENTS_START));
        Self { spaces: Default::default(), end: SEGMENTS_START, bytes_max, length }
    }

    /// The layout that a superblock tells; maps its segments. All pages count as free.
    pub(crate) fn from_segments<'a>(
        segments: impl Fn(Space) -> &'a [Segment],
        bytes_max: u64,
        file: &dyn DiskFile,
        regions: &Regions,
    ) -> Result<Self> {
        let mut layout = Self::empty(bytes_max);
        for space in SPACES {
            for &segment in segments(space) {
                layout.place(space, segment, file, regions)?;
            }
        }
        layout.length = Arc::new(FileLength::new(layout.end));
        Ok(layout)
    }

    /// Adds a segment whose blocks exist already.
    fn place(
        &mut self,
        space: Space,
        segment: Segment,
        file: &dyn DiskFile,
        regions: &Regions,
    ) -> Result<()> {
        let offset = segment.first_file_page as u64 * PAGE_BYTES as u64;
        let first_page = self.pages(space).page_count();
        if let Some(region) = regions.of(space) {
            region
                .map_segment(file.raw_fd(), offset, first_page, segment.page_count)
                .map_err(|source| Error::Io { path: file.path().into(), action: "map", source })?;
        }
        let part = &mut self.spaces[space as usize];
        part.segments.push(Placed { first_page, segment });
        part.pages.grow(segment.page_count);
        self.end = self.end.max(offset + segment.page_count as u64 * PAGE_BYTES as u64);
        Ok(())
    }

    /// Which pages of a space are free.
    pub(crate) fn pages(&self, space: Space) -> &FilePages {
        &self.spaces[space as usize].pages
    }

    /// Which pages of a space are free, to take or release some.
    pub(crate) fn pages_mut(&mut self, space: Space) -> &mut FilePages {
        &mut self.spaces[space as usize].pages
    }

    /// The segments of a space, as the superblock keeps them; neighbours in the file are joined.
    pub(crate) fn segments(&self, space: Space) -> Vec<Segment> {
        let mut joined: Vec<Segment> = Vec::new();
        for placed in &self.spaces[space as usize].segments {
            match joined.last_mut() {
                Some(last)
                    if last.first_file_page + last.page_count == placed.segment.first_file_page =>
                {
                    last.page_count += placed.segment.page_count;
                }
                _ => joined.push(placed.segment),
            }
        }
        joined
    }

    /// Where the last segment ends.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// How long the file is.
    pub(crate) fn length(&self) -> &Arc<FileLength> {
        &self.length
    }

    /// Where a page lies in the file, and how many pages follow it without a gap (itself included).
    pub(crate) fn place_of(&self, space: Space, page: u32) -> Option<(u64, u32)> {
        let segments = &self.spaces[space as usize].segments;
        let at = segments.partition_point(|placed| placed.first_page <= page).checked_sub(1)?;
        let Placed { first_page, segment } = segments[at];
        let within = page - first_page;
        let offset = (segment.first_file_page as u64 + within as u64) * PAGE_BYTES as u64;
        (within < segment.page_count).then(|| (offset, segment.page_count - within))
    }

    /// Makes sure that a space has this many free pages.
    ///
    /// # Errors
    /// `NoSpace` if the disk, `max_bytes` or the address range is full; nothing has changed then but that
    /// some segments may have been added.
    pub(crate) fn ensure_free(
        &mut self,
        space: Space,
        pages: u64,
        file: &dyn DiskFile,
        regions: &Regions,
    ) -> Result<()> {
        while (self.pages(space).free_count() as u64) < pages {
            let missing = pages - self.pages(space).free_count() as u64;
            if space != Space::Tables {
                self.grow_tables_along(file, regions)?;
            }
            self.grow(space, missing, file, regions)?;
        }
        Ok(())
    }

    /// Grows the tables space before another one grows past what its tables usually need. Tables that grow only when
    /// they must would lie behind pages that are free once the store is closed, and keep the file from being cut.
    fn grow_tables_along(&mut self, file: &dyn DiskFile, regions: &Regions) -> Result<()> {
        let pages =
            self.pages(Space::Buckets).page_count() + self.pages(Space::Values).page_count();
        if self.pages(Space::Tables).page_count() >= pages / PAGES_PER_TABLE_PAGE {
            return Ok(());
        }
        match self.grow(Space::Tables, 0, file, regions) {
            // What is left may be enough for what is really needed.
            Err(Error::NoSpace { .. }) => Ok(()),
            other => other,
        }
    }

    /// Adds one segment of the scheduled size, or of the smallest that helps if the disk is nearly full.
    fn grow(
        &mut self,
        space: Space,
        missing: u64,
        file: &dyn DiskFile,
        regions: &Regions,
    ) -> Result<()> {
        let count = self.pages(space).page_count();
        let scheduled = next_segment_pages(count);
        let least = if count < HUGE_PAGES { SEGMENT_UNIT_PAGES.max(count) } else { HUGE_PAGES };
        if count as u64 + missing >= POOL_BASE as u64 {
            let detail = "the address range of one page space (1 TiB) is used up".into();
            return Err(Error::NoSpace { path: file.path().into(), detail });
        }
        // Half as large each time: there are only so many segments, and the smallest would be many.
        let mut pages = scheduled;
        loop {
            match self.add_segment(space, pages, file, regions) {
                Err(Error::NoSpace { .. }) if pages > least => {
                    let half = pages / 2 / HUGE_PAGES * HUGE_PAGES;
                    pages = if count < HUGE_PAGES { least } else { half.max(least) };
                }
                other => return other,
            }
        }
    }

    /// True if a superblock can list one more segment, which begins at this page of the file.
    fn can_list(&self, space: Space, first_file_page: u32) -> bool {
        let last = self.spaces[space as usize].segments.last();
        let is_joined = last.is_some_and(|last| {
            last.segment.first_file_page + last.segment.page_count == first_file_page
        });
        let kept = if space == Space::Tables { 0 } else { SEGMENTS_FOR_TABLES };
        let listed: usize = Space::ALL.map(|space| self.segments(space).len()).iter().sum();
        is_joined || listed + kept < SEGMENTS_MAX
    }

    /// Allocates a run at the end of the file and maps it.
    fn add_segment(
        &mut self,
        space: Space,
        page_count: u32,
        file: &dyn DiskFile,
        regions: &Regions,
    ) -> Result<()> {
        let alignment = if page_count >= HUGE_PAGES { HUGE_PAGES } else { 1 };
        let offset = self.end.next_multiple_of(alignment as u64 * PAGE_BYTES as u64);
        let bytes = page_count as u64 * PAGE_BYTES as u64;
        if offset + bytes > self.bytes_max {
            return Err(Error::NoSpace {
                path: file.path().into(),
                detail: format!(
                    "max_bytes is {}, the file would need {}",
                    self.bytes_max,
                    offset + bytes
                ),
            });
        }
        let first_file_page = (offset / PAGE_BYTES as u64) as u32;
        if !self.can_list(space, first_file_page) {
            let detail = format!("the file has as many segments as it can list, {SEGMENTS_MAX}");
            return Err(Error::NoSpace { path: file.path().into(), detail });
        }
        self.length.reach(offset + bytes, file)?;
        self.place(space, Segment { first_file_page, page_count }, file, regions)?;
        self.length.want(self.end_after_next());
        Ok(())
    }

    /// Where the next large segment will end that buckets or values need; 0 if it is not known to be allowed.
    fn end_after_next(&self) -> u64 {
        let next = |space| next_segment_pages(self.pages(space).page_count());
        let pages = next(Space::Buckets).max(next(Space::Values));
        let start = self.end.next_multiple_of(HUGE_PAGES as u64 * PAGE_BYTES as u64);
        let end = start + pages as u64 * PAGE_BYTES as u64;
        if pages >= AHEAD_PAGES_MIN && end <= self.bytes_max { end } else { 0 }
    }

    /// Pages of buckets and values that these spaces would do without, in whole alignment units: what
    /// [`cut_free_tail`](Self::cut_free_tail) can cut at most once the others have moved to the front.
    pub(crate) fn spare_pages(&self) -> u32 {
        let spare = |space| {
            let pages = self.pages(space);
            pages.page_count().saturating_sub(round_up_to_schedule(pages.roomy()))
        };
        spare(Space::Buckets) + spare(Space::Values)
    }

    /// Cuts free pages off the end of the file, as far as whole alignment units are free there.
    ///
    /// Returns the new length; the caller truncates the file once both superblocks say so. Unmaps what it
    /// cuts: the caller makes sure that no reader holds pages there.
    pub(crate) fn cut_free_tail(&mut self, file: &dyn DiskFile, regions: &Regions) -> Result<u64> {
        while let Some(space) = self.last_space() {
            let part = &mut self.spaces[space as usize];
            let count = part.pages.page_count();
            let keep = round_up_to_schedule(part.pages.end_of_taken().max(1));
            let Some(last) = part.segments.last_mut() else { break };
            let keep_here = keep.saturating_sub(last.first_page).min(last.segment.page_count);
            if keep >= count {
                break;
            }
            let new_count = last.first_page + keep_here;
            if let Some(region) = regions.of(space) {
                region.unmap_segment(new_count, count - new_count).map_err(|source| Error::Io {
                    path: file.path().into(),
                    action: "unmap",
                    source,
                })?;
            }
            last.segment.page_count = keep_here;
            let segment_end = (last.segment.first_file_page + keep_here) as u64 * PAGE_BYTES as u64;
            let emptied = keep_here == 0;
            if emptied {
                part.segments.pop();
            }
            part.pages.shrink_to(new_count);
            self.end = if emptied { self.end_of_segments() } else { segment_end };
            if !emptied {
                break;
            }
        }
        Ok(self.end)
    }

    /// The space whose segment ends the file.
    fn last_space(&self) -> Option<Space> {
        let last = |space: &Space| {
            self.spaces[*space as usize]
                .segments
                .last()
                .map(|placed| placed.segment.first_file_page)
        };
        SPACES.into_iter().filter(|space| last(space).is_some()).max_by_key(last)
    }

    fn end_of_segments(&self) -> u64 {
        let ends = self.spaces.iter().filter_map(|part| part.segments.last());
        let end =
            ends.map(|placed| placed.segment.first_file_page + placed.segment.page_count).max();
        end.map_or(SEGMENTS_START, |page| page as u64 * PAGE_BYTES as u64)
    }

    /// The page of a space that begins at this offset of the file.
    pub(crate) fn page_at(&self, space: Space, offset: u64) -> Option<u32> {
        let file_page = u32::try_from(offset / PAGE_BYTES as u64).ok()?;
        let segments = &self.spaces[space as usize].segments;
        let holds = |placed: &&Placed| {
            let first = placed.segment.first_file_page;
            (first..first + placed.segment.page_count).contains(&file_page)
        };
        let placed =
            segments.iter().find(holds).filter(|_| offset.is_multiple_of(PAGE_BYTES as u64))?;
        Some(placed.first_page + (file_page - placed.segment.first_file_page))
    }

    /// The first run of exactly this many free pages that are neighbours in the file as well.
    pub(crate) fn find_adjacent(&self, space: Space, pages: u32) -> Option<Range<u32>> {
        let part = &self.spaces[space as usize];
        part.segments.iter().find_map(|placed| {
            let end = placed.first_page + placed.segment.page_count;
            part.pages.find_run(placed.first_page..end, pages)
        })
    }

    /// Takes what [`find_adjacent`](Self::find_adjacent) finds.
    pub(crate) fn take_adjacent(&mut self, space: Space, pages: u32) -> Option<Range<u32>> {
        let run = self.find_adjacent(space, pages)?;
        run.clone().for_each(|page| _ = self.pages_mut(space).take(page));
        Some(run)
    }

    /// As [`take_adjacent`](Self::take_adjacent); makes the file longer if there is no such run.
    ///
    /// # Errors
    /// As [`ensure_free`](Self::ensure_free).
    pub(crate) fn take_adjacent_or_grow(
        &mut self,
        space: Space,
        pages: u32,
        file: &dyn DiskFile,
        regions: &Regions,
    ) -> Result<Range<u32>> {
        if let Some(run) = self.take_adjacent(space, pages) {
            return Ok(run);
        }
        let scheduled = next_segment_pages(self.pages(space).page_count());
        self.add_segment(space, scheduled.max(round_up_to_schedule(pages)), file, regions)?;
        self.take_adjacent(space, pages).ok_or_else(|| Error::NoSpace {
            path: file.path().into(),
            detail: format!("no {pages} free pages in a row, although some were added"),
        })
    }

    /// Takes a run of free pages that is also contiguous in the file.
    pub(crate) fn take_run(&mut self, space: Space, pages_max: u32) -> Option<(Range<u32>, u64)> {
        let run = self.pages_mut(space).take_run(pages_max)?;
        let (offset, contiguous) = self.place_of(space, run.start)?;
        let kept = run.start..run.end.min(run.start + contiguous);
        for page in kept.end..run.end {
            self.pages_mut(space).release(page);
        }
        Some((kept, offset))
    }
}

/// The spaces, in the order of their numbers.
pub(crate) const SPACES: [Space; 3] = [Space::Buckets, Space::Values, Space::Tables];

/// Pages of the segment that follows when a space has `count` pages.
fn next_segment_pages(count: u32) -> u32 {
    if count == 0 {
        SEGMENT_UNIT_PAGES
    } else if count < HUGE_PAGES {
        count
    } else {
        (count / 8 / HUGE_PAGES * HUGE_PAGES).max(HUGE_PAGES)
    }
}

/// The smallest page count at or above `count` that the growth schedule can go on from.
fn round_up_to_schedule(count: u32) -> u32 {
    if count >= HUGE_PAGES {
        count.next_multiple_of(HUGE_PAGES)
    } else {
        count.next_power_of_two().max(SEGMENT_UNIT_PAGES)
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use super::*;
    use crate::io::{Disk, OpenMode, OsDisk};

    /// Found when a checkpoint wants to list them, it would be too late: what they hold has been promised.
    #[test]
    fn a_file_that_can_list_no_more_segments_has_no_space() {
        const COUNT: u32 = 430;
        const PAGES: u32 = 8;
        let folder = tempfile::tempdir().unwrap();
        let file = OsDisk.open(&folder.path().join("data"), OpenMode::CreateNew).unwrap();
        let regions =
            Regions { buckets: Region::reserve().unwrap(), values: Region::reserve().unwrap() };
        let lists = [Space::Buckets, Space::Values].map(|space| {
            let numbers = (0..COUNT).filter(|number| number % 2 == space as u32 % 2);
            let at = |number| Segment { first_file_page: 16 + number * PAGES, page_count: PAGES };
            (space, numbers.map(at).collect::<Vec<_>>())
        });
        let segments = |space| {
            let list = lists.iter().find(|(of, _)| *of == space);
            list.map_or(&[][..], |(_, list)| list.as_slice())
        };
        let mut layout = FileLayout::from_segments(segments, 1 << 40, &*file, &regions).unwrap();
        let listed = |layout: &FileLayout| -> usize {
            Space::ALL.map(|space| layout.segments(space).len()).iter().sum()
        };
        assert_eq!(listed(&layout), COUNT as usize);
        let mut refused = 0;
        for round in 1..10 {
            for space in [Space::Buckets, Space::Values] {
                let wanted = u64::from(layout.pages(space).page_count()) + round;
                match layout.ensure_free(space, wanted, &*file, &regions) {
                    Ok(()) => {}
                    Err(Error::NoSpace { detail, .. }) => {
                        assert!(detail.contains("segments"), "{detail}");
                        refused += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
        assert!(refused > 0);
        // The tables may go on.
        layout.grow(Space::Tables, 1, &*file, &regions).unwrap();
        assert!(listed(&layout) <= SEGMENTS_MAX, "{}", listed(&layout));
    }
}
