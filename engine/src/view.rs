//! Views: the file described in another format, kept up to date by the checkpoints.
//!
//! The store reads nothing from a view. [`FileView`] makes one; `ViewKeeper` knows where the one on disk lies and
//! finds a place for the next. Order on disk: the new body goes to pages that the header on disk does not lead to, and
//! is synced together with the pages and nodes of the checkpoint; then the header is written beside the superblock,
//! before the same sync. The old body's pages are free after that. So at each instant the header on disk leads to a
//! whole body, and what it describes was on disk before it; see `docs/hdf5.md`.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::superblock::Superblock;
use cidstore_core::layout::table::Space;
pub use cidstore_core::layout::view::{FileDescription, ViewHeader};
use cidstore_core::layout::view::{VIEW_FRAME_BYTES, VIEW_HEADER_BYTES, VIEW_OFFSET, ViewFrame};
use zerocopy::{FromBytes, IntoBytes};

use crate::error::Result;
use crate::io::DiskFile;
use crate::space::layout::FileLayout;

/// Writes a file's description in another format.
pub trait FileView: Debug + Send + Sync {
    /// The view of a file, its body to be placed at `body_offset`. Where that is must not change the length.
    fn emit(&self, file: &FileDescription<'_>, body_offset: u64) -> ViewBytes;

    /// Where the body lies that a header leads to; `None` if it is not a header of this kind.
    fn body_offset(&self, header: &ViewHeader) -> Option<u64>;
}

/// A view as bytes.
#[derive(Clone, Debug)]
pub struct ViewBytes {
    /// Goes to a fixed place, in one sector.
    pub header: ViewHeader,
    /// Goes where there is room.
    pub body: Vec<u8>,
}

#[cfg(feature = "hdf5")]
impl FileView for cidstore_hdf5_emit::Emitter {
    fn emit(&self, file: &FileDescription<'_>, body_offset: u64) -> ViewBytes {
        let cidstore_hdf5_emit::Metadata { header, body } =
            cidstore_hdf5_emit::Emitter::emit(self, file, body_offset);
        ViewBytes { header, body }
    }

    fn body_offset(&self, header: &ViewHeader) -> Option<u64> {
        Self::body_offset(header)
    }
}

/// The view that files get unless told otherwise: HDF5, if this was built with it.
pub(crate) fn default_view() -> Option<Arc<dyn FileView>> {
    #[cfg(feature = "hdf5")]
    let view: Option<Arc<dyn FileView>> = Some(Arc::new(cidstore_hdf5_emit::Emitter::default()));
    #[cfg(not(feature = "hdf5"))]
    let view = None;
    view
}

/// What the header of a file is to become, and the pages of the body that it leads to.
#[derive(Debug)]
pub(crate) struct NextView {
    pub(crate) header: ViewHeader,
    pub(crate) run: Range<u32>,
}

/// The view of one file.
#[derive(Debug)]
pub(crate) struct ViewKeeper {
    view: Option<Arc<dyn FileView>>,
    /// Pages of the tables space that the header on disk leads to; they count as taken.
    current: Range<u32>,
    /// Pages that were taken for the next body.
    prepared: Range<u32>,
    /// False if the header on disk is known to be zero.
    has_header: bool,
    /// The view on disk does not show the newest checkpoint, or lies where it should not.
    stale: bool,
}

impl ViewKeeper {
    /// For a file that has no view yet.
    pub(crate) fn new(view: Option<Arc<dyn FileView>>) -> Self {
        let stale = view.is_some();
        Self { view, current: 0..0, prepared: 0..0, has_header: false, stale }
    }

    /// Finds the view of a file, and takes the pages of its body. A view that is not whole, or whose pages something else
    /// has, is none: it will be written anew.
    pub(crate) fn find(
        view: Option<Arc<dyn FileView>>,
        file: &dyn DiskFile,
        files: &mut FileLayout,
        newest: &Superblock,
    ) -> Result<Self> {
        let mut keeper = Self::new(view);
        let mut header = [0; VIEW_HEADER_BYTES];
        if file.len()? < VIEW_OFFSET + VIEW_HEADER_BYTES as u64 {
            return Ok(keeper);
        }
        file.read_at(VIEW_OFFSET, &mut header)?;
        keeper.has_header = header != [0; VIEW_HEADER_BYTES];
        let offset = keeper.view.as_ref().and_then(|view| view.body_offset(&header));
        if let Some((frame, run)) = read_body(file, files, &header, offset)? {
            let pages = files.pages_mut(Space::Tables);
            if run.clone().all(|page| !pages.is_taken(page)) {
                run.clone().for_each(|page| _ = pages.take(page));
                keeper.current = run;
                keeper.stale = !frame.shows(newest);
            }
        }
        if keeper.view.is_none() {
            keeper.stale = keeper.has_header;
        } else if keeper.has_header && keeper.stale {
            // A crash between two syncs, another program's writes, or damage: all the same to the store.
            tracing::info!(path = %file.path().display(), "the view of the file is written anew");
        }
        Ok(keeper)
    }

