//! Writing: many threads, one leader.
//!
//! Who leads, and who waits for it, is told in [`turns`](super::turns). The leader logs a group of writes, syncs once if
//! one of them is `Immediate`, applies them in log order, and answers each.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cidstore_core::E;
use cidstore_core::layout::record::{Opcode, RECORD_BYTES};
use cidstore_core::layout::table::Space;

use super::engine::{Engine, Leading, WriterState};
use super::room::NotYet;
use super::turns;
use crate::error::{Error, Result};
use crate::options::Durability;
use crate::wal::{Appender, Wal};
use crate::writer::ahead::Ahead;
use crate::writer::apply::Operation;

/// Changed pages, in both pools together, part of which makes a checkpoint due: by default half of them, 1 GiB.
pub(super) const DIRTY_PAGES_MAX: u64 = 1 << 19;
/// How long after the last synced write the log says that it was synced.
const WITNESS_AFTER: Duration = Duration::from_millis(100);
/// Checkpoints that a group may ask for: one brings the pages down, the next frees what the first replaced.
const CHECKPOINTS_FOR_ROOM: u32 = 3;
/// Why it is not known what became of a write.
const LEADER_PANICKED: &str = "a panic while a write was applied";

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Pairs that came or went.
    pub(crate) changed: u64,
    /// Log sequence number of the write's last record.
    pub(crate) lsn: u64,
}

/// One write: an operation, or several that count as one.
#[derive(Debug)]
pub(crate) enum Write {
    One(Operation),
    Batch(Vec<Operation>),
}

impl Write {
    pub(super) fn operations(&self) -> &[Operation] {
        match self {
            Self::One(operation) => std::slice::from_ref(operation),
            Self::Batch(operations) => operations,
        }
    }

    /// Log records, the batch's frame included.
    pub(super) fn records(&self) -> u64 {
        match self {
            Self::One(_) => 1,
            Self::Batch(operations) => operations.len() as u64 + 2,
        }
    }
}

/// A write, and how durable it is to be when it is answered.
pub(crate) type Request = (Write, Durability);
/// What a write is answered.
pub(crate) type Answer = Result<Outcome>;

/// What a group does that needs a checkpoint first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// It is left to another time.
    None,
    /// It waits. Others may write meanwhile.
    InTurn,
    /// It waits, and nobody writes meanwhile: a transaction has read what its changes depend on.
    Alone,
}

/// Marks the store as failed if a panic passes while pages may be half changed.
pub(crate) struct PanicGuard<'a> {
    engine: &'a Engine,
    cause: &'static str,
    /// The write comes from a destructor that runs because of a panic elsewhere, which is not this write's.
    is_during_another: bool,
}

impl<'a> PanicGuard<'a> {
    pub(crate) fn new(engine: &'a Engine, cause: &'static str) -> Self {
        Self { engine, cause, is_during_another: std::thread::panicking() }
    }
}

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.is_during_another {
            let cause = self.cause.into();
            self.engine.shared.mark_failed(&Error::OutcomeUnknown { cause });
        }
    }
}

impl Engine {
    /// Logs, applies and answers one write.
    pub(crate) fn commit(&self, write: Write, durability: Durability) -> Result<Outcome> {
        self.check_writable()?;
        self.check_size(&write)?;
        let start = self.shared.events.start_of_write(durability);
        self.step_back();
        let answer = self.turns.carry_out(
            (write, durability),
            self.tuned.group_writes_max(),
            |state, (write, durability)| {
                self.lead_alone(state, write, *durability, Patience::InTurn)
            },
            |state, group| self.lead_group(state, group),
        );
        let outcome = answer.unwrap_or_else(|turns::Abandoned| {
            Err(Error::OutcomeUnknown { cause: LEADER_PANICKED.into() })
        });
        self.note_end(durability, start, &outcome);
        outcome
    }

    /// As [`commit`](Self::commit), for a caller that has led (a transaction) and keeps the lock till the end.
    pub(crate) fn commit_locked(
        &self,
        state: Leading<'_>,
        write: Write,
        durability: Durability,
    ) -> Result<Outcome> {
        self.check_writable()?;
        self.check_size(&write)?;
        let start = self.shared.events.start_of_write(durability);
        let outcome = self.lead_alone(state, &write, durability, Patience::Alone);
        self.note_end(durability, start, &outcome);
        outcome
    }

    /// Notes how long a write took, and asks for the sync that it is owed.
    fn note_end(&self, durability: Durability, start: Option<Instant>, outcome: &Result<Outcome>) {
        if outcome.is_ok() {
            self.shared.events.end_of_write(durability, start);
        }
        match durability {
            Durability::Interval(within) => {
                self.background.request_sync(self.tuned.flush_within(within));
            }
            Durability::Immediate => self.background.request_sync(WITNESS_AFTER),
            Durability::Buffered => {}
        }
    }

