//! The workloads, by name. Each checks its answers: a wrong one ends the comparison instead of becoming a figure.
//!
//! Keys to read are drawn before the clock starts, and what the answers must add up to is known beforehand, so that the
//! check costs the reader two additions.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use cidstore_core::E;

use crate::Result;
use crate::pairs::Pairs;
use crate::peer::{Peer, Reader};

/// All pairs into an empty store, on disk at the end.
pub const BULK_LOAD: &str = "bulk_load";
/// What the machine takes at most: as many bytes as the bulk-loaded file has, into a fresh file, on disk at the end.
pub const FRESH_FILE: &str = "durable_fresh_file";
/// The same in pairs of this size.
pub const FRESH_FILE_PAIRS: &str = "durable_fresh_file_pairs";
/// All pairs in random order, in atomic batches of [`BATCH_PAIRS`] that outlive a killed process.
pub const BATCH_INSERT: &str = "batch_insert";
/// The same, with the time to bring it all on disk at the end.
pub const BATCH_INSERT_SYNCED: &str = "batch_insert_synced";
/// Reads of present keys.
pub const GET_HIT: &str = "get_hit";
/// Reads of present keys under one pin.
pub const GET_HIT_PINNED: &str = "get_hit_pinned";
/// Reads of absent keys.
pub const GET_MISS: &str = "get_miss";
/// Reads where each key is in the last answer, so that none can begin before the last one ended.
pub const GET_CHAINED: &str = "get_chained";
/// Reads of present keys, [`MANY_KEYS`] to a call.
pub const GET_MANY: &str = "get_many_64";
/// Single reads of present keys with the clock read before and after each: half of them took at most this.
pub const GET_HIT_P50: &str = "get_hit_p50";
/// 99 of 100 took at most this.
pub const GET_HIT_P99: &str = "get_hit_p99";
/// 999 of 1,000 took at most this.
pub const GET_HIT_P999: &str = "get_hit_p999";
/// From the call to open, after a clean close, to the first answer.
pub const OPEN_CLEAN: &str = "open_clean";
/// From the call to open, after a kill in the middle of writing, to the first answer.
pub const OPEN_KILLED: &str = "open_killed";
/// Bytes that hold a pair, in a store built by batches.
pub const LIVE_BYTES: &str = "live_bytes";
/// Bytes of the data file, log not counted, after a clean close.
pub const FILE_BYTES: &str = "file_bytes";
/// The same of a bulk-loaded store.
pub const BULK_LIVE_BYTES: &str = "bulk_live_bytes";
/// The same of a bulk-loaded store.
pub const BULK_FILE_BYTES: &str = "bulk_file_bytes";

/// Pairs in a batch.
pub const BATCH_PAIRS: usize = 1_000;
/// Keys in a batched read.
pub const MANY_KEYS: usize = 64;

/// How long building a store took.
#[derive(Clone, Copy, Debug)]
pub struct Built {
    /// Until the last pair was acknowledged.
    pub acknowledged: Duration,
    /// Until all of it was on disk.
    pub durable: Duration,
}

/// [`BULK_LOAD`] into a new store in `folder`.
///
/// # Errors
/// The store's own.
pub fn bulk_load<P: Peer>(folder: &Path, pairs: &Pairs) -> Result<(P, Built)> {
    let mut peer = P::create(folder)?;
    let started = Instant::now();
    peer.bulk_load(pairs)?;
    let elapsed = started.elapsed();
    Ok((peer, Built { acknowledged: elapsed, durable: elapsed }))
}

/// [`BATCH_INSERT`] into a new store in `folder`.
///
/// # Errors
/// The store's own.
pub fn batch_insert<P: Peer>(folder: &Path, pairs: &Pairs) -> Result<(P, Built)> {
    let mut peer = P::create(folder)?;
    let mut batch = Vec::with_capacity(BATCH_PAIRS);
    let started = Instant::now();
    let mut all = pairs.iter();
    loop {
        batch.clear();
        batch.extend(all.by_ref().take(BATCH_PAIRS));
        if batch.is_empty() {
            break;
        }
        peer.insert_batch(&batch)?;
    }
    let acknowledged = started.elapsed();
    peer.sync()?;
    Ok((peer, Built { acknowledged, durable: started.elapsed() }))
}

/// Nanoseconds per read of [`GET_HIT`].
///
/// # Errors
/// The store's own, or a wrong answer.
pub fn get_hit(reader: &impl Reader, pairs: &Pairs, round: u64, reads: u64) -> Result<f64> {
    let (keys, expected) = drawn(pairs, round, reads);
    let started = Instant::now();
    let mut sum = Sum::default();
    for key in &keys {
        sum.add(reader.get(*key)?);
    }
    let elapsed = started.elapsed();
    agree(GET_HIT, &sum, &expected)?;
    Ok(per_read(elapsed, reads))
}

