//! Pages in memory for the tests: [`MockPages`] is the writer's side, [`Arena`] what readers see.
//!
//! Stricter than a store needs to be: a page that comes back from limbo is filled with rubbish at once, a
//! number that is retired twice or a fresh page that is not published fails the test, and a [`Frozen`] view
//! checks that no page of a generation that a cut has ended is ever stored to.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};
use std::sync::{Arc, OnceLock};

use cidstore_core::layout::PAGE_WORDS;
use cidstore_core::layout::entry::SetReference;
use cidstore_core::layout::value::GENERATION_WORD;
use cidstore_core::protocol::word::Page;

use super::{ExtentAllocator, FreshPage, SetView, ValuePages};

/// Readers that can be pinned at once.
const READERS: usize = 8;
/// Stands in a page that nobody may be reading any more.
const RUBBISH: u64 = 0xdead_dead_dead_dead;
const NOT_PINNED: u64 = u64::MAX;

fn zero_page() -> Box<Page> {
    Box::new([const { AtomicU64::new(0) }; PAGE_WORDS])
}

/// Pages and the table that names them.
#[derive(Debug)]
pub(super) struct Arena {
    pages: Box<[OnceLock<Box<Page>>]>,
    table: Box<[AtomicU32]>,
    epoch: AtomicU64,
    pins: [AtomicU64; READERS],
    nothing: Box<Page>,
}

impl Arena {
    fn new(page_max: usize) -> Self {
        Self {
            pages: (0..page_max).map(|_| OnceLock::new()).collect(),
            table: (0..page_max).map(|_| AtomicU32::new(0)).collect(),
            epoch: AtomicU64::new(1),
            pins: [const { AtomicU64::new(NOT_PINNED) }; READERS],
            nothing: zero_page(),
        }
    }

    fn physical(&self, physical: u32) -> &Page {
        self.pages[physical as usize].get_or_init(zero_page)
    }

    /// The table as it is now.
    pub(super) fn table(&self) -> Vec<u32> {
        self.table.iter().map(|slot| slot.load(Acquire)).collect()
    }

    /// The page that `logical` named when the table was copied. Right while nothing leaves limbo.
    pub(super) fn page_of(&self, table: &[u32], logical: u32) -> Option<&Page> {
        match table.get(logical as usize)? {
            0 => None,
            physical => Some(self.physical(*physical)),
        }
    }

    /// Lets reader `reader` use what it finds until it pins again or unpins.
    pub(super) fn pin(&self, reader: usize) {
        loop {
            let epoch = self.epoch.load(SeqCst);
            self.pins[reader].store(epoch, SeqCst);
            fence(SeqCst);
            if self.epoch.load(SeqCst) == epoch {
                return;
            }
        }
    }

    pub(super) fn unpin(&self, reader: usize) {
        self.pins[reader].store(NOT_PINNED, SeqCst);
    }
}

