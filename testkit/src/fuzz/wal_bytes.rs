//! A log of unknown origin beside a killed store: recovery finds a prefix of what was written, or names an
//! error.

use std::fs;
use std::sync::{Arc, OnceLock};

use cidstore_core::E;
use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::record::{RECORD_BYTES, Record};
use cidstore_core::layout::superblock::Superblock;
use cidstore_engine::{Durability, OpenOptions, Store};
use zerocopy::{FromBytes, IntoBytes};

use super::edit::decode;
use crate::fixed::FixedDisk;
use crate::history::{History, perform};
use crate::operation::{Change, End, Operation, Pairs};
use crate::scratch::Scratch;

/// Edits change a record's fields and mend its checksum, so that recovery believes it.
const FORGE: u8 = 1;

/// What is edited: a store killed after a history of which the last checkpoint holds the first part.
struct Base {
    data: Vec<u8>,
    log: Vec<u8>,
    salt: u64,
    history: History,
    checkpointed: usize,
}

fn options() -> OpenOptions {
    Store::options().durability(Durability::Buffered).wal_bytes(64 << 10)
}

fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let history = history();
        let scratch = Scratch::new();
        let disk = Arc::new(FixedDisk::new(1));
        let store = options().open_on(disk, scratch.data()).expect("a new store");
        let mut checkpointed = 0;
        for (index, step) in history.steps().iter().enumerate() {
            perform(&store, step).expect("a step");
            if matches!(step, Operation::Checkpoint) {
                checkpointed = index + 1;
            }
        }
        let killed = scratch.copy_as_killed(&store);
        let data = killed.data_bytes();
        let salt = salt_of(&data);
        Base { data, log: killed.log_bytes(), salt, history, checkpointed }
    })
}

/// Singles, batches, a transaction and syncs; the checkpoints lie early, so that the log tells most of it.
fn history() -> History {
    let mut steps: Vec<Operation> = (0..20).map(|key| Operation::Insert(key, key)).collect();
    steps.extend([Operation::Checkpoint, Operation::Checkpoint]);
    steps.extend((0..6).map(|value| Operation::Insert(3, value)));
    steps.push(Operation::Sync);
    steps.push(Operation::BatchInsert(Pairs::Values { key: 9, first: 0, count: 30 }));
    steps.push(Operation::Delete(4));
    steps.push(Operation::Sync);
    let changes = vec![Change::Insert(40, 1), Change::Delete(9), Change::DeleteValue(3, 2)];
    steps.push(Operation::Transaction(changes, End::Commit));
    steps.push(Operation::BatchDelete(10, 5));
    steps.push(Operation::Insert(50, 1));
    History::new(steps)
}

/// The salt in the newest superblock.
fn salt_of(data: &[u8]) -> u64 {
    let superblocks = data.chunks_exact(PAGE_BYTES).take(2);
    superblocks
        .filter_map(|slot| Superblock::read_from_bytes(slot).ok())
        .max_by_key(|superblock| superblock.checkpoint_number)
        .map_or(0, |superblock| superblock.wal_salt)
}

/// Edits the log as `bytes` say, after one byte of flags, and recovers.
///
/// # Panics
///
/// If recovery panics, tears a batch, or invents something.
pub fn wal_bytes(bytes: &[u8]) {
    let Some((&flags, rest)) = bytes.split_first() else { return };
    let base = base();
    let mut log = base.log.clone();
    let forged = flags & FORGE != 0;
    for edit in decode(rest) {
        if forged {
            forge(&mut log, edit.code, edit.offset as usize, edit.byte, base.salt);
        } else {
            edit.apply(&mut log);
        }
    }
    let changed = log != base.log;
    let scratch = Scratch::new();
    fs::write(scratch.data(), &base.data).expect("write the data file");
    fs::write(scratch.log(), &log).expect("write the log");
    let opened = options().open(scratch.data());
    let store = match opened {
        Ok(store) => store,
        Err(error) => {
            assert!(changed, "the untouched log does not open: {error}");
            return;
        }
    };
    let steps = base.history.steps().len();
    if !forged {
        // Damage that no later record witnesses looks like the end of the log.
        let promised = if changed { base.checkpointed } else { steps };
        base.history.assert_prefix(&store, promised, steps);
    }
    let report = store.verify().expect("verify after recovery");
    assert!(report.problems.is_empty(), "recovery made a broken store: {:?}", report.problems);
    store.insert(E::ZERO, 99).expect("a write after recovery");
    store.close().expect("close after recovery");
    let again = options().open(scratch.data()).expect("open after recovery");
    assert!(again.contains(E::ZERO, 99).expect("contains"), "a write after recovery is lost");
}

/// Changes one field of one record, and mends the checksum.
fn forge(log: &mut [u8], field: u8, offset: usize, byte: u8, salt: u64) {
    let records = log.len().saturating_sub(PAGE_BYTES) / RECORD_BYTES;
    if records == 0 {
        return;
    }
    // Most of the ring is empty; the beginning is where the records are.
    let index = offset % records.min(160);
    let at = PAGE_BYTES + index * RECORD_BYTES;
    let slot = &mut log[at..at + RECORD_BYTES];
    let Ok(mut record) = Record::read_from_bytes(slot) else { return };
    match field % 6 {
        0 => record.version_op = byte,
        1 => record.lsn = record.lsn.wrapping_add(u64::from(byte).wrapping_sub(128)),
        2 => record.key = E::new(0, u64::from(byte)),
        3 => record.key = E::new(u64::MAX, u64::MAX - u64::from(byte)),
        4 => record.value = E::new(0, u64::from(byte)),
        _ => record.flags = byte,
    }
    record.seal(salt);
    slot.copy_from_slice(record.as_bytes());
}
