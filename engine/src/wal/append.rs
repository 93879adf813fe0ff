//! Writing records.
//!
//! The order of calls for a group: [`Appender::reserve`], then as many appends as it granted, then
//! [`Appender::flush`], or [`Appender::flush_to_sync`] and then [`Wal::sync`] with the last LSN if the group asks for it. An append without a grant is an error, never
//! a write over records that are still needed.

use std::sync::Arc;

use cidstore_core::E;
use cidstore_core::layout::record::{HybridTime, Opcode, Record};
use zerocopy::IntoBytes;

use super::file::Wal;
use super::growth::LogGrowth;
use super::places::{LogPlace, Places};
use super::ring::{Plan, Ring, SLOT};
use super::scan::{ScanEnd, ScanStart};
use crate::error::{Error, Result};
use crate::io::{Disk, FileMap, io_error};

/// Answer to a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Room {
    /// The group may be appended.
    Granted,
    /// Not until a checkpoint made older records unnecessary and [`Appender::release`] said so. Two
    /// checkpoints at the most are enough, one for each superblock.
    Full,
}

/// Writes records to the log, one thread at a time.
#[derive(Debug)]
pub(crate) struct Appender {
    pub(super) wal: Arc<Wal>,
    disk: Arc<dyn Disk>,
    pub(super) map: FileMap,
    pub(super) ring: Ring,
    salt: u64,
    next_lsn: u64,
    /// Time of the last record.
    time: HybridTime,
    /// The clock when the group was opened.
    group_nanos: u64,
    /// Records that may be appended before the next reservation.
    pub(super) granted: u64,
    /// Last record that carries an operation or frame: what is worth a witness.
    payload_lsn: u64,
    /// A Sync record says that all up to here is durable.
    witnessed_lsn: u64,
    /// Records that are not in the file yet, and where they go.
    pending: Vec<u8>,
    pending_at: u64,
    /// Records since the log was opened.
    records: u64,
    /// Writes to the file since then.
    flushes: u64,
    pub(super) growth: LogGrowth,
    /// Where readers of the log can begin.
    places: Places,
    /// Records before this offset are kept for readers only, and given up when a write needs their room.
    kept: Option<u64>,
    /// So many bytes of records are kept for readers at most.
    keep_bytes_max: u64,
}

/// So many bytes of records are stored through the map; more are written with a call. A store costs a fault for each
/// page that was synced before, and the next sync an interrupt of all processors for each page that was stored to.
const STORE_BYTES_MAX: usize = 4096;
/// So many bytes of records gather at most.
const PENDING_BYTES_MAX: usize = 1 << 20;

