//! The values of a spilled key: one extent, or a B-link tree of leaves.
//!
//! Each structure names its owner, and is believed only if that is the key that led to it. Levels fall by
//! one on the way down and bounds rise on the way right, so no bytes can lead in a circle.

use core::ops::ControlFlow;

use super::error::{ImageError, PageFault};
use super::pages::{Page, Pages};
use crate::entity::E;
use crate::layout::entry::SetReference;
use crate::layout::table::TableKind;
use crate::layout::value::{
    EXTENT_CAPACITIES, EXTENT_HEADER_WORDS, ExtentHeader, ExtentsHeader, INNER_CHILDREN,
    INNER_CHILDREN_WORD, INNER_SEPARATORS_WORD, InnerHeader, LEAF_VALUES, LEAF_VALUES_WORD,
    LeafHeader, VALUE_HEADER_WORDS, extent_words, extents_per_page,
};
use crate::layout::{NO_PAGE, PageKind};

/// A value set: where it is and whose it is.
#[derive(Clone, Copy)]
pub(super) struct Set<'p, 'a> {
    pub(super) pages: &'p Pages<'a>,
    pub(super) key: E,
    pub(super) reference: SetReference,
}

type Visitor<'f> = &'f mut dyn FnMut(E) -> ControlFlow<()>;

