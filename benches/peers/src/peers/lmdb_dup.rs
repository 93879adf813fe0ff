//! LMDB with `MDB_DUPSORT` and `MDB_DUPFIXED`, through its C interface.
//!
//! `heed` reaches neither `MDB_GET_BOTH` (does this key have this value?) nor `MDB_GET_MULTIPLE` (a page of values at once),
//! and without them LMDB would be compared at less than its best.
#![allow(unsafe_code, reason = "calls of a C library; see docs/unsafe.md")]

use std::ffi::{CString, c_int, c_uint};
use std::path::Path;
use std::ptr;

use cidstore_core::E;
use lmdb_master_sys::{
    MDB_APPENDDUP, MDB_CREATE, MDB_DUPFIXED, MDB_DUPSORT, MDB_GET_BOTH, MDB_GET_MULTIPLE,
    MDB_NEXT_MULTIPLE, MDB_NOSYNC, MDB_NOTFOUND, MDB_NOTLS, MDB_RDONLY, MDB_SET, MDB_cursor,
    MDB_cursor_op, MDB_dbi, MDB_env, MDB_txn, MDB_val, mdb_cursor_close, mdb_cursor_get,
    mdb_cursor_open, mdb_dbi_open, mdb_env_close, mdb_env_create, mdb_env_open,
    mdb_env_set_mapsize, mdb_env_set_maxdbs, mdb_env_sync, mdb_put, mdb_txn_abort, mdb_txn_begin,
    mdb_txn_commit,
};

use super::bytes::{bytes, number};
use crate::Result;

/// Not the unnamed table: with `MDB_DUPSORT` on that, a commit that frees many pages ends in a segmentation fault.
const NAME: &std::ffi::CStr = c"sets";

/// An environment with a table that holds many values a key.
pub struct DupTable {
    env: *mut MDB_env,
    table: MDB_dbi,
}

// SAFETY: LMDB's environments may be used by several threads; the pointer is freed by the owner alone.
unsafe impl Send for DupTable {}
// SAFETY: as above; transactions of a shared environment are its business.
unsafe impl Sync for DupTable {}

fn check(call: &str, code: c_int) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(format!("LMDB: {call} answers {code}").into()) }
}

fn val(bytes: &[u8]) -> MDB_val {
    MDB_val { mv_size: bytes.len(), mv_data: bytes.as_ptr().cast_mut().cast() }
}

impl DupTable {
    pub(super) fn open(folder: &Path, map_bytes: usize, synced: bool) -> Result<Self> {
        let mut table = Self { env: ptr::null_mut(), table: 0 };
        // SAFETY: the pointer is to a place for the answer.
        check("mdb_env_create", unsafe { mdb_env_create(&raw mut table.env) })?;
        // SAFETY: the environment was created and is not open.
        check("mdb_env_set_mapsize", unsafe { mdb_env_set_mapsize(table.env, map_bytes) })?;
        // SAFETY: as above.
        check("mdb_env_set_maxdbs", unsafe { mdb_env_set_maxdbs(table.env, 1) })?;
        let path = CString::new(folder.as_os_str().as_encoded_bytes())?;
        let flags = if synced { MDB_NOTLS } else { MDB_NOTLS | MDB_NOSYNC };
        // SAFETY: the environment was created; the path ends with a zero byte; nothing else has the folder open.
        check("mdb_env_open", unsafe { mdb_env_open(table.env, path.as_ptr(), flags, 0o644) })?;
        let transaction = Transaction::begin(table.env, 0)?;
        let flags = MDB_CREATE | MDB_DUPSORT | MDB_DUPFIXED;
        let place = &raw mut table.table;
        // SAFETY: the transaction is alive and the only one; the name ends with a zero byte.
        let code = unsafe { mdb_dbi_open(transaction.0, NAME.as_ptr(), flags, place) };
        check("mdb_dbi_open", code)?;
        transaction.commit()?;
        Ok(table)
    }

