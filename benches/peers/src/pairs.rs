//! [`Pairs`]: random distinct keys with values that lead on to the next key.
//!
//! Nothing is stored: key and value are computed from an index, so that 10 million pairs cost no memory beside the store
//! under test. Each key has one value, and [`Pairs::key_after`] of that value is another present key; all keys form one
//! circle, which a chained read walks.

use cidstore_core::E;

/// Steps from key to key on the circle, before it is made coprime to the count: far enough that neighbours on the circle were
/// not inserted together.
const STRIDE: f64 = 0.618_033_988_749_895;

/// Keeps values from being equal to keys.
const VALUE_MASK: E = E { high: 0x5bd1_e995_9d1b_58d3, low: 0xc2b2_ae3d_27d4_eb4f };

/// A set of pairs, given by how many and a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pairs {
    count: u64,
    seed: u64,
    stride: u64,
}

impl Pairs {
    /// `count` pairs; another `seed` gives other pairs.
    #[must_use]
    pub fn new(count: u64, seed: u64) -> Self {
        let mut stride = ((count as f64 * STRIDE) as u64).max(1);
        while greatest_common_divisor(stride, count) > 1 {
            stride += 1;
        }
        Self { count, seed: mix(seed), stride }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The key at `index`. From [`Pairs::count`] on: keys that are in no pair, distinct all the same.
    #[must_use]
    pub fn key(&self, index: u64) -> E {
        // `mix` is one to one, so distinct indices have distinct upper halves.
        let high = mix(self.seed.wrapping_add(index));
        E { high, low: mix(high ^ 0x9e37_79b9_7f4a_7c15) }
    }

    /// The value of the key at `index`.
    #[must_use]
    pub fn value(&self, index: u64) -> E {
        let next = self.key(self.index_after(index, 1));
        E { high: next.high ^ VALUE_MASK.high, low: next.low ^ VALUE_MASK.low }
    }

    /// The key and its value at `index`.
    #[must_use]
    pub fn pair(&self, index: u64) -> (E, E) {
        (self.key(index), self.value(index))
    }

    /// All pairs in order of their index, which is no order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (E, E)> + use<> {
        let pairs = *self;
        (0..self.count).map(move |index| pairs.pair(index))
    }

    /// The key that `value` leads on to.
    #[must_use]
    pub fn key_after(value: E) -> E {
        E { high: value.high ^ VALUE_MASK.high, low: value.low ^ VALUE_MASK.low }
    }

    /// The index `steps` further on the circle from `index`.
    #[must_use]
    pub fn index_after(&self, index: u64, steps: u64) -> u64 {
        let far = u128::from(self.stride) * u128::from(steps) + u128::from(index);
        (far % u128::from(self.count)) as u64
    }

    /// `many` random indices below [`Pairs::count`], others for each `round`.
    pub fn sample(&self, round: u64, many: u64) -> impl Iterator<Item = u64> + use<> {
        let count = self.count;
        let mut state = mix(self.seed ^ mix(round.wrapping_add(1)));
        (0..many).map(move |_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            // The upper half of the product spreads evenly over the count.
            ((u128::from(mix(state)) * u128::from(count)) >> 64) as u64
        })
    }
}

/// The finisher of `SplitMix64`: one to one, and every bit depends on every bit.
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn values_lead_round_all_keys_in_one_circle() {
        for count in [1, 2, 3, 10, 1_000, 4_096] {
            let pairs = Pairs::new(count, 7);
            let map: HashMap<E, E> = pairs.iter().collect();
            assert_eq!(map.len() as u64, count);
            let mut seen = HashSet::new();
            let mut key = pairs.key(0);
            while seen.insert(key) {
                key = Pairs::key_after(map[&key]);
            }
            assert_eq!((seen.len() as u64, key), (count, pairs.key(0)));
        }
    }

    #[test]
    fn the_place_after_many_steps_is_that_of_single_steps() {
        let pairs = Pairs::new(1_000, 3);
        let walked = (0..777).fold(5, |index, _| pairs.index_after(index, 1));
        assert_eq!(pairs.index_after(5, 777), walked);
    }

    #[test]
    fn keys_beyond_the_count_are_in_no_pair() {
        let pairs = Pairs::new(1_000, 3);
        let keys: HashSet<E> = (0..2_000).map(|index| pairs.key(index)).collect();
        assert_eq!(keys.len(), 2_000);
    }

    #[test]
    fn samples_differ_by_round_and_stay_in_range() {
        let pairs = Pairs::new(1_000, 3);
        let first: Vec<u64> = pairs.sample(0, 500).collect();
        assert!(first.iter().all(|index| *index < 1_000));
        assert!(first.iter().collect::<HashSet<_>>().len() > 300);
        assert_ne!(first, pairs.sample(1, 500).collect::<Vec<_>>());
    }
}