impl<'a> Set<'_, 'a> {
    /// Calls `f` with each value.
    pub(super) fn visit(&self, f: Visitor<'_>) -> Result<ControlFlow<()>, ImageError> {
        match self.reference.extent {
            Some(extent) => self.visit_extent(extent, f),
            None => self.visit_leaves(f),
        }
    }

    /// Whether `value` is in the set.
    pub(super) fn contains(&self, value: E) -> Result<bool, ImageError> {
        let mut f =
            |found| if found == value { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let flow = match self.reference.extent {
            Some(extent) => self.visit_extent(extent, &mut f)?,
            None => {
                let mut leaf = self.leaf_for(value)?;
                while leaf.header.bounded != 0 && leaf.header.high <= value {
                    leaf = self.next(&leaf)?;
                }
                self.visit_leaf(&leaf, None, &mut f)?
            }
        };
        Ok(flow.is_break())
    }

    /// How many values the root of a large set says there are; `None` if nothing says.
    pub(super) fn stated_count(&self) -> Result<Option<u64>, ImageError> {
        let page = self.page(self.reference.page)?;
        if self.reference.extent.is_some() || page.kind()? != PageKind::Inner as u16 {
            return Ok(None);
        }
        Ok(Some(page.read::<InnerHeader>(0)?.set_values))
    }

    /// Checks that the inner nodes lead to each leaf of the chain by its lower bound, and so are sound
    /// themselves. Within a checkpoint they do: no split is half done there.
    pub(super) fn check_paths(&self) -> Result<(), ImageError> {
        if self.reference.extent.is_some() {
            return Ok(());
        }
        let mut leaf = self.leaf_for(E::ZERO)?;
        while leaf.header.bounded != 0 {
            let value = leaf.header.high;
            leaf = self.next(&leaf)?;
            let named = self.leaf_for(value)?;
            if named.page.number != leaf.page.number {
                return Err(named.page.fault(PageFault::Order { value }));
            }
        }
        Ok(())
    }

    fn page(&self, number: u32) -> Result<Page<'a>, ImageError> {
        self.pages.expect(TableKind::Values, number)
    }

    fn check_owner(&self, page: &Page<'a>, found: E) -> Result<(), ImageError> {
        let expected = self.key;
        if found == expected {
            return Ok(());
        }
        Err(page.fault(PageFault::Owner { found, expected }))
    }

    fn visit_extent(&self, extent: u8, f: Visitor<'_>) -> Result<ControlFlow<()>, ImageError> {
        let page = self.page(self.reference.page)?;
        page.expect_kind(PageKind::Extents)?;
        let class: usize = page.read::<ExtentsHeader>(0)?.class.into();
        page.at_most("class", class as u64, EXTENT_CAPACITIES.len() as u64 - 1)?;
        page.at_most("extent", extent.into(), extents_per_page(class) as u64 - 1)?;
        let start = (VALUE_HEADER_WORDS + usize::from(extent) * extent_words(class)) * 8;
        let header: ExtentHeader = page.read(start)?;
        self.check_owner(&page, header.owner)?;
        let capacity = EXTENT_CAPACITIES.get(class).copied().unwrap_or(0);
        page.at_most("extent count", header.count.into(), capacity.into())?;
        let values = start + EXTENT_HEADER_WORDS * 8;
        for index in live_positions(header.count, header.tombstones) {
            if f(page.read(values + index * size_of::<E>())?).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn visit_leaves(&self, f: Visitor<'_>) -> Result<ControlFlow<()>, ImageError> {
        let mut leaf = self.leaf_for(E::ZERO)?;
        let mut low = None;
        loop {
            if self.visit_leaf(&leaf, low, f)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if leaf.header.bounded == 0 {
                return Ok(ControlFlow::Continue(()));
            }
            low = Some(leaf.header.high);
            leaf = self.next(&leaf)?;
        }
    }

    /// Calls `f` with each value of a leaf; all of them must be at or above `low` and below its bound.
    fn visit_leaf(
        &self,
        leaf: &Leaf<'a>,
        low: Option<E>,
        f: Visitor<'_>,
    ) -> Result<ControlFlow<()>, ImageError> {
        for index in live_positions(leaf.header.count, leaf.header.tombstones) {
            let value: E = leaf.page.read(LEAF_VALUES_WORD * 8 + index * size_of::<E>())?;
            let too_high = leaf.header.bounded != 0 && value >= leaf.header.high;
            if too_high || low.is_some_and(|low| value < low) {
                return Err(leaf.page.fault(PageFault::Order { value }));
            }
            if f(value).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The leaf that the inner nodes name for `value`.
    fn leaf_for(&self, value: E) -> Result<Leaf<'a>, ImageError> {
        let mut page = self.page(self.reference.page)?;
        // The root may be of any level; from there on each level is one less.
        let mut expected_level = None;
        while expected_level != Some(0) && page.kind()? == PageKind::Inner as u16 {
            let header: InnerHeader = page.read(0)?;
            self.check_owner(&page, header.owner)?;
            let limit = expected_level.unwrap_or(header.level);
            if header.level != limit || header.level == 0 {
                let (found, limit) = (header.level.into(), limit.into());
                return Err(page.fault(PageFault::Field { name: "level", found, limit }));
            }
            page = self.page(child_for(&page, &header, value)?)?;
            expected_level = Some(header.level - 1);
        }
        if let Some(1..) = expected_level {
            return Err(page.fault(PageFault::Kind { found: page.kind()? }));
        }
        self.leaf(page)
    }

    fn next(&self, leaf: &Leaf<'a>) -> Result<Leaf<'a>, ImageError> {
        let next = self.leaf(self.page(leaf.header.next)?)?;
        if next.header.bounded != 0 && next.header.high <= leaf.header.high {
            return Err(next.page.fault(PageFault::Order { value: next.header.high }));
        }
        Ok(next)
    }

    fn leaf(&self, page: Page<'a>) -> Result<Leaf<'a>, ImageError> {
        page.expect_kind(PageKind::Leaf)?;
        let header: LeafHeader = page.read(0)?;
        self.check_owner(&page, header.owner)?;
        page.at_most("leaf count", header.count.into(), LEAF_VALUES as u64)?;
        page.at_most("bounded", header.bounded.into(), 1)?;
        let has_next = header.next != NO_PAGE;
        if has_next != (header.bounded != 0) {
            let (found, limit) = (header.next.into(), 0);
            return Err(page.fault(PageFault::Field { name: "next", found, limit }));
        }
        Ok(Leaf { page, header })
    }
}

/// A leaf whose header is sound and whose owner is the key.
struct Leaf<'a> {
    page: Page<'a>,
    header: LeafHeader,
}

/// The child of an inner node that covers `value`.
fn child_for(page: &Page<'_>, header: &InnerHeader, value: E) -> Result<u32, ImageError> {
    page.at_most("child_count", header.child_count.into(), INNER_CHILDREN as u64)?;
    let mut child = 0;
    for index in 1..header.child_count as usize {
        let separator: E = page.read(INNER_SEPARATORS_WORD * 8 + index * size_of::<E>())?;
        if separator > value {
            break;
        }
        child = index;
    }
    page.read(INNER_CHILDREN_WORD * 8 + child * size_of::<u32>())
}

/// The positions below `count` that have no tombstone.
fn live_positions(count: u16, tombstones: [u64; 4]) -> impl Iterator<Item = usize> {
    (0..usize::from(count)).filter(move |index| {
        tombstones.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 0)
    })
}
