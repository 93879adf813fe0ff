//! The bytes of value pages: sets are added one after another, and pages handed on as they fill.

use cidstore_core::E;
use cidstore_core::layout::entry::{SetReference, SpillPointer};
use cidstore_core::layout::value::{
    EXTENT_CAPACITIES, EXTENT_HEADER_WORDS, ExtentHeader, ExtentsHeader, INNER_CHILDREN,
    InnerHeader, InnerPage, LEAF_VALUES, LeafHeader, LeafPage, SMALL_SET_MAX, VALUE_HEADER_WORDS,
    class_for, extent_words, extents_per_page,
};
use cidstore_core::layout::{PAGE_BYTES, PageKind};
use cidstore_core::sethash::SetHash;
use zerocopy::{FromZeros, IntoBytes};

use super::GENERATION;
use crate::exchange::error::Result;

/// A page as bytes.
pub(crate) type PageBytes = [u8; PAGE_BYTES];

/// Takes finished pages by number, each once.
pub(crate) type TakePage<'a> = dyn FnMut(u32, &PageBytes) -> Result<()> + 'a;

/// Version of every extent and leaf.
const VERSION: u32 = 1;

/// Pages that a set of this many values takes, if it is a large one.
pub(crate) fn large_set_pages(values: u64) -> u64 {
    let mut level = values.div_ceil(LEAF_VALUES as u64);
    let mut pages = level;
    loop {
        level = level.div_ceil(INNER_CHILDREN as u64);
        pages += level;
        if level <= 1 {
            return pages;
        }
    }
}

/// A page of extents that has room.
struct OpenPage {
    number: u32,
    used: usize,
    live_values: u32,
    bytes: Box<PageBytes>,
}

/// Lays value sets out in pages.
#[derive(Default)]
pub(crate) struct SetBuilder {
    /// The last page number given out; page 0 is never used.
    last: u32,
    open: [Option<OpenPage>; EXTENT_CAPACITIES.len()],
}

impl SetBuilder {
    /// Pages begun so far, page 0 included.
    pub(crate) fn page_count(&self) -> u64 {
        u64::from(self.last) + 1
    }

    fn next_page(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    /// Adds a set of at most [`SMALL_SET_MAX`] values, which it sorts.
    pub(crate) fn add_small(
        &mut self,
        owner: E,
        values: &mut [E],
        take: &mut TakePage<'_>,
    ) -> Result<SpillPointer> {
        values.sort_unstable();
        debug_assert!(values.len() <= SMALL_SET_MAX);
        let class = class_for(values.len()).unwrap_or(EXTENT_CAPACITIES.len() - 1);
        if self.open[class].is_none() {
            let number = self.next_page();
            self.open[class] = Some(OpenPage {
                number,
                used: 0,
                live_values: 0,
                bytes: Box::new([0; PAGE_BYTES]),
            });
        }
        let mut hash = SetHash::default();
        values.iter().for_each(|value| hash.add(*value));
        let count = values.len() as u32;
        let Some(page) = &mut self.open[class] else { unreachable!("a page was opened just now") };
        let (number, extent) = (page.number, page.used as u8);
        page.put(class, owner, values);
        if page.used == extents_per_page(class)
            && let Some(full) = self.open[class].take()
        {
            full.finish(class, take)?;
        }
        Ok(SpillPointer {
            reference: SetReference { page: number, extent: Some(extent) }.encode(),
            sorted_count: count,
            value_count: count,
            checksum_low: hash.0 as u64,
            checksum_high: (hash.0 >> 64) as u64,
        })
    }

    /// Begins a set of exactly `count` values, more than [`SMALL_SET_MAX`].
    pub(crate) fn begin_large(&mut self, owner: E, count: u64) -> LargeSet {
        let leaves = count.div_ceil(LEAF_VALUES as u64) as u32;
        let first = self.last + 1;
        self.last += leaves;
        LargeSet {
            owner,
            count,
            leaf: first,
            last_leaf: first + leaves - 1,
            values: Vec::with_capacity(LEAF_VALUES),
            children: Vec::with_capacity(leaves as usize),
            hash: SetHash::default(),
            taken: 0,
        }
    }

    /// Ends a large set: its inner nodes come behind its leaves.
    pub(crate) fn finish_large(
        &mut self,
        mut set: LargeSet,
        take: &mut TakePage<'_>,
    ) -> Result<SpillPointer> {
        set.write_leaf(None, take)?;
        let mut level = 1;
        let mut children = std::mem::take(&mut set.children);
        let root = loop {
            let nodes = children.len().div_ceil(INNER_CHILDREN);
            let mut above = Vec::with_capacity(nodes);
            for node in children.chunks(INNER_CHILDREN) {
                let number = self.next_page();
                let set_values = if nodes == 1 { set.count } else { 0 };
                take(number, &inner_page(set.owner, level, node, set_values))?;
                above.push((node.first().map_or(E::ZERO, |first| first.0), number));
            }
            if let [(_, root)] = above[..] {
                break root;
            }
            children = above;
            level += 1;
        };
        Ok(SpillPointer {
            reference: SetReference { page: root, extent: None }.encode(),
            sorted_count: 0,
            value_count: set.count as u32,
            checksum_low: set.hash.0 as u64,
            checksum_high: (set.hash.0 >> 64) as u64,
        })
    }

    /// Hands on the pages that are not full.
    pub(crate) fn finish(mut self, take: &mut TakePage<'_>) -> Result<()> {
        for (class, open) in self.open.iter_mut().enumerate() {
            if let Some(page) = open.take() {
                page.finish(class, take)?;
            }
        }
        Ok(())
    }
}

impl OpenPage {
    fn put(&mut self, class: usize, owner: E, values: &[E]) {
        let at = (VALUE_HEADER_WORDS + self.used * extent_words(class)) * 8;
        let header = ExtentHeader {
            owner,
            version: VERSION,
            count: values.len() as u16,
            sorted_count: values.len() as u16,
            ..ExtentHeader::default()
        };
        let (head, body) = self.bytes[at..].split_at_mut(EXTENT_HEADER_WORDS * 8);
        head.copy_from_slice(header.as_bytes());
        body[..size_of_val(values)].copy_from_slice(values.as_bytes());
        self.used += 1;
        self.live_values += values.len() as u32;
    }

