//! Each verdict of recovery by name, the ring's behaviour through the file, and failures.
//!
//! Random histories, power cuts and bit flips against a model are in `model_tests.rs`.

mod batches;
mod growth;
mod resume;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cidstore_core::E;
use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::record::{
    HybridTime, LogHeader, Opcode, RECORD_BYTES, RING_START, Record, RecordError,
};
use zerocopy::IntoBytes;

use super::*;
use crate::error::{Error, Result};
use crate::io::{Disk, Fault, FaultyDisk, OpenMode, OperationKind, OsDisk};

const SALT: u64 = 0x5a17_0000_0000_0001;
const FILE_ID: [u8; 16] = *b"0123456789abcdef";
const DATA: &str = "data.h5";
const FIRST: ScanStart = ScanStart { offset: RING_START, lsn: 1, salt: SALT };

/// A log with a ring of 64 slots that may grow to 256.
const OPTIONS: WalOptions = WalOptions { ring_bytes_initial: 4096, ring_bytes_max: 4 * 4096 };

struct Fixture {
    _directory: tempfile::TempDir,
    path: PathBuf,
    disk: FaultyDisk,
    wal: Arc<Wal>,
    appender: Appender,
}

impl Fixture {
    fn new() -> Self {
        Self::with_options(OPTIONS)
    }

    fn with_options(options: WalOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data.h5-wal");
        let disk = FaultyDisk::new(Arc::new(OsDisk));
        let wal = Arc::new(Wal::create(&disk, &path, FILE_ID, options).unwrap());
        let start = HybridTime::default();
        let appender =
            Appender::start(Arc::clone(&wal), Arc::new(disk.clone()), SALT, 1, start).unwrap();
        Self { _directory: directory, path, disk, wal, appender }
    }

    /// Logs a group of single inserts.
    fn insert(&mut self, count: u64) {
        assert_eq!(self.appender.reserve(count).unwrap(), Room::Granted);
        for _ in 0..count {
            let number = self.appender.last_lsn() + 1;
            self.appender.append(Opcode::Insert, E::from(number), E::from(7)).unwrap();
        }
        self.appender.flush().unwrap();
    }

    fn sync(&self) {
        self.wal.sync(self.appender.last_lsn()).unwrap();
    }

    fn scan(&self) -> Result<(Vec<u64>, ScanEnd)> {
        scan(&self.wal, FIRST)
    }

    /// Offset of the slot of record `lsn`, in a log that has not wrapped.
    fn slot(lsn: u64) -> u64 {
        RING_START + (lsn - 1) * RECORD_BYTES as u64
    }

    /// Puts these bytes where record `lsn` is, or would come.
    fn damage(&self, lsn: u64, bytes: &[u8]) {
        let file = File::options().write(true).open(&self.path).unwrap();
        file.write_all_at(bytes, Self::slot(lsn)).unwrap();
    }

    fn forge(&self, opcode: u8, lsn: u64, key: u64) {
        let mut record =
            Record::new(Opcode::Sync, lsn, HybridTime::default(), E::from(key), E::ZERO);
        record.version_op = opcode;
        record.seal(SALT);
        self.damage(lsn, record.as_bytes());
    }

    fn record(&self, lsn: u64) -> Vec<u8> {
        let mut bytes = vec![0; RECORD_BYTES];
        File::open(&self.path).unwrap().read_exact_at(&mut bytes, Self::slot(lsn)).unwrap();
        bytes
    }

    fn time_of_last(&self) -> HybridTime {
        let last = self.record(self.appender.last_lsn());
        Record::verify(last.first_chunk().unwrap(), SALT).unwrap().time
    }
}

/// LSNs of the operations delivered, and the end.
fn scan(wal: &Wal, start: ScanStart) -> Result<(Vec<u64>, ScanEnd)> {
    let mut delivered = Vec::new();
    let end = wal.scan(start, &mut |_, record| {
        delivered.push(record.lsn);
        Ok(())
    })?;
    Ok((delivered, end))
}