/// Nanoseconds per read of [`GET_MANY`].
///
/// # Errors
/// The store's own, or a wrong answer.
pub fn get_many(reader: &impl Reader, pairs: &Pairs, round: u64, reads: u64) -> Result<f64> {
    let (keys, expected) = drawn(pairs, round, reads);
    let started = Instant::now();
    let mut sum = Sum::default();
    for some in keys.chunks(MANY_KEYS) {
        reader.get_many(some, |value| sum.add(value))?;
    }
    let elapsed = started.elapsed();
    agree(GET_MANY, &sum, &expected)?;
    Ok(per_read(elapsed, reads))
}

/// Nanoseconds per read of [`GET_MISS`].
///
/// # Errors
/// The store's own, or a wrong answer.
pub fn get_miss(reader: &impl Reader, pairs: &Pairs, round: u64, reads: u64) -> Result<f64> {
    let keys: Vec<E> =
        pairs.sample(round, reads).map(|index| pairs.key(pairs.count() + index)).collect();
    let started = Instant::now();
    let mut sum = Sum::default();
    for key in &keys {
        sum.add(reader.get(*key)?);
    }
    let elapsed = started.elapsed();
    agree(GET_MISS, &sum, &Sum { missing: reads, ..Sum::default() })?;
    Ok(per_read(elapsed, reads))
}

/// Nanoseconds per read of [`GET_CHAINED`].
///
/// # Errors
/// The store's own, or a wrong answer.
pub fn get_chained(reader: &impl Reader, pairs: &Pairs, round: u64, reads: u64) -> Result<f64> {
    let first = pairs.sample(round, 1).next().unwrap_or_default();
    let mut key = pairs.key(first);
    let started = Instant::now();
    for _ in 0..reads {
        let value = reader.get(key)?.ok_or_else(|| format!("{GET_CHAINED}: {key:?} is missing"))?;
        key = Pairs::key_after(value);
    }
    let elapsed = started.elapsed();
    if key == pairs.key(pairs.index_after(first, reads)) {
        Ok(per_read(elapsed, reads))
    } else {
        Err(format!("{GET_CHAINED}: the chain from pair {first} ended at a wrong key").into())
    }
}

/// Nanoseconds of each of `reads` single reads, the clock's own cost included, in order.
///
/// # Errors
/// The store's own, or a wrong answer.
pub fn get_hit_each(
    reader: &impl Reader,
    pairs: &Pairs,
    round: u64,
    reads: u64,
) -> Result<Vec<f64>> {
    let (keys, expected) = drawn(pairs, round, reads);
    let mut sum = Sum::default();
    let mut each = Vec::with_capacity(keys.len());
    for key in &keys {
        let started = Instant::now();
        let value = black_box(reader.get(*key)?);
        each.push(started.elapsed().as_nanos() as f64);
        sum.add(value);
    }
    agree(GET_HIT_P50, &sum, &expected)?;
    each.sort_unstable_by(f64::total_cmp);
    Ok(each)
}

/// Keys of present pairs, and what reading them must add up to.
fn drawn(pairs: &Pairs, round: u64, reads: u64) -> (Vec<E>, Sum) {
    let mut expected = Sum::default();
    let keys = pairs
        .sample(round, reads)
        .map(|index| {
            expected.add(Some(pairs.value(index)));
            pairs.key(index)
        })
        .collect();
    (keys, expected)
}

/// What answers add up to, in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    high: u64,
    low: u64,
    missing: u64,
}

impl Sum {
    fn add(&mut self, answer: Option<E>) {
        match answer {
            Some(value) => {
                self.high = self.high.wrapping_add(value.high);
                self.low = self.low.wrapping_add(value.low);
            }
            None => self.missing += 1,
        }
    }
}

fn agree(workload: &str, found: &Sum, expected: &Sum) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{workload}: wrong answers: they add up to {found:?}, not to {expected:?}")
            .into())
    }
}

fn per_read(elapsed: Duration, reads: u64) -> f64 {
    elapsed.as_nanos() as f64 / reads as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Hashbrown;

    /// A store that forgets, or mixes up, one key.
    struct Wrong<'a, R>(&'a R, E, Option<E>);

    impl<R: Reader> Reader for Wrong<'_, R> {
        fn get(&self, key: E) -> Result<Option<E>> {
            if key == self.1 { Ok(self.2) } else { self.0.get(key) }
        }
    }

    #[test]
    fn right_answers_pass_and_a_single_wrong_one_does_not() {
        let pairs = Pairs::new(100, 1);
        let folder = Path::new("");
        let (peer, _) = batch_insert::<Hashbrown>(folder, &pairs).unwrap();
        let reader = peer.reader().unwrap();
        type Read<R> = fn(&R, &Pairs, u64, u64) -> Result<f64>;
        fn all<R: Reader>() -> [Read<R>; 3] {
            [get_hit, get_many, get_chained]
        }
        for read in all() {
            assert!(read(&reader, &pairs, 0, 2_000).is_ok());
        }
        for read in all() {
            for answer in [None, Some(pairs.value(1))] {
                assert!(read(&Wrong(&reader, pairs.key(0), answer), &pairs, 0, 2_000).is_err());
            }
        }
        assert!(get_miss(&reader, &pairs, 0, 2_000).is_ok());
        let ghost = Wrong(&reader, pairs.key(100), Some(E::ZERO));
        assert!(get_miss(&ghost, &pairs, 0, 2_000).is_err());
    }
}
