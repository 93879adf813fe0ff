//! A table in memory: 2^28 atomic page numbers in reserved memory that fills as it is touched.
//!
//! One of the files that may hold `unsafe`. The array never moves and never ends before its owner, so readers
//! index it without a lock; every slot not yet written is 0, "no page".

#![allow(unsafe_code)]

use std::io;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};

use cidstore_core::hash::MAX_DEPTH;

use crate::space::region::map_anonymous;

/// Slots of a table.
pub(crate) const SLOTS_MAX: usize = 1 << MAX_DEPTH;
const BYTES: usize = SLOTS_MAX * size_of::<AtomicU32>();

/// A flat array of page numbers.
#[derive(Debug)]
pub(crate) struct SlotArray {
    slots: NonNull<AtomicU32>,
}

// SAFETY: the array owns its mapping, and its elements are atomics.
unsafe impl Send for SlotArray {}
// SAFETY: as above.
unsafe impl Sync for SlotArray {}

impl SlotArray {
    /// Reserves the address range of a table (1 GiB of addresses, no memory yet).
    pub(crate) fn reserve() -> io::Result<Self> {
        let slots = map_anonymous(null_mut(), BYTES, libc::PROT_READ | libc::PROT_WRITE)?;
        // SAFETY: the range was just mapped; the advice changes no contents, and failing costs speed only.
        unsafe { libc::madvise(slots.as_ptr().cast(), BYTES, libc::MADV_HUGEPAGE) };
        Ok(Self { slots: slots.cast() })
    }

    /// The slot at `index`.
    #[inline]
    fn slot(&self, index: usize) -> &AtomicU32 {
        assert!(index < SLOTS_MAX, "table slot {index} is out of range");
        // SAFETY: just checked to lie inside the mapping.
        let slot = unsafe { self.slots.add(index) };
        // SAFETY: the mapping is page aligned and lives as long as `self`, and any bytes are a valid
        // AtomicU32.
        unsafe { slot.as_ref() }
    }

    /// The page that a slot names.
    ///
    /// Acquire: whoever sees a page number sees the page's content as it was when the slot was swung.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> u32 {
        self.slot(index as usize).load(Ordering::Acquire)
    }

    /// Swings a slot. Of a table only the writer does, and only through `TableWriter`, which keeps snapshots whole.
    ///
    /// Release: pairs with [`get`](Self::get).
    pub(crate) fn set(&self, index: u32, page: u32) {
        self.slot(index as usize).store(page, Ordering::Release);
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

impl Drop for SlotArray {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, whole, and nothing borrows from `self` any more.
        unsafe { libc::munmap(self.slots.as_ptr().cast(), BYTES) };
    }
}