    /// What makes the bytes, if there is to be a view.
    pub(crate) fn view(&self) -> Option<Arc<dyn FileView>> {
        self.view.clone()
    }

    /// True if the view must be written although nothing has changed.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale
    }

    /// A header of zeros, if there is another on disk.
    pub(crate) fn without_view(&self) -> Option<NextView> {
        self.has_header.then_some(NextView { header: [0; VIEW_HEADER_BYTES], run: 0..0 })
    }

    /// The pages that were prepared for the next body.
    pub(crate) fn take_prepared(&mut self) -> Range<u32> {
        std::mem::replace(&mut self.prepared, 0..0)
    }

    /// Takes pages for a body like the present one, so that it will not be in the way of what is cut off the file.
    pub(crate) fn prepare(&mut self, files: &mut FileLayout) {
        if self.view.is_some() && self.prepared.is_empty() {
            // One more than now: the file may have got another segment.
            let pages = self.current.len() as u32 + 1;
            self.prepared = files.take_adjacent(Space::Tables, pages).unwrap_or(0..0);
        }
    }

    /// Gives back what was prepared and not used.
    pub(crate) fn release_prepared(&mut self, files: &mut FileLayout) {
        self.take_prepared().for_each(|page| files.pages_mut(Space::Tables).release(page));
    }

    /// Pages that the view takes while it is replaced.
    pub(crate) fn pages_needed(&self) -> u32 {
        self.current.len() as u32 * 2
    }

    /// If the body lies beyond `limit` and there is room before it, lets the next checkpoint move it. Answers whether
    /// it does.
    pub(crate) fn move_beyond(&mut self, limit: u32, files: &FileLayout) -> bool {
        let pages = self.current.len() as u32;
        let moves = self.current.end > limit
            && files
                .find_adjacent(Space::Tables, pages)
                .is_some_and(|run| run.start < self.current.start);
        self.stale |= moves;
        moves
    }

    /// The header is on disk: what it led to before is free.
    pub(crate) fn published(&mut self, next: NextView, files: &mut FileLayout) {
        let pages = files.pages_mut(Space::Tables);
        std::mem::replace(&mut self.current, next.run).for_each(|page| pages.release(page));
        self.has_header = next.header != [0; VIEW_HEADER_BYTES];
        // Without a header there was no room for a body: the next checkpoint tries again.
        self.stale = self.view.is_some() && !self.has_header;
    }
}

/// The body at an offset, if it is whole: its frame and its pages.
fn read_body(
    file: &dyn DiskFile,
    files: &FileLayout,
    header: &ViewHeader,
    offset: Option<u64>,
) -> Result<Option<(ViewFrame, Range<u32>)>> {
    let start = offset.and_then(|offset| offset.checked_sub(VIEW_FRAME_BYTES as u64));
    let Some(first) = start.and_then(|start| files.page_at(Space::Tables, start)) else {
        return Ok(None);
    };
    let Some((place, adjacent)) = files.place_of(Space::Tables, first) else { return Ok(None) };
    let mut bytes = [0; VIEW_FRAME_BYTES];
    file.read_at(place, &mut bytes)?;
    let Ok(frame) = ViewFrame::read_from_bytes(&bytes) else { return Ok(None) };
    let pages = pages_for(frame.body_bytes as usize);
    if pages > adjacent {
        return Ok(None);
    }
    let mut body = vec![0; frame.body_bytes as usize];
    file.read_at(place + VIEW_FRAME_BYTES as u64, &mut body)?;
    Ok(frame.fits(header, &body).then_some((frame, first..first + pages)))
}

/// Pages that a body of this length and its frame take.
pub(crate) fn pages_for(body_bytes: usize) -> u32 {
    (VIEW_FRAME_BYTES + body_bytes).div_ceil(PAGE_BYTES) as u32
}

/// Writes a frame and its body at the start of a page.
pub(crate) fn write_body(
    file: &dyn DiskFile,
    offset: u64,
    superblock: &Superblock,
    bytes: &ViewBytes,
) -> Result<()> {
    let frame = ViewFrame::new(superblock, &bytes.header, &bytes.body);
    file.write_at(offset, &[frame.as_bytes(), &bytes.body].concat())
}
