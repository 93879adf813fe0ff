//! Growth ahead of need, without the writer lock.

use super::*;
use crate::wal::growth::Growth;

/// Appends until growth is due, and begins it.
fn begun(log: &mut Fixture) -> Growth {
    while !log.appender.is_growth_due() {
        log.insert(1);
    }
    let growth = log.appender.begin_growth().unwrap();
    assert!(!log.appender.is_growth_due() && log.appender.begin_growth().is_none());
    growth
}

fn assert_whole(log: &Fixture) {
    let (delivered, end) = log.scan().unwrap();
    assert_eq!(delivered.len() as u64, end.operations);
    assert_eq!(end.lsn, log.appender.last_lsn() + 1);
}

#[test]
fn a_log_that_grows_ahead_is_longer_before_it_must_be() {
    let mut log = Fixture::new();
    let growth = begun(&mut log);
    let before = log.appender.file_bytes();
    let made = growth.carry_out();
    assert_eq!(log.appender.file_bytes(), before, "not before it is told");
    log.appender.end_growth(made).unwrap();
    assert_eq!(log.appender.file_bytes(), RING_START + 2 * 4096);
    assert_eq!(fs::metadata(&log.path).unwrap().len(), log.appender.file_bytes());
    log.insert(60);
    assert_whole(&log);
}

#[test]
fn a_write_that_cannot_wait_adopts_the_growth_and_wraps_no_sooner() {
    for carried_out in [false, true] {
        let mut log = Fixture::new();
        let growth = begun(&mut log);
        if carried_out {
            growth.carry_out().unwrap();
        }
        // All before is released, so without the growth the ring would wrap.
        log.sync();
        assert!(log.appender.release(log.appender.position()));
        log.insert(10);
        assert_eq!(log.appender.file_bytes(), RING_START + 4096, "there is room before the end");
        log.insert(10);
        assert_eq!(log.appender.file_bytes(), RING_START + 2 * 4096);
        assert!(log.appender.position() > RING_START + 4096, "no wrap in a file that grows");
        // The slower one comes too late: what was written since stays.
        log.appender.end_growth(growth.carry_out()).unwrap();
        assert_whole(&log);
        assert_eq!(log.appender.file_bytes(), RING_START + 2 * 4096);
    }
}

#[test]
fn a_crash_while_the_log_grows_loses_nothing() {
    let mut log = Fixture::new();
    let growth = begun(&mut log);
    log.insert(3);
    growth.carry_out().unwrap();
    log.insert(3);
    // The process ends here: the file is longer than the ring was.
    let wal = Arc::new(open(&log.path).unwrap());
    let (delivered, end) = scan(&wal, FIRST).unwrap();
    assert_eq!(delivered.len() as u64, log.appender.last_lsn());
    let disk = Arc::new(log.disk.clone());
    let mut appender = Appender::resume(wal, disk, FIRST, &end).unwrap();
    assert_eq!(appender.file_bytes(), RING_START + 2 * 4096);
    assert_eq!(appender.reserve(60).unwrap(), Room::Granted);
}

#[test]
fn a_full_disk_is_not_asked_again_and_again() {
    let mut log = Fixture::new();
    let growth = begun(&mut log);
    log.disk.inject(Fault::new(libc::ENOSPC).kind(OperationKind::Allocate));
    let made = growth.carry_out();
    assert!(matches!(made, Err(Error::NoSpace { .. })));
    assert!(matches!(log.appender.end_growth(made), Err(Error::NoSpace { .. })));
    assert!(!log.appender.is_growth_due());
    log.insert(3);
    assert_whole(&log);
}

/// The file became longer in haste, a part of that was made ready, and for more the disk had no space: the log wraps before
/// the file's end.
#[test]
fn a_log_that_wrapped_before_the_end_of_its_file_goes_on_as_it_was() {
    let options = WalOptions { ring_bytes_initial: 1 << 20, ring_bytes_max: 8 << 20 };
    let mut log = Fixture::with_options(options);
    log.insert(16_380);
    log.insert(10);
    let part = log.appender.file_bytes();
    assert!(part < RING_START + (2 << 20), "a piece of zeros");
    assert_eq!(fs::metadata(&log.path).unwrap().len(), RING_START + (2 << 20));
    log.sync();
    let (offset, lsn) = (log.appender.position(), log.appender.last_lsn() + 1);
    assert!(log.appender.release(offset));
    let start = ScanStart { offset, lsn, salt: SALT };
    log.disk.inject(Fault::new(libc::ENOSPC).kind(OperationKind::Allocate));
    log.insert(17_000);
    log.disk.heal();
    assert!(
        log.appender.position() < offset && log.appender.file_bytes() == part,
        "it has wrapped"
    );

    let wal = Wal::open(&OsDisk, &log.path, OpenMode::ReadWrite, owner(), options).unwrap();
    let wal = Arc::new(wal);
    let (delivered, end) = scan(&wal, start).unwrap();
    assert_eq!(delivered.len(), 17_000);
    let disk = Arc::new(OsDisk);
    let mut appender = Appender::resume(Arc::clone(&wal), disk, start, &end).unwrap();
    assert_eq!(appender.oldest_lsn(), lsn);
    assert_eq!(appender.used_bytes(), log.appender.used_bytes());
    // Once round, what the file is longer by is used.
    let (offset, lsn) = (appender.position(), appender.last_lsn() + 1);
    assert!(appender.release(offset));
    assert_eq!(appender.reserve(30_000).unwrap(), Room::Granted);
    for _ in 0..30_000 {
        appender.append(Opcode::DeleteKey, E::from(1), E::ZERO).unwrap();
    }
    appender.flush().unwrap();
    assert!(appender.file_bytes() >= RING_START + (2 << 20));
    assert_eq!(scan(&wal, ScanStart { offset, lsn, salt: SALT }).unwrap().0.len(), 30_000);
}

