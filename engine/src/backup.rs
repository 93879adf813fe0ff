//! Backups: a snapshot written as a store of its own.

use std::path::Path;

use crate::error::{Error, Result};
use crate::handle::Store;
use crate::snapshot::Snapshot;

/// Writes the content of a snapshot to a new store at `path`.
pub(crate) fn backup(snapshot: &Snapshot, path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        let detail = format!("{} is there already", path.display());
        return Err(Error::InvalidOption { option: "path", detail });
    }
    let written = write(snapshot, path);
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = Path::new(&log);
    // A store that was closed cleanly does not need its log: the backup is one file.
    remove(log)?;
    if written.is_err() {
        remove(path)?;
    }
    written
}

fn write(snapshot: &Snapshot, path: &Path) -> Result<()> {
    let store = Store::open(path)?;
    let mut loader = store.bulk_loader();
    for pair in snapshot.iter() {
        let (key, value) = pair?;
        loader.push(key, value)?;
    }
    loader.finish(|_| ())?;
    store.close()
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Io { path: path.into(), action: "remove", source })
        }
        _ => Ok(()),
    }
}
