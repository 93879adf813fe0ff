//! Locks of the standard library that tell ThreadSanitizer what they order.
//!
//! The standard library as it is delivered is not instrumented. Of its locks the short way, which is compiled into this
//! crate, is seen; the long way, in which a thread waits, is not, and neither is the first use of a `OnceLock`. The
//! detector would report a race for everything that a contended lock guards.
//!
//! So each lock has an *edge* here: a number that is stored (Release) before the lock is given back, and loaded
//! (Acquire) after it was taken. Because the lock itself keeps the two apart, the load always sees the last store:
//! the edge orders what the lock orders and nothing more.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{self, LockResult, PoisonError, TryLockError, TryLockResult};
use std::time::Duration;

/// What orders those who have a lock one after another.
#[derive(Debug, Default)]
struct Edge(AtomicU32);

impl Edge {
    /// Release: what was done up to here is seen by whoever comes after.
    fn leave(&self) {
        self.0.store(1, Ordering::Release);
    }

    /// Acquire: pairs with `leave`.
    fn enter(&self) {
        self.0.load(Ordering::Acquire);
    }
}

/// As `std::sync::Mutex`.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T> {
    edge: Edge,
    inner: sync::Mutex<T>,
}

/// A [`Mutex`], held.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    edge: &'a Edge,
    /// `None` only while it waits for a [`Condvar`]. Dropped after the edge was left.
    inner: Option<sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { edge: Edge::default(), inner: sync::Mutex::new(value) }
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        told(&self.edge, self.inner.lock())
    }

    pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        match self.inner.try_lock() {
            Ok(inner) => Ok(MutexGuard::entered(&self.edge, inner)),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
            Err(TryLockError::Poisoned(poisoned)) => Err(TryLockError::Poisoned(PoisonError::new(
                MutexGuard::entered(&self.edge, poisoned.into_inner()),
            ))),
        }
    }
}

impl<'a, T> MutexGuard<'a, T> {
    fn entered(edge: &'a Edge, inner: sync::MutexGuard<'a, T>) -> Self {
        edge.enter();
        Self { edge, inner: Some(inner) }
    }
}

fn told<'a, T>(
    edge: &'a Edge,
    taken: LockResult<sync::MutexGuard<'a, T>>,
) -> LockResult<MutexGuard<'a, T>> {
    match taken {
        Ok(inner) => Ok(MutexGuard::entered(edge, inner)),
        Err(poisoned) => Err(PoisonError::new(MutexGuard::entered(edge, poisoned.into_inner()))),
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.inner {
            Some(inner) => inner,
            None => unreachable!("the lock is held until the drop"),
        }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.inner {
            Some(inner) => inner,
            None => unreachable!("the lock is held until the drop"),
        }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if self.inner.is_some() {
            self.edge.leave();
        }
    }
}

/// As `std::sync::Condvar`.
#[derive(Debug, Default)]
pub(crate) struct Condvar {
    inner: sync::Condvar,
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wait<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
    ) -> LockResult<MutexGuard<'a, T>> {
        let edge = guard.edge;
        match guard.inner.take() {
            Some(inner) => {
                edge.leave();
                told(edge, self.inner.wait(inner))
            }
            None => unreachable!("the lock is held until the drop"),
        }
    }

    pub(crate) fn wait_timeout<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        within: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, sync::WaitTimeoutResult)> {
        let edge = guard.edge;
        let Some(inner) = guard.inner.take() else {
            unreachable!("the lock is held until the drop")
        };
        edge.leave();
        match self.inner.wait_timeout(inner, within) {
            Ok((inner, timeout)) => Ok((MutexGuard::entered(edge, inner), timeout)),
            Err(poisoned) => {
                let (inner, timeout) = poisoned.into_inner();
                Err(PoisonError::new((MutexGuard::entered(edge, inner), timeout)))
            }
        }
    }

    pub(crate) fn notify_one(&self) {
        self.inner.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.inner.notify_all();
    }
}

/// As `std::sync::OnceLock`. Set is what has been set and told.
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    told: AtomicBool,
    inner: sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) const fn new() -> Self {
        Self { told: AtomicBool::new(false), inner: sync::OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        // Acquire: pairs with the store in `get_or_init`.
        if self.told.load(Ordering::Acquire) { self.inner.get() } else { None }
    }

    pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        let mut is_mine = false;
        let value = self.inner.get_or_init(|| {
            is_mine = true;
            init()
        });
        if is_mine {
            // Release: only now does the value lie where others find it.
            self.told.store(true, Ordering::Release);
        }
        // Acquire: the one who set it is about to tell.
        while !self.told.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        value
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}
