//! Building a large set in one pass, leaves first.

use cidstore_core::E;
use cidstore_core::layout::entry::{SetReference, SpillPointer};
use cidstore_core::layout::value::INNER_CHILDREN;
use cidstore_core::protocol::inner::Child;
use cidstore_core::protocol::leaf::LeafEnd;

use super::pages::ValuePages;
use super::split::LEAF_FILLED;
use super::tree::{Node, Tree};
use super::{Sets, pointer};

/// Children of a node that is built here, at most: nine tenths, so that first splits do not come at once.
const NODE_FILLED: usize = INNER_CHILDREN - INNER_CHILDREN / 10;

impl<P: ValuePages> Sets<'_, P> {
    /// Makes a large set of these ascending values.
    pub(super) fn create_large(&mut self, owner: E, values: &[E]) -> SpillPointer {
        // The root is known when all else is built; until then its number is not used.
        let mut tree = Tree::new(self.pages, owner, 0);
        let mut children = tree.build_leaves(values, None);
        let mut level = 1;
        while children.len() > NODE_FILLED {
            let parts = even_parts(children.len(), NODE_FILLED);
            let mut rest = children.as_slice();
            let mut nodes = Vec::with_capacity(children.len() / NODE_FILLED + 1);
            for part in parts {
                let (node, others) = rest.split_at(part);
                rest = others;
                let separator = node.first().map_or(E::ZERO, |first| first.separator);
                let page = tree.allocate_node(&Node::new(level, node.to_vec()));
                nodes.push(Child { separator, page });
            }
            children = nodes;
            level += 1;
        }
        let set_values = values.len() as u64;
        let root = Node { set_values, ..Node::new(level, children) };
        let root = tree.allocate_node(&root);
        pointer(SetReference { page: root, extent: None }, 0, values)
    }
}

impl<P: ValuePages> Tree<'_, P> {
    /// Makes a chain of leaves of these ascending values, at least one leaf; the last ends at `chain_end`.
    pub(super) fn build_leaves(&mut self, values: &[E], chain_end: Option<LeafEnd>) -> Vec<Child> {
        let mut children = Vec::with_capacity(values.len() / LEAF_FILLED + 1);
        let mut rest = values;
        let mut page = self.pages.allocate();
        for part in even_parts(values.len(), LEAF_FILLED) {
            let (leaf, others) = rest.split_at(part);
            rest = others;
            let end =
                others.first().map(|high| LeafEnd { high: *high, next: self.pages.allocate() });
            self.build_leaf(page, end.or(chain_end), leaf);
            let separator = leaf.first().copied().unwrap_or(E::ZERO);
            children.push(Child { separator, page });
            page = end.map_or(0, |end| end.next);
        }
        children
    }
}

/// Parts `count` into as few parts of at most `part_max` as it takes, at least one, all about equal.
pub(super) fn even_parts(count: usize, part_max: usize) -> impl Iterator<Item = usize> {
    let parts = count.div_ceil(part_max).max(1);
    (0..parts).map(move |part| count * (part + 1) / parts - count * part / parts)
}

#[cfg(test)]
mod tests {
    use super::even_parts;

    #[test]
    fn parts_are_few_and_even() {
        for count in 0..2000 {
            let parts = even_parts(count, 225).collect::<Vec<_>>();
            assert_eq!(parts.iter().sum::<usize>(), count);
            assert_eq!(parts.len(), count.div_ceil(225).max(1));
            let (least, most) = (parts.iter().min().unwrap(), parts.iter().max().unwrap());
            assert!(most - least <= 1 && *most <= 225);
        }
    }
}
