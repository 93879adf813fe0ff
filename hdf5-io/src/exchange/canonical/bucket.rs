//! The bytes of a canonical bucket page.

use cidstore_core::layout::PageKind;
use cidstore_core::layout::bucket::{BucketHeader, BucketPage, ENTRIES_PER_BUCKET};
use cidstore_core::layout::entry::HashEntry;
use zerocopy::FromZeros;

use super::GENERATION;

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

/// Makes `page`, whatever it was, one of these entries, which are canonical and in order, with their tags. Entry checksums
/// are left as they are: see `bucket_seal`.
///
/// The caller counted the entries; those beyond a page's positions would be left out.
pub(crate) fn fill(page: &mut BucketPage, place: Place, tags: &[u8], entries: &[HashEntry]) {
    let count = entries.len().min(ENTRIES_PER_BUCKET);
    page.header = BucketHeader {
        kind: PageKind::Bucket as u16,
        local_depth: place.local_depth,
        generation: GENERATION,
        overflow: place.overflow,
        entry_count: count as u16,
        prefix: place.prefix.into(),
        // Key order is not the hash order that `sorted_count` counts.
        unsorted: (1 << count) - 1,
        ..BucketHeader::new_zeroed()
    };
    let (used, spare) = page.tags.split_at_mut(count);
    used.copy_from_slice(&tags[..count]);
    spare.fill(0);
    page.tags_spare.fill(0);
    let (used, spare) = page.entries.split_at_mut(count);
    used.copy_from_slice(&entries[..count]);
    spare.zero();
}

#[cfg(test)]
mod tests {
    use cidstore_core::E;
    use cidstore_core::hash::HashSeed;
    use cidstore_core::layout::PAGE_BYTES;
    use cidstore_core::layout::entry::SpillPointer;
    use cidstore_core::protocol::bucket_build::{self, Header, Item};
    use cidstore_core::protocol::bucket_seal;
    use cidstore_core::protocol::content::{Content, InlineValues};
    use cidstore_core::protocol::word::Page;
    use zerocopy::FromBytes;

    use super::super::lines::Lines;
    use super::*;

    /// The store's own check of sealed pages is the oracle.
    #[test]
    fn a_page_is_a_sealed_page_of_the_store() {
        let seed = HashSeed::new(3, 4);
        let mut contents: Vec<(E, Content)> = (0..20_u64)
            .map(|key| {
                let values: Vec<E> = (0..=key % 4).rev().map(|value| E::new(value, key)).collect();
                (E::from(key), Content::Inline(InlineValues::new(&values).unwrap()))
            })
            .collect();
        let pointer = SpillPointer { reference: 7, value_count: 9, ..SpillPointer::default() };
        contents.push((E::from(99), Content::Spilled(pointer)));
        let items: Vec<Item> = contents
            .iter()
            .map(|&(key, content)| Item { hash: seed.hash(key), key, content })
            .collect();
        let source: Page = std::array::from_fn(|_| 0_u64.into());
        let header = Header { local_depth: 0, prefix: 0, generation: 1, overflow: 0 };
        bucket_build::build(&source, &header, &items).unwrap();
        let source = zerocopy::transmute!(source.map(std::sync::atomic::AtomicU64::into_inner));
        let mut lines = Lines::default();
        lines.add(&source, |_| true).unwrap();
        assert_eq!(lines.settle(), Ok(21));

        let place = Place { prefix: 0, local_depth: 0, overflow: 0 };
        // A page is filled over another one, of which nothing may shine through.
        let mut page = BucketPage::read_from_bytes(&[0xff; PAGE_BYTES]).unwrap();
        fill(&mut page, place, &lines.tags, &lines.entries);
        bucket_seal::seal(&mut page);
        bucket_seal::check_sealed(&page, seed).unwrap();
        assert_eq!(usize::from(page.header.entry_count), 20 + 10 + 1);
        let keys: Vec<E> = page.entries[..31].iter().map(HashEntry::key).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        assert_eq!(page.entries[1].slots, [0, 1, 1, 1], "values ascend");
    }
}
