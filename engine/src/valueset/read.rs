//! Reading sets: any thread, no lock, no wait.
//!
//! A reader holds a pin (or a snapshot) from before it learnt the set's reference until it is done; so no
//! page, number or extent that it comes across changes its meaning meanwhile, though the set may have
//! moved away or grown. [`contains`] and the reading of a small set are of one instant. A walk through a
//! large set takes each leaf at one instant: values that are there all the time are given exactly once,
//! values that come or go meanwhile at most once.
//!
//! Walks end on damaged pages too: levels descend by one, bounds ascend strictly.

use cidstore_core::E;
use cidstore_core::layout::entry::SetReference;
use cidstore_core::layout::value::LEAF_VALUES;
use cidstore_core::probe;
use cidstore_core::protocol::extent::{Extent, Extents};
use cidstore_core::protocol::inner::Inner;
use cidstore_core::protocol::leaf::Leaf;
use cidstore_core::protocol::lookup::FoundSet;
use cidstore_core::protocol::run::{Run, RunState};
use cidstore_core::protocol::value_fault::ValueFault;

use super::{Place, SetFault, at};
use crate::sync::{Page, PageWord};
use crate::table::slots::SLOTS_MAX;

/// Words of a cache line.
const LINE_WORDS: usize = 8;

/// Value pages by logical number: the store's table under a pin, or a snapshot's.
pub(crate) trait SetView {
    /// The page that this number names now (Acquire), `None` for a number that names nothing. A retired
    /// number goes on naming its last page until limbo ends.
    fn value_page(&self, logical: u32) -> Option<&Page>;

    /// True if every page that is read is to be checked. Those of sets are by [`value_page`](Self::value_page).
    fn verifies(&self) -> bool {
        false
    }

    /// The key whose set every page of a large set must say to belong to. `None`: none is asked.
    fn owner(&self) -> Option<E> {
        None
    }
}

pub(super) fn page<V: SetView>(view: &V, logical: u32) -> Result<&Page, SetFault> {
    view.value_page(logical).ok_or(SetFault { logical, what: ValueFault::Missing })
}

fn extent<V: SetView>(view: &V, logical: u32, index: u8) -> Result<Extent<'_, PageWord>, SetFault> {
    let extents = Extents::open(page(view, logical)?).map_err(at(logical))?;
    extents.extent(index).map_err(at(logical))
}

fn require_owner<V: SetView>(
    view: &V,
    logical: u32,
    said: impl FnOnce() -> E,
) -> Result<(), SetFault> {
    match view.owner() {
        Some(owner) if said() != owner => Err(at(logical)(ValueFault::Owner)),
        _ => Ok(()),
    }
}

/// Asks for all memory of a small set, for who will read most of it next.
#[inline]
pub(crate) fn ask_for<V: SetView>(view: &V, set: FoundSet) {
    let FoundSet { reference: SetReference { page, extent }, likely_count } = set;
    if let Some(index) = extent
        && let Some(page) = view.value_page(page)
    {
        Extents::prefetch_likely(page, index, likely_count as usize);
    }
}

pub(super) fn inner<V: SetView>(view: &V, logical: u32) -> Result<Inner<'_, PageWord>, SetFault> {
    let inner = Inner::open(page(view, logical)?).map_err(at(logical))?;
    require_owner(view, logical, || inner.owner())?;
    Ok(inner)
}

pub(super) fn leaf<V: SetView>(view: &V, logical: u32) -> Result<Leaf<'_, PageWord>, SetFault> {
    let leaf = Leaf::open(page(view, logical)?).map_err(at(logical))?;
    require_owner(view, logical, || leaf.owner())?;
    Ok(leaf)
}

/// The lowest inner node on the way from the root to `value`.
pub(super) fn lowest_node<V: SetView>(
    view: &V,
    root: u32,
    value: E,
) -> Result<Inner<'_, PageWord>, SetFault> {
    let mut node = inner(view, root)?;
    while node.level() > 1 {
        let level = node.level() - 1;
        let logical = node.child(node.route(value));
        node = inner(view, logical)?;
        if node.level() != level {
            return Err(at(logical)(ValueFault::Level(node.level())));
        }
    }
    Ok(node)
}

/// The leaf that covers `value`: down from the root, then to the right as far as splits moved it (V4).
fn find_leaf<V: SetView>(
    view: &V,
    root: u32,
    value: E,
) -> Result<(u32, Leaf<'_, PageWord>), SetFault> {
    let node = lowest_node(view, root, value)?;
    let mut logical = node.child(node.route(value));
    let mut found = leaf(view, logical)?;
    let mut reached: Option<E> = None;
    while let Some(end) = found.end()
        && end.high <= value
    {
        if reached.is_some_and(|bound| end.high <= bound) {
            return Err(at(logical)(ValueFault::Bounds));
        }
        reached = Some(end.high);
        logical = end.next;
        found = leaf(view, logical)?;
    }
    Ok((logical, found))
}

