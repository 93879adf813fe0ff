//! The figures of the asynchronous face, beside the synchronous engine on the same machine in the same minute.
//!
//! `cargo run --release -p cidstore-async --example figures [FOLDER [durable|gets|pending|feed]]`: stores are made in FOLDER (which should be on a
//! disk that syncs), or where the system keeps temporary files. Takes a minute.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints figures")]

use std::future::poll_fn;
use std::hint::black_box;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cidstore_async::CidStore;
use cidstore_core::E;
use cidstore_engine::{Durability, OpenOptions, Store, Values};
use futures_core::Stream;

const TASKS: u64 = 10_000;
const PENDING: u64 = 1_000_000;
const FEED_WRITES: u64 = 4_000_000;

fn options(durability: Durability) -> OpenOptions {
    Store::options().durability(durability)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap()
}

/// Durable writes a second from eight threads of the engine.
fn engine_threads(folder: &Path) -> f64 {
    let store = options(Durability::Immediate).open(folder.join("threads.h5")).unwrap();
    let (count, end) = (AtomicU64::new(0), Instant::now() + Duration::from_secs(5));
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (store, count) = (&store, &count);
            scope.spawn(move || {
                let mut n = thread << 32;
                while Instant::now() < end {
                    store.insert(n, n).unwrap();
                    n += 1;
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    count.into_inner() as f64 / 5.0
}

/// Durable writes a second from 10,000 tasks, and the latencies in microseconds: median, 99th percentile, longest.
fn durable_tasks(folder: &Path) -> (f64, [u64; 3]) {
    runtime().block_on(async {
        let store = CidStore::options().store(options(Durability::Immediate));
        let store = store.open(folder.join("tasks.h5")).await.unwrap();
        let begin = Instant::now();
        let end = begin + Duration::from_secs(5);
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let store = store.clone();
                tokio::spawn(async move {
                    let (mut n, mut latencies) = (task << 32, Vec::new());
                    while Instant::now() < end {
                        let begin = Instant::now();
                        store.insert(n, n).await.unwrap();
                        latencies.push(begin.elapsed().as_micros() as u64);
                        n += 1;
                    }
                    latencies
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await.unwrap());
        }
        let rate = latencies.len() as f64 / begin.elapsed().as_secs_f64();
        latencies.sort_unstable();
        let at = |part: usize| latencies[(latencies.len() - 1) * part / 100];
        store.close().await.unwrap();
        (rate, [at(50), at(99), at(100)])
    })
}

/// Nanoseconds of a hit, by the engine and through `CidStore`: of the pieces of a run, taken in turn, the fastest tenth's
/// slowest and the median. `chained`: each key depends on the answer before, so that no two reads overlap in the processor.
fn gets(folder: &Path, chained: bool) -> [[f64; 2]; 2] {
    const KEYS: u64 = 1_000_000;
    // Pieces of less than a millisecond: on a machine with other work most are not interrupted.
    const PIECES: u64 = 2000;
    const READS: u64 = 2000;
    let store = Store::open(folder.join(format!("gets-{chained}.h5"))).unwrap();
    store.bulk_load((0..KEYS).map(|n| (E::from(n), E::from(n)))).unwrap();
    let tasks = CidStore::from_store(store.clone()).unwrap();
    let key = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) % KEYS;
    // What the answer adds to the next number: the key itself, so that it cannot be known before.
    let link = |values: &Values| if chained { values.as_slice()[0].low } else { 0 };
    let (mut engine, mut face) = (Vec::new(), Vec::new());
    for piece in 0..PIECES {
        let keys = piece * 2 * READS..(piece * 2 + 1) * READS;
        let begin = Instant::now();
        let mut before = 0;
        for n in keys.clone() {
            before = link(&black_box(store.get(key(n + before)).unwrap()));
        }
        engine.push(begin.elapsed().as_nanos() as f64 / READS as f64);
        let begin = Instant::now();
        futures_lite::future::block_on(async {
            let mut before = 0;
            for n in keys {
                before = link(&black_box(tasks.get(key(n + READS + before)).await.unwrap()));
            }
        });
        face.push(begin.elapsed().as_nanos() as f64 / READS as f64);
    }
    [engine, face].map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        [times[times.len() / 10], times[times.len() / 2]]
    })
}

/// Memory of this process, in bytes, that is in use now.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|field| field.parse::<u64>().ok());
    pages.unwrap_or_default() * 4096
}

