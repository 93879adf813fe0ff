//! Logical numbers of one table: which are in use.

use crate::table::slots::SLOTS_MAX;

/// Numbers from 1 up; 0 means "none" and is never given out.
#[derive(Debug)]
pub(crate) struct Numbers {
    free: Vec<u32>,
    end: u32,
    /// Numbers that something refers to. The slot of one that was given up goes on naming its last page, for
    /// readers that are still pinned, until it is given out again.
    in_use: Vec<bool>,
    /// Numbers given up since the last cut, whose slots on disk must become empty.
    given_up: Vec<u32>,
}

impl Numbers {
    /// Numbers of a table whose slots up to `end` were read from disk; `free` are the empty ones.
    pub(crate) fn new(end: u32, free: Vec<u32>) -> Self {
        let mut in_use = vec![true; end.max(1) as usize];
        for &number in free.iter().chain(&[0]) {
            in_use[number as usize] = false;
        }
        Self { free, end: end.max(1), in_use, given_up: Vec::new() }
    }

    /// A number that nothing uses.
    pub(crate) fn allocate(&mut self) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            assert!((self.end as usize) < SLOTS_MAX, "more logical pages than a space can hold");
            self.end += 1;
            self.in_use.push(false);
            self.end - 1
        });
        self.in_use[number as usize] = true;
        number
    }

    /// Notes that nothing refers to the number any more. It is not free before [`release`](Self::release).
    pub(crate) fn give_up(&mut self, number: u32) {
        self.in_use[number as usize] = false;
        self.given_up.push(number);
    }

    /// The numbers that something refers to.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = u32> + use<'_> {
        self.in_use.iter().enumerate().filter(|(_, used)| **used).map(|(number, _)| number as u32)
    }

    /// True if something refers to the number.
    pub(crate) fn is_in_use(&self, number: u32) -> bool {
        self.in_use.get(number as usize).copied().unwrap_or(false)
    }

    /// Makes a number free that no reader can hold any more.
    pub(crate) fn release(&mut self, number: u32) {
        self.free.push(number);
    }

    /// One more than the highest number ever given out.
    pub(crate) fn end(&self) -> u32 {
        self.end
    }

    /// Numbers in use, those given up but not yet free included.
    pub(crate) fn used(&self) -> u64 {
        self.end as u64 - 1 - self.free.len() as u64
    }

    /// The numbers given up since the last cut.
    pub(crate) fn cut(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.given_up)
    }

    /// Takes a cut's list back, after its checkpoint could not be finished.
    pub(crate) fn restore_cut(&mut self, mut numbers: Vec<u32>) {
        numbers.append(&mut self.given_up);
        self.given_up = numbers;
    }
}