fn corrupt_offset<T: std::fmt::Debug>(outcome: Result<T>) -> u64 {
    match outcome {
        Err(Error::Corrupt { offset, .. }) => offset,
        other => panic!("{other:?}"),
    }
}

/// The data file that needs the log of the fixture.
fn owner() -> LogOwner<'static> {
    LogOwner { path: Path::new(DATA), file_id: FILE_ID, salt: Some(SALT) }
}

fn open(path: &Path) -> Result<Wal> {
    Wal::open(&OsDisk, path, OpenMode::ReadWrite, owner(), OPTIONS)
}

// ---- where the log ends, and where it refuses: the table of docs/design.md, row by row ----

#[test]
fn nothing_was_ever_written_here_is_the_end() {
    let mut log = Fixture::new();
    log.insert(3);
    let (delivered, end) = log.scan().unwrap();
    assert_eq!(delivered, [1, 2, 3]);
    assert_eq!((end.lsn, end.offset), (4, Fixture::slot(4)));
    assert_eq!((end.resume, end.beyond.len()), ((Fixture::slot(4), 4), 0));
    assert_eq!(end.reason, RecordError::Empty);
    assert_eq!(end.time, log.time_of_last());
}

#[test]
fn half_a_record_that_nothing_witnesses_is_a_torn_tail() {
    let mut log = Fixture::new();
    log.insert(3);
    log.damage(3, &[0; 32]);
    let (delivered, end) = log.scan().unwrap();
    assert_eq!(delivered, [1, 2]);
    assert!(matches!(end.reason, RecordError::Checksum { .. } | RecordError::Version { .. }));
}

#[test]
fn one_bit_of_an_unwitnessed_last_record_is_the_window_that_is_left() {
    let mut log = Fixture::new();
    log.insert(3);
    log.sync();
    let mut bytes = log.record(3);
    bytes[40] ^= 1;
    log.damage(3, &bytes);
    assert_eq!(log.scan().unwrap().0, [1, 2]);
    // The idle witness closes it.
    let mut log = Fixture::new();
    log.insert(3);
    log.sync();
    assert!(log.appender.witness_when_idle().unwrap());
    log.damage(3, &bytes);
    assert_eq!(corrupt_offset(log.scan()), Fixture::slot(3));
}

#[test]
fn damage_before_a_witness_is_refused_wherever_it_is() {
    let mut log = Fixture::new();
    log.insert(3);
    log.sync();
    log.insert(1);
    for (lsn, bit) in (1..=3).flat_map(|lsn| (0..RECORD_BYTES * 8).map(move |bit| (lsn, bit))) {
        let sound = log.record(lsn);
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        log.damage(lsn, &bytes);
        assert_eq!(corrupt_offset(log.scan()), Fixture::slot(lsn), "bit {bit} of record {lsn}");
        log.damage(lsn, &sound);
    }
    assert_eq!(log.scan().unwrap().0, [1, 2, 3, 5]);
}

#[test]
fn a_witness_may_lie_behind_several_damaged_sectors() {
    let mut log = Fixture::new();
    log.insert(40);
    log.sync();
    log.insert(1);
    log.damage(9, &[0xaa; 1024]);
    assert_eq!(corrupt_offset(log.scan()), Fixture::slot(9));
}

#[test]
fn later_records_that_witness_less_do_not_keep_a_torn_tail() {
    let mut log = Fixture::new();
    log.insert(3);
    log.sync();
    log.insert(3); // 4 is the Sync record: up to 3
    log.insert(3); // 8, 9, 10
    log.damage(6, &[0; RECORD_BYTES]);
    let (delivered, end) = log.scan().unwrap();
    assert_eq!(delivered, [1, 2, 3, 5]);
    assert_eq!((end.lsn, end.resume), (6, (Fixture::slot(6), 6)));
    assert_eq!((end.beyond.len(), &end.beyond[0]), (1, &(Fixture::slot(7)..Fixture::slot(11))));
}

