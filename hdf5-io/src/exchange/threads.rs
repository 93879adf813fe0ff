//! Work on all processors: who takes what, and whose turn it is.

use std::ops::{Deref, DerefMut};
use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;

use super::error::Result;

/// More threads than this would wait for memory and for the file.
const THREADS_MAX: usize = 16;

/// Does the same work on as many threads as there are processors, this one among them, and answers what each made of it.
/// Work on this thread gets `tell`, which is told 0 at once: the others may leave nothing to this thread.
///
/// # Errors
/// The first of any thread.
pub(super) fn on_all<T: Send>(
    work: impl Fn(&mut dyn FnMut(u64)) -> Result<T> + Sync,
    tell: &mut dyn FnMut(u64),
) -> Result<Vec<T>> {
    let others =
        thread::available_parallelism().map_or(1, |count| count.get().min(THREADS_MAX)) - 1;
    tell(0);
    thread::scope(|scope| {
        let others: Vec<_> = (0..others).map(|_| scope.spawn(|| work(&mut |_| ()))).collect();
        let mut made = vec![work(tell)];
        for other in others {
            made.push(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        made.into_iter().collect()
    })
}

/// Something that numbered pieces of work get one after another, whoever does them.
pub(super) struct Turns<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// Whose turn it is; `None` once a turn will never come.
    next: Option<u64>,
    value: T,
}

impl<T> Turns<T> {
    pub(super) fn new(value: T) -> Self {
        let state = Mutex::new(State { next: Some(0), value });
        Self { state, changed: Condvar::new() }
    }

    /// Waits for the turn of piece `number`; `None` if it will not come, because somebody gave up.
    pub(super) fn wait(&self, number: u64) -> Option<Turn<'_, T>> {
        let state = self.state.lock().ok()?;
        let waiting = |state: &mut State<T>| state.next.is_some_and(|next| next < number);
        let state = self.changed.wait_while(state, waiting).ok()?;
        state.next?;
        Some(Turn { state, changed: &self.changed })
    }

    /// What went from hand to hand.
    pub(super) fn into_value(self) -> T {
        self.state.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).value
    }

    /// Lets nobody wait any more if what follows ends early, by an error or a panic.
    pub(super) fn guard(&self) -> GiveUp<'_, T> {
        GiveUp { turns: Some(self) }
    }
}

/// One's turn: the next one's comes when it is dropped.
pub(super) struct Turn<'a, T> {
    state: MutexGuard<'a, State<T>>,
    changed: &'a Condvar,
}

impl<T> Deref for Turn<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.state.value
    }
}

impl<T> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.state.value
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        self.state.next = self.state.next.map(|next| next + 1);
        self.changed.notify_all();
    }
}

/// Ends all turns when it is dropped, unless all went well.
pub(super) struct GiveUp<'a, T> {
    turns: Option<&'a Turns<T>>,
}

impl<T> GiveUp<'_, T> {
    pub(super) fn all_went_well(mut self) {
        self.turns = None;
    }
}

impl<T> Drop for GiveUp<'_, T> {
    fn drop(&mut self) {
        if let Some(turns) = self.turns {
            // If another thread panicked in its turn, those who wait see that by themselves.
            if let Ok(mut state) = turns.state.lock() {
                state.next = None;
            }
            turns.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::exchange::error::ExchangeError;

    #[test]
    fn turns_come_in_order_whoever_takes_the_work() {
        let (turns, next) = (Turns::new(Vec::new()), AtomicU64::new(0));
        let work = |_: &mut dyn FnMut(u64)| {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= 500 {
                    return Ok(());
                }
                if number % 7 == 0 {
                    thread::yield_now();
                }
                turns.wait(number).unwrap().push(number);
            }
        };
        thread::scope(|scope| {
            let others: Vec<_> = (0..3).map(|_| scope.spawn(|| work(&mut |_| ()))).collect();
            work(&mut |_| ()).unwrap();
            others.into_iter().for_each(|other: thread::ScopedJoinHandle<'_, Result<()>>| {
                other.join().unwrap().unwrap();
            });
        });
        assert!(turns.into_value().into_iter().eq(0..500));
    }

    #[test]
    fn nobody_waits_for_one_who_gave_up() {
        let turns = Turns::new(());
        thread::scope(|scope| {
            let waiter = scope.spawn(|| turns.wait(1).is_none());
            let failing = scope.spawn(|| {
                let _guard = turns.guard();
                thread::yield_now();
            });
            failing.join().unwrap();
            assert!(waiter.join().unwrap());
        });
        let turns = Turns::new(());
        let guard = turns.guard();
        guard.all_went_well();
        assert!(turns.wait(0).is_some());
    }

    #[test]
    fn an_error_of_any_thread_is_the_answer() {
        let here = thread::current().id();
        let mut told = Vec::new();
        let work = |tell: &mut dyn FnMut(u64)| {
            tell(1);
            if thread::current().id() == here { Ok(()) } else { Err(failure()) }
        };
        let failed = on_all(work, &mut |number| told.push(number));
        let alone = thread::available_parallelism().unwrap().get() == 1;
        assert_eq!((failed.is_ok(), told), (alone, vec![0, 1]));
        assert!(on_all(|_| Err::<(), _>(failure()), &mut |_| ()).is_err());
    }

    fn failure() -> ExchangeError {
        ExchangeError::Store(cidstore_engine::Error::Closed)
    }
}
