//! Measuring: distributions of times, and pairs that look random but can be told again from a number.

use std::time::{Duration, Instant};

use cidstore::E;

/// Times of single operations.
#[derive(Debug, Default)]
pub(crate) struct Times {
    nanoseconds: Vec<u64>,
}

impl Times {
    /// No times yet, with room for this many.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self { nanoseconds: Vec::with_capacity(count) }
    }

    /// Runs something and keeps how long it took, the clock's own time (some 20 ns) included.
    pub(crate) fn time<T>(&mut self, run: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let answer = run();
        self.nanoseconds.push(start.elapsed().as_nanos() as u64);
        answer
    }

    /// The time that this share of all operations (0.0 to 1.0) stayed within. Zero if there are none.
    pub(crate) fn within(&mut self, share: f64) -> Duration {
        self.nanoseconds.sort_unstable();
        let rank = (share * self.nanoseconds.len() as f64).ceil() as usize;
        let at = rank.max(1) - 1;
        Duration::from_nanos(self.nanoseconds.get(at).copied().unwrap_or_default())
    }
}

/// The middle one of some figures; the mean of the middle two if their number is even. Zero if none.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match (figures.get(middle), figures.len().is_multiple_of(2)) {
        (Some(upper), true) => (figures.get(middle - 1).unwrap_or(upper) + upper) / 2.0,
        (Some(middle), false) => *middle,
        (None, _) => 0.0,
    }
}

/// The number of a sequence that looks random: the same for the same seed and place, each once.
pub(crate) fn random_id(seed: u64, at: u64) -> E {
    // `mix` is a bijection, so the low halves of one seed are all different.
    let low = mix(at ^ seed.rotate_left(32));
    E::new(mix(low ^ seed), low)
}

/// The finalizer of SplitMix64: a bijection of the 64-bit numbers.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn shares_are_ranks() {
        let mut times = Times { nanoseconds: (1..=100).rev().collect() };
        assert_eq!(times.within(0.5), Duration::from_nanos(50));
        assert_eq!(times.within(0.99), Duration::from_nanos(99));
        assert_eq!(times.within(1.0), Duration::from_nanos(100));
        assert_eq!(times.within(0.0), Duration::from_nanos(1));
        assert_eq!(Times::default().within(0.5), Duration::ZERO);
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn random_ids_are_all_different() {
        let ids: BTreeSet<u128> = (0..2)
            .flat_map(|seed| (0..10_000).map(move |at| (seed, at)))
            .map(|(seed, at)| u128::from(random_id(seed, at)))
            .collect();
        assert_eq!(ids.len(), 20_000);
    }
}
