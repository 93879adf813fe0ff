//! The reserved address range of one space: mapped file segments below, the pool above.
//!
//! This is one of the files that may hold `unsafe`. What it promises to the safe code around it:
//!
//! - the range is reserved once and given back when the last owner drops it, so a `&Page` that borrows
//!   the region never outlives its address;
//! - every page of the range can be read at any time: what no segment backs is a mapping of zeros;
//! - file pages are mapped read-only: a stray store faults, and nothing in the process can change the file
//!   other than through `Disk`;
//! - pool pages are private anonymous memory, all zeros before the first store;
//! - pages are only ever seen as arrays of atomic words, so a concurrent change (by the writer, or by a
//!   foreign process that writes into the file) is never a data race.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::RawFd;
use std::ptr::{NonNull, null_mut};

use cidstore_core::layout::PAGE_BYTES;

use super::{HUGE_PAGES, POOL_BASE, POOL_PAGES};
use crate::sync::Page;

/// Pages that can be addressed in one space.
const REGION_PAGES: usize = POOL_BASE as usize + POOL_PAGES as usize;
/// Alignment of the range: a huge page.
const HUGE_BYTES: usize = HUGE_PAGES as usize * PAGE_BYTES;

/// One space's addresses.
#[derive(Debug)]
pub(crate) struct Region {
    /// Start of the aligned range.
    base: NonNull<u8>,
    /// What `mmap` gave, for `munmap`.
    mapping: NonNull<u8>,
    mapping_bytes: usize,
}

// SAFETY: the region owns its mapping; `base` is only used to form shared references to atomic words,
// and the calls that change mappings take page ranges that nothing refers to (their callers' duty).
unsafe impl Send for Region {}
// SAFETY: as above; every access to the memory goes through atomics.
unsafe impl Sync for Region {}

impl Region {
    /// Reserves the addresses of one space and makes the pool's part writable memory.
    ///
    /// Costs address space only; the kernel gives memory as pages are touched.
    pub(crate) fn reserve() -> io::Result<Self> {
        let mapping_bytes = REGION_PAGES * PAGE_BYTES + HUGE_BYTES;
        let mapping = map_anonymous(null_mut(), mapping_bytes, libc::PROT_READ)?;
        let padding = mapping.as_ptr().align_offset(HUGE_BYTES);
        // SAFETY: the mapping is HUGE_BYTES longer than what is used, and the padding is below that.
        let base = unsafe { mapping.add(padding) };
        let region = Self { base, mapping, mapping_bytes };
        let pool = region.address(POOL_BASE);
        let pool_bytes = POOL_PAGES as usize * PAGE_BYTES;
        map_anonymous(pool.cast(), pool_bytes, libc::PROT_READ | libc::PROT_WRITE)?;
        // The first pages stay small: a store that changes little would pay for a huge page it does not need.
        let large = region.address(POOL_BASE + HUGE_PAGES);
        advise(large, pool_bytes - HUGE_BYTES, libc::MADV_HUGEPAGE);
        Ok(region)
    }

    /// Address of a page of this space.
    fn address(&self, page: u32) -> *mut u8 {
        assert!((page as usize) < REGION_PAGES, "page {page} is beyond the address range");
        // SAFETY: just checked to lie in the reserved range.
        unsafe { self.base.as_ptr().add(page as usize * PAGE_BYTES) }
    }

    /// The words of a page. Pages that no segment backs read as zeros.
    #[inline]
    pub(crate) fn page(&self, page: u32) -> &Page {
        let address = self.address(page).cast::<Page>();
        // SAFETY: the address is page aligned, inside the reserved range, and readable for as long as
        // `self` lives. Atomic words may alias memory that others change. (A page of a truncated file
        // raises SIGBUS: our own truncation unmaps first, a foreign one is refused by the lock.)
        unsafe { &*address }
    }

    /// Maps a segment of the file over its page numbers.
    pub(crate) fn map_segment(
        &self,
        file: RawFd,
        file_offset: u64,
        first_page: u32,
        page_count: u32,
    ) -> io::Result<()> {
        assert!(first_page as u64 + page_count as u64 <= POOL_BASE as u64, "segment in the pool");
        let address = self.address(first_page);
        let bytes = page_count as usize * PAGE_BYTES;
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        // SAFETY: the range lies in our own reservation and held only zeros that no page number in use
        // names, so replacing the mapping changes no memory that anybody refers to.
        let mapped = unsafe {
            libc::mmap(address.cast(), bytes, libc::PROT_READ, flags, file, file_offset as i64)
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        if bytes >= HUGE_BYTES {
            advise(address, bytes, libc::MADV_HUGEPAGE);
        }
        Ok(())
    }

    /// Takes pages of the file out of the map, before the file is made shorter.
    ///
    /// The caller makes sure that what a reader still finds in one of these pages does not count.
    pub(crate) fn unmap_segment(&self, first_page: u32, page_count: u32) -> io::Result<()> {
        let bytes = page_count as usize * PAGE_BYTES;
        map_anonymous(self.address(first_page).cast(), bytes, libc::PROT_READ).map(drop)
    }

    /// Takes the whole file out of the map: its pages read as zeros from then on. Before the file's locks are given back, since
    /// whoever has them next may change it, and make it shorter than the map is.
    pub(crate) fn unmap_all(&self) -> io::Result<()> {
        self.unmap_segment(0, POOL_BASE)
    }

    /// Gives the memory of free pool pages back; they read as zeros afterwards.
    pub(crate) fn discard_pool(&self, first_page: u32, page_count: u32) {
        assert!(first_page >= POOL_BASE, "only pool pages can be discarded");
        advise(self.address(first_page), page_count as usize * PAGE_BYTES, libc::MADV_DONTNEED);
    }

    /// Has the kernel give pool pages their memory now, as the first store to each would. What is in them stays.
    pub(crate) fn touch_pool(&self, first_page: u32, page_count: u32) {
        assert!(first_page >= POOL_BASE, "pages of the file are not written to");
        let bytes = page_count as usize * PAGE_BYTES;
        advise(self.address(first_page), bytes, libc::MADV_POPULATE_WRITE);
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, whole, and nothing borrows from `self` any more.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.mapping_bytes) };
    }
}

/// A private mapping of zeros, somewhere or (with an address) in place of what is there.
pub(crate) fn map_anonymous(
    address: *mut libc::c_void,
    bytes: usize,
    protection: libc::c_int,
) -> io::Result<NonNull<u8>> {
    let fixed = if address.is_null() { 0 } else { libc::MAP_FIXED };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | fixed;
    // SAFETY: without an address the kernel picks free addresses. With one, the callers in this crate
    // name ranges inside a reservation of their own that nothing refers to.
    let mapped = unsafe { libc::mmap(address, bytes, protection, flags, -1, 0) };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(mapped.cast()).ok_or_else(|| io::Error::other("mmap gave address zero"))
}

/// A hint to the kernel; failing costs speed or memory only, so the answer is not looked at.
fn advise(address: *mut u8, bytes: usize, advice: libc::c_int) {
    // SAFETY: the range lies in our own reservation; the advices used keep contents, other than
    // MADV_DONTNEED, which `discard_pool` uses on free pages.
    unsafe { libc::madvise(address.cast(), bytes, advice) };
}
