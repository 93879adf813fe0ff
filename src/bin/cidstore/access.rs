//! Opening a store the way each kind of command needs it.

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

fn options(args: &StoreArgs) -> OpenOptions {
    match &args.wal {
        Some(wal) => Store::options().wal_path(wal),
        None => Store::options(),
    }
}
