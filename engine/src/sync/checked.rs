//! The names of `sync` as a model checker has them, with planted bugs.
//!
//! The models run the shipping code; only what it stands on is another thing. That makes this the place to plant bugs,
//! too: a [`Plant`] weakens or reorders what the code asks for, so each rule can be broken by itself without a
//! line of test code in what ships. A model that does not fail with its plant would not guard the rule either.
//!
//! - A thread that was started as the [writer](spawn_writer) loads from a shadow of an atomic, not from the checker's.
//!   A single writer always loads what it stored last, so nothing is lost; and it is needed, since loom remembers
//!   only the last access to an atomic when it looks for a race, and the writer's own load would hide the reader's.
//! - Of a page only the words that a model [names](explore) are the checker's. The others are what they were stored
//!   last: they cost nothing, and a reader sees no stale one of them.
//! - The pins are a count of pinned readers: see [`pins`].
//!
//! loom runs all threads of a model as coroutines on the one thread of its test, so a `thread_local` of
//! the standard library is shared by a model's threads and by nothing else.

#![allow(dead_code, reason = "each model uses its own part")]
#![allow(clippy::print_stdout, reason = "the count of executions belongs to a model's output")]

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult};

pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use loom::thread;

use cidstore_core::layout::PAGE_WORDS;
use cidstore_core::protocol::tag_copy::TagCopy;
use cidstore_core::protocol::word::Word;
use loom::sync::atomic;
pub(crate) use loom::sync::atomic::{AtomicBool as SharedBool, AtomicU64 as SharedU64, fence};
use loom::thread::{JoinHandle, ThreadId};

/// What a plant is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Slots of tables, live and frozen.
    Slot,
    /// Flags: `AtomicBool`, `AtomicU8`.
    Flag,
    /// Things that are set once.
    Once,
    /// Numbers that only grow: `AtomicU64`.
    Number,
    /// This word of a page.
    Word(usize),
}

/// A planted bug.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plant {
    /// None: the code as it ships.
    Sound,
    /// Release stores to things of this kind are Relaxed.
    RelaxStores(Kind),
    /// Acquire loads of things of this kind are Relaxed.
    RelaxLoads(Kind),
    /// The first store to a thing of this kind happens only after so many later stores of the same thread.
    Delay(Kind, usize),
    /// The writer's stores to things of this kind do not happen.
    Drop(Kind),
    /// A bug in a part that the model itself plays, as the model describes it.
    InModel(&'static str),
}

/// Stack of a model's thread.
const STACK_BYTES: usize = 1 << 18;

/// Which words of which pages are the checker's.
pub(crate) type Words = fn(page: u32, word: usize) -> bool;

thread_local! {
    static PLANT: Cell<Plant> = const { Cell::new(Plant::Sound) };
    static WORDS: Cell<Words> = const { Cell::new(|_, _| false) };
    static ARMED: Cell<bool> = const { Cell::new(false) };
    static WRITER: Cell<Option<ThreadId>> = const { Cell::new(None) };
    /// The named words of the pages that were made before the model was armed.
    static NAMED: RefCell<Vec<Arc<NamedWord>>> = const { RefCell::new(Vec::new()) };
    static DELAY_DONE: Cell<bool> = const { Cell::new(false) };
    static DELAYED: RefCell<Option<Delayed>> = const { RefCell::new(None) };
}

struct Delayed {
    store: Box<dyn FnOnce()>,
    by: ThreadId,
    stores_to_go: usize,
}

/// No bound in the slow tier, where `LOOM_COMPLETE` is set; else at most so many preemptions.
pub(crate) fn complete_or(preemptions: usize) -> Option<usize> {
    std::env::var_os("LOOM_COMPLETE").is_none().then_some(preemptions)
}

/// True in the slow tier: for what the full one has no time for.
pub(crate) fn is_complete() -> bool {
    complete_or(0).is_none()
}

/// Runs a model in every interleaving. `preemptions` bounds how often a
/// running thread is interrupted; `None` explores everything. `words` names the words of pages that matter.
pub(crate) fn explore(
    plant: Plant,
    preemptions: Option<usize>,
    words: Words,
    model: impl Fn() + Sync + Send + 'static,
) {
    let model = Arc::new(model);
    let began = std::time::Instant::now();
    let executions = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = Arc::clone(&executions);
    run(preemptions, move || {
        PLANT.set(plant);
        WORDS.set(words);
        ARMED.set(false);
        WRITER.set(None);
        DELAY_DONE.set(false);
        DELAYED.set(None);
        NAMED.set(Vec::new());
        counted.fetch_add(1, Ordering::Relaxed);
        let model = Arc::clone(&model);
        // A checker's first thread has a small stack.
        let ended = start(move || model()).join();
        assert!(ended.is_ok(), "a panic ends the execution");
    });
    let (executions, took) = (executions.load(Ordering::Relaxed), began.elapsed());
    println!("{plant:?}: {executions} executions, {:.1} s", took.as_secs_f64());
}

