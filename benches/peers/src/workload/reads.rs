//! Point reads of a loaded store.
//!
//! Keys to read are drawn before the clock starts, and what the answers must add up to is known beforehand, so that the
//! check costs the reader two additions.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use cidstore_core::E;

use super::Workload;
use crate::Result;
use crate::pairs::Pairs;
use crate::peer::{Peer, Reader};

/// Keys in a batched read.
pub const MANY_KEYS: usize = 64;

/// Nanoseconds a read of one round of `workload`, which is one of [`Workload::READS`] but for [`Workload::GetEach`].
///
/// # Errors
/// The store's own, or a wrong answer.
pub fn round<P: Peer>(
    peer: &P,
    workload: Workload,
    pairs: &Pairs,
    round: u64,
    reads: u64,
) -> Result<f64> {
    match workload {
        Workload::GetChained => peer.read(|reader| get_chained(reader, pairs, round, reads)),
        Workload::GetMany => peer.read(|reader| get_many(reader, pairs, round, reads)),
        Workload::GetMiss => peer.read(|reader| get_miss(reader, pairs, round, reads)),
        Workload::GetLoop => peer.read(|reader| get_loop(reader, pairs, round, reads)),
        Workload::GetLoop2 => get_loop_threads(peer, pairs, round, reads),
        _ => Err(format!("{} is no round of reads", workload.name()).into()),
    }
}

fn get_loop(reader: &impl Reader, pairs: &Pairs, round: u64, reads: u64) -> Result<f64> {
    let (keys, expected) = drawn(pairs, round, reads);
    let started = Instant::now();
    let mut sum = Sum::default();
    for key in &keys {
        sum.add(reader.get(*key)?);
    }
    let elapsed = started.elapsed();
    sum.agree(Workload::GetLoop, &expected)?;
    Ok(per_read(elapsed, reads))
}

/// Two threads, each with all `reads` reads: time from the common start to the end of the slower, by all reads.
fn get_loop_threads<P: Peer>(peer: &P, pairs: &Pairs, round: u64, reads: u64) -> Result<f64> {
    const THREADS: u64 = 2;
    let barrier = Barrier::new(THREADS as usize);
    let one = |thread: u64| -> Result<(Instant, Instant)> {
        let (keys, expected) = drawn(pairs, round * THREADS + thread, reads);
        let mut sum = Sum::default();
        barrier.wait();
        let started = Instant::now();
        peer.read(|reader| {
            for key in &keys {
                sum.add(reader.get(*key)?);
            }
            Ok(())
        })?;
        let ended = Instant::now();
        sum.agree(Workload::GetLoop2, &expected)?;
        Ok((started, ended))
    };
    let times = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || one(thread))).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|ended| ended.map_err(|_| "a reading thread panicked")?)
            .collect::<Result<Vec<_>>>()
    })?;
    let first = times.iter().map(|(started, _)| *started).min().ok_or("no thread ran")?;
    let last = times.iter().map(|(_, ended)| *ended).max().ok_or("no thread ran")?;
    Ok(per_read(last - first, reads * THREADS))
}

fn get_many(reader: &impl Reader, pairs: &Pairs, round: u64, reads: u64) -> Result<f64> {
    let (keys, expected) = drawn(pairs, round, reads);
    let started = Instant::now();
    let mut sum = Sum::default();
    for some in keys.chunks(MANY_KEYS) {
        reader.get_many(some, |value| sum.add(value))?;
    }
    let elapsed = started.elapsed();
    sum.agree(Workload::GetMany, &expected)?;
    Ok(per_read(elapsed, reads))
}

fn get_miss(reader: &impl Reader, pairs: &Pairs, round: u64, reads: u64) -> Result<f64> {
    let keys: Vec<E> =
        pairs.sample(round, reads).map(|index| pairs.key(pairs.count() + index)).collect();
    let started = Instant::now();
    let mut sum = Sum::default();
    for key in &keys {
        sum.add(reader.get(*key)?);
    }
    let elapsed = started.elapsed();
    sum.agree(Workload::GetMiss, &Sum { missing: reads, ..Sum::default() })?;
    Ok(per_read(elapsed, reads))
}

