//! `ImageReader` against images built by hand, and against damage.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails the test")]

mod common;

use std::collections::BTreeSet;

use cidstore_core::E;
use cidstore_core::image::{ImageError, ImageReader, PageFault};
use cidstore_core::layout::superblock::{Superblock, SuperblockError};
use cidstore_core::layout::table::{Space, TableKind};
use cidstore_core::layout::{PAGE_BYTES, PageKind};
use common::Noise;
use common::image::{Model, Options, build, reseal};
use common::sets::Fill;

const FULL: Options = Options { depth_max: 28, fill: Fill::FULL };
const SPARSE: Options = Options { depth_max: 28, fill: Fill::SPARSE };
const CHAINED: Options = Options { depth_max: 1, fill: Fill::SPARSE };

/// The pattern of a field's fault, whatever the values.
macro_rules! field {
    ($name:literal) => {
        PageFault::Field { name: $name, .. }
    };
}

/// Keys with each number of values that is a border of something, zero as key and as value, both ends.
fn every_shape() -> Model {
    let mut model = Model::new();
    let counts = [1, 2, 3, 3, 4, 5, 8, 9, 32, 33, 121, 122, 123, 189, 244, 245, 250, 251, 1001];
    for (index, count) in counts.into_iter().enumerate() {
        let key = E::new(index as u64, 100 + index as u64);
        let values = (0..count).map(|i| match count % 3 {
            0 => E::from(i),
            1 => E::new(i, 0),
            _ => E::new(u64::MAX - i, u64::MAX),
        });
        model.insert(key, values.collect());
    }
    model.insert(E::ZERO, BTreeSet::from([E::ZERO]));
    model.insert(E::new(!0, !0), (0..4).map(|i| E::new(!0, !0 - i)).chain([E::ZERO]).collect());
    model
}

fn many_keys(count: u64) -> Model {
    let mut model = every_shape();
    for i in 0..count {
        let values = 0..1 + i % 4;
        model.insert(E::new(i << 20, 1), values.map(|value| E::new(value, i)).collect());
    }
    model
}

fn content(reader: &ImageReader<'_>) -> Result<Model, ImageError> {
    let mut model = Model::new();
    reader.for_each(|key, value| {
        assert!(model.entry(key).or_default().insert(value), "{key} {value} came twice");
    })?;
    Ok(model)
}

fn assert_reads_as(image: &[u8], model: &Model) {
    let reader = ImageReader::open(image).unwrap();
    reader.check().unwrap();
    assert!(content(&reader).unwrap() == *model);
    assert_eq!(reader.len(), model.len() as u64);
    for (&key, set) in model {
        let mut values = Vec::new();
        assert_eq!(reader.get(key, |value| values.push(value)), Ok(set.len() as u64));
        values.sort_unstable();
        assert!(values.iter().eq(set), "{key}");
        assert_eq!(reader.value_count(key), Ok(set.len() as u64));
        assert_eq!(reader.contains_key(key), Ok(true));
        for &value in set {
            assert_eq!(reader.contains(key, value), Ok(true), "{key} {value}");
            let number = value.to_u128();
            for near in [number.wrapping_sub(1), number.wrapping_add(1), number ^ 1 << 64] {
                let near = E::from_u128(near);
                assert_eq!(reader.contains(key, near), Ok(set.contains(&near)), "{key} {near}");
            }
        }
        let missing = E::new(key.high ^ 1 << 63, key.low ^ 1 << 63);
        assert_eq!(reader.get(missing, |_| ()), Ok(0));
        assert_eq!(reader.contains_key(missing), Ok(false));
        assert_eq!(reader.contains(missing, E::ZERO), Ok(false));
    }
}

#[test]
fn every_shape_reads_back() {
    let model = every_shape();
    for options in [FULL, SPARSE, CHAINED] {
        assert_reads_as(&build(&model, options), &model);
    }
    assert_reads_as(&build(&Model::new(), FULL), &Model::new());
}

#[test]
fn deep_directories_and_long_chains_read_back() {
    let model = many_keys(20_000);
    let image = build(&model, FULL);
    let reader = ImageReader::open(&image).unwrap();
    assert!(reader.superblock().root(TableKind::Directory).height > 1, "make the test larger");
    assert_reads_as(&image, &model);
    let model = many_keys(2_000);
    let image = build(&model, CHAINED);
    let reader = ImageReader::open(&image).unwrap();
    assert!(reader.superblock().root(TableKind::Overflow).slot_count > 20);
    assert_reads_as(&image, &model);
}

