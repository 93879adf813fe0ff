//! Damaged pages: every call ends, with an answer or a fault.

use std::sync::atomic::Ordering::Relaxed;

use cidstore_core::E;
use cidstore_core::layout::entry::SetReference;
use cidstore_core::protocol::leaf::Leaf;
use cidstore_core::protocol::value_fault::ValueFault;
use proptest::prelude::*;

use super::{Keys, scattered};
use crate::valueset::sound::{Numbers, numbers};
use crate::valueset::tree::gather;
use crate::valueset::{
    Reach, SetView, ValuePages, check, contains, count, read_all, tombstones, verify,
};

const KEY: E = E::new(1, 2);
const OTHER: E = E::new(3, 4);

/// Two keys whose pages lie side by side.
fn keys(size: u64) -> Keys {
    let mut keys = Keys::new(2048);
    keys.create(KEY, &(0..size).map(scattered).collect::<Vec<_>>());
    keys.create(OTHER, &(0..size).map(scattered).collect::<Vec<_>>());
    for index in 0..size / 3 {
        keys.remove(KEY, scattered(index * 2));
        keys.insert(KEY, scattered(size + index));
    }
    keys
}

/// Calls everything; what comes back does not matter.
fn call_everything(keys: &mut Keys) {
    let set = keys.sets[&KEY];
    let view = keys.pages.arena.clone();
    for index in 0..64 {
        _ = contains(&*view, set.reference, scattered(index * 5));
    }
    _ = count(&*view, set.reference);
    _ = tombstones(&*view, set.reference);
    _ = read_all(&*view, set.reference, |chunk| assert!(chunk.len() <= 256));
    _ = verify(&*view, KEY, &set, |_| ());
    for index in 0..64 {
        _ = keys.sets().insert(KEY, &set, scattered(1_000_000 + index));
        _ = keys.sets().remove(KEY, &set, scattered(index * 7));
    }
    _ = keys.sets().relocate(KEY, &set);
    _ = keys.sets().compact(KEY, &set);
    _ = keys.sets().retire_set(KEY, &set);
}

fn damage(size: u64, hits: Vec<(prop::sample::Index, prop::sample::Index, Hit)>) {
    let mut keys = keys(size);
    keys.pages.strict = false;
    let numbers = keys.pages.numbers.iter().copied().collect::<Vec<_>>();
    for (page, word, hit) in hits {
        let page = keys.pages.page(*page.get(&numbers));
        // Most of what can go wrong lies in the headers and in the children of inner nodes.
        let word = match word.index(4) {
            0 | 1 => word.index(16),
            2 => 344 + word.index(84),
            _ => word.index(512),
        };
        let now = page[word].load(Relaxed);
        let then = match hit {
            Hit::Flip(bit) => now ^ 1 << bit,
            Hit::Set(value) => value,
            Hit::Add(value) => now.wrapping_add(value),
            Hit::Copy(other) => page[other.index(512)].load(Relaxed),
        };
        page[word].store(then, Relaxed);
    }
    call_everything(&mut keys);
}

#[derive(Clone, Debug)]
enum Hit {
    Flip(u32),
    Set(u64),
    Add(u64),
    Copy(prop::sample::Index),
}

fn hit() -> impl Strategy<Value = Hit> {
    prop_oneof![
        (0..64_u32).prop_map(Hit::Flip),
        any::<u64>().prop_map(Hit::Set),
        prop_oneof![1..4_u64, Just(1 << 32), Just(u64::MAX)].prop_map(Hit::Add),
        any::<prop::sample::Index>().prop_map(Hit::Copy),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn damaged_pages_give_faults_and_no_panic(
        size in prop_oneof![5..40_u64, 200..3000_u64, Just(30_000_u64)],
        hits in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), hit()), 1..12),
    ) {
        damage(size, hits);
    }
}

#[test]
fn rubbish_references_are_faults() {
    let keys = keys(10);
    let view = &*keys.pages.arena;
    for reference in [0, 7 << 32, 1 << 40 | 1, u64::MAX, 1_000_000, 1_000_000 | 1 << 32] {
        assert!(contains(view, reference, E::ZERO).is_err(), "{reference:#x}");
        assert!(count(view, reference).is_err());
        assert!(read_all(view, reference, |_| ()).is_err());
    }
    let small = SetReference::decode(keys.sets[&KEY].reference).unwrap();
    let as_large = SetReference { extent: None, ..small }.encode();
    let fault = contains(view, as_large, E::ZERO).unwrap_err();
    assert!(matches!(fault.what, ValueFault::Kind(0x4556)), "{fault}");
    let beyond = SetReference { extent: Some(30), ..small }.encode();
    assert_eq!(contains(view, beyond, E::ZERO).unwrap_err().what, ValueFault::Extent(30));
}

