//! [`Content`]: what an entry, or a pair of entries, says about its key.

use core::fmt;

use crate::entity::E;
use crate::layout::entry::{INLINE_VALUES_MAX, SpillPointer, VALUES_PER_ENTRY};

/// The inline values of a key: at most four, distinct, in no order.
#[derive(Clone, Copy, Default)]
pub struct InlineValues {
    /// The first `len` are the values; the others mean nothing.
    values: [E; INLINE_VALUES_MAX],
    len: u8,
}

impl InlineValues {
    /// No values.
    pub const EMPTY: Self = Self { values: [E::ZERO; INLINE_VALUES_MAX], len: 0 };

    /// One value.
    #[inline(always)]
    #[must_use]
    pub const fn one(value: E) -> Self {
        Self { values: [value, E::ZERO, E::ZERO, E::ZERO], len: 1 }
    }

    /// These values; `None` if there are more than four.
    #[must_use]
    pub fn new(values: &[E]) -> Option<Self> {
        let mut all = Self::EMPTY;
        all.values.get_mut(..values.len())?.copy_from_slice(values);
        all.len = values.len() as u8;
        Some(all)
    }

    /// The valid ones of an entry's two values: bits 0 and 1 of `slots`.
    #[inline(always)]
    pub(crate) fn of_entry(slots: u8, first: E, second: E) -> Self {
        // What lies beyond `len` is never looked at, so the second value needs no choice.
        let one = if slots & 1 != 0 { first } else { second };
        let len = (slots & 1) + (slots >> 1 & 1);
        Self { values: [one, second, E::ZERO, E::ZERO], len }
    }

    /// The values of a primary entry followed by those of its second.
    pub(crate) fn joined(self, second: Self) -> Self {
        let mut all = self;
        for &value in second.as_slice() {
            // Two entries hold two values each, so there is room.
            if let Some(place) = all.values.get_mut(usize::from(all.len)) {
                *place = value;
                all.len += 1;
            }
        }
        all
    }

    /// The values.
    #[inline(always)]
    #[must_use]
    pub fn as_slice(&self) -> &[E] {
        &self.values[..usize::from(self.len).min(INLINE_VALUES_MAX)]
    }

    /// How many there are.
    #[inline(always)]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    #[inline(always)]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Entries that hold them.
    #[must_use]
    pub const fn entries(&self) -> usize {
        self.len().div_ceil(VALUES_PER_ENTRY)
    }
}

impl fmt::Debug for InlineValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

impl PartialEq for InlineValues {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for InlineValues {}

/// All that a bucket page says about one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Its values.
    Inline(InlineValues),
    /// Where its values are.
    Spilled(SpillPointer),
}

impl Content {
    /// Entries that hold it: two for three or four inline values, else one; none for no value.
    #[must_use]
    pub const fn entries(&self) -> usize {
        match self {
            Self::Inline(values) => values.entries(),
            Self::Spilled(_) => 1,
        }
    }
}