/// A log whose writes went on behind the end that the file was sure to have.
fn grown_in_haste() -> Fixture {
    let mut log = Fixture::new();
    for kind in [OperationKind::SyncData, OperationKind::SyncAll] {
        log.disk.inject(Fault::new(libc::EIO).kind(kind));
    }
    log.insert(60);
    log.insert(10);
    assert!(log.appender.position() > RING_START + 4096, "no wrap");
    assert_whole(&log);
    log
}

#[test]
fn a_write_that_needs_a_longer_file_waits_for_no_sync() {
    let mut log = grown_in_haste();
    // As far as the file may go: twice more.
    log.insert(50);
    log.insert(100);
    assert_eq!(log.appender.file_bytes(), RING_START + 4 * 4096);
    assert_whole(&log);
    assert!(log.wal.sync(1).is_err(), "a sync would have failed");
}

#[test]
fn a_power_cut_that_takes_what_a_file_grew_by_in_haste_ends_the_log_there() {
    let log = grown_in_haste();
    File::options().write(true).open(&log.path).unwrap().set_len(RING_START + 4096).unwrap();
    let wal = Arc::new(open(&log.path).unwrap());
    let (delivered, end) = scan(&wal, FIRST).unwrap();
    assert_eq!(delivered, (1..=63).collect::<Vec<_>>());
    assert_eq!((end.resume, end.reason), ((RING_START + 63 * 64, 64), RecordError::Empty));
    let disk = Arc::new(OsDisk);
    let mut appender = Appender::resume(Arc::clone(&wal), disk, FIRST, &end).unwrap();
    assert_eq!(appender.reserve(5).unwrap(), Room::Granted);
    for _ in 0..5 {
        appender.append(Opcode::Insert, E::from(1), E::from(2)).unwrap();
    }
    appender.flush().unwrap();
    assert_eq!(scan(&wal, FIRST).unwrap().0.len(), 63 + 5);
}

#[test]
fn a_grow_record_has_its_slot_reserved() {
    let mut log = Fixture::new();
    log.insert(47);
    // The group is given up, what the file grew by stays.
    assert_eq!(log.appender.reserve(20).unwrap(), Room::Granted);
    assert_eq!(log.appender.file_bytes(), RING_START + 2 * 4096);
    log.insert(1);
    log.sync();
    // Without the Grow record these would just fit, with the Sync record that they begin with, before the last slot.
    log.insert(128 - 48 - 2);
    assert_eq!(log.appender.file_bytes(), RING_START + 4 * 4096);
    assert_whole(&log);
}

#[test]
fn a_log_that_is_shorter_than_any_power_cut_leaves_it_was_cut() {
    let log = grown_in_haste();
    File::options().write(true).open(&log.path).unwrap().set_len(RING_START + 4096 + 64).unwrap();
    assert_eq!(corrupt_offset(scan(&open(&log.path).unwrap(), FIRST)), RING_START + 4096 + 64);
}

#[test]
fn what_a_file_grew_by_in_haste_is_made_durable_once() {
    let mut log = Fixture::new();
    log.insert(60);
    log.insert(10);
    assert!(log.appender.is_growth_due());
    let growth = log.appender.begin_growth().unwrap();
    assert!(!log.appender.is_growth_due());
    log.appender.end_growth(growth.carry_out()).unwrap();
    assert!(!log.appender.is_growth_due());
    log.disk.inject(Fault::new(libc::EIO).kind(OperationKind::SyncAll));
    log.appender.settle_growth().unwrap();
    let mut log = grown_in_haste();
    assert!(log.appender.settle_growth().is_err(), "a sync that fails");
}

/// The growth for this group adds a Grow record to it, which takes a slot, too.
#[test]
fn a_group_that_fills_the_grown_log_leaves_a_slot_for_the_grow_record() {
    let options = WalOptions { ring_bytes_initial: 4 * 4096, ring_bytes_max: 5 * 4096 };
    let mut log = Fixture::with_options(options);
    log.insert(100);
    log.insert(60);
    log.sync();
    let count = log.appender.records_max();
    assert_eq!(count, 158);
    // 320 slots, of which 160 are taken: with the group's Sync record, the Grow record and the last slot that would be all.
    assert_eq!(log.appender.reserve(count).unwrap(), Room::Full);
    log.insert(count - 1);
    assert_whole(&log);
}

#[test]
fn a_record_that_would_overwrite_the_oldest_ends_the_log() {
    let mut log =
        Fixture::with_options(WalOptions { ring_bytes_initial: 4096, ring_bytes_max: 4096 });
    log.insert(20);
    log.sync();
    // More than were planned for.
    log.appender.granted = 100;
    let refused =
        (0..100).find_map(|_| log.appender.append(Opcode::Insert, E::ZERO, E::ZERO).err());
    assert!(matches!(refused, Some(Error::Io { action: "write", .. })), "{refused:?}");
    assert!(matches!(log.appender.reserve(1), Err(Error::Failed { .. })));
    let (delivered, _) = log.scan().unwrap();
    assert!(delivered.len() >= 20, "{}", delivered.len());
}