#[test]
fn records_of_an_earlier_life_are_the_end() {
    let mut log = Fixture::new();
    log.insert(8);
    let again = |salt, lsn| {
        let (wal, disk) = (Arc::clone(&log.wal), Arc::new(OsDisk));
        Appender::start(wal, disk, salt, lsn, HybridTime::default()).unwrap()
    };
    // Same rolling version, another salt; then another rolling version.
    for salt in [SALT ^ 1 << 40, SALT ^ 1] {
        let mut appender = again(salt, 9);
        assert_eq!(appender.reserve(1).unwrap(), Room::Granted);
        appender.append(Opcode::DeleteKey, E::from(9), E::ZERO).unwrap();
        appender.flush().unwrap();
        let start = ScanStart { offset: RING_START, lsn: 9, salt };
        let (delivered, end) = scan(&log.wal, start).unwrap();
        assert_eq!((delivered, end.resume.1), (vec![9], 10));
    }
    // Under the old salt, the overwritten record is not the expected one.
    assert_eq!(log.scan().unwrap().0, [0; 0]);
}

#[test]
fn records_of_the_last_lap_are_the_end() {
    let mut log = Fixture::with_options(WalOptions { ring_bytes_max: 4096, ..OPTIONS });
    log.insert(30);
    let cut = log.appender.position();
    assert!(log.appender.release(cut));
    log.insert(29);
    let cut = log.appender.position();
    assert!(log.appender.release(cut));
    let lsn = log.appender.last_lsn() + 1;
    log.insert(20); // four to the last slot, the wrap record, sixteen more
    let (delivered, end) = scan(&log.wal, ScanStart { offset: cut, lsn, salt: SALT }).unwrap();
    let expected: Vec<u64> = (lsn..lsn + 4).chain(lsn + 5..lsn + 21).collect();
    assert_eq!(delivered, expected);
    assert_eq!(end.reason, RecordError::Lsn { found: 17, expected: lsn + 21 });
    assert_eq!(end.offset, log.appender.position());
}

#[test]
fn a_record_overwritten_by_a_later_one_is_refused() {
    let mut log = Fixture::new();
    log.insert(5);
    log.damage(2, &log.record(4));
    assert_eq!(corrupt_offset(log.scan()), Fixture::slot(2));
}

#[test]
fn a_log_that_was_cut_is_refused() {
    for (kept, wrapped) in [(20, false), (60, false), (64, true), (90, true)] {
        let mut log = Fixture::new();
        log.insert(100); // grows to 128 slots
        let start = if wrapped {
            let cut = log.appender.position();
            assert!(log.appender.release(cut));
            let start = ScanStart { offset: cut, lsn: 101, salt: SALT };
            log.insert(60);
            start
        } else {
            FIRST
        };
        let file = File::options().write(true).open(&log.path).unwrap();
        file.set_len(RING_START + kept * RECORD_BYTES as u64 + 13).unwrap();
        let outcome = scan(&log.wal, start);
        assert!(matches!(outcome, Err(Error::Corrupt { .. })), "{kept} {wrapped}: {outcome:?}");
    }
}

#[test]
fn zeros_behind_the_file_change_nothing() {
    let mut log = Fixture::new();
    log.insert(10);
    File::options().write(true).open(&log.path).unwrap().set_len(1 << 20).unwrap();
    assert_eq!(log.scan().unwrap().0.len(), 10);
}

// ---- witnesses ----

#[test]
fn witnesses_come_once_and_only_for_news() {
    let mut log = Fixture::new();
    assert!(!log.appender.witness_when_idle().unwrap(), "an empty log has no news");
    log.insert(2);
    assert!(!log.appender.witness_when_idle().unwrap(), "nothing is durable");
    log.sync();
    log.insert(1);
    let witness = log.record(3);
    let witness = Record::check(witness.first_chunk().unwrap(), SALT, 3).unwrap();
    assert_eq!((witness.opcode(), witness.key), (Some(Opcode::Sync), E::from(2)));
    log.sync();
    assert!(log.appender.witness_when_idle().unwrap());
    log.sync();
    assert!(!log.appender.witness_when_idle().unwrap(), "only the witness itself is new");
    assert_eq!(log.wal.durable_lsn(), log.appender.last_lsn());
}

