//! The log: a header page, then a ring of 64-byte records.
//!
//! A record proves four things of itself: that it is whole and belongs to this life of the log (a
//! checksum seeded with the salt, which lies in the superblock and changes at each recovery), that it is
//! the one expected next (`lsn`), and what it is (opcode). [`Record::verify`] checks the first, so that
//! recovery can look past a damaged record for a later witness; [`Record::check`] checks all.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::PAGE_BYTES;
use crate::crc::crc32c;
use crate::entity::E;

/// First bytes of a log file.
pub const LOG_MAGIC: [u8; 8] = *b"CIDSTLOG";
/// Version of the log's format.
pub const LOG_FORMAT_VERSION: u32 = 1;
/// Size of a record, in bytes. It divides a sector, so no record lies in two.
pub const RECORD_BYTES: usize = 64;
/// Offset of the ring within the log file.
pub const RING_START: u64 = PAGE_BYTES as u64;

/// Bits of [`Record::version_op`] that hold the opcode; the two above hold the rolling version.
const OPCODE_MASK: u8 = 0x3f;

/// First page of a log file.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LogHeader {
    /// [`LOG_MAGIC`].
    pub magic: [u8; 8],
    /// [`LOG_FORMAT_VERSION`].
    pub format_version: u32,
    /// CRC-32C of the page with this field zero.
    pub checksum: u32,
    /// The file id of the data file whose log this is.
    pub file_id: [u8; 16],
    /// The salt of the records: the log's life. A superblock that needs the log names the same.
    pub salt: u64,
    /// Zero. What changes lies before, in one sector, so that a header is written whole or not at all.
    pub reserved_tail: [u8; PAGE_BYTES - 40],
}

const _: () = assert!(size_of::<LogHeader>() == PAGE_BYTES);

/// Why a log header can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogHeaderError {
    /// The page is all zeros: the file was allocated but never written.
    Empty,
    /// The file does not begin with [`LOG_MAGIC`].
    Magic {
        /// The bytes there.
        found: [u8; 8],
    },
    /// A format version that this code can't read.
    Version {
        /// The version there.
        found: u32,
    },
    /// The header is damaged.
    Checksum {
        /// The checksum of the bytes there.
        computed: u32,
        /// The checksum that was written.
        stored: u32,
    },
}

impl fmt::Display for LogHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the log header was never written"),
            Self::Magic { found } => {
                write!(f, "not a CIDStore log: it begins with \"{}\"", found.escape_ascii())
            }
            Self::Version { found } => {
                write!(f, "log format version {found}, this program reads {LOG_FORMAT_VERSION}")
            }
            Self::Checksum { computed, stored } => {
                write!(f, "log header checksum is {computed:#010x}, {stored:#010x} was written")
            }
        }
    }
}

impl core::error::Error for LogHeaderError {}

impl LogHeader {
    /// The sealed header of the log of a data file, in the life that has this salt.
    #[must_use]
    pub fn new(file_id: [u8; 16], salt: u64) -> Self {
        let mut header = Self {
            magic: LOG_MAGIC,
            format_version: LOG_FORMAT_VERSION,
            checksum: 0,
            file_id,
            salt,
            reserved_tail: [0; PAGE_BYTES - 40],
        };
        header.checksum = header.computed_checksum();
        header
    }

    /// Reads and checks a header.
    ///
    /// # Errors
    /// If the page is empty, is no log header, is of another format version, or is damaged.
    pub fn read(page: &[u8; PAGE_BYTES]) -> Result<Self, LogHeaderError> {
        let header: Self = zerocopy::transmute!(*page);
        if header.magic != LOG_MAGIC {
            let empty = page.iter().all(|&byte| byte == 0);
            let found = header.magic;
            return Err(if empty {
                LogHeaderError::Empty
            } else {
                LogHeaderError::Magic { found }
            });
        }
        if header.format_version != LOG_FORMAT_VERSION {
            return Err(LogHeaderError::Version { found: header.format_version });
        }
        let (computed, stored) = (header.computed_checksum(), header.checksum);
        if computed != stored {
            return Err(LogHeaderError::Checksum { computed, stored });
        }
        Ok(header)
    }

    fn computed_checksum(&self) -> u32 {
        crc32c(Self { checksum: 0, ..*self }.as_bytes())
    }
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Add `value` to the set of `key`.
    Insert = 1,
    /// Take `value` from the set of `key`.
    DeleteValue = 2,
    /// Take `key` with all its values.
    DeleteKey = 3,
    /// A frame begins; `key.low` operation records follow.
    Begin = 4,
    /// The frame of `key.low` operation records is complete.
    Commit = 5,
    /// Every record up to LSN `key.low` was durable when this one was written.
    Sync = 6,
    /// A bulk load, which is not in the log, came before this record.
    Barrier = 7,
    /// The log goes on at the start of the ring.
    Wrap = 8,
    /// The file was made longer behind this record, and nobody knew yet whether that was durable: where the file ends
    /// behind it, so does the log.
    Grow = 9,
}

