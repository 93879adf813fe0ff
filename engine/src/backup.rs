//! Backups: a snapshot written as a store of its own.
//!
//! Under a temporary name first, then renamed: a crash in the middle leaves nothing that could be taken for a backup.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::handle::Store;
use crate::io::{Disk, OsDisk};
use crate::snapshot::Snapshot;
use crate::store::create::temporary_name;

/// Writes the content of a snapshot to a new store at `path`.
pub(crate) fn backup(snapshot: &Snapshot, path: &Path) -> Result<()> {
    // A log without its data file is somebody's last hope; and beside the backup it would be taken for the backup's.
    for taken in [path, &log_of(path)] {
        if taken.symlink_metadata().is_ok() {
            let detail = format!("{} is there already", taken.display());
            return Err(Error::InvalidOption { option: "path", detail });
        }
    }
    let temporary = temporary_name(&OsDisk, path)?;
    let log = log_of(&temporary);
    let written = write(snapshot, &temporary)
        // A store that was closed cleanly does not need its log: the backup is one file.
        .and_then(|()| remove(&log))
        .and_then(|()| OsDisk.rename_noreplace(&temporary, path));
    if let Err(error) = written {
        for left in [&log, &temporary] {
            if let Err(stays) = remove(left) {
                tracing::warn!(error = %stays, "a temporary file was left behind");
            }
        }
        return Err(error.of_new_file(&log, &log_of(path)).of_new_file(&temporary, path));
    }
    OsDisk.sync_directory(path)
}

fn write(snapshot: &Snapshot, path: &Path) -> Result<()> {
    // A copy of what is damaged would look sound, and the original could have been repaired.
    snapshot.frozen().check_pages();
    let store = Store::open(path)?;
    let mut loader = store.bulk_loader();
    for pair in snapshot.iter() {
        let (key, value) = pair?;
        loader.push(key, value)?;
    }
    loader.finish(|_| ())?;
    let (found, said) = ((store.len(), store.value_len()), (snapshot.len(), snapshot.value_len()));
    if found != said {
        let detail = format!("{said:?} keys and values were counted, {found:?} were found");
        return Err(snapshot.frozen().engine().shared.corrupt(detail));
    }
    store.close()
}

/// Where the log of a store lies.
fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Io { path: path.into(), action: "remove", source })
        }
        _ => Ok(()),
    }
}
