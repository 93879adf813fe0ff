//! Spaces: where pages live in the file and in memory.
//!
//! A *page number* names a page of one space. Below [`POOL_BASE`] it is a page of the file, mapped
//! read-only; from [`POOL_BASE`] on it is a page of the pool, in memory only. Both are at
//! `base + number * 4096`, so a reader never asks which it is.

pub(crate) mod file_pages;
pub(crate) mod layout;
pub(crate) mod length;
pub(crate) mod limbo;
pub(crate) mod pool;
#[cfg(not(loom))]
pub(crate) mod region;
#[cfg(loom)]
#[path = "region_checked.rs"]
pub(crate) mod region;
#[cfg(not(loom))]
pub(crate) mod reserved;

use cidstore_core::layout::PAGE_WORDS;
use cidstore_core::protocol::word::Word;

use region::Region;

/// First page number of the pool. A space of the file can hold 2^28 pages (1 TiB).
pub(crate) const POOL_BASE: u32 = 1 << 28;
/// Pages that the pool of one space can hold (32 GiB of memory).
pub(crate) const POOL_PAGES: u32 = 1 << 23;

/// Pages of a huge page, 2 MiB: segments of this size and more are aligned to it, in the file and in memory.
pub(crate) const HUGE_PAGES: u32 = 512;

/// True if this page number names a page of the pool.
pub(crate) const fn is_pool(page: u32) -> bool {
    page >= POOL_BASE
}

impl Region {
    /// Copies a page into a private buffer.
    pub(crate) fn copy_out(&self, page: u32, out: &mut [u64; PAGE_WORDS]) {
        // Relaxed: the caller has the page's immutability (or the writer lock) on its side.
        Word::load_all_into(self.page(page), out);
    }
}