impl Opcode {
    /// The opcode with this code, if there is one.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Insert,
            2 => Self::DeleteValue,
            3 => Self::DeleteKey,
            4 => Self::Begin,
            5 => Self::Commit,
            6 => Self::Sync,
            7 => Self::Barrier,
            8 => Self::Wrap,
            9 => Self::Grow,
            _ => return None,
        })
    }
}

/// When an operation happened, totally ordered: wall clock, then a count within it, then the shard.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct HybridTime {
    /// Nanoseconds since 1970, never going back within a store.
    pub nanos: u64,
    /// Counts operations of the same nanosecond.
    pub seq: u32,
    /// Who wrote; zero.
    pub shard: u32,
}

const _: () = assert!(size_of::<HybridTime>() == 16);

/// One record of the log.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Record {
    /// Rolling version in bits 6 and 7 (the lowest two bits of the salt), [`Opcode`] in bits 0 to 5.
    pub version_op: u8,
    /// Zero.
    pub flags: u8,
    /// Zero.
    pub reserved: u16,
    /// CRC-32C of the salt and of this record with this field zero.
    pub checksum: u32,
    /// Log sequence number: one more than that of the record before.
    pub lsn: u64,
    /// When the operation was logged.
    pub time: HybridTime,
    /// The key, or what the opcode says.
    pub key: E,
    /// The value; zero where the opcode has none.
    pub value: E,
}

const _: () = assert!(size_of::<Record>() == RECORD_BYTES);

/// Why a record is not the one that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// All zeros: never written.
    Empty,
    /// The rolling version is that of another salt: a record of an earlier life of the log.
    Version {
        /// The version there.
        found: u8,
        /// The version of the salt.
        expected: u8,
    },
    /// The record is torn, damaged, or of another salt.
    Checksum {
        /// The checksum of the bytes there.
        computed: u32,
        /// The checksum that was written.
        stored: u32,
    },
    /// The record is sound, but its opcode is none that this code knows.
    Opcode {
        /// The code there.
        found: u8,
    },
    /// The record is sound, but is not the next one.
    Lsn {
        /// The number there.
        found: u64,
        /// The number that comes next.
        expected: u64,
    },
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "no record was written here"),
            Self::Version { found, expected } => {
                write!(f, "record has rolling version {found}, the log is at {expected}")
            }
            Self::Checksum { computed, stored } => {
                write!(f, "record checksum is {computed:#010x}, {stored:#010x} was written")
            }
            Self::Opcode { found } => write!(f, "record has unknown opcode {found}"),
            Self::Lsn { found, expected } => {
                write!(f, "record has LSN {found}, {expected} comes next")
            }
        }
    }
}

impl core::error::Error for RecordError {}

impl Record {
    /// An unsealed record.
    #[must_use]
    pub const fn new(opcode: Opcode, lsn: u64, time: HybridTime, key: E, value: E) -> Self {
        Self { version_op: opcode as u8, flags: 0, reserved: 0, checksum: 0, lsn, time, key, value }
    }

    /// The opcode, if the code is one.
    #[must_use]
    pub const fn opcode(&self) -> Option<Opcode> {
        Opcode::from_code(self.version_op & OPCODE_MASK)
    }

    /// Sets rolling version and checksum; the record is then as it lies in the log.
    pub fn seal(&mut self, salt: u64) {
        self.version_op = (self.version_op & OPCODE_MASK) | rolling_version(salt) << 6;
        self.checksum = self.computed_checksum(salt);
    }

    /// Reads a record and checks that it is whole, of this salt and of a known opcode, whatever its LSN.
    ///
    /// # Errors
    /// If no record was written there, or it is damaged, of another salt, or of an unknown opcode.
    pub fn verify(bytes: &[u8; RECORD_BYTES], salt: u64) -> Result<Self, RecordError> {
        let record: Self = zerocopy::transmute!(*bytes);
        let (found, expected) = (record.version_op >> 6, rolling_version(salt));
        if found != expected {
            let empty = bytes.iter().all(|&byte| byte == 0);
            return Err(if empty {
                RecordError::Empty
            } else {
                RecordError::Version { found, expected }
            });
        }
        let (computed, stored) = (record.computed_checksum(salt), record.checksum);
        if computed != stored {
            let empty = bytes.iter().all(|&byte| byte == 0);
            return Err(if empty {
                RecordError::Empty
            } else {
                RecordError::Checksum { computed, stored }
            });
        }
        if record.opcode().is_none() {
            return Err(RecordError::Opcode { found: record.version_op & OPCODE_MASK });
        }
        Ok(record)
    }

