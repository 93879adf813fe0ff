//! Histograms with log-linear buckets: eight to each doubling, so a quantile is at most an eighth too high.
//!
//! [`Recorder`] is what the store records into, from any thread; [`Histogram`] is a copy of it to look at.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets for each doubling of the value, as a power of two.
const STEP_BITS: u32 = 3;
/// Buckets for each doubling of the value.
const STEPS: usize = 1 << STEP_BITS;
/// Doublings above the first bound: latencies reach 100 ns * 2^27, 13.4 seconds.
const DOUBLINGS: usize = 27;
/// Buckets, one for what is larger than all bounds included.
const BUCKETS: usize = STEPS * (DOUBLINGS + 1) + 1;

/// What the values of a histogram are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scale {
    /// Nanoseconds. The first bounds are 12.5 ns apart, up to 100 ns.
    #[default]
    Nanoseconds,
    /// A count of things. Counts up to 8 have a bucket each.
    Count,
}

impl Scale {
    /// Steps of this scale that lie entirely below a value.
    fn steps(self, value: u64) -> u64 {
        match self {
            // A step is 12.5 ns: as many as fit below the value, itself not counted.
            Self::Nanoseconds => value.saturating_mul(2).saturating_sub(1) / 25,
            Self::Count => value.saturating_sub(1),
        }
    }

    /// Upper bound, itself included, of the values that have so many steps below them.
    fn value(self, steps: u64) -> u64 {
        match self {
            Self::Nanoseconds => steps * 25 / 2,
            Self::Count => steps,
        }
    }
}

/// Bucket of a value.
fn bucket_of(scale: Scale, value: u64) -> usize {
    let steps = scale.steps(value);
    if steps < STEPS as u64 {
        return steps as usize;
    }
    let doubling = steps.ilog2() - STEP_BITS;
    let within = (steps >> doubling) as usize;
    (doubling as usize * STEPS + within).min(BUCKETS - 1)
}

/// Largest value of a bucket; `None` for the last, which has no bound.
fn bound_of(scale: Scale, bucket: usize) -> Option<u64> {
    let next = bucket + 1;
    if next < STEPS {
        return Some(scale.value(next as u64));
    }
    if next >= BUCKETS {
        return None;
    }
    let doubling = next / STEPS - 1;
    Some(scale.value(((next % STEPS + STEPS) as u64) << doubling))
}

/// How often values of each size came, and their sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    scale: Scale,
    counts: Box<[u64]>,
    sum: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new(Scale::default())
    }
}

impl Histogram {
    /// An empty one.
    #[must_use]
    pub fn new(scale: Scale) -> Self {
        Self { scale, counts: vec![0; BUCKETS].into(), sum: 0 }
    }

    /// Adds a value: for those who simulate a store, or combine figures of their own.
    pub fn record(&mut self, value: u64) {
        self.counts[bucket_of(self.scale, value)] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// What the values are.
    #[must_use]
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Sum of all values: nanoseconds, or things.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Mean of all values; 0 if there is none.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match self.count() {
            0 => 0.0,
            count => self.sum as f64 / count as f64,
        }
    }

    /// A bound that at least `share` (0 to 1) of the values do not exceed, at most an eighth above the smallest such;
    /// 0 if there is no value. Of values beyond all bounds it tells the last bound.
    #[must_use]
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = (share.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return self.bound(bucket);
            }
        }
        0
    }

    fn bound(&self, bucket: usize) -> u64 {
        // Only the last bucket has none.
        bound_of(self.scale, bucket.min(BUCKETS - 2)).unwrap_or(u64::MAX)
    }

    /// [`quantile`](Self::quantile) of a latency.
    #[must_use]
    pub fn latency(&self, share: f64) -> Duration {
        Duration::from_nanos(self.quantile(share))
    }

    /// Half of all took at most this long.
    #[must_use]
    pub fn p50(&self) -> Duration {
        self.latency(0.5)
    }

    /// 99 of 100 took at most this long.
    #[must_use]
    pub fn p99(&self) -> Duration {
        self.latency(0.99)
    }

    /// 999 of 1000 took at most this long.
    #[must_use]
    pub fn p999(&self) -> Duration {
        self.latency(0.999)
    }

    /// What came since an earlier copy.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let counts = self.counts.iter().zip(&earlier.counts);
        Self {
            scale: self.scale,
            counts: counts.map(|(now, then)| now.saturating_sub(*then)).collect(),
            sum: self.sum.saturating_sub(earlier.sum),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let counts = self.counts.iter().zip(&other.counts);
        Self {
            scale: self.scale,
            counts: counts.map(|(one, two)| one + two).collect(),
            sum: self.sum.saturating_add(other.sum),
        }
    }

    /// Buckets as they are exposed: upper bound, itself included, with how many values lie above the bound before.
    /// Of latencies two to each doubling, from 100 ns up; of counts the powers of two. The last has no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        let mut gathered = 0;
        self.counts.iter().enumerate().filter_map(move |(bucket, count)| {
            gathered += count;
            let next = bucket + 1;
            let is_bound = match self.scale {
                Scale::Nanoseconds => next >= STEPS && next.is_multiple_of(STEPS / 2),
                Scale::Count if next < STEPS => next.is_power_of_two(),
                Scale::Count => next.is_multiple_of(STEPS),
            };
            (is_bound || next == BUCKETS)
                .then(|| (bound_of(self.scale, bucket), std::mem::take(&mut gathered)))
        })
    }
}

