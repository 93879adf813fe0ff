//! The keys of a fresh page: their order, and where they go.
//!
//! They lie in the order of their hashes, so of their homes, and as many as that allows lie at home: there a reader finds its
//! key in the line that it asked for first. A key that comes behind `before` positions' worth of others is at home if it is shifted by
//! `home - before` positions. Shifts never fall from key to key, or two would share a position. So the most keys are at home if
//! these form a longest sequence of shifts that never fall, which is found in one pass (Schensted 1961). The others are shifted as
//! near to their home as those around them allow.

use crate::hash::KeyHash;
use crate::layout::bucket::ENTRIES_PER_BUCKET;

/// What belongs to keys of a page, in the order of their hashes.
#[derive(Debug)]
pub(super) struct Ranked<T> {
    /// Each takes a position of the page at least, so there are not more of them.
    keys: [Key<T>; ENTRIES_PER_BUCKET],
    count: usize,
    needed: usize,
}

#[derive(Clone, Copy, Debug)]
struct Key<T> {
    hash: KeyHash,
    /// Positions that it takes.
    width: u8,
    what: T,
}

impl<T: Copy> Ranked<T> {
    /// Nothing; `blank` means nothing.
    pub(super) const fn new(blank: T) -> Self {
        let key = Key { hash: KeyHash(0), width: 0, what: blank };
        Self { keys: [key; ENTRIES_PER_BUCKET], count: 0, needed: 0 }
    }

    /// Adds a key that takes `width` positions. One that takes none is left out. Keys come from other pages, nearly in order, and
    /// for such a sort by insertion is the fastest.
    #[inline]
    pub(super) fn insert(&mut self, hash: KeyHash, width: usize, what: T) {
        if width == 0 {
            return;
        }
        let mut at = self.count;
        while at > 0 && self.keys[at - 1].hash.order() > hash.order() {
            self.keys[at] = self.keys[at - 1];
            at -= 1;
        }
        self.keys[at] = Key { hash, width: width as u8, what };
        self.count += 1;
        self.needed += width;
    }

    /// Positions that all keys take.
    pub(super) const fn needed(&self) -> usize {
        self.needed
    }

    /// All keys with their positions in a page of so many entries, at least as many as are needed.
    pub(super) fn places(&self, entries: usize) -> impl Iterator<Item = (usize, KeyHash, &T)> {
        let shifts = self.shifts(entries);
        let mut before = 0;
        self.keys[..self.count].iter().zip(shifts).map(move |(key, shift)| {
            let position = before + usize::from(shift);
            before += usize::from(key.width);
            (position, key.hash, &key.what)
        })
    }

    /// By how many positions each key lies behind where it would lie if all were packed at the start of the page.
    fn shifts(&self, entries: usize) -> [u8; ENTRIES_PER_BUCKET] {
        let shift_max = (entries - self.needed) as i8;
        let mut wanted = [0_i8; ENTRIES_PER_BUCKET];
        let mut before = 0;
        for (wanted, key) in wanted.iter_mut().zip(&self.keys[..self.count]) {
            *wanted = key.hash.home(entries) as i8 - before;
            before += key.width as i8;
        }
        let wanted = &wanted[..self.count];
        let at_home = longest_rise(wanted, shift_max);
        // Each key's shift is at most that of the next one that is at home.
        let mut limits = [shift_max; ENTRIES_PER_BUCKET];
        let mut limit = shift_max;
        for (index, &wanted) in wanted.iter().enumerate().rev() {
            if at_home >> index & 1 != 0 {
                limit = wanted;
            }
            limits[index] = limit;
        }
        let mut shifts = [0; ENTRIES_PER_BUCKET];
        let mut shift = 0;
        for (index, &wanted) in wanted.iter().enumerate() {
            shift = wanted.clamp(shift, limits[index]);
            shifts[index] = shift as u8;
        }
        shifts
    }
}

