//! Files that are not what they should be: each a named error that leaves every byte as it was.

use std::fs;
use std::mem::offset_of;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use cidstore::{E, Error, OpenOptions, Store};
use cidstore_core::layout::bucket::PREFIX_WORD;
use cidstore_core::layout::record::LogHeader;
use cidstore_core::layout::superblock::Superblock;
use cidstore_core::layout::{PAGE_BYTES, PageKind};
use cidstore_testkit::content::{assert_store, model_of};
use cidstore_testkit::random::scramble;
use cidstore_testkit::{Model, Scratch};

use crate::buffered;

/// Opens in every way and lets `is_named` judge the error; nothing may change.
#[track_caller]
fn assert_refused(scratch: &Scratch, is_named: impl Fn(&Error) -> bool) {
    let ways: [(&str, OpenOptions); 4] = [
        ("open", buffered()),
        ("create(false)", buffered().create(false)),
        ("verify_reads", buffered().verify_reads(true)),
        ("read_only", buffered().read_only(true)),
    ];
    for (way, options) in ways {
        let before = scratch.fingerprint();
        let Err(error) = options.open(scratch.data()).map(drop) else { panic!("{way} opened it") };
        let read_only = way == "read_only" && matches!(error, Error::NeedsRecovery { .. });
        assert!(is_named(&error) || read_only, "{way}: {error} ({error:?})");
        let name = scratch.path().to_string_lossy().into_owned();
        assert!(error.to_string().contains(&name), "{way}: no file named in: {error}");
        assert_eq!(scratch.fingerprint(), before, "{way} changed something");
    }
}

fn sample() -> Model {
    let pairs = (0..900_u128).map(|index| (index, index));
    let small = (0..50_u128).map(|value| (1 << 100, value));
    let large = (0..700_u128).map(|value| (2 << 100, value));
    pairs.chain(small).chain(large).collect()
}

fn fill(store: &Store, model: &Model) {
    let element = cidstore_testkit::model::element;
    let pairs: Vec<(E, E)> =
        model.pairs().map(|(key, value)| (element(key), element(value))).collect();
    store.batch_insert(&pairs).unwrap();
}

/// A store that was closed.
fn closed() -> (Scratch, Model) {
    let scratch = Scratch::new();
    let (store, model) = (buffered().open(scratch.data()).unwrap(), sample());
    fill(&store, &model);
    store.close().unwrap();
    (scratch, model)
}

/// A store that was killed, with half of its content in the last checkpoint and half in the log.
fn killed() -> (Scratch, Model) {
    let scratch = Scratch::new();
    let (store, mut model) = (buffered().open(scratch.data()).unwrap(), sample());
    fill(&store, &model);
    store.checkpoint().unwrap();
    store.checkpoint().unwrap();
    for value in 0..100_u64 {
        store.insert(value, value << 32).unwrap();
        model.insert(value.into(), u128::from(value) << 32);
        if value % 10 == 9 {
            store.sync().unwrap();
        }
    }
    (scratch.copy_as_killed(&store), model)
}

/// Changes bytes of a file without going through a store.
fn patch(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_samples_are_sound() {
    let (scratch, model) = closed();
    assert_store(&buffered().open(scratch.data()).unwrap(), &model);
    let (scratch, model) = killed();
    assert_store(&buffered().open(scratch.data()).unwrap(), &model);
}

#[test]
fn nothing_is_there_and_nothing_may_be_created() {
    let scratch = Scratch::new();
    for options in [buffered().create(false), buffered().read_only(true)] {
        let outcome = options.open(scratch.data()).map(drop);
        assert!(matches!(outcome, Err(Error::NotFound { .. })), "{outcome:?}");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
    let outcome = buffered().open(scratch.path().join("missing/data.h5")).map(drop);
    assert!(matches!(outcome, Err(Error::NotFound { .. } | Error::Io { .. })), "{outcome:?}");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn a_new_store_is_private_and_small_and_leaves_no_litter() {
    let scratch = Scratch::new();
    let store = buffered().open(scratch.data()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&scratch.data()), mode(&scratch.log())), (0o600, 0o600));
    assert!(fs::metadata(scratch.data()).unwrap().len() <= 256 << 10, "an empty store is small");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
    store.close().unwrap();
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
}

#[test]
fn a_directory_instead_of_a_file() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.data()).unwrap();
    assert_refused(&scratch, |error| matches!(error, Error::NotAStore { .. }));
}

