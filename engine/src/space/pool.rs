//! The pool: which pages in memory are free, and which have changed since the last checkpoint's cut.

use std::ops::Range;

use cidstore_core::probe;

use super::{HUGE_PAGES, POOL_BASE, POOL_PAGES};

/// Free pages whose memory is kept in any case: 64 MiB.
const KEEP_FREE_PAGES: usize = 16 << 10;

/// Most pages that are given their memory before they are needed: 16 MiB. They last a writer for ten milliseconds and more.
const MEMORY_AHEAD_PAGES: usize = 4096;

/// How many allocations before its own the record of a free page is asked for: pages come back in any order.
const RECORD_AHEAD: usize = 8;

/// What a pool page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// A table slot names it (or will, once the writer is done with it).
    Live,
    /// Replaced; readers may still hold it.
    Retired,
    /// Replaced before a cut had it; readers may still hold it.
    Dropped,
}

/// The bookkeeping of one pool page.
#[derive(Clone, Copy, Debug)]
struct PoolPage {
    state: State,
    /// Serial number of the cut whose list names this page, so that no list names it twice.
    listed: u64,
    /// The logical number whose page this is (value and overflow pages).
    owner: u32,
}

/// The pool of one space. The writer's own.
#[derive(Debug)]
pub(crate) struct Pool {
    pages: Vec<PoolPage>,
    free: Vec<u32>,
    /// Pages built since the last cut, some of them retired since.
    built: Vec<u32>,
    /// Serial number of the next cut.
    serial: u64,
    live: usize,
    /// Live pages that the cut before the next one has listed: a checkpoint is writing them.
    in_cut: usize,
    /// Fewest free pages since the pool was last trimmed: what nobody needed in all that time.
    spare: usize,
    /// Pages that had their memory asked for, from the first on.
    touched: usize,
}

/// The pool has no page left: a checkpoint must make room.
#[derive(Debug)]
pub(crate) struct PoolExhausted;

impl Pool {
    /// An empty pool.
    pub(crate) fn new() -> Self {
        Self {
            pages: Vec::new(),
            free: Vec::new(),
            built: Vec::new(),
            serial: 1,
            live: 0,
            in_cut: 0,
            spare: 0,
            touched: HUGE_PAGES as usize,
        }
    }

    fn index(page: u32) -> usize {
        (page - POOL_BASE) as usize
    }

    /// Takes a free page. Its memory holds whatever the last use left: the caller fills all of it.
    pub(crate) fn allocate(&mut self, owner: u32) -> Result<u32, PoolExhausted> {
        let page = match self.free.pop() {
            Some(page) => {
                self.spare = self.spare.min(self.free.len());
                if let Some(&soon) =
                    self.free.len().checked_sub(RECORD_AHEAD).map(|at| &self.free[at])
                {
                    probe::prefetch(&self.pages[Self::index(soon)]);
                }
                page
            }
            None if self.pages.len() < POOL_PAGES as usize => {
                self.pages.push(PoolPage { state: State::Free, listed: 0, owner: 0 });
                POOL_BASE + (self.pages.len() - 1) as u32
            }
            None => return Err(PoolExhausted),
        };
        let record = &mut self.pages[Self::index(page)];
        debug_assert_eq!(record.state, State::Free);
        record.state = State::Live;
        record.owner = owner;
        if record.listed != self.serial {
            record.listed = self.serial;
            self.built.push(page);
        }
        self.live += 1;
        Ok(page)
    }

    /// Notes that no table names this page any more; it is not free before [`release`](Self::release).
    pub(crate) fn retire(&mut self, page: u32) {
        let record = &mut self.pages[Self::index(page)];
        debug_assert_eq!(record.state, State::Live);
        self.live -= 1;
        if record.listed == self.serial {
            record.state = State::Dropped;
        } else {
            record.state = State::Retired;
            self.in_cut -= 1;
        }
    }

    /// Makes a retired page free.
    pub(crate) fn release(&mut self, page: u32) {
        let record = &mut self.pages[Self::index(page)];
        debug_assert!(matches!(record.state, State::Retired | State::Dropped));
        record.state = State::Free;
        self.free.push(page);
    }

    /// True if a table slot still names this page.
    pub(crate) fn is_live(&self, page: u32) -> bool {
        self.pages.get(Self::index(page)).is_some_and(|record| record.state == State::Live)
    }

    /// The logical number whose page this is.
    pub(crate) fn owner(&self, page: u32) -> u32 {
        self.pages[Self::index(page)].owner
    }

    /// Says whose page this is, for a page that was allocated before its number was known.
    pub(crate) fn set_owner(&mut self, page: u32, owner: u32) {
        self.pages[Self::index(page)].owner = owner;
    }

    /// The pages built since the last cut, of which [`is_in_cut`](Self::is_in_cut) tells those that are still needed, and how
    /// many those are. Takes the same time however many they are.
    pub(crate) fn cut(&mut self) -> (Vec<u32>, usize) {
        self.serial += 1;
        self.in_cut = self.live;
        (std::mem::take(&mut self.built), self.live)
    }