/// A longest sequence of these numbers, in their order, that lie from 0 to `max` and never fall: one bit for each that is in it.
fn longest_rise(numbers: &[i8], max: i8) -> u64 {
    // Of the sequences so far of each length the one with the lowest end: that number, and where it is.
    let mut ends = [(0_i8, 0_u8); ENTRIES_PER_BUCKET];
    // Which number comes before each in the sequence that ends with it.
    let mut previous = [0_u8; ENTRIES_PER_BUCKET];
    let mut length = 0;
    for (index, &number) in numbers.iter().enumerate() {
        if !(0..=max).contains(&number) {
            continue;
        }
        // From the longest on: shifts rise, so most numbers go to the end of one of the longest.
        let mut at = length;
        while at > 0 && ends[at - 1].0 > number {
            at -= 1;
        }
        if at > 0 {
            previous[index] = ends[at - 1].1;
        }
        ends[at] = (number, index as u8);
        length = length.max(at + 1);
    }
    let mut chosen = 0;
    let mut index = length.checked_sub(1).map_or(0, |last| ends[last].1);
    for _ in 0..length {
        chosen |= 1 << index;
        index = previous[usize::from(index)];
    }
    chosen
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Length of a longest sequence that never falls, each number tried as the next.
    fn naive(numbers: &[i8], max: i8) -> u32 {
        let mut best: Vec<u32> = Vec::new();
        for (index, &number) in numbers.iter().enumerate() {
            let fits = (0..=max).contains(&number);
            let before = (0..index).filter(|&other| numbers[other] <= number);
            let longest = before.map(|other| best[other]).max().unwrap_or(0);
            best.push(if fits { longest + 1 } else { 0 });
        }
        best.into_iter().max().unwrap_or(0)
    }

    /// A hash with this home in a page of 62 entries; `rest` tells apart those of one home.
    fn hash(home: u64, rest: u64) -> KeyHash {
        let hash = KeyHash((home << 24).div_ceil(62) << 40 | rest);
        assert_eq!(hash.home(ENTRIES_PER_BUCKET) as u64, home);
        hash
    }

    proptest! {
        #[test]
        fn the_longest_rise_is_found(numbers in prop::collection::vec(-9..40_i8, 0..62), max in 0..40_i8) {
            let chosen = longest_rise(&numbers, max);
            prop_assert_eq!(chosen.count_ones(), naive(&numbers, max));
            let rise: Vec<i8> =
                (0..numbers.len()).filter(|index| chosen >> index & 1 != 0).map(|index| numbers[index]).collect();
            prop_assert!(rise.is_sorted() && rise.iter().all(|number| (0..=max).contains(number)));
        }

        #[test]
        fn keys_are_in_order_side_by_side_and_near_their_homes(
            keys in prop::collection::vec((0..62_u64, 1..=2_usize), 0..62),
        ) {
            let mut ranked = Ranked::new(0);
            for (index, &(home, width)) in keys.iter().enumerate() {
                if ranked.needed() + width <= ENTRIES_PER_BUCKET {
                    ranked.insert(hash(home, index as u64), width, index);
                }
            }
            let mut owners = [None; ENTRIES_PER_BUCKET];
            let mut places = Vec::new();
            for (position, hash, &index) in ranked.places(ENTRIES_PER_BUCKET) {
                places.push((position, hash, index));
                for owner in &mut owners[position..position + keys[index].1] {
                    prop_assert_eq!(owner.replace(index), None);
                }
            }
            prop_assert!(places.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
            prop_assert_eq!(owners.iter().flatten().count(), ranked.needed());
            for (position, hash, _) in places {
                let home = hash.home(ENTRIES_PER_BUCKET);
                let between = position.min(home)..=position.max(home);
                prop_assert!(owners[between].iter().all(Option::is_some), "a free position before home");
            }
        }
    }

    #[test]
    fn most_keys_of_a_page_with_room_are_at_home() {
        let (mut at_home, mut all) = (0, 0);
        let mut state = 1_u64;
        for _ in 0..1_000 {
            let mut ranked = Ranked::new(());
            for _ in 0..38 {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                ranked.insert(KeyHash(state), 1, ());
            }
            let is_at_home =
                |&(position, hash, ()): &(usize, KeyHash, &())| position == hash.home(62);
            at_home += ranked.places(62).filter(is_at_home).count();
            all += 38;
        }
        let share = f64::from(at_home as u32) / f64::from(all);
        assert!(share > 0.6, "{share} at home");
    }
}
