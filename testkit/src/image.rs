//! The bytes of a data file against the model, read without the engine.
//!
//! [`ImageReader`] shares the structures of the format with the store and none of its code paths, so a store
//! that writes nonsense and reads it back the same way is found out here.

use std::collections::BTreeSet;

use cidstore_core::image::ImageReader;

use crate::model::{Model, element, number, universe};

/// What a sealed file holds: every key, every pair, the counters, and a sound structure.
///
/// # Panics
///
/// If anything differs.
pub fn assert_image(bytes: &[u8], model: &Model) {
    let reader = ImageReader::open(bytes).expect("an image opens");
    reader.check().expect("an image is sound");
    assert_eq!(reader.len(), model.len(), "keys of an image");
    assert_eq!(reader.value_len(), model.value_len(), "values of an image");
    for (key, set) in model.sets() {
        let mut found = Vec::new();
        let count = reader.get(element(key), |value| found.push(number(value))).expect("get");
        assert_eq!(count, found.len() as u64, "values of {key:#x} in an image");
        assert_eq!(found.len(), set.len(), "values of {key:#x} in an image");
        assert_eq!(&found.into_iter().collect::<BTreeSet<_>>(), set, "{key:#x} in an image");
        let first = *set.first().expect("a set of a model is not empty");
        assert!(reader.contains(element(key), element(first)).expect("contains"));
    }
    for key in (u16::MAX - 8..u16::MAX).map(universe) {
        assert!(!reader.contains_key(element(key)).expect("contains_key"), "{key:#x} in an image");
    }
    let mut pairs = Vec::new();
    reader.for_each(|key, value| pairs.push((number(key), number(value)))).expect("for_each");
    pairs.sort_unstable();
    assert!(pairs.iter().copied().eq(model.pairs()), "the pairs of an image");
}

/// Reads whatever `bytes` are; compares what can be read with `known`, if that is known.
///
/// # Panics
///
/// If the reader panics, or answers wrongly although the checksums could tell.
pub fn read_image(bytes: &[u8], known: Option<&Model>) {
    let Ok(reader) = ImageReader::open(bytes) else { return };
    // An older checkpoint that stands in for a damaged newer one says that it is not the end of the story.
    let known = known.filter(|_| reader.is_clean());
    let sound = reader.check().is_ok();
    let mut pairs = Vec::new();
    let complete = reader.for_each(|key, value| pairs.push((number(key), number(value)))).is_ok();
    if let Some(model) = known {
        assert!(pairs.iter().all(|&(key, value)| model.contains(key, value)), "a foreign pair");
        let all = pairs.len() as u64 == model.value_len();
        assert!(all || !complete, "an image that lost something and did not say so");
        assert!(complete || !sound, "an image that is sound and cannot be read");
        for (key, set) in model.sets() {
            let mut found = BTreeSet::new();
            let each = |value| {
                found.insert(number(value));
            };
            if reader.get(element(key), each).is_ok() {
                assert_eq!(&found, set, "{key:#x} in an image");
            }
        }
    }
    // Without checksums anything may come out, but it must come out.
    let trusting = reader.without_checksums();
    let _ = trusting.for_each(|_, _| ());
    for key in (0..210).map(universe) {
        let _ = trusting.get(element(key), |_| ());
    }
}
