//! [`ExtentAllocator`]: which extents are free, by size class.
//!
//! The truth that survives is the `used` word of each page. In memory lies what derives from it: for each
//! class the pages with free extents, lowest number first so that sets gather in few pages; and the
//! *quarantine*: extents that are marked as free in their page, but that a reader may still be reading.
//! Free is what is neither used nor in quarantine. A page whose extents are all free is given back.
//!
//! Pages that were there when the store was opened may be discovered at any time, or never: until then
//! their free extents are not handed out.

use cidstore_core::layout::entry::SetReference;
use cidstore_core::layout::value::EXTENT_CAPACITIES;
use cidstore_core::protocol::extent::{Extents, full_mask};
use cidstore_core::protocol::value_fault::ValueFault;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;

use super::pages::ValuePages;
use super::{SetFault, at};
use crate::sync::{Page, PageWord};

/// Pages with free extents: the logical number and one bit a free extent; no mask is zero.
type FreeExtents = BTreeMap<u32, u64>;

/// Hands out extents.
#[derive(Debug, Default)]
pub(crate) struct ExtentAllocator {
    classes: [FreeExtents; EXTENT_CAPACITIES.len()],
    quarantine: HashMap<u32, u64>,
    /// Numbers that were given back and are not pages of extents again. Until limbo ends they go on naming
    /// the page, which then looks like one with free extents.
    given_back: HashSet<u32>,
}

impl ExtentAllocator {
    /// Takes note of a page that was there when the store was opened. Pages of other kinds are not noted.
    ///
    /// # Errors
    ///
    /// [`ValueFault::Class`] if the page is one of extents, but of no known class.
    pub(crate) fn discover(&mut self, logical: u32, page: &Page) -> Result<(), ValueFault> {
        let extents = match Extents::open(page) {
            Ok(extents) => extents,
            Err(ValueFault::Kind(_)) => return Ok(()),
            Err(fault) => return Err(fault),
        };
        if !self.given_back.contains(&logical) {
            let class = usize::from(extents.class());
            self.set_free(class, logical, self.free_mask(&extents, logical));
        }
        Ok(())
    }

    /// The extents that are neither used nor in quarantine.
    fn free_mask(&self, extents: &Extents<'_, PageWord>, logical: u32) -> u64 {
        let waiting = self.quarantine.get(&logical).copied().unwrap_or(0);
        full_mask(usize::from(extents.class())) & !extents.used() & !waiting
    }

    /// An extent of this class, marked as used, of which no reader has a reference. `class` is one that
    /// `class_for` gave.
    pub(crate) fn take(&mut self, pages: &mut impl ValuePages, class: usize) -> SetReference {
        let (logical, free) = match self.open_page(pages, class) {
            Some(open) => open,
            None => {
                let logical = pages.allocate();
                self.given_back.remove(&logical);
                let generation = pages.generation();
                Extents::format(pages.page_mut(logical), class as u8, generation);
                (logical, full_mask(class))
            }
        };
        let index = free.trailing_zeros() as u8;
        self.set_free(class, logical, free & (free - 1));
        if let Ok(extents) = Extents::open(pages.page_mut(logical)) {
            extents.set_used(index, true);
        }
        SetReference { page: logical, extent: Some(index) }
    }

    /// The first page of a class with free extents that is what was written. Damaged ones are not looked at again.
    fn open_page(&mut self, pages: &impl ValuePages, class: usize) -> Option<(u32, u64)> {
        let open = self.classes.get_mut(class)?;
        while let Some((&logical, &free)) = open.first_key_value() {
            if pages.is_sound(logical) {
                return Some((logical, free));
            }
            open.remove(&logical);
        }
        None
    }

    /// Marks an extent, which held `live` values, as free in its page, and keeps it in quarantine until
    /// [`Self::extent_returned`].
    ///
    /// # Errors
    ///
    /// [`SetFault`] if the extent is not in use, or the page is no page of extents.
    pub(crate) fn give_back(
        &mut self,
        pages: &mut impl ValuePages,
        set: SetReference,
        live: usize,
    ) -> Result<(), SetFault> {
        let bit = bit(set);
        let extents = Extents::open(pages.page(set.page)).map_err(at(set.page))?;
        let (Some(index), true) = (set.extent, extents.used() & bit != 0) else {
            return Err(at(set.page)(ValueFault::Unused));
        };
        let extents = Extents::open(pages.page_mut(set.page)).map_err(at(set.page))?;
        extents.set_used(index, false);
        extents.add_live_values(i32::try_from(live).map_or(i32::MIN, |live| -live));
        *self.quarantine.entry(set.page).or_default() |= bit;
        pages.retire_extent(set);
        Ok(())
    }