#[test]
fn a_symbolic_link_is_not_followed() {
    let (scratch, _) = closed();
    let target = scratch.path().join("target.h5");
    fs::rename(scratch.data(), &target).unwrap();
    symlink(&target, scratch.data()).unwrap();
    assert_refused(&scratch, |error| matches!(error, Error::NotAStore { .. } | Error::Io { .. }));
}

/// Both superblocks are looked at; what they say is said once.
#[test]
fn what_is_wrong_is_told_once() {
    let noise = (0..8 << 10).flat_map(|word| scramble(word).to_le_bytes()).collect();
    for content in [vec![0; 64 << 10], b"no store".repeat(8 << 10), noise] {
        let scratch = Scratch::new();
        fs::write(scratch.data(), content).unwrap();
        let told = buffered().open(scratch.data()).unwrap_err().to_string();
        assert_eq!(told.matches("not a CIDStore file").count(), 1, "{told}");
        assert!(!told.contains(';'), "{told}");
    }
    let (scratch, _) = closed();
    patch(&scratch.data(), |bytes| bytes.copy_within(..PAGE_BYTES, PAGE_BYTES));
    patch(&scratch.data(), |bytes| {
        for slot in [0, PAGE_BYTES] {
            bytes[slot + offset_of!(Superblock, file_bytes)] ^= 1;
        }
    });
    let told = buffered().open(scratch.data()).unwrap_err().to_string();
    assert_eq!(told.matches("superblock checksum").count(), 1, "{told}");
}

#[test]
fn an_empty_file() {
    let scratch = Scratch::new();
    fs::write(scratch.data(), b"").unwrap();
    assert_refused(&scratch, |error| matches!(error, Error::NotAStore { .. }));
}

#[test]
fn a_text_file() {
    for text in
        ["x", "key,value\n1,2\n", &"All work and no play makes a dull store.\n".repeat(9000)]
    {
        let scratch = Scratch::new();
        fs::write(scratch.data(), text).unwrap();
        assert_refused(&scratch, |error| matches!(error, Error::NotAStore { .. }));
    }
}

#[test]
fn a_file_of_zeros() {
    let scratch = Scratch::new();
    fs::write(scratch.data(), vec![0; 300_000]).unwrap();
    assert_refused(&scratch, |error| {
        matches!(error, Error::NotAStore { .. } | Error::Corrupt { .. })
    });
}

#[test]
fn a_truncated_file() {
    let (whole, _) = closed();
    let length = fs::metadata(whole.data()).unwrap().len();
    let cuts = [
        1,
        7,
        8,
        100,
        4095,
        4096,
        4097,
        8192,
        12288,
        16384,
        20480,
        length / 2,
        length - 4096,
        length - 1,
    ];
    for cut in cuts {
        let scratch = whole.copy();
        patch(&scratch.data(), |bytes| bytes.truncate(cut as usize));
        assert_refused(&scratch, |error| {
            matches!(error, Error::NotAStore { .. } | Error::Corrupt { .. })
        });
    }
}

#[test]
fn a_truncated_file_of_a_killed_store() {
    let (whole, _) = killed();
    let length = fs::metadata(whole.data()).unwrap().len();
    for cut in [4096, 8192, 16384, length / 2, length - 4096, length - 1] {
        let scratch = whole.copy();
        patch(&scratch.data(), |bytes| bytes.truncate(cut as usize));
        assert_refused(&scratch, |error| {
            matches!(error, Error::NotAStore { .. } | Error::Corrupt { .. })
        });
    }
}

