//! Compaction of large sets: leaves sorted again, sparse neighbours joined, one lowest inner node a step.

use cidstore_core::E;
use cidstore_core::layout::entry::SpillPointer;
use cidstore_core::layout::value::{LEAF_VALUES, SMALL_SET_MAX, class_for};
use cidstore_core::protocol::inner::Child;

use super::pages::ValuePages;
use super::split::LEAF_FILLED;
use super::tree::{Path, Tree};
use super::{Current, Place, SetFault, Sets, at, read_all};

/// A large set with at most this many values comes back as a small one: low enough that it does not grow
/// large again at once.
const SMALL_AGAIN_MAX: u64 = SMALL_SET_MAX as u64 * 3 / 4;

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
        let mut node = self.node(step.node)?;
        let mut dropped = 0;
        let mut kept = Vec::with_capacity(node.children.len());
        let mut retired = Vec::new();
        let mut rest = node.children.as_slice();
        while let Some(first) = rest.first() {
            let (group, others) = rest.split_at(self.group(rest)?);
            rest = others;
            if group.len() > 1 || !self.is_compact(first.page)? {
                let leaves = group.iter().map(|child| child.page).collect::<Vec<_>>();
                dropped += self.join_leaves(&leaves)?;
            }
            kept.push(*first);
            retired.extend(group.iter().skip(1).map(|child| child.page));
        }
        if !retired.is_empty() {
            node.children = kept;
            self.publish_node(step.node, &node);
            for leaf in retired {
                self.pages.retire(leaf);
            }
        }
        self.count(0, -(dropped as i64))?;
        self.join_node(&path, path.steps().len() - 1)?;
        Ok(next.filter(|next| *next > bound))
    }

    /// How many of the first of these neighbours go into one leaf; at least one.
    fn group(&self, leaves: &[Child]) -> Result<usize, SetFault> {
        let mut values = 0;
        for (index, leaf) in leaves.iter().enumerate() {
            let live = self.live(leaf.page)?;
            let fits = values + live <= LEAF_FILLED
                || (values == 0 || live == 0) && values + live <= LEAF_VALUES;
            if !fits {
                return Ok(index.max(1));
            }
            values += live;
        }
        Ok(leaves.len())
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
