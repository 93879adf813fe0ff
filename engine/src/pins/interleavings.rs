//! Pins under every interleaving: readers of something that is replaced, and whoever uses its memory again.
//!
//! Complete for one reader that pins twice (29,303 executions, 7 s) and, in the slow tier, for two that pin once (1,803,750,
//! 190 s; else at most three preemptions), beside a writer that replaces twice; and for a seat that changes hands (10,110, 2 s). What runs
//! is [`Seat`] and the order of the steps of `Pins`, which is repeated here: its list of seats and the thread's memory of
//! its own are of no concern to the order. Both fences are full ones here; that the kernel's call and the
//! compiler's fence are as good as two of them is what the first promises.

use std::sync::Arc;

use loom::cell::UnsafeCell;

use super::fences::Fences;
use super::seat::Seat;
use crate::sync::checked::{Plant, arm, complete_or, explore, has};
use crate::sync::{Ordering, SharedU64};

const NO_LIGHT_FENCE: &str = "the reader has no fence between its pin and its first load";
const NO_HEAVY_FENCE: &str = "the writer has no fence between replacing and looking at the seats";
const SAME_EPOCH: &str = "a mark begins no new epoch, and waits for nobody of this one";
const LOOKED_FIRST: &str = "the writer looks at the seats before it replaces";
const LEFT_EARLY: &str = "the reader ends its pin before it reads";
const EPOCH_FIRST: &str = "the new epoch begins before what it follows was replaced";

/// Places that a slot names in turn.
const PLACES: usize = 3;

/// A slot, and what it may name. A place that the slot does not name any more is written to when its mark has passed.
struct Model {
    slot: SharedU64,
    places: [UnsafeCell<()>; PLACES],
    epoch: SharedU64,
    seats: Vec<Seat>,
}

impl Model {
    fn new(readers: usize) -> Self {
        Self {
            slot: SharedU64::new(0),
            places: std::array::from_fn(|_| UnsafeCell::new(())),
            epoch: SharedU64::new(1),
            seats: (0..readers).map(|_| Seat::default()).collect(),
        }
    }

    fn read(&self, reader: usize) {
        let seat = &self.seats[reader];
        seat.enter(&self.epoch, if has(NO_LIGHT_FENCE) { Fences::None } else { Fences::Full });
        let place = self.slot.load(Ordering::Acquire) as usize;
        if has(LEFT_EARLY) {
            seat.leave();
        }
        // The checker reports an access that does not come before or after the writer's.
        self.places[place].with(|_| ());
        if !has(LEFT_EARLY) {
            seat.leave();
        }
    }

    /// As `Pins::mark`.
    fn mark(&self) -> u64 {
        let epoch = self.epoch.load(Ordering::Relaxed);
        if has(SAME_EPOCH) {
            return epoch - 1;
        }
        if !has(EPOCH_FIRST) {
            self.epoch.store(epoch + 1, Ordering::Release);
        }
        let fences = if has(NO_HEAVY_FENCE) { Fences::None } else { Fences::Full };
        assert!(fences.heavy());
        if has(EPOCH_FIRST) { epoch - 1 } else { epoch }
    }

    fn has_passed(&self, mark: u64) -> bool {
        self.seats.iter().all(|seat| seat.has_left(mark))
    }

    /// Replaces what the slot names, and uses the old place for something else if its mark has passed by then.
    fn replace(&self, by: usize) {
        let looked_first = has(LOOKED_FIRST).then(|| self.has_passed(self.mark()));
        if has(EPOCH_FIRST) {
            self.epoch.store(self.epoch.load(Ordering::Relaxed) + 1, Ordering::Release);
        }
        self.slot.store(by as u64, Ordering::Release);
        if looked_first.unwrap_or_else(|| self.has_passed(self.mark())) {
            self.places[by - 1].with_mut(|_| ());
        }
    }
}

fn replace_beside(plant: Plant, preemptions: Option<usize>, readers: usize, pins: usize) {
    explore(
        plant,
        preemptions,
        |_, _| false,
        move || {
            let model = Arc::new(Model::new(readers));
            arm();
            let threads: Vec<_> = (0..readers)
                .map(|reader| {
                    let model = Arc::clone(&model);
                    loom::thread::spawn(move || (0..pins).for_each(|_| model.read(reader)))
                })
                .collect();
            (1..PLACES).for_each(|by| model.replace(by));
            for thread in threads {
                assert!(thread.join().is_ok());
            }
        },
    );
}

fn planted(bug: &'static str) {
    replace_beside(Plant::InModel(bug), None, 1, 2);
}

#[test]
fn nothing_is_used_again_under_a_reader_that_pins_twice() {
    replace_beside(Plant::Sound, None, 1, 2);
}

#[test]
fn nothing_is_used_again_under_two_readers() {
    replace_beside(Plant::Sound, complete_or(3), 2, 1);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn caught_a_reader_without_its_fence() {
    planted(NO_LIGHT_FENCE);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn caught_a_writer_without_its_fence() {
    planted(NO_HEAVY_FENCE);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn caught_a_mark_that_begins_no_epoch() {
    planted(SAME_EPOCH);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn caught_a_look_before_the_replacement() {
    planted(LOOKED_FIRST);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn caught_a_pin_that_ends_before_the_read() {
    planted(LEFT_EARLY);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn caught_a_new_epoch_that_begins_too_early() {
    planted(EPOCH_FIRST);
}

/// A seat goes from a thread that ends to another one.
#[test]
fn a_seat_that_changes_hands_still_holds_back() {
    explore(
        Plant::Sound,
        None,
        |_, _| false,
        || {
            let model = Arc::new(Model::new(1));
            assert!(model.seats[0].try_take());
            arm();
            let of_first = Arc::clone(&model);
            let first = loom::thread::spawn(move || {
                of_first.read(0);
                of_first.seats[0].give_back();
            });
            let of_second = Arc::clone(&model);
            let second = loom::thread::spawn(move || {
                if of_second.seats[0].try_take() {
                    of_second.read(0);
                }
            });
            model.replace(1);
            assert!(first.join().is_ok());
            assert!(second.join().is_ok());
        },
    );
}
