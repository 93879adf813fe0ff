//! Arrays in reserved addresses, which fill as they are touched.
//!
//! One of the files that may hold `unsafe`. An array never moves and never ends before its owner, so readers index it without
//! a lock; every element not yet stored to is zeros.

#![allow(unsafe_code)]

use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::{NonNull, null_mut};

use cidstore_core::layout::PAGE_BYTES;
use zerocopy::FromZeros;

use super::HUGE_PAGES;
use super::region::map_anonymous;

const HUGE_BYTES: usize = HUGE_PAGES as usize * PAGE_BYTES;

/// `LENGTH` elements that may be changed through a shared reference: atomics.
#[derive(Debug)]
pub(crate) struct Reserved<T, const LENGTH: usize> {
    elements: NonNull<T>,
    _owns: PhantomData<T>,
}

// SAFETY: the array owns its mapping, and its elements may go to another thread.
unsafe impl<T: Send, const LENGTH: usize> Send for Reserved<T, LENGTH> {}
// SAFETY: the array gives out shared references only, to elements that may be shared.
unsafe impl<T: Sync, const LENGTH: usize> Sync for Reserved<T, LENGTH> {}

impl<T: FromZeros, const LENGTH: usize> Reserved<T, LENGTH> {
    const BYTES: usize = {
        assert!(align_of::<T>() <= PAGE_BYTES && !std::mem::needs_drop::<T>());
        LENGTH * size_of::<T>()
    };

    /// Reserves the addresses; memory comes with the first touch.
    pub(crate) fn reserve() -> io::Result<Self> {
        let elements = map_anonymous(null_mut(), Self::BYTES, libc::PROT_READ | libc::PROT_WRITE)?;
        let array = Self { elements: elements.cast(), _owns: PhantomData };
        // The first huge page stays small pages until the array is worth it: many stores are small.
        array.advise(HUGE_BYTES..Self::BYTES, libc::MADV_HUGEPAGE);
        Ok(array)
    }

    /// Moves the first elements, as many as a huge page holds, into one, if the kernel can: a lookup in a large array
    /// then misses the TLB less. Readers notice nothing.
    pub(crate) fn use_huge_page(&self) {
        self.prefer_huge_page();
        self.advise(0..HUGE_BYTES, libc::MADV_COLLAPSE);
    }

    /// Lets the first elements have a huge page from the next touch on, or when the kernel comes by.
    pub(crate) fn prefer_huge_page(&self) {
        self.advise(0..HUGE_BYTES, libc::MADV_HUGEPAGE);
    }

    /// A hint to the kernel about a byte range of the array; failing costs speed only, so the answer is not looked at.
    fn advise(&self, bytes: Range<usize>, advice: libc::c_int) {
        // SAFETY: the callers name ranges inside the mapping.
        let start = unsafe { self.elements.as_ptr().byte_add(bytes.start) };
        // SAFETY: as above; neither advice that is used changes contents.
        unsafe { libc::madvise(start.cast(), bytes.len(), advice) };
    }

    /// The element at `index`, which is in range.
    #[inline(always)]
    pub(crate) fn at(&self, index: usize) -> &T {
        match self.get(index) {
            Some(element) => element,
            None => unreachable!("element {index} is out of range"),
        }
    }

    /// The element at `index`, if there is one.
    #[inline(always)]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        if index >= LENGTH {
            return None;
        }
        // SAFETY: just checked to lie inside the mapping.
        let element = unsafe { self.elements.add(index) };
        // SAFETY: the mapping is aligned for `T` and lives as long as `self`; it was zeros, of which `T` has a value, and has
        // been changed through `T` alone.
        Some(unsafe { element.as_ref() })
    }
}

impl<T, const LENGTH: usize> Drop for Reserved<T, LENGTH> {
    fn drop(&mut self) {
        let bytes = LENGTH * size_of::<T>();
        // SAFETY: the mapping is ours, whole, and nothing borrows from `self` any more.
        unsafe { libc::munmap(self.elements.as_ptr().cast(), bytes) };
    }
}
