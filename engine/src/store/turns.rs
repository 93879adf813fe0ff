//! [`Turns`]: who leads. Many threads write, one at a time does the work of all that wait.
//!
//! Whoever gets the lock leads. With nobody waiting it does its own write and is done. Otherwise it takes all
//! that wait, and wakes their threads with the answers. A thread that waits is woken either with its answer or
//! to lead the next group: every leader, after it gave the lock back, wakes the first of those that came
//! meanwhile. So no write waits while nobody leads: a thread queues itself *before* it tries the lock, and a
//! leader looks at the queue *after* it gave the lock back. A leader that panics leaves nobody waiting either.
//!
//! What is guarded (`S`), what a write is (`W`) and what it is answered (`A`) is for others to say, so that the models
//! run this file with little of each.

#[cfg(test)]
#[cfg(loom)]
mod interleavings;

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::sync::whole::thread;
use crate::sync::{Condvar, Mutex, TryMutex, TryMutexGuard, lock};

/// How often a writer yields to those who wait for the lock before it goes on regardless.
const STEP_BACK_MAX: u32 = 64;
/// How long one that takes the lock again and again yields to those who wait to write. A thread that was woken runs after
/// some 50 us.
const GIVE_WAY_MAX: Duration = Duration::from_millis(1);
/// How long a thread spins where the lock comes back within some microseconds. To sleep and be woken takes as long.
const PATIENCE: Duration = Duration::from_micros(50);

/// The lock, and who waits for what is done under it.
#[derive(Debug)]
pub(crate) struct Turns<S, W, A> {
    state: TryMutex<S>,
    /// How many wait for the lock itself. A hint, so no model checker needs to see it.
    pub(super) waiting: AtomicU32,
    /// How often the lock was taken to write. A hint as well, and so are the next two.
    led: AtomicU32,
    /// The lock is held for some microseconds only.
    is_short: AtomicBool,
    /// How many spin for it.
    spinning: AtomicU32,
    queue: Queue<W, A>,
}

/// The leader that took a write has panicked: it may have been carried out or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abandoned;

impl<S, W, A> Turns<S, W, A> {
    pub(crate) fn new(state: S) -> Self {
        let queue = Queue { tickets: Mutex::new(VecDeque::new()) };
        Self {
            state: TryMutex::new(state),
            waiting: AtomicU32::new(0),
            led: AtomicU32::new(0),
            is_short: AtomicBool::new(false),
            spinning: AtomicU32::new(0),
            queue,
        }
    }

