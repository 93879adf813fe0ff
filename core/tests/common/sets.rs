//! Builds value pages by hand: extents, leaves and inner nodes from a sorted list of values.

use cidstore_core::E;
use cidstore_core::layout::entry::{SetReference, SpillPointer};
use cidstore_core::layout::value::{
    ExtentHeader, ExtentsHeader, INNER_CHILDREN, InnerHeader, InnerPage, LEAF_VALUES, LeafHeader,
    LeafPage, SMALL_SET_MAX, class_for, extent_words, extents_per_page,
};
use cidstore_core::layout::{PAGE_BYTES, PageKind};
use cidstore_core::sethash::SetHash;
use zerocopy::{FromZeros, IntoBytes};

use super::image::{GENERATION, PageBytes};

/// How value pages are filled.
#[derive(Clone, Copy)]
pub(crate) struct Fill {
    /// Live values in a leaf, at most; with `ghosts` a quarter more positions are used.
    pub(crate) leaf_values: usize,
    /// Children of an inner node, at most.
    pub(crate) inner_children: usize,
    /// Puts deleted values between the live ones.
    pub(crate) ghosts: bool,
}

impl Fill {
    /// As full as the format allows.
    pub(crate) const FULL: Self =
        Self { leaf_values: LEAF_VALUES, inner_children: INNER_CHILDREN, ghosts: false };
    /// Small nodes, so that few values make a tall tree, with deleted values among them.
    pub(crate) const SPARSE: Self = Self { leaf_values: 5, inner_children: 3, ghosts: true };
}

/// Value pages by logical number; number 0 is never used.
pub(crate) struct ValuePages {
    /// The pages.
    pub(crate) pages: Vec<PageBytes>,
    fill: Fill,
    /// For each size class the page that still has room, and its extents in use.
    open: [Option<(usize, usize)>; 6],
}

/// The positions of an extent or leaf: live values, and deleted ones among them.
struct Positions {
    values: Vec<E>,
    tombstones: [u64; 4],
}

impl Positions {
    fn new(live: &[E], ghosts: bool) -> Self {
        let mut positions = Self { values: Vec::new(), tombstones: [0; 4] };
        for (index, &value) in live.iter().enumerate() {
            if ghosts && index % 4 == 0 {
                // The ghost is the next value: a reader that overlooks its tombstone sees it twice.
                let at = positions.values.len();
                positions.tombstones[at / 64] |= 1 << (at % 64);
                positions.values.push(live[(index + 1) % live.len()]);
            }
            positions.values.push(value);
        }
        positions
    }
}

impl ValuePages {
    pub(crate) fn new(fill: Fill) -> Self {
        Self { pages: vec![[0; PAGE_BYTES]], fill, open: [None; 6] }
    }

    /// Stores a set, and gives what the key's entry says of it.
    pub(crate) fn store(&mut self, key: E, values: &[E]) -> SpillPointer {
        let is_small = values.len() <= SMALL_SET_MAX;
        let reference =
            if is_small { self.store_small(key, values) } else { self.store_large(key, values) };
        let hash: SetHash = values.iter().copied().collect();
        SpillPointer {
            reference: reference.encode(),
            sorted_count: if is_small { values.len() as u32 } else { 0 },
            value_count: values.len() as u32,
            checksum_low: hash.0 as u64,
            checksum_high: (hash.0 >> 64) as u64,
        }
    }

    fn store_small(&mut self, key: E, values: &[E]) -> SetReference {
        let ghosts = self.fill.ghosts && values.len() < 190;
        let positions = Positions::new(values, ghosts);
        let class = class_for(positions.values.len()).unwrap();
        let (page, extent) = match self.open[class] {
            Some((page, used)) if used < extents_per_page(class) => (page, used),
            _ => (self.push(&[]), 0),
        };
        self.open[class] = Some((page, extent + 1));
        let header = ExtentHeader {
            owner: key,
            version: 9,
            count: positions.values.len() as u16,
            sorted_count: 0,
            tombstones: positions.tombstones,
            reserved: 0,
        };
        let page_header = ExtentsHeader {
            kind: PageKind::Extents as u16,
            class: class as u8,
            generation: GENERATION,
            used: (1 << (extent + 1)) - 1,
            ..ExtentsHeader::default()
        };
        let bytes = &mut self.pages[page];
        bytes[..64].copy_from_slice(page_header.as_bytes());
        let start = 64 + extent * extent_words(class) * 8;
        bytes[start..start + 64].copy_from_slice(header.as_bytes());
        let values = positions.values.as_bytes();
        bytes[start + 64..][..values.len()].copy_from_slice(values);
        SetReference { page: page as u32, extent: Some(extent as u8) }
    }

    /// Leaves, then level upon level of inner nodes until one is left: the root.
    fn store_large(&mut self, key: E, values: &[E]) -> SetReference {
        let mut level = self.store_leaves(key, values);
        for height in 1.. {
            let nodes = level.chunks(self.fill.inner_children);
            let is_root = nodes.len() == 1;
            let mut parents = Vec::new();
            for children in nodes {
                let mut node = InnerPage::new_zeroed();
                node.header = InnerHeader {
                    kind: PageKind::Inner as u16,
                    level: height,
                    child_count: children.len() as u32,
                    generation: GENERATION,
                    set_values: if is_root { values.len() as u64 } else { 0 },
                    owner: key,
                    ..InnerHeader::default()
                };
                for (index, &(low, child)) in children.iter().enumerate() {
                    node.separators[index] = if index == 0 { E::ZERO } else { low };
                    node.children[index] = child;
                }
                parents.push((children[0].0, self.push(node.as_bytes()) as u32));
            }
            if is_root {
                return SetReference { page: parents[0].1, extent: None };
            }
            level = parents;
        }
        panic!("a set has a root")
    }

    /// The leaves, each with its least value and its number.
    fn store_leaves(&mut self, key: E, values: &[E]) -> Vec<(E, u32)> {
        let first = self.pages.len() as u32;
        let leaves: Vec<_> = values.chunks(self.fill.leaf_values).collect();
        let mut numbered = Vec::new();
        for (index, live) in leaves.iter().enumerate() {
            let positions = Positions::new(live, self.fill.ghosts);
            let next = leaves.get(index + 1);
            let mut leaf = LeafPage::new_zeroed();
            leaf.header = LeafHeader {
                kind: PageKind::Leaf as u16,
                bounded: u8::from(next.is_some()),
                generation: GENERATION,
                version: 3,
                count: positions.values.len() as u16,
                next: if next.is_some() { first + index as u32 + 1 } else { 0 },
                high: next.map_or(E::ZERO, |next| next[0]),
                tombstones: positions.tombstones,
                owner: key,
                ..LeafHeader::default()
            };
            leaf.values[..positions.values.len()].copy_from_slice(&positions.values);
            numbered.push((live[0], self.push(leaf.as_bytes()) as u32));
        }
        numbered
    }

    /// Adds a page that begins with `bytes`, and gives its logical number.
    fn push(&mut self, bytes: &[u8]) -> usize {
        let mut page = [0; PAGE_BYTES];
        page[..bytes.len()].copy_from_slice(bytes);
        self.pages.push(page);
        self.pages.len() - 1
    }
}