#[test]
fn a_missing_log_is_fine_after_a_clean_close() {
    let (scratch, model) = closed();
    fs::remove_file(scratch.log()).unwrap();
    let before = scratch.fingerprint();
    let reader = buffered().read_only(true).open(scratch.data()).unwrap();
    assert_eq!(model_of(&reader), model);
    drop(reader);
    assert_eq!(scratch.fingerprint(), before, "a read-only open makes no log");
    let store = buffered().open(scratch.data()).unwrap();
    assert_store(&store, &model);
    assert!(scratch.log().exists());
    store.insert(77, 77).unwrap();
    let killed = scratch.copy_as_killed(&store);
    assert!(buffered().open(killed.data()).unwrap().contains(77, 77).unwrap());
}

#[test]
fn a_missing_log_is_an_error_after_a_kill() {
    let (scratch, _) = killed();
    fs::remove_file(scratch.log()).unwrap();
    assert_refused(&scratch, |error| matches!(error, Error::WalMissing { .. }));
}

#[test]
fn the_log_of_another_store() {
    let (other, _) = killed();
    let (scratch, _) = killed();
    fs::copy(other.log(), scratch.log()).unwrap();
    assert_refused(&scratch, |error| matches!(error, Error::WalMismatch { .. }));
}

#[test]
fn the_log_of_another_store_beside_a_closed_one() {
    let (other, _) = killed();
    let (scratch, _) = closed();
    fs::copy(other.log(), scratch.log()).unwrap();
    // A reader of a closed store has no use for a log, but somebody has mixed files up.
    assert_refused(&scratch, |error| matches!(error, Error::WalMismatch { .. }));
}

/// It has the right id, and nothing of what was acknowledged since: recovery from it would forget that for good.
#[test]
fn an_older_log_of_the_same_store() {
    let (scratch, mut model) = closed();
    let older = scratch.log_bytes();
    let store = buffered().open(scratch.data()).unwrap();
    store.insert(77, 77).unwrap();
    store.sync().unwrap();
    model.insert(77, 77);
    let killed = scratch.copy_as_killed(&store);
    let newer = killed.log_bytes();
    fs::write(killed.log(), &older).unwrap();
    assert_refused(&killed, |error| matches!(error, Error::WalMismatch { .. }));
    fs::write(killed.log(), newer).unwrap();
    assert_store(&buffered().open(killed.data()).unwrap(), &model);
}

/// The log that another path has is one of an earlier time, once the store was written to with the usual one.
#[test]
fn the_log_at_another_path_that_was_used_before() {
    let (scratch, mut model) = closed();
    let elsewhere = |scratch: &Scratch| buffered().wal_path(scratch.path().join("fast.wal"));
    elsewhere(&scratch).open(scratch.data()).unwrap().close().unwrap();
    let store = buffered().open(scratch.data()).unwrap();
    store.insert(77, 77).unwrap();
    store.sync().unwrap();
    model.insert(77, 77);
    let killed = scratch.copy_as_killed(&store);
    let before = killed.fingerprint();
    let refused = elsewhere(&killed).open(killed.data()).map(drop).unwrap_err();
    assert!(matches!(refused, Error::WalMismatch { .. }), "{refused}");
    assert_eq!(killed.fingerprint(), before);
    assert_store(&buffered().open(killed.data()).unwrap(), &model);
    // Closed, it needs none, and takes either.
    assert_store(&elsewhere(&killed).open(killed.data()).unwrap(), &model);
}

/// Whoever mislaid the data file must find the log as it was, and no empty store in its place.
#[test]
fn a_log_without_its_data_file_is_left_alone() {
    let (scratch, _) = killed();
    let log = scratch.log();
    std::fs::remove_file(scratch.data()).unwrap();
    let before = std::fs::read(&log).unwrap();
    let refused = Store::open(scratch.data()).unwrap_err();
    assert!(matches!(refused, Error::WalMismatch { .. }), "{refused}");
    assert!(refused.to_string().ends_with("or to one that was there before"), "{refused}");
    assert!(!scratch.data().exists() && std::fs::read(&log).unwrap() == before);
}