    /// The lock, once the present leader is done.
    pub(crate) fn lock(&self) -> Leading<'_, S, W, A> {
        // Relaxed: a hint that makes writers step back, nothing depends on it.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.leading(state)
    }

    /// The lock, for work of some microseconds that comes again and again: after [giving way](Self::give_way), and without
    /// a sleep, if those who write have it for no longer. A writer that meets such a hold spins instead of queueing up.
    pub(crate) fn lock_shortly(&self) -> Leading<'_, S, W, A> {
        self.give_way();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let spun = self.spin(|| true);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let mut leading = spun.unwrap_or_else(|| self.lock());
        leading.is_short = Some(&self.is_short);
        self.is_short.store(true, Ordering::Relaxed);
        leading
    }

    fn leading<'a>(&'a self, state: TryMutexGuard<'a, S>) -> Leading<'a, S, W, A> {
        Leading { state: Some(state), is_short: None, queue: &self.queue }
    }

    /// The lock, if it comes back while `is_worth_it`, and soon.
    fn spin(&self, is_worth_it: impl Fn() -> bool) -> Option<Leading<'_, S, W, A>> {
        let begin = Instant::now();
        loop {
            // Before the look whether it is worth it: it is not any more where the lock has just come back.
            if let Some(leading) = self.try_lock() {
                return Some(leading);
            }
            if !is_worth_it() || begin.elapsed() > PATIENCE {
                return None;
            }
            thread::yield_now();
        }
    }

    /// The lock if nobody has it, or for some microseconds only.
    fn try_lock_with_patience(&self) -> Option<Leading<'_, S, W, A>> {
        // Relaxed: as `waiting`.
        let is_short = || self.is_short.load(Ordering::Relaxed);
        if !is_short() {
            return self.try_lock();
        }
        self.spinning.fetch_add(1, Ordering::Relaxed);
        let spun = self.spin(is_short);
        self.spinning.fetch_sub(1, Ordering::Relaxed);
        spun
    }

    /// The lock if nobody has it.
    pub(crate) fn try_lock(&self) -> Option<Leading<'_, S, W, A>> {
        let state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(self.leading(state))
    }

    /// Lets those go first who wait for the lock itself: a snapshot, a checkpoint's cut. The lock is not fair, and a
    /// thread that writes in a loop would hardly ever leave it to them.
    pub(crate) fn step_back(&self) {
        for _ in 0..STEP_BACK_MAX {
            if self.waiting.load(Ordering::Relaxed) == 0 {
                return;
            }
            thread::yield_now();
        }
    }

    /// Lets one of those lead who wait to write, if any do. For work that takes the lock again and again: whoever waits was woken
    /// when the lock was given back, but would find it taken by the time it runs.
    pub(crate) fn give_way(&self) {
        // Relaxed: as `waiting`.
        let led = self.led.load(Ordering::Relaxed);
        let begin = Instant::now();
        let is_awaited = || self.spinning.load(Ordering::Relaxed) > 0 || !self.queue.is_empty();
        while is_awaited()
            && self.led.load(Ordering::Relaxed) == led
            && begin.elapsed() < GIVE_WAY_MAX
        {
            thread::yield_now();
        }
    }

    /// How many writes wait for the next leader.
    pub(crate) fn waiting_writes(&self) -> usize {
        self.queue.len()
    }

    /// True if somebody waits to write, or for the lock.
    pub(crate) fn is_contended(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0 || !self.queue.is_empty()
    }

    /// Has a write carried out: by this thread `alone` if nobody waits, else by whoever leads next; that may be
    /// this thread, which then leads a whole `group` of at most `group_max` and [answers](Group::answer) each write of it:
    /// so the first of a group does not wait for ever.
    ///
    /// # Errors
    ///
    /// [`Abandoned`] if the leader panicked.
    pub(crate) fn carry_out<'a>(
        &'a self,
        write: W,
        group_max: usize,
        alone: impl FnOnce(Leading<'a, S, W, A>, &W) -> A,
        group: impl Fn(Leading<'a, S, W, A>, &Group<W, A>),
    ) -> Result<A, Abandoned> {
        // Those who wait come first: a thread that writes in a loop would starve them.
        let free = if self.queue.is_empty() { self.try_lock_with_patience() } else { None };
        if let Some(leading) = free {
            self.note_led();
            return Ok(alone(leading, &write));
        }
        let ticket = self.queue.enter(write);
        loop {
            self.lead_if_free(group_max, &group);
            match ticket.wait() {
                Turn::Answered(answer) => return Ok(answer),
                Turn::Abandoned => return Err(Abandoned),
                Turn::Lead => {}
            }
        }
    }

    fn note_led(&self) {
        // Relaxed, and no addition that others could come between: whoever has the lock is alone.
        self.led.store(self.led.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    fn lead_if_free<'a>(
        &'a self,
        group_max: usize,
        group: &impl Fn(Leading<'a, S, W, A>, &Group<W, A>),
    ) {
        if let Some(leading) = self.try_lock() {
            self.note_led();
            group(leading, &self.queue.take(group_max));
        }
    }
}

/// The lock, held. Giving it back, even by a panic, wakes somebody of those who queued up meanwhile: whoever
/// finds the lock taken relies on it.
pub(crate) struct Leading<'a, S, W, A> {
    /// `None` only while it is dropped.
    state: Option<TryMutexGuard<'a, S>>,
    /// Says that it is held shortly, if it is.
    is_short: Option<&'a AtomicBool>,
    queue: &'a Queue<W, A>,
}

impl<S, W, A> Leading<'_, S, W, A> {
    /// Takes up to `count_max` of those that wait by now, to be answered as the group that this leader was given.
    /// `None` if nobody waits.
    pub(crate) fn take_waiting(&self, count_max: usize) -> Option<Group<W, A>> {
        let group = self.queue.take(count_max);
        (!group.tickets.is_empty()).then_some(group)
    }
}

