//! Bringing near what the operations of a batch will touch, some operations before their turn.
//!
//! A change waits for memory three times, each time where the one before said: the directory's slot, the page's header
//! and tags, the entry. Operations pass a station for each of them before their turn, eight together, so that what they wait
//! for, walks of the page tables too, overlaps.

use std::iter::Skip;

use super::apply::{Operation, Writer};

/// Operations that pass a station together.
const TOGETHER: usize = 8;

/// The stations of a sequence of operations.
#[derive(Debug)]
pub(crate) struct Ahead<I> {
    slots: Skip<I>,
    pages: Skip<I>,
    entries: Skip<I>,
    /// Turns until operations pass stations again.
    turns_left: usize,
}

impl<'a, I: Iterator<Item = &'a Operation> + Clone> Ahead<I> {
    /// Lets the first operations pass their stations, but for the very first: its turn is now.
    pub(crate) fn of(operations: I, writer: &Writer) -> Self {
        let after_first = operations.skip(1);
        let mut ahead = Self {
            slots: after_first.clone(),
            pages: after_first.clone(),
            entries: after_first,
            turns_left: 1,
        };
        ahead.slots.by_ref().take(2 * TOGETHER).for_each(|one| writer.ask_for_slot(one));
        ahead.pages.by_ref().take(TOGETHER).for_each(|one| writer.ask_for_page(one));
        ahead
    }

    /// Called before each operation's turn: every eighth time, operations pass each station.
    pub(crate) fn step(&mut self, writer: &Writer) {
        if self.turns_left > 0 {
            self.turns_left -= 1;
            return;
        }
        self.turns_left = TOGETHER - 1;
        self.entries.by_ref().take(TOGETHER).for_each(|one| writer.ask_for_entry(one));
        self.pages.by_ref().take(TOGETHER).for_each(|one| writer.ask_for_page(one));
        self.slots.by_ref().take(TOGETHER).for_each(|one| writer.ask_for_slot(one));
    }
}
