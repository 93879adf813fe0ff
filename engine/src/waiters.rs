//! Tasks that wait for a log sequence number: to become durable, or to become visible.
//!
//! Why no wake-up is lost. A waiter looks at the number and, if it is not there yet, leaves its waker, both under the
//! lock. Whoever advances the number stores it first and takes the lock afterwards. So either the waiter's look
//! comes after the store and sees it, or its waker lies in the list when the other one takes the lock.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use crate::sync::whole::{Mutex, MutexGuard};

/// Place of a waiter: what it waits for, and a number of its own.
pub(crate) type Place = (u64, u64);

/// Wakers by the number that each waits for.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    wakers: Mutex<BTreeMap<Place, Waker>>,
    next_number: AtomicU64,
}

impl Waiters {
    fn wakers(&self) -> MutexGuard<'_, BTreeMap<Place, Waker>> {
        // A map of wakers is whole at every step, so a panic elsewhere does not spoil it.
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place that no other waiter has.
    pub(crate) fn place(&self, lsn: u64) -> Place {
        // Relaxed: only the uniqueness counts.
        (lsn, self.next_number.fetch_add(1, Ordering::Relaxed))
    }

    /// Asks `ready`; if it has no answer, leaves the task's waker at `place`, in place of an earlier one.
    pub(crate) fn poll<T>(
        &self,
        place: Place,
        context: &Context<'_>,
        ready: impl FnOnce() -> Poll<T>,
    ) -> Poll<T> {
        let mut wakers = self.wakers();
        let answer = ready();
        if answer.is_pending() {
            wakers.insert(place, context.waker().clone());
        } else {
            wakers.remove(&place);
        }
        answer
    }

    /// Forgets a waiter that gave up.
    pub(crate) fn forget(&self, place: Place) {
        self.wakers().remove(&place);
    }

    /// Wakes all that wait for `lsn` or less.
    pub(crate) fn wake_up_to(&self, lsn: u64) {
        let due = {
            let mut wakers = self.wakers();
            if wakers.first_key_value().is_none_or(|(&(first, _), _)| first > lsn) {
                return;
            }
            let later = match lsn.checked_add(1) {
                Some(next) => wakers.split_off(&(next, 0)),
                None => BTreeMap::new(),
            };
            std::mem::replace(&mut *wakers, later)
        };
        // Outside of the lock: a waker may run anything, a poll of this list included.
        due.into_values().for_each(Waker::wake);
    }

    /// Wakes all: the store has failed or is closed, so no number will come any more.
    pub(crate) fn wake_all(&self) {
        self.wake_up_to(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicU64);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn count(counted: &Counted) -> u64 {
        counted.0.load(Ordering::Relaxed)
    }

    #[test]
    fn wakes_those_whose_number_has_come_and_no_others() {
        let waiters = Waiters::default();
        let tasks: Vec<Arc<Counted>> = (0..4).map(|_| Arc::default()).collect();
        let mut places = Vec::new();
        for (task, lsn) in tasks.iter().zip([5, 7, 7, 9]) {
            let waker = Waker::from(Arc::clone(task));
            let place = waiters.place(lsn);
            places.push(place);
            let context = Context::from_waker(&waker);
            assert!(waiters.poll(place, &context, || Poll::<()>::Pending).is_pending());
        }
        waiters.wake_up_to(4);
        assert_eq!(tasks.iter().map(|task| count(task)).sum::<u64>(), 0);
        waiters.forget(places[1]);
        waiters.wake_up_to(7);
        assert_eq!(tasks.iter().map(|task| count(task)).collect::<Vec<_>>(), [1, 0, 1, 0]);
        waiters.wake_all();
        waiters.wake_all();
        assert_eq!(tasks.iter().map(|task| count(task)).collect::<Vec<_>>(), [1, 0, 1, 1]);
    }

    #[test]
    fn a_second_poll_replaces_the_waker_and_an_answer_removes_it() {
        let waiters = Waiters::default();
        let (old, new): (Arc<Counted>, Arc<Counted>) = Default::default();
        let place = waiters.place(1);
        for task in [&old, &new] {
            let waker = Waker::from(Arc::clone(task));
            let context = Context::from_waker(&waker);
            assert!(waiters.poll(place, &context, || Poll::<()>::Pending).is_pending());
        }
        waiters.wake_up_to(1);
        assert_eq!((count(&old), count(&new)), (0, 1));
        let waker = Waker::from(Arc::clone(&new));
        let context = Context::from_waker(&waker);
        assert!(waiters.poll(place, &context, || Poll::<()>::Pending).is_pending());
        assert!(waiters.poll(place, &context, || Poll::Ready(())).is_ready());
        waiters.wake_all();
        assert_eq!(count(&new), 1);
    }
}
