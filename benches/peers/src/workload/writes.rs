//! Writes: batches, single inserts timed one by one, synced inserts from many threads, and the disk's own floor under those.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cidstore_core::E;
use hdrhistogram::Histogram;

use crate::Result;
use crate::pairs::Pairs;
use crate::peer::Peer;

/// Pairs in a batch.
pub const BATCH_PAIRS: usize = 1_000;
/// Longest time that a histogram keeps: more counts as this.
const NANOSECONDS_MAX: u64 = 60_000_000_000;
/// How many times longer a run may take for the checkpoints that it waits for.
const PATIENCE: u32 = 6;

/// How many, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// Pairs that were acknowledged.
    pub pairs: u64,
    /// From the first to the last acknowledgement.
    pub elapsed: Duration,
}

impl Written {
    /// Pairs a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.pairs as f64 / self.elapsed.as_secs_f64()
    }
}

/// A histogram of nanoseconds, three digits.
///
/// # Errors
/// None with these bounds.
pub fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, NANOSECONDS_MAX, 3)?)
}

/// When timed writes end.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// After this long ...
    pub time: Duration,
    /// ... or this many pairs, whichever comes first ...
    pub pairs: u64,
    /// ... but not before so many checkpoints, in a store that counts them (six times as long at most).
    pub checkpoints: u64,
}

impl Limit {
    /// Whether writes that began at `started`, `checkpoints` ago, may end after `pairs`.
    #[must_use]
    pub fn is_reached(&self, started: Instant, pairs: u64, checkpoints: Option<u64>) -> bool {
        let elapsed = started.elapsed();
        let enough = checkpoints.is_none_or(|checkpoints| checkpoints >= self.checkpoints);
        (elapsed >= self.time || pairs >= self.pairs) && (enough || elapsed >= self.time * PATIENCE)
    }
}

/// Inserts `pairs` in batches until they end or `time` is over.
///
/// # Errors
/// The store's own.
pub fn batches<P: Peer>(
    peer: &P,
    pairs: impl Iterator<Item = (E, E)>,
    time: Duration,
) -> Result<Written> {
    let mut pairs = pairs;
    let mut batch = Vec::with_capacity(BATCH_PAIRS);
    let started = Instant::now();
    let mut written = Written { pairs: 0, elapsed: Duration::ZERO };
    while written.elapsed < time {
        batch.clear();
        batch.extend(pairs.by_ref().take(BATCH_PAIRS));
        if batch.is_empty() {
            break;
        }
        peer.insert_batch(&batch)?;
        written.pairs += batch.len() as u64;
        written.elapsed = started.elapsed();
    }
    Ok(written)
}

/// Inserts pairs from index `first` on one by one, each timed.
///
/// # Errors
/// The store's own.
pub fn each<P: Peer>(
    peer: &P,
    pairs: &Pairs,
    first: u64,
    limit: Limit,
) -> Result<(Written, Histogram<u64>)> {
    let mut times = histogram()?;
    let before = peer.checkpoints();
    let started = Instant::now();
    let mut count = 0;
    loop {
        let (key, value) = pairs.pair(first + count);
        let begun = Instant::now();
        peer.insert(key, value)?;
        times.saturating_record(begun.elapsed().as_nanos() as u64);
        count += 1;
        if count % BATCH_PAIRS as u64 == 0
            && limit.is_reached(started, count, checkpoints_since(peer, before))
        {
            return Ok((Written { pairs: count, elapsed: started.elapsed() }, times));
        }
    }
}

/// Checkpoints since there were `before`, if the store counts them.
#[must_use]
pub fn checkpoints_since<P: Peer>(peer: &P, before: Option<u64>) -> Option<u64> {
    Some(peer.checkpoints()? - before?)
}

/// Inserts pairs from index `first` on one by one from many threads for `time`.
///
/// # Errors
/// The store's own.
pub fn threads<P: Peer>(
    peer: &P,
    pairs: &Pairs,
    first: u64,
    thread_count: usize,
    time: Duration,
) -> Result<Written> {
    let next = AtomicU64::new(first);
    let over = AtomicBool::new(false);
    let started = Instant::now();
    let insert = || -> Result<u64> {
        let mut count = 0;
        // Relaxed: the flag carries nothing but itself, and an index is taken once in any order.
        while !over.load(Ordering::Relaxed) {
            let (key, value) = pairs.pair(next.fetch_add(1, Ordering::Relaxed));
            peer.insert(key, value)?;
            count += 1;
        }
        Ok(count)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..thread_count).map(|_| scope.spawn(insert)).collect();
        thread::sleep(time);
        over.store(true, Ordering::Relaxed);
        let mut pairs = 0;
        for thread in threads {
            pairs += thread.join().map_err(|_| "a writing thread panicked")??;
        }
        Ok(Written { pairs, elapsed: started.elapsed() })
    })
}

/// What no synced insert can beat: 64 bytes written in place and `fdatasync`, one after the other, for `time`.
///
/// # Errors
/// If the file cannot be written.
pub fn raw_sync(folder: &Path, time: Duration) -> Result<Written> {
    const FILE_BYTES: usize = 1 << 20;
    let path = folder.join("raw-sync");
    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    file.write_all_at(&vec![1; FILE_BYTES], 0)?;
    file.sync_all()?;
    let started = Instant::now();
    let mut written = Written { pairs: 0, elapsed: Duration::ZERO };
    while written.elapsed < time {
        let offset = written.pairs * 64 % FILE_BYTES as u64;
        file.write_all_at(&[written.pairs as u8; 64], offset)?;
        file.sync_data()?;
        written.pairs += 1;
        written.elapsed = started.elapsed();
    }
    drop(file);
    std::fs::remove_file(&path)?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timed_writes_wait_for_checkpoints_but_not_for_ever() {
        let limit = Limit { time: Duration::from_secs(1_000), pairs: 10, checkpoints: 3 };
        let now = Instant::now();
        assert!(!limit.is_reached(now, 9, None));
        assert!(limit.is_reached(now, 10, None));
        assert!(!limit.is_reached(now, 10, Some(2)));
        assert!(limit.is_reached(now, 10, Some(3)));
        let limit = Limit { time: Duration::ZERO, pairs: 10, checkpoints: 3 };
        assert!(limit.is_reached(now, 0, Some(0)), "patience ends");
    }
}
