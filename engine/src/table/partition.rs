//! Which buckets a directory divides the hashes into, told from its slots alone.
//!
//! A bucket of local depth `l` is named by all slots whose lowest `l` bits are its prefix, and by no other. So at the
//! directory's own depth the two slots that differ in the uppermost bit only either name one bucket, and stand for one slot of
//! a directory half as long, or are a bucket each. That is asked again of the half, and so on: each pass reads two runs
//! of memory from front to back. (Counting the slots of each page instead is shorter to write, but loads memory at
//! random for each slot: 3 of the 9 ms that opening ten million pairs took.)

use cidstore_core::layout::table::TableSlot;

/// Buckets that are told together: as many as stay in the nearest cache.
const CHUNK: usize = 1024;

/// A bucket as the directory names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryBucket {
    pub(crate) slot: TableSlot,
    pub(crate) local_depth: u32,
}

/// Tells each bucket of a directory, whose length is a power of two. Slots that name no page, or one page where no
/// bucket of a directory could lie, come as buckets of their own: whoever takes pages finds them named twice.
pub(crate) fn for_each_bucket<Fault>(
    slots: &[TableSlot],
    mut each: impl FnMut(DirectoryBucket) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut depth = slots.len().ilog2();
    // Per slot of the directory that is half as long: 1 if its buckets were told, else 0. A slot that was not told is
    // the same in all slots that it stands for, so the first of them says which it is.
    let mut told = vec![0_u8; slots.len()];
    while depth > 0 {
        let half = 1 << (depth - 1);
        let (lower, upper) = told.split_at_mut(half);
        let (low_slots, high_slots) = slots[..2 * half].split_at(half);
        for start in (0..half).step_by(CHUNK) {
            let end = half.min(start + CHUNK);
            let pairs = low_slots[start..end].iter().zip(&high_slots[start..end]);
            let pairs_told = lower[start..end].iter_mut().zip(&upper[start..end]);
            // Gathered without a branch that would be guessed wrong at every other slot.
            let mut found = [0_u32; 2 * CHUNK];
            let mut count = 0;
            for (at, ((low, high), (low_told, high_told))) in (start..).zip(pairs.zip(pairs_told)) {
                let differ = u8::from(low != high) | *low_told | high_told;
                for (told, index) in [(*low_told, at), (*high_told, at + half)] {
                    found[count % (2 * CHUNK)] = index as u32;
                    count += usize::from(differ & !told & 1);
                }
                *low_told = differ;
            }
            for &index in &found[..count] {
                each(DirectoryBucket { slot: slots[index as usize], local_depth: depth })?;
            }
        }
        depth -= 1;
    }
    if told[0] == 0 {
        each(DirectoryBucket { slot: slots[0], local_depth: 0 })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn buckets(slots: &[TableSlot]) -> Vec<DirectoryBucket> {
        let mut found = Vec::new();
        for_each_bucket(slots, |bucket| {
            found.push(bucket);
            Ok::<_, Infallible>(())
        })
        .unwrap();
        found
    }

    fn slot(page: u32) -> TableSlot {
        TableSlot { page, checksum: page ^ 0x55 }
    }

    /// A directory that grew by splits of whichever bucket the numbers choose.
    fn grown(choices: &[u32]) -> Vec<TableSlot> {
        let mut slots = vec![slot(1)];
        let mut local_depths = BTreeMap::from([(1, 0)]);
        for (new, choice) in (2..).zip(choices) {
            let page = slots[*choice as usize % slots.len()].page;
            let local = local_depths[&page];
            if slots.len() == 1 << local {
                if local == 10 {
                    continue;
                }
                slots.extend_from_within(..);
            }
            for (index, named) in slots.iter_mut().enumerate() {
                if named.page == page && index >> local & 1 == 1 {
                    *named = slot(new);
                }
            }
            local_depths.extend([(page, local + 1), (new, local + 1)]);
        }
        slots
    }

    proptest! {
        #[test]
        fn a_grown_directory_has_its_buckets_once(choices in prop::collection::vec(any::<u32>(), 0..200)) {
            let slots = grown(&choices);
            let depth = slots.len().ilog2();
            let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
            for named in &slots {
                *counts.entry(named.page).or_default() += 1;
            }
            let mut found = BTreeMap::new();
            for bucket in buckets(&slots) {
                prop_assert_eq!(bucket.slot, slot(bucket.slot.page));
                prop_assert!(found.insert(bucket.slot.page, 1 << (depth - bucket.local_depth)).is_none());
            }
            prop_assert_eq!(found, counts);
        }

        #[test]
        fn a_page_in_a_slot_of_another_bucket_is_told_twice(
            choices in prop::collection::vec(any::<u32>(), 1..100),
            from in any::<u32>(),
            to in any::<u32>(),
        ) {
            let mut slots = grown(&choices);
            let (from, to) = (from as usize % slots.len(), to as usize % slots.len());
            prop_assume!(slots[from] != slots[to]);
            let before = slots[to];
            slots[to] = slots[from];
            // Unless that was the one slot of its buddy: then it is what a merge leaves.
            let whole = grown_again(&slots);
            let mut pages: Vec<_> = buckets(&slots).iter().map(|bucket| bucket.slot.page).collect();
            let told = pages.len();
            pages.sort_unstable();
            pages.dedup();
            prop_assert_eq!(pages.len() == told, whole, "{:?} in slot {}, was {:?}", slots, to, before);
        }
    }

    /// Whether each page's slots are all that share its prefix, found by looking at all.
    fn grown_again(slots: &[TableSlot]) -> bool {
        let depth = slots.len().ilog2();
        slots.iter().all(|named| {
            let of_page = |index: &usize| slots[*index].page == named.page;
            let indexes: Vec<usize> = (0..slots.len()).filter(of_page).collect();
            (0..=depth).any(|local| {
                let sharing = |index: &usize| (index ^ indexes[0]) & ((1 << local) - 1) == 0;
                (0..slots.len()).filter(sharing).eq(indexes.iter().copied())
            })
        })
    }

    #[test]
    fn a_page_with_two_checksums_is_two_buckets() {
        let other = TableSlot { checksum: 0, ..slot(7) };
        let found = buckets(&[slot(7), other]);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|bucket| bucket.slot.page == 7 && bucket.local_depth == 1));
    }
}
