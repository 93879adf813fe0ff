//! Bringing near what the operations of a batch will touch, some operations before their turn.
//!
//! A change waits for memory three times, each time where the one before said: the directory's slot, the page's header
//! and tags, the entry; and twice more where the entry refers to a set: the slot of its page, the page. Operations pass a
//! station for each of them before their turn, eight together, so that what they wait for, walks of the page tables too,
//! overlaps.

use std::iter::Skip;

use cidstore_core::layout::entry::SpillPointer;

use super::apply::{Operation, Writer};

/// Operations that pass a station together.
const TOGETHER: usize = 8;
/// Pages of sets from which on operations pass stations for them: fewer, 4 MiB, are near by themselves.
const SET_PAGES_MIN: u64 = 1024;

/// The stations of a sequence of operations.
#[derive(Debug)]
pub(crate) struct Ahead<I> {
    slots: Skip<I>,
    pages: Skip<I>,
    entries: Skip<I>,
    /// `None` where sets are near by themselves. In a box: a single operation, which has none, would pay for their size.
    sets: Option<Box<SetStations<I>>>,
    /// Turns until operations pass stations again.
    turns_left: usize,
}

/// The stations of operations whose entries refer to sets.
#[derive(Debug)]
struct SetStations<I> {
    operations: Skip<I>,
    /// The sets whose pages' slots have been asked for.
    found: [Option<SpillPointer>; TOGETHER],
}

impl<'a, I: Iterator<Item = &'a Operation> + Clone> SetStations<I> {
    fn pass(&mut self, writer: &Writer) {
        self.found.iter().flatten().for_each(|set| writer.ask_for_set_page(set));
        self.found.iter().flatten().for_each(|set| writer.ask_for_set(set));
        self.found = [(); TOGETHER].map(|()| writer.ask_for_set_slot(self.operations.next()?));
    }
}

impl<'a, I: Iterator<Item = &'a Operation> + Clone> Ahead<I> {
    /// Lets the first operations pass their stations, but for the very first: its turn is now.
    pub(crate) fn of(operations: I, writer: &Writer) -> Self {
        let after_first = operations.skip(1);
        let is_one = after_first.clone().next().is_none();
        let has_sets = !is_one && writer.pages.value_numbers.used() >= SET_PAGES_MIN;
        let sets = has_sets.then(|| {
            Box::new(SetStations { operations: after_first.clone(), found: [None; TOGETHER] })
        });
        let mut ahead = Self {
            slots: after_first.clone(),
            pages: after_first.clone(),
            entries: after_first,
            sets,
            turns_left: 1,
        };
        // With two stations more to come, the first ones are passed two rounds sooner.
        let more = if has_sets { 2 } else { 0 };
        (0..2 + more).for_each(|_| ahead.pass_slots(writer));
        (0..1 + more).for_each(|_| ahead.pass_pages(writer));
        (0..more).for_each(|_| ahead.pass_entries(writer));
        if let Some(sets) = &mut ahead.sets {
            sets.pass(writer);
        }
        ahead
    }

    /// Called before each operation's turn: every eighth time, operations pass each station.
    pub(crate) fn step(&mut self, writer: &Writer) {
        if self.turns_left > 0 {
            self.turns_left -= 1;
            return;
        }
        self.turns_left = TOGETHER - 1;
        if let Some(sets) = &mut self.sets {
            sets.pass(writer);
        }
        self.pass_entries(writer);
        self.pass_pages(writer);
        self.pass_slots(writer);
    }

    fn pass_slots(&mut self, writer: &Writer) {
        self.slots.by_ref().take(TOGETHER).for_each(|one| writer.ask_for_slot(one));
    }

    fn pass_pages(&mut self, writer: &Writer) {
        self.pages.by_ref().take(TOGETHER).for_each(|one| writer.ask_for_page(one));
    }

    fn pass_entries(&mut self, writer: &Writer) {
        self.entries.by_ref().take(TOGETHER).for_each(|one| writer.ask_for_entry(one));
    }
}
