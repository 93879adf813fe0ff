//! The log under every interleaving: syncs, one of which fails, beside writers; and the ring's wrap beside a checkpoint.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::sync::Arc;

use cidstore_core::layout::record::RING_START;

use super::durable::Durable;
use super::ring::{Plan, Ring, SLOT};
use crate::error::{Error, Result};
use crate::store::turns::Turns;
use crate::sync::checked::{Plant, arm, explore, has, spawn};
use crate::sync::{Mutex, lock};

const NO_TURNS: &str = "two threads sync at a time";
const CHECKED_EARLY: &str = "a thread that waited for its turn does not look for a failure again";
const NOT_TOLD: &str = "a failed sync is not remembered";

/// A file whose first write-back fails. As on Linux, one of those who sync is told; what was written by then is
/// lost, and the next sync succeeds.
#[derive(Debug, Default)]
struct Device {
    written: u64,
    /// Records up to this one are lost.
    lost: u64,
    has_failed: bool,
}

/// A log on that device.
struct Log {
    device: Mutex<Device>,
    durable: Durable,
    /// For the twins, which do not use the one inside.
    turn: Mutex<()>,
}

impl Log {
    fn sync_data(&self) -> Result<()> {
        let mut device = lock(&self.device);
        if std::mem::replace(&mut device.has_failed, true) {
            return Ok(());
        }
        device.lost = device.written;
        Err(Error::OutcomeUnknown { cause: "planted".into() })
    }

    /// As `Wal::sync`, or with a planted bug.
    fn sync(&self, lsn: u64) -> Result<u64> {
        if !(has(NO_TURNS) || has(CHECKED_EARLY) || has(NOT_TOLD)) {
            return self.durable.reach(lsn, || self.sync_data());
        }
        self.durable.check_failed()?;
        let _turn = (!has(NO_TURNS)).then(|| lock(&self.turn));
        if has(NOT_TOLD) {
            self.durable.check_failed()?;
            self.sync_data()?;
        } else {
            self.sync_data().map_err(|error| self.durable.fail(error))?;
        }
        self.durable.raise(lsn);
        Ok(self.durable.lsn())
    }

    /// Logs and syncs so many writes, as a leader does. Answers the last one's LSN.
    fn write(&self, last: &mut u64, count: u64) -> Result<u64> {
        self.durable.check_failed()?;
        *last += count;
        lock(&self.device).written = *last;
        self.sync(*last).map(|_| *last)
    }
}

/// The lock guards the last LSN; a write is answered how far the log is durable.
type Lines = Turns<u64, (), Option<u64>>;

fn write(log: &Log, turns: &Lines) -> Option<u64> {
    let answer = turns.carry_out(
        (),
        8,
        |mut last, ()| log.write(&mut last, 1).ok(),
        |mut last, group| {
            let count = group.writes().count();
            let answer = log.write(&mut last, count as u64).ok();
            (0..count).for_each(|at| group.answer(at, answer));
        },
    );
    answer.unwrap()
}

/// `writers` synced writes beside a thread that syncs what is there.
fn poison(plant: Plant, preemptions: Option<usize>, writers: usize) {
    explore(
        plant,
        preemptions,
        |_, _| false,
        move || {
            let (device, turn) = (Mutex::new(Device::default()), Mutex::new(()));
            let log = Arc::new(Log { device, durable: Durable::default(), turn });
            // One write that nobody has synced yet.
            lock(&log.device).written = 1;
            let turns = Arc::new(Lines::new(1));
            arm();
            let spawned: Vec<_> = (0..writers)
                .map(|_| {
                    let (log, turns) = (Arc::clone(&log), Arc::clone(&turns));
                    spawn(move || write(&log, &turns))
                })
                .collect();
            let last = *turns.lock();
            let synced = log.sync(last).ok();
            let answers: Vec<_> =
                spawned.into_iter().map(|thread| thread.join().unwrap()).collect();
            let lost = lock(&log.device).lost;
            for lsn in answers.into_iter().flatten().chain(synced) {
                assert!(lost == 0, "a write was acknowledged up to {lsn} and lost up to {lost}");
            }
            let late = write(&log, &turns);
            assert!(lost == 0 || late.is_none(), "acknowledged after a failure");
        },
    );
}

/// Complete. 3,000 executions.
#[test]
fn nothing_is_acknowledged_after_a_failed_sync() {
    poison(Plant::Sound, None, 1);
}

/// At most two preemptions, 800 executions.
#[test]
fn a_group_is_refused_after_a_failed_sync() {
    poison(Plant::Sound, Some(2), 2);
}

#[test]
#[should_panic(expected = "acknowledged")]
fn caught_two_syncs_at_a_time() {
    poison(Plant::InModel(NO_TURNS), Some(3), 2);
}

#[test]
#[should_panic(expected = "acknowledged")]
fn caught_turn_without_a_second_look() {
    poison(Plant::InModel(CHECKED_EARLY), Some(3), 2);
}

#[test]
#[should_panic(expected = "acknowledged")]
fn caught_failure_that_is_not_remembered() {
    poison(Plant::InModel(NOT_TOLD), Some(3), 1);
}

