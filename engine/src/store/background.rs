//! The store's own threads: one runs checkpoints when they are due, one syncs the log for `Interval` writes, three make room
//! ahead of writes, one tidies, one tunes if that is wanted.

use std::cell::Cell;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::upkeep::Upkeep;
use crate::error::{Error, Result};
use crate::sync::whole::{Condvar, Mutex, MutexGuard, thread};

/// How long after a checkpoint with none that follows the pools' spare memory goes back to the kernel.
const TRIM_AFTER: Duration = Duration::from_secs(10);

/// How long a window is that auto-tuning looks at.
const TUNING_WINDOW: Duration = Duration::from_secs(1);

/// What the threads wait for.
#[derive(Debug, Default)]
struct Due {
    checkpoint: bool,
    room: RoomDue,
    trim_at: Option<Instant>,
    sync_at: Option<Instant>,
    stop: bool,
}

/// Where room is to be made. Each has a thread: a busy disk can make the log's wait for seconds, and who waits for memory
/// need not wait for that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RoomDue {
    pub(super) log: bool,
    pub(super) file: bool,
    pub(super) memory: bool,
}

impl RoomDue {
    fn or(self, other: Self) -> Self {
        Self {
            log: self.log || other.log,
            file: self.file || other.file,
            memory: self.memory || other.memory,
        }
    }
}

#[derive(Debug, Default)]
struct Bell {
    due: Mutex<Due>,
    rung: Condvar,
}

thread_local! {
    /// This thread is one of a store's own. It may run a caller's code: a waker, say.
    static IS_ONE: Cell<bool> = const { Cell::new(false) };
}

/// What a thread does until the store closes.
type Job = fn(&Bell, &Weak<Engine>);