#[test]
fn times_never_go_back() {
    let mut log = Fixture::new();
    let late = HybridTime { nanos: u64::MAX - 1, seq: 3, shard: 0 };
    let disk = Arc::new(OsDisk);
    let mut appender = Appender::start(Arc::clone(&log.wal), disk, SALT, 1, late).unwrap();
    for _ in 0..3 {
        assert_eq!(appender.reserve(2).unwrap(), Room::Granted);
        for _ in 0..2 {
            appender.append(Opcode::Insert, E::ZERO, E::ZERO).unwrap();
        }
        appender.flush().unwrap();
    }
    let mut last = late;
    log.wal
        .scan(FIRST, &mut |_, record| {
            assert!(record.time > last, "{:?}", record.time);
            last = record.time;
            Ok(())
        })
        .unwrap();
    log.insert(1);
    assert!(log.time_of_last().nanos > 1_600_000_000_000_000_000);
}

// ---- room ----

#[test]
fn a_full_ring_waits_for_release() {
    let mut log = Fixture::new();
    let bytes = fs::metadata(&log.path).unwrap().len();
    assert_eq!(bytes, RING_START + 4096);
    let mut inserted = 0;
    while log.appender.reserve(10).unwrap() == Room::Granted {
        log.insert(10);
        inserted += 10;
    }
    assert_eq!(fs::metadata(&log.path).unwrap().len(), RING_START + 4 * 4096);
    assert!(log.appender.used_bytes() + log.appender.free_bytes() <= 4 * 4096);
    assert!(log.appender.free_bytes() < 11 * 64);
    let last = log.appender.last_lsn();
    assert!(log.appender.append(Opcode::Insert, E::ZERO, E::ZERO).is_err(), "not granted");
    assert_eq!(log.appender.last_lsn(), last);
    let (delivered, end) = log.scan().unwrap();
    // Of the records, two tell where the file grew.
    assert_eq!((delivered.len(), end.lsn, last), (inserted, last + 1, inserted as u64 + 2));
    let cut = log.appender.position();
    assert!(log.appender.release(cut));
    assert_eq!(log.appender.used_bytes(), 0);
    let most = log.appender.records_max();
    log.insert(most);
    let too_many = log.appender.reserve(most + 1).unwrap_err();
    assert!(
        matches!(too_many, Error::BatchTooLarge { operations_max, .. } if operations_max == most)
    );
}

#[test]
fn a_disk_that_cannot_grow_the_log_leaves_it_healthy() {
    let mut log = Fixture::new();
    log.disk.inject(Fault::new(libc::ENOSPC).kind(OperationKind::Allocate));
    let full = loop {
        match log.appender.reserve(10).unwrap() {
            Room::Granted => log.insert(10),
            Room::Full => break log.appender.last_lsn(),
        }
    };
    assert_eq!(full, 60);
    let cut = log.appender.position();
    assert!(log.appender.release(cut));
    log.insert(40); // wraps within what is there
    let cut = log.appender.position();
    assert!(log.appender.release(cut));
    // More than the ring that is there: even empty it does not do.
    assert!(matches!(log.appender.reserve(100), Err(Error::NoSpace { .. })));
    log.insert(40);
    log.disk.heal();
    let cut = log.appender.position();
    assert!(log.appender.release(cut));
    log.insert(100);
}

#[test]
fn a_refused_group_leaves_no_grant_of_the_one_before() {
    let mut log = Fixture::with_options(WalOptions { ring_bytes_max: 4096, ..OPTIONS });
    log.insert(30);
    log.insert(20);
    assert_eq!(log.appender.reserve(5).unwrap(), Room::Granted);
    assert_eq!(log.appender.reserve(30).unwrap(), Room::Full);
    assert!(log.appender.append(Opcode::Insert, E::ZERO, E::ZERO).is_err());
}