    /// Reads a record and checks that it is the expected one.
    ///
    /// # Errors
    /// As [`Record::verify`], and if the record is sound but its LSN is another.
    pub fn check(
        bytes: &[u8; RECORD_BYTES],
        salt: u64,
        expected_lsn: u64,
    ) -> Result<Self, RecordError> {
        let record = Self::verify(bytes, salt)?;
        if record.lsn != expected_lsn {
            return Err(RecordError::Lsn { found: record.lsn, expected: expected_lsn });
        }
        Ok(record)
    }

    fn computed_checksum(&self, salt: u64) -> u32 {
        let mut input = [0; 8 + RECORD_BYTES];
        let (seed, record) = input.split_at_mut(8);
        seed.copy_from_slice(&salt.to_le_bytes());
        record.copy_from_slice(Self { checksum: 0, ..*self }.as_bytes());
        crc32c(&input)
    }
}

/// The two bits of the salt that each record shows, so that most records of an earlier life of the log
/// are told apart before their checksum is computed.
const fn rolling_version(salt: u64) -> u8 {
    (salt & 3) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: u64 = 0x0123_4567_89ab_cde5;

    fn sealed(lsn: u64) -> Record {
        let time = HybridTime { nanos: 1 << 60, seq: 3, shard: 0 };
        let mut record = Record::new(Opcode::Insert, lsn, time, E::new(1, 2), E::new(3, 4));
        record.seal(SALT);
        record
    }

    fn bytes(record: Record) -> [u8; RECORD_BYTES] {
        zerocopy::transmute!(record)
    }

    #[test]
    fn a_sealed_record_comes_back_and_only_as_the_expected_one() {
        let record = sealed(7);
        assert_eq!(Record::check(&bytes(record), SALT, 7), Ok(record));
        assert_eq!(record.opcode(), Some(Opcode::Insert));
        let other = Record::check(&bytes(record), SALT, 8);
        assert_eq!(other, Err(RecordError::Lsn { found: 7, expected: 8 }));
        let same_version = Record::check(&bytes(record), SALT ^ 4, 7);
        assert!(matches!(same_version, Err(RecordError::Checksum { .. })));
        let other_version = Record::check(&bytes(record), SALT ^ 1, 7);
        assert_eq!(other_version, Err(RecordError::Version { found: 1, expected: 0 }));
        for salt in 0..8 {
            let empty = Record::verify(&[0; RECORD_BYTES], salt);
            assert_eq!(empty, Err(RecordError::Empty));
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let good = bytes(sealed(7));
        for bit in 0..RECORD_BYTES * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::verify(&bad, SALT).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_code_is_its_own_opcode_or_none() {
        for code in 0..64 {
            let opcode = Opcode::from_code(code);
            assert_eq!(opcode.is_some(), (1..=9).contains(&code));
            assert!(opcode.is_none_or(|opcode| opcode as u8 == code));
            let mut record = sealed(7);
            record.version_op = code;
            record.seal(SALT);
            let read = Record::verify(&bytes(record), SALT);
            match opcode {
                Some(_) => assert_eq!(read, Ok(record)),
                None => assert_eq!(read, Err(RecordError::Opcode { found: code })),
            }
        }
    }

    #[test]
    fn times_order_by_clock_then_count_then_shard() {
        let time = |nanos, seq, shard| HybridTime { nanos, seq, shard };
        assert!(time(1, 9, 9) < time(2, 0, 0));
        assert!(time(1, 1, 9) < time(1, 2, 0));
        assert!(time(1, 1, 1) < time(1, 1, 2));
    }

    #[test]
    fn a_log_header_is_checked() {
        let header = LogHeader::new([7; 16], 5);
        let page: [u8; PAGE_BYTES] = zerocopy::transmute!(header);
        let read = LogHeader::read(&page).map(|header| (header.file_id, header.salt));
        assert_eq!(read, Ok(([7; 16], 5)));
        let changed = |offset: usize, value: u8| {
            let mut page = page;
            page[offset] = value;
            LogHeader::read(&page).map(|_| ())
        };
        assert_eq!(LogHeader::read(&[0; PAGE_BYTES]).map(|_| ()), Err(LogHeaderError::Empty));
        assert_eq!(changed(7, b'X'), Err(LogHeaderError::Magic { found: *b"CIDSTLOX" }));
        assert_eq!(changed(8, 2), Err(LogHeaderError::Version { found: 2 }));
        for offset in (12..PAGE_BYTES).step_by(31) {
            assert!(matches!(changed(offset, 99), Err(LogHeaderError::Checksum { .. })));
        }
    }
}
