//! What the loom models share: words that loom explores, small pages of them, and planted bugs.
//!
//! The models run the shipping algorithms; only the word is another one. That makes it the place to
//! plant bugs, too: a [`Plant`] weakens or reorders what the algorithms ask for, so each rule of the
//! protocol can be broken by itself without a line of test code in the shipping crate. A model that
//! does not fail with its plant would not guard the rule either.
//!
//! The writer's own loads go to a shadow of the word, not to loom. A single writer always loads what it
//! stored last, so nothing is lost; and it is needed, since loom remembers only the last access to a word
//! when it looks for a race, and the writer's own load before a store would hide the reader's.
//! For the same reason each model has one reader.
//!
//! All models together take some two minutes of one core (release build); each model's comment has its bound and
//! cost. Those that say so are explored completely in the slow tier only ([`complete_or`]). Only words that a reader
//! may look at are loom's; a reader that looks at one of the writer's own fails its model.
//!
//! loom runs all threads of a model as coroutines on the one thread of its test, so a `thread_local` of
//! the standard library is shared by a model's threads and by nothing else.

#![allow(dead_code, reason = "each model uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a helper of a test fails the test; the count of executions belongs to the output"
)]

use std::cell::{Cell as StdCell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use cidstore_core::E;
use cidstore_core::hash::KeyHash;
use cidstore_core::layout::bucket::{
    ENTRIES_WORD, OVERFLOW_WORD, SEQUENCE_WORD, TAGS_WORD, entries_in,
};
use cidstore_core::layout::entry::{CHECKSUM_WORD, ENTRY_WORDS, META_WORD};
use cidstore_core::protocol::bucket_build::{self, Header, Item};
use cidstore_core::protocol::content::{Content, InlineValues};
use cidstore_core::protocol::word::Word;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::thread::{self, JoinHandle, ThreadId};

/// No bound in the slow tier, where `LOOM_COMPLETE` is set; else at most so many preemptions.
pub(crate) fn complete_or(preemptions: usize) -> Option<usize> {
    std::env::var_os("LOOM_COMPLETE").is_none().then_some(preemptions)
}

/// A bound on preemptions, and a higher one in the slow tier, where a complete search does not end.
pub(crate) fn at_most(preemptions: usize, slow: usize) -> Option<usize> {
    Some(if complete_or(0).is_none() { slow } else { preemptions })
}

/// A planted bug. `word` is an index within a page.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plant {
    /// None: the protocol as it ships.
    Sound,
    /// Release stores to this word are Relaxed.
    RelaxStores { word: usize },
    /// Acquire loads of this word are Relaxed.
    RelaxLoads { word: usize },
    /// There are no fences of this order.
    NoFence(Ordering),
    /// There is no Acquire fence between any load and a load of this word that follows it.
    NoFenceBefore { word: usize },
    /// The first store to this word happens only after so many later stores of the writer.
    Delay { word: usize, by: usize },
    /// The second load of a meta word gives what the first gave: nothing is validated.
    NoValidation,
    /// A bug in a part that the model itself plays, as the model describes it.
    InModel(&'static str),
}

thread_local! {
    static PLANT: StdCell<Plant> = const { StdCell::new(Plant::Sound) };
    static ARMED: StdCell<bool> = const { StdCell::new(false) };
    static WRITER: StdCell<Option<ThreadId>> = const { StdCell::new(None) };
    static FENCE_PENDING: StdCell<bool> = const { StdCell::new(false) };
    static DELAY_DONE: StdCell<bool> = const { StdCell::new(false) };
    static DELAYED: RefCell<Option<Delayed>> = const { RefCell::new(None) };
    static FIRST_LOADS: RefCell<HashMap<(usize, usize), u64>> = RefCell::new(HashMap::new());
}

struct Delayed {
    word: Word64,
    value: u64,
    order: Ordering,
    stores_to_go: usize,
}

type Word64 = Arc<AtomicU64>;

/// Explores a model with a plant. `preemptions` bounds how often a running thread is interrupted;
/// `None` explores everything.
pub(crate) fn explore(
    plant: Plant,
    preemptions: Option<usize>,
    model: impl Fn() + Sync + Send + 'static,
) {
    PLANT.set(plant);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 10_000;
    let iterations = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = Arc::clone(&iterations);
    builder.check(move || {
        ARMED.set(false);
        WRITER.set(None);
        DELAY_DONE.set(false);
        FENCE_PENDING.set(false);
        FIRST_LOADS.with_borrow_mut(HashMap::clear);
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        model();
    });
    println!("{plant:?}: {} executions", iterations.load(std::sync::atomic::Ordering::Relaxed));
}

/// From here on the plant is at work. Called when a model's pages are set up.
pub(crate) fn arm() {
    ARMED.set(true);
}

/// Starts the model's writer.
pub(crate) fn spawn_writer(writer: impl FnOnce() + 'static) -> JoinHandle<()> {
    thread::spawn(move || {
        WRITER.set(Some(thread::current().id()));
        writer();
        if let Some(delayed) = DELAYED.take() {
            delayed.word.store(delayed.value, delayed.order);
        }
    })
}

fn is_writer() -> bool {
    WRITER.get() == Some(thread::current().id())
}

/// The plant, if it is at work.
pub(crate) fn plant() -> Plant {
    if ARMED.get() { PLANT.get() } else { Plant::Sound }
}

/// A word of a model's page.
#[derive(Debug)]
pub(crate) struct Cell {
    /// `None` for the words that only the writer looks at.
    atomic: Option<Word64>,
    /// What the writer stored last.
    shadow: std::sync::atomic::AtomicU64,
    page: usize,
    index: usize,
}

impl Cell {
    fn new(page: usize, index: usize) -> Self {
        let shared = !is_writers_own(index);
        let atomic = shared.then(|| Arc::new(AtomicU64::new(0)));
        Self { atomic, shadow: std::sync::atomic::AtomicU64::new(0), page, index }
    }

    fn is_meta(&self) -> bool {
        self.index >= ENTRIES_WORD && self.index % ENTRY_WORDS == META_WORD
    }
}

impl Word for Cell {
    fn load(&self, order: Ordering) -> u64 {
        if is_writer() {
            return self.shadow.load(Ordering::Relaxed);
        }
        let atomic =
            self.atomic.as_ref().expect("a reader looks at a word that is the writer's own");
        if FENCE_PENDING.take()
            && !matches!(plant(), Plant::NoFenceBefore { word } if word == self.index)
        {
            fence(Ordering::Acquire);
        }
        match plant() {
            Plant::RelaxLoads { word } if word == self.index => atomic.load(Ordering::Relaxed),
            Plant::NoValidation if self.is_meta() => {
                // The load may run other threads, so no borrow is held meanwhile.
                let value = atomic.load(order);
                let place = (self.page, self.index);
                FIRST_LOADS.with_borrow_mut(|first| {
                    if order == Ordering::Acquire {
                        first.insert(place, value);
                    }
                    first.get(&place).copied().unwrap_or(value)
                })
            }
            _ => atomic.load(order),
        }
    }

    fn store(&self, value: u64, order: Ordering) {
        self.shadow.store(value, Ordering::Relaxed);
        let Some(atomic) = &self.atomic else { return };
        match plant() {
            Plant::RelaxStores { word } if word == self.index => {
                atomic.store(value, Ordering::Relaxed);
            }
            Plant::Delay { word, by } if word == self.index && !DELAY_DONE.replace(true) => {
                let word = Arc::clone(atomic);
                DELAYED.set(Some(Delayed { word, value, order, stores_to_go: by }));
            }
            _ => {
                atomic.store(value, order);
                if let Some(mut delayed) = DELAYED.take() {
                    delayed.stores_to_go -= 1;
                    if delayed.stores_to_go == 0 {
                        delayed.word.store(delayed.value, delayed.order);
                    } else {
                        DELAYED.set(Some(delayed));
                    }
                }
            }
        }
    }

    fn fence(order: Ordering) {
        match plant() {
            Plant::NoFence(planted) if planted == order => {}
            // The reader's next load decides; the writer has no Acquire fences.
            Plant::NoFenceBefore { .. } if order == Ordering::Acquire => FENCE_PENDING.set(true),
            _ => fence(order),
        }
    }

    fn relax() {
        loom::thread::yield_now();
    }
}

/// A page of zeros. `number` tells it from the model's other pages.
pub(crate) fn empty_page<const WORDS: usize>(number: usize) -> Arc<[Cell; WORDS]> {
    Arc::new(core::array::from_fn(|index| Cell::new(number, index)))
}

/// Words that no reader may look at. They cost a model nothing, and a reader that does look fails.
fn is_writers_own(index: usize) -> bool {
    match index {
        SEQUENCE_WORD | OVERFLOW_WORD => false,
        _ if index < TAGS_WORD => true,
        _ => index >= ENTRIES_WORD && index % ENTRY_WORDS == CHECKSUM_WORD,
    }
}

/// A page that a checkpoint or a split has just built.
pub(crate) fn built_page<const WORDS: usize>(number: usize, items: &[Item]) -> Arc<[Cell; WORDS]> {
    let page = empty_page(number);
    let header = Header { local_depth: 0, prefix: 0, generation: 1, overflow: 0 };
    bucket_build::build(&*page, &header, &mut items.to_vec()).unwrap();
    page
}

/// A hash with this home in a page of `WORDS` words, this tag and these directory bits.
pub(crate) fn hash<const WORDS: usize>(home: u64, tag: u64, directory: u64) -> KeyHash {
    let hash =
        KeyHash((home << 24).div_ceil(entries_in(WORDS) as u64) << 40 | tag << 32 | directory);
    assert_eq!(hash.home(entries_in(WORDS)) as u64, home);
    hash
}

/// A key with inline values.
pub(crate) fn item(key: E, hash: KeyHash, values: &[u64]) -> Item {
    Item { hash, key, content: Content::Inline(inline(values)) }
}

/// Inline values.
pub(crate) fn inline(values: &[u64]) -> InlineValues {
    let values: Vec<E> = values.iter().map(|&value| wide(value)).collect();
    InlineValues::new(&values).unwrap()
}

/// A value whose halves both tell which it is, so that a torn one is none of the model's.
pub(crate) fn wide(value: u64) -> E {
    E::new(value, value)
}

/// The instants of a history at which the key had these values: indices into `history`.
///
/// # Panics
///
/// If the key never had them.
pub(crate) fn instants(history: &[&[u64]], seen: &InlineValues) -> Vec<usize> {
    let mut seen: Vec<E> = seen.as_slice().to_vec();
    seen.sort();
    let found: Vec<usize> = history
        .iter()
        .enumerate()
        .filter(|(_, values)| values.iter().map(|&value| wide(value)).eq(seen.iter().copied()))
        .map(|(instant, _)| instant)
        .collect();
    assert!(!found.is_empty(), "values that the key never had: {seen:?}");
    found
}

/// Checks that what one thread saw, read after read, is in the order of the history.
pub(crate) fn in_order(reads: &[Vec<usize>]) {
    let mut earliest = 0;
    for instants in reads {
        let next = instants.iter().copied().filter(|&instant| instant >= earliest).min();
        earliest = next.expect("time ran backwards");
    }
}
