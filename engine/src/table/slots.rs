//! A table in memory: 2^28 atomic page numbers. Every slot not yet written is 0, "no page".

use std::io;
use std::sync::atomic::Ordering;

use cidstore_core::hash::MAX_DEPTH;
use cidstore_core::layout::NO_PAGE;

use cidstore_core::probe;

#[cfg(not(loom))]
use crate::space::reserved::Reserved;
use crate::sync::AtomicU32;
#[cfg(loom)]
use crate::sync::checked::Reserved;

/// Slots of a table.
pub(crate) const SLOTS_MAX: usize = 1 << MAX_DEPTH;

/// A flat array of page numbers.
#[derive(Debug)]
pub(crate) struct SlotArray {
    slots: Reserved<AtomicU32, SLOTS_MAX>,
}

impl SlotArray {
    /// Reserves the address range of a table (1 GiB of addresses, no memory yet).
    pub(crate) fn reserve() -> io::Result<Self> {
        Ok(Self { slots: Reserved::reserve()? })
    }

    /// Moves the first slots, as many as a huge page holds, into one, if the kernel can: a lookup in a large table
    /// then misses the TLB less. Readers notice nothing.
    pub(crate) fn use_huge_page(&self) {
        self.slots.use_huge_page();
    }

    /// The page that a slot names; none for a number that no table has, as a damaged page may tell it.
    ///
    /// Acquire: whoever sees a page number sees the page's content as it was when the slot was swung.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> u32 {
        match self.slots.get(index as usize) {
            Some(slot) => slot.load(Ordering::Acquire),
            None => NO_PAGE,
        }
    }

    /// Swings a slot. Of a table only the writer does, and only through `TableWriter`, which keeps snapshots whole.
    ///
    /// Release: pairs with [`get`](Self::get).
    #[inline]
    pub(crate) fn set(&self, index: u32, page: u32) {
        self.slots.at(index as usize).store(page, Ordering::Release);
    }

    /// Asks the processor to fetch a slot's cache line.
    #[inline]
    pub(crate) fn prefetch(&self, index: u32) {
        if let Some(slot) = self.slots.get(index as usize) {
            probe::prefetch(slot);
        }
    }
}
