//! Sparse leaves and nodes join a neighbour.
//!
//! Only whole neighbours under one parent are joined, and always into the left one (V4): so a logical
//! number keeps its lower bound, and a reader on its way to the right one still finds it, as it was.

use cidstore_core::layout::value::{INNER_CHILDREN, LEAF_VALUES};
use cidstore_core::protocol::value_fault::ValueFault;

use super::pages::ValuePages;
use super::split::LEAF_FILLED;
use super::tree::{Node, Path, Step, Tree, gather};
use super::{SetFault, at};

/// A leaf with fewer values than this looks for a neighbour to join.
pub(super) const LEAF_SPARSE: usize = LEAF_VALUES / 4;
/// Two leaves join if they have at most this many values together: some inserts away from a split.
const LEAVES_JOINED: usize = LEAF_VALUES * 3 / 4;
/// An inner node with fewer children than this looks for a neighbour to join.
const NODE_SPARSE: usize = INNER_CHILDREN / 4;
/// Two inner nodes join if they have at most this many children together.
const NODES_JOINED: usize = INNER_CHILDREN * 3 / 4;

impl<P: ValuePages> Tree<'_, P> {
    /// Joins the sparse leaf at the end of `path` with a neighbour if they go well together, but not with a damaged one, here and
    /// below. Tells how many tombstones went.
    pub(super) fn join_leaf(&mut self, path: &Path) -> Result<usize, SetFault> {
        let Some(step) = path.steps().last().copied() else { return Ok(0) };
        let live = self.live(path.leaf)?;
        for left in [Some(step.index), step.index.checked_sub(1)].into_iter().flatten() {
            let parent = self.inner(step.node)?;
            if left + 1 >= parent.child_count() {
                continue;
            }
            let other = parent.child(if left == step.index { left + 1 } else { left });
            if !self.pages.is_sound(other) {
                continue;
            }
            let other = self.live(other)?;
            let fits = live + other <= LEAVES_JOINED || live == 0 && other <= LEAF_FILLED;
            if fits {
                let dropped = self.join_pair(step.node, left)?;
                self.join_node(path, path.steps().len() - 1)?;
                return Ok(dropped);
            }
        }
        Ok(0)
    }

    /// Values in a leaf.
    pub(super) fn live(&self, leaf: u32) -> Result<usize, SetFault> {
        Ok(self.leaf(leaf)?.run().state().map_err(at(leaf))?.live())
    }

    /// Joins leaves `left` and `left + 1` of a lowest inner node. Tells how many tombstones went.
    fn join_pair(&mut self, parent: u32, left: usize) -> Result<usize, SetFault> {
        let mut node = self.node(parent)?;
        let [lower, upper] = [left, left + 1].map(|index| node.children.get(index).copied());
        let (Some(lower), Some(upper)) = (lower, upper) else { return Ok(0) };
        let dropped = self.join_leaves(&[lower.page, upper.page])?;
        node.children.remove(left + 1);
        self.publish_node(parent, &node);
        self.pages.retire(upper.page);
        Ok(dropped)
    }

    /// Writes all values of these leaves, neighbours in ascending order, to the first of them, which then
    /// ends where the last one does. Tells how many tombstones went. The caller takes the others out of
    /// their parent, then retires them.
    pub(super) fn join_leaves(&mut self, leaves: &[u32]) -> Result<usize, SetFault> {
        let mut values = Vec::with_capacity(LEAF_VALUES);
        let mut dropped = 0;
        let mut end = None;
        for (index, logical) in leaves.iter().enumerate() {
            let leaf = self.leaf(*logical)?;
            dropped += gather(&leaf, &mut values).map_err(at(*logical))?;
            end = leaf.end();
            let follower = leaves.get(index + 1);
            if follower.is_some_and(|follower| end.is_none_or(|end| end.next != *follower)) {
                return Err(at(*logical)(ValueFault::Chain));
            }
        }
        let Some(first) = leaves.first() else { return Ok(0) };
        if values.len() > LEAF_VALUES {
            return Err(at(*first)(ValueFault::Count(u16::MAX)));
        }
        let version = self.leaf(*first)?.run().meta().map_err(at(*first))?.version;
        self.publish_leaf(*first, version, end, &values);
        Ok(dropped)
    }

    /// Joins node `depth` of `path`, if it is sparse, with a neighbour; then looks at its parent. A root with
    /// a single child takes over the child's children.
    pub(super) fn join_node(&mut self, path: &Path, depth: usize) -> Result<(), SetFault> {
        let mut depth = depth;
        while let (Some(above), Some(step)) = (depth.checked_sub(1), path.steps().get(depth)) {
            let Some(parent) = path.steps().get(above) else { break };
            if self.inner(step.node)?.child_count() >= NODE_SPARSE || !self.join_with(*parent)? {
                return Ok(());
            }
            depth = above;
        }
        self.lower_root()
    }

    /// Joins the child that the step takes with its right or left neighbour, and says whether one fitted.
    fn join_with(&mut self, parent: Step) -> Result<bool, SetFault> {
        let mut node = self.node(parent.node)?;
        for left in [Some(parent.index), parent.index.checked_sub(1)].into_iter().flatten() {
            let (Some(lower), Some(upper)) =
                (node.children.get(left).copied(), node.children.get(left + 1).copied())
            else {
                continue;
            };
            if ![lower.page, upper.page].iter().all(|&page| self.pages.is_sound(page)) {
                continue;
            }
            let mut joined = self.node(lower.page)?;
            let right = self.node(upper.page)?;
            if joined.children.len() + right.children.len() > NODES_JOINED {
                continue;
            }
            if right.level != joined.level {
                return Err(at(upper.page)(ValueFault::Level(right.level)));
            }
            let from = joined.children.len();
            joined.children.extend(right.children);
            if let Some(first) = joined.children.get_mut(from) {
                first.separator = upper.separator;
            }
            self.publish_node(lower.page, &joined);
            node.children.remove(left + 1);
            self.publish_node(parent.node, &node);
            self.pages.retire(upper.page);
            return Ok(true);
        }
        Ok(false)
    }

    /// Takes levels with a single node away from under the root.
    fn lower_root(&mut self) -> Result<(), SetFault> {
        loop {
            let root = self.node(self.root)?;
            let [only] = root.children.as_slice() else { return Ok(()) };
            if root.level == 1 || !self.pages.is_sound(only.page) {
                return Ok(());
            }
            let (only, child) = (only.page, self.node(only.page)?);
            if child.level + 1 != root.level {
                return Err(at(only)(ValueFault::Level(child.level)));
            }
            let (level, children) = (child.level, child.children);
            self.publish_node(self.root, &Node { level, children, ..root });
            self.pages.retire(only);
        }
    }
}