    /// Syncs what `Interval` writes have logged, and lets the log say so if no group comes that would: a damaged
    /// record that was acknowledged is told from a torn tail by this.
    pub(crate) fn sync_and_witness(&self) -> Result<()> {
        self.sync_applied()?;
        let Some(mut state) = self.try_writer() else { return Ok(()) };
        let Some(log) = &mut state.log else { return Ok(()) };
        match log.witness_when_idle() {
            Ok(_) | Err(Error::NoSpace { .. }) => Ok(()),
            Err(error) => {
                self.shared.mark_failed(&error);
                Err(error)
            }
        }
    }

    /// Refuses a batch that the log can never take.
    pub(crate) fn check_size(&self, write: &Write) -> Result<()> {
        let operations_max = self.records_max.saturating_sub(2);
        let operations = write.operations().len() as u64;
        if operations > operations_max {
            return Err(Error::BatchTooLarge { operations, operations_max });
        }
        Ok(())
    }

    /// Carries out a group of writes; `answer` gets each one's outcome. Gives the lock back held, and how many were
    /// answered: all, unless they have no patience and one of them must wait first.
    pub(super) fn lead<'a>(
        &'a self,
        mut state: Leading<'a>,
        group: &[(&Write, Durability)],
        patience: Patience,
        mut answer: impl FnMut(usize, Result<Outcome>),
    ) -> (Leading<'a>, usize) {
        match patience {
            Patience::None if self.interlude.is_on() => return (state, 0),
            Patience::None | Patience::Alone => {}
            Patience::InTurn => state = self.after_interlude(state),
        }
        let mut interlude = None;
        let mut start = 0;
        let mut checkpoints = 0;
        while start < group.len() {
            // As many writes as the log takes at once; a large batch goes alone.
            let end = self.end_of_part(group, start);
            let part = &group[start..end];
            match self.prepare(&mut state, part) {
                Ok(()) => {
                    self.log_and_apply(&mut state, part, |at, outcome| answer(start + at, outcome))
                }
                Err(NotYet::Refused(error)) => {
                    self.refuse(&mut state, part, error, |at, outcome| {
                        answer(start + at, outcome);
                    })
                }
                Err(NotYet::NeedsCheckpoint(_)) if patience == Patience::None => break,
                Err(NotYet::NeedsCheckpoint(error)) => {
                    if patience == Patience::Alone && interlude.is_none() {
                        interlude = Some(self.interlude.begin());
                    }
                    drop(state);
                    let made = self.make_room(part);
                    state = self.writer();
                    if patience == Patience::InTurn {
                        state = self.after_interlude(state);
                    }
                    checkpoints += 1;
                    if matches!(made, Ok(true)) && checkpoints <= CHECKPOINTS_FOR_ROOM {
                        continue;
                    }
                    let error = made.err().unwrap_or_else(|| state.writer.pages.with_holder(error));
                    self.refuse(&mut state, part, error, |at, outcome| answer(start + at, outcome));
                }
            }
            start = end;
            checkpoints = 0;
        }
        state.writer.collect_after_snapshots();
        if state.writer.pages.limbo.is_due() {
            let part = state.writer.pages.limbo.part();
            state.writer.collect_some(part);
        }
        self.note_due(&state);
        self.shared
            .applied_waiters
            .wake_up_to(self.shared.counters.applied_lsn.load(Ordering::Acquire));
        (state, start)
    }

    fn end_of_part(&self, group: &[(&Write, Durability)], start: usize) -> usize {
        let records_max = self.records_max;
        let mut records = 0;
        let fits = |(write, _): &&(&Write, Durability)| {
            records += write.records();
            records <= records_max
        };
        start + group[start..].iter().take_while(fits).count().max(1)
    }

    /// Answers a part that could not be prepared as a whole: each write by itself, so that one that needs
    /// space does not take a delete down with it.
    fn refuse(
        &self,
        state: &mut WriterState,
        part: &[(&Write, Durability)],
        error: Error,
        mut answer: impl FnMut(usize, Result<Outcome>),
    ) {
        if let [_] = part {
            self.shared.events.commits_failed.add(1);
            answer(0, Err(error));
            return;
        }
        for (at, one) in part.iter().enumerate() {
            let one = std::slice::from_ref(one);
            match self.prepare(state, one) {
                Ok(()) => self.log_and_apply(state, one, |_, outcome| answer(at, outcome)),
                Err(not_yet) => {
                    let error = match not_yet {
                        NotYet::NeedsCheckpoint(error) => state.writer.pages.with_holder(error),
                        NotYet::Refused(error) => error,
                    };
                    self.shared.events.commits_failed.add(1);
                    answer(at, Err(error));
                }
            }
        }
    }

    /// Logs a prepared group, syncs it if it must, applies it, answers.
    fn log_and_apply(
        &self,
        state: &mut WriterState,
        part: &[(&Write, Durability)],
        mut answer: impl FnMut(usize, Result<Outcome>),
    ) {
        let _guard = PanicGuard::new(self, LEADER_PANICKED);
        let lsns = match self.log(state, part) {
            Ok(lsns) => lsns,
            Err(error) => {
                let cause = self.shared.mark_failed(&error);
                self.shared.events.commits_failed.add(part.len() as u64);
                for at in 0..part.len() {
                    answer(at, Err(Error::OutcomeUnknown { cause: cause.clone() }));
                }
                return;
            }
        };
        self.shared.events.group_sizes.record(part.len() as u64);
        for (at, ((write, _), lsn)) in part.iter().zip(lsns).enumerate() {
            let mut changed = Ok(0);
            let operations = write.operations();
            let mut ahead = Ahead::of(operations.iter(), &state.writer);
            for &operation in operations {
                ahead.step(&state.writer);
                match (state.writer.apply(operation), &mut changed) {
                    (Ok(one), Ok(sum)) => {
                        self.shared.events.note_operation(operation, one);
                        *sum += one;
                    }
                    (Err(error), changed) => {
                        // It is in the log and cannot be applied: what the pages say is not known any more.
                        self.shared.mark_failed(&error);
                        *changed = Err(error);
                        break;
                    }
                    (Ok(_), Err(_)) => break,
                }
            }
            self.note_applied(write, &changed);
            // Before the answer: who has it may ask for the write to be synced, or read it from the log.
            self.shared.counters.applied_lsn.store(lsn, Ordering::Release);
            answer(at, changed.map(|changed| Outcome { changed, lsn }));
        }
    }

    /// Counts a write that was applied, or was not to the end. The caller has the writer lock.
    fn note_applied(&self, write: &Write, changed: &Result<u64>) {
        let events = &self.shared.events;
        if changed.is_err() {
            events.commits_failed.add(1);
            return;
        }
        events.commits.add(1);
        if let Write::Batch(operations) = write {
            events.batch_sizes.record(operations.len() as u64);
        }
    }

    /// Appends the records of a group and syncs them if one write is `Immediate`. Answers each one's LSN.
    fn log(&self, state: &mut WriterState, part: &[(&Write, Durability)]) -> Result<Vec<u64>> {
        let Some(log) = &mut state.log else { return Err(Error::ReadOnly) };
        let mut lsns = Vec::with_capacity(part.len());
        for (write, _) in part {
            lsns.push(append(log, write)?);
        }
        if !part.iter().any(|(_, durability)| *durability == Durability::Immediate) {
            log.flush()?;
            return Ok(lsns);
        }
        log.flush_to_sync()?;
        if let Some(wal) = &self.wal {
            let start = Instant::now();
            self.shared.durable_waiters.wake_up_to(wal.sync(log.last_lsn())?);
            state.gathering.note_sync(part.len(), self.turns.waiting_writes(), start.elapsed());
        }
        Ok(lsns)
    }

    /// Asks for a checkpoint when enough has changed, and for room that is about to be used up.
    pub(crate) fn note_due(&self, state: &WriterState) {
        let pages = &state.writer.pages;
        let changed = pages.pages_to_write(Space::Buckets) + pages.pages_to_write(Space::Values);
        let records = state.log.as_ref().map_or(0, |log| log.last_lsn() - state.cut_lsn);
        let logged = records * RECORD_BYTES as u64;
        let log_due = self.tuned.checkpoint_part(self.settings.wal_bytes);
        if changed > self.tuned.checkpoint_part(DIRTY_PAGES_MAX) || logged > log_due {
            self.background.request_checkpoint();
        }
        self.background.request_room(self.room_due(state));
    }

    /// Makes everything logged so far durable.
    pub(crate) fn sync_log(&self) -> Result<u64> {
        self.check_writable()?;
        let Some(wal) = &self.wal else { return Err(Error::ReadOnly) };
        let lsn = self.writer().log.as_ref().map_or(0, Appender::last_lsn);
        self.sync_to(wal, lsn)
    }

    pub(super) fn sync_to(&self, wal: &Wal, lsn: u64) -> Result<u64> {
        let durable = wal.sync(lsn).inspect_err(|error| {
            self.shared.mark_failed(error);
        })?;
        self.shared.durable_waiters.wake_up_to(durable);
        Ok(durable)
    }
}

/// Appends the records of one write; answers the LSN of the last.
fn append(log: &mut Appender, write: &Write) -> Result<u64> {
    match write {
        Write::One(operation) => append_operation(log, operation),
        Write::Batch(operations) => {
            let count = operations.len() as u64;
            log.begin(count)?;
            for operation in operations {
                append_operation(log, operation)?;
            }
            log.commit(count)
        }
    }
}

fn append_operation(log: &mut Appender, operation: &Operation) -> Result<u64> {
    match *operation {
        Operation::Insert(key, value) => log.append(Opcode::Insert, key, value),
        Operation::DeleteValue(key, value) => log.append(Opcode::DeleteValue, key, value),
        Operation::DeleteKey(key) => log.append(Opcode::DeleteKey, key, E::ZERO),
    }
}