const RELEASED_AT_CUT: &str = "the log is released when the cut is made";
const RELEASED_BETWEEN: &str = "the log is released when the first of two superblocks is written";
const CUT_UNLOCKED: &str = "a cut takes its number and its place under two holds of the lock";

/// Slots of the ring.
const SLOTS: u64 = 6;
const END: u64 = RING_START + SLOTS * SLOT;
/// Records that are logged before a model begins; the superblocks are from before them.
const LOGGED: u64 = 4;

/// Where a superblock lets recovery begin: behind this record, at this place.
#[derive(Clone, Copy, Debug)]
struct Begin {
    lsn: u64,
    offset: u64,
}

/// What a crash leaves, every write having reached the disk.
#[derive(Debug)]
struct Disk {
    /// The LSN in each slot, and whether it is a wrap record.
    slots: [(u64, bool); SLOTS as usize],
    superblocks: [Begin; 2],
    acknowledged: u64,
}

impl Disk {
    fn slot(offset: u64) -> usize {
        ((offset - RING_START) / SLOT) as usize
    }

    /// Recovery from either superblock finds all that was acknowledged.
    fn check(&self) {
        for begin in self.superblocks {
            let Begin { mut lsn, mut offset } = begin;
            while let (found, wrap) = self.slots[Self::slot(offset)]
                && found == lsn + 1
            {
                lsn = found;
                offset = if wrap { RING_START } else { offset + SLOT };
            }
            assert!(lsn >= self.acknowledged, "recovery from {begin:?} ends at {lsn}: {self:?}");
        }
    }
}

/// The appender's part: what the writer lock guards.
#[derive(Debug)]
struct Head {
    ring: Ring,
    lsn: u64,
}

impl Head {
    fn put(&mut self, disk: &Mutex<Disk>, wrap: bool) {
        self.lsn += 1;
        let mut disk = lock(disk);
        disk.slots[Disk::slot(self.ring.head())] = (self.lsn, wrap);
        if !wrap {
            disk.acknowledged = self.lsn;
        }
        drop(disk);
        self.ring.advance();
    }

    /// As the appender does: false if there is no room.
    fn append(&mut self, disk: &Mutex<Disk>) -> bool {
        if self.ring.plan(1) != Plan::Fits {
            return false;
        }
        if self.ring.at_last_slot() {
            self.put(disk, true);
        }
        self.put(disk, false);
        true
    }
}

/// As a checkpoint does, in its order: cut, both superblocks, release.
fn checkpoint(head: &Mutex<Head>, disk: &Mutex<Disk>) {
    let begin = if has(CUT_UNLOCKED) {
        let offset = lock(head).ring.head();
        Begin { lsn: lock(head).lsn, offset }
    } else {
        let head = lock(head);
        Begin { lsn: head.lsn, offset: head.ring.head() }
    };
    let release = || assert!(lock(head).ring.release(begin.offset));
    if has(RELEASED_AT_CUT) {
        release();
    }
    lock(disk).superblocks[0] = begin;
    if has(RELEASED_BETWEEN) {
        release();
    }
    lock(disk).superblocks[1] = begin;
    if !(has(RELEASED_AT_CUT) || has(RELEASED_BETWEEN)) {
        release();
    }
}

/// A writer that comes round the ring, a checkpoint, and a crash at any moment.
fn wrap(plant: Plant, preemptions: Option<usize>) {
    explore(
        plant,
        preemptions,
        |_, _| false,
        || {
            let start = Begin { lsn: 0, offset: RING_START };
            let slots = [(0, false); SLOTS as usize];
            let disk = Disk { slots, superblocks: [start; 2], acknowledged: 0 };
            let disk = Arc::new(Mutex::new(disk));
            let mut head = Head { ring: Ring::new(END, END), lsn: 0 };
            for _ in 0..LOGGED {
                assert!(head.append(&disk));
            }
            let head = Arc::new(Mutex::new(head));
            arm();
            let writer = {
                let (head, disk) = (Arc::clone(&head), Arc::clone(&disk));
                spawn(move || {
                    for _ in 0..3 {
                        lock(&head).append(&disk);
                    }
                })
            };
            let checkpointer = {
                let (head, disk) = (Arc::clone(&head), Arc::clone(&disk));
                spawn(move || checkpoint(&head, &disk))
            };
            lock(&disk).check();
            writer.join().unwrap();
            checkpointer.join().unwrap();
            lock(&disk).check();
        },
    );
}

/// At most three preemptions, 310 executions.
#[test]
fn recovery_finds_everything_while_the_ring_wraps() {
    wrap(Plant::Sound, Some(3));
}

#[test]
#[should_panic(expected = "recovery from")]
fn caught_release_at_the_cut() {
    wrap(Plant::InModel(RELEASED_AT_CUT), Some(3));
}

#[test]
#[should_panic(expected = "recovery from")]
fn caught_release_between_the_superblocks() {
    wrap(Plant::InModel(RELEASED_BETWEEN), Some(3));
}

#[test]
#[should_panic(expected = "recovery from")]
fn caught_cut_under_two_holds_of_the_lock() {
    wrap(Plant::InModel(CUT_UNLOCKED), Some(3));
}