    /// Puts pairs in, in one transaction; `in_order` says that they come sorted and after all that is there.
    pub(super) fn insert_all(&self, pairs: &[(E, E)], in_order: bool) -> Result<()> {
        let flags: c_uint = if in_order { MDB_APPENDDUP } else { 0 };
        let transaction = Transaction::begin(self.env, 0)?;
        for (key, value) in pairs {
            let (key, value) = (bytes(*key), bytes(*value));
            let (mut key, mut value) = (val(&key), val(&value));
            let (key, value) = (&raw mut key, &raw mut value);
            // SAFETY: the transaction is alive and may write; LMDB copies the bytes, which live until the call is over.
            check("mdb_put", unsafe { mdb_put(transaction.0, self.table, key, value, flags) })?;
        }
        transaction.commit()
    }

    pub(super) fn sync(&self) -> Result<()> {
        // SAFETY: the environment is open.
        check("mdb_env_sync", unsafe { mdb_env_sync(self.env, 1) })
    }

    pub(super) fn reader(&self) -> Result<DupReader<'_>> {
        let transaction = Transaction::begin(self.env, MDB_RDONLY)?;
        let mut cursor = ptr::null_mut();
        // SAFETY: the transaction is alive, and its table is open.
        let code = unsafe { mdb_cursor_open(transaction.0, self.table, &raw mut cursor) };
        check("mdb_cursor_open", code)?;
        Ok(DupReader { cursor, _transaction: transaction, _table: self })
    }
}

impl Drop for DupTable {
    fn drop(&mut self) {
        // SAFETY: created by `open`; transactions borrow from this and are over.
        unsafe { mdb_env_close(self.env) }
    }
}

/// Aborted unless committed.
struct Transaction(*mut MDB_txn);

impl Transaction {
    fn begin(env: *mut MDB_env, flags: c_uint) -> Result<Self> {
        let mut transaction = ptr::null_mut();
        // SAFETY: the environment is open, and the last pointer is to a place for the answer.
        let code = unsafe { mdb_txn_begin(env, ptr::null_mut(), flags, &raw mut transaction) };
        check("mdb_txn_begin", code)?;
        Ok(Self(transaction))
    }

    fn commit(self) -> Result<()> {
        let transaction = self.0;
        std::mem::forget(self);
        // SAFETY: the transaction is alive; committing frees it, and nobody has it any more.
        check("mdb_txn_commit", unsafe { mdb_txn_commit(transaction) })
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // SAFETY: the transaction is alive, and its cursor was closed before.
        unsafe { mdb_txn_abort(self.0) }
    }
}

/// A cursor in a read transaction.
pub struct DupReader<'a> {
    cursor: *mut MDB_cursor,
    _transaction: Transaction,
    _table: &'a DupTable,
}

impl DupReader<'_> {
    /// Moves the cursor; what it found, or `None` if there is nothing.
    fn find(&self, key: &[u8], value: &[u8], how: MDB_cursor_op) -> Result<Option<&[u8]>> {
        let (mut key, mut value) = (val(key), val(value));
        // SAFETY: the cursor and its transaction are alive; the bytes live until the call is over.
        let code = unsafe { mdb_cursor_get(self.cursor, &raw mut key, &raw mut value, how) };
        if code == MDB_NOTFOUND {
            return Ok(None);
        }
        check("mdb_cursor_get", code)?;
        // SAFETY: LMDB answers with bytes of its map that stay as they are for as long as the transaction lives.
        Ok(Some(unsafe { std::slice::from_raw_parts(value.mv_data.cast(), value.mv_size) }))
    }

    pub(super) fn contains(&self, key: E, value: E) -> Result<bool> {
        Ok(self.find(&bytes(key), &bytes(value), MDB_GET_BOTH)?.is_some())
    }

    pub(super) fn values(&self, key: E, mut each: impl FnMut(E)) -> Result<()> {
        if self.find(&bytes(key), &[], MDB_SET)?.is_none() {
            return Ok(());
        }
        let mut page = self.find(&[], &[], MDB_GET_MULTIPLE)?;
        while let Some(values) = page {
            for value in values.chunks_exact(16) {
                each(number(value)?);
            }
            page = self.find(&[], &[], MDB_NEXT_MULTIPLE)?;
        }
        Ok(())
    }
}

impl Drop for DupReader<'_> {
    fn drop(&mut self) {
        // SAFETY: the cursor is alive, and its transaction ends after it.
        unsafe { mdb_cursor_close(self.cursor) }
    }
}
