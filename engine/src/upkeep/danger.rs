//! How much a bucket needs care: the score that orders the work.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cidstore_core::hash::KeyHash;

/// Buckets share counters by the lowest bits of their prefix: 16 KiB, which stays in a processor's cache.
const STRIPE_BITS: u32 = 12;
const STRIPES: usize = 1 << STRIPE_BITS;

/// Parts of the score: of a bucket in complete disorder, with `PENDING_MAX` records, untouched for `AGE_MAX`.
const DISORDER_WEIGHT: u64 = 500;
const PENDING_WEIGHT: u64 = 300;
const AGE_WEIGHT: u64 = 200;
const PENDING_MAX: u64 = 1024;
const AGE_MAX: Duration = Duration::from_secs(60 * 60);

/// The score of a bucket, 0 to 1000: half for its disorder (in thousandths: entries out of order, positions or values
/// that are dead), three tenths for its log records that no checkpoint has, two tenths for the time since it was last
/// tidied.
pub(crate) fn danger(disorder: u64, records_pending: u64, age: Duration) -> u32 {
    let disorder = disorder.min(1000) * DISORDER_WEIGHT / 1000;
    let pending = records_pending.min(PENDING_MAX) * PENDING_WEIGHT / PENDING_MAX;
    let age = age.min(AGE_MAX).as_secs() * AGE_WEIGHT / AGE_MAX.as_secs();
    (disorder + pending + age) as u32
}

/// Log records since the last checkpoint's cut, by the lowest bits of the hash. The writer alone counts.
#[derive(Debug)]
pub(crate) struct Activity {
    records: Box<[AtomicU32]>,
}

impl Default for Activity {
    fn default() -> Self {
        Self { records: (0..STRIPES).map(|_| AtomicU32::new(0)).collect() }
    }
}

impl Activity {
    /// Counts a record of a key with this hash.
    #[inline]
    pub(crate) fn note(&self, hash: KeyHash) {
        // Relaxed: a hint for the order of work. One thread at a time counts, so no count is lost.
        let Some(records) = self.records.get(hash.0 as usize % STRIPES) else { return };
        records.store(records.load(Ordering::Relaxed).saturating_add(1), Ordering::Relaxed);
    }

    /// A checkpoint has them all from here on.
    pub(crate) fn reset(&self) {
        for records in &self.records {
            records.store(0, Ordering::Relaxed);
        }
    }

    /// Records of a bucket; of one that shares its counter with others, about its part.
    pub(crate) fn of(&self, prefix: u32, local_depth: u32) -> u64 {
        let stripe = prefix as usize % STRIPES;
        let load = |at: usize| {
            self.records.get(at).map_or(0, |records| u64::from(records.load(Ordering::Relaxed)))
        };
        if local_depth >= STRIPE_BITS {
            return load(stripe).div_ceil(1 << (local_depth - STRIPE_BITS).min(31));
        }
        (stripe..STRIPES).step_by(1 << local_depth).map(load).sum()
    }
}

/// When the buckets of each stripe were last tidied.
#[derive(Debug)]
pub(crate) struct Visits {
    seconds: Box<[u32]>,
}

impl Visits {
    /// All as of now.
    pub(crate) fn new(now: Duration) -> Self {
        Self { seconds: vec![now.as_secs() as u32; STRIPES].into() }
    }

    /// The bucket at a scan position was tidied now.
    pub(crate) fn note(&mut self, position: u64, now: Duration) {
        if let Some(seconds) = self.seconds.get_mut(stripe_of(position)) {
            *seconds = now.as_secs() as u32;
        }
    }

    /// Time since the bucket at a scan position, or one that shares its counter, was tidied.
    pub(crate) fn age(&self, position: u64, now: Duration) -> Duration {
        let then = self.seconds.get(stripe_of(position)).copied().unwrap_or(0);
        now.saturating_sub(Duration::from_secs(u64::from(then)))
    }
}

/// Scan positions are hash bits reversed.
fn stripe_of(position: u64) -> usize {
    (position as u32).reverse_bits() as usize % STRIPES
}