impl Appender {
    /// Begins a new life of the log: records from `next_lsn` on, at the start of the ring, under a salt that
    /// no earlier life had, which the header says from now on. Everything before `next_lsn` is durable elsewhere.
    ///
    /// Both superblocks must name this salt and [`Appender::position`] before the first append: it
    /// overwrites what a superblock of the earlier life would replay.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn start(
        wal: Arc<Wal>,
        disk: Arc<dyn Disk>,
        salt: u64,
        next_lsn: u64,
        not_before: HybridTime,
    ) -> Result<Self> {
        wal.begin_life(salt)?;
        let end = wal.end()?;
        let ring = Ring::new(end, wal.end_max);
        Self::on(wal, disk, ring, (salt, next_lsn, not_before))
    }

    /// Goes on with a life of the log, behind the records that a scan from `start` delivered.
    ///
    /// What is found behind them is overwritten, and all of them are made durable, before this returns: so a record
    /// that was not delivered now can't be delivered later, and nothing that was can be lost. A crash on the way
    /// leaves a log that delivers the same again.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn resume(
        wal: Arc<Wal>,
        disk: Arc<dyn Disk>,
        start: ScanStart,
        found: &ScanEnd,
    ) -> Result<Self> {
        wal.erase(&found.beyond)?;
        let (head, next_lsn) = found.resume;
        let ring = Ring::resumed(wal.end()?, wal.end_max, start.offset, head);
        let ring = ring.with_records(next_lsn - start.lsn);
        let mut appender = Self::on(wal, disk, ring, (start.salt, next_lsn, found.time))?;
        appender.places = Places::new(LogPlace { lsn: start.lsn, offset: start.offset });
        Ok(appender)
    }

    /// The log in this state; all before the next LSN is durable.
    fn on(
        wal: Arc<Wal>,
        disk: Arc<dyn Disk>,
        ring: Ring,
        (salt, next_lsn, time): (u64, u64, HybridTime),
    ) -> Result<Self> {
        let map = wal.file.map(wal.end_max.max(ring.end()))?;
        map.set_usable(ring.end());
        let done = next_lsn.saturating_sub(1);
        wal.set_durable(done);
        Ok(Self {
            places: Places::new(LogPlace { lsn: next_lsn, offset: ring.head() }),
            kept: None,
            keep_bytes_max: 0,
            ring,
            wal,
            disk,
            map,
            salt,
            next_lsn,
            time,
            group_nanos: 0,
            granted: 0,
            payload_lsn: done,
            witnessed_lsn: done,
            pending: Vec::new(),
            pending_at: 0,
            growth: LogGrowth::default(),
            records: 0,
            flushes: 0,
        })
    }

    /// Makes sure that `records` records fit, and opens a group: what was granted before and not used is
    /// forgotten, and a Sync record is written if there is something new to witness.
    ///
    /// # Errors
    /// [`Error::BatchTooLarge`] if they can never fit; [`Error::NoSpace`] if they do not fit in the empty
    /// ring because the file cannot grow: nothing changed then. [`Error::Io`] and [`Error::Failed`]: the log
    /// has failed.
    pub(crate) fn reserve(&mut self, records: u64) -> Result<Room> {
        self.wal.check_failed()?;
        if records > self.records_max() {
            let (operations, operations_max) = (records, self.records_max());
            return Err(Error::BatchTooLarge { operations, operations_max });
        }
        self.granted = 0;
        // One more for the Sync record; `records_max` leaves room for it.
        let room = self.make_room(records + 1)?;
        if room == Room::Granted {
            self.granted = records + 1;
            self.places.note(LogPlace { lsn: self.next_lsn, offset: self.ring.head() });
            // One look at the clock for a whole group.
            self.group_nanos = self.disk.now_nanos();
            self.witness()?;
            self.granted = records;
        }
        Ok(room)
    }

    fn make_room(&mut self, records: u64) -> Result<Room> {
        // Those that tell where the file grew take a slot each, and growing for this group may add one.
        let may_grow = self.ring.end() < self.ring.end_max();
        let records = records + self.growth.marks() + u64::from(may_grow);
        if self.growth.is_going_on() && records > self.ring.records_ahead() {
            // The file is longer than the ring, or becomes so: no time to wrap.
            match self.grow_for(records) {
                Ok(()) | Err(Error::NoSpace { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let mut plan = self.ring.plan(records);
        let may_keep =
            matches!(plan, Plan::Grow { .. }) && self.ring.used_bytes() <= self.keep_bytes_max;
        if !matches!(plan, Plan::Fits) && !may_keep && self.give_up_kept() {
            plan = self.ring.plan(records);
        }
        match plan {
            Plan::Fits => Ok(Room::Granted),
            Plan::Full => Ok(Room::Full),
            Plan::Grow { fits_without } => match self.grow_for(records) {
                Ok(()) => Ok(Room::Granted),
                Err(Error::NoSpace { .. }) if fits_without => Ok(Room::Granted),
                Err(Error::NoSpace { .. }) if self.ring.used_bytes() > 0 => Ok(Room::Full),
                Err(error) => Err(error),
            },
        }
    }

    /// The time of the next record: that of its group, but later than that of all records before.
    fn next_time(&self) -> HybridTime {
        let HybridTime { nanos, seq, shard } = self.time;
        if self.group_nanos > nanos {
            return HybridTime { nanos: self.group_nanos, seq: 0, shard };
        }
        match seq.checked_add(1) {
            Some(seq) => HybridTime { nanos, seq, shard },
            None => HybridTime { nanos: nanos.saturating_add(1), seq: 0, shard },
        }
    }

    /// Appends one record and tells its LSN. It is in the file after [`flush`](Self::flush), which ends each group.
    ///
    /// # Errors
    /// [`Error::Io`] if it was not reserved (then nothing is written) or the store failed.
    pub(crate) fn append(&mut self, opcode: Opcode, key: E, value: E) -> Result<u64> {
        if self.granted == 0 {
            let source = std::io::Error::other("a record without a reservation");
            return Err(io_error(self.wal.path(), "write", source));
        }
        if self.ring.at_last_slot() {
            self.write(Opcode::Wrap, E::ZERO, E::ZERO)?;
        } else if self.growth.is_mark_due(self.ring.head()) {
            self.write(Opcode::Grow, E::ZERO, E::ZERO)?;
        }
        self.granted -= 1;
        let lsn = self.write(opcode, key, value)?;
        if opcode != Opcode::Sync {
            self.payload_lsn = lsn;
        }
        Ok(lsn)
    }

    /// Begins the frame of a batch: `count` operations follow, then [`commit`](Self::commit). A frame takes two
    /// records more than it has operations.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub(crate) fn begin(&mut self, count: u64) -> Result<u64> {
        self.append(Opcode::Begin, E::from(count), E::ZERO)
    }

    /// Ends the frame of a batch of `count` operations. Its LSN is that of the batch.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub(crate) fn commit(&mut self, count: u64) -> Result<u64> {
        self.append(Opcode::Commit, E::from(count), E::ZERO)
    }

    fn write(&mut self, opcode: Opcode, key: E, value: E) -> Result<u64> {
        if !self.ring.has_room() {
            let source = std::io::Error::other("a record would overwrite one that is still needed");
            return Err(self.wal.fail(io_error(self.wal.path(), "write", source)));
        }
        let lsn = self.next_lsn;
        let time = self.next_time();
        let mut record = Record::new(opcode, lsn, time, key, value);
        record.seal(self.salt);
        if self.pending.is_empty() {
            self.pending_at = self.ring.head();
        }
        self.pending.extend_from_slice(record.as_bytes());
        self.ring.advance();
        self.next_lsn += 1;
        self.records += 1;
        self.time = time;
        let wrapped = self.ring.head() < self.pending_at;
        if wrapped || self.pending.len() >= PENDING_BYTES_MAX {
            self.flush()?;
        }
        Ok(lsn)
    }

    /// Brings all records that were appended to the file: they survive the end of the process from then on.
    ///
    /// # Errors
    /// [`Error::Io`]: the log has failed.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.flush_by(STORE_BYTES_MAX)
    }

    /// As [`flush`](Self::flush), for records that are about to be synced.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub(crate) fn flush_to_sync(&mut self) -> Result<()> {
        // What a store saves over a call, and much more, the sync of a stored page takes again: it must write-protect the
        // page in all maps first, and the next store faults.
        self.flush_by(0)
    }

    /// Stores up to so many bytes to the mapped file, and writes more by a call.
    fn flush_by(&mut self, store_bytes_max: usize) -> Result<()> {
        let (at, records) = (self.pending_at, &self.pending[..]);
        let written = if records.is_empty() {
            Ok(())
        } else if records.len() <= store_bytes_max {
            self.wal.file.store(&self.map, at, records)
        } else {
            self.wal.file.write_at(at, records)
        };
        self.flushes += u64::from(!records.is_empty());
        self.pending.clear();
        written.map_err(|error| self.wal.fail(error))
    }

    /// Writes a Sync record if something became durable that no record says yet.
    fn witness(&mut self) -> Result<bool> {
        let durable = self.wal.durable_lsn();
        let news = durable.min(self.payload_lsn) > self.witnessed_lsn;
        if news {
            self.append(Opcode::Sync, E::from(durable), E::ZERO)?;
            self.witnessed_lsn = durable;
        }
        Ok(news)
    }

    /// Writes the Sync record that the next group would begin with, when no group comes. True if there was
    /// one to write; a full ring has none.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    pub(crate) fn witness_when_idle(&mut self) -> Result<bool> {
        let before = self.next_lsn;
        let _full_or_not = self.reserve(0)?;
        self.flush()?;
        Ok(self.next_lsn > before)
    }

    /// Gives up the records before `offset`: the position at the cut of the *older* superblock. False if
    /// that is no position between the oldest record and the next one; nothing is given up then.
    #[must_use]
    pub(crate) fn release(&mut self, offset: u64) -> bool {
        let released = self.ring.release(offset);
        if released {
            self.kept = None;
            self.places.give_up(LogPlace { lsn: self.oldest_lsn(), offset });
        }
        released
    }

    /// As [`release`](Self::release), but keeps what readers need, until a write needs the room. `readers` are the records that they
    /// are at, ascending; one that is further behind than is allowed is not waited for, those before it are.
    #[must_use]
    pub(crate) fn release_keeping(&mut self, offset: u64, readers: &[u64]) -> bool {
        // Whether the offset can be released is known only by doing it: on a copy.
        let mut ring = self.ring;
        if !ring.release(offset) {
            return false;
        }
        let cut_lsn = self.next_lsn - ring.used_bytes() / SLOT;
        let needed = readers.iter().take_while(|&&lsn| lsn < cut_lsn);
        let kept = needed
            .filter_map(|&lsn| self.places.before(lsn))
            .find(|place| (self.next_lsn - place.lsn) * SLOT <= self.keep_bytes_max);
        match kept {
            Some(place) if self.release(place.offset) => {
                self.kept = Some(offset);
                true
            }
            _ => self.release(offset),
        }
    }

    /// Gives up what is kept for readers. True if there was something.
    fn give_up_kept(&mut self) -> bool {
        self.kept.is_some_and(|offset| self.release(offset))
    }

    /// Lets so many bytes of records be kept for readers.
    pub(crate) fn keep_at_most(&mut self, bytes: u64) {
        self.keep_bytes_max = bytes;
    }

    /// The oldest record that was not given up; that of the next record if all were.
    pub(crate) fn oldest_lsn(&self) -> u64 {
        self.next_lsn - self.ring.used_bytes() / SLOT
    }

    /// Where a reader begins who wants the records from `lsn` on; `None` if they were given up.
    pub(crate) fn place_before(&self, lsn: u64) -> Option<LogPlace> {
        self.places.before(lsn).filter(|_| lsn >= self.places.oldest())
    }

    /// Seed of the checksums.
    pub(crate) fn salt(&self) -> u64 {
        self.salt
    }

    /// Appends a record that says nothing new, for its number: that of something which is not in the log. `None` if the
    /// log has no room for it.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    pub(crate) fn mark(&mut self) -> Result<Option<u64>> {
        if self.reserve(1)? == Room::Full {
            return Ok(None);
        }
        let lsn = self.append(Opcode::Sync, E::from(self.wal.durable_lsn()), E::ZERO)?;
        self.flush()?;
        Ok(Some(lsn))
    }

    /// Offset at which the record after the last one is expected: for the superblock.
    pub(crate) fn position(&self) -> u64 {
        self.ring.head()
    }

    /// How many records were appended, and how often they were brought to the file.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.records, self.flushes)
    }

    /// True if no record was appended yet.
    pub(super) fn is_unused(&self) -> bool {
        self.records == 0
    }

    /// LSN of the last record.
    pub(crate) fn last_lsn(&self) -> u64 {
        self.next_lsn.saturating_sub(1)
    }

    /// Time of the last record.
    #[cfg(test)]
    pub(crate) fn time(&self) -> HybridTime {
        self.time
    }

    /// Most records that a group may have.
    pub(crate) fn records_max(&self) -> u64 {
        self.ring.records_max()
    }

    /// Bytes of records that are still needed.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.ring.used_bytes()
    }

    /// Bytes of records that fit before some must be released, growth included.
    #[cfg(test)]
    pub(crate) fn free_bytes(&self) -> u64 {
        self.ring.free_bytes()
    }

    /// Bytes of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.ring.end()
    }
}
