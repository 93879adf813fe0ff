//! The data file through the eyes of an HDF5 reader: all content, every form of the directory, damage, other writers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test reports"
)]

use std::fs::{self, OpenOptions as FileOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use cidstore::{Durability, E, Error, OpenOptions, Store};
use cidstore_core::layout::view::{VIEW_FRAME_BYTES, VIEW_HEADER_BYTES, VIEW_OFFSET};
use cidstore_hdf5_emit::Emitter;
use cidstore_testkit::content::{assert_store, assert_verified, model_of};
use cidstore_testkit::hdf5::View;
use cidstore_testkit::model::element;
use cidstore_testkit::random::Random;
use cidstore_testkit::{Model, Scratch};

fn options() -> OpenOptions {
    Store::options().durability(Durability::Buffered).wal_bytes(1 << 20)
}

fn view(scratch: &Scratch) -> View {
    View::open(&scratch.data_bytes()).unwrap()
}

/// Keys with one to four values, small sets of every class, and a large set.
fn fill(store: &Store) -> Model {
    let mut model = Model::new();
    let mut random = Random::new(5);
    for key in 0..1500_u64 {
        let count = match key {
            0 => 3000,
            1..40 => 1 + random.below(240),
            _ => 1 + random.below(5),
        };
        let pairs: Vec<(E, E)> =
            (0..count).map(|value| (E::new(key, !key), E::new(random.below(9), value))).collect();
        store.batch_insert(&pairs).unwrap();
        model.insert_all(pairs.into_iter().map(|(key, value)| (key.into(), value.into())));
    }
    for key in (0..1500_u64).step_by(7) {
        store.delete(E::new(key, !key)).unwrap();
        model.delete(E::new(key, !key).into());
    }
    for key in [1_u64, 2, 3] {
        let values = model.get(E::new(key, !key).into());
        for &value in values.iter().step_by(3) {
            store.delete_value(E::new(key, !key), element(value)).unwrap();
            model.delete_value(E::new(key, !key).into(), value);
        }
    }
    model
}

#[test]
fn the_document_leads_to_every_value() {
    let scratch = Scratch::new();
    let store = options().open(scratch.data()).unwrap();
    let model = fill(&store);
    store.checkpoint().unwrap();
    // In use: the file shows the checkpoint.
    let live = view(&scratch);
    assert_eq!(live.model(), model);
    assert_eq!(live.lsn, store.lsn());
    for key in model.keys() {
        assert_eq!(live.get(element(key)), model.get(key), "{key:#x}");
    }
    assert!(live.get(E::from(77)).is_empty());
    store.insert(1, 1).unwrap();
    assert_eq!(view(&scratch).model(), model, "a write shows before its checkpoint");
    store.checkpoint().unwrap();
    let later = view(&scratch);
    assert!(later.checkpoint > live.checkpoint);
    assert_eq!(later.get(E::from(1)).len(), 1);
    store.close().unwrap();
    assert_eq!(view(&scratch).model().len(), model.len() + 1);
}

/// Goes up and down through the forms of the directory and answers them in order.
fn forms(options: &OpenOptions) -> Vec<&'static str> {
    let scratch = Scratch::new();
    let mut model = Model::new();
    let mut found = Vec::new();
    let mut look = |model: &Model| {
        let view = view(&scratch);
        assert_eq!(&view.model(), model);
        if found.last() != Some(&view.form) {
            found.push(view.form);
        }
    };
    let store = options.open(scratch.data()).unwrap();
    for round in 0..16_u64 {
        let pairs: Vec<_> = (0..6000).map(|key| (E::new(round, key), E::from(key))).collect();
        store.batch_insert(&pairs).unwrap();
        model.insert_all(pairs.into_iter().map(|(key, value)| (key.into(), value.into())));
        store.checkpoint().unwrap();
        look(&model);
    }
    for round in (1..16_u64).rev() {
        let keys: Vec<_> = (0..6000).map(|key| E::new(round, key)).collect();
        store.batch_delete(&keys).unwrap();
        model.delete_all(keys.into_iter().map(u128::from));
        if round % 5 == 1 || round < 4 {
            store.compact().unwrap();
            look(&model);
        }
    }
    store.close().unwrap();
    look(&model);
    assert_verified(&options.open(scratch.data()).unwrap(), &model);
    found
}

#[test]
fn the_directory_moves_from_the_attribute_to_the_dataset_and_back() {
    assert_eq!(forms(&options()), ["config:dir", "dir", "config:dir"]);
}

#[test]
fn the_directory_moves_to_shards_and_back() {
    // By the real thresholds it takes a minute: hdf5_shards.rs, in the slow tier.
    let emitter = Emitter::with_thresholds(512, 1024);
    let forms = forms(&options().view(Some(Arc::new(emitter))));
    assert_eq!(forms, ["config:dir", "dir", "dir/shard_xxxx", "dir", "config:dir"]);
}

