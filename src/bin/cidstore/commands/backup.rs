//! `backup`: a compact copy of a store, at one point in time, as a new file that is a store itself.

use std::fs;
use std::time::Instant;

use crate::access::open_to_copy;
use crate::args::BackupArgs;
use crate::failure::{Failure, Outcome};
use crate::names;
use crate::output::{Output, Record};
use crate::units::{bytes, counted, duration};

pub(crate) fn run(args: &BackupArgs, output: &mut Output) -> Outcome {
    let destination = &args.destination;
    if fs::symlink_metadata(destination).is_ok() {
        let message = format!("{}: exists already", destination.display());
        return Err(Failure::Usage(message));
    }
    names::check_copy(&args.store.store, destination)?;
    let store = open_to_copy(&args.store)?;
    let start = Instant::now();
    let snapshot = store.snapshot()?;
    snapshot.backup(destination)?;
    let (keys, values) = (snapshot.len(), snapshot.value_len());
    drop(snapshot);
    names::copy(&args.store.store, destination, false)?;
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
