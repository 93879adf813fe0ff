//! Value sets: the values of keys that have more than four.
//!
//! A *small* set is one extent of a page that it shares with others of its size class; it moves to a
//! larger extent when it is full. A *large* set is a B-link tree of its own: a root that keeps its number
//! for ever, inner nodes, leaves of up to 250 values in a chain. Both are named by the reference in the
//! key's entry; [`SpillPointer`]s that come back from here carry the counters as they are after the call.
//!
//! Reading order: [`pages`], [`read`], [`sound`], [`allocator`], [`small`], then the tree: [`tree`], [`split`], [`merge`],
//! [`large`], [`bulk`], [`compact`]; [`verify`]. Changing is for the single writer, through [`Sets`]; reading is
//! for any thread, through a [`SetView`], without lock or wait. What a damaged page makes impossible is a
//! [`SetFault`]; nothing panics, and no loop runs longer than the pages that there are.

mod allocator;
mod bulk;
mod compact;
mod large;
mod merge;
mod pages;
mod read;
mod small;
mod sound;
mod split;
mod tree;
mod verify;

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod mock;
#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests;

use cidstore_core::E;
use cidstore_core::layout::entry::{SetReference, SpillPointer};
use cidstore_core::layout::value::{SMALL_SET_MAX, class_for};
use cidstore_core::protocol::value_fault::ValueFault;
use cidstore_core::sethash::mix;

use crate::sync::Page;

pub(crate) use allocator::ExtentAllocator;
pub(crate) use pages::{FreshPage, ValuePages};
pub(crate) use read::{
    Chunk, LeafCursor, SetView, ask_for, collect, contains, count, extent_owners, read_all,
    tombstones,
};
pub(crate) use sound::{Reach, check};
pub(crate) use verify::verify;

use tree::Tree;

/// A value page that cannot be what it is taken for: the file is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("value page {logical}: {what}")]
pub(crate) struct SetFault {
    /// Logical number of the page.
    pub(crate) logical: u32,
    /// What is wrong with it.
    #[source]
    pub(crate) what: ValueFault,
}

/// Puts the place to a fault.
fn at(logical: u32) -> impl Fn(ValueFault) -> SetFault {
    move |what| SetFault { logical, what }
}

/// What an insert did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insert {
    /// The value was there.
    Present,
    /// The value is there now; the pointer has the new counters.
    Added(SpillPointer),
    /// Nothing was done: the extent is full. [`Sets::relocate`] comes first.
    Full,
}

/// What a removal did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remove {
    /// The value was not there.
    Absent,
    /// The value is gone; the pointer has the new counters. A set may be left empty.
    Removed(SpillPointer),
}

/// Where a set is, decoded from its reference.
#[derive(Clone, Copy, Debug)]
enum Place {
    Small { page: u32, extent: u8 },
    Large { root: u32 },
}

impl Place {
    fn of(reference: u64) -> Result<Self, SetFault> {
        match SetReference::decode(reference) {
            Some(SetReference { page, extent: Some(extent) }) => Ok(Self::Small { page, extent }),
            Some(SetReference { page, extent: None }) => Ok(Self::Large { root: page }),
            None => Err(at(reference as u32)(ValueFault::Reference(reference))),
        }
    }
}

/// The value sets, for the single writer.
#[derive(Debug)]
pub(crate) struct Sets<'a, P> {
    pages: &'a mut P,
    alloc: &'a mut ExtentAllocator,
}

impl<'a, P: ValuePages> Sets<'a, P> {
    /// The sets in these pages; `alloc` has seen all of them that hold extents.
    pub(crate) fn new(pages: &'a mut P, alloc: &'a mut ExtentAllocator) -> Self {
        Self { pages, alloc }
    }

    /// Makes the set of these values, which are distinct and in any order; at least one.
    pub(crate) fn create(&mut self, owner: E, values: &[E]) -> SpillPointer {
        if values.is_sorted() {
            return self.create_sorted(owner, values);
        }
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        self.create_sorted(owner, &sorted)
    }

    fn create_sorted(&mut self, owner: E, values: &[E]) -> SpillPointer {
        match class_for(values.len()) {
            Some(class) if values.len() <= SMALL_SET_MAX => self.create_small(owner, values, class),
            _ => self.create_large(owner, values),
        }
    }

    /// Adds a value.
    ///
    /// # Errors
    ///
    /// [`SetFault`] if the set is damaged.
    pub(crate) fn insert(
        &mut self,
        owner: E,
        set: &SpillPointer,
        value: E,
    ) -> Result<Insert, SetFault> {
        match Place::of(set.reference)? {
            Place::Small { page, extent } => self.insert_small(owner, set, (page, extent), value),
            Place::Large { root } => {
                let added = Tree::new(self.pages, owner, root).insert(value)?;
                Ok(if added { Insert::Added(plus(set, value)) } else { Insert::Present })
            }
        }
    }