fn run(preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 100_000;
    builder.check(model);
}

/// From here on the plant is at work, and named words are the checker's. Called when a model is set up.
pub(crate) fn arm() {
    for word in NAMED.take() {
        word.atomic();
    }
    ARMED.set(true);
}

/// Starts a thread with a stack for pages.
fn start<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let started = thread::Builder::new().stack_size(STACK_BYTES).spawn(run);
    started.unwrap_or_else(|error| unreachable!("a model's thread: {error}"))
}

/// Starts a thread.
pub(crate) fn spawn<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    start(move || {
        let answer = run();
        finish_delayed();
        answer
    })
}

/// Starts the model's writer.
pub(crate) fn spawn_writer(run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    start(move || {
        WRITER.set(Some(thread::current().id()));
        run();
        finish_delayed();
    })
}

fn finish_delayed() {
    let here = thread::current().id();
    let is_mine = DELAYED.with_borrow(|delayed| matches!(delayed, Some(d) if d.by == here));
    if is_mine && let Some(delayed) = DELAYED.take() {
        (delayed.store)();
    }
}

fn is_writer() -> bool {
    !ARMED.get() || WRITER.get() == Some(thread::current().id())
}

/// The plant, if it is at work.
pub(crate) fn plant() -> Plant {
    if ARMED.get() { PLANT.get() } else { Plant::Sound }
}

/// Whether this bug of a model's own part is planted.
pub(crate) fn has(bug: &str) -> bool {
    matches!(plant(), Plant::InModel(planted) if planted == bug)
}

fn load_order(kind: Kind, order: Ordering) -> Ordering {
    match plant() {
        Plant::RelaxLoads(planted) if planted == kind => Ordering::Relaxed,
        _ => order,
    }
}

fn store_order(kind: Kind, order: Ordering) -> Ordering {
    match plant() {
        Plant::RelaxStores(planted) if planted == kind => Ordering::Relaxed,
        _ => order,
    }
}

/// Stores now, or later if the plant says so.
fn publish(kind: Kind, store: impl FnOnce() + 'static) {
    if matches!(plant(), Plant::Drop(dropped) if dropped == kind) && is_writer() {
        return;
    }
    if let Plant::Delay(planted, by) = plant()
        && planted == kind
        && !DELAY_DONE.replace(true)
    {
        let (store, here) = (Box::new(store), thread::current().id());
        DELAYED.set(Some(Delayed { store, by: here, stores_to_go: by }));
        return;
    }
    store();
    // Stores may run other threads, so no borrow is held meanwhile.
    if let Some(mut delayed) = DELAYED.take() {
        if delayed.by == thread::current().id() {
            delayed.stores_to_go -= 1;
        }
        if delayed.stores_to_go == 0 {
            (delayed.store)();
        } else {
            DELAYED.set(Some(delayed));
        }
    }
}

macro_rules! shadowed {
    ($name:ident, $plain:ty, $kind:expr) => {
        /// An atomic, with the value that the writer stored last.
        #[derive(Debug)]
        pub(crate) struct $name {
            atomic: Arc<atomic::$name>,
            shadow: std::sync::atomic::$name,
        }

        impl $name {
            pub(crate) fn new(value: $plain) -> Self {
                Self {
                    atomic: Arc::new(atomic::$name::new(value)),
                    shadow: std::sync::atomic::$name::new(value),
                }
            }

            pub(crate) fn load(&self, order: Ordering) -> $plain {
                if is_writer() {
                    return self.shadow.load(Ordering::Relaxed);
                }
                self.atomic.load(load_order($kind, order))
            }

            pub(crate) fn store(&self, value: $plain, order: Ordering) {
                self.shadow.store(value, Ordering::Relaxed);
                let (atomic, order) = (Arc::clone(&self.atomic), store_order($kind, order));
                publish($kind, move || atomic.store(value, order));
            }

            pub(crate) fn swap(&self, value: $plain, order: Ordering) -> $plain {
                self.shadow.store(value, Ordering::Relaxed);
                self.atomic.swap(value, store_order($kind, order))
            }
        }
    };
}

