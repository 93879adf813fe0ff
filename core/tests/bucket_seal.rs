//! What `check_sealed` finds: each rule of a sealed page broken by itself, the checksums mended after it,
//! so that no other check can find it first.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]
#![cfg(not(loom))]

use std::sync::atomic::{AtomicU64, Ordering};

use cidstore_core::hash::HashSeed;
use cidstore_core::layout::PAGE_WORDS;
use cidstore_core::layout::bucket::BucketPage;
use cidstore_core::layout::entry::{HashEntry, SetReference, SpillPointer};
use cidstore_core::protocol::bucket_build::{self, Header, Item};
use cidstore_core::protocol::bucket_seal::{SealFault, check_sealed, entry_checksum, seal};
use cidstore_core::protocol::content::{Content, InlineValues};
use cidstore_core::protocol::word::Page;
use cidstore_core::{E, ecc};

const SEED: HashSeed = HashSeed::new(1, 2);

/// A page with a key of one value, a key of four, and a spilled one, all of one prefix.
fn sealed() -> BucketPage {
    let mut keys = (0..).map(E::from).filter(|&key| SEED.hash(key).directory_index(2) == 1);
    let mut item = |content| {
        let key = keys.next().unwrap();
        Item { hash: SEED.hash(key), key, content }
    };
    let inline = |count| {
        let values: Vec<E> = (0..count).map(E::from).collect();
        Content::Inline(InlineValues::new(&values).unwrap())
    };
    let reference = SetReference { page: 7, extent: Some(3) }.encode();
    let spilled = Content::Spilled(SpillPointer { reference, ..SpillPointer::default() });
    let items = [item(inline(1)), item(inline(4)), item(spilled), item(inline(2))];
    let page: Page = [const { AtomicU64::new(0) }; PAGE_WORDS];
    let header = Header { local_depth: 2, prefix: 1, generation: 5, overflow: 0 };
    bucket_build::build(&page, &header, &items).unwrap();
    let words: [u64; PAGE_WORDS] = page.map(|word| word.load(Ordering::Relaxed));
    let mut page: BucketPage = zerocopy::transmute!(words);
    seal(&mut page);
    page
}

/// The positions of entries with these flags.
fn with_flags(page: &BucketPage, flags: u8) -> Vec<usize> {
    let code = ecc::encode(flags);
    let entries = page.entries.iter().enumerate();
    entries.filter(|(_, entry)| entry.flags == code).map(|(position, _)| position).collect()
}

const LIVE: u8 = 1;
const SPILLED: u8 = 3;
const FIRST: u8 = 5;
const SECOND: u8 = 9;

/// What the check says when `damage` was done to the entry with these flags, its checksum mended.
fn fault_in(flags: u8, damage: impl FnOnce(&mut HashEntry)) -> (SealFault, u8) {
    let mut page = sealed();
    let position = with_flags(&page, flags)[0];
    damage(&mut page.entries[position]);
    page.entries[position].checksum = entry_checksum(&page.entries[position]);
    (check_sealed(&page, SEED).unwrap_err(), position as u8)
}

/// What the check says when `damage` was done to the page and nothing mended.
fn fault_after(damage: impl FnOnce(&mut BucketPage)) -> SealFault {
    let mut page = sealed();
    damage(&mut page);
    check_sealed(&page, SEED).unwrap_err()
}

#[test]
fn an_intact_page_passes() {
    assert_eq!(check_sealed(&sealed(), SEED), Ok(()));
}

#[test]
fn the_header_is_checked() {
    assert_eq!(fault_after(|page| page.header.kind = 0x4c56), SealFault::Kind { found: 0x4c56 });
    assert_eq!(fault_after(|page| page.header.local_depth = 29), SealFault::Header);
    assert_eq!(fault_after(|page| page.header.prefix = 5), SealFault::Header);
    assert_eq!(fault_after(|page| page.header.reserved[4] = 1), SealFault::Header);
    assert_eq!(fault_after(|page| page.header.reserved_sequence = 1), SealFault::Header);
    assert_eq!(fault_after(|page| page.header.reserved_overflow = 1), SealFault::Header);
    assert_eq!(fault_after(|page| page.header.reserved_counts = 1), SealFault::Header);
    assert_eq!(fault_after(|page| page.header.reserved_tail = 1), SealFault::Header);
    assert_eq!(fault_after(|page| page.header.unsorted |= 1 << 62), SealFault::Header);
    assert_eq!(fault_after(|page| page.tags_spare[0] = 1), SealFault::Header);
    assert_eq!(fault_after(|page| page.header.entry_count += 1), SealFault::Counts);
    assert_eq!(fault_after(|page| page.header.sorted_count -= 1), SealFault::Counts);
}

