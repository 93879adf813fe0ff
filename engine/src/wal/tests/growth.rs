//! Growth ahead of need, without the writer lock.

use super::*;
use crate::wal::append::Growth;

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
    growth.carry_out().unwrap();
    assert_eq!(log.appender.file_bytes(), before, "not before it is told");
    log.appender.end_growth(Ok(())).unwrap();
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
        growth.carry_out().unwrap();
        log.appender.end_growth(Ok(())).unwrap();
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