    fn finish(mut self, class: usize, take: &mut TakePage<'_>) -> Result<()> {
        let header = ExtentsHeader {
            kind: PageKind::Extents as u16,
            class: class as u8,
            generation: GENERATION,
            used: (1 << self.used) - 1,
            live_values: self.live_values,
            ..ExtentsHeader::default()
        };
        self.bytes[..VALUE_HEADER_WORDS * 8].copy_from_slice(header.as_bytes());
        take(self.number, &self.bytes)
    }
}

/// A large set that is being written, leaf by leaf.
pub(crate) struct LargeSet {
    owner: E,
    count: u64,
    /// Number of the leaf that `values` will be.
    leaf: u32,
    last_leaf: u32,
    values: Vec<E>,
    /// Lower bound and number of each leaf so far.
    children: Vec<(E, u32)>,
    hash: SetHash,
    taken: u64,
}

impl LargeSet {
    /// Adds values, all of which are above those added before; it sorts them. False if they are not, or are too many.
    pub(crate) fn add(&mut self, values: &mut [E], take: &mut TakePage<'_>) -> Result<bool> {
        values.sort_unstable();
        for &value in &*values {
            if self.values.len() == LEAF_VALUES {
                self.write_leaf(Some(value), take)?;
            }
            self.taken += 1;
            if self.values.last().is_some_and(|last| *last >= value) || self.taken > self.count {
                return Ok(false);
            }
            self.hash.add(value);
            self.values.push(value);
        }
        Ok(true)
    }

    /// True once all values are there.
    pub(crate) fn is_complete(&self) -> bool {
        self.taken == self.count
    }

    /// Writes the leaf that is full, or the last one; `high` is the first value of the next one.
    fn write_leaf(&mut self, high: Option<E>, take: &mut TakePage<'_>) -> Result<()> {
        let mut page = LeafPage::new_zeroed();
        let count = self.values.len() as u16;
        let bounded = high.is_some() && self.leaf < self.last_leaf;
        page.header = LeafHeader {
            kind: PageKind::Leaf as u16,
            bounded: bounded.into(),
            generation: GENERATION,
            version: VERSION,
            count,
            sorted_count: count,
            next: if bounded { self.leaf + 1 } else { 0 },
            high: high.filter(|_| bounded).unwrap_or(E::ZERO),
            owner: self.owner,
            ..LeafHeader::default()
        };
        for (place, value) in page.values.iter_mut().zip(&self.values) {
            *place = *value;
        }
        take(self.leaf, zerocopy::transmute_ref!(&page))?;
        self.children.push((self.values.first().copied().unwrap_or(E::ZERO), self.leaf));
        self.leaf += 1;
        self.values.clear();
        Ok(())
    }
}

fn inner_page(owner: E, level: u8, children: &[(E, u32)], set_values: u64) -> PageBytes {
    let mut page = InnerPage::new_zeroed();
    page.header = InnerHeader {
        kind: PageKind::Inner as u16,
        level,
        child_count: children.len() as u32,
        generation: GENERATION,
        set_values,
        owner,
        ..InnerHeader::default()
    };
    for (index, &(separator, number)) in children.iter().enumerate() {
        // The first child covers everything below the second's separator.
        page.separators[index] = if index == 0 { E::ZERO } else { separator };
        page.children[index] = number;
    }
    zerocopy::transmute!(page)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn pages_are_as_many_as_was_said() {
        for count in [245, 250, 251, 250 * 168, 250 * 168 + 1, 250 * 168 * 2 + 17] {
            let mut pages = BTreeMap::new();
            let mut take = |number: u32, page: &PageBytes| {
                assert!(pages.insert(number, *page).is_none(), "page {number} written twice");
                Ok(())
            };
            let mut sets = SetBuilder::default();
            let mut large = sets.begin_large(E::from(1), count);
            for first in (0..count).step_by(240) {
                let mut part: Vec<E> = (first..count.min(first + 240)).rev().map(E::from).collect();
                assert!(large.add(&mut part, &mut take).unwrap());
            }
            assert!(large.is_complete());
            sets.finish_large(large, &mut take).unwrap();
            assert_eq!(sets.page_count() - 1, large_set_pages(count), "{count} values");
            assert!(pages.keys().copied().eq(1..=large_set_pages(count) as u32));
        }
    }

    #[test]
    fn values_that_do_not_ascend_are_refused() {
        let mut sets = SetBuilder::default();
        let mut large = sets.begin_large(E::from(1), 300);
        let mut take = |_: u32, _: &PageBytes| Ok(());
        assert!(large.add(&mut [E::from(5), E::from(6)], &mut take).unwrap());
        assert!(!large.add(&mut [E::from(6)], &mut take).unwrap());
    }
}
