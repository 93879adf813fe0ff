//! A leaf that is full: sorted again, or split, and what a split does to the nodes above.

use cidstore_core::E;
use cidstore_core::layout::value::{INNER_CHILDREN, LEAF_VALUES};
use cidstore_core::protocol::inner::{Child, INNER_LEVEL_MAX};
use cidstore_core::protocol::leaf::LeafEnd;
use cidstore_core::protocol::value_fault::ValueFault;

use super::pages::ValuePages;
use super::tree::{Node, Path, Tree, gather};
use super::{SetFault, at};

/// A leaf that is to hold more than this is split when it is rewritten: nine tenths.
pub(super) const LEAF_FILLED: usize = LEAF_VALUES - LEAF_VALUES / 10;

impl<P: ValuePages> Tree<'_, P> {
    /// Rewrites the leaf at the end of `path` together with a value that it does not have. Tells how many
    /// tombstones went.
    pub(super) fn rewrite_with(&mut self, path: &Path, value: E) -> Result<usize, SetFault> {
        let leaf = self.leaf(path.leaf)?;
        let (meta, end) = (leaf.run().meta().map_err(at(path.leaf))?, leaf.end());
        let mut values = Vec::with_capacity(LEAF_VALUES + 1);
        let dropped = gather(&leaf, &mut values).map_err(at(path.leaf))?;
        let position = values.partition_point(|other| *other < value);
        values.insert(position, value);
        if values.len() <= LEAF_FILLED {
            self.publish_leaf(path.leaf, meta.version, end, &values);
            return Ok(dropped);
        }
        // Values that came in ascending order will go on so: leave the left leaf full.
        let ascending = meta.sorted == meta.count && position + 1 == values.len();
        let middle = if ascending { position } else { values.len() / 2 };
        let (lower, upper) = values.split_at(middle);
        let Some(separator) = upper.first().copied() else { return Ok(dropped) };

        // V4: the right leaf, the left one that leads to it, then the parent.
        let right = self.pages.allocate();
        self.build_leaf(right, end, upper);
        let left_end = Some(LeafEnd { high: separator, next: right });
        self.publish_leaf(path.leaf, meta.version, left_end, lower);
        self.insert_child(path, path.steps().len(), Child { separator, page: right })?;
        Ok(dropped)
    }

    /// Makes `child` the right neighbour of the child that the path takes at the last of its first `depth`
    /// nodes.
    fn insert_child(&mut self, path: &Path, depth: usize, child: Child) -> Result<(), SetFault> {
        let (above, Some(step)) =
            (depth.saturating_sub(1), path.steps().get(depth.wrapping_sub(1)))
        else {
            return Err(at(self.root)(ValueFault::Level(0)));
        };
        let mut node = self.node(step.node)?;
        let position = (step.index + 1).min(node.children.len());
        node.children.insert(position, child);
        if node.children.len() <= INNER_CHILDREN {
            self.publish_node(step.node, &node);
            return Ok(());
        }
        let is_last = position + 1 == node.children.len();
        let middle = if is_last { position } else { node.children.len() / 2 };
        let upper = node.children.split_off(middle);
        let separator = upper.first().map_or(child.separator, |first| first.separator);
        if above == 0 {
            return self.split_root(node, separator, upper);
        }
        // The parent first: a reader that comes by the old parent still finds the node whole, and one that
        // finds only its lower half walks a chain of leaves, which is right but long.
        let right = self.allocate_node(&Node::new(node.level, upper));
        self.insert_child(path, above, Child { separator, page: right })?;
        self.publish_node(step.node, &node);
        Ok(())
    }

    /// Gives the root two children, its own former ones parted (V5).
    fn split_root(&mut self, root: Node, separator: E, upper: Vec<Child>) -> Result<(), SetFault> {
        if root.level >= INNER_LEVEL_MAX {
            return Err(at(self.root)(ValueFault::Level(root.level)));
        }
        let left = self.allocate_node(&Node::new(root.level, root.children));
        let right = self.allocate_node(&Node::new(root.level, upper));
        let children =
            vec![Child { separator: E::ZERO, page: left }, Child { separator, page: right }];
        let level = root.level + 1;
        self.publish_node(self.root, &Node { level, children, ..root });
        Ok(())
    }
}
