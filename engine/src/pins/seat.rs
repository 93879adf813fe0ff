//! A reader's seat: where its thread says since when it reads.

use super::fences::Fences;
use crate::sync::{Ordering, SharedBool, SharedU64};

/// The place of one thread in one store. Of its own two cache lines, since processors fetch them in pairs: nobody else
/// stores there while the thread reads.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Seat {
    /// Epoch in which the outermost of its pins was made, or earlier; 0 while it has none.
    since: SharedU64,
    /// Its pins. Only the thread itself looks.
    depth: SharedU64,
    /// A thread has the seat.
    taken: SharedBool,
    /// The thread that has the seat is ending: it gives it back with its pin.
    for_one_pin: SharedBool,
}

impl Seat {
    /// Takes the seat, if nobody has it.
    pub(super) fn try_take(&self) -> bool {
        // Acquire: what the last one to sit here stored comes before what this one stores.
        !self.taken.load(Ordering::Relaxed)
            && self
                .taken
                .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    /// Gives the seat back when the next pin goes.
    pub(super) fn give_back_after_pin(&self) {
        self.for_one_pin.store(true, Ordering::Relaxed);
    }

    /// Gives the seat back. One with a pin that nobody will drop stays taken, and pinned: no other thread may
    /// sit down there.
    pub(super) fn give_back(&self) {
        if self.depth.load(Ordering::Relaxed) == 0 {
            self.taken.store(false, Ordering::Release);
        }
    }

    /// Pins. By the thread that has the seat.
    #[inline(always)]
    pub(super) fn enter(&self, epoch: &SharedU64, fences: Fences) {
        let depth = self.depth.load(Ordering::Relaxed);
        self.depth.store(depth + 1, Ordering::Relaxed);
        if depth == 0 {
            // Acquire: who reads an epoch sees what was replaced before it began. Release: see `has_left`.
            self.since.store(epoch.load(Ordering::Acquire), Ordering::Release);
            fences.light();
        }
    }

    /// Ends a pin. By the thread that has the seat.
    #[inline(always)]
    pub(super) fn leave(&self) {
        let depth = self.depth.load(Ordering::Relaxed) - 1;
        self.depth.store(depth, Ordering::Relaxed);
        if depth == 0 {
            // Release: see `has_left`.
            self.since.store(0, Ordering::Release);
            if self.for_one_pin.load(Ordering::Relaxed) {
                self.for_one_pin.store(false, Ordering::Relaxed);
                self.give_back();
            }
        }
    }

    /// True if the pin that was here in `epoch` or before, if there was one, is gone.
    pub(super) fn has_left(&self, epoch: u64) -> bool {
        // Acquire: what the reader did under its pin comes before what is done with what it read. Both the store of the
        // pin's end and that of any later pin tell of it.
        let since = self.since.load(Ordering::Acquire);
        since == 0 || since > epoch
    }
}
