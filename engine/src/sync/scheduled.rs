//! The names of `sync` for a store that runs under a scheduler, in orders that are drawn at random: see `campaign`.
//!
//! Locks and threads are the scheduler's. Words of pages and slots of tables stay what they are, since they lie in mapped
//! memory; a [`point`] before an access lets other threads run there. So every order of accesses can come up, but each
//! thread sees the value stored last: what a weaker ordering would allow is for the loom models.
//!
//! All threads of an execution run as coroutines on the one thread of their test, so they share what the standard
//! library calls local to a thread.
//!
//! As in `checked`, this is the place to plant bugs: see [`Plant`].

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
pub(crate) use std::sync::atomic::fence;
use std::sync::atomic::{self, Ordering};
use std::sync::{LockResult, OnceLock as StdOnceLock};

use cidstore_core::layout::PAGE_WORDS;
use cidstore_core::protocol::word::Word;
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
pub(crate) use shuttle::sync::{Mutex as TryMutex, MutexGuard as TryMutexGuard};
use zerocopy::FromZeros;

/// After an access to a word of a page that has an order, so many without one are [points](point) too: what the page
/// protocol must keep whole.
const RELAXED_CLOSE: u64 = 8;
/// Of those further on one in so many: pages are copied word by word, and an execution would consist of little else.
const RELAXED_APART: u64 = 32;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// None: the code as it ships.
    Sound,
    /// What waits for readers to be done does not wait.
    NoWait,
    /// A reader's second look at a word, which tells whether it changed meanwhile, gives what the first gave.
    NoSecondLook,
    /// What was set once, such as a slot that is kept for a snapshot, is not found.
    NothingKept,
    /// One in four wake-ups of a condition variable is lost.
    LostWake,
    /// Numbers that only grow are stored some steps late.
    LateNumber,
    /// One in four looks at a number that only grows gives what the thread's look before gave.
    StaleNumber,
}

thread_local! {
    static PLANT: Cell<Plant> = const { Cell::new(Plant::Sound) };
    /// Any access to an atomic of the scheduler's lets others run.
    static POINT: shuttle::sync::atomic::AtomicBool =
        const { shuttle::sync::atomic::AtomicBool::new(false) };
    /// Accesses without an order since the last one with.
    static RELAXED: Cell<u64> = const { Cell::new(0) };
    /// For the plant of second looks: what a thread's last ordered load of a word gave.
    static LOOKED: RefCell<BTreeMap<(usize, usize), u64>> = const { RefCell::new(BTreeMap::new()) };
    /// The threads that have stored to pages: they are no readers.
    static WRITERS: RefCell<BTreeSet<usize>> = const { RefCell::new(BTreeSet::new()) };
    static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
    /// For the plant of stale numbers: what a thread's last look at one gave.
    static NUMBERS: RefCell<BTreeMap<(usize, usize), u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// A store that is still to be done, by whom, and after how many more points of that thread.
struct Late {
    number: Arc<atomic::AtomicU64>,
    value: u64,
    by: usize,
    points_to_go: u32,
}

/// Begins an execution, without a plant till it is [armed](arm).
pub(crate) fn begin() {
    PLANT.set(Plant::Sound);
    RELAXED.set(0);
    LATE.set(None);
    LOOKED.take();
    WRITERS.take();
    NUMBERS.take();
}

/// From here on the plant is at work.
pub(crate) fn arm(plant: Plant) {
    PLANT.set(plant);
}

fn me() -> usize {
    shuttle::current::me().into()
}

/// Lets another thread run, if the scheduler wants that.
fn point() {
    POINT.with(|point| point.load(Ordering::SeqCst));
    if PLANT.get() == Plant::LateNumber {
        store_late();
    }
}

fn store_late() {
    LATE.with_borrow_mut(|late| {
        if let Some(it) = late.as_mut().filter(|it| it.by == me()) {
            it.points_to_go -= 1;
            if it.points_to_go == 0 {
                it.number.store(it.value, Ordering::SeqCst);
                *late = None;
            }
        }
    });
}

/// A [`point`] before an access that has an order, and before some of the others.
fn point_of_word(order: Ordering) {
    let count = if order == Ordering::Relaxed { RELAXED.get() + 1 } else { 0 };
    RELAXED.set(count);
    if count <= RELAXED_CLOSE || count.is_multiple_of(RELAXED_APART) {
        point();
    }
}

macro_rules! with_points {
    ($name:ident, $plain:ty) => {
        /// An atomic, in memory as the standard library's.
        #[derive(Debug, Default, FromZeros)]
        #[repr(transparent)]
        pub(crate) struct $name(atomic::$name);

        impl $name {
            pub(crate) const fn new(value: $plain) -> Self {
                Self(atomic::$name::new(value))
            }

            pub(crate) fn load(&self, order: Ordering) -> $plain {
                point();
                self.0.load(order)
            }

            pub(crate) fn store(&self, value: $plain, order: Ordering) {
                point();
                self.0.store(value, order);
            }

            #[allow(dead_code, reason = "not each of them is swapped")]
            pub(crate) fn swap(&self, value: $plain, order: Ordering) -> $plain {
                point();
                self.0.swap(value, order)
            }
        }
    };
}

with_points!(AtomicBool, bool);
with_points!(AtomicU8, u8);
with_points!(AtomicU32, u32);

/// A number that only grows. Never in mapped memory.
#[derive(Debug, Default)]
pub(crate) struct AtomicU64(Arc<atomic::AtomicU64>);

impl AtomicU64 {
    pub(crate) fn new(value: u64) -> Self {
        Self(Arc::new(atomic::AtomicU64::new(value)))
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        point();
        let value = self.0.load(order);
        if PLANT.get() == Plant::StaleNumber { self.looked_before(value) } else { value }
    }

    fn looked_before(&self, value: u64) -> u64 {
        use shuttle::rand::Rng;
        let look = (me(), Arc::as_ptr(&self.0).addr());
        let before = NUMBERS.with_borrow_mut(|numbers| numbers.insert(look, value));
        let is_stale = shuttle::rand::thread_rng().gen_ratio(1, 4);
        before.filter(|_| is_stale).unwrap_or(value)
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        point();
        if PLANT.get() == Plant::LateNumber {
            let number = Arc::clone(&self.0);
            LATE.set(Some(Late { number, value, by: me(), points_to_go: 3 }));
            return;
        }
        self.0.store(value, order);
    }

    pub(crate) fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
        point();
        self.0.fetch_max(value, order)
    }
}

