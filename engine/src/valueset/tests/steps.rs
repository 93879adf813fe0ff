//! The writer stopped after each single change of a slot, and readers at every stage of coming late.
//!
//! A reader that loads its first pages from the table as it was some changes ago and the others from the
//! table as it is now is what a slow reader beside a running writer amounts to: between two of its loads
//! anything may have happened. Every mixture must give every value that is there all the time.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use cidstore_core::E;
use cidstore_core::protocol::word::Page;

use super::Keys;
use crate::valueset::mock::Arena;
use crate::valueset::{SetView, contains, read_all};

const KEY: E = E::new(5, 6);
/// Values that are there all the time lie so far apart; others come and go between them.
const STEP: u64 = 16;
const STABLE: u64 = 2500;
/// So many earlier tables are mixed with the current one.
const TABLES: usize = 3;

/// A reader that was slow after its first loads.
struct Late<'a> {
    arena: &'a Arena,
    old: &'a [u32],
    old_loads: Cell<usize>,
}

impl SetView for Late<'_> {
    fn value_page(&self, logical: u32) -> Option<&Page> {
        match self.old_loads.get() {
            0 => self.arena.value_page(logical),
            left => {
                self.old_loads.set(left - 1);
                self.arena.page_of(self.old, logical)
            }
        }
    }
}

/// What the readers between two steps of the writer know.
#[derive(Default)]
struct Readers {
    reference: u64,
    /// Where the writer is at work, in steps.
    focus: Cell<u64>,
    tables: std::cell::RefCell<VecDeque<Vec<u32>>>,
    swings: Cell<u64>,
}

impl Readers {
    fn check(&self, arena: &Arena) {
        self.swings.set(self.swings.get() + 1);
        let mut tables = self.tables.borrow_mut();
        for old in tables.iter() {
            for old_loads in 0..=4 {
                let late = |old_loads| Late { arena, old, old_loads: Cell::new(old_loads) };
                let far = (0..6).map(|part| self.swings.get() * 31 + part * STABLE / 6);
                let near = (0..24).map(|near| self.focus.get() + STABLE + near - 12);
                for step in near.chain(far) {
                    let value = E::from(step % STABLE * STEP);
                    let found = contains(&late(old_loads), self.reference, value);
                    assert_eq!(found, Ok(true), "{value:?} after {old_loads} late loads");
                }
                if self.swings.get().is_multiple_of(8) {
                    self.walk(&late(old_loads));
                }
            }
        }
        tables.push_front(arena.table());
        tables.truncate(TABLES);
    }

    fn walk(&self, late: &Late<'_>) {
        let mut values = Vec::new();
        read_all(late, self.reference, |chunk| values.extend_from_slice(chunk)).unwrap();
        values.sort_unstable();
        assert!(values.windows(2).all(|pair| pair[0] < pair[1]), "a value was given twice");
        let stable = values.iter().filter(|value| value.low % STEP == 0);
        assert!(stable.map(|value| value.low).eq((0..STABLE).map(|step| step * STEP)));
    }
}

#[test]
fn late_readers_find_what_is_there_all_the_time() {
    let mut keys = Keys::new(4096);
    keys.create(KEY, &(0..STABLE).map(|step| E::from(step * STEP)).collect::<Vec<_>>());
    let readers = Rc::new(Readers { reference: keys.sets[&KEY].reference, ..Readers::default() });
    let hook = readers.clone();
    keys.pages.on_swing = Some(Box::new(move |arena| hook.check(arena)));
    let pause = |keys: &mut Keys| {
        readers.tables.borrow_mut().clear();
        keys.pages.cut();
        keys.advance();
    };
    let scattered = |index: u64| index * 1_000_003 % (STABLE * STEP);
    let passing = || (0..STABLE * STEP).map(scattered).filter(|value| value % STEP != 0);
    for (round, value) in passing().enumerate() {
        readers.focus.set(value / STEP);
        keys.insert(KEY, E::from(value));
        if round % 2000 == 0 {
            pause(&mut keys);
        }
    }
    let leaves = keys.pages.numbers.len();
    assert!(leaves > 170, "{leaves} leaves do not make the root split");
    for (round, value) in passing().filter(|value| value % 3 != 0).enumerate() {
        readers.focus.set(value / STEP);
        keys.remove(KEY, E::from(value));
        if round % 2000 == 0 {
            pause(&mut keys);
        }
    }
    pause(&mut keys);
    keys.compact(KEY);
    for value in passing().filter(|value| value % 3 == 0) {
        readers.focus.set(value / STEP);
        keys.remove(KEY, E::from(value));
    }
    pause(&mut keys);
    assert!(readers.swings.get() > 1000);
    readers.tables.borrow_mut().clear();
    keys.pages.on_swing = None;
    keys.check();
    assert!(keys.pages.numbers.len() < 50);
}
