//! [`Sets`]: keys with the same number of values each, computed from indices as [`Pairs`] are.

use cidstore_core::E;

use crate::pairs::Pairs;

/// Tells the keys of sets from their values.
const VALUE_SEED: u64 = 0x5e75;

/// Keys that have `values_per_key` values each.
#[derive(Clone, Copy, Debug)]
pub struct Sets {
    keys: Pairs,
    values: Pairs,
    values_per_key: u64,
}

impl Sets {
    /// `key_count` keys; another `seed` gives others.
    #[must_use]
    pub fn new(key_count: u64, values_per_key: u64, seed: u64) -> Self {
        let keys = Pairs::new(key_count, seed);
        let values = Pairs::new(key_count * values_per_key, seed ^ VALUE_SEED);
        Self { keys, values, values_per_key }
    }

    /// How many keys there are.
    #[must_use]
    pub fn key_count(&self) -> u64 {
        self.keys.count()
    }

    /// How many values each has.
    #[must_use]
    pub fn values_per_key(&self) -> u64 {
        self.values_per_key
    }

    /// The key at `index`; from [`Sets::key_count`] on keys that are in no pair.
    #[must_use]
    pub fn key(&self, index: u64) -> E {
        self.keys.key(index)
    }

    /// Value `which` of the key at `index`; from [`Sets::values_per_key`] on values of other keys.
    #[must_use]
    pub fn value(&self, index: u64, which: u64) -> E {
        self.values.key(index * self.values_per_key + which)
    }

    /// A value of no key.
    #[must_use]
    pub fn absent_value(&self, index: u64) -> E {
        let value = self.value(index, 0);
        E { high: value.high, low: !value.low }
    }

    /// All pairs of the keys from index `first` to `end`, in an order that puts the values of one key far apart.
    pub fn pairs(&self, first: u64, end: u64) -> impl Iterator<Item = (E, E)> + use<> {
        let sets = *self;
        let many = (end - first) * sets.values_per_key;
        let order = Pairs::new(many.max(1), 0);
        (0..many).map(move |step| {
            let place = order.index_after(0, step);
            let (index, which) = (first + place / sets.values_per_key, place % sets.values_per_key);
            (sets.key(index), sets.value(index, which))
        })
    }

    /// `many` random indices of keys, others for each `round`.
    pub fn sample(&self, round: u64, many: u64) -> impl Iterator<Item = u64> + use<> {
        self.keys.sample(round, many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn each_key_has_its_values_and_no_other() {
        let sets = Sets::new(50, 7, 3);
        let mut map: HashMap<E, HashSet<E>> = HashMap::new();
        for (key, value) in sets.pairs(10, 30) {
            assert!(map.entry(key).or_default().insert(value), "a pair came twice");
        }
        assert_eq!(map.len(), 20);
        for index in 10..30 {
            let expected: HashSet<E> = (0..7).map(|which| sets.value(index, which)).collect();
            assert_eq!(map[&sets.key(index)], expected);
            assert!(!expected.contains(&sets.absent_value(index)));
        }
    }
}
