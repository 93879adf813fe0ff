//! Reading the log back after a crash.
//!
//! Contract of [`Wal::scan`]:
//! - Operations are delivered in order, those of a batch only if its Commit record is there.
//! - What is delivered is a prefix of what was logged. It ends at the first slot that does not hold the
//!   expected record; if any Sync record of this life says that this very record was durable, the answer
//!   is [`Error::Corrupt`] instead.
//! - A record that is sound but makes no sense (a batch that commits another count than it began with, an unknown opcode)
//!   is [`Error::Corrupt`] too: no tear looks like that.
//! - Nothing is written. Work and memory are linear in the size of the file, whatever its bytes are.

use std::ops::Range;

use cidstore_core::layout::record::{
    HybridTime, Opcode, RECORD_BYTES, RING_START, Record, RecordError,
};

use super::file::Wal;
use super::ring::SLOT;
use crate::error::{Error, Result};

/// The file is read in pieces of this size.
const PIECE_BYTES: u64 = 1 << 18;

/// Where a superblock says that its log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScanStart {
    /// Offset of the first record.
    pub(crate) offset: u64,
    /// Its LSN.
    pub(crate) lsn: u64,
    /// Seed of the checksums.
    pub(crate) salt: u64,
}

/// Where the log ended, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScanEnd {
    /// Offset and LSN at which the log goes on: behind the last record, or in place of the batch that was dropped.
    pub(crate) resume: (u64, u64),
    /// Slots with sound records of this life that do not count: those of the dropped batch, and what lies
    /// behind a tear. They must not be met again once new records lead up to them.
    pub(crate) beyond: Vec<Range<u64>>,
    /// Offset of the slot that does not hold the expected record.
    pub(crate) offset: u64,
    /// LSN of the expected record.
    pub(crate) lsn: u64,
    /// What is wrong with it.
    pub(crate) reason: RecordError,
    /// Time of the last record before; zero if there is none.
    pub(crate) time: HybridTime,
    /// Operations delivered.
    pub(crate) operations: u64,
    /// A batch had begun and its Commit record is not there; its operations were not delivered.
    pub(crate) batch_dropped: bool,
}

impl Wal {
    /// Delivers the operations (inserts, deletes, barriers) from `start` to the end of the log.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if records that were once durable are damaged or missing; [`Error::Io`]; what
    /// `deliver` answers.
    pub(crate) fn scan(
        &self,
        start: ScanStart,
        deliver: &mut dyn FnMut(Opcode, &Record) -> Result<()>,
    ) -> Result<ScanEnd> {
        let mut scan = Scan {
            slots: Slots::new(self)?,
            start,
            offset: start.offset,
            lsn: start.lsn,
            time: HybridTime::default(),
            operations: 0,
            batch: None,
            grown_behind: None,
            deliver,
        };
        scan.check_start()?;
        let reason = loop {
            if let Some(reason) = scan.step()? {
                break reason;
            }
        };
        let resume = scan.batch.as_ref().map_or((scan.offset, scan.lsn), |batch| batch.begin);
        let beyond = scan.check_witnesses(reason, resume.1)?;
        Ok(ScanEnd {
            resume,
            beyond,
            offset: scan.offset,
            lsn: scan.lsn,
            reason,
            time: scan.time,
            operations: scan.operations,
            batch_dropped: scan.batch.is_some(),
        })
    }
}

/// A batch that has begun.
struct Batch {
    /// Offset and LSN of its Begin record.
    begin: (u64, u64),
    count: u64,
    operations: Vec<(Opcode, Record)>,
}

struct Scan<'a> {
    slots: Slots<'a>,
    start: ScanStart,
    offset: u64,
    lsn: u64,
    time: HybridTime,
    operations: u64,
    batch: Option<Batch>,
    /// Offset and LSN of the last Grow record.
    grown_behind: Option<(u64, u64)>,
    deliver: &'a mut dyn FnMut(Opcode, &Record) -> Result<()>,
}