#[test]
fn what_fits_without_growth_is_granted_on_a_full_disk() {
    let mut log = Fixture::new();
    log.disk.inject(Fault::new(libc::ENOSPC).kind(OperationKind::Allocate));
    log.insert(40);
    assert!(log.appender.release(Fixture::slot(11)));
    // 23 ahead and 9 behind: the file would rather grow, but need not.
    assert_eq!(log.appender.reserve(30).unwrap(), Room::Granted);
    assert_eq!(log.appender.reserve(31).unwrap(), Room::Full);
    assert_eq!(log.disk.count(OperationKind::Allocate), 3);
}

#[test]
fn a_reader_too_far_behind_takes_nothing_from_those_that_are_nearer() {
    let released_to = |readers: &[u64]| {
        let mut log = Fixture::with_options(WalOptions {
            ring_bytes_initial: 1 << 20,
            ring_bytes_max: 1 << 20,
        });
        for _ in 0..120 {
            log.insert(100);
        }
        log.sync();
        log.appender.keep_at_most(8500 * RECORD_BYTES as u64);
        let cut = log.appender.position();
        assert!(log.appender.release_keeping(cut, readers));
        let kept = log.appender.last_lsn() + 1 - log.appender.oldest_lsn();
        assert!(kept <= 8500);
        kept
    };
    assert_eq!(released_to(&[]), 0);
    assert_eq!(released_to(&[5]), 0, "all of it is more than may be kept");
    let near = released_to(&[9000]);
    assert!(near > 3000);
    assert_eq!(released_to(&[5, 9000]), near);
    assert_eq!(released_to(&[5, 9000, 11_000]), near);
    assert_eq!(released_to(&[1 << 20]), 0, "it needs nothing that was written yet");
}

#[test]
fn an_option_out_of_range_is_named() {
    for bytes in [0, 4096, (1 << 16) + 1, (1 << 36) + 4096, u64::MAX] {
        let refused = WalOptions::new(bytes).unwrap_err();
        assert!(matches!(refused, Error::InvalidOption { option: "wal_bytes", .. }));
    }
    assert_eq!(WalOptions::new(1 << 16).unwrap().ring_bytes_initial, 1 << 16);
    assert_eq!(WalOptions::new(1 << 26).unwrap().ring_bytes_initial, 1 << 20);
}

// ---- failures ----

#[test]
fn the_first_failed_sync_ends_the_log_for_ever() {
    let mut log = Fixture::new();
    log.insert(1);
    let synced = log.disk.count(OperationKind::SyncData);
    log.disk.inject(Fault::new(libc::EIO).kind(OperationKind::SyncData).once());
    assert!(matches!(log.wal.sync(1), Err(Error::Io { action: "sync", .. })));
    assert_eq!(log.wal.durable_lsn(), 0);
    assert!(matches!(log.wal.sync(1), Err(Error::Failed { .. })));
    assert!(matches!(log.appender.reserve(1), Err(Error::Failed { .. })));
    assert!(matches!(log.appender.witness_when_idle(), Err(Error::Failed { .. })));
    let tried = log.disk.count(OperationKind::SyncData) - synced;
    assert_eq!(tried, 1, "a failed sync is not tried again");
}

#[test]
fn a_growth_that_fails_half_way_ends_the_log() {
    let failing = |kind| {
        let log = Fixture::new();
        log.disk.inject(Fault::new(libc::EIO).kind(kind).once().torn());
        log
    };
    let mut log = failing(OperationKind::Write);
    assert!(matches!(log.appender.reserve(100), Err(Error::Io { .. })));
    assert!(matches!(log.appender.reserve(1), Err(Error::Failed { .. })));
    let mut log = failing(OperationKind::SyncAll);
    log.insert(100);
    let growth = log.appender.begin_growth().unwrap();
    assert!(matches!(log.appender.end_growth(growth.carry_out()), Err(Error::Io { .. })));
    assert!(matches!(log.appender.reserve(1), Err(Error::Failed { .. })));
}