/// Whether the set has the value.
///
/// # Errors
///
/// [`SetFault`] if the set is damaged.
pub(crate) fn contains<V: SetView>(view: &V, reference: u64, value: E) -> Result<bool, SetFault> {
    let (logical, run) = match Place::of(reference)? {
        Place::Small { page, extent: index } => (page, extent(view, page, index)?.run()),
        Place::Large { root } => {
            let (logical, leaf) = find_leaf(view, root, value)?;
            (logical, leaf.run())
        }
    };
    Ok(run.find(value).map_err(at(logical))?.is_some())
}

/// Positions of all value pages that there can be.
const POSITIONS_MAX: u64 = SLOTS_MAX as u64 * LEAF_VALUES as u64;

/// Values and tombstones in the set.
fn counts<V: SetView>(view: &V, reference: u64) -> Result<(u64, u64), SetFault> {
    match Place::of(reference)? {
        Place::Small { page, extent: index } => {
            let state = extent(view, page, index)?.run().state().map_err(at(page))?;
            Ok((state.live() as u64, state.buried() as u64))
        }
        Place::Large { root } => {
            let counts = inner(view, root)?.set_counts();
            // More than all pages can hold: sums and products of such counts need not fit any number.
            let fits = counts.0.max(counts.1) <= POSITIONS_MAX;
            if fits { Ok(counts) } else { Err(at(root)(ValueFault::Counter)) }
        }
    }
}

/// How many values the set has. Of a large set that is being changed, the count before or after.
///
/// # Errors
///
/// [`SetFault`] if the set is damaged.
pub(crate) fn count<V: SetView>(view: &V, reference: u64) -> Result<u64, SetFault> {
    Ok(counts(view, reference)?.0)
}

/// How many tombstones the set has.
///
/// # Errors
///
/// [`SetFault`] if the set is damaged.
pub(crate) fn tombstones<V: SetView>(view: &V, reference: u64) -> Result<u64, SetFault> {
    Ok(counts(view, reference)?.1)
}

/// All values of the set.
///
/// # Errors
///
/// [`SetFault`] if the set is damaged.
pub(crate) fn collect<V: SetView>(view: &V, reference: u64) -> Result<Vec<E>, SetFault> {
    let mut chunk = Chunk::new();
    let mut cursor = LeafCursor::new(reference);
    cursor.next(view, &mut chunk)?;
    let mut values = chunk.into_values();
    let mut chunk = Chunk::new();
    while cursor.next(view, &mut chunk)? {
        values.extend_from_slice(chunk.values());
    }
    Ok(values)
}

/// Gives all values of the set to `each`, a chunk at a time.
///
/// # Errors
///
/// [`SetFault`] if the set is damaged; some values may have been given before.
pub(crate) fn read_all<V: SetView>(
    view: &V,
    reference: u64,
    mut each: impl FnMut(&[E]),
) -> Result<(), SetFault> {
    if let Place::Small { page, extent: index } = Place::of(reference)? {
        let run = extent(view, page, index)?.run();
        run.prefetch();
        read_small(run, &run.state().map_err(at(page))?, each);
        return Ok(());
    }
    let mut cursor = LeafCursor::new(reference);
    let mut chunk = Chunk::new();
    while cursor.next(view, &mut chunk)? {
        each(chunk.values());
    }
    Ok(())
}

/// Most sets are small, and a [`Chunk`] takes longer to clear than most of them take to read.
fn read_small(run: Run<'_, PageWord>, state: &RunState, mut each: impl FnMut(&[E])) {
    let mut values = [E::ZERO; 32];
    let mut count = 0;
    run.for_each(state, |value| {
        if count == values.len() {
            each(&values);
            count = 0;
        }
        if let Some(slot) = values.get_mut(count) {
            *slot = value;
            count += 1;
        }
    });
    if let Some(rest @ [_, ..]) = values.get(..count) {
        each(rest);
    }
}

/// Values of one extent or leaf, as they were at one instant. Its memory is used again for the next ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chunk {
    /// Memory for the most values so far. Never made shorter: what is made longer again is filled with zeros first.
    memory: Vec<E>,
    /// How many of them are values.
    len: usize,
}

impl Chunk {
    /// An empty chunk.
    pub(crate) const fn new() -> Self {
        Self { memory: Vec::new(), len: 0 }
    }

    /// These values.
    pub(crate) fn of(values: &[E]) -> Self {
        Self { memory: values.to_vec(), len: values.len() }
    }

    /// The values.
    #[inline]
    pub(crate) fn values(&self) -> &[E] {
        &self.memory[..self.len]
    }