/// `verify` finds each kind of damage that changes what a set means.
#[test]
fn verify_finds_every_flip_that_matters() {
    for size in [20, 2000] {
        let keys = keys(size);
        let set = keys.sets[&KEY];
        let view = &*keys.pages.arena;
        let mut own = Vec::new();
        verify(view, KEY, &set, |page| own.push(page)).unwrap();
        for logical in own {
            let page = view.value_page(logical).unwrap();
            for (word, cell) in page.iter().enumerate() {
                let now = cell.load(Relaxed);
                cell.store(now ^ 1 << (word % 64), Relaxed);
                let mut values = Vec::new();
                let read = read_all(view, set.reference, |chunk| values.extend_from_slice(chunk));
                values.sort_unstable();
                let is_wrong = read.is_err() || !values.iter().eq(&keys.model[&KEY]);
                let found = verify(view, KEY, &set, |_| ());
                assert!(!is_wrong || found.is_err(), "page {logical}, word {word}");
                cell.store(now, Relaxed);
            }
        }
    }
}

/// Each reach names the pages that its change would touch, and no others.
#[test]
fn a_damaged_page_is_found_by_who_would_touch_it() {
    let mut keys = keys(20_000);
    let set = keys.sets[&KEY];
    let Numbers { nodes, leaves } = numbers(&*keys.pages.arena, set.reference as u32).unwrap();
    let (first, last) = (E::ZERO, E::new(u64::MAX, u64::MAX));
    let found = |keys: &mut Keys, page: u32| {
        keys.pages.damaged = [page].into();
        [Reach::Value(first), Reach::Value(last), Reach::Nodes, Reach::All, Reach::Part(first)]
            .map(|reach| check(&keys.pages, KEY, &set, reach).is_err())
    };
    assert!(nodes.len() == 1 && leaves.len() > 50);
    assert_eq!(found(&mut keys, nodes[0]), [true; 5]);
    assert_eq!(found(&mut keys, leaves[0]), [true, false, false, true, true]);
    assert_eq!(found(&mut keys, leaves[1]), [false, false, false, true, true]);
    assert_eq!(found(&mut keys, leaves[leaves.len() - 1]), [false, true, false, true, true]);
    let elsewhere = keys.sets[&OTHER].reference as u32;
    assert_eq!(found(&mut keys, elsewhere), [false; 5]);
}

/// Inner nodes that are only read may be taken for sound by an earlier look; one that is replaced must be looked at.
#[test]
fn a_node_damaged_since_it_was_looked_at_is_not_copied() {
    for removes in [false, true] {
        let mut keys = Keys::new(4096);
        keys.create(KEY, &(0..60_000).map(|value| E::from(value * 1000)).collect::<Vec<_>>());
        let set = keys.sets[&KEY];
        let root = set.reference as u32;
        let nodes = numbers(&*keys.pages.arena, root).unwrap().nodes;
        assert!(nodes.len() > 2, "two levels of nodes");
        keys.pages.damaged = nodes[1..].iter().copied().collect();
        keys.pages.remembered = keys.pages.damaged.clone();
        let pages = |keys: &Keys| keys.pages.numbers.len();
        let (before, mut done) = (pages(&keys), 0);
        for number in 0..500 {
            let value = E::from(number * if removes { 1000 } else { 7 });
            if check(&keys.pages, KEY, &set, Reach::Value(value)).is_err() {
                break;
            }
            if removes {
                keys.remove(KEY, value)
            } else {
                keys.insert(KEY, value)
            }
            done += 1;
        }
        assert_eq!(pages(&keys), before, "a leaf was split or joined");
        assert!((1..400).contains(&done), "{done}");
    }
}

#[test]
fn an_empty_leaf_joins_no_damaged_neighbour() {
    for is_damaged in [false, true] {
        let mut keys = Keys::new(2048);
        keys.create(KEY, &(0..2000).map(scattered).collect::<Vec<_>>());
        let root = keys.sets[&KEY].reference as u32;
        let Numbers { leaves, .. } = numbers(&*keys.pages.arena, root).unwrap();
        if is_damaged {
            keys.pages.damaged.insert(leaves[1]);
        }
        let first = Leaf::open(keys.pages.page(leaves[0])).unwrap();
        let mut values = Vec::new();
        gather(&first, &mut values).unwrap();
        values.into_iter().for_each(|value| keys.remove(KEY, value));
        assert_eq!(keys.pages.numbers.contains(&leaves[1]), is_damaged);
        keys.check();
    }
}

#[test]
fn a_damaged_page_of_extents_gets_no_set() {
    for is_damaged in [false, true] {
        let mut keys = Keys::new(64);
        let five = (0..5).map(scattered).collect::<Vec<_>>();
        keys.create(KEY, &five);
        let page = |keys: &Keys, key| SetReference::decode(keys.sets[&key].reference).unwrap().page;
        let first = page(&keys, KEY);
        if is_damaged {
            keys.pages.damaged.insert(first);
        }
        keys.create(OTHER, &five);
        assert_eq!(page(&keys, OTHER) == first, !is_damaged);
        keys.check();
    }
}