impl Scan<'_> {
    fn corrupt<T>(&self, detail: String) -> Result<T> {
        let path = self.slots.wal.path().to_path_buf();
        Err(Error::Corrupt { path, offset: self.offset, detail })
    }

    fn check_start(&self) -> Result<()> {
        let offset = self.start.offset;
        if offset < RING_START || offset >= self.slots.end || !offset.is_multiple_of(SLOT) {
            let end = self.slots.end;
            return self
                .corrupt(format!("the log begins at {offset}, outside {RING_START}..{end}"));
        }
        Ok(())
    }

    /// Takes the next record; what is wrong with it, if it is not the expected one.
    fn step(&mut self) -> Result<Option<RecordError>> {
        if self.offset >= self.slots.end {
            if let Some(place) =
                self.grown_behind.filter(|(offset, _)| offset + SLOT == self.offset)
            {
                // A power cut took what the file had grown by. The log goes on in place of the record that told of it.
                (self.offset, self.lsn) = place;
                return Ok(Some(RecordError::Empty));
            }
            // Else the last slot of a file is only ever a wrap record.
            return self.corrupt(format!("the log was cut before record {}", self.lsn));
        }
        let bytes = self.slots.at(self.offset)?;
        let record = match Record::check(bytes, self.start.salt, self.lsn) {
            Ok(record) => record,
            Err(reason) => return Ok(Some(reason)),
        };
        let Some(opcode) = record.opcode() else {
            return self.corrupt(format!("record {} has an unknown opcode", self.lsn));
        };
        if opcode == Opcode::Grow {
            self.grown_behind = Some((self.offset, self.lsn));
        }
        self.take(opcode, record)?;
        self.time = record.time;
        let Some(next) = self.lsn.checked_add(1) else {
            return self.corrupt(format!("no LSN comes after {}", self.lsn));
        };
        self.lsn = next;
        self.offset = if opcode == Opcode::Wrap { RING_START } else { self.offset + SLOT };
        Ok(None)
    }

    fn take(&mut self, opcode: Opcode, record: Record) -> Result<()> {
        match (opcode, self.batch.take()) {
            (Opcode::Begin, None) => {
                // The count may be of more than the file has room for: a power cut took what it had grown by for this batch.
                // So no capacity from it: memory follows the records that are really there.
                let (begin, count) = ((self.offset, self.lsn), record.key.low);
                self.batch = Some(Batch { begin, count, operations: Vec::new() });
                Ok(())
            }
            (Opcode::Commit, Some(batch)) => self.commit(batch, record.key.low),
            // A batch may go round the end of the ring, or into what the file grew by.
            (Opcode::Wrap | Opcode::Grow, batch) => {
                self.batch = batch;
                Ok(())
            }
            (Opcode::Sync, None) => self.sync(record.key.low),
            (Opcode::Barrier, None) => self.deliver(opcode, &record),
            (Opcode::Insert | Opcode::DeleteValue | Opcode::DeleteKey, None) => {
                self.deliver(opcode, &record)
            }
            (Opcode::Insert | Opcode::DeleteValue | Opcode::DeleteKey, Some(mut batch))
                if (batch.operations.len() as u64) < batch.count =>
            {
                batch.operations.push((opcode, record));
                self.batch = Some(batch);
                Ok(())
            }
            (opcode, batch) => {
                let frame = if batch.is_some() { "inside" } else { "outside" };
                self.corrupt(format!("record {} is {opcode:?} {frame} a batch", self.lsn))
            }
        }
    }

    fn deliver(&mut self, opcode: Opcode, record: &Record) -> Result<()> {
        self.operations += 1;
        (self.deliver)(opcode, record)
    }

    fn commit(&mut self, batch: Batch, count: u64) -> Result<()> {
        let found = batch.operations.len() as u64;
        if count != batch.count || count != found {
            let (lsn, begun) = (self.lsn, batch.count);
            return self.corrupt(format!(
                "batch {lsn} was begun with {begun} operations, has {found} and commits {count}"
            ));
        }
        batch.operations.iter().try_for_each(|(opcode, record)| self.deliver(*opcode, record))
    }

    fn sync(&self, durable: u64) -> Result<()> {
        if durable >= self.lsn {
            return self.corrupt(format!("record {} calls {durable} durable", self.lsn));
        }
        Ok(())
    }

    /// Decides whether the log may end here: looks at all slots for a record that says otherwise. Answers the slots
    /// with records from `resume_lsn` on.
    fn check_witnesses(&mut self, reason: RecordError, resume_lsn: u64) -> Result<Vec<Range<u64>>> {
        let bad = self.lsn;
        if let RecordError::Opcode { .. } = reason {
            return self.corrupt(format!("in place of record {bad}: {reason}"));
        }
        if let RecordError::Lsn { found, .. } = reason
            && found > bad
        {
            // A slot is used again only when no superblock needs the record that was there.
            return self.corrupt(format!("record {bad} was overwritten by record {found}"));
        }
        let mut beyond: Vec<Range<u64>> = Vec::new();
        let mut offset = RING_START;
        while offset < self.slots.end {
            // What does not verify is another life's, or torn, or never written: no witness.
            if let Ok(record) = Record::verify(self.slots.at(offset)?, self.start.salt) {
                let durable = record.key.low;
                if record.opcode() == Some(Opcode::Sync) && durable >= bad {
                    let lsn = record.lsn;
                    return self.corrupt(format!(
                        "record {bad} is damaged ({reason}), yet record {lsn} tells that all up to \
                         {durable} were durable"
                    ));
                }
                match beyond.last_mut() {
                    _ if record.lsn < resume_lsn => {}
                    Some(last) if last.end == offset => last.end += SLOT,
                    _ => beyond.push(offset..offset + SLOT),
                }
            }
            offset += SLOT;
        }
        Ok(beyond)
    }
}

/// The slots of the file, read in large pieces.
struct Slots<'a> {
    wal: &'a Wal,
    end: u64,
    piece: Vec<u8>,
    piece_start: u64,
}

impl<'a> Slots<'a> {
    fn new(wal: &'a Wal) -> Result<Self> {
        Ok(Self { wal, end: wal.end()?, piece: Vec::new(), piece_start: 0 })
    }

    /// The slot at this offset below `end`.
    fn at(&mut self, offset: u64) -> Result<&[u8; RECORD_BYTES]> {
        let within = offset.wrapping_sub(self.piece_start);
        if within >= self.piece.len() as u64 {
            self.piece.resize(PIECE_BYTES.min(self.end - offset) as usize, 0);
            self.wal.file.read_at(offset, &mut self.piece)?;
            self.piece_start = offset;
        }
        let within = (offset - self.piece_start) as usize;
        let slot = self.piece.get(within..).and_then(|rest| rest.first_chunk());
        slot.ok_or_else(|| Error::Corrupt {
            path: self.wal.path().to_path_buf(),
            offset,
            detail: "a slot outside the log".to_string(),
        })
    }
}
