//! The memory of a table: reserved addresses that fill as they are touched.
//!
//! One of the files that may hold `unsafe`. The array never moves and never ends before its owner, so readers
//! index it without a lock; every slot not yet written is 0.

#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::ptr::{NonNull, null_mut};

use cidstore_core::layout::PAGE_BYTES;

use super::slots::SLOTS_MAX;
use crate::space::HUGE_PAGES;
use crate::space::region::map_anonymous;
use crate::sync::AtomicU32;

const BYTES: usize = SLOTS_MAX * size_of::<AtomicU32>();
const HUGE_BYTES: usize = HUGE_PAGES as usize * PAGE_BYTES;

/// The slots of a table.
#[derive(Debug)]
pub(crate) struct SlotMemory {
    slots: NonNull<AtomicU32>,
}

// SAFETY: the array owns its mapping, and its elements are atomics.
unsafe impl Send for SlotMemory {}
// SAFETY: as above.
unsafe impl Sync for SlotMemory {}

impl SlotMemory {
    /// Reserves the address range of a table (1 GiB of addresses, no memory yet).
    pub(crate) fn reserve() -> io::Result<Self> {
        let slots = map_anonymous(null_mut(), BYTES, libc::PROT_READ | libc::PROT_WRITE)?;
        let array = Self { slots: slots.cast() };
        // The first huge page stays small pages until the table is worth it: many stores are small.
        array.advise(HUGE_BYTES..BYTES, libc::MADV_HUGEPAGE);
        Ok(array)
    }

    /// Moves the first slots, as many as a huge page holds, into one, if the kernel can: a lookup in a large table
    /// then misses the TLB less. Readers notice nothing.
    pub(crate) fn use_huge_page(&self) {
        self.advise(0..HUGE_BYTES, libc::MADV_HUGEPAGE);
        self.advise(0..HUGE_BYTES, libc::MADV_COLLAPSE);
    }

    /// A hint to the kernel about a byte range of the array; failing costs speed only, so the answer is not looked at.
    fn advise(&self, bytes: Range<usize>, advice: libc::c_int) {
        // SAFETY: the callers name ranges inside the mapping.
        let start = unsafe { self.slots.as_ptr().byte_add(bytes.start) };
        // SAFETY: as above; neither advice that is used changes contents.
        unsafe { libc::madvise(start.cast(), bytes.len(), advice) };
    }

    /// The slot at `index`.
    #[inline]
    pub(super) fn slot(&self, index: usize) -> &AtomicU32 {
        assert!(index < SLOTS_MAX, "table slot {index} is out of range");
        // SAFETY: just checked to lie inside the mapping.
        let slot = unsafe { self.slots.add(index) };
        // SAFETY: the mapping is page aligned and lives as long as `self`, and any bytes are a valid
        // AtomicU32.
        unsafe { slot.as_ref() }
    }

    /// Asks the processor to fetch a slot's cache line.
    #[inline]
    pub(crate) fn prefetch(&self, index: u32) {
        let slot: *const AtomicU32 = self.slot(index as usize);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch reads nothing; every x86-64 processor has the instruction.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(slot.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = slot;
    }
}

impl Drop for SlotMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, whole, and nothing borrows from `self` any more.
        unsafe { libc::munmap(self.slots.as_ptr().cast(), BYTES) };
    }
}
