//! The log file: created, opened, grown, synced.

use std::ops::Range;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Instant;

use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::record::{LOG_FORMAT_VERSION, LogHeader, LogHeaderError, RING_START};
use zerocopy::IntoBytes;

use super::durable::Durable;
use super::ring::SLOT;
use crate::error::{Error, Result};
use crate::io::{Disk, DiskFile, OpenMode};
use crate::metrics::{Recorder, Scale};
use crate::sync::whole::Mutex;

/// Ring of a new log, unless the largest is smaller.
const RING_BYTES_INITIAL: u64 = 1 << 20;
/// Least that makes sense: a thousand records.
const RING_BYTES_MIN: u64 = 1 << 16;
/// Most that is allowed: 2^30 records.
const RING_BYTES_MAX: u64 = 1 << 36;
/// Zeros are written in pieces of this size: a write that needs the next one writes it in a tenth of a millisecond.
const ZEROS_BYTES: u64 = 1 << 18;
/// Blocks are reserved ahead if they are at most this part of what the disk has left.
const RESERVED_PART: u64 = 8;
/// So many zeros are synced at once.
const SYNC_BYTES: u64 = 8 << 20;

/// How large the ring is. The file has a header page more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WalOptions {
    /// Ring of a log that is created.
    pub(crate) ring_bytes_initial: u64,
    /// Size to which the ring may grow.
    pub(crate) ring_bytes_max: u64,
}

impl WalOptions {
    /// The option `wal_bytes`, checked.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if it is out of range or no multiple of the page size.
    pub(crate) fn new(wal_bytes: u64) -> Result<Self> {
        let in_range = (RING_BYTES_MIN..=RING_BYTES_MAX).contains(&wal_bytes);
        if !in_range || !wal_bytes.is_multiple_of(PAGE_BYTES as u64) {
            let detail = format!(
                "{wal_bytes} is no multiple of {PAGE_BYTES} from {RING_BYTES_MIN} to {RING_BYTES_MAX}"
            );
            return Err(Error::InvalidOption { option: "wal_bytes", detail });
        }
        Ok(Self {
            ring_bytes_initial: RING_BYTES_INITIAL.min(wal_bytes),
            ring_bytes_max: wal_bytes,
        })
    }
}

/// How far the file has grown since it was opened. Zeros before it did.
#[derive(Debug, Default)]
struct Zeros {
    /// Its end.
    extended: u64,
    /// Zeros were written up to here.
    zeroed: u64,
}

/// The data file whose log is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogOwner<'a> {
    /// Its path.
    pub(crate) path: &'a Path,
    pub(crate) file_id: [u8; 16],
    /// The life of the log that it needs; `None` if it needs none.
    pub(crate) salt: Option<u64>,
}

/// The log file, shared by the one who appends and those who sync.
#[derive(Debug)]
pub(crate) struct Wal {
    /// That of the data file.
    file_id: [u8; 16],
    pub(super) file: Box<dyn DiskFile>,
    /// End of the file at its largest.
    pub(super) end_max: u64,
    /// End of what was made durable by [`grow`](Self::grow); held while that goes on.
    grown: Mutex<u64>,
    /// Held for one piece of zeros at a time.
    zeros: Mutex<Zeros>,
    durable: Durable,
    /// How long each sync took.
    pub(crate) sync_latency: Recorder,
}

impl Wal {
    /// Creates the log of the data file with this id and makes it durable, name included.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`] (if there is a file already, too). A file that was created is
    /// removed again if it cannot be completed.
    pub(crate) fn create(
        disk: &dyn Disk,
        path: &Path,
        file_id: [u8; 16],
        options: WalOptions,
    ) -> Result<Self> {
        let file = disk.open(path, OpenMode::CreateNew)?;
        let wal = Self::new(file, file_id, options);
        let made = wal
            .file
            .extend(RING_START + options.ring_bytes_initial)
            .and_then(|()| wal.write_zeros(0..RING_START + options.ring_bytes_initial))
            .and_then(|()| wal.file.write_at(0, LogHeader::new(file_id, 0).as_bytes()))
            .and_then(|()| wal.file.sync_all())
            .and_then(|()| disk.sync_directory(path));
        match made {
            Ok(()) => Ok(wal),
            Err(error) => {
                // The first error is the one to tell; a file that stays behind is told by the next create.
                let _ = disk.remove(path);
                Err(error)
            }
        }
    }