    /// True if a page of the last cut's list was live at the cut. It may be asked as long as pages that were retired since then are
    /// not free.
    pub(crate) fn is_in_cut(&self, page: u32) -> bool {
        let record = &self.pages[Self::index(page)];
        // One that has been built again was free, so it had been dropped before the cut.
        let is_built_again = record.listed == self.serial;
        !is_built_again && matches!(record.state, State::Live | State::Retired)
    }

    /// Takes a cut's list back, after its checkpoint could not be finished.
    pub(crate) fn restore_cut(&mut self, pages: Vec<u32>) {
        for page in pages {
            let record = &mut self.pages[Self::index(page)];
            if record.state == State::Live && record.listed != self.serial {
                record.listed = self.serial;
                self.built.push(page);
                self.in_cut -= 1;
            }
        }
    }

    /// Live pages built since the last cut.
    pub(crate) fn new_pages(&self) -> usize {
        self.live - self.in_cut
    }

    /// Pages that a checkpoint would have to write, at most.
    pub(crate) fn live_pages(&self) -> usize {
        self.live
    }

    /// Pages whose memory is in use, retired ones included.
    pub(crate) fn used_pages(&self) -> usize {
        self.pages.len() - self.free.len()
    }

    /// Pages beyond those in use that are to have their memory already: as many as are in use, up to a limit.
    fn memory_ahead(&self) -> usize {
        self.pages.len().min(MEMORY_AHEAD_PAGES)
    }

    /// True if pages that were never used are about to be: the kernel has to find and clear memory for them, which takes a tenth of
    /// a millisecond where it gives a huge page.
    pub(crate) fn is_memory_due(&self) -> bool {
        let is_near = self.pages.len() + self.memory_ahead() / 2 > self.touched;
        is_near && self.touched < POOL_PAGES as usize
    }

    /// The pages that are to be given memory now, so that the writer finds it there. None of them twice.
    pub(crate) fn take_memory_due(&mut self) -> Range<u32> {
        let start = self.touched;
        if self.is_memory_due() {
            let end = self.pages.len() + self.memory_ahead();
            self.touched = end.next_multiple_of(HUGE_PAGES as usize).min(POOL_PAGES as usize);
        }
        let page = |index: usize| POOL_BASE + index as u32;
        page(start)..page(self.touched)
    }

    /// Takes free pages out, if memory of some can go back to the kernel: that of as many as were not needed since the last
    /// call. Memory that is given back costs a fault and a page of zeros when it is needed again, so what a
    /// steady load uses from checkpoint to checkpoint stays. A few free pages stay in the pool meanwhile.
    pub(crate) fn begin_trim(&mut self) -> Option<Trim> {
        let surplus = self.spare.saturating_sub(KEEP_FREE_PAGES);
        self.spare = self.free.len();
        if surplus <= KEEP_FREE_PAGES {
            return None;
        }
        let kept = self.free.split_off(self.free.len() - KEEP_FREE_PAGES);
        Some(Trim { pages: std::mem::replace(&mut self.free, kept), surplus })
    }

    /// Takes back what [`begin_trim`](Self::begin_trim) gave, to be used after what is free now.
    pub(crate) fn end_trim(&mut self, trim: Trim) {
        let kept = std::mem::replace(&mut self.free, trim.pages);
        self.free.extend(kept);
        self.spare = self.free.len();
    }
}

/// Free pages that are not in their pool while the memory of some is given back.
#[derive(Debug)]
pub(crate) struct Trim {
    pages: Vec<u32>,
    /// How many can do without their memory.
    surplus: usize,
}