impl SetView for Arena {
    fn value_page(&self, logical: u32) -> Option<&Page> {
        match self.table.get(logical as usize)?.load(Acquire) {
            0 => None,
            physical => Some(self.physical(physical)),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Retired {
    Page(u32),
    Number(u32),
    Extent(SetReference),
}

/// Looks at the pages between two changes of slots.
pub(super) type OnSwing = Box<dyn FnMut(&Arena)>;

/// The writer's pages.
pub(super) struct MockPages {
    /// Called after each change of a slot, the writer stopped in the middle of what it does.
    pub(super) on_swing: Option<OnSwing>,
    pub(super) arena: Arc<Arena>,
    generation: u64,
    free_pages: Vec<u32>,
    free_numbers: Vec<u32>,
    page_count: u32,
    number_count: u32,
    /// Numbers that name something and are not retired.
    pub(super) numbers: BTreeSet<u32>,
    fresh: BTreeSet<u32>,
    limbo: VecDeque<(u64, Retired)>,
    frozen: Arc<()>,
    /// False while damage is tested: retiring a number that is not in use does nothing then.
    pub(super) strict: bool,
    /// Numbers whose pages are not what was written.
    pub(super) damaged: BTreeSet<u32>,
    /// Pages that were sound when they were last looked at.
    pub(super) remembered: BTreeSet<u32>,
    /// Pages made, for whoever measures the churn.
    pub(super) built: u64,
}

impl MockPages {
    pub(super) fn new(page_max: usize) -> Self {
        Self {
            on_swing: None,
            arena: Arc::new(Arena::new(page_max)),
            generation: 1,
            free_pages: Vec::new(),
            free_numbers: Vec::new(),
            page_count: 0,
            number_count: 0,
            numbers: BTreeSet::new(),
            fresh: BTreeSet::new(),
            limbo: VecDeque::new(),
            frozen: Arc::new(()),
            strict: true,
            damaged: BTreeSet::new(),
            remembered: BTreeSet::new(),
            built: 0,
        }
    }

    fn take_page(&mut self) -> u32 {
        self.built += 1;
        let physical = self.free_pages.pop().unwrap_or_else(|| {
            self.page_count += 1;
            self.page_count
        });
        for word in self.arena.physical(physical) {
            word.store(0, Relaxed);
        }
        physical
    }

    fn swing(&mut self, logical: u32, physical: u32) {
        assert!(self.numbers.contains(&logical), "number {logical} is not in use");
        let old = self.arena.table[logical as usize].swap(physical, Release);
        self.retire_later(Retired::Page(old));
        if let Some(on_swing) = &mut self.on_swing {
            on_swing(&self.arena);
        }
    }

    fn retire_later(&mut self, what: Retired) {
        self.limbo.push_back((self.arena.epoch.load(Relaxed), what));
    }

    /// Ends the generation: pages built up to now are immutable.
    pub(super) fn cut(&mut self) {
        self.generation += 1;
    }

    /// A view of the sets as they are now. Until it is dropped nothing leaves limbo.
    pub(super) fn freeze(&mut self) -> Frozen {
        self.cut();
        let table = self.arena.table.iter().take(self.number_count as usize + 1);
        let table = table.map(|slot| slot.load(Relaxed)).collect::<Vec<_>>();
        let content = |physical: &u32| match *physical {
            0 => Vec::new(),
            _ => self.arena.physical(*physical).iter().map(|word| word.load(Relaxed)).collect(),
        };
        let contents = table.iter().map(content).collect();
        Frozen { arena: self.arena.clone(), table, contents, _alive: self.frozen.clone() }
    }

    /// Takes back from limbo what no reader can hold.
    pub(super) fn advance(&mut self, alloc: &mut ExtentAllocator) {
        assert!(self.fresh.is_empty(), "a fresh page was not published");
        self.arena.epoch.fetch_add(1, SeqCst);
        fence(SeqCst);
        if Arc::strong_count(&self.frozen) > 1 {
            return;
        }
        let oldest = self.arena.pins.iter().map(|pin| pin.load(SeqCst)).min().unwrap();
        let returned = self.limbo.partition_point(|(retired, _)| *retired < oldest);
        let current = self.arena.epoch.load(Relaxed);
        let returned = self.limbo.drain(..returned).filter(|(retired, _)| *retired < current);
        for (_, what) in returned.collect::<Vec<_>>() {
            match what {
                Retired::Page(physical) => self.free_page(physical),
                Retired::Number(logical) => {
                    let physical = self.arena.table[logical as usize].swap(0, Release);
                    self.free_page(physical);
                    self.free_numbers.push(logical);
                }
                Retired::Extent(set) => alloc.extent_returned(self, set),
            }
        }
    }

    fn free_page(&mut self, physical: u32) {
        assert_ne!(physical, 0);
        for word in self.arena.physical(physical) {
            word.store(RUBBISH, Relaxed);
        }
        self.free_pages.push(physical);
    }

    /// Whether the pages in limbo are about to use up the arena: time to let the readers run.
    pub(super) fn is_tight(&self) -> bool {
        self.limbo.len() > self.arena.pages.len() / 4
    }

    /// Pages that are neither free nor in limbo.
    pub(super) fn pages_in_use(&self) -> usize {
        self.page_count as usize - self.free_pages.len() - self.limbo.len()
    }
}

impl ValuePages for MockPages {
    fn page(&self, logical: u32) -> &Page {
        self.arena.value_page(logical).unwrap_or(&self.arena.nothing)
    }

    fn is_sound(&self, logical: u32) -> bool {
        !self.damaged.contains(&logical)
    }

    fn is_sound_to_read(&self, logical: u32) -> bool {
        self.remembered.contains(&logical) || self.is_sound(logical)
    }

    fn page_mut(&mut self, logical: u32) -> &Page {
        if self.page(logical)[GENERATION_WORD].load(Relaxed) != self.generation {
            let copy = self.take_page();
            let old = self.page(logical);
            for (to, from) in self.arena.physical(copy).iter().zip(old) {
                to.store(from.load(Relaxed), Relaxed);
            }
            self.arena.physical(copy)[GENERATION_WORD].store(self.generation, Relaxed);
            self.swing(logical, copy);
        }
        self.page(logical)
    }

    fn allocate(&mut self) -> u32 {
        let logical = self.free_numbers.pop().unwrap_or_else(|| {
            self.number_count += 1;
            self.number_count
        });
        assert!(self.numbers.insert(logical));
        let physical = self.take_page();
        self.arena.physical(physical)[GENERATION_WORD].store(self.generation, Relaxed);
        self.arena.table[logical as usize].store(physical, Release);
        logical
    }

    fn fresh(&mut self) -> FreshPage {
        let physical = self.take_page();
        self.fresh.insert(physical);
        FreshPage(physical)
    }

    fn fresh_page(&self, fresh: &FreshPage) -> &Page {
        self.arena.physical(fresh.0)
    }

    fn publish(&mut self, logical: u32, fresh: FreshPage) {
        assert!(self.fresh.remove(&fresh.0));
        let generation = self.arena.physical(fresh.0)[GENERATION_WORD].load(Relaxed);
        assert_eq!(generation, self.generation, "a page without its generation");
        self.swing(logical, fresh.0);
    }

    fn retire(&mut self, logical: u32) {
        let was_in_use = self.numbers.remove(&logical);
        assert!(was_in_use || !self.strict, "number {logical} is retired twice");
        if was_in_use {
            self.retire_later(Retired::Number(logical));
        }
    }

    fn retire_extent(&mut self, set: SetReference) {
        self.retire_later(Retired::Extent(set));
    }

    fn generation(&self) -> u64 {
        self.generation
    }
}

/// The sets as they were at a cut.
#[derive(Debug)]
pub(super) struct Frozen {
    arena: Arc<Arena>,
    table: Vec<u32>,
    contents: Vec<Vec<u64>>,
    _alive: Arc<()>,
}

impl Frozen {
    /// Fails if a page of an ended generation was stored to.
    pub(super) fn check(&self) {
        for (physical, content) in
            self.table.iter().zip(&self.contents).filter(|(page, _)| **page != 0)
        {
            let now = self.arena.physical(*physical).iter().map(|word| word.load(Relaxed));
            assert!(now.eq(content.iter().copied()), "page {physical} changed after its cut");
        }
    }
}

impl SetView for Frozen {
    fn value_page(&self, logical: u32) -> Option<&Page> {
        self.arena.page_of(&self.table, logical)
    }
}