#[test]
fn a_log_that_is_no_log() {
    let contents: [&[u8]; 4] = [b"", b"not a log\n", &[0; 8192], &[0xff; 70_000]];
    for content in contents {
        let (scratch, _) = killed();
        fs::write(scratch.log(), content).unwrap();
        assert_refused(&scratch, |error| {
            matches!(
                error,
                Error::NotAStore { .. } | Error::Corrupt { .. } | Error::WalMismatch { .. }
            )
        });
    }
    let (scratch, _) = killed();
    fs::remove_file(scratch.log()).unwrap();
    fs::create_dir(scratch.log()).unwrap();
    assert_refused(&scratch, |error| matches!(error, Error::NotAStore { .. } | Error::Io { .. }));
}

#[test]
fn a_newer_format() {
    // Whether or not its checksum is one that version 1 would have: neither slot is sound then.
    for checksum_change in [0, 1] {
        let (scratch, _) = closed();
        let at = offset_of!(Superblock, format_version);
        patch(&scratch.data(), |bytes| {
            for slot in [0, 4096] {
                bytes[slot + at..][..4].copy_from_slice(&9_u32.to_le_bytes());
                bytes[slot + 4092] ^= checksum_change;
            }
        });
        assert_refused(&scratch, |error| {
            matches!(error, Error::UnsupportedVersion { found: 9, supported: 1, .. })
        });
    }
}

#[test]
fn a_newer_format_of_the_log() {
    let (scratch, _) = killed();
    let at = offset_of!(LogHeader, format_version);
    patch(&scratch.log(), |bytes| bytes[at..][..4].copy_from_slice(&9_u32.to_le_bytes()));
    assert_refused(&scratch, |error| matches!(error, Error::UnsupportedVersion { found: 9, .. }));
}

#[test]
fn a_killed_store_is_not_for_readers() {
    let (scratch, model) = killed();
    let before = scratch.fingerprint();
    let outcome = buffered().read_only(true).open(scratch.data()).map(drop);
    assert!(matches!(outcome, Err(Error::NeedsRecovery { .. })), "{outcome:?}");
    assert_eq!(scratch.fingerprint(), before);
    assert_store(&buffered().open(scratch.data()).unwrap(), &model);
}

#[test]
fn damage_in_acknowledged_records_is_never_cut_off() {
    let (whole, _) = killed();
    let log = whole.log_bytes();
    // The records after the last checkpoint: any of the first, whose durability later records witness.
    let record = |index: usize| 4096 + index * 64;
    let used = (0..).take_while(|&index| log[record(index)..][..64] != [0; 64]).count();
    assert!(used > 100, "the sample logs a hundred writes");
    for index in [used - 90, used - 60, used - 30] {
        let scratch = whole.copy();
        patch(&scratch.log(), |bytes| bytes[record(index) + 40] ^= 0x10);
        assert_refused(&scratch, |error| matches!(error, Error::Corrupt { .. }));
    }
}

#[test]
fn both_superblocks_damaged() {
    for (scratch, _) in [closed(), killed()] {
        patch(&scratch.data(), |bytes| {
            bytes[100] ^= 1;
            bytes[4096 + 100] ^= 1;
        });
        assert_refused(&scratch, |error| matches!(error, Error::Corrupt { .. }));
    }
}

#[test]
fn one_superblock_damaged() {
    for (whole, model) in [closed(), killed()] {
        let mut opened = 0;
        for slot in [0, 4096] {
            let scratch = whole.copy();
            patch(&scratch.data(), |bytes| bytes[slot + 100] ^= 1);
            // The older one is no loss. Without the newer, the older and the log must tell the same.
            let before = scratch.fingerprint();
            match buffered().open(scratch.data()) {
                Ok(store) => {
                    assert_store(&store, &model);
                    opened += 1;
                }
                Err(error) => {
                    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
                    assert_eq!(scratch.fingerprint(), before);
                }
            }
        }
        assert!(opened >= 1, "the newer superblock alone is enough");
    }
}

