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
    appender.flush().unwrap();
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
        log.appender.flush().unwrap();
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
