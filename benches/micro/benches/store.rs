//! Operations of a store: points, sets of values, the log's appends, and reads beside a writer.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use cidstore_core::E;
use cidstore_micro::{Loaded, key, value};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// Keys of a loaded store: well beyond the processor's caches, but for a run that only looks whether benches work.
fn key_count() -> u64 {
    if std::env::args().any(|argument| argument == "--bench") { 1_000_000 } else { 1_000 }
}

/// Keys in a batched read, pairs in a small batch.
const MANY: usize = 64;

/// Why a bench ends; criterion's functions give no errors on.
fn ready<T, F: std::error::Error>(result: Result<T, F>) -> T {
    match result {
        Ok(done) => done,
        Err(error) => {
            // A bench that failed has no figure.
            let _ = std::io::Write::write_fmt(&mut io::stderr(), format_args!("bench: {error}\n"));
            std::process::exit(1)
        }
    }
}

fn points(c: &mut Criterion) {
    let loaded = ready(Loaded::new(key_count(), 1));
    let store = &loaded.store;
    let mut group = c.benchmark_group("point");
    let mut keys = loaded.keys();
    let mut next = || keys.next().unwrap_or_default();
    group.bench_function("get", |b| {
        b.iter_batched(&mut next, |key| ready(store.get(key)), BatchSize::SmallInput);
    });
    let mut absent = (key_count()..).map(key);
    let mut other = || absent.next().unwrap_or_default();
    group.bench_function("miss", |b| {
        b.iter_batched(&mut other, |key| ready(store.get(key)), BatchSize::SmallInput);
    });
    group.throughput(Throughput::Elements(MANY as u64));
    let mut some = || -> Vec<E> { std::iter::repeat_with(&mut next).take(MANY).collect() };
    group.bench_function("get_many", |b| {
        let read = |keys: Vec<E>| {
            let mut found = 0;
            ready(store.get_many_with(&keys, |_, values| found += values.len()));
            assert_eq!(found, MANY);
        };
        b.iter_batched(&mut some, read, BatchSize::SmallInput);
    });
    group.finish();
}

/// A small insert is an append to the log and a changed page; a batch shares the append's fixed cost.
fn log(c: &mut Criterion) {
    let loaded = ready(Loaded::new(key_count(), 1));
    let store = &loaded.store;
    let mut group = c.benchmark_group("log");
    let mut new = key_count()..;
    let mut pair = || new.next().map(|index| (key(index), value(index, 0))).unwrap_or_default();
    group.bench_function("insert", |b| {
        let insert = |(key, value): (E, E)| ready(store.insert(key, value));
        b.iter_batched(&mut pair, insert, BatchSize::SmallInput);
    });
    for count in [MANY, 1_000] {
        group.throughput(Throughput::Elements(count as u64));
        let mut some =
            || -> Vec<(E, E)> { std::iter::repeat_with(&mut pair).take(count).collect() };
        group.bench_function(format!("batch of {count}"), |b| {
            let insert = |pairs: Vec<(E, E)>| ready(store.batch_insert(&pairs));
            b.iter_batched(&mut some, insert, BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn sets(c: &mut Criterion) {
    for values in [4, 100, 10_000] {
        let loaded = ready(Loaded::new((key_count() / values).clamp(1, 10_000), values));
        let store = &loaded.store;
        let mut group = c.benchmark_group(format!("set of {values}"));
        let mut indices = (0..loaded.key_count).cycle();
        let mut next = || indices.next().unwrap_or_default();
        group.bench_function("contains", |b| {
            let ask =
                |index| assert!(ready(store.contains(key(index), value(index, index % values))));
            b.iter_batched(&mut next, ask, BatchSize::SmallInput);
        });
        group.throughput(Throughput::Elements(values));
        group.bench_function("get all", |b| {
            let get = |index| assert_eq!(ready(store.get(key(index))).len() as u64, values);
            b.iter_batched(&mut next, get, BatchSize::SmallInput);
        });
        group.finish();
    }
}

fn beside_a_writer(c: &mut Criterion) {
    let loaded = ready(Loaded::new(key_count(), 1));
    let store = &loaded.store;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut new = key_count()..;
            // Relaxed: the flag carries nothing but itself.
            while !over.load(Ordering::Relaxed) {
                let batch: Vec<_> =
                    new.by_ref().take(1_000).map(|index| (key(index), value(index, 0))).collect();
                ready(store.batch_insert(&batch));
            }
        });
        let mut keys = loaded.keys();
        let mut next = || keys.next().unwrap_or_default();
        c.bench_function("beside a writer/get", |b| {
            b.iter_batched(&mut next, |key| ready(store.get(key)), BatchSize::SmallInput);
        });
        over.store(true, Ordering::Relaxed);
    });
}

criterion_group!(benches, points, log, sets, beside_a_writer);
criterion_main!(benches);