/// Where the metadata lies: the header, and the body with its frame.
fn metadata(bytes: &[u8]) -> Vec<usize> {
    let header = VIEW_OFFSET as usize..VIEW_OFFSET as usize + VIEW_HEADER_BYTES;
    let found = bytes[header.clone()].try_into().unwrap();
    let body = Emitter::body_offset(&found).unwrap() as usize;
    let frame = body - VIEW_FRAME_BYTES;
    let length = u32::from_le_bytes(bytes[frame + 8..frame + 12].try_into().unwrap());
    header.chain(frame..body + length as usize).collect()
}

fn flip(path: &Path, at: usize, bits: u8) {
    let file = FileOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ bits], at as u64).unwrap();
}

/// Damage to the metadata costs the store nothing, and is gone with the next open for writing.
#[test]
fn flipped_bits_in_the_metadata_are_mended() {
    let scratch = Scratch::new();
    let store = options().open(scratch.data()).unwrap();
    for key in 0..40_u64 {
        store.insert(key, key + 1).unwrap();
    }
    let model = model_of(&store);
    store.close().unwrap();
    let places = metadata(&scratch.data_bytes());
    let mut random = Random::new(8);
    let header = 0..VIEW_HEADER_BYTES;
    let body = (0..150).map(|_| random.below(places.len() as u64) as usize).collect::<Vec<_>>();
    for place in header.chain(body) {
        flip(&scratch.data(), places[place], 1 << random.below(8));
        let read_only = options().read_only(true).open(scratch.data()).unwrap();
        assert_store(&read_only, &model);
        drop(read_only);
        let store = options().open(scratch.data()).unwrap();
        assert_store(&store, &model);
        assert_eq!(view(&scratch).model(), model, "place {place} is not mended");
        store.close().unwrap();
        assert_eq!(view(&scratch).model(), model, "place {place} is not mended");
    }
}

#[test]
fn a_view_is_taken_off_and_added_without_copying_a_page() {
    let scratch = Scratch::new();
    let store = options().open(scratch.data()).unwrap();
    let model = fill(&store);
    store.close().unwrap();
    let header = |bytes: &[u8]| bytes[VIEW_OFFSET as usize..][..VIEW_HEADER_BYTES].to_vec();
    let without = options().view(None);
    let store = without.open(scratch.data()).unwrap();
    assert_eq!(header(&scratch.data_bytes()), [0; VIEW_HEADER_BYTES]);
    store.close().unwrap();
    let before = scratch.data_bytes();
    assert_eq!(header(&before), [0; VIEW_HEADER_BYTES]);
    assert!(View::open(&before).is_err());
    let store = options().open(scratch.data()).unwrap();
    let after = scratch.data_bytes();
    assert_eq!(View::open(&after).unwrap().model(), model);
    // Only pages that were free, and the two superblocks, have changed.
    let places = metadata(&after);
    let body = places[VIEW_HEADER_BYTES] / 4096..=places[places.len() - 1] / 4096;
    for (number, (old, new)) in before.chunks(4096).zip(after.chunks(4096)).enumerate() {
        assert!(old == new || number < 3 || body.contains(&number), "page {number} has changed");
    }
    drop(store);
}

/// What other programs do to a file that is closed: they change metadata, add to its end, or cut it.
#[test]
fn a_foreign_writer_is_noticed() {
    let scratch = Scratch::new();
    let store = options().open(scratch.data()).unwrap();
    let model = fill(&store);
    store.close().unwrap();
    let bytes = scratch.data_bytes();
    // Something was appended, and the HDF5 superblock speaks of it.
    let mut longer = bytes.clone();
    longer.extend([7; 5000]);
    let end = (longer.len() as u64).to_le_bytes();
    longer[VIEW_OFFSET as usize + 28..][..8].copy_from_slice(&end);
    fs::write(scratch.data(), &longer).unwrap();
    let store = options().open(scratch.data()).unwrap();
    assert_eq!(view(&scratch).model(), model);
    assert_verified(&store, &model);
    store.close().unwrap();
    // A page of ours was changed: the store says so when the page is looked at.
    let mut changed = bytes.clone();
    let place = bytes.windows(2).position(|kind| kind == b"CB").unwrap();
    changed[place + 700] ^= 1;
    fs::write(scratch.data(), &changed).unwrap();
    let store = options().verify_reads(true).open(scratch.data()).unwrap();
    let report = store.verify().unwrap();
    assert!(!report.problems.is_empty(), "a changed page was not noticed");
    drop(store);
    // The file was cut.
    fs::write(scratch.data(), &bytes[..bytes.len() - 4096]).unwrap();
    assert!(matches!(options().open(scratch.data()), Err(Error::Corrupt { .. })));
}
