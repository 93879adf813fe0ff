//! The seats of a store, and how a thread finds its own.
//!
//! A thread keeps the seat that it once took in a store until it ends. Which one that is it remembers itself: the store
//! that it read last in two words that cost nothing to look at, others in a list.

use std::cell::{Cell, RefCell};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};

use super::Pins;
use super::seat::Seat;
use crate::sync::{OnceLock, Ordering};

/// Rows of seats behind the first, each as long as all before it together: more than there can be threads.
const ROWS: usize = 28;
/// Seats of the first row.
const FIRST_ROW: usize = 16;

/// Seats in rows that stay where they are. Those behind the first are made when they are needed.
#[derive(Debug)]
pub(crate) struct Seats {
    /// Tells the store from all others that this process ever opens.
    id: u64,
    /// For the threads of most programs: found with one comparison.
    first: [Seat; FIRST_ROW],
    rows: [OnceLock<Box<[Seat]>>; ROWS],
}

impl Seats {
    pub(super) fn new() -> Self {
        // 0 is no store's.
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Self { id, first: Default::default(), rows: [const { OnceLock::new() }; ROWS] }
    }

    /// All seats that anybody ever had. Who is missed sat down after the look began.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Seat> {
        self.first.iter().chain(self.rows.iter().map_while(OnceLock::get).flatten())
    }

    #[inline(always)]
    fn at(&self, index: u32) -> Option<&Seat> {
        self.first.get(index as usize).or_else(|| self.behind_first(index))
    }

    #[cold]
    #[inline(never)]
    fn behind_first(&self, index: u32) -> Option<&Seat> {
        // As long as all before it: a row begins at the number of its seats.
        let row = (index as usize / FIRST_ROW).checked_ilog2()? as usize;
        self.rows.get(row)?.get()?.get(index as usize - (FIRST_ROW << row))
    }

    /// Takes a seat that nobody has.
    pub(super) fn take(&self) -> (u32, &Seat) {
        let make = |row: usize| (0..FIRST_ROW << row).map(|_| Seat::default()).collect();
        let rows = self.rows.iter().enumerate();
        let behind = rows.flat_map(|(row, seats)| seats.get_or_init(|| make(row)));
        let mut all = (0..).zip(self.first.iter().chain(behind));
        match all.find(|(_, seat)| seat.try_take()) {
            Some(taken) => taken,
            None => unreachable!("more threads than addresses"),
        }
    }
}

thread_local! {
    /// The store read last, and the index of this thread's seat there.
    static LAST: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
    static TAKEN: Taken = const { Taken(RefCell::new(Vec::new())) };
}

/// The seats that this thread has.
struct Taken(RefCell<Vec<(Weak<Pins>, u64, u32)>>);

impl Drop for Taken {
    fn drop(&mut self) {
        // From here on the thread sits down for one pin at a time.
        LAST.set((0, 0));
        for (pins, _, index) in self.0.take() {
            if let Some(pins) = pins.upgrade()
                && let Some(seat) = pins.seats.at(index)
            {
                seat.give_back();
            }
        }
    }
}

/// The seat of this thread.
#[inline(always)]
pub(super) fn seat_of_this_thread(pins: &Arc<Pins>) -> &Seat {
    let (id, index) = LAST.get();
    if id == pins.seats.id
        && let Some(seat) = pins.seats.at(index)
    {
        return seat;
    }
    find_or_take(pins)
}

#[cold]
#[inline(never)]
fn find_or_take(pins: &Arc<Pins>) -> &Seat {
    let seats = &pins.seats;
    let found = TAKEN.try_with(|Taken(taken)| {
        let mut taken = taken.borrow_mut();
        let known = taken.iter().find(|(_, id, _)| *id == seats.id).map(|&(_, _, index)| index);
        let index = known.unwrap_or_else(|| {
            taken.retain(|(pins, _, _)| pins.strong_count() > 0);
            let (index, _) = seats.take();
            taken.push((Arc::downgrade(pins), seats.id, index));
            index
        });
        LAST.set((seats.id, index));
        index
    });
    match found.ok().and_then(|index| seats.at(index)) {
        Some(seat) => seat,
        // The thread is ending, and has given its seats back.
        None => {
            let (_, seat) = seats.take();
            seat.give_back_after_pin();
            seat
        }
    }
}