    /// Opens the log at `path` and checks that it is the one that `owner` needs.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotAStore`], [`Error::UnsupportedVersion`], [`Error::Corrupt`] for the
    /// header; [`Error::WalMismatch`] if it is another store's, or of another time of this one; [`Error::Io`].
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        mode: OpenMode,
        owner: LogOwner<'_>,
        options: WalOptions,
    ) -> Result<Self> {
        let wal = Self::new(disk.open(path, mode)?, owner.file_id, options);
        let header = read_header(&*wal.file)?;
        if header.file_id != owner.file_id || owner.salt.is_some_and(|salt| salt != header.salt) {
            let (path, wal) = (owner.path.to_path_buf(), path.to_path_buf());
            return Err(Error::WalMismatch { path, wal });
        }
        let length = wal.file.len()?;
        if length < RING_START + PAGE_BYTES as u64 {
            let detail = format!("the log is cut to {length} bytes");
            return Err(Error::Corrupt { path: path.to_path_buf(), offset: length, detail });
        }
        Ok(wal)
    }

    fn new(file: Box<dyn DiskFile>, file_id: [u8; 16], options: WalOptions) -> Self {
        Self {
            file_id,
            file,
            end_max: RING_START + options.ring_bytes_max,
            grown: Mutex::new(0),
            zeros: Mutex::default(),
            durable: Durable::default(),
            sync_latency: Recorder::new(Scale::Nanoseconds),
        }
    }

    /// Says in the header, durably, that the records from now on have this salt: what superblocks of other lives need is not here.
    ///
    /// # Errors
    /// [`Error::Io`]: the log has failed.
    pub(super) fn begin_life(&self, salt: u64) -> Result<()> {
        let written = self.file.write_at(0, LogHeader::new(self.file_id, salt).as_bytes());
        written.map_err(|error| self.fail(error))?;
        self.durable.alone(|| self.file.sync_data())
    }

    /// The file's path.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The file's length.
    pub(crate) fn bytes(&self) -> Result<u64> {
        self.file.len()
    }

    /// End of the last whole slot of the file.
    pub(crate) fn end(&self) -> Result<u64> {
        let length = self.file.len()?;
        Ok(length - length % SLOT)
    }

    /// Makes the file ready for records up to `end`, from `start` on, which is where records may end now, and that durable.
    /// Answers where they may end then: further, if somebody else had the same wish and was faster.
    ///
    /// Zeros are synced piece by piece: a sync of records meanwhile waits for one piece, not for all.
    ///
    /// # Errors
    /// [`Error::NoSpace`]: the file may be longer, but nothing relies on it. [`Error::Io`]: the log has failed.
    pub(super) fn grow(&self, start: u64, end: u64) -> Result<u64> {
        let mut grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner);
        if *grown < end {
            let mut synced_to = start;
            loop {
                let zeroed = self.zero_piece(start, end)?;
                if zeroed >= end {
                    break;
                }
                if zeroed - synced_to.min(zeroed) >= SYNC_BYTES {
                    self.durable.alone(|| self.file.sync_data())?;
                    synced_to = zeroed;
                }
            }
            self.sync_all()?;
            *grown = end;
        }
        Ok(*grown)
    }

    /// As [`grow`](Self::grow), but only makes `needed` bytes of the part up to `end` ready, and nothing durable: for a write that
    /// cannot wait for a disk. Answers where records may end.
    ///
    /// # Errors
    /// As [`grow`](Self::grow).
    pub(super) fn grow_hastily(&self, start: u64, needed: u64, end: u64) -> Result<u64> {
        loop {
            let zeroed = self.zero_piece(start, end)?;
            if zeroed >= needed.min(end) {
                return Ok(zeroed);
            }
        }
    }

    /// Sees to it that the file ends at `end` at least, and writes the next zeros behind `start` if they are missing. Answers how
    /// far zeros were written, `end` at most.
    ///
    /// They are written, not only reserved: a file system marks reserved space as not yet written, and
    /// each first sync of a record in it would have to change that mark.
    fn zero_piece(&self, start: u64, end: u64) -> Result<u64> {
        let mut zeros = self.zeros.lock().unwrap_or_else(PoisonError::into_inner);
        zeros.zeroed = zeros.zeroed.max(start);
        if zeros.extended < end {
            self.file.extend(end).map_err(|error| self.unless_no_space(error))?;
            zeros.extended = end;
        }
        let piece = zeros.zeroed..end.min(zeros.zeroed + ZEROS_BYTES);
        if !piece.is_empty() {
            self.write_zeros(piece.clone()).map_err(|error| self.unless_no_space(error))?;
            zeros.zeroed = piece.end;
        }
        Ok(zeros.zeroed.min(end))
    }

    /// Reserves blocks for the file up to `end` if that is no great part of what the disk has left.
    pub(super) fn reserve(&self, start: u64, end: u64) {
        let wanted = end.saturating_sub(start);
        if self.file.free_bytes().is_some_and(|free| wanted <= free / RESERVED_PART) {
            self.file.reserve(end);
        }
    }

    /// Gives the blocks back that were reserved and not used.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn give_reserve_back(&self) -> Result<()> {
        self.file.len().and_then(|length| self.file.set_len(length))
    }

    /// Remembers a failure other than a full disk.
    fn unless_no_space(&self, error: Error) -> Error {
        match error {
            Error::NoSpace { .. } => error,
            error => self.fail(error),
        }
    }

    /// Overwrites slots with zeros and makes them, and all that was logged before, durable.
    ///
    /// # Errors
    /// [`Error::Io`]: the log has failed.
    pub(super) fn erase(&self, slots: &[Range<u64>]) -> Result<()> {
        let erased = slots.iter().try_for_each(|range| self.write_zeros(range.clone()));
        erased.map_err(|error| self.fail(error))?;
        self.durable.alone(|| self.file.sync_data())
    }

    fn write_zeros(&self, Range { start, end }: Range<u64>) -> Result<()> {
        let zeros = vec![0; ZEROS_BYTES.min(end - start) as usize];
        let mut at = start;
        while at < end {
            let piece = (end - at).min(ZEROS_BYTES);
            self.file.write_at(at, zeros.get(..piece as usize).unwrap_or_default())?;
            at += piece;
        }
        Ok(())
    }

    /// Makes all records up to `lsn` durable, and tells how far the log is durable now. The caller knows
    /// that they were appended: by the lock under which it took the number.
    ///
    /// # Errors
    /// [`Error::Io`] if the sync failed, [`Error::Failed`] at all later calls.
    pub(crate) fn sync(&self, lsn: u64) -> Result<u64> {
        self.durable.reach(lsn, || {
            let start = Instant::now();
            self.file.sync_data()?;
            self.sync_latency.record_latency(start.elapsed());
            Ok(())
        })
    }

    /// Makes the whole file durable, its length included.
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    pub(super) fn sync_all(&self) -> Result<()> {
        self.durable.alone(|| self.file.sync_all())
    }

    /// All records up to this LSN are durable.
    pub(crate) fn durable_lsn(&self) -> u64 {
        self.durable.lsn()
    }

    /// Says that all before the first record of this life of the log is durable elsewhere.
    pub(super) fn set_durable(&self, lsn: u64) {
        self.durable.raise(lsn);
    }

    /// Reads records that were brought to the file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.file.read_at(offset, bytes)
    }

    /// Remembers the first failure and passes the error on.
    pub(super) fn fail(&self, error: Error) -> Error {
        self.durable.fail(error)
    }

    /// # Errors
    /// [`Error::Failed`] if a write or sync of the log has failed before.
    pub(crate) fn check_failed(&self) -> Result<()> {
        self.durable.check_failed()
    }
}

/// Reads the header of a log.
///
/// # Errors
/// [`Error::NotAStore`], [`Error::UnsupportedVersion`], [`Error::Corrupt`], [`Error::Io`].
pub(crate) fn read_header(file: &dyn DiskFile) -> Result<LogHeader> {
    let path = file.path();
    let length = file.len()?;
    if length == 0 {
        let detail = "an empty file".to_string();
        return Err(Error::NotAStore { path: path.to_path_buf(), detail });
    }
    let mut page = [0; PAGE_BYTES];
    let present = length.min(PAGE_BYTES as u64) as usize;
    file.read_at(0, page.get_mut(..present).unwrap_or_default())?;
    LogHeader::read(&page).map_err(|error| header_error(path, error))
}

fn header_error(path: &Path, error: LogHeaderError) -> Error {
    let path = path.to_path_buf();
    let detail = error.to_string();
    match error {
        LogHeaderError::Magic { .. } => Error::NotAStore { path, detail },
        LogHeaderError::Version { found } => {
            Error::UnsupportedVersion { path, found, supported: LOG_FORMAT_VERSION }
        }
        _ => Error::Corrupt { path, offset: 0, detail },
    }
}