impl<S, W, A> Deref for Leading<'_, S, W, A> {
    type Target = S;

    fn deref(&self) -> &S {
        match &self.state {
            Some(state) => state,
            None => unreachable!("the lock is held until the drop"),
        }
    }
}

impl<S, W, A> DerefMut for Leading<'_, S, W, A> {
    fn deref_mut(&mut self) -> &mut S {
        match &mut self.state {
            Some(state) => state,
            None => unreachable!("the lock is held until the drop"),
        }
    }
}

impl<S, W, A> Drop for Leading<'_, S, W, A> {
    fn drop(&mut self) {
        if let Some(is_short) = self.is_short {
            is_short.store(false, Ordering::Relaxed);
        }
        // First the lock, then the look at the queue: see the head of this file.
        self.state = None;
        self.queue.wake_leader();
    }
}

/// Those that wait.
#[derive(Debug)]
struct Queue<W, A> {
    tickets: Mutex<VecDeque<Arc<Ticket<W, A>>>>,
}

impl<W, A> Queue<W, A> {
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        lock(&self.tickets).len()
    }

    fn enter(&self, write: W) -> Arc<Ticket<W, A>> {
        let state = Mutex::new(TicketState::Waiting);
        let ticket = Arc::new(Ticket { write, state, woken: Condvar::new() });
        lock(&self.tickets).push_back(Arc::clone(&ticket));
        ticket
    }

    fn take(&self, count_max: usize) -> Group<W, A> {
        let mut tickets = lock(&self.tickets);
        let count = tickets.len().min(count_max);
        Group { tickets: tickets.drain(..count).collect() }
    }

    /// Wakes the first that waits, to lead.
    fn wake_leader(&self) {
        let first = lock(&self.tickets).front().cloned();
        if let Some(ticket) = first {
            let mut state = lock(&ticket.state);
            if matches!(*state, TicketState::Waiting) {
                *state = TicketState::Lead;
                ticket.woken.notify_one();
            }
        }
    }
}

/// A write with its way back to the thread that waits for it.
#[derive(Debug)]
struct Ticket<W, A> {
    write: W,
    state: Mutex<TicketState<A>>,
    woken: Condvar,
}

#[derive(Debug)]
enum TicketState<A> {
    Waiting,
    Lead,
    Answered(A),
    Abandoned,
    /// The thread has its answer.
    Over,
}

/// What a thread was woken for.
enum Turn<A> {
    Lead,
    Answered(A),
    Abandoned,
}

impl<W, A> Ticket<W, A> {
    fn wait(&self) -> Turn<A> {
        let mut state = lock(&self.state);
        loop {
            let (turn, next) = match std::mem::replace(&mut *state, TicketState::Waiting) {
                TicketState::Waiting => {
                    state = self.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                TicketState::Lead => (Turn::Lead, TicketState::Waiting),
                TicketState::Answered(answer) => (Turn::Answered(answer), TicketState::Over),
                TicketState::Abandoned | TicketState::Over => (Turn::Abandoned, TicketState::Over),
            };
            *state = next;
            return turn;
        }
    }

    fn wake(&self, with: TicketState<A>) {
        *lock(&self.state) = with;
        self.woken.notify_one();
    }
}

/// The writes that a leader has taken. Dropping it tells those that were not answered that they are abandoned.
pub(crate) struct Group<W, A> {
    tickets: Vec<Arc<Ticket<W, A>>>,
}

impl<W, A> Group<W, A> {
    /// The writes, in the order in which they came.
    pub(crate) fn writes(&self) -> impl Iterator<Item = &W> {
        self.tickets.iter().map(|ticket| &ticket.write)
    }