#[test]
fn an_unreadable_log_is_an_error_not_an_end() {
    let mut log = Fixture::new();
    log.insert(3);
    log.disk.inject(Fault::new(libc::EIO).kind(OperationKind::Read));
    assert!(matches!(log.scan(), Err(Error::Io { action: "read", .. })));
}

#[test]
fn a_log_that_cannot_be_completed_is_removed_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wal");
    let disk = FaultyDisk::new(Arc::new(OsDisk));
    for after in 0..5 {
        disk.inject(Fault::new(libc::ENOSPC).after(after).once());
        assert!(Wal::create(&disk, &path, FILE_ID, OPTIONS).is_err(), "operation {after}");
        disk.heal();
        assert!(!path.exists());
    }
    Wal::create(&disk, &path, FILE_ID, OPTIONS).unwrap();
    let again = Wal::create(&disk, &path, FILE_ID, OPTIONS).unwrap_err();
    assert!(matches!(again, Error::Io { .. }) && path.exists());
}

// ---- opening ----

#[test]
fn reopens_what_it_wrote() {
    let mut log = Fixture::new();
    log.insert(100);
    let wal = open(&log.path).unwrap();
    assert_eq!(scan(&wal, FIRST).unwrap().0.len(), 100);
    let reader = Wal::open(&OsDisk, &log.path, OpenMode::ReadOnly, owner(), OPTIONS).unwrap();
    assert_eq!(scan(&reader, FIRST).unwrap().0.len(), 100);
}

#[test]
fn what_is_no_log_of_this_store_is_named_and_left_alone() {
    let log = Fixture::new();
    let whole = fs::read(&log.path).unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(&log.path, &bytes).unwrap();
        let outcome = open(&log.path).map(|_| ());
        assert_eq!(fs::read(&log.path).unwrap(), bytes);
        outcome
    };
    let header = |id, salt| LogHeader::new(id, salt).as_bytes().to_vec();
    let put = |bytes: &mut Vec<u8>, header: Vec<u8>| bytes[..PAGE_BYTES].copy_from_slice(&header);
    with(&|_| {}).unwrap();
    assert!(matches!(with(&|b| b.clear()), Err(Error::NotAStore { .. })));
    assert!(matches!(with(&|b| b[0] ^= 1), Err(Error::NotAStore { .. })));
    assert!(matches!(with(&|b| b[8] += 1), Err(Error::UnsupportedVersion { found: 2, .. })));
    assert!(matches!(with(&|b| b[20] ^= 1), Err(Error::Corrupt { offset: 0, .. })));
    assert!(matches!(with(&|b| b.fill(0)), Err(Error::Corrupt { offset: 0, .. })));
    assert!(matches!(with(&|b| b.truncate(3000)), Err(Error::Corrupt { .. })));
    assert!(matches!(with(&|b| b.truncate(5000)), Err(Error::Corrupt { offset: 5000, .. })));
    let foreign = with(&|b| put(b, header([9; 16], SALT)));
    assert!(matches!(foreign, Err(Error::WalMismatch { .. })));
    let earlier = with(&|b| put(b, header(FILE_ID, SALT - 1)));
    assert!(matches!(earlier, Err(Error::WalMismatch { .. })));
    with(&|b| put(b, header(FILE_ID, SALT))).unwrap();
    fs::write(&log.path, "id\tvalue\nlibc6\tgcc-12-base\n").unwrap();
    assert!(matches!(open(&log.path), Err(Error::NotAStore { .. })));
    fs::remove_file(&log.path).unwrap();
    assert!(matches!(open(&log.path), Err(Error::NotFound { .. })));
    assert_eq!(OsDisk.kind(&log.path).unwrap(), crate::io::PathKind::Missing);
}
