//! Batches: whole or not at all, and what no log has.

use super::*;

#[test]
fn a_batch_is_delivered_whole_or_not_at_all() {
    for cut in 1..=7 {
        let mut log = Fixture::new();
        log.insert(1);
        assert_eq!(log.appender.reserve(6).unwrap(), Room::Granted);
        log.appender.begin(4).unwrap();
        for _ in 0..4 {
            log.appender.append(Opcode::DeleteValue, E::from(1), E::from(2)).unwrap();
        }
        assert_eq!(log.appender.commit(4).unwrap(), 7);
        log.appender.flush().unwrap();
        log.damage(cut, &[0; RECORD_BYTES]);
        let (delivered, end) = log.scan().unwrap();
        assert_eq!(delivered, if cut == 1 { vec![] } else { vec![1] });
        assert_eq!(end.batch_dropped, cut > 2);
        let resume = cut.min(2);
        assert_eq!(end.resume, (Fixture::slot(resume), resume), "in place of the batch");
    }
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
    log.appender.flush().unwrap();
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
        log.appender.flush().unwrap();
        log.forge(opcode, 3, key);
        assert_eq!(corrupt_offset(log.scan()), Fixture::slot(3), "{opcode} {key}");
    }
    // Outside a frame: a lone end, a witness of the future.
    for (opcode, key) in [(Commit, 0), (Sync, 1)] {
        let log = Fixture::new();
        log.forge(opcode as u8, 1, key);
        assert_eq!(corrupt_offset(log.scan()), RING_START, "{opcode:?} {key}");
    }
}

/// A batch that the file grew for, of which a power cut left the beginning: it was never acknowledged as durable.
#[test]
fn a_batch_of_more_than_the_file_has_room_for_is_dropped() {
    for count in [65, u64::MAX] {
        let log = Fixture::new();
        log.forge(Opcode::Begin as u8, 1, count);
        let (delivered, end) = log.scan().unwrap();
        assert!(delivered.is_empty() && end.batch_dropped);
        assert_eq!(end.resume, (RING_START, 1));
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
