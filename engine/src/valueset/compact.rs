//! Compaction of large sets, one lowest inner node a step: leaves sorted, or packed if there are too many.

use cidstore_core::E;
use cidstore_core::layout::entry::SpillPointer;
use cidstore_core::layout::value::{SMALL_SET_MAX, class_for};
use cidstore_core::protocol::leaf::LeafEnd;
use cidstore_core::protocol::value_fault::ValueFault;

use super::bulk::even_parts;
use super::pages::ValuePages;
use super::split::LEAF_FILLED;
use super::tree::{Node, Path, Tree, gather};
use super::{Current, Place, SetFault, Sets, at, read_all};

/// A large set with at most this many values comes back as a small one: low enough that it does not grow
/// large again at once.
const SMALL_AGAIN_MAX: u64 = SMALL_SET_MAX as u64 * 3 / 4;

/// Leaves are packed if that frees at least one in so many.
const SAVED_PART: usize = 8;

impl<P: ValuePages> Sets<'_, P> {
    pub(super) fn compact_large(
        &mut self,
        owner: E,
        root: u32,
    ) -> Result<Option<SpillPointer>, SetFault> {
        let mut tree = Tree::new(self.pages, owner, root);
        let (set_values, _) = tree.inner(root)?.set_counts();
        if set_values <= SMALL_AGAIN_MAX {
            return self.shrink(owner, root);
        }
        let mut from = Some(E::ZERO);
        while let Some(bound) = from {
            from = tree.compact_from(bound)?;
        }
        Ok(None)
    }

    /// One step of the compaction of a large set in place: the leaves of the lowest inner node that covers
    /// `bound`, at most 168 of them. Tells where the next step starts. Other sets need nothing.
    ///
    /// # Errors
    ///
    /// [`SetFault`] if the set is damaged.
    pub(crate) fn compact_step(
        &mut self,
        owner: E,
        set: &SpillPointer,
        bound: E,
    ) -> Result<Option<E>, SetFault> {
        match Place::of(set.reference)? {
            Place::Small { .. } => Ok(None),
            Place::Large { root } => Tree::new(self.pages, owner, root).compact_from(bound),
        }
    }

    /// The values of a large set as a small one.
    fn shrink(&mut self, owner: E, root: u32) -> Result<Option<SpillPointer>, SetFault> {
        let mut values = Vec::new();
        read_all(&Current(&*self.pages), u64::from(root), |chunk| values.extend_from_slice(chunk))?;
        values.sort_unstable();
        match class_for(values.len()) {
            Some(class) if values.len() <= SMALL_SET_MAX => {
                Ok(Some(self.create_small(owner, &values, class)))
            }
            // The root's counter is wrong; `verify` says so.
            _ => Ok(None),
        }
    }
}

impl<P: ValuePages> Tree<'_, P> {
    fn compact_from(&mut self, bound: E) -> Result<Option<E>, SetFault> {
        let path = self.descend(bound)?;
        let next = self.end_of(&path)?;
        let Some(step) = path.steps().last().copied() else { return Ok(None) };
        let node = self.node(step.node)?;
        let mut values = 0;
        for child in &node.children {
            values += self.live(child.page)?;
        }
        let leaves = node.children.len();
        let needed = values.div_ceil(LEAF_FILLED).max(1);
        let dropped = if needed + (leaves / SAVED_PART).max(1) <= leaves {
            self.pack(step.node, node, values)?
        } else {
            self.sort_leaves(&node)?
        };
        self.count(0, -(dropped as i64))?;
        self.join_node(&path, path.steps().len() - 1)?;
        Ok(next.filter(|next| *next > bound))
    }

    /// Rewrites each leaf of the node that is not compact. Tells how many tombstones went.
    fn sort_leaves(&mut self, node: &Node) -> Result<usize, SetFault> {
        let mut dropped = 0;
        for child in &node.children {
            if !self.is_compact(child.page)? {
                dropped += self.join_leaves(&[child.page])?;
            }
        }
        Ok(dropped)
    }

    /// Puts all values of a lowest inner node into as few leaves as a split would fill. Tells how many
    /// tombstones went.
    ///
    /// The first leaf keeps its number, the others get new ones: a number keeps its lower bound (V4). The
    /// new chain is whole before the first leaf leads to it, then the parent changes, then the old leaves go.
    fn pack(&mut self, parent: u32, mut node: Node, count: usize) -> Result<usize, SetFault> {
        let (mut values, mut dropped, mut end) = (Vec::with_capacity(count), 0, None);
        for (index, child) in node.children.iter().enumerate() {
            let leaf = self.leaf(child.page)?;
            dropped += gather(&leaf, &mut values).map_err(at(child.page))?;
            end = leaf.end();
            let follower = node.children.get(index + 1);
            if follower.is_some_and(|follower| end.is_none_or(|end| end.next != follower.page)) {
                return Err(at(child.page)(ValueFault::Chain));
            }
        }
        let Some(first) = node.children.first().copied() else { return Ok(0) };
        let version = self.leaf(first.page)?.run().meta().map_err(at(first.page))?.version;
        let filled = even_parts(values.len(), LEAF_FILLED).next().unwrap_or(0);
        let (lower, upper) = values.split_at(filled);
        let chain = if upper.is_empty() { Vec::new() } else { self.build_leaves(upper, end) };
        let next = chain.first().map(|child| LeafEnd { high: child.separator, next: child.page });
        self.publish_leaf(first.page, version, next.or(end), lower);
        let old = std::mem::replace(&mut node.children, vec![first]);
        node.children.extend(chain);
        self.publish_node(parent, &node);
        for child in old.iter().skip(1) {
            self.pages.retire(child.page);
        }
        Ok(dropped)
    }

    fn is_compact(&self, leaf: u32) -> Result<bool, SetFault> {
        let state = self.leaf(leaf)?.run().state().map_err(at(leaf))?;
        Ok(state.meta.sorted == state.meta.count && state.buried() == 0)
    }

    /// Where the lowest inner node of the path ends; `None` for the last one.
    fn end_of(&self, path: &Path) -> Result<Option<E>, SetFault> {
        let above = path.steps().split_last().map_or(&[][..], |(_, above)| above);
        for step in above.iter().rev() {
            let inner = self.inner(step.node)?;
            if step.index + 1 < inner.child_count() {
                return Ok(Some(inner.separator(step.index + 1)));
            }
        }
        Ok(None)
    }
}
