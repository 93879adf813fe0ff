//! Opening a store the way each kind of command needs it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use cidstore::{Error, OpenOptions, Store};

use crate::args::StoreArgs;
use crate::failure::{Failure, Outcome};

/// Opens a store for a command that only reads: nothing is written if the store was closed cleanly.
/// Otherwise the store has to recover first, which writes.
pub(crate) fn open_to_read(args: &StoreArgs) -> Outcome<Store> {
    match options(args).create(false).read_only(true).open(&args.store) {
        Err(Error::NeedsRecovery { .. }) => open_to_change(args).map_err(while_recovering),
        opened => Ok(opened?),
    }
}

/// As [`open_to_read`], for a command that makes a copy: of damaged pages it would look sound.
pub(crate) fn open_to_copy(args: &StoreArgs) -> Outcome<Store> {
    let options = options(args).create(false).verify_reads(true);
    match options.clone().read_only(true).open(&args.store) {
        Err(Error::NeedsRecovery { .. }) => {
            options.open(&args.store).map_err(Failure::from).map_err(while_recovering)
        }
        opened => Ok(opened?),
    }
}

/// A command that only reads was refused to write: says what for.
fn while_recovering(failure: Failure) -> Failure {
    match failure {
        Failure::Store(Error::Io { path, action: "open", source }) => Failure::Io {
            path,
            action: "was not closed cleanly, open for writing to recover",
            source,
        },
        other => other,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::IO;

    #[test]
    fn who_may_not_recover_is_told_that_it_was_about_that() {
        let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let refused = Error::Io { path: "s.h5".into(), action: "open", source };
        let failure = while_recovering(refused.into());
        assert_eq!(failure.exit_code(), IO);
        let told = failure.to_string();
        assert!(told.starts_with("s.h5: was not closed cleanly, "), "{told}");
        let locked = Error::Locked { path: "s.h5".into(), pid: None };
        let failure = while_recovering(locked.into());
        assert!(matches!(failure, Failure::Store(Error::Locked { .. })));
    }
}