    fn into_values(mut self) -> Vec<E> {
        self.memory.truncate(self.len);
        self.memory
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Takes the live values of `state` that are not below `from`.
    fn fill(&mut self, run: Run<'_, PageWord>, state: &RunState, from: Option<E>) {
        if self.memory.len() < state.count() {
            self.memory.resize(state.count(), E::ZERO);
        }
        self.len = match from {
            None => run.copy(state, &mut self.memory),
            Some(from) => {
                let mut count = 0;
                run.for_each(state, |value| {
                    if value >= from {
                        self.memory[count] = value;
                        count += 1;
                    }
                });
                count
            }
        };
    }
}

/// A walk through a set, leaf by leaf in ascending order of leaves. Within a leaf the order is that of the
/// positions: ascending if the set was compacted and not changed since.
///
/// One cursor belongs to one pin. To go on under another pin, keep [`LeafCursor::bound`] and start again
/// with [`LeafCursor::resume`].
#[derive(Clone, Debug)]
pub(crate) struct LeafCursor {
    reference: u64,
    next: Next,
}

/// What a cursor reads next.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// The place that covers this value, without what is below.
    From(E),
    /// This leaf, whose lower bound is the value.
    Leaf(u32, E),
    /// Nothing.
    End,
}

impl LeafCursor {
    /// A walk through the whole set.
    pub(crate) const fn new(reference: u64) -> Self {
        Self::resume(reference, E::ZERO)
    }

    /// A walk through the values from `bound` on. The reference is the one that the entry has now.
    pub(crate) const fn resume(reference: u64, bound: E) -> Self {
        Self { reference, next: Next::From(bound) }
    }

    /// What was not yet given is not below this value; `None` if all was given.
    pub(crate) const fn bound(&self) -> Option<E> {
        match self.next {
            Next::From(bound) | Next::Leaf(_, bound) => Some(bound),
            Next::End => None,
        }
    }

    /// Fills `chunk` with the next values. False, and an empty chunk, at the end.
    ///
    /// # Errors
    ///
    /// [`SetFault`] if the set is damaged; the walk is then at its end.
    pub(crate) fn next<V: SetView>(
        &mut self,
        view: &V,
        chunk: &mut Chunk,
    ) -> Result<bool, SetFault> {
        chunk.clear();
        while chunk.values().is_empty() {
            self.next = match std::mem::replace(&mut self.next, Next::End) {
                Next::End => return Ok(false),
                Next::From(bound) => self.start(view, bound, chunk)?,
                Next::Leaf(logical, bound) => {
                    // The chain led here, so the leaf has nothing below its bound.
                    take(view, (logical, leaf(view, logical)?), bound, None, chunk)?
                }
            };
        }
        Ok(true)
    }

    /// Takes the values from `bound` on of the place that covers it, and tells what comes next.
    fn start<V: SetView>(&self, view: &V, bound: E, chunk: &mut Chunk) -> Result<Next, SetFault> {
        let floor = (bound > E::ZERO).then_some(bound);
        match Place::of(self.reference)? {
            Place::Small { page, extent: index } => {
                let run = extent(view, page, index)?.run();
                chunk.fill(run, &run.state().map_err(at(page))?, floor);
                Ok(Next::End)
            }
            Place::Large { root } => take(view, find_leaf(view, root, bound)?, bound, floor, chunk),
        }
    }
}

/// Takes the values from `floor` on of a leaf that covers `bound`, and tells what comes next.
fn take<V: SetView>(
    view: &V,
    (logical, leaf): (u32, Leaf<'_, PageWord>),
    bound: E,
    floor: Option<E>,
    chunk: &mut Chunk,
) -> Result<Next, SetFault> {
    let end = leaf.end();
    // The next leaf lies anywhere: half of it is asked for before this one is copied, half after, since a core waits
    // for so many lines at once only.
    let (front, back) = end
        .and_then(|end| view.value_page(end.next))
        .map_or((&[][..], &[][..]), |next| next.split_at(next.len() / 2));
    let ask_for = |words: &[PageWord]| {
        words.chunks(LINE_WORDS).flat_map(<[_]>::first).for_each(probe::prefetch);
    };
    ask_for(front);
    let run = leaf.run();
    chunk.fill(run, &run.state().map_err(at(logical))?, floor);
    ask_for(back);
    match end {
        None => Ok(Next::End),
        Some(end) if end.high > bound => Ok(Next::Leaf(end.next, end.high)),
        Some(_) => Err(at(logical)(ValueFault::Bounds)),
    }
}

/// The key that each extent in use of this page belongs to, for moving them elsewhere.
///
/// # Errors
///
/// [`SetFault`] if the page is not one of extents.
pub(crate) fn extent_owners<V: SetView>(
    view: &V,
    logical: u32,
) -> Result<Vec<(SetReference, E)>, SetFault> {
    let extents = Extents::open(page(view, logical)?).map_err(at(logical))?;
    let used = extents.used();
    let mut owners = Vec::new();
    for index in (0..64_u8).filter(|index| used >> index & 1 == 1) {
        let owner = extents.extent(index).map_err(at(logical))?.owner();
        owners.push((SetReference { page: logical, extent: Some(index) }, owner));
    }
    Ok(owners)
}