#[test]
fn tables_of_values_with_two_levels_read_back() {
    let set = (0..3000).map(|i| E::new(i * 3, i)).collect();
    let model = Model::from([(E::from(9), set)]);
    let image = build(&model, SPARSE);
    let reader = ImageReader::open(&image).unwrap();
    assert_eq!(reader.superblock().root(TableKind::Values).height, 2);
    assert_reads_as(&image, &model);
}

#[test]
fn an_image_needs_no_alignment() {
    let model = every_shape();
    let mut bytes = vec![0];
    bytes.extend(build(&model, SPARSE));
    assert_reads_as(&bytes[1..], &model);
}

#[test]
fn the_newest_sound_superblock_counts() {
    let model = every_shape();
    let image = build(&model, FULL);
    let newest = |image: &[u8]| {
        let reader = ImageReader::open(image);
        reader.map(|reader| (reader.superblock().checkpoint_number, reader.is_clean()))
    };
    assert_eq!(newest(&image), Ok((6, true)));
    let mut damaged = image.clone();
    damaged[300] ^= 1;
    assert_eq!(newest(&damaged), Ok((5, false)));
    let mut empty = image.clone();
    empty[..PAGE_BYTES].fill(0);
    assert_eq!(newest(&empty), Ok((5, false)));
    damaged[PAGE_BYTES] = b'X';
    let Err(ImageError::Superblock { first, second }) = newest(&damaged) else {
        panic!("read a file without a superblock")
    };
    assert!(matches!(first, SuperblockError::Checksum { .. }));
    assert_eq!(second, SuperblockError::Magic { found: *b"XIDSTORE" });
    for slot in [0, PAGE_BYTES] {
        let mut newer = image.clone();
        newer[slot + 8] = 2;
        // With a checksum that is not that of version 1 either: else it is one of ours with a damaged field.
        newer[slot + PAGE_BYTES - 1] ^= 1;
        assert_eq!(newest(&newer), Err(ImageError::Version { found: 2 }));
    }
}

#[test]
fn every_truncation_is_found() {
    let image = build(&every_shape(), FULL);
    for len in (0..image.len()).step_by(509) {
        let error = ImageReader::open(&image[..len]).map(|_| ()).unwrap_err();
        if len >= PAGE_BYTES {
            let (found, expected) = (len as u64, image.len() as u64);
            assert_eq!(error, ImageError::Short { found, expected });
        } else {
            assert!(matches!(error, ImageError::Superblock { .. }));
        }
    }
}