impl Trim {
    /// Names the runs of pages whose memory goes back.
    pub(crate) fn discard(&mut self, mut discard: impl FnMut(u32, u32)) {
        // Low pages are used first from now on, so that high runs stay untouched.
        self.pages.sort_unstable_by(|a, b| b.cmp(a));
        let mut pages = self.pages.iter().take(self.surplus).copied().rev().peekable();
        while let Some(first) = pages.next() {
            let mut count = 1;
            while pages.next_if_eq(&(first + count)).is_some() {
                count += 1;
            }
            discard(first, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_page_that_is_reused_before_a_cut_is_listed_once() {
        let mut pool = Pool::new();
        let page = pool.allocate(7).unwrap();
        pool.retire(page);
        pool.release(page);
        assert_eq!(pool.allocate(8).unwrap(), page);
        assert_eq!(pool.cut(), (vec![page], 1));
        assert_eq!(pool.owner(page), 8);
        assert_eq!(pool.cut(), (vec![], 1));
    }

    /// Against the pages that are live when the cut is made, looked at only after the writer went on.
    #[test]
    fn a_cut_has_the_pages_that_were_live_then() {
        let mut pool = Pool::new();
        let mut random = 1_u64;
        let mut below = |end: usize| {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (random >> 33) as usize % end
        };
        let mut live = Vec::new();
        for _ in 0..200 {
            let mut dropped = Vec::new();
            for _ in 0..below(40) {
                match below(4) {
                    0 if !live.is_empty() => {
                        let page = live.swap_remove(below(live.len()));
                        pool.retire(page);
                        dropped.push(page);
                    }
                    1 if !dropped.is_empty() => {
                        pool.release(dropped.swap_remove(below(dropped.len())));
                    }
                    _ => live.push(pool.allocate(0).unwrap()),
                }
            }
            let (listed, count) = pool.cut();
            let mut expected = live.clone();
            let mut replaced = Vec::new();
            for _ in 0..below(40) {
                match below(3) {
                    // Those that were retired before the cut come back now; those of the cut are held.
                    0 => dropped.drain(..).for_each(|page| pool.release(page)),
                    1 if !live.is_empty() => {
                        let page = live.swap_remove(below(live.len()));
                        pool.retire(page);
                        replaced.push(page);
                    }
                    _ => live.push(pool.allocate(0).unwrap()),
                }
            }
            let mut found: Vec<u32> =
                listed.into_iter().filter(|&page| pool.is_in_cut(page)).collect();
            assert_eq!(found.len(), count);
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected);
            // The checkpoint is over: what it wrote is retired, all that is retired comes back.
            live.retain(|page| {
                !found.contains(page) || {
                    pool.retire(*page);
                    replaced.push(*page);
                    false
                }
            });
            replaced.into_iter().chain(dropped).for_each(|page| pool.release(page));
        }
    }

    #[test]
    fn only_what_was_not_needed_since_the_last_trim_is_given_back() {
        let mut pool = Pool::new();
        let burst = 3 * KEEP_FREE_PAGES;
        let use_pages = |pool: &mut Pool, count: usize| {
            let pages: Vec<u32> = (0..count).map(|_| pool.allocate(0).unwrap()).collect();
            for page in pages {
                pool.retire(page);
                pool.release(page);
            }
            let mut given_back = 0;
            if let Some(mut trim) = pool.begin_trim() {
                trim.discard(|_, count| given_back += count as usize);
                pool.end_trim(trim);
            }
            given_back
        };
        assert_eq!(use_pages(&mut pool, burst), 0);
        assert_eq!(use_pages(&mut pool, burst), 0, "the load needs all of it");
        assert_eq!(use_pages(&mut pool, 10), burst - 10 - KEEP_FREE_PAGES);
    }

    #[test]
    fn memory_is_asked_for_once_and_ahead() {
        let mut pool = Pool::new();
        let mut ready = POOL_BASE + HUGE_PAGES;
        for used in 1..40_000 {
            let page = pool.allocate(0).unwrap();
            if pool.is_memory_due() {
                let due = pool.take_memory_due();
                assert_eq!(due.start, ready);
                assert!(due.end > due.start && due.end.is_multiple_of(HUGE_PAGES));
                ready = due.end;
                assert!(!pool.is_memory_due(), "not twice");
            }
            assert!(pool.take_memory_due().is_empty());
            let ahead = (ready - page) as usize;
            assert!(ahead > used.min(MEMORY_AHEAD_PAGES) / 2, "{ahead} pages after {used}");
            assert!(ahead <= used.min(MEMORY_AHEAD_PAGES) + HUGE_PAGES as usize);
        }
    }

    #[test]
    fn pages_that_are_being_trimmed_are_not_given_out() {
        let mut pool = Pool::new();
        let count = 4 * KEEP_FREE_PAGES;
        let free_all = |pool: &mut Pool, pages: Vec<u32>| {
            for page in pages {
                pool.retire(page);
                pool.release(page);
            }
        };
        let pages = (0..count).map(|_| pool.allocate(0).unwrap()).collect();
        free_all(&mut pool, pages);
        assert!(pool.begin_trim().is_none(), "all of them were needed");
        let mut trim = pool.begin_trim().unwrap();
        let mut discarded = BTreeSet::new();
        trim.discard(|first, count| discarded.extend(first..first + count));
        let meanwhile: Vec<u32> =
            (0..KEEP_FREE_PAGES / 2).map(|_| pool.allocate(0).unwrap()).collect();
        assert!(meanwhile.iter().all(|page| !discarded.contains(page)));
        pool.end_trim(trim);
        let rest = (meanwhile.len()..count).map(|_| pool.allocate(0).unwrap());
        let mut all: Vec<u32> = rest.chain(meanwhile.iter().copied()).collect();
        all.sort_unstable();
        let first_ones: Vec<u32> = (POOL_BASE..POOL_BASE + count as u32).collect();
        assert!(all == first_ones, "none twice, none lost");
    }

    #[test]
    fn a_restored_cut_comes_back_without_the_pages_retired_meanwhile() {
        let mut pool = Pool::new();
        let (a, b) = (pool.allocate(1).unwrap(), pool.allocate(2).unwrap());
        let (cut, _) = pool.cut();
        pool.retire(a);
        pool.restore_cut(cut);
        assert_eq!(pool.cut(), (vec![b], 1));
    }
}