    /// Ends the quarantine of an extent: no reader can hold a reference to the set that it held. What was
    /// not in quarantine, or is no extent, is not touched.
    pub(crate) fn extent_returned(&mut self, pages: &mut impl ValuePages, set: SetReference) {
        let bit = bit(set);
        let Some(waiting) = self.quarantine.get_mut(&set.page) else { return };
        if *waiting & bit == 0 {
            return;
        }
        *waiting &= !bit;
        if *waiting == 0 {
            self.quarantine.remove(&set.page);
        }
        // Of a damaged page nobody knows what is free.
        if !pages.is_sound(set.page) {
            return;
        }
        let Ok(extents) = Extents::open(pages.page(set.page)) else { return };
        let class = usize::from(extents.class());
        let free = self.free_mask(&extents, set.page);
        if free == full_mask(class) {
            self.set_free(class, set.page, 0);
            self.given_back.insert(set.page);
            pages.retire(set.page);
        } else {
            self.set_free(class, set.page, free);
        }
    }

    /// The pages of which at most one extent in `parts` is in use: moving their sets away with
    /// [`Sets::relocate`](super::Sets::relocate) would free them.
    pub(crate) fn sparse_pages(&self, parts: u32) -> Vec<u32> {
        let mut sparse = Vec::new();
        for (class, pages) in self.classes.iter().enumerate() {
            let extents = full_mask(class).count_ones();
            let is_sparse = |free: u64| (extents - free.count_ones()) * parts <= extents;
            let found = pages.iter().filter(|(_, free)| is_sparse(**free));
            // The last page of a class has nowhere to go.
            sparse.extend(found.map(|(logical, _)| *logical).skip(1));
        }
        sparse
    }

    /// As [`Self::sparse_pages`], a few pages at a time: the first sparse page of a class behind `after` among the next
    /// `looks` with free extents, and where to look next.
    pub(crate) fn next_sparse(
        &self,
        parts: u32,
        (class, after): (usize, u32),
        looks: usize,
    ) -> (Option<u32>, Option<(usize, u32)>) {
        let Some(pages) = self.classes.get(class) else { return (None, None) };
        let extents = full_mask(class).count_ones();
        let first = pages.first_key_value().map(|(logical, _)| *logical);
        let mut behind = pages.range((Bound::Excluded(after), Bound::Unbounded));
        for _ in 0..looks {
            let Some((&logical, free)) = behind.next() else {
                let next = class + 1;
                return (None, (next < self.classes.len()).then_some((next, 0)));
            };
            // The first page is the one that sets are moved to.
            if Some(logical) != first && (extents - free.count_ones()) * parts <= extents {
                return (Some(logical), Some((class, logical)));
            }
        }
        let last = pages.range((Bound::Excluded(after), Bound::Unbounded)).nth(looks - 1);
        (None, last.map(|(&logical, _)| (class, logical)))
    }

    /// True for a page of extents some of which are free to be taken.
    pub(crate) fn is_open(&self, logical: u32) -> bool {
        self.classes.iter().any(|pages| pages.contains_key(&logical))
    }

    /// Takes a page out of those that extents are taken from, until one of its extents comes back: sets
    /// that are moved out of it do not land in it again.
    pub(crate) fn close_page(&mut self, logical: u32) {
        for pages in &mut self.classes {
            pages.remove(&logical);
        }
    }

    fn set_free(&mut self, class: usize, logical: u32, free: u64) {
        let Some(pages) = self.classes.get_mut(class) else { return };
        if free == 0 {
            pages.remove(&logical);
        } else {
            pages.insert(logical, free);
        }
    }
}

/// The extent's bit in the `used` word.
fn bit(set: SetReference) -> u64 {
    set.extent.and_then(|index| 1_u64.checked_shl(u32::from(index))).unwrap_or(0)
}