shadowed!(AtomicBool, bool, Kind::Flag);
shadowed!(AtomicU8, u8, Kind::Flag);
shadowed!(AtomicU32, u32, Kind::Slot);
shadowed!(AtomicU64, u64, Kind::Number);

impl Default for AtomicU64 {
    fn default() -> Self {
        Self::new(0)
    }
}

impl AtomicU64 {
    pub(crate) fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
        self.shadow.fetch_max(value, Ordering::Relaxed);
        self.atomic.fetch_max(value, store_order(Kind::Number, order))
    }
}

/// As `std::sync::Mutex`, for a lock that some only try: loom takes a thread that tries its own for one that waits,
/// and never lets it fail.
#[derive(Debug, Default)]
pub(crate) struct TryMutex<T> {
    taken: Mutex<bool>,
    given_back: Condvar,
    value: std::sync::Mutex<T>,
}

/// A [`TryMutex`], held.
pub(crate) struct TryMutexGuard<'a, T> {
    mutex: &'a TryMutex<T>,
    /// `None` only while it is dropped.
    value: Option<std::sync::MutexGuard<'a, T>>,
}

impl<T> TryMutex<T> {
    pub(crate) fn new(value: T) -> Self {
        let (taken, given_back) = (Mutex::new(false), Condvar::new());
        Self { taken, given_back, value: std::sync::Mutex::new(value) }
    }

    fn guard(&self) -> TryMutexGuard<'_, T> {
        TryMutexGuard { mutex: self, value: self.value.try_lock().ok() }
    }

    pub(crate) fn lock(&self) -> LockResult<TryMutexGuard<'_, T>> {
        let mut taken = super::lock(&self.taken);
        while *taken {
            taken = self.given_back.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken = true;
        Ok(self.guard())
    }

    pub(crate) fn try_lock(&self) -> TryLockResult<TryMutexGuard<'_, T>> {
        let mut taken = super::lock(&self.taken);
        if std::mem::replace(&mut *taken, true) {
            return Err(TryLockError::WouldBlock);
        }
        Ok(self.guard())
    }
}

impl<T> Deref for TryMutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.value {
            Some(value) => value,
            None => unreachable!("the lock is held until the drop"),
        }
    }
}

impl<T> DerefMut for TryMutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.value {
            Some(value) => value,
            None => unreachable!("the lock is held until the drop"),
        }
    }
}

impl<T> Drop for TryMutexGuard<'_, T> {
    fn drop(&mut self) {
        self.value = None;
        // A model that has failed is not scheduled any more.
        if !std::thread::panicking() {
            *super::lock(&self.mutex.taken) = false;
            self.mutex.given_back.notify_one();
        }
    }
}

/// As `std::sync::OnceLock`: whoever sees that it is set sees what was done before.
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    ready: Arc<atomic::AtomicBool>,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        let ready = Arc::new(atomic::AtomicBool::new(false));
        Self { ready, value: std::sync::OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        let ready = is_writer() || self.ready.load(load_order(Kind::Once, Ordering::Acquire));
        self.value.get().filter(|_| ready)
    }

    pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        let value = init();
        let value = self.value.get_or_init(|| value);
        let (ready, order) = (Arc::clone(&self.ready), store_order(Kind::Once, Ordering::Release));
        publish(Kind::Once, move || ready.store(true, order));
        value
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A word of a page.
#[derive(Debug)]
pub(crate) struct PageWord {
    /// `None` for words that the model does not name.
    named: Option<Arc<NamedWord>>,
    shadow: std::sync::atomic::AtomicU64,
    index: usize,
}

impl PageWord {
    /// A word that no model names, for code that is built with the models and not run by them.
    pub(crate) fn new(value: u64) -> Self {
        Self { named: None, shadow: std::sync::atomic::AtomicU64::new(value), index: 0 }
    }
}

/// A word that is the checker's from [`arm`] on: what sets a model up costs nothing.
#[derive(Debug, Default)]
struct NamedWord {
    start: std::sync::atomic::AtomicU64,
    atomic: std::sync::OnceLock<Arc<atomic::AtomicU64>>,
}

impl NamedWord {
    fn atomic(&self) -> &Arc<atomic::AtomicU64> {
        let start = self.start.load(Ordering::Relaxed);
        self.atomic.get_or_init(|| Arc::new(atomic::AtomicU64::new(start)))
    }
}

/// A page in memory.
pub(crate) type Page = [PageWord; PAGE_WORDS];

/// A page of zeros.
pub(crate) fn page(number: u32) -> Box<Page> {
    Box::new(std::array::from_fn(|index| word(number, index)))
}

