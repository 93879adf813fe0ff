//! Changing large sets.
//!
//! An insert appends to the leaf that covers the value. A leaf that is full, or whose unsorted tail is,
//! is rewritten sorted, or split. A removal sets a tombstone; a leaf that it leaves sparse joins a neighbour.

use cidstore_core::E;
use cidstore_core::layout::value::LEAF_VALUES;
use cidstore_core::protocol::leaf::Leaf;
use cidstore_core::protocol::value_fault::ValueFault;

use super::merge::LEAF_SPARSE;
use super::pages::ValuePages;
use super::sound::{Numbers, numbers};
use super::tree::{Path, Tree};
use super::{Current, SetFault, at};
use crate::sync::PageWord;

/// Longest unsorted tail of a leaf. A longer one makes lookups scan more, a shorter one copies leaves
/// more often: each copy costs a page of the pool until readers are past it.
const TAIL_MAX: usize = 32;

impl<P: ValuePages> Tree<'_, P> {
    /// Adds a value; false if it was there.
    pub(super) fn insert(&mut self, value: E) -> Result<bool, SetFault> {
        let path = self.descend(value)?;
        let fault = at(path.leaf);
        let leaf = self.leaf_for(&path, value)?;
        let run = leaf.run();
        if run.find(value).map_err(&fault)?.is_some() {
            return Ok(false);
        }
        let meta = run.meta().map_err(&fault)?;
        let tail = usize::from(meta.count - meta.sorted);
        let fits = usize::from(meta.count) < LEAF_VALUES
            && (tail < TAIL_MAX || run.extends_sorted(meta, value));
        let dropped = if fits {
            let leaf = Leaf::open(self.pages.page_mut(path.leaf)).map_err(&fault)?;
            leaf.run().append(value).map_err(&fault)?;
            0
        } else {
            self.rewrite_with(&path, value)?
        };
        self.count(1, -(dropped as i64))?;
        Ok(true)
    }

    /// Takes a value away; false if it was not there.
    pub(super) fn remove(&mut self, value: E) -> Result<bool, SetFault> {
        let path = self.descend(value)?;
        let fault = at(path.leaf);
        let leaf = self.leaf_for(&path, value)?;
        let Some(position) = leaf.run().find(value).map_err(&fault)? else { return Ok(false) };
        let leaf = Leaf::open(self.pages.page_mut(path.leaf)).map_err(&fault)?;
        leaf.run().bury(position).map_err(&fault)?;
        let live = leaf.run().state().map_err(&fault)?.live();
        let dropped = if live < LEAF_SPARSE { self.join_leaf(&path)? } else { 0 };
        self.count(-1, 1 - dropped as i64)?;
        Ok(true)
    }

    /// The leaf at the end of the path, which must cover the value.
    fn leaf_for(&self, path: &Path, value: E) -> Result<Leaf<'_, PageWord>, SetFault> {
        let leaf = self.leaf(path.leaf)?;
        if leaf.end().is_some_and(|end| end.high <= value) {
            return Err(at(path.leaf)(ValueFault::Bounds));
        }
        Ok(leaf)
    }

    /// Frees all pages of the set, after it was found that no page is named twice. Leaves may be damaged.
    pub(super) fn retire(&mut self) -> Result<(), SetFault> {
        self.inner(self.root)?;
        let Numbers { nodes, leaves } = numbers(&Current(&*self.pages), self.root)?;
        for logical in nodes.into_iter().chain(leaves) {
            if !self.is_of_another(logical) {
                self.pages.retire(logical);
            }
        }
        Ok(())
    }

    /// True of a page that is what was written, and no part of this set, whatever the set's nodes say.
    fn is_of_another(&self, logical: u32) -> bool {
        let is_ours = self.leaf(logical).is_ok() || self.inner(logical).is_ok();
        !is_ours && self.pages.is_sound(logical)
    }
}