    /// Takes a value away.
    ///
    /// # Errors
    ///
    /// [`SetFault`] if the set is damaged.
    pub(crate) fn remove(
        &mut self,
        owner: E,
        set: &SpillPointer,
        value: E,
    ) -> Result<Remove, SetFault> {
        let removed = match Place::of(set.reference)? {
            Place::Small { page, extent } => self.remove_small(owner, (page, extent), value)?,
            Place::Large { root } => Tree::new(self.pages, owner, root).remove(value)?,
        };
        Ok(if removed { Remove::Removed(minus(set, value)) } else { Remove::Absent })
    }

    /// Makes a copy of the set elsewhere, without tombstones and with room for at least one more value.
    /// The caller lets the key's entry name the copy, then retires the old set.
    ///
    /// # Errors
    ///
    /// [`SetFault`] if the set is damaged.
    pub(crate) fn relocate(
        &mut self,
        owner: E,
        set: &SpillPointer,
    ) -> Result<SpillPointer, SetFault> {
        let mut values = Vec::new();
        self.collect(set, &mut values)?;
        values.sort_unstable();
        // An eighth of room, so that a set whose values come and go is not copied each time.
        let room = values.len() + values.len() / 8 + 1;
        Ok(match class_for(room) {
            Some(class) if values.len() < SMALL_SET_MAX => self.create_small(owner, &values, class),
            _ => self.create_large(owner, &values),
        })
    }

    /// Frees the extent or all pages of a set that no entry names any more.
    ///
    /// # Errors
    ///
    /// [`SetFault`] if the set is damaged; then nothing of it is freed.
    pub(crate) fn retire_set(&mut self, owner: E, set: &SpillPointer) -> Result<(), SetFault> {
        match Place::of(set.reference)? {
            Place::Small { page, extent } => self.retire_small(owner, page, extent),
            Place::Large { root } => Tree::new(self.pages, owner, root).retire(),
        }
    }

    /// Sorts the set and drops its tombstones. `Some` is a copy elsewhere, as [`Self::relocate`] makes it but
    /// in the tightest place: a large set that fits comes back as a small one. `None` means that all was
    /// done in place.
    ///
    /// # Errors
    ///
    /// [`SetFault`] if the set is damaged.
    pub(crate) fn compact(
        &mut self,
        owner: E,
        set: &SpillPointer,
    ) -> Result<Option<SpillPointer>, SetFault> {
        match Place::of(set.reference)? {
            Place::Small { page, extent } => self.compact_small(owner, page, extent),
            Place::Large { root } => self.compact_large(owner, root),
        }
    }

    /// How many values the set has.
    ///
    /// # Errors
    ///
    /// [`SetFault`] if the set is damaged.
    pub(crate) fn count(&self, set: &SpillPointer) -> Result<u64, SetFault> {
        count(&Current(&*self.pages), set.reference)
    }

    /// Appends the values of the set, in no particular order.
    ///
    /// # Errors
    ///
    /// [`SetFault`] if the set is damaged.
    pub(crate) fn collect(&self, set: &SpillPointer, values: &mut Vec<E>) -> Result<(), SetFault> {
        read_all(&Current(&*self.pages), set.reference, |chunk| values.extend_from_slice(chunk))
    }
}

/// The pages as the writer sees them.
struct Current<'a, P>(&'a P);

impl<P: ValuePages> SetView for Current<'_, P> {
    fn value_page(&self, logical: u32) -> Option<&Page> {
        Some(self.0.page(logical))
    }
}

/// The pointer after `value` came.
fn plus(set: &SpillPointer, value: E) -> SpillPointer {
    let value_count = set.value_count.wrapping_add(1);
    with_checksum(SpillPointer { value_count, ..*set }, set.checksum().wrapping_add(mix(value)))
}

/// The pointer after `value` went.
fn minus(set: &SpillPointer, value: E) -> SpillPointer {
    let value_count = set.value_count.wrapping_sub(1);
    with_checksum(SpillPointer { value_count, ..*set }, set.checksum().wrapping_sub(mix(value)))
}

/// The pointer to a new set of these values.
fn pointer(place: SetReference, sorted_count: u32, values: &[E]) -> SpillPointer {
    let checksum = values.iter().fold(0_u128, |sum, value| sum.wrapping_add(mix(*value)));
    let set = SpillPointer {
        reference: place.encode(),
        sorted_count,
        value_count: values.len() as u32,
        ..SpillPointer::default()
    };
    with_checksum(set, checksum)
}

const fn with_checksum(set: SpillPointer, checksum: u128) -> SpillPointer {
    SpillPointer { checksum_low: checksum as u64, checksum_high: (checksum >> 64) as u64, ..set }
}
