//! [`Draft`]: the words of an entry that is about to be written.

use super::content::{Content, InlineValues};
use super::entry::State;
use crate::entity::E;
use crate::layout::entry::{EntryFlags, SpillPointer, VALUES_PER_ENTRY};

/// The words of an entry to come.
pub(super) struct Draft {
    pub(super) state: State,
    pub(super) slots: [u64; 4],
    /// How many of the slots mean something.
    pub(super) slot_count: usize,
}

impl Draft {
    fn spilled(pointer: SpillPointer) -> Self {
        let state = State { mask: 0, flags: EntryFlags::LIVE | EntryFlags::SPILLED };
        Self { state, slots: pointer.to_slots(), slot_count: 4 }
    }

    /// The first entry of these values, and the second if they need one.
    fn inline(values: &InlineValues) -> (Self, Option<Self>) {
        let values = values.as_slice();
        let (first, rest) = values.split_at(values.len().min(VALUES_PER_ENTRY));
        if rest.is_empty() {
            return (Self::half(first, 0, EntryFlags::LIVE), None);
        }
        let primary = Self::half(first, 0, EntryFlags::LIVE | EntryFlags::HAS_SECOND);
        let second = Self::half(rest, 2, EntryFlags::LIVE | EntryFlags::IS_SECOND);
        (primary, Some(second))
    }

    /// Up to two values; the state mask's bits for them start at `mask_shift`.
    pub(super) fn half(values: &[E], mask_shift: usize, flags: u8) -> Self {
        let mut slots = [0; 4];
        for (place, value) in slots.chunks_exact_mut(2).zip(values) {
            place.copy_from_slice(&[value.high, value.low]);
        }
        let mask = ((1 << values.len()) - 1) << mask_shift;
        Self { state: State { mask, flags }, slots, slot_count: 2 * values.len() }
    }

    /// An entry that exists, of which each slot means something that lies before one that does.
    pub(super) const fn of_entry(state: State, slots: [u64; 4]) -> Self {
        let slot_count = if state.is_spilled() { 4 } else { 2 * state.slots().count_ones() };
        Self { state, slots, slot_count: slot_count as usize }
    }

    /// The first entry of this content, and the second if it needs one.
    pub(super) fn of(content: &Content) -> (Self, Option<Self>) {
        match content {
            Content::Inline(values) => Self::inline(values),
            Content::Spilled(pointer) => (Self::spilled(*pointer), None),
        }
    }
}
