//! The pages of one space as a model checker has them: in place of `region.rs`, without files or maps.
//!
//! A page of the file is what [`Region::write_file_page`] made it.

use std::io;
use std::os::fd::RawFd;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use cidstore_core::layout::PAGE_WORDS;

use super::POOL_BASE;
use crate::sync::Page;
use crate::sync::checked::page;

/// Pages of each kind.
const PAGES: usize = 64;

/// One space's pages.
#[derive(Debug)]
pub(crate) struct Region {
    file: [OnceLock<Box<Page>>; PAGES],
    pool: [OnceLock<Box<Page>>; PAGES],
}

impl Region {
    /// Pages of zeros.
    pub(crate) fn reserve() -> io::Result<Self> {
        let pages = || std::array::from_fn(|_| OnceLock::new());
        Ok(Self { file: pages(), pool: pages() })
    }

    /// The words of a page.
    pub(crate) fn page(&self, number: u32) -> &Page {
        let pages = if number < POOL_BASE { &self.file } else { &self.pool };
        pages[(number % POOL_BASE) as usize].get_or_init(|| page(number))
    }

    /// What a write to the file does. The page cache is one for all: whoever reads sees the last write.
    pub(crate) fn write_file_page(&self, number: u32, words: &[u64; PAGE_WORDS]) {
        assert!(number < POOL_BASE, "the pool is no part of the file");
        for (to, &word) in self.page(number).iter().zip(words) {
            to.store(word, Ordering::Relaxed);
        }
    }

    pub(crate) fn map_segment(&self, _: RawFd, _: u64, _: u32, _: u32) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn unmap_all(&self) -> io::Result<()> {
        self.unmap_segment(0, self.file.len() as u32)
    }

    pub(crate) fn unmap_segment(&self, first_page: u32, page_count: u32) -> io::Result<()> {
        for number in first_page..first_page + page_count {
            self.write_file_page(number, &[0; PAGE_WORDS]);
        }
        Ok(())
    }

    pub(crate) fn discard_pool(&self, _: u32, _: u32) {}

    pub(crate) fn touch_pool(&self, _: u32, _: u32) {}
}