#[test]
fn no_flipped_bit_changes_an_answer() {
    let model = every_shape();
    let image = build(&model, SPARSE);
    let unused = Space::ALL.map(|space| offset_of(&image, space, 0));
    let mut noise = Noise(1);
    for page in (4 * PAGE_BYTES..image.len()).step_by(PAGE_BYTES) {
        let mut damaged = image.clone();
        damaged[page + noise.below(PAGE_BYTES)] ^= 1 << noise.below(8);
        let reader = ImageReader::open(&damaged).unwrap();
        if let Ok(read) = content(&reader) {
            assert!(read == model);
        }
        match reader.check() {
            Ok(()) => assert!(unused.contains(&page), "page at {page}"),
            Err(ImageError::Page { fault: PageFault::Checksum { .. }, .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

/// Without checksums any damage reaches the structures: errors and wrong values are right, panics and
/// endless loops are not.
#[test]
fn no_bytes_make_it_panic_or_run_for_ever() {
    let model = many_keys(300);
    let mut noise = Noise(2);
    for options in [SPARSE, CHAINED] {
        let image = build(&model, options);
        for round in 0..150 {
            let mut damaged = image.clone();
            for _ in 0..1 << noise.below(8) {
                let page = 4 + noise.below(image.len() / PAGE_BYTES - 4);
                // Headers and first words of pages decide the most.
                let offset = noise.below(if round % 2 == 0 { 128 } else { PAGE_BYTES });
                let value = [0, 1, 2, 0x7f, 0xff, noise.next() as u8][noise.below(6)];
                damaged[page * PAGE_BYTES + offset] = value;
            }
            let reader = ImageReader::open(&damaged).unwrap().without_checksums();
            let _ = reader.for_each(|_, _| ());
            let _ = reader.check();
            for &key in model.keys().step_by(40) {
                let _ = reader.get(key, |_| ());
                let _ = reader.contains(key, E::new(1, 1));
            }
        }
    }
}

#[test]
fn no_superblock_makes_it_panic_or_run_for_ever() {
    let image = build(&many_keys(300), SPARSE);
    let mut noise = Noise(3);
    let mut opened = 0;
    for _ in 0..500 {
        let mut changed = image.clone();
        changed[PAGE_BYTES..2 * PAGE_BYTES].fill(0);
        let (offset, value) = (96 + noise.below(360), 1 << noise.below(8));
        // The bytes of the page are those of the structure, so any byte can be changed before sealing.
        changed[offset] ^= value;
        reseal(&mut changed, |_| ());
        if let Ok(reader) = ImageReader::open(&changed) {
            opened += 1;
            let _ = content(&reader);
            let _ = reader.without_checksums().check();
        }
    }
    assert!(opened > 50, "only {opened} opened");
}

/// Offset of page `number` of a space.
fn offset_of(image: &[u8], space: Space, number: u32) -> usize {
    let page: [u8; PAGE_BYTES] = image[..PAGE_BYTES].try_into().unwrap();
    let superblock = Superblock::read(&page, 0).unwrap();
    let mut rest = number;
    for segment in superblock.segments(space) {
        if rest < segment.page_count {
            return segment.offset() as usize + rest as usize * PAGE_BYTES;
        }
        rest -= segment.page_count;
    }
    panic!("no page {number} in {space:?}")
}

/// The offsets of all pages of this kind, in the order of the file.
fn of_kind(image: &[u8], kind: PageKind) -> Vec<usize> {
    let code = (kind as u16).to_le_bytes();
    let pages = (4 * PAGE_BYTES..image.len()).step_by(PAGE_BYTES);
    pages.filter(|&offset| image[offset..offset + 2] == code).collect()
}

/// What a whole check without page checksums says after this change.
fn fault_after(model: &Model, options: Options, change: impl FnOnce(&mut [u8])) -> PageFault {
    let mut image = build(model, options);
    change(&mut image);
    let reader = ImageReader::open(&image).unwrap().without_checksums();
    match reader.check() {
        Err(ImageError::Page { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn circles_are_found() {
    let fault = fault_after(&many_keys(300), CHAINED, |image| {
        // Each page goes on to overflow page 2, the end of the chain of prefix 0.
        for page in of_kind(image, PageKind::Bucket) {
            image[page + 24..page + 28].copy_from_slice(&2_u32.to_le_bytes());
        }
    });
    assert_eq!(fault, PageFault::Cycle);

    // The only set has its leaves at the logical numbers from 1 on, five values each.
    let set = Model::from([(E::from(9), (0..3000).map(E::from).collect())]);
    let fault = fault_after(&set, SPARSE, |image| {
        for leaf in of_kind(image, PageKind::Leaf) {
            if image[leaf + 2] == 1 {
                image[leaf + 24..leaf + 28].copy_from_slice(&2_u32.to_le_bytes());
            }
        }
    });
    assert_eq!(fault, PageFault::Order { value: E::from(10) });

    let fault = fault_after(&set, SPARSE, |image| {
        // The first child of each inner node is the node whose number the root has for it.
        let inner = of_kind(image, PageKind::Inner);
        let (root, children) = (inner[0], 64 + 168 * 16);
        let child: [u8; 4] = image[root + children..][..4].try_into().unwrap();
        inner.iter().for_each(|node| image[node + children..][..4].copy_from_slice(&child));
    });
    assert!(matches!(fault, PageFault::Field { name: "level", .. }), "{fault}");
}

#[test]
fn each_contradiction_has_its_name() {
    let model = many_keys(300);
    let fault = |kind, offset: usize, value: u8| {
        fault_after(&model, SPARSE, |image| {
            of_kind(image, kind).iter().for_each(|page| image[page + offset] = value);
        })
    };
    let field = |name, found, limit| PageFault::Field { name, found, limit };
    assert_eq!(fault(PageKind::Bucket, 1, 0), PageFault::Kind { found: 0x43 });
    assert_eq!(fault(PageKind::Bucket, 2, 40), field("local_depth", 40, 4));
    assert_eq!(fault(PageKind::Bucket, 41, 1), field("prefix", 256, 0));
    assert_eq!(fault(PageKind::Extents, 2, 6), field("class", 6, 5));
    assert!(matches!(fault(PageKind::Extents, 64 + 21, 0xff), field!("extent count")));
    assert!(matches!(fault(PageKind::Extents, 64, 0xee), PageFault::Owner { .. }));
    assert!(matches!(fault(PageKind::Inner, 2, 0), field!("level")));
    assert!(matches!(fault(PageKind::Inner, 4, 200), field!("child_count")));
    assert!(matches!(fault(PageKind::Inner, 39, 0xee), PageFault::Owner { .. }));
    assert!(matches!(fault(PageKind::Leaf, 2, 2), field!("bounded")));
    assert!(matches!(fault(PageKind::Leaf, 20, 251), field!("leaf count")));
    assert!(matches!(fault(PageKind::Leaf, 87, 0xee), PageFault::Owner { .. }));
    assert!(matches!(fault(PageKind::Leaf, 96 + 16 + 7, 0xee), PageFault::Order { .. }));
}

/// A leaf that no inner node names yet, as after half a split, is found through its left neighbour.
#[test]
fn a_leaf_is_found_though_its_parent_does_not_name_it() {
    let set: BTreeSet<E> = (0..14).chain(1000..1300).map(E::from).collect();
    let model = Model::from([(E::from(9), set.clone())]);
    let mut image = build(&model, SPARSE);
    for node in of_kind(&image, PageKind::Inner) {
        if image[node + 2] == 1 {
            image[node + 4] = 1;
        }
    }
    let reader = ImageReader::open(&image).unwrap().without_checksums();
    for value in (0..1400).map(E::from) {
        assert_eq!(reader.contains(E::from(9), value), Ok(set.contains(&value)), "{value}");
    }
    let error = reader.check().unwrap_err();
    assert!(matches!(error, ImageError::Page { fault: PageFault::Order { .. }, .. }), "{error}");
}

/// Headers that deny nothing, and a directory that is one off: only the keys themselves tell.
#[test]
fn keys_that_only_a_scan_would_see_are_found() {
    let fault = fault_after(&many_keys(300), SPARSE, |image| {
        for page in of_kind(image, PageKind::Bucket) {
            image[page + 2] = 0;
            image[page + 40] = 0;
        }
        let node = offset_of(image, Space::Tables, 1);
        image[node..node + 16 * 8].rotate_left(8);
    });
    assert!(matches!(fault, PageFault::Entries { .. }), "{fault}");
}

#[test]
fn what_is_written_twice_must_agree() {
    let model = many_keys(300);
    let image = build(&model, SPARSE);
    let refusal = |change: fn(&mut Superblock)| {
        let mut image = image.clone();
        reseal(&mut image, change);
        ImageReader::open(&image).unwrap().check().unwrap_err()
    };
    let (keys, values) = (model.len() as u64, model.values().map(|set| set.len() as u64).sum());
    let error = refusal(|superblock| superblock.key_count += 1);
    assert_eq!(error, ImageError::Total { name: "key_count", found: keys, expected: keys + 1 });
    let error = refusal(|superblock| superblock.value_count -= 1);
    assert_eq!(
        error,
        ImageError::Total { name: "value_count", found: values, expected: values - 1 }
    );
    // Another seed sends every key elsewhere.
    let error = refusal(|superblock| superblock.hash_seed.low ^= 1);
    assert!(matches!(error, ImageError::Page { fault: PageFault::Entries { .. }, .. }), "{error}");

    let fault_of_entry = |offset: usize, bit: u8| {
        fault_after(&model, SPARSE, |image| {
            let page = offset_of(image, Space::Buckets, 1);
            let entry = (0..62).find(|i| image[page + 64 + i] != 0).unwrap();
            image[page + 128 + entry * 64 + offset] ^= bit;
        })
    };
    assert!(matches!(fault_of_entry(56, 1), PageFault::EntryChecksum { .. }));
    assert!(matches!(fault_of_entry(52, 1), PageFault::EntryChecksum { .. }));
    assert!(matches!(fault_of_entry(49, 3), PageFault::Code { .. }));
}

#[test]
fn a_directory_larger_than_its_nodes_is_refused() {
    let mut image = build(&every_shape(), FULL);
    reseal(&mut image, |superblock| {
        superblock.global_depth = 28;
        superblock.roots[0].slot_count = 1 << 28;
        superblock.roots[0].height = 4;
    });
    image[PAGE_BYTES..2 * PAGE_BYTES].fill(0);
    let error = ImageReader::open(&image).map(|_| ()).unwrap_err();
    assert!(matches!(error, ImageError::Total { name: "roots[0].slot_count", .. }), "{error}");
}
