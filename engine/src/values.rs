//! [`Values`]: the values of one key, up to four of them without allocation.

use std::fmt;

use cidstore_core::E;
use cidstore_core::layout::entry::INLINE_VALUES_MAX;
use cidstore_core::protocol::content::InlineValues;

/// The values of one key: owned, in no particular order, empty for a key that is not there.
#[derive(Clone, Default)]
pub struct Values(Inner);

#[derive(Clone)]
enum Inner {
    Inline(InlineValues),
    Many(Vec<E>),
}

impl Default for Inner {
    fn default() -> Self {
        Self::Inline(InlineValues::EMPTY)
    }
}

impl Values {
    #[inline(always)]
    pub(crate) fn one(value: E) -> Self {
        Self(Inner::Inline(InlineValues::one(value)))
    }

    pub(crate) fn inline(values: InlineValues) -> Self {
        Self(Inner::Inline(values))
    }

    pub(crate) fn many(values: Vec<E>) -> Self {
        match InlineValues::new(&values) {
            Some(inline) if values.len() <= INLINE_VALUES_MAX => Self::inline(inline),
            _ => Self(Inner::Many(values)),
        }
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// True if there is none: the key is not in the store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values as a slice.
    #[must_use]
    pub fn as_slice(&self) -> &[E] {
        match &self.0 {
            Inner::Inline(values) => values.as_slice(),
            Inner::Many(values) => values,
        }
    }

    /// The values one by one.
    pub fn iter(&self) -> std::iter::Copied<std::slice::Iter<'_, E>> {
        self.as_slice().iter().copied()
    }

    /// True if `value` is among them.
    #[must_use]
    pub fn contains(&self, value: impl Into<E>) -> bool {
        self.as_slice().contains(&value.into())
    }

    /// The values in a vector of their own.
    #[must_use]
    pub fn to_vec(&self) -> Vec<E> {
        self.as_slice().to_vec()
    }

    /// The same values in ascending order.
    #[must_use]
    pub fn sorted(self) -> Self {
        let mut values = self.to_vec();
        values.sort_unstable();
        Self::many(values)
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.as_slice()).finish()
    }
}

/// Equal if they hold the same values, in whatever order.
impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && {
            let (mut mine, mut theirs) = (self.to_vec(), other.to_vec());
            mine.sort_unstable();
            theirs.sort_unstable();
            mine == theirs
        }
    }
}

impl Eq for Values {}

impl<'a> IntoIterator for &'a Values {
    type Item = E;
    type IntoIter = std::iter::Copied<std::slice::Iter<'a, E>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Values {
    type Item = E;
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        IntoIter { values: self, next: 0 }
    }
}

/// The values of a [`Values`], one by one.
#[derive(Clone, Debug)]
pub struct IntoIter {
    values: Values,
    next: usize,
}

impl Iterator for IntoIter {
    type Item = E;

    fn next(&mut self) -> Option<E> {
        let value = self.values.as_slice().get(self.next).copied()?;
        self.next += 1;
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.values.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for IntoIter {}
impl std::iter::FusedIterator for IntoIter {}
