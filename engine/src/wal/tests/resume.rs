//! Going on after a crash.

use super::*;

/// The log as recovery leaves it, with `count` inserts more, and what it delivers then.
fn resumed(log: &Fixture, start: ScanStart, count: u64) -> Vec<u64> {
    let (_, found) = scan(&log.wal, start).unwrap();
    let wal = Arc::new(open(&log.path).unwrap());
    let mut appender = Appender::resume(Arc::clone(&wal), Arc::new(OsDisk), start, &found).unwrap();
    assert_eq!(appender.reserve(count).unwrap(), Room::Granted);
    for _ in 0..count {
        appender.append(Opcode::DeleteKey, E::from(1), E::ZERO).unwrap();
    }
    scan(&wal, start).unwrap().0
}

#[test]
fn what_lay_behind_a_tear_stays_away_when_new_records_lead_up_to_it() {
    for count in 0..6 {
        let mut log = Fixture::new();
        log.insert(10);
        log.damage(6, &[0xff; 7]);
        let expected: Vec<u64> = (1..6 + count).collect();
        assert_eq!(resumed(&log, FIRST, count), expected);
    }
}

#[test]
fn a_dropped_batch_stays_away_when_new_records_take_its_place() {
    for count in 0..6 {
        let mut log = Fixture::new();
        log.insert(2);
        assert_eq!(log.appender.reserve(6).unwrap(), Room::Granted);
        log.appender.begin(4).unwrap();
        for _ in 0..3 {
            log.appender.append(Opcode::Insert, E::from(1), E::from(2)).unwrap();
        }
        let expected: Vec<u64> = (1..3 + count).collect();
        assert_eq!(resumed(&log, FIRST, count), expected);
    }
}

#[test]
fn a_log_goes_on_round_the_end_of_its_ring() {
    let mut log = Fixture::with_options(WalOptions { ring_bytes_max: 4096, ..OPTIONS });
    for _ in 0..2 {
        log.insert(20);
    }
    let cut = log.appender.position();
    assert!(log.appender.release(cut));
    log.insert(10);
    let start = ScanStart { offset: cut, lsn: 41, salt: SALT };
    let delivered = resumed(&log, start, 20);
    // Of 64 slots the last has the wrap record, number 64.
    let expected: Vec<u64> = (41..64).chain(65..72).collect();
    assert_eq!(delivered, expected);
}

#[test]
fn an_erasure_that_fails_is_told() {
    let mut log = Fixture::new();
    log.insert(10);
    log.damage(6, &[0xff; 7]);
    let (_, found) = log.scan().unwrap();
    log.disk.inject(Fault::new(libc::EIO).kind(OperationKind::SyncData).once());
    let disk = Arc::new(log.disk.clone());
    let outcome = Appender::resume(Arc::clone(&log.wal), disk, FIRST, &found);
    assert!(matches!(outcome, Err(Error::Io { action: "sync", .. })), "{outcome:?}");
}

#[test]
fn an_empty_batch_and_a_batch_round_the_end_are_whole() {
    let mut log = Fixture::with_options(WalOptions { ring_bytes_max: 4096, ..OPTIONS });
    log.insert(25);
    log.insert(25);
    let cut = log.appender.position();
    assert!(log.appender.release(cut));
    assert_eq!(log.appender.reserve(2 + 22).unwrap(), Room::Granted);
    log.appender.begin(0).unwrap();
    log.appender.commit(0).unwrap();
    log.appender.begin(20).unwrap();
    for _ in 0..20 {
        log.appender.append(Opcode::Insert, E::ZERO, E::ZERO).unwrap();
    }
    log.appender.commit(20).unwrap();
    let start = ScanStart { offset: cut, lsn: 51, salt: SALT };
    assert_eq!(scan(&log.wal, start).unwrap().0.len(), 20);
}

#[test]
fn sound_records_that_make_no_sense_are_refused() {
    use Opcode::{Barrier, Begin, Commit, Sync};
    // A frame of two begins at 1, its operation is 2; what comes at 3?
    for (opcode, key) in [
        (Begin as u8, 0),   // a frame in a frame
        (Commit as u8, 2),  // one operation is missing
        (Commit as u8, 1),  // another count than at the beginning
        (Sync as u8, 1),    // groups begin with these
        (Barrier as u8, 0), // never in a batch
        (33, 0),            // no opcode
    ] {
        let mut log = Fixture::new();
        assert_eq!(log.appender.reserve(2).unwrap(), Room::Granted);
        log.appender.begin(2).unwrap();
        log.appender.append(Opcode::Insert, E::ZERO, E::ZERO).unwrap();
        log.forge(opcode, 3, key);
        assert_eq!(corrupt_offset(log.scan()), Fixture::slot(3), "{opcode} {key}");
    }
    // Outside a frame: a lone end, a count that no file has, a witness of the future.
    for (opcode, key) in [(Commit, 0), (Begin, 65), (Begin, u64::MAX), (Sync, 1)] {
        let log = Fixture::new();
        log.forge(opcode as u8, 1, key);
        assert_eq!(corrupt_offset(log.scan()), RING_START, "{opcode:?} {key}");
    }
}

#[test]
fn a_wrap_record_that_leads_to_itself_ends() {
    let log = Fixture::new();
    log.forge(Opcode::Wrap as u8, 1, 0);
    let end = log.scan().unwrap().1;
    assert_eq!(end.reason, RecordError::Lsn { found: 1, expected: 2 });
}

#[test]
fn a_start_outside_the_ring_is_refused() {
    let log = Fixture::new();
    for offset in [0, RING_START - 64, RING_START + 8, RING_START + 4096, 1 << 40, u64::MAX] {
        let outcome = scan(&log.wal, ScanStart { offset, ..FIRST });
        assert_eq!(corrupt_offset(outcome), offset);
    }
}

#[test]
fn an_error_of_the_receiver_ends_the_scan() {
    let mut log = Fixture::new();
    log.insert(3);
    let outcome = log.wal.scan(FIRST, &mut |_, _| Err(Error::Closed));
    assert!(matches!(outcome, Err(Error::Closed)));
}