fn get_chained(reader: &impl Reader, pairs: &Pairs, round: u64, reads: u64) -> Result<f64> {
    let name = Workload::GetChained.name();
    let first = pairs.sample(round, 1).next().unwrap_or_default();
    let mut key = pairs.key(first);
    let started = Instant::now();
    for _ in 0..reads {
        let value = reader.get(key)?.ok_or_else(|| format!("{name}: {key:?} is missing"))?;
        key = Pairs::key_after(value);
    }
    let elapsed = started.elapsed();
    if key == pairs.key(pairs.index_after(first, reads)) {
        Ok(per_read(elapsed, reads))
    } else {
        Err(format!("{name}: the chain from pair {first} ended at a wrong key").into())
    }
}

/// Nanoseconds of each of `reads` single reads, the clock's own cost included, in order of size.
///
/// # Errors
/// The store's own, or a wrong answer.
pub fn get_each<P: Peer>(peer: &P, pairs: &Pairs, round: u64, reads: u64) -> Result<Vec<f64>> {
    let (keys, expected) = drawn(pairs, round, reads);
    let mut sum = Sum::default();
    let mut each = Vec::with_capacity(keys.len());
    peer.read(|reader| {
        for key in &keys {
            let started = Instant::now();
            let value = black_box(reader.get(*key)?);
            each.push(started.elapsed().as_nanos() as f64);
            sum.add(value);
        }
        Ok(())
    })?;
    sum.agree(Workload::GetEach, &expected)?;
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
pub(super) struct Sum {
    high: u64,
    low: u64,
    missing: u64,
}

impl Sum {
    pub(super) fn add(&mut self, answer: Option<E>) {
        match answer {
            Some(value) => {
                self.high = self.high.wrapping_add(value.high);
                self.low = self.low.wrapping_add(value.low);
            }
            None => self.missing += 1,
        }
    }

    pub(super) fn agree(&self, workload: Workload, expected: &Self) -> Result<()> {
        if self == expected {
            return Ok(());
        }
        let name = workload.name();
        Err(format!("{name}: wrong answers: they add up to {self:?}, not to {expected:?}").into())
    }
}

pub(super) fn per_read(elapsed: Duration, reads: u64) -> f64 {
    elapsed.as_nanos() as f64 / reads as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{Mode, one_value_only};
    use crate::peers::Hashbrown;
    use std::path::Path;

    /// A store that forgets, or mixes up, one key.
    struct Wrong<'a, R>(&'a R, E, Option<E>);

    impl<R: Reader> Reader for Wrong<'_, R> {
        fn get(&self, key: E) -> Result<Option<E>> {
            if key == self.1 { Ok(self.2) } else { self.0.get(key) }
        }
        fn values(&self, _key: E, _each: impl FnMut(E)) -> Result<()> {
            one_value_only("wrong")
        }
        fn contains(&self, _key: E, _value: E) -> Result<bool> {
            one_value_only("wrong")
        }
    }

    #[test]
    fn right_answers_pass_and_a_single_wrong_one_does_not() {
        let pairs = Pairs::new(100, 1);
        let peer = Hashbrown::open(Path::new(""), Mode::BUFFERED).unwrap();
        peer.bulk_load(pairs.iter()).unwrap();
        assert!(get_loop_threads(&peer, &pairs, 0, 2_000).is_ok());
        assert_eq!(get_each(&peer, &pairs, 0, 2_000).unwrap().len(), 2_000);
        peer.read(|reader| {
            assert!(get_loop(reader, &pairs, 0, 2_000).is_ok());
            assert!(get_many(reader, &pairs, 0, 2_000).is_ok());
            assert!(get_chained(reader, &pairs, 0, 2_000).is_ok());
            assert!(get_miss(reader, &pairs, 0, 2_000).is_ok());
            for answer in [None, Some(pairs.value(1))] {
                let wrong = Wrong(reader, pairs.key(0), answer);
                assert!(get_loop(&wrong, &pairs, 0, 2_000).is_err());
                assert!(get_many(&wrong, &pairs, 0, 2_000).is_err());
                assert!(get_chained(&wrong, &pairs, 0, 2_000).is_err());
            }
            let ghost = Wrong(reader, pairs.key(100), Some(E::ZERO));
            assert!(get_miss(&ghost, &pairs, 0, 2_000).is_err());
            Ok(())
        })
        .unwrap();
    }
}
