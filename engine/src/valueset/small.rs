//! Small sets: one extent each.

use cidstore_core::E;
use cidstore_core::layout::entry::{SetReference, SpillPointer};
use cidstore_core::layout::value::{SMALL_SET_MAX, class_for};
use cidstore_core::protocol::extent::{Extent, Extents};
use cidstore_core::protocol::value_fault::ValueFault;

use super::pages::ValuePages;
use super::{Insert, SetFault, Sets, at, plus, pointer};
use crate::sync::PageWord;

/// The sorted count as the page has it: an append may have extended it or not.
fn sorted_count(extent: &Extent<'_, PageWord>) -> Result<u32, ValueFault> {
    Ok(u32::from(extent.run().meta()?.sorted))
}

impl<P: ValuePages> Sets<'_, P> {
    /// Makes the set of these ascending values in an extent of a class that holds them.
    pub(super) fn create_small(&mut self, owner: E, values: &[E], class: usize) -> SpillPointer {
        let place = self.alloc.take(self.pages, class);
        let page = self.pages.page_mut(place.page);
        // The allocator has just formatted or looked at the page.
        if let (Ok(extents), Some(index)) = (Extents::open(page), place.extent)
            && let Ok(extent) = extents.extent(index)
        {
            extent.fill(owner, values, values.len());
            extents.add_live_values(values.len() as i32);
        }
        pointer(place, values.len() as u32, values)
    }

    /// The extent of a set of `owner`.
    fn extent(
        &self,
        owner: E,
        page: u32,
        index: u8,
    ) -> Result<(Extents<'_, PageWord>, Extent<'_, PageWord>), SetFault> {
        let extents = Extents::open(self.pages.page(page)).map_err(at(page))?;
        let extent = extents.extent(index).map_err(at(page))?;
        if extent.owner() != owner {
            return Err(at(page)(ValueFault::Owner));
        }
        Ok((extents, extent))
    }

    pub(super) fn insert_small(
        &mut self,
        owner: E,
        set: &SpillPointer,
        (page, index): (u32, u8),
        value: E,
    ) -> Result<Insert, SetFault> {
        let (_, extent) = self.extent(owner, page, index)?;
        let run = extent.run();
        if run.find(value).map_err(at(page))?.is_some() {
            return Ok(Insert::Present);
        }
        let state = run.state().map_err(at(page))?;
        if state.count() == run.capacity() || state.live() >= SMALL_SET_MAX {
            return Ok(Insert::Full);
        }
        let extents = Extents::open(self.pages.page_mut(page)).map_err(at(page))?;
        let extent = extents.extent(index).map_err(at(page))?;
        extent.run().append(value).map_err(at(page))?;
        extents.add_live_values(1);
        let sorted_count = sorted_count(&extent).map_err(at(page))?;
        Ok(Insert::Added(SpillPointer { sorted_count, ..plus(set, value) }))
    }

    /// Whether there was something to remove.
    pub(super) fn remove_small(
        &mut self,
        owner: E,
        (page, index): (u32, u8),
        value: E,
    ) -> Result<bool, SetFault> {
        let (_, extent) = self.extent(owner, page, index)?;
        let Some(position) = extent.run().find(value).map_err(at(page))? else {
            return Ok(false);
        };
        let extents = Extents::open(self.pages.page_mut(page)).map_err(at(page))?;
        let extent = extents.extent(index).map_err(at(page))?;
        extent.run().bury(position).map_err(at(page))?;
        extents.add_live_values(-1);
        Ok(true)
    }

    pub(super) fn retire_small(&mut self, owner: E, page: u32, index: u8) -> Result<(), SetFault> {
        let (_, extent) = self.extent(owner, page, index)?;
        let live = extent.run().state().map_err(at(page))?.live();
        self.alloc.give_back(self.pages, SetReference { page, extent: Some(index) }, live)
    }

    pub(super) fn compact_small(
        &mut self,
        owner: E,
        page: u32,
        index: u8,
    ) -> Result<Option<SpillPointer>, SetFault> {
        let (extents, extent) = self.extent(owner, page, index)?;
        let state = extent.run().state().map_err(at(page))?;
        let live = state.live();
        let Some(class) = class_for(live) else { return Ok(None) };
        let is_tight = class >= usize::from(extents.class());
        if live == 0 || is_tight && state.buried() == 0 && state.meta.sorted == state.meta.count {
            return Ok(None);
        }
        let mut values = Vec::with_capacity(live);
        extent.run().for_each(&state, |value| values.push(value));
        values.sort_unstable();
        Ok(Some(self.create_small(owner, &values, class)))
    }
}