#[test]
fn damage_in_a_page_is_found_by_verified_reads() {
    let (whole, model) = closed();
    let length = whole.data_bytes().len();
    let mut noticed = 0;
    for page in 4..length / 4096 {
        let scratch = whole.copy();
        patch(&scratch.data(), |bytes| {
            // Three bits of a word: more than the codes of one entry can mend.
            bytes[page * 4096 + 600] ^= 0x15;
        });
        let store = match buffered().verify_reads(true).open(scratch.data()) {
            Ok(store) => store,
            Err(error) => {
                assert!(matches!(error, Error::Corrupt { .. }), "page {page}: {error}");
                noticed += 1;
                continue;
            }
        };
        let mut failed = false;
        for (key, set) in model.sets() {
            match store.get(cidstore_testkit::model::element(key)) {
                Ok(values) => {
                    assert_eq!(&cidstore_testkit::content::set_of(&values), set, "page {page}")
                }
                Err(error) => {
                    assert!(matches!(error, Error::Corrupt { .. }), "page {page}: {error}");
                    // Which page it is stands in the detail, not where in the file.
                    assert!(!error.to_string().contains("byte 0"), "{error}");
                    failed = true;
                }
            }
        }
        let report = store.verify();
        let reported = !matches!(&report, Ok(report) if report.problems.is_empty());
        assert!(reported || !failed, "page {page}: reads fail but verify is content");
        noticed += usize::from(failed);
    }
    assert!(noticed > 15, "only {noticed} pages in use?");
}

/// A scan used to look for a bucket at such a position for ever.
#[test]
fn a_scan_of_buckets_that_claim_a_wrong_place_ends() {
    let (scratch, _) = closed();
    patch(&scratch.data(), |bytes| {
        for page in bytes.chunks_exact_mut(PAGE_BYTES) {
            if page[..2] == (PageKind::Bucket as u16).to_le_bytes() {
                page[PREFIX_WORD * 8] ^= 1;
                page[2] ^= 7;
            }
        }
    });
    for verify_reads in [false, true] {
        let store = buffered().verify_reads(verify_reads).open(scratch.data()).unwrap();
        let last = store.iter().last();
        assert!(matches!(last, Some(Err(Error::Corrupt { .. }))), "{last:?}");
        assert!(store.verify().is_ok_and(|report| !report.problems.is_empty()));
    }
}

/// A page that was copied, changed and written again used to get a checksum that fitted its damage.
#[test]
fn a_damaged_page_is_not_changed_and_not_sealed_again() {
    let (scratch, model) = closed();
    let mut patched = 0;
    patch(&scratch.data(), |bytes| {
        let pages = bytes.chunks_exact_mut(PAGE_BYTES);
        let bucket = |page: &&mut [u8]| page[..2] == (PageKind::Bucket as u16).to_le_bytes();
        if let Some(page) = pages.filter(bucket).max_by_key(|page| page[32]) {
            // Of the first value of a live entry: nothing but a checksum can tell.
            let position = page[64..126].iter().position(|&tag| tag != 0).unwrap();
            page[128 + position * 64 + 20] ^= 0x10;
            patched += 1;
        }
    });
    assert_eq!(patched, 1);
    let store = buffered().open(scratch.data()).unwrap();
    let mut refused = 0;
    for key in 0..2_000_u64 {
        match store.insert(key, key) {
            Ok(_) => assert!(store.get(key).unwrap().contains(E::from(key))),
            Err(Error::Corrupt { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 0 && refused < 2_000, "{refused} refused");
    let deleted = store.batch_delete(&model.keys().map(E::from_u128).collect::<Vec<_>>());
    assert!(matches!(deleted, Err(Error::Corrupt { .. })), "{deleted:?}");
    assert!(matches!(store.merge(), Err(Error::Corrupt { .. })));
    store
        .insert_with(7_u64, 7_u64, cidstore::Durability::Immediate)
        .map(drop)
        .or_else(|error| if matches!(error, Error::Corrupt { .. }) { Ok(()) } else { Err(error) })
        .unwrap();
    let mut dump = Vec::new();
    store.debug_dump(&mut dump).unwrap();
    assert!(String::from_utf8(dump).unwrap().contains("wrong checksum"));
    store.close().unwrap();
    let store = buffered().open(scratch.data()).unwrap();
    let report = store.verify().unwrap();
    assert!(
        report.problems.iter().any(|problem| problem.place.contains("bucket page")),
        "{report:?}"
    );
}