/// A word of a page.
fn word(page: u32, index: usize) -> PageWord {
    let named = WORDS.get()(page, index).then(|| Arc::new(NamedWord::default()));
    NAMED.with_borrow_mut(|words| words.extend(named.as_ref().map(Arc::clone)));
    PageWord { named, shadow: std::sync::atomic::AtomicU64::new(0), index }
}

/// Numbers from which on [`Words`] is asked for words of the copies of tags.
pub(crate) const COPIES: u32 = 1 << 31;

/// What a model has arrays of.
pub(crate) trait Element {
    /// Elements of an array.
    const COUNT: usize;
    /// One that was never stored to.
    fn zero(index: usize) -> Self;
}

impl Element for AtomicU32 {
    const COUNT: usize = 32;

    fn zero(_: usize) -> Self {
        Self::new(0)
    }
}

impl Element for TagCopy<PageWord> {
    const COUNT: usize = 64;

    fn zero(index: usize) -> Self {
        Self::new(std::array::from_fn(|at| word(COPIES + index as u32, at)))
    }
}

/// An array: see `space/reserved.rs`. In a model a few elements do.
#[derive(Debug)]
pub(crate) struct Reserved<T, const LENGTH: usize> {
    elements: Vec<T>,
}

impl<T: Element, const LENGTH: usize> Reserved<T, LENGTH> {
    pub(crate) fn reserve() -> std::io::Result<Self> {
        Ok(Self { elements: (0..T::COUNT).map(T::zero).collect() })
    }

    pub(crate) fn at(&self, index: usize) -> &T {
        &self.elements[index]
    }

    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.elements.get(index)
    }

    pub(crate) fn use_huge_page(&self) {}

    pub(crate) fn prefer_huge_page(&self) {}
}

impl PageWord {
    pub(crate) fn load(&self, order: Ordering) -> u64 {
        match &self.named {
            Some(word) if !is_writer() => {
                word.atomic().load(load_order(Kind::Word(self.index), order))
            }
            _ => self.shadow.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        self.shadow.store(value, Ordering::Relaxed);
        let Some(word) = &self.named else { return };
        if !ARMED.get() {
            word.start.store(value, Ordering::Relaxed);
            return;
        }
        let kind = Kind::Word(self.index);
        let (atomic, order) = (Arc::clone(word.atomic()), store_order(kind, order));
        publish(kind, move || atomic.store(value, order));
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
    }

    fn relax() {
        thread::yield_now();
    }
}

/// Pins, as far as limbo relies on them: a mark has passed when no reader is left that was pinned then, and what readers
/// did under their pins happens before. Here a count of pinned readers stands for the epochs, so things pass as early as
/// they may at all. The writer's own pins keep nothing and are not counted. The shipped ones have models of their own.
pub(crate) mod pins {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use super::{atomic, has, is_writer};

    /// What a model may plant: see [`Plant::InModel`](super::Plant::InModel).
    pub(crate) const COUNT_RELAXED: &str = "the count of pinned readers orders nothing";
    /// As above.
    pub(crate) const NO_WAIT: &str = "a mark passes at once";

    /// The counts are in one order: a reader that counts itself after the writer has looked sees the swung slots; a
    /// writer that looks after a reader is done sees it done with the pages.
    fn order() -> Ordering {
        if has(COUNT_RELAXED) { Ordering::Relaxed } else { Ordering::AcqRel }
    }

    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Mark;

    #[derive(Debug)]
    pub(crate) struct Pins {
        pinned: atomic::AtomicUsize,
    }

    impl Pins {
        pub(crate) fn new() -> Arc<Self> {
            Arc::new(Self { pinned: atomic::AtomicUsize::new(0) })
        }

        pub(crate) fn pin(&self) -> Pin<'_> {
            let pinned = (!is_writer()).then_some(&self.pinned);
            if let Some(pinned) = pinned {
                pinned.fetch_add(1, order());
            }
            Pin { pinned }
        }

        pub(crate) fn mark(&self) -> Mark {
            Mark
        }

        pub(crate) fn has_passed(&self, _: Mark) -> bool {
            self.pinned.fetch_add(0, order()) == 0 || has(NO_WAIT)
        }
    }

    /// Keeps what a reader may see.
    #[derive(Debug)]
    pub(crate) struct Pin<'a> {
        pinned: Option<&'a atomic::AtomicUsize>,
    }

    impl Drop for Pin<'_> {
        fn drop(&mut self) {
            if let Some(pinned) = self.pinned {
                pinned.fetch_sub(1, order());
            }
        }
    }
}
