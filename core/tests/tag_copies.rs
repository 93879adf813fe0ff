//! Copies of tags: made once, of whatever the page is then, and again after they were given up.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![cfg(not(loom))]

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use cidstore_core::E;
use cidstore_core::hash::{HashSeed, KeyHash};
use cidstore_core::layout::bucket::{TAG_WORDS, TAGS_WORD};
use cidstore_core::layout::{NO_PAGE, PAGE_WORDS};
use cidstore_core::protocol::batch::glance_many;
use cidstore_core::protocol::bucket_build::{self, Header, Item};
use cidstore_core::protocol::content::{Content, InlineValues};
use cidstore_core::protocol::lookup::{Answer, Glance, LookupFault, View, glance, lookup, search};
use cidstore_core::protocol::tag_copy::TagCopy;
use cidstore_core::protocol::word::Page;

const SEED: HashSeed = HashSeed::new(1, 2);
const KEYS: u64 = 40;

fn hash(key: u64) -> KeyHash {
    SEED.hash(key.into())
}

fn page(keys: impl Iterator<Item = u64>, overflow: u32) -> Box<Page> {
    let page = Box::new([const { AtomicU64::new(0) }; PAGE_WORDS]);
    let header = Header { local_depth: 0, prefix: 0, generation: 1, overflow };
    let content = |key: u64| Content::Inline(InlineValues::one(key.into()));
    let items: Vec<Item> =
        keys.map(|key| Item { hash: hash(key), key: key.into(), content: content(key) }).collect();
    bucket_build::build(&page, &header, &items).unwrap();
    page
}

/// A directory of one slot, which can be swung, and pages 1 to 3, all with copies.
struct Pages {
    directory: Cell<u32>,
    depth: Cell<u32>,
    /// Looks at the directory until it is doubled, and its slot names page 2.
    looks_to_go: Cell<Option<u32>>,
    pages: [Box<Page>; 3],
    copies: [TagCopy<AtomicU64>; 3],
}

impl Pages {
    fn new(pages: [Box<Page>; 3]) -> Self {
        let copies = [const { TagCopy::new([const { AtomicU64::new(0) }; 8]) }; 3];
        let (directory, depth) = (Cell::new(1), Cell::new(0));
        Self { directory, depth, looks_to_go: Cell::new(None), pages, copies }
    }

    fn finds(&self, key: u64) -> bool {
        match lookup(self, key.into(), hash(key)).unwrap() {
            Answer::Inline(values) => values.as_slice() == [E::from(key)],
            Answer::Set(_) | Answer::Absent => false,
        }
    }
}

impl View<PAGE_WORDS> for Pages {
    type W = AtomicU64;

    fn hash_of(&self, key: E) -> KeyHash {
        SEED.hash(key)
    }

    fn depth(&self) -> u32 {
        self.depth.get()
    }

    fn directory_slot(&self, _: u32) -> u32 {
        let page = self.directory.get();
        self.looks_to_go.set(self.looks_to_go.get().and_then(|looks| match looks {
            1 => {
                self.directory.set(2);
                self.depth.set(1);
                None
            }
            _ => Some(looks - 1),
        }));
        page
    }

    fn overflow_slot(&self, logical: u32) -> u32 {
        logical
    }

    fn bucket(&self, page: u32) -> &Page {
        static ZEROS: Page = [const { AtomicU64::new(0) }; PAGE_WORDS];
        if page == NO_PAGE { &ZEROS } else { &self.pages[page as usize - 1] }
    }

    fn tag_copy(&self, page: u32) -> Option<&TagCopy<AtomicU64>> {
        (page != NO_PAGE).then(|| &self.copies[page as usize - 1])
    }
}

#[test]
fn lookups_use_the_copy_until_it_is_given_up() {
    let pages = Pages::new([page(0..KEYS, 0), page(0..1, 0), page(0..1, 0)]);
    assert!((0..KEYS).all(|key| pages.finds(key)));
    // The page is used for something else: without a new copy, lookups go by the old one.
    for (to, from) in pages.pages[0].iter().zip(page(KEYS..2 * KEYS, 0).iter()) {
        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    let found = (KEYS..2 * KEYS).filter(|&key| pages.finds(key)).count();
    assert!(found < KEYS as usize / 2, "{found} found by tags that are not theirs");
    pages.copies[0].forget();
    assert!((KEYS..2 * KEYS).all(|key| pages.finds(key)));
    assert!((0..KEYS).all(|key| !pages.finds(key)));
}

#[test]
fn a_miss_by_a_copy_goes_on_where_a_page_comes_after() {
    let pages = Pages::new([page(0..30, 2), page(30..60, 3), page(60..90, 0)]);
    for _ in 0..2 {
        assert!((0..90).all(|key| pages.finds(key)));
        assert!((90..500).all(|key| !pages.finds(key)));
    }
}

#[test]
fn what_stands_in_place_of_the_mark_is_not_copied() {
    let pages = Pages::new([page(0..KEYS, 2), page(KEYS..2 * KEYS, 0), page(0..1, 0)]);
    // Nothing has such bytes but a page that was forged.
    let last = &pages.pages[0][TAGS_WORD + TAG_WORDS - 1];
    last.store(last.load(Ordering::Relaxed) | 1 << 56, Ordering::Relaxed);
    for _ in 0..2 {
        assert!((0..2 * KEYS).all(|key| pages.finds(key)), "the page is not the last");
    }
}

#[test]
fn a_miss_by_an_older_depth_is_no_answer() {
    let pages = Pages::new([page(0..KEYS, 0), page(KEYS..2 * KEYS, 0), page(0..1, 0)]);
    let keys: Vec<E> = (KEYS..KEYS + 8).map(E::from).collect();
    pages.looks_to_go.set(Some(8));
    glance_many(&pages, &keys, |at, _, glance| {
        assert!(!matches!(glance, Glance::Absent), "{at}: in the page that is named now");
        Ok::<_, ()>(())
    })
    .unwrap();
    assert_eq!(pages.depth(), 1);
}

#[test]
fn a_slot_that_names_no_page_is_told_with_copies_as_without() {
    let pages = Pages::new([page(0..KEYS, 0), page(0..1, 0), page(0..1, 0)]);
    pages.directory.set(NO_PAGE);
    assert!(matches!(glance(&pages, E::from(1), hash(1)), Glance::Unclear));
    let keys = [E::from(1); 20];
    glance_many(&pages, &keys, |_, _, glance| {
        assert!(matches!(glance, Glance::Unclear));
        Ok::<_, ()>(())
    })
    .unwrap();
    let fault = search(&pages, E::from(1), hash(1)).unwrap_err();
    assert_eq!(fault, LookupFault::NoBucket { index: 0 });
}