/// A word of a page, in memory as the shipped one.
#[derive(Debug, FromZeros)]
#[repr(transparent)]
pub(crate) struct PageWord(atomic::AtomicU64);

/// A page in memory.
pub(crate) type Page = [PageWord; PAGE_WORDS];

impl PageWord {
    /// A word of a page that is put together, not mapped.
    pub(crate) fn new(value: u64) -> Self {
        Self(atomic::AtomicU64::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        point_of_word(order);
        let value = self.0.load(order);
        if PLANT.get() == Plant::NoSecondLook { self.looked_before(value, order) } else { value }
    }

    /// What a reader that has looked at this word before takes it for.
    fn looked_before(&self, value: u64, order: Ordering) -> u64 {
        let look = (me(), std::ptr::from_ref(self).addr());
        if WRITERS.with_borrow(|writers| writers.contains(&look.0)) {
            return value;
        }
        LOOKED.with_borrow_mut(|looked| {
            if order == Ordering::Relaxed {
                return looked.get(&look).copied().unwrap_or(value);
            }
            looked.insert(look, value);
            value
        })
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        point_of_word(order);
        if PLANT.get() == Plant::NoSecondLook {
            WRITERS.with_borrow_mut(|writers| writers.insert(me()));
        }
        self.0.store(value, order);
    }
}

impl Word for PageWord {
    fn load(&self, order: Ordering) -> u64 {
        Self::load(self, order)
    }

    fn store(&self, value: u64, order: Ordering) {
        Self::store(self, value, order);
    }

    fn fence(order: Ordering) {
        atomic::fence(order);
        point();
    }

    fn relax() {
        shuttle::thread::yield_now();
    }
}

/// As the standard library's, for a plant.
#[derive(Debug, Default)]
pub(crate) struct Condvar(shuttle::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait(guard)
    }

    pub(crate) fn notify_one(&self) {
        use shuttle::rand::Rng;
        if PLANT.get() == Plant::LostWake && shuttle::rand::thread_rng().gen_ratio(1, 4) {
            return;
        }
        self.0.notify_one();
    }
}

/// As the standard library's, whose own would block the one thread that all coroutines run on.
#[derive(Debug)]
pub(crate) struct OnceLock<T>(StdOnceLock<T>);

impl<T> OnceLock<T> {
    pub(crate) const fn new() -> Self {
        Self(StdOnceLock::new())
    }

    pub(crate) fn get(&self) -> Option<&T> {
        point();
        self.0.get().filter(|_| PLANT.get() != Plant::NothingKept)
    }

    pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        point();
        if let Some(value) = self.0.get() {
            return value;
        }
        let value = init();
        point();
        self.0.get_or_init(|| value)
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Pins, as far as the store relies on them: a mark has passed when all who were pinned then are done. Here it passes as
/// early as that promise allows.
pub(crate) mod pins {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    use super::{PLANT, Plant, point};

    /// The pins of a store.
    #[derive(Debug, Default)]
    pub(crate) struct Pins(Mutex<Pinned>);

    #[derive(Debug, Default)]
    struct Pinned {
        last: u64,
        pinned: BTreeSet<u64>,
    }

    /// The last pin before a moment.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Mark(u64);

    impl Pins {
        pub(crate) fn new() -> Arc<Self> {
            Arc::default()
        }

        /// No thread is interrupted while it has this.
        fn pinned(&self) -> MutexGuard<'_, Pinned> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn pin(&self) -> Pin<'_> {
            point();
            let mut pinned = self.pinned();
            pinned.last += 1;
            let number = pinned.last;
            pinned.pinned.insert(number);
            Pin { pins: self, number }
        }

        pub(crate) fn mark(&self) -> Mark {
            Mark(self.pinned().last)
        }

        pub(crate) fn has_passed(&self, Mark(last): Mark) -> bool {
            point();
            let oldest = self.pinned().pinned.first().copied();
            PLANT.get() == Plant::NoWait || oldest.is_none_or(|oldest| oldest > last)
        }
    }

    /// Keeps what a reader may see.
    #[derive(Debug)]
    pub(crate) struct Pin<'a> {
        pins: &'a Pins,
        number: u64,
    }

    impl Drop for Pin<'_> {
        fn drop(&mut self) {
            point();
            self.pins.pinned().pinned.remove(&self.number);
        }
    }
}
