//! Value sets against ordered sets of the standard library, on pages in memory.

mod damage;
mod edges;
mod figures;
mod model;
mod steps;
mod stress;

use std::collections::{BTreeMap, BTreeSet};

use cidstore_core::E;
use cidstore_core::layout::entry::SpillPointer;

use super::mock::{Frozen, MockPages};
use super::{
    ExtentAllocator, Insert, Remove, SetView, Sets, contains, count, read_all, tombstones, verify,
};

/// What the store does around the sets: the entry of each key, and limbo at the end of each batch.
struct Keys {
    pages: MockPages,
    alloc: ExtentAllocator,
    sets: BTreeMap<E, SpillPointer>,
    model: BTreeMap<E, BTreeSet<E>>,
}

/// The sets and the model as they were at a cut.
struct Past {
    view: Frozen,
    sets: BTreeMap<E, SpillPointer>,
    model: BTreeMap<E, BTreeSet<E>>,
}

impl Keys {
    fn new(page_max: usize) -> Self {
        Self {
            pages: MockPages::new(page_max),
            alloc: ExtentAllocator::default(),
            sets: BTreeMap::new(),
            model: BTreeMap::new(),
        }
    }

    fn sets(&mut self) -> Sets<'_, MockPages> {
        Sets::new(&mut self.pages, &mut self.alloc)
    }

    fn create(&mut self, key: E, values: &[E]) {
        assert!(!self.sets.contains_key(&key));
        let set = self.sets().create(key, values);
        self.sets.insert(key, set);
        self.model.insert(key, values.iter().copied().collect());
    }

    /// Inserts as the store does, and checks the answer.
    fn insert(&mut self, key: E, value: E) {
        let Some(set) = self.sets.get(&key).copied() else {
            return self.create(key, &[value]);
        };
        let is_new = self.model.entry(key).or_default().insert(value);
        let answer = match self.sets().insert(key, &set, value).unwrap() {
            Insert::Full => {
                let moved = self.move_set(key);
                let again = self.sets().insert(key, &moved, value).unwrap();
                assert_ne!(again, Insert::Full, "no room after relocation");
                again
            }
            answer => answer,
        };
        match answer {
            Insert::Added(set) => assert!(is_new && self.sets.insert(key, set).is_some()),
            _ => assert!(!is_new, "{value:?} of {key:?} is not there"),
        }
    }

    fn move_set(&mut self, key: E) -> SpillPointer {
        let old = self.sets[&key];
        let moved = self.sets().relocate(key, &old).unwrap();
        assert_eq!(moved.checksum(), old.checksum());
        self.replace(key, moved);
        moved
    }

    fn replace(&mut self, key: E, set: SpillPointer) {
        let old = self.sets.insert(key, set).unwrap();
        self.sets().retire_set(key, &old).unwrap();
    }

    fn remove(&mut self, key: E, value: E) {
        let Some(set) = self.sets.get(&key).copied() else { return };
        let was_there = self.model.get_mut(&key).unwrap().remove(&value);
        match self.sets().remove(key, &set, value).unwrap() {
            Remove::Removed(set) => assert!(was_there && self.sets.insert(key, set).is_some()),
            Remove::Absent => assert!(!was_there, "{value:?} of {key:?} is there"),
        }
    }

    fn remove_key(&mut self, key: E) {
        let Some(set) = self.sets.remove(&key) else { return };
        self.sets().retire_set(key, &set).unwrap();
        self.model.remove(&key);
    }

    fn compact(&mut self, key: E) {
        let Some(set) = self.sets.get(&key).copied() else { return };
        if let Some(moved) = self.sets().compact(key, &set).unwrap() {
            self.replace(key, moved);
        }
    }

    fn freeze(&mut self) -> Past {
        let (sets, model) = (self.sets.clone(), self.model.clone());
        Past { view: self.pages.freeze(), sets, model }
    }

    /// The end of a batch.
    fn advance(&mut self) {
        self.pages.advance(&mut self.alloc);
    }

    /// Compares everything with the model, and the pages that sets use with those in use.
    fn check(&mut self) {
        // Twice: extents that come back may give their page back.
        self.advance();
        self.advance();
        self.advance();
        let used = check_sets(&*self.pages.arena, &self.sets, &self.model);
        assert_eq!(used, self.pages.numbers, "pages lost or used without being allocated");
        assert_eq!(self.pages.pages_in_use(), used.len());
    }
}

impl Past {
    fn check(&self) {
        self.view.check();
        check_sets(&self.view, &self.sets, &self.model);
    }
}

/// Checks all sets against the model, and answers the pages that they use.
fn check_sets<V: SetView>(
    view: &V,
    sets: &BTreeMap<E, SpillPointer>,
    model: &BTreeMap<E, BTreeSet<E>>,
) -> BTreeSet<u32> {
    assert!(sets.keys().eq(model.keys()));
    let mut used = BTreeSet::new();
    for (key, set) in sets {
        let expected = &model[key];
        let report = verify(view, *key, set, |page| _ = used.insert(page)).unwrap();
        assert_eq!(report.count, expected.len() as u64);
        assert_eq!(count(view, set.reference), Ok(report.count));
        assert_eq!(tombstones(view, set.reference), Ok(report.tombstones));
        let mut values = Vec::new();
        read_all(view, set.reference, |chunk| values.extend_from_slice(chunk)).unwrap();
        values.sort_unstable();
        assert!(values.iter().eq(expected), "{key:?} has other values");
        for value in expected.iter().step_by(expected.len() / 50 + 1) {
            assert_eq!(contains(view, set.reference, *value), Ok(true));
            let near = E::new(value.high, value.low.wrapping_add(1));
            assert_eq!(contains(view, set.reference, near), Ok(expected.contains(&near)));
        }
    }
    used
}

/// A sequence of numbers that looks random and never repeats.
fn scattered(index: u64) -> E {
    let mut bits = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    E::new(bits ^ bits >> 29, index)
}
