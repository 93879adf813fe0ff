//! The oracle: what a hash multimap is, told by an ordered map of ordered sets.
//!
//! Each writing method answers what the store's method of the same name must answer.

use std::collections::{BTreeMap, BTreeSet};

use cidstore_core::E;

use crate::random::scramble;

/// `E` as the number that it stands for, spelled out here so that the oracle does not lean on the
/// conversions under test.
#[must_use]
pub fn number(e: E) -> u128 {
    u128::from(e.high) << 64 | u128::from(e.low)
}

/// The `E` that stands for `number`.
#[must_use]
pub fn element(number: u128) -> E {
    E::new((number >> 64) as u64, number as u64)
}

/// Number `index` of the universe that model tests draw keys and values from.
///
/// Four families in turn, because each has gone wrong in some store: small numbers (only the low half
/// differs; index 0 is the number zero), numbers of which only the high half differs, the largest numbers,
/// and numbers that look random.
#[must_use]
pub fn universe(index: u16) -> u128 {
    let rank = u128::from(index / 4);
    match index % 4 {
        0 => rank,
        1 => (rank + 1) << 64,
        2 => u128::MAX - rank,
        _ => {
            let seed = u64::from(index);
            u128::from(scramble(seed)) << 64 | u128::from(scramble(!seed))
        }
    }
}

/// Keys, each with its set of values. A key without values is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    sets: BTreeMap<u128, BTreeSet<u128>>,
}

impl Model {
    /// An empty multimap.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a pair; true if it is new.
    pub fn insert(&mut self, key: u128, value: u128) -> bool {
        self.sets.entry(key).or_default().insert(value)
    }

    /// Adds pairs; how many are new.
    pub fn insert_all(&mut self, pairs: impl IntoIterator<Item = (u128, u128)>) -> u64 {
        pairs.into_iter().map(|(key, value)| u64::from(self.insert(key, value))).sum()
    }

    /// Removes a key; how many values went.
    pub fn delete(&mut self, key: u128) -> u64 {
        self.sets.remove(&key).map_or(0, |set| set.len() as u64)
    }

    /// Removes keys; how many values went.
    pub fn delete_all(&mut self, keys: impl IntoIterator<Item = u128>) -> u64 {
        keys.into_iter().map(|key| self.delete(key)).sum()
    }

    /// Removes a pair; true if it was there.
    pub fn delete_value(&mut self, key: u128, value: u128) -> bool {
        let Some(set) = self.sets.get_mut(&key) else { return false };
        let was_there = set.remove(&value);
        if set.is_empty() {
            self.sets.remove(&key);
        }
        was_there
    }

    /// The values of a key; none for a key that is not there.
    #[must_use]
    pub fn get(&self, key: u128) -> BTreeSet<u128> {
        self.sets.get(&key).cloned().unwrap_or_default()
    }

    /// How many values a key has.
    #[must_use]
    pub fn count(&self, key: u128) -> u64 {
        self.sets.get(&key).map_or(0, |set| set.len() as u64)
    }

    /// True if the pair is there.
    #[must_use]
    pub fn contains(&self, key: u128, value: u128) -> bool {
        self.sets.get(&key).is_some_and(|set| set.contains(&value))
    }

    /// True if the key has a value.
    #[must_use]
    pub fn contains_key(&self, key: u128) -> bool {
        self.sets.contains_key(&key)
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.sets.len() as u64
    }

    /// True if there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Number of pairs.
    #[must_use]
    pub fn value_len(&self) -> u64 {
        self.sets.values().map(|set| set.len() as u64).sum()
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = u128> + '_ {
        self.sets.keys().copied()
    }

    /// The keys with their sets, in order.
    pub fn sets(&self) -> impl Iterator<Item = (u128, &BTreeSet<u128>)> + '_ {
        self.sets.iter().map(|(key, set)| (*key, set))
    }

    /// The pairs, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (u128, u128)> + '_ {
        self.sets.iter().flat_map(|(key, set)| set.iter().map(move |value| (*key, *value)))
    }
}

impl FromIterator<(u128, u128)> for Model {
    fn from_iter<T: IntoIterator<Item = (u128, u128)>>(pairs: T) -> Self {
        let mut model = Self::new();
        model.insert_all(pairs);
        model
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_universe_has_no_twins() {
        let numbers: BTreeSet<u128> = (0..=u16::MAX).map(universe).collect();
        assert_eq!(numbers.len(), 1 << 16);
        assert_eq!(universe(0), 0);
        assert_eq!(universe(2), u128::MAX);
        assert!((0..=u16::MAX).map(universe).all(|it| number(element(it)) == it));
    }

    /// The oracle's own oracle: a list of pairs, searched from end to end.
    #[test]
    fn the_model_is_a_list_of_distinct_pairs() {
        let mut random = crate::random::Random::new(5);
        let (mut model, mut list) = (Model::new(), Vec::<(u128, u128)>::new());
        for _ in 0..5000 {
            let pair = (random.below(5).into(), random.below(7).into());
            let was_there = list.contains(&pair);
            match random.below(8) {
                0..4 => {
                    assert_eq!(model.insert(pair.0, pair.1), !was_there);
                    list.retain(|it| *it != pair);
                    list.push(pair);
                }
                4..7 => {
                    assert_eq!(model.delete_value(pair.0, pair.1), was_there);
                    list.retain(|it| *it != pair);
                }
                _ => {
                    let count = list.iter().filter(|(key, _)| *key == pair.0).count() as u64;
                    assert_eq!(model.count(pair.0), count);
                    assert_eq!(model.delete(pair.0), count);
                    list.retain(|(key, _)| *key != pair.0);
                }
            }
            list.sort_unstable();
            assert!(model.pairs().eq(list.iter().copied()));
            assert_eq!(model.value_len(), list.len() as u64);
        }
    }
}
