//! `backup`: a compact copy of a store, at one point in time, as a new file that is a store itself.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::access::open_to_read;
use crate::args::BackupArgs;
use crate::failure::{Failure, Outcome};
use crate::names::Dictionary;
use crate::output::{Output, Record};
use crate::units::{bytes, counted, duration};

pub(crate) fn run(args: &BackupArgs, output: &mut Output) -> Outcome {
    let destination = &args.destination;
    if fs::symlink_metadata(destination).is_ok() {
        let message = format!("{}: exists already", destination.display());
        return Err(Failure::Usage(message));
    }
    let store = open_to_read(&args.store)?;
    let start = Instant::now();
    let snapshot = store.snapshot()?;
    snapshot.backup(destination)?;
    let (keys, values) = (snapshot.len(), snapshot.value_len());
    drop(snapshot);
    copy_names(&args.store.store, &args.destination)?;
    let time = start.elapsed();
    store.close()?;
    let size = fs::metadata(destination).map_err(Failure::io(destination, "read"))?.len();
    let record = Record::BackedUp {
        path: destination.display().to_string(),
        keys,
        values,
        bytes: size,
        seconds: time.as_secs_f64(),
    };
    output.answer(
        &record,
        format_args!(
            "{}, {} copied to {}: {} in {}",
            counted(keys, "key"),
            counted(values, "value"),
            destination.display(),
            bytes(size),
            duration(time)
        ),
    )
}

/// Copies the dictionary, if there is one. A line that a crash cuts short is no entry there either.
pub(super) fn copy_names(from: &Path, to: &Path) -> Outcome {
    let (from, to) = (Dictionary::beside(from), Dictionary::beside(to));
    if from.path().exists() {
        fs::copy(from.path(), to.path()).map_err(Failure::io(to.path(), "write"))?;
    }
    Ok(())
}
