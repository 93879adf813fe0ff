use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::fences::Fences;
use super::{Pins, fences};

#[test]
fn a_mark_passes_when_those_before_it_have_gone() {
    for fences in [Fences::of_this_process(), Fences::Full] {
        let pins = Pins::with_fences(fences);
        let before_any = pins.mark();
        assert!(pins.has_passed(before_any));
        let outer = pins.pin();
        let mark = pins.mark();
        let inner = pins.pin();
        assert!(pins.has_passed(before_any));
        assert!(!pins.has_passed(mark));
        drop(outer);
        assert!(!pins.has_passed(mark), "the thread has still a pin that was made in another");
        drop(inner);
        assert!(pins.has_passed(mark));
        let _later = pins.pin();
        assert!(pins.has_passed(mark));
    }
}

#[test]
fn stores_do_not_hold_each_other_back() {
    let (one, other) = (Pins::new(), Pins::new());
    let of_one = one.pin();
    let of_other = other.pin();
    let (mark_one, mark_other) = (one.mark(), other.mark());
    drop(of_other);
    assert!(other.has_passed(mark_other));
    assert!(!one.has_passed(mark_one));
    drop(of_one);
    assert!(one.has_passed(mark_one));
}

#[test]
fn threads_that_end_leave_their_seats_to_others() {
    let pins = Pins::new();
    for _ in 0..100 {
        thread::scope(|scope| drop(scope.spawn(|| drop(pins.pin())).join()));
    }
    // Two at most were there at a time: one that has ended for its joiner may not have for its seat.
    assert!(pins.seats.take().0 <= 2);
}

#[test]
fn more_threads_than_a_row_of_seats() {
    let pins = Pins::new();
    let (all_in, out) = (std::sync::Barrier::new(41), std::sync::Barrier::new(41));
    let marked = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                let _pin = pins.pin();
                all_in.wait();
                out.wait();
                marked.fetch_add(1, Ordering::Relaxed);
            });
        }
        all_in.wait();
        let mark = pins.mark();
        assert!(!pins.has_passed(mark));
        out.wait();
        while !pins.has_passed(mark) {
            thread::yield_now();
        }
        assert_eq!(marked.load(Ordering::Relaxed), 40);
    });
}

/// A pin that its thread's end drops, when the thread has given its seats back.
struct AtTheEnd(Option<(Arc<Pins>, Arc<AtomicBool>)>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        let Some((pins, done)) = self.0.take() else { return };
        let (outer, inner) = (pins.pin(), pins.pin());
        let mark = pins.mark();
        drop(outer);
        let held = !pins.has_passed(mark);
        drop(inner);
        done.store(held && pins.has_passed(mark), Ordering::Relaxed);
    }
}

#[test]
fn a_thread_that_is_ending_can_still_pin() {
    thread_local! {
        static LAST_READ: std::cell::RefCell<AtTheEnd> =
            const { std::cell::RefCell::new(AtTheEnd(None)) };
    }
    let (pins, done) = (Pins::new(), Arc::new(AtomicBool::new(false)));
    let of_thread = (Arc::clone(&pins), Arc::clone(&done));
    let thread = thread::spawn(move || {
        // Registered before the seat, so dropped after it.
        LAST_READ.with_borrow_mut(|last| last.0 = Some(of_thread.clone()));
        drop(of_thread.0.pin());
    });
    assert!(thread.join().is_ok());
    assert!(done.load(Ordering::Relaxed));
    assert!(pins.has_passed(pins.mark()), "a seat that was taken for one pin stays pinned");
}

/// What the fences are for, on the real processor: of two that each store and then look, one sees the other.
#[test]
fn of_two_that_store_and_look_one_sees_the_other() {
    const ROUNDS: u64 = 200_000;
    let fences = fences::Fences::of_this_process();
    let (pinned, replaced) = (AtomicU64::new(0), AtomicU64::new(0));
    let missed_by_reader: Vec<bool> = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            (1..=ROUNDS)
                .map(|round| {
                    pinned.store(round, Ordering::Release);
                    fences.light();
                    let seen = replaced.load(Ordering::Acquire);
                    seen < round
                })
                .collect()
        });
        let mut rounds = Vec::new();
        for round in (1..=ROUNDS).step_by(50) {
            while pinned.load(Ordering::Relaxed) + 1 < round {
                std::hint::spin_loop();
            }
            replaced.store(round, Ordering::Release);
            assert!(fences.heavy());
            let missed = pinned.load(Ordering::Acquire) < round;
            rounds.push((round, missed));
        }
        let missed: Vec<bool> = reader.join().unwrap_or_default();
        for (round, missed_by_writer) in rounds {
            let missed_by_reader = missed[round as usize - 1];
            assert!(!(missed_by_writer && missed_by_reader), "both missed the other in {round}");
        }
        missed
    });
    assert_eq!(missed_by_reader.len() as u64, ROUNDS);
}
