//! Which file pages of one space are free.
//!
//! A page is *taken* while anything may need its bytes: the live tables, either superblock, a snapshot or a
//! pinned reader. What is free is not written down in the file: it is what the tables do not reach.

use std::ops::Range;

use super::HUGE_PAGES;

/// A bit a page: set means taken.
#[derive(Debug, Default)]
pub(crate) struct FilePages {
    taken: Vec<u64>,
    page_count: u32,
    free_count: u32,
    /// Where the next search begins: allocation goes round the file, so runs stay long.
    next: u32,
}

impl FilePages {
    /// Pages of the space, free or not, page 0 included.
    pub(crate) fn page_count(&self) -> u32 {
        self.page_count
    }

    /// Free pages.
    pub(crate) fn free_count(&self) -> u32 {
        self.free_count
    }

    /// Pages that are not free, page 0 included.
    pub(crate) fn taken_count(&self) -> u32 {
        self.page_count - self.free_count
    }

    /// Pages that are enough for what is taken. An eighth is room for the next changes: with less the file would grow
    /// again at once.
    pub(crate) fn roomy(&self) -> u32 {
        self.taken_count() + self.taken_count() / 8 + 1
    }

    /// Adds free pages at the end. Page 0 is never free.
    pub(crate) fn grow(&mut self, pages: u32) {
        let first = self.page_count;
        self.page_count += pages;
        self.taken.resize((self.page_count as usize).div_ceil(64), 0);
        self.free_count += pages;
        if first == 0 && pages > 0 {
            self.take(0);
        }
    }

    /// Takes pages off the end, all of which are free.
    pub(crate) fn shrink_to(&mut self, page_count: u32) {
        debug_assert!((page_count..self.page_count).all(|page| !self.is_taken(page)));
        self.free_count -= self.page_count - page_count;
        self.page_count = page_count;
        self.taken.truncate((page_count as usize).div_ceil(64));
        self.next = 0;
    }

    /// True if the page is taken.
    pub(crate) fn is_taken(&self, page: u32) -> bool {
        self.taken[page as usize / 64] & (1 << (page % 64)) != 0
    }

    /// Marks a page as taken; false if it was already, or lies outside the space.
    #[inline]
    pub(crate) fn take(&mut self, page: u32) -> bool {
        if page >= self.page_count || self.is_taken(page) {
            return false;
        }
        self.taken[page as usize / 64] |= 1 << (page % 64);
        self.free_count -= 1;
        true
    }

    /// Makes a taken page free. A page that is not taken can only come from tables that were forged; it stays as
    /// it is.
    pub(crate) fn release(&mut self, page: u32) {
        if page == 0 || page >= self.page_count || !self.is_taken(page) {
            tracing::error!(page, "a page was given back that nobody had");
            return;
        }
        self.taken[page as usize / 64] &= !(1 << (page % 64));
        self.free_count += 1;
    }

    /// The last taken page and what follows it: where the space could end.
    pub(crate) fn end_of_taken(&self) -> u32 {
        let last = self.taken.iter().rposition(|&word| word != 0);
        last.map_or(0, |word| word as u32 * 64 + 64 - self.taken[word].leading_zeros())
    }

    /// Takes a run of at most `pages_max` free pages, the first found from where the last search ended.
    ///
    /// A run ends where a huge page ends, so that runs of that length begin where one begins.
    pub(crate) fn take_run(&mut self, pages_max: u32) -> Option<Range<u32>> {
        let start = self.find_free(self.next).or_else(|| self.find_free(0))?;
        let mut limit = (start + 1).next_multiple_of(HUGE_PAGES).min(self.page_count);
        limit = limit.min(start.saturating_add(pages_max));
        let mut end = start;
        while end < limit && self.take(end) {
            end += 1;
        }
        self.next = end;
        Some(start..end)
    }

    /// The first run of exactly this many free pages within a range.
    pub(crate) fn find_run(&self, within: Range<u32>, pages: u32) -> Option<Range<u32>> {
        let mut start = within.start.max(1);
        while let Some(first) = self.find_free(start).filter(|&first| first < within.end) {
            let wanted = first..first.checked_add(pages)?;
            match wanted.clone().take_while(|&page| page < within.end).find(|&p| self.is_taken(p)) {
                Some(taken) => start = taken + 1,
                None => return (wanted.end <= within.end).then_some(wanted),
            }
        }
        None
    }

    /// Lets the next search begin at the front: for moving pages towards it.
    pub(crate) fn start_over(&mut self) {
        self.next = 0;
    }

    /// The first free page at or after `from`.
    fn find_free(&self, from: u32) -> Option<u32> {
        let mut word = from as usize / 64;
        let mut skip = (1_u64 << (from % 64)) - 1;
        while word < self.taken.len() {
            let free = !(self.taken[word] | skip);
            if free != 0 {
                let page = word as u32 * 64 + free.trailing_zeros();
                return (page < self.page_count).then_some(page);
            }
            skip = 0;
            word += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn page_zero_is_never_given_out() {
        let mut pages = FilePages::default();
        pages.grow(16);
        let run = pages.take_run(100).unwrap();
        assert_eq!(run, 1..16);
        assert_eq!(pages.take_run(1), None);
        assert_eq!(pages.free_count(), 0);
    }

    #[test]
    fn runs_and_releases_agree_with_a_set() {
        let mut pages = FilePages::default();
        let mut free: BTreeSet<u32> = BTreeSet::new();
        let mut state = 9_u64;
        let mut random = |below: u32| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            ((state >> 33) as u32) % below
        };
        pages.grow(300);
        free.extend(1..300);
        for step in 0..2000 {
            if step % 500 == 499 {
                let old = pages.page_count();
                pages.grow(100);
                free.extend(old..old + 100);
            }
            if random(2) == 0 {
                if let Some(run) = pages.take_run(1 + random(20)) {
                    assert!(run.clone().all(|page| free.remove(&page)), "a taken page given out");
                } else {
                    assert!(free.is_empty());
                }
            } else {
                let page = 1 + random(pages.page_count() - 1);
                if free.insert(page) {
                    pages.release(page);
                }
            }
            assert_eq!(pages.free_count() as usize, free.len());
        }
        let last_taken = (0..pages.page_count()).rev().find(|page| !free.contains(page)).unwrap();
        assert_eq!(pages.end_of_taken(), last_taken + 1);
    }
}
