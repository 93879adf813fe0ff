//! Opening a store the way each kind of command needs it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use cidstore::{Error, OpenOptions, Store};

use crate::args::StoreArgs;
use crate::failure::Outcome;

/// Opens a store for a command that only reads: nothing is written if the store was closed cleanly.
/// Otherwise the store has to recover first, which writes.
pub(crate) fn open_to_read(args: &StoreArgs) -> Outcome<Store> {
    match options(args).create(false).read_only(true).open(&args.store) {
        Err(Error::NeedsRecovery { .. }) => open_to_change(args),
        opened => Ok(opened?),
    }
}

/// Opens a store that must exist.
pub(crate) fn open_to_change(args: &StoreArgs) -> Outcome<Store> {
    Ok(options(args).create(false).open(&args.store)?)
}

/// Opens a store, or creates it.
pub(crate) fn open_or_create(args: &StoreArgs) -> Outcome<Store> {
    Ok(options(args).create(true).open(&args.store)?)
}

/// Where the log of a store lies.
pub(crate) fn wal_path(args: &StoreArgs) -> PathBuf {
    args.wal.clone().unwrap_or_else(|| wal_beside(&args.store))
}

/// Where the log of a store lies unless told otherwise.
pub(crate) fn wal_beside(store: &Path) -> PathBuf {
    let mut wal = OsString::from(store);
    wal.push("-wal");
    PathBuf::from(wal)
}

fn options(args: &StoreArgs) -> OpenOptions {
    match &args.wal {
        Some(wal) => Store::options().wal_path(wal),
        None => Store::options(),
    }
}
