//! The copies of tags, by number of the bucket page in the file: see [`TagCopy`].

use std::io;

use cidstore_core::hash::HashSeed;
use cidstore_core::layout::{NO_PAGE, PAGE_WORDS};
use cidstore_core::protocol::tag_copy::TagCopy;

use crate::space::POOL_BASE;
#[cfg(not(loom))]
use crate::space::reserved::Reserved;
use crate::sync::PageWord;
#[cfg(loom)]
use crate::sync::checked::Reserved;

/// A copy for each page of the file, 64 bytes each. The pool's pages change, so they have none.
#[derive(Debug)]
pub(crate) struct TagCopies {
    copies: Reserved<TagCopy<PageWord>, { POOL_BASE as usize }>,
}

impl TagCopies {
    /// Reserves the addresses (16 GiB, no memory yet). No copy is made.
    pub(crate) fn reserve() -> io::Result<Self> {
        Ok(Self { copies: Reserved::reserve()? })
    }

    /// Has the kernel take a huge page for the first copies, those of 32,768 pages, if it can.
    pub(crate) fn prefer_huge_page(&self) {
        self.copies.prefer_huge_page();
    }

    /// The place for the copy of a page; `None` of a page that is not in the file.
    #[inline(always)]
    pub(crate) fn of(&self, page: u32) -> Option<&TagCopy<PageWord>> {
        (page != NO_PAGE && page < POOL_BASE).then(|| self.copies.at(page as usize))
    }

    /// Makes the copy of a page that was written and is about to be named.
    pub(crate) fn renew(&self, page: u32, words: &[u64; PAGE_WORDS], seed: HashSeed) {
        if let Some(copy) = self.of(page) {
            copy.renew(words, |key| seed.hash(key));
        }
    }

    /// Gives up the copy of a page that is about to be named.
    pub(crate) fn forget(&self, page: u32) {
        if let Some(copy) = self.of(page) {
            copy.forget();
        }
    }
}
