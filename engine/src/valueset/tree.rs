//! [`Tree`]: a large set as its writer sees it: paths from the root, nodes to be replaced.
//!
//! Between two calls every tree is whole: each leaf's end is the lower bound that the next child of the
//! inner nodes says. Within a call readers rely on the order of steps alone, which V4 tells.

use cidstore_core::E;
use cidstore_core::protocol::inner::{Child, INNER_LEVEL_MAX, Inner, InnerHead};
use cidstore_core::protocol::leaf::{Leaf, LeafEnd, LeafHead};
use cidstore_core::protocol::value_fault::ValueFault;

use super::pages::ValuePages;
use super::{SetFault, at};
use crate::sync::PageWord;

/// A large set and the pages it lies in.
#[derive(Debug)]
pub(super) struct Tree<'a, P> {
    pub(super) pages: &'a mut P,
    pub(super) owner: E,
    pub(super) root: u32,
}

/// An inner node on a path, and which of its children the path goes on with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Step {
    pub(super) node: u32,
    pub(super) index: usize,
}

/// The way from the root to a leaf.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Path {
    steps: [Step; INNER_LEVEL_MAX as usize],
    depth: usize,
    pub(super) leaf: u32,
}

impl Path {
    /// The inner nodes, the root first.
    pub(super) fn steps(&self) -> &[Step] {
        self.steps.get(..self.depth).unwrap_or_default()
    }
}

/// An inner node in memory, to be changed and then published whole.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) level: u8,
    /// Zero but in a root.
    pub(super) set_values: u64,
    /// Zero but in a root.
    pub(super) set_tombstones: u64,
    pub(super) children: Vec<Child>,
}

impl Node {
    /// A node that is not a root.
    pub(super) const fn new(level: u8, children: Vec<Child>) -> Self {
        Self { level, set_values: 0, set_tombstones: 0, children }
    }
}

impl<'a, P: ValuePages> Tree<'a, P> {
    pub(super) const fn new(pages: &'a mut P, owner: E, root: u32) -> Self {
        Self { pages, owner, root }
    }

    pub(super) fn inner(&self, logical: u32) -> Result<Inner<'_, PageWord>, SetFault> {
        let inner = Inner::open(self.pages.page(logical)).map_err(at(logical))?;
        if inner.owner() != self.owner {
            return Err(at(logical)(ValueFault::Owner));
        }
        Ok(inner)
    }

    pub(super) fn leaf(&self, logical: u32) -> Result<Leaf<'_, PageWord>, SetFault> {
        let leaf = Leaf::open(self.pages.page(logical)).map_err(at(logical))?;
        if leaf.owner() != self.owner {
            return Err(at(logical)(ValueFault::Owner));
        }
        Ok(leaf)
    }

    /// The way to the leaf that covers `value`.
    pub(super) fn descend(&self, value: E) -> Result<Path, SetFault> {
        let mut path = Path { leaf: self.root, ..Path::default() };
        let mut level_above = None;
        loop {
            let inner = self.inner(path.leaf)?;
            let level = inner.level();
            let fault = at(path.leaf)(ValueFault::Level(level));
            if level_above.is_some_and(|above| above != level + 1) {
                return Err(fault);
            }
            level_above = Some(level);
            let index = inner.route(value);
            let step = path.steps.get_mut(path.depth).ok_or(fault)?;
            *step = Step { node: path.leaf, index };
            path.depth += 1;
            path.leaf = inner.child(index);
            if level == 1 {
                return Ok(path);
            }
        }
    }

    /// The inner node in memory.
    pub(super) fn node(&self, logical: u32) -> Result<Node, SetFault> {
        let inner = self.inner(logical)?;
        let (set_values, set_tombstones) = inner.set_counts();
        let mut children = Vec::with_capacity(inner.child_count() + 1);
        children.extend(inner.children());
        Ok(Node { level: inner.level(), set_values, set_tombstones, children })
    }

    fn head(&self, node: &Node) -> InnerHead {
        InnerHead {
            owner: self.owner,
            generation: self.pages.generation(),
            level: node.level,
            set_values: node.set_values,
            set_tombstones: node.set_tombstones,
        }
    }

    /// Replaces the inner node that `logical` names.
    pub(super) fn publish_node(&mut self, logical: u32, node: &Node) {
        let head = self.head(node);
        let fresh = self.pages.fresh();
        Inner::build(self.pages.fresh_page(&fresh), &head, &node.children);
        self.pages.publish(logical, fresh);
    }

    /// Makes an inner node under a new number.
    pub(super) fn allocate_node(&mut self, node: &Node) -> u32 {
        let head = self.head(node);
        let logical = self.pages.allocate();
        Inner::build(self.pages.page_mut(logical), &head, &node.children);
        logical
    }

    fn leaf_head(&self, version: u32, end: Option<LeafEnd>) -> LeafHead {
        LeafHead { owner: self.owner, generation: self.pages.generation(), version, end }
    }

    /// Replaces the leaf that `logical` names by one of these ascending values.
    pub(super) fn publish_leaf(
        &mut self,
        logical: u32,
        version: u32,
        end: Option<LeafEnd>,
        values: &[E],
    ) {
        let head = self.leaf_head(version.wrapping_add(1), end);
        let fresh = self.pages.fresh();
        Leaf::build(self.pages.fresh_page(&fresh), &head, values);
        self.pages.publish(logical, fresh);
    }

    /// Makes a leaf of these ascending values under a number that was allocated and that no reader knows.
    pub(super) fn build_leaf(&mut self, logical: u32, end: Option<LeafEnd>, values: &[E]) {
        let head = self.leaf_head(0, end);
        Leaf::build(self.pages.page_mut(logical), &head, values);
    }

    /// Corrects the root's counters.
    pub(super) fn count(&mut self, values: i64, tombstones: i64) -> Result<(), SetFault> {
        let inner = Inner::open(self.pages.page_mut(self.root)).map_err(at(self.root))?;
        inner.add_set_counts(values, tombstones);
        Ok(())
    }
}

/// Appends the live values of a leaf, ascending, and tells how many tombstones it has.
pub(super) fn gather(leaf: &Leaf<'_, PageWord>, values: &mut Vec<E>) -> Result<usize, ValueFault> {
    let run = leaf.run();
    let state = run.state()?;
    let from = values.len();
    run.for_each(&state, |value| values.push(value));
    if state.meta.sorted < state.meta.count
        && let Some(gathered) = values.get_mut(from..)
    {
        // Stable, for it merges ascending runs instead of sorting them again.
        gathered.sort();
    }
    Ok(state.buried())
}