/// A histogram that any thread adds to, without a lock.
#[derive(Debug)]
pub(crate) struct Recorder {
    scale: Scale,
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Recorder {
    pub(crate) fn new(scale: Scale) -> Self {
        let counts = (0..BUCKETS).map(|_| AtomicU64::new(0)).collect();
        Self { scale, counts, sum: AtomicU64::new(0) }
    }

    /// Adds a value.
    pub(crate) fn record(&self, value: u64) {
        // Relaxed: sums that nobody concludes anything from.
        self.counts[bucket_of(self.scale, value)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Adds a latency.
    pub(crate) fn record_latency(&self, latency: Duration) {
        self.record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// A copy. Values that are added meanwhile may be in its counts and not yet in its sum.
    pub(crate) fn snapshot(&self) -> Histogram {
        Histogram {
            scale: self.scale,
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Each bucket holds its bound and not the next value, for all bounds of both scales.
    #[test]
    fn bounds_belong_to_their_buckets() {
        for scale in [Scale::Nanoseconds, Scale::Count] {
            let bounds: Vec<u64> = (0..BUCKETS - 1).map(|b| bound_of(scale, b).unwrap()).collect();
            assert!(bounds.is_sorted_by(|one, two| one < two), "{bounds:?}");
            assert_eq!(bound_of(scale, BUCKETS - 1), None);
            for (bucket, &bound) in bounds.iter().enumerate() {
                assert_eq!(bucket_of(scale, bound), bucket, "{scale:?} {bound}");
                assert_eq!(bucket_of(scale, bound + 1), bucket + 1, "{scale:?} {bound}");
            }
            assert_eq!((bucket_of(scale, 0), bucket_of(scale, u64::MAX)), (0, BUCKETS - 1));
        }
    }

    /// Quantiles against sorted values: never below, at most an eighth (and a step) above.
    #[test]
    fn quantiles_are_near() {
        let mut state = 1_u64;
        let mut values: Vec<u64> = Vec::new();
        let mut histogram = Histogram::new(Scale::Nanoseconds);
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let value = (state >> 40) % (1 << (state % 24));
            values.push(value);
            histogram.record(value);
        }
        values.sort_unstable();
        assert_eq!(histogram.count(), values.len() as u64);
        assert_eq!(histogram.sum(), values.iter().sum::<u64>());
        for share in [0.01, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let exact = values[(share * values.len() as f64).ceil() as usize - 1];
            let told = histogram.quantile(share);
            assert!(told >= exact && told <= exact + exact / 8 + 13, "{share}: {told} {exact}");
        }
    }

    /// The exposed buckets have every value, each below its bound and above the one before.
    #[test]
    fn exposed_buckets_add_up() {
        for scale in [Scale::Nanoseconds, Scale::Count] {
            let recorder = Recorder::new(scale);
            let values: Vec<u64> = (0..40).map(|bit| 3_u64 << bit).collect();
            values.iter().for_each(|&value| recorder.record(value));
            let histogram = recorder.snapshot();
            let buckets: Vec<_> = histogram.buckets().collect();
            assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 40);
            assert_eq!(buckets.last().unwrap().0, None);
            let mut below = 0;
            for (bound, count) in buckets {
                below += count;
                let bound = bound.unwrap_or(u64::MAX);
                let expected = values.iter().filter(|&&value| value <= bound).count();
                assert_eq!(below, expected as u64, "{scale:?} {bound}");
            }
        }
        let first = Histogram::new(Scale::Nanoseconds).buckets().next();
        assert_eq!(first, Some((Some(100), 0)));
    }

    #[test]
    fn windows_are_differences() {
        let mut early = Histogram::new(Scale::Count);
        early.record(3);
        let mut late = early.clone();
        late.record(700);
        let window = late.since(&early);
        assert_eq!((window.count(), window.sum()), (1, 700));
        assert_eq!(window.plus(&early), late);
        assert_eq!(Histogram::default().quantile(0.5), 0);
    }
}