/// Bytes a pending write takes: beyond the queue's bound (its future alone), and within it (queued as well).
fn pending(folder: &Path) -> (f64, f64) {
    let mut bytes = [0.0; 2];
    for (at, bound) in [1 << 14, PENDING as u32].into_iter().enumerate() {
        futures_lite::future::block_on(async {
            let options = CidStore::options().queue_changes(bound);
            let opened = options.open_with_consumer(folder.join(format!("pending{at}.h5"))).await;
            let (store, consumer) = opened.unwrap();
            let before = resident_bytes();
            let mut calls: Vec<_> = (0..PENDING).map(|n| Box::pin(store.insert(n, n))).collect();
            for call in &mut calls {
                assert!(futures_lite::future::poll_once(call.as_mut()).await.is_none());
            }
            bytes[at] = (resident_bytes() - before) as f64 / PENDING as f64;
            drop((consumer, calls));
        });
    }
    (bytes[0], bytes[1])
}

/// Buffered writes a second in batches of 100, and how far behind a feed was at its worst, in changes.
fn feed(folder: &Path, subscribed: bool) -> (f64, u64) {
    runtime().block_on(async {
        let store = CidStore::options().store(options(Durability::Buffered));
        let store = store.open(folder.join(format!("feed-{subscribed}.h5"))).await.unwrap();
        let mut feed = store.subscribe(store.lsn() + 1).await.unwrap();
        let written = Arc::new(AtomicU64::new(0));
        let reader = subscribed.then(|| {
            let written = Arc::clone(&written);
            tokio::spawn(async move {
                let (mut read, mut behind) = (0, 0);
                while read < FEED_WRITES {
                    let item = poll_fn(|cx| Pin::new(&mut feed).poll_next(cx)).await;
                    item.unwrap().unwrap();
                    read += 1;
                    behind = behind.max(written.load(Ordering::Relaxed).saturating_sub(read));
                }
                behind
            })
        });
        let begin = Instant::now();
        for first in (0..FEED_WRITES).step_by(100) {
            let pairs: Vec<_> = (first..first + 100).map(|n| (E::from(n), E::from(n))).collect();
            store.batch_insert(&pairs).await.unwrap();
            written.fetch_add(100, Ordering::Relaxed);
        }
        let behind = match reader {
            Some(reader) => reader.await.unwrap(),
            None => 0,
        };
        (FEED_WRITES as f64 / begin.elapsed().as_secs_f64(), behind)
    })
}

fn print_gets(folder: &Path) {
    for (kind, chained) in [("one after another", false), ("each from the answer before", true)] {
        let [engine, face] = gets(folder, chained);
        for (at, part) in ["fastest tenth", "median"].into_iter().enumerate() {
            let (engine, face) = (engine[at], face[at]);
            let more = face - engine;
            println!(
                "get, {kind}, {part}: engine {engine:.0} ns, CidStore {face:.0} ns, {more:.0} more"
            );
        }
    }
}

fn print_durable(folder: &Path) {
    let threads = engine_threads(folder);
    println!("durable inserts, engine, 8 threads: {threads:.0} a second");
    let (tasks, [median, high, longest]) = durable_tasks(folder);
    println!("durable inserts, 10,000 tasks: {tasks:.0} a second, {:.2} x", tasks / threads);
    println!("  latency: median {median} us, 99th percentile {high} us, longest {longest} us");
}

fn print_pending(folder: &Path) {
    let (waiting, queued) = pending(folder);
    println!("a million pending writes: {waiting:.0} bytes each, {queued:.0} if all are queued");
}

fn print_feed(folder: &Path) {
    let (alone, _) = feed(folder, false);
    let (followed, behind) = feed(folder, true);
    println!(
        "buffered inserts in batches of 100: {alone:.0} a second, with a feed {followed:.0} until it had all"
    );
    println!("  the feed was {behind} changes behind at most");
}

fn main() {
    let part = std::env::args().nth(2);
    let folder = match std::env::args_os().nth(1) {
        Some(folder) => tempfile::tempdir_in(folder).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    type Part = (&'static str, fn(&Path));
    let parts: [Part; 4] = [
        ("durable", print_durable),
        ("gets", print_gets),
        ("pending", print_pending),
        ("feed", print_feed),
    ];
    for (name, print) in parts {
        if part.as_ref().is_none_or(|part| part == name) {
            print(folder.path());
        }
    }
}
