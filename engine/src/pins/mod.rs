//! Pins: who may still be reading what was replaced.
//!
//! A reader pins before it loads the first table slot and unpins after its last use of what it found. A writer that
//! has replaced something [marks](Pins::mark) that moment, and once the mark [has passed](Pins::has_passed) no reader is
//! left that could have found the old. A pin costs two stores to memory that the reader's processor has for itself, and
//! no fence (see [`fences`]); each store has pins of its own, so that a long read of one store holds nothing back in
//! another.
//!
//! **Why a mark that has passed means that.** Marking begins a new epoch after the replacing store, and then passes the heavy
//! fence; looking at the seats comes after it. Take a reader whose pin's store (of its epoch, to its seat) comes
//! before its own passing of the fence: each look sees that store or a later one to the seat. If it carries an epoch up
//! to the mark's, the look waits for it; if it carries a later one, the reader loaded that epoch, so it sees
//! all that was replaced before it began, and does no harm. A reader whose pin's store comes after its passing of the fence
//! loads the slots later still, and finds the new. A store to the seat that ends a pin, or that begins a later one, is a
//! Release store, and the look is an Acquire load: what the reader read comes before what is done with its memory. So one
//! fence for each mark is enough, however often the seats are looked at. `interleavings` runs this under the model checker, with the
//! fences, the epoch and the order of the steps taken away one by one.
//!
//! Seats are found by thread: see [`seats`].

#[cfg_attr(loom, allow(dead_code, reason = "the models stand in for what asks the kernel"))]
mod fences;
#[cfg(test)]
#[cfg(loom)]
mod interleavings;
#[cfg_attr(loom, allow(dead_code, reason = "no thread ends in the models"))]
mod seat;
#[cfg(not(loom))]
mod seats;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;

#[cfg(not(loom))]
pub(crate) use self::shipped::{Mark, Pin, Pins};

#[cfg(not(loom))]
mod shipped {
    use std::marker::PhantomData;
    use std::sync::Arc;

    use super::fences::Fences;
    use super::seat::Seat;
    use super::seats::{Seats, seat_of_this_thread};
    use crate::sync::{Ordering, SharedU64};

    /// A moment: readers that pinned before it may have found what was replaced before it.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Mark {
        /// The epoch that it ended. `None` if nothing can be concluded: the mark never passes.
        epoch: Option<u64>,
    }

    /// The pins of one store.
    #[derive(Debug)]
    pub(crate) struct Pins {
        /// The epoch that pins carry which are made now. From 1 on.
        epoch: SharedU64,
        fences: Fences,
        pub(super) seats: Seats,
    }

    impl Pins {
        pub(crate) fn new() -> Arc<Self> {
            Self::with_fences(Fences::of_this_process())
        }

        pub(super) fn with_fences(fences: Fences) -> Arc<Self> {
            Arc::new(Self { epoch: SharedU64::new(1), fences, seats: Seats::new() })
        }

        /// Keeps what is found from here on, until the pin is dropped.
        #[inline]
        pub(crate) fn pin(self: &Arc<Self>) -> Pin<'_> {
            let seat = seat_of_this_thread(self);
            seat.enter(&self.epoch, self.fences);
            Pin { seat, not_send: PhantomData }
        }

        /// Marks this moment. One thread at a time, which has stored all replacements before.
        pub(crate) fn mark(&self) -> Mark {
            let epoch = self.epoch.load(Ordering::Relaxed);
            // Release: who pins in the new epoch sees what was replaced.
            self.epoch.store(epoch + 1, Ordering::Release);
            Mark { epoch: self.fences.heavy().then_some(epoch) }
        }

        /// True if no reader is left that pinned before the mark.
        pub(crate) fn has_passed(&self, mark: Mark) -> bool {
            mark.epoch.is_some_and(|epoch| self.seats.iter().all(|seat| seat.has_left(epoch)))
        }
    }

    /// Keeps what a reader finds. Belongs to its thread, whose seat it is in.
    #[derive(Debug)]
    pub(crate) struct Pin<'a> {
        seat: &'a Seat,
        not_send: PhantomData<*const ()>,
    }

    impl Drop for Pin<'_> {
        #[inline]
        fn drop(&mut self) {
            self.seat.leave();
        }
    }
}
