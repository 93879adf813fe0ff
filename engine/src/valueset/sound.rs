//! Looking whether the pages of a set are what was written, before a change reads them, copies them, and gives the copy a
//! checksum that fits. What was promised cannot be taken back, so the writer looks before it promises anything.
//!
//! What a change might do besides, join neighbours or fill a free extent, it leaves when it meets a damaged page.

use cidstore_core::E;
use cidstore_core::layout::entry::SpillPointer;
use cidstore_core::protocol::extent::Extents;
use cidstore_core::protocol::value_fault::ValueFault;

use super::merge::LEAF_SPARSE;
use super::pages::ValuePages;
use super::read::{SetView, inner, leaf, lowest_node, page};
use super::split::LEAF_FILLED;
use super::{Place, SetFault, at};
use crate::sync::Page;

/// The pages as the writer sees them, of one key's set; those that are not what was written missing.
struct Sound<'a, P>(&'a P, E);

impl<P: ValuePages> SetView for Sound<'_, P> {
    fn value_page(&self, logical: u32) -> Option<&Page> {
        self.0.is_sound(logical).then(|| self.0.page(logical))
    }

    fn owner(&self) -> Option<E> {
        Some(self.1)
    }
}

/// The same, of pages that are only read on the way.
struct SoundToRead<'a, P>(&'a P, E);

impl<P: ValuePages> SetView for SoundToRead<'_, P> {
    fn value_page(&self, logical: u32) -> Option<&Page> {
        self.0.is_sound_to_read(logical).then(|| self.0.page(logical))
    }

    fn owner(&self) -> Option<E> {
        Some(self.1)
    }
}

/// What a change will do to a set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reach {
    /// Add or remove this value.
    Value(E),
    /// Free it: leaves are not looked at.
    Nodes,
    /// Copy all of it.
    All,
    /// Compact the leaves below the lowest inner node that covers this value.
    Part(E),
}

/// Checks the pages of a key's set that a change reaches.
///
/// # Errors
///
/// [`SetFault`] names the first that is damaged, or another's.
pub(crate) fn check<P: ValuePages>(
    pages: &P,
    owner: E,
    set: &SpillPointer,
    reach: Reach,
) -> Result<(), SetFault> {
    let view = Sound(pages, owner);
    let root = match Place::of(set.reference)? {
        Place::Small { page, extent } => return require_extent(&view, owner, (page, extent)),
        Place::Large { root } => root,
    };
    match reach {
        // Each write does this, and goes on to the leaf at once.
        Reach::Value(value) => {
            require_sound(&view, root)?;
            let read_only = SoundToRead(pages, owner);
            let node = lowest_node(&read_only, root, value)?;
            let logical = node.child(node.route(value));
            let leaf = leaf(&view, logical)?;
            if leaf.end().is_some_and(|end| end.high <= value) {
                return Err(at(logical)(ValueFault::Bounds));
            }
            let run = leaf.run().state().map_err(at(logical))?;
            if run.count() >= LEAF_FILLED || run.live() <= LEAF_SPARSE {
                // It may split or join a neighbour: then the nodes above are replaced, not only read.
                lowest_node(&view, root, value)?;
            }
            Ok(())
        }
        Reach::Nodes => numbers(&view, root).map(drop),
        Reach::All => {
            let Numbers { leaves, .. } = numbers(&view, root)?;
            leaves.into_iter().try_for_each(|logical| require_leaf(&view, logical))
        }
        Reach::Part(value) => {
            let node = lowest_node(&view, root, value)?;
            node.children().try_for_each(|child| require_leaf(&view, child.page))
        }
    }
}

fn require_sound<V: SetView>(view: &V, logical: u32) -> Result<(), SetFault> {
    page(view, logical).map(drop)
}

/// One page has all of a small set. It is asked for once: each time costs its checksum.
fn require_extent<V: SetView>(
    view: &V,
    owner: E,
    (logical, index): (u32, u8),
) -> Result<(), SetFault> {
    let extents = Extents::open(page(view, logical)?).map_err(at(logical))?;
    let extent = extents.extent(index).map_err(at(logical))?;
    if extent.owner() != owner {
        return Err(at(logical)(ValueFault::Owner));
    }
    if extents.used() & 1 << index == 0 {
        return Err(at(logical)(ValueFault::Unused));
    }
    extent.run().state().map(drop).map_err(at(logical))
}

fn require_leaf<V: SetView>(view: &V, logical: u32) -> Result<(), SetFault> {
    leaf(view, logical)?.run().state().map(drop).map_err(at(logical))
}

/// The logical numbers of a large set.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The inner nodes, the root first.
    pub(super) nodes: Vec<u32>,
    pub(super) leaves: Vec<u32>,
}

/// All numbers of a large set, after it was found that none is there twice. Leaves are not looked at.
///
/// # Errors
///
/// [`SetFault`] if an inner node is damaged.
pub(super) fn numbers<V: SetView>(view: &V, root: u32) -> Result<Numbers, SetFault> {
    let mut all = Numbers { nodes: vec![root], leaves: Vec::new() };
    let mut level = inner(view, root)?.level();
    let mut above = vec![root];
    while level > 0 {
        let mut below = Vec::new();
        for logical in above {
            let inner = inner(view, logical)?;
            if inner.level() != level {
                return Err(at(logical)(ValueFault::Level(inner.level())));
            }
            below.extend(inner.children().map(|child| child.page));
        }
        // Here and not at the end: so that what a damaged node repeats cannot multiply level by level.
        require_distinct(below.clone())?;
        level -= 1;
        if level == 0 {
            all.leaves = below;
            break;
        }
        all.nodes.extend_from_slice(&below);
        above = below;
    }
    require_distinct(all.nodes.iter().chain(&all.leaves).copied().collect())?;
    Ok(all)
}

fn require_distinct(mut pages: Vec<u32>) -> Result<(), SetFault> {
    pages.sort_unstable();
    let twice = pages.windows(2).find(|pair| pair.first() == pair.last());
    match twice.and_then(|pair| pair.first()) {
        Some(logical) => Err(at(*logical)(ValueFault::Duplicate)),
        None => Ok(()),
    }
}
