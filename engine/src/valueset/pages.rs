//! [`ValuePages`]: what the value sets ask of the store's pages. The writer implements it.
//!
//! A page is named by a logical number, which the value table maps to where the page is now. The
//! implementation keeps R7: a page that a cut made immutable, or that was replaced, is never stored to.

use cidstore_core::layout::entry::SetReference;

use crate::sync::Page;

/// A zeroed page that no logical number names yet, by its physical number. Not to be lost: what is made is
/// published.
#[derive(Debug)]
#[must_use = "a fresh page that is not published is lost"]
pub(crate) struct FreshPage(pub(crate) u32);

/// The pages of the value space, as their single writer sees them.
pub(crate) trait ValuePages {
    /// The current copy of a page. A number that names nothing gives a page of zeros.
    fn page(&self, logical: u32) -> &Page;

    /// True if the number is in use, and the page is what was written. One in memory is.
    fn is_sound(&self, logical: u32) -> bool;

    /// As [`is_sound`](Self::is_sound), for a page that will be read only, again and again: may go by an earlier look.
    fn is_sound_to_read(&self, logical: u32) -> bool;

    /// The writable copy of a page that exists: copied, generation stamped and slot swung at the first
    /// change since the cut. Stores follow the page protocol.
    fn page_mut(&mut self, logical: u32) -> &Page;

    /// A new logical number, naming a zeroed writable page. Never fails: space was reserved.
    fn allocate(&mut self) -> u32;

    /// A zeroed writable page.
    fn fresh(&mut self) -> FreshPage;

    /// The words of a fresh page.
    fn fresh_page(&self, fresh: &FreshPage) -> &Page;

    /// Lets `logical` name the fresh page (Release: whoever loads the slot sees the page's content) and
    /// retires the page that it named.
    fn publish(&mut self, logical: u32, fresh: FreshPage);

    /// The page and its number come back after limbo; until then the number goes on naming the page. Does nothing to a number
    /// that is not in use.
    fn retire(&mut self, logical: u32);

    /// [`ExtentAllocator::extent_returned`](super::ExtentAllocator::extent_returned) is to be called for
    /// this extent after limbo.
    fn retire_extent(&mut self, set: SetReference);

    /// Stamped into each page that is built.
    fn generation(&self) -> u64;
}
