//! Copies of tags: readers make them, and the writer makes one anew before its page is named again (C1 to C3).

use std::sync::Arc;
use std::sync::OnceLock;

use cidstore_core::layout::PAGE_WORDS;
use cidstore_core::layout::bucket::{ENTRIES_PER_BUCKET, ENTRIES_WORD, TAG_WORDS, TAGS_WORD};
use cidstore_core::layout::entry::{ENTRY_WORDS, META_WORD};
use cidstore_core::layout::table::Space;

use crate::checkpoint::Written;
use crate::shared::Shared;
use crate::sync::checked::pins::{COUNT_RELAXED, NO_WAIT};
use crate::sync::checked::{COPIES, Kind, Plant, arm, complete_or, explore, spawn, spawn_writer};

use super::{KEY, Little, SEED, look_pinned, write_page};

/// The word of a copy with its mark.
const MARK: usize = TAG_WORDS - 1;

fn home() -> usize {
    static HOME: OnceLock<usize> = OnceLock::new();
    *HOME.get_or_init(|| SEED.hash(KEY).home(ENTRIES_PER_BUCKET))
}

/// The word of a copy with the watched key's tag.
fn tag() -> usize {
    home() / 8
}

/// Of a page the watched key's tag and the meta word of its entry; of a copy the tag and the mark.
fn words(page: u32, word: usize) -> bool {
    assert_ne!(tag(), MARK, "the mark has a word for itself");
    if page >= COPIES {
        return word == tag() || word == MARK;
    }
    word == TAGS_WORD + tag() || word == ENTRIES_WORD + home() * ENTRY_WORDS + META_WORD
}

/// Ends the generation and writes the one page of the cut to this page of the file, as a checkpoint does.
fn settle(little: &mut Little, lsn: u64, to: u32) {
    settle_with(little, lsn, to, Shared::copy_tags);
}

fn settle_with(
    little: &mut Little,
    lsn: u64,
    to: u32,
    make_copy: fn(&Shared, u32, &[u64; PAGE_WORDS]),
) {
    let cut = little.cut(lsn);
    let shared = little.shared();
    let mut words = [0; PAGE_WORDS];
    shared.regions.buckets.copy_out(cut.bucket_pages[0].page, &mut words);
    let page = write_page(&shared, Space::Buckets, cut.bucket_pages[0], to, &words);
    make_copy(&shared, to, &words);
    little.finish(&cut, &Written { buckets: vec![page], values: Vec::new() });
}

/// Takes this page of the file, if it is free.
fn take(little: &Little, page: u32) -> bool {
    little.writer.pages.files().pages_mut(Space::Buckets).take(page)
}

/// A store whose watched key has these values, all in the file, as it was just opened: no copy is made.
fn settled(values: impl IntoIterator<Item = u64>) -> (Little, u32) {
    let mut little = Little::new(values);
    let page = little.free_file_page(Space::Buckets);
    settle_with(&mut little, 1, page, |_, _, _| ());
    (little, page)
}

/// Two readers look at a page that nobody has looked at before.
fn make(plant: Plant) {
    explore(plant, None, words, move || {
        let (little, _) = settled([10]);
        let shared = little.shared();
        arm();
        let looked = |shared: &Shared| {
            assert_eq!(look_pinned(shared), [10], "a copy was used that is not whole");
        };
        let other = Arc::clone(&shared);
        let reader = spawn(move || looked(&other));
        looked(&shared);
        reader.join().unwrap();
        looked(&shared);
    });
}

/// Looks of a reader while a page of the file without the key, of which a copy was made once, is written with it and named again.
fn name_again(plant: Plant) {
    explore(plant, None, words, move || {
        let (mut little, first) = settled([]);
        let shared = little.shared();
        assert_eq!(look_pinned(&shared), []);
        little.insert(10);
        let second = little.free_file_page(Space::Buckets);
        settle(&mut little, 2, second);
        assert!(take(&little, first), "nothing needs the page");
        arm();
        let writer = spawn_writer(move || {
            little.insert(11);
            settle(&mut little, 3, first);
        });
        let seen = look_pinned(&shared);
        assert!(seen == [10] || seen == [10, 11], "a copy was used that is of another page");
        writer.join().unwrap();
        assert_eq!(look_pinned(&shared), [10, 11], "a copy was used that is of another page");
    });
}

/// Looks of a reader, who makes the copy of a page without the key, while the page is replaced, freed, written with the key and
/// named again.
fn reuse(plant: Plant, looks: usize, preemptions: Option<usize>) {
    explore(plant, preemptions, words, move || {
        let (mut little, first) = settled([]);
        let second = little.free_file_page(Space::Buckets);
        let shared = little.shared();
        arm();
        let writer = spawn_writer(move || {
            little.insert(10);
            settle(&mut little, 2, second);
            little.insert(11);
            // Not if the reader was there when it was to be freed.
            if take(&little, first) {
                settle(&mut little, 3, first);
            }
        });
        let mut seen = 0;
        for _ in 0..looks {
            let values = look_pinned(&shared);
            assert!(values.len() >= seen, "a copy was used that is of another page");
            assert!([&[][..], &[10], &[10, 11]].contains(&&values[..]), "{values:?}");
            seen = values.len();
        }
        writer.join().unwrap();
        assert_eq!(look_pinned(&shared), [10, 11], "a copy was used that is of another page");
    });
}

/// Complete.
#[test]
fn a_copy_is_whole_for_whoever_sees_it() {
    make(Plant::Sound);
}

#[test]
#[should_panic(expected = "not whole")]
fn caught_mark_stored_without_release() {
    make(Plant::RelaxStores(Kind::Word(MARK)));
}

#[test]
#[should_panic(expected = "not whole")]
fn caught_mark_loaded_without_acquire() {
    make(Plant::RelaxLoads(Kind::Word(MARK)));
}

/// Complete.
#[test]
fn a_copy_is_made_anew_before_its_page_is_named_again() {
    name_again(Plant::Sound);
}

#[test]
#[should_panic(expected = "of another page")]
fn caught_copy_that_is_kept() {
    name_again(Plant::Drop(Kind::Word(tag())));
}

#[test]
#[should_panic(expected = "of another page")]
fn caught_copy_made_after_the_slot_is_swung() {
    name_again(Plant::Delay(Kind::Word(tag()), 3));
}

#[test]
#[should_panic(expected = "of another page")]
fn caught_slot_swung_without_release() {
    name_again(Plant::RelaxStores(Kind::Slot));
}

#[test]
#[should_panic(expected = "of another page")]
fn caught_slot_loaded_without_acquire() {
    name_again(Plant::RelaxLoads(Kind::Slot));
}

/// Complete with one look. Two looks: at most two preemptions; complete in the slow tier, in a minute or two.
#[test]
fn whoever_makes_a_copy_has_gone_when_it_is_made_anew() {
    reuse(Plant::Sound, 1, None);
    reuse(Plant::Sound, 2, complete_or(2));
}

#[test]
#[should_panic(expected = "of another page")]
fn caught_page_freed_under_its_reader() {
    reuse(Plant::InModel(NO_WAIT), 1, None);
}

#[test]
#[should_panic(expected = "of another page")]
fn caught_count_that_orders_nothing() {
    reuse(Plant::InModel(COUNT_RELAXED), 1, None);
}
