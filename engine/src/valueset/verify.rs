//! [`verify`]: is every page of a set what it must be?
//!
//! For a set that nobody is changing: under the writer's lock, or in a snapshot.

use std::collections::HashSet;

use cidstore_core::E;
use cidstore_core::layout::entry::SpillPointer;
use cidstore_core::layout::value::SMALL_SET_MAX;
use cidstore_core::protocol::extent::Extents;
use cidstore_core::protocol::inner::Inner;
use cidstore_core::protocol::leaf::{Leaf, LeafEnd};
use cidstore_core::protocol::run::Run;
use cidstore_core::protocol::value_fault::ValueFault;
use cidstore_core::sethash::mix;

use super::read::SetView;
use super::{Place, SetFault, at};
use crate::sync::{Page, PageWord};

/// What a set holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SetReport {
    /// Values.
    pub(crate) count: u64,
    /// Tombstones.
    pub(crate) tombstones: u64,
    /// Order-independent hash of the values.
    pub(crate) checksum: u128,
}

/// Checks the set, its counters and its checksum; `each_page` is told each logical page that it uses.
///
/// # Errors
///
/// [`SetFault`] names the first page found wrong.
pub(crate) fn verify<V: SetView>(
    view: &V,
    owner: E,
    set: &SpillPointer,
    mut each_page: impl FnMut(u32),
) -> Result<SetReport, SetFault> {
    let (logical, report) = match Place::of(set.reference)? {
        Place::Small { page, extent } => {
            each_page(page);
            (page, verify_small(view, owner, set, (page, extent))?)
        }
        Place::Large { root } => {
            let mut walk = Walk {
                view,
                owner,
                each_page,
                seen: HashSet::new(),
                last_leaf: None,
                report: SetReport::default(),
            };
            (root, walk.whole(root, set)?)
        }
    };
    if report.count as u32 != set.value_count {
        return Err(at(logical)(ValueFault::Counter));
    }
    if report.checksum != set.checksum() {
        return Err(at(logical)(ValueFault::Checksum));
    }
    Ok(report)
}

fn page<V: SetView>(view: &V, logical: u32) -> Result<&Page, SetFault> {
    view.value_page(logical).ok_or(SetFault { logical, what: ValueFault::Missing })
}

fn verify_small<V: SetView>(
    view: &V,
    owner: E,
    set: &SpillPointer,
    (logical, index): (u32, u8),
) -> Result<SetReport, SetFault> {
    let fault = at(logical);
    let extents = Extents::open(page(view, logical)?).map_err(&fault)?;
    let extent = extents.extent(index).map_err(&fault)?;
    let report = verify_run(extent.run(), |_| true).map_err(&fault)?;
    let sorted = extent.run().meta().map_err(&fault)?.sorted;
    let what = if extents.used() >> index & 1 == 0 {
        ValueFault::Unused
    } else if extent.owner() != owner {
        ValueFault::Owner
    } else if u32::from(sorted) != set.sorted_count || report.count > SMALL_SET_MAX as u64 {
        ValueFault::Counter
    } else {
        return Ok(report);
    };
    Err(fault(what))
}

/// Checks the counts, the order and the values of a run.
fn verify_run(
    run: Run<'_, PageWord>,
    in_bounds: impl Fn(E) -> bool,
) -> Result<SetReport, ValueFault> {
    let state = run.state()?;
    if !state.tombstones_in_use() {
        return Err(ValueFault::Tombstones);
    }
    if run.ascending(usize::from(state.meta.sorted)) < usize::from(state.meta.sorted) {
        return Err(ValueFault::Order);
    }
    if !(0..state.count()).all(|position| in_bounds(run.value(position))) {
        return Err(ValueFault::Bounds);
    }
    let mut values = Vec::with_capacity(state.count());
    run.for_each(&state, |value| values.push(value));
    values.sort_unstable();
    if values.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(ValueFault::Duplicate);
    }
    Ok(SetReport {
        count: values.len() as u64,
        tombstones: state.buried() as u64,
        checksum: values.iter().fold(0, |sum: u128, value| sum.wrapping_add(mix(*value))),
    })
}

/// The lower bound, and the upper one if there is one, of what a node covers.
type Bounds = (E, Option<E>);

/// A walk through the tree, in ascending order.
struct Walk<'v, V, F> {
    view: &'v V,
    owner: E,
    each_page: F,
    seen: HashSet<u32>,
    /// The leaf before the next one, and its end.
    last_leaf: Option<(u32, Option<LeafEnd>)>,
    report: SetReport,
}

impl<V: SetView, F: FnMut(u32)> Walk<'_, V, F> {
    fn whole(&mut self, root: u32, set: &SpillPointer) -> Result<SetReport, SetFault> {
        let inner = Inner::open(page(self.view, root)?).map_err(at(root))?;
        self.node(root, inner.level(), (E::ZERO, None))?;
        if inner.set_counts() != (self.report.count, self.report.tombstones)
            || set.sorted_count != 0
        {
            return Err(at(root)(ValueFault::Counter));
        }
        Ok(self.report)
    }

    /// Depth is bounded: levels descend by one from at most `INNER_LEVEL_MAX`.
    fn node(&mut self, logical: u32, level: u8, bounds: Bounds) -> Result<(), SetFault> {
        if !self.seen.insert(logical) {
            return Err(at(logical)(ValueFault::Duplicate));
        }
        (self.each_page)(logical);
        if level == 0 {
            return self.leaf(logical, bounds);
        }
        let inner = Inner::open(page(self.view, logical)?).map_err(at(logical))?;
        if inner.owner() != self.owner {
            return Err(at(logical)(ValueFault::Owner));
        }
        if inner.level() != level {
            return Err(at(logical)(ValueFault::Level(inner.level())));
        }
        let is_root = self.seen.len() == 1;
        if !is_root && inner.set_counts() != (0, 0) {
            return Err(at(logical)(ValueFault::Counter));
        }
        let mut lower = bounds.0;
        for index in 0..inner.child_count() {
            let is_last = index + 1 == inner.child_count();
            let upper = if is_last { bounds.1 } else { Some(inner.separator(index + 1)) };
            if upper.is_some_and(|upper| upper <= lower) {
                return Err(at(logical)(ValueFault::Bounds));
            }
            self.node(inner.child(index), level - 1, (lower, upper))?;
            lower = upper.unwrap_or(lower);
        }
        Ok(())
    }

    fn leaf(&mut self, logical: u32, (lower, upper): Bounds) -> Result<(), SetFault> {
        let fault = at(logical);
        let leaf = Leaf::open(page(self.view, logical)?).map_err(&fault)?;
        if leaf.owner() != self.owner {
            return Err(fault(ValueFault::Owner));
        }
        if leaf.end().map(|end| end.high) != upper {
            return Err(fault(ValueFault::Bounds));
        }
        if let Some((before, end)) = self.last_leaf
            && end.is_none_or(|end| end.next != logical)
        {
            return Err(at(before)(ValueFault::Chain));
        }
        self.last_leaf = Some((logical, leaf.end()));
        let in_bounds = |value| value >= lower && upper.is_none_or(|upper| value < upper);
        let report = verify_run(leaf.run(), in_bounds).map_err(&fault)?;
        self.report.count += report.count;
        self.report.tombstones += report.tombstones;
        self.report.checksum = self.report.checksum.wrapping_add(report.checksum);
        Ok(())
    }
}
