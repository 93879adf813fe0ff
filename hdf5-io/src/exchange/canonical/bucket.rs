//! The bytes of a canonical bucket page.

use cidstore_core::E;
use cidstore_core::ecc;
use cidstore_core::hash::HashSeed;
use cidstore_core::layout::PageKind;
use cidstore_core::layout::bucket::{BucketHeader, BucketPage, ENTRIES_PER_BUCKET};
use cidstore_core::layout::entry::{EntryFlags, HashEntry, SpillPointer, VALUES_PER_ENTRY};
use cidstore_core::protocol::content::{Content, InlineValues};
use zerocopy::FromZeros;

use super::GENERATION;

/// Version of every entry: its position was published once.
const VERSION: u32 = 1;

/// A key with what its page is to say about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    /// The key.
    pub(crate) key: E,
    /// Its values in ascending order, or its value set.
    pub(crate) content: Content,
}

impl Item {
    /// A key with these inline values.
    pub(crate) fn inline(key: E, values: &InlineValues) -> Self {
        let mut sorted = [E::ZERO; 4];
        let count = values.len();
        let sorted = &mut sorted[..count.min(4)];
        sorted.copy_from_slice(values.as_slice());
        sorted.sort_unstable();
        // As many as there were.
        let content = InlineValues::new(sorted).unwrap_or(*values);
        Self { key, content: Content::Inline(content) }
    }
}

/// Where a page stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The hash bits that all keys share.
    pub(crate) prefix: u32,
    /// How many bits those are.
    pub(crate) local_depth: u8,
    /// Overflow number of the next page of the chain, 0 for none.
    pub(crate) overflow: u32,
}

/// Fills a page with items in ascending order of keys. Entry checksums are left zero: see `bucket_seal`.
///
/// The caller counted the entries; those beyond a page's positions would be left out.
pub(crate) fn build(page: &mut BucketPage, place: Place, items: &[Item], seed: HashSeed) {
    page.zero();
    let mut count = 0;
    let positions = page.tags.iter_mut().zip(&mut page.entries);
    let entries = items.iter().flat_map(|item| {
        let tag = seed.hash(item.key).tag();
        let (first, second) = entries_of(item);
        std::iter::once(first).chain(second).map(move |entry| (tag, entry))
    });
    for ((tag_place, entry_place), (tag, entry)) in positions.zip(entries) {
        *tag_place = tag;
        *entry_place = entry;
        count += 1;
    }
    page.header = BucketHeader {
        kind: PageKind::Bucket as u16,
        local_depth: place.local_depth,
        generation: GENERATION,
        overflow: place.overflow,
        entry_count: count,
        prefix: place.prefix.into(),
        // Key order is not the hash order that `sorted_count` counts.
        unsorted: (1 << count.min(ENTRIES_PER_BUCKET as u16)) - 1,
        ..BucketHeader::new_zeroed()
    };
}

fn entries_of(item: &Item) -> (HashEntry, Option<HashEntry>) {
    let values = match &item.content {
        Content::Spilled(pointer) => return (spilled(item.key, *pointer), None),
        Content::Inline(values) => values.as_slice(),
    };
    let (first, rest) = values.split_at(values.len().min(VALUES_PER_ENTRY));
    if rest.is_empty() {
        return (half(item.key, first, 0, EntryFlags::LIVE), None);
    }
    let primary = half(item.key, first, 0, EntryFlags::LIVE | EntryFlags::HAS_SECOND);
    let shift = VALUES_PER_ENTRY as u32;
    (primary, Some(half(item.key, rest, shift, EntryFlags::LIVE | EntryFlags::IS_SECOND)))
}

fn entry(key: E, slots: [u64; 4], mask: u8, flags: u8) -> HashEntry {
    HashEntry {
        key_high: key.high,
        key_low: key.low,
        slots,
        state_mask: ecc::encode(mask),
        flags: ecc::encode(flags),
        version: VERSION,
        ..HashEntry::default()
    }
}

fn spilled(key: E, pointer: SpillPointer) -> HashEntry {
    entry(key, pointer.to_slots(), 0, EntryFlags::LIVE | EntryFlags::SPILLED)
}

/// An entry with one or two values; the mask's bits for them begin at `shift`.
fn half(key: E, values: &[E], shift: u32, flags: u8) -> HashEntry {
    let mut slots = [0; 4];
    for (place, value) in slots.chunks_exact_mut(2).zip(values) {
        place.copy_from_slice(&[value.high, value.low]);
    }
    entry(key, slots, ((1_u8 << values.len()) - 1) << shift, flags)
}

#[cfg(test)]
mod tests {
    use cidstore_core::protocol::bucket_seal;

    use super::*;

    /// The store's own check of sealed pages is the oracle.
    #[test]
    fn a_page_is_a_sealed_page_of_the_store() {
        let seed = HashSeed::new(3, 4);
        let mut items: Vec<Item> = (0..20_u64)
            .map(|key| {
                let values: Vec<E> = (0..=key % 4).rev().map(|value| E::new(value, key)).collect();
                Item::inline(E::from(key), &InlineValues::new(&values).unwrap())
            })
            .collect();
        let pointer = SpillPointer { reference: 7, value_count: 9, ..SpillPointer::default() };
        items.push(Item { key: E::from(99), content: Content::Spilled(pointer) });
        let mut page = BucketPage::new_zeroed();
        let place = Place { prefix: 0, local_depth: 0, overflow: 0 };
        build(&mut page, place, &items, seed);
        bucket_seal::seal(&mut page);
        bucket_seal::check_sealed(&page, seed).unwrap();
        assert_eq!(usize::from(page.header.entry_count), 20 + 10 + 1);
        let keys: Vec<E> = page.entries[..31].iter().map(HashEntry::key).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        assert_eq!(page.entries[1].slots, [0, 1, 1, 1], "values ascend");
    }
}
