//! How long things take: `cargo test --release -p cidstore-engine figures -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::Instant;

use cidstore_core::E;

use super::{Keys, scattered};
use crate::valueset::{Insert, contains, read_all};

const KEY: E = E::new(1, 2);

/// Nanoseconds that each of `count` calls takes.
fn each(count: u64, mut call: impl FnMut(u64)) -> f64 {
    let start = Instant::now();
    (0..count).for_each(&mut call);
    start.elapsed().as_nanos() as f64 / count as f64
}

/// Nanoseconds that each call takes in the quietest of some rounds.
fn least(mut call: impl FnMut(u64)) -> f64 {
    (0..7).map(|_| each(200_000, &mut call)).fold(f64::MAX, f64::min)
}

/// Inserts without the model.
fn insert(keys: &mut Keys, value: E) {
    let set = keys.sets[&KEY];
    let set = match keys.sets().insert(KEY, &set, value).unwrap() {
        Insert::Added(set) => set,
        Insert::Present => set,
        Insert::Full => {
            keys.move_set(KEY);
            return insert(keys, value);
        }
    };
    keys.sets.insert(KEY, set);
}

#[expect(clippy::print_stderr, reason = "the figures are what it is for")]
fn figures(name: &str, size: u64, value: fn(u64) -> E) {
    let mut keys = Keys::new(1 << 14);
    let rounds = (1_000_000 / size).max(1);
    let mut insert_nanos = 0.0;
    let mut built = 0;
    for _ in 0..rounds {
        keys.remove_key(KEY);
        keys.advance();
        keys.advance();
        keys.create(KEY, &(0..4).map(value).collect::<Vec<_>>());
        built = keys.pages.built;
        insert_nanos += each(size - 4, |index| {
            insert(&mut keys, value(index + 4));
            if index % 1024 == 0 {
                keys.advance();
            }
        });
    }
    built = keys.pages.built - built;
    let reference = keys.sets[&KEY].reference;
    let view = keys.pages.arena.clone();
    let order = |index: u64| index.wrapping_mul(0x9e37_79b9_7f4a_7c15) % size;
    let hit = least(|index| {
        assert!(black_box(contains(&*view, reference, value(order(index)))).unwrap());
    });
    let miss = least(|index| {
        let value = value(order(index));
        let absent = E::new(value.high, value.low ^ 1 << 63);
        assert!(!black_box(contains(&*view, reference, absent)).unwrap());
    });
    let walk = |keys: &Keys| {
        let mut sum = 0_u64;
        let mut walk = |_| {
            read_all(&*view, keys.sets[&KEY].reference, |chunk| {
                sum = chunk.iter().fold(sum, |sum, value| sum.wrapping_add(value.low));
            })
            .unwrap();
        };
        let nanos = (0..7).map(|_| each(rounds.max(5), &mut walk)).fold(f64::MAX, f64::min);
        black_box(sum);
        nanos / size as f64
    };
    let before = walk(&keys);
    keys.compact(KEY);
    let after = walk(&keys);
    eprintln!(
        "{name:>10} {size:>8}: insert {:6.1} ns, {:.3} pages built a value, contains {hit:6.1} ns, \
         miss {miss:6.1} ns, iterate {before:.2} ns a value, compacted {after:.2} ns",
        insert_nanos / rounds as f64,
        built as f64 / size as f64,
    );
}

#[test]
#[ignore = "measures"]
fn print_figures() {
    for size in [10, 100, 240, 1000, 1_000_000] {
        figures("scattered", size, scattered);
        figures("ascending", size, E::from);
    }
}