#[test]
fn free_positions_are_zero() {
    let free = sealed().tags.iter().position(|&tag| tag == 0).unwrap();
    let index = free as u8;
    let not_wiped = SealFault::NotWiped { index };
    assert_eq!(fault_after(|page| page.entries[free].slots[3] = 1), not_wiped);
    assert_eq!(fault_after(|page| page.header.unsorted = 1 << free), not_wiped);
    let gone = with_flags(&sealed(), LIVE)[0];
    let fault = fault_after(|page| page.tags[gone] = 0);
    assert_eq!(fault, SealFault::NotWiped { index: gone as u8 });
}

#[test]
fn the_checksum_is_checked() {
    let position = with_flags(&sealed(), LIVE)[0];
    let fault = fault_after(|page| page.entries[position].slots[0] ^= 1 << 40);
    let index = position as u8;
    assert!(matches!(fault, SealFault::Checksum { index: found, .. } if found == index));
}

/// A change that makes an entry wrong.
type Damage = fn(&mut HashEntry);

#[test]
fn impossible_states_are_found() {
    let damages: [(u8, Damage); 11] = [
        (LIVE, |entry| entry.state_mask ^= 1),
        (LIVE, |entry| entry.flags ^= 0x80),
        (LIVE, |entry| entry.state_mask = 0),
        (LIVE, |entry| entry.flags = 0),
        (LIVE, |entry| entry.state_mask = ecc::encode(4)),
        (LIVE, |entry| entry.reserved = 1),
        (LIVE, |entry| entry.reserved_tail = 1),
        (SPILLED, |entry| entry.state_mask = ecc::encode(1)),
        (SPILLED, |entry| entry.slots[0] = 1 << 60),
        (SPILLED, |entry| entry.flags = ecc::encode(7)),
        (SECOND, |entry| entry.state_mask = ecc::encode(1)),
    ];
    for (number, (flags, damage)) in damages.into_iter().enumerate() {
        let (fault, index) = fault_in(flags, damage);
        assert_eq!(fault, SealFault::State { index }, "damage {number}");
    }
}

#[test]
fn a_key_in_the_wrong_place_is_found() {
    let position = with_flags(&sealed(), LIVE)[0];
    let index = position as u8;
    let tag = sealed().tags[position];
    let found = tag ^ 0x10;
    let fault = fault_after(|page| page.tags[position] = found);
    assert_eq!(fault, SealFault::Tag { index, expected: tag, found });
    // A key of the same tag in another bucket.
    let stranger = (0..)
        .map(|low| E::new(9, low))
        .find(|&key| SEED.hash(key).tag() == tag && SEED.hash(key).directory_index(2) != 1)
        .unwrap();
    let (fault, index) = fault_in(LIVE, |entry| {
        (entry.key_high, entry.key_low) = (stranger.high, stranger.low);
    });
    assert_eq!(fault, SealFault::Prefix { index });
}

#[test]
fn entries_that_do_not_go_together_are_found() {
    let (fault, _) = fault_in(FIRST, |entry| entry.flags = ecc::encode(LIVE));
    assert!(matches!(fault, SealFault::Pair { .. }));
    let (fault, _) = fault_in(SECOND, |entry| {
        entry.flags = ecc::encode(LIVE);
        entry.state_mask = ecc::encode(3);
    });
    assert!(matches!(fault, SealFault::Pair { .. }));
    let (fault, index) = fault_in(LIVE, |entry| entry.flags = ecc::encode(FIRST));
    assert_eq!(fault, SealFault::Pair { index });
}

#[test]
fn an_entry_out_of_order_is_found() {
    let lone = with_flags(&sealed(), LIVE);
    let fault = fault_after(|page| {
        page.entries.swap(lone[0], lone[1]);
        page.tags.swap(lone[0], lone[1]);
    });
    assert!(matches!(fault, SealFault::Order { .. }));
    // The same page is sound if the entry is marked as unsorted.
    let mut page = sealed();
    page.entries.swap(lone[0], lone[1]);
    page.tags.swap(lone[0], lone[1]);
    page.header.unsorted = 1 << lone[0] | 1 << lone[1];
    page.header.sorted_count -= 2;
    assert_eq!(check_sealed(&page, SEED), Ok(()));
}

/// What was deleted does not reach the file.
#[test]
fn sealing_wipes_dead_positions() {
    let mut page = sealed();
    let gone = with_flags(&page, LIVE)[0];
    page.tags[gone] = 0;
    page.entries[gone].flags = 0;
    page.header.entry_count -= 1;
    page.header.sorted_count -= 1;
    seal(&mut page);
    assert_eq!(page.entries[gone], HashEntry::default());
    assert_eq!(check_sealed(&page, SEED), Ok(()));
}