    /// Answers the write at this place, once.
    pub(crate) fn answer(&self, at: usize, answer: A) {
        if let Some(ticket) = self.tickets.get(at) {
            ticket.wake(TicketState::Answered(answer));
        }
    }
}

impl<W, A> Drop for Group<W, A> {
    fn drop(&mut self) {
        for ticket in &self.tickets {
            let waits = matches!(*lock(&ticket.state), TicketState::Waiting | TicketState::Lead);
            if waits {
                ticket.wake(TicketState::Abandoned);
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    #![allow(clippy::panic, reason = "it is what is tested")]
    use super::*;

    type Counted = Turns<usize, (), ()>;

    /// In how many of fifty rounds a write that meets a lock held like this is carried out before whoever held it has it
    /// again, and how many of the writes did not sleep.
    fn let_in(hold: impl Fn(&Counted) -> Leading<'_, usize, (), ()>) -> (usize, usize) {
        let turns = Counted::new(0);
        let awake = AtomicU32::new(0);
        let is_in_time = |round: usize| {
            std::thread::scope(|scope| {
                let held = hold(&turns);
                let write = || {
                    let alone = |mut state: Leading<'_, usize, (), ()>, (): &()| {
                        awake.fetch_add(1, Ordering::Relaxed);
                        *state += 1;
                    };
                    let group = |mut state: Leading<'_, usize, (), ()>, group: &Group<(), ()>| {
                        *state += 1;
                        (0..group.writes().count()).for_each(|at| group.answer(at, ()));
                    };
                    turns.carry_out((), 8, alone, group)
                };
                let writer = scope.spawn(write);
                while turns.waiting_writes() == 0 && turns.spinning.load(Ordering::Relaxed) == 0 {
                    std::thread::yield_now();
                }
                drop(held);
                turns.give_way();
                let is_in_time = *turns.lock() > round;
                assert_eq!(writer.join().ok(), Some(Ok(())));
                is_in_time
            })
        };
        let in_time = (0..ROUNDS).filter(|&round| is_in_time(round)).count();
        (in_time, awake.into_inner() as usize)
    }

    const ROUNDS: usize = 50;

    /// Who takes the lock again and again leaves it in between to one that waits to write. The lock alone would not: a thread
    /// that is woken comes too late for it. A busy machine may run the writer later than it is waited for.
    #[test]
    fn many_holds_let_a_writer_in() {
        let (in_time, awake) = let_in(Turns::lock);
        assert!(in_time > ROUNDS / 2, "{in_time} of {ROUNDS}");
        assert_eq!(awake, 0, "a long hold is slept through");
    }

    #[test]
    fn a_writer_stays_awake_through_a_short_hold() {
        let (in_time, awake) = let_in(Turns::lock_shortly);
        assert!(in_time > ROUNDS / 2, "{in_time} of {ROUNDS}");
        assert!(awake > ROUNDS / 4, "{awake} of {ROUNDS}");
    }

    #[test]
    fn a_leader_that_panics_leaves_nobody_waiting() {
        let turns: Turns<(), u32, u32> = Turns::new(());
        let held = turns.lock();
        std::thread::scope(|scope| {
            let write = || {
                let group = |_: Leading<'_, (), u32, u32>, _: &Group<u32, u32>| panic!("planted");
                turns.carry_out(1, 8, |_, _| 1, group)
            };
            let threads = [scope.spawn(write), scope.spawn(write)];
            while lock(&turns.queue.tickets).len() < 2 {
                std::thread::yield_now();
            }
            drop(held);
            let ends = threads.map(std::thread::ScopedJoinHandle::join);
            // One has led and panicked. The other was in its group, or led after it and panicked too.
            assert!(ends.iter().any(Result::is_err));
            assert!(ends.iter().flatten().all(|end| *end == Err(Abandoned)));
        });
    }
}