/// Handle of the threads. They hold the store weakly: dropping the last handle ends them.
#[derive(Debug, Default)]
pub(crate) struct Background {
    bell: Arc<Bell>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Background {
    /// Starts the threads of a writable store.
    pub(crate) fn start(engine: &Arc<Engine>) -> Result<()> {
        let mut jobs: Vec<(&str, Job)> = vec![
            ("cidstore-checkpoint", checkpoint_loop),
            ("cidstore-sync", sync_loop),
            ("cidstore-log", |bell, engine| {
                room_loop(bell, engine, |due| &mut due.room.log, Engine::provide_log);
            }),
            ("cidstore-file", |bell, engine| {
                room_loop(bell, engine, |due| &mut due.room.file, Engine::provide_file);
            }),
            ("cidstore-memory", |bell, engine| {
                room_loop(bell, engine, |due| &mut due.room.memory, Engine::provide_memory);
            }),
        ];
        if !engine.settings.maintenance.is_off() {
            jobs.push(("cidstore-upkeep", upkeep_loop));
        }
        if engine.settings.tuning.is_some() {
            jobs.push(("cidstore-tuning", tuning_loop));
        }
        for (name, job) in jobs {
            let bell = Arc::clone(&engine.background.bell);
            let weak = Arc::downgrade(engine);
            let thread = thread::Builder::new()
                .name(name.into())
                .spawn(move || {
                    IS_ONE.set(true);
                    job(&bell, &weak);
                })
                .map_err(|source| Error::Io {
                    path: engine.shared.path.clone(),
                    action: "start a thread for",
                    source,
                })?;
            lock(&engine.background.threads).push(thread);
        }
        Ok(())
    }

    /// Asks for a checkpoint soon.
    pub(crate) fn request_checkpoint(&self) {
        let mut due = lock(&self.bell.due);
        if !due.checkpoint {
            due.checkpoint = true;
            self.bell.rung.notify_all();
        }
    }

    /// Asks for room where it is due.
    pub(super) fn request_room(&self, wanted: RoomDue) {
        if wanted == RoomDue::default() {
            return;
        }
        let mut due = lock(&self.bell.due);
        let all = due.room.or(wanted);
        if due.room != all {
            due.room = all;
            self.bell.rung.notify_all();
        }
    }

    /// Asks for a sync of the log at most this much later.
    pub(crate) fn request_sync(&self, within: Duration) {
        let deadline = Instant::now().checked_add(within);
        let mut due = lock(&self.bell.due);
        let sooner = match (due.sync_at, deadline) {
            (Some(old), Some(new)) => new < old,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if sooner {
            due.sync_at = deadline;
            self.bell.rung.notify_all();
        }
    }

    /// Ends the threads and waits for them, unless one of them is the caller. Who comes second waits as well: as long as one
    /// thread runs it may write to files that the next opener has by then. False for one of the threads that comes second, which is waited for:
    /// closing is the other's business.
    pub(crate) fn stop(&self) -> bool {
        lock(&self.bell.due).stop = true;
        self.bell.rung.notify_all();
        let mut threads = match self.threads.try_lock() {
            Ok(threads) => threads,
            Err(_) if IS_ONE.get() => return false,
            Err(_) => lock(&self.threads),
        };
        for thread in threads.drain(..) {
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("a background thread of the store has panicked");
            }
        }
        true
    }

    /// In a fork, where there are no such threads: neither to be waited for nor to be let go.
    pub(crate) fn forget(&self) {
        if let Ok(mut threads) = self.threads.try_lock() {
            std::mem::forget(std::mem::take(&mut *threads));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Plain flags: a panic elsewhere leaves them as usable as before.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until `take` finds something due; false if the store is closing.
fn wait<T>(bell: &Bell, mut take: impl FnMut(&mut Due) -> Wait<T>) -> Option<T> {
    let mut due = lock(&bell.due);
    loop {
        if due.stop {
            return None;
        }
        due = match take(&mut due) {
            Wait::Done(found) => return Some(found),
            Wait::Until(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                bell.rung.wait_timeout(due, left).unwrap_or_else(PoisonError::into_inner).0
            }
            Wait::Forever => bell.rung.wait(due).unwrap_or_else(PoisonError::into_inner),
        };
    }
}

enum Wait<T> {
    Done(T),
    Until(Instant),
    Forever,
}

/// What the checkpoint thread does next.
enum Task {
    Checkpoint,
    Trim,
}

fn checkpoint_loop(bell: &Bell, engine: &Weak<Engine>) {
    let due = |due: &mut Due| match due.trim_at {
        _ if std::mem::take(&mut due.checkpoint) => Wait::Done(Task::Checkpoint),
        None => Wait::Forever,
        Some(at) if at <= Instant::now() => {
            due.trim_at = None;
            Wait::Done(Task::Trim)
        }
        Some(at) => Wait::Until(at),
    };
    while let Some(task) = wait(bell, due) {
        let Some(engine) = engine.upgrade() else { return };
        match task {
            Task::Checkpoint => {
                if let Err(error) = engine.checkpoint() {
                    // A failure has poisoned the store; a full disk is told to the next writer.
                    tracing::warn!(%error, "background checkpoint");
                }
                lock(&bell.due).trim_at = Instant::now().checked_add(TRIM_AFTER);
            }
            Task::Trim => engine.trim_pools(),
        }
    }
}

fn room_loop(
    bell: &Bell,
    engine: &Weak<Engine>,
    which: fn(&mut Due) -> &mut bool,
    provide: fn(&Engine),
) {
    let due = |due: &mut Due| {
        if std::mem::take(which(due)) { Wait::Done(()) } else { Wait::Forever }
    };
    while wait(bell, due).is_some() {
        let Some(engine) = engine.upgrade() else { return };
        provide(&engine);
    }
}

fn sync_loop(bell: &Bell, engine: &Weak<Engine>) {
    let due = |due: &mut Due| match due.sync_at {
        None => Wait::Forever,
        Some(deadline) if deadline <= Instant::now() => {
            due.sync_at = None;
            Wait::Done(())
        }
        Some(deadline) => Wait::Until(deadline),
    };
    while wait(bell, due).is_some() {
        let Some(engine) = engine.upgrade() else { return };
        if let Err(error) = engine.sync_and_witness() {
            tracing::warn!(%error, "background sync");
        }
    }
}

/// Sleeps till then; false if the store is closing.
fn sleep_until(bell: &Bell, at: Instant) -> bool {
    let is_due = |_: &mut Due| {
        if at <= Instant::now() { Wait::Done(()) } else { Wait::Until(at) }
    };
    wait(bell, is_due).is_some()
}

fn tuning_loop(bell: &Bell, engine: &Weak<Engine>) {
    let Some(mut before) = engine.upgrade().map(|engine| engine.events_so_far()) else { return };
    while sleep_until(bell, Instant::now() + TUNING_WINDOW) {
        let Some(engine) = engine.upgrade() else { return };
        if engine.check_writable().is_err() {
            return;
        }
        let now = engine.events_so_far();
        engine.tuned.decide(&now.since(&before));
        before = now;
    }
}

fn upkeep_loop(bell: &Bell, engine: &Weak<Engine>) {
    let start = Instant::now();
    let clock = || start.elapsed();
    let mut upkeep = match engine.upgrade() {
        Some(engine) => Upkeep::new(&engine, engine.settings.maintenance, clock()),
        None => return,
    };
    let mut wake_at = Instant::now();
    while sleep_until(bell, wake_at) {
        let Some(engine) = engine.upgrade() else { return };
        let Some(rest) = upkeep.turn(&engine, &clock) else { return };
        wake_at = Instant::now() + rest;
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Two handles close the store at the same time: the second must not give the files away under the threads.
    #[test]
    fn whoever_stops_the_threads_second_waits_for_them_too() {
        let background = Background::default();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let slow = move || {
            thread::sleep(Duration::from_millis(100));
            over.store(true, Ordering::SeqCst);
        };
        lock(&background.threads).push(thread::spawn(slow));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    assert!(background.stop());
                    assert!(is_over.load(Ordering::SeqCst), "stopped, and a thread still runs");
                });
            }
        });
    }
}
