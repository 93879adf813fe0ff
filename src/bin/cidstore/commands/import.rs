//! `import`: pairs from an export, a store's file, or a file of the original project. Needs the HDF5 library, which
//! not every build has.

use crate::args::ImportArgs;
use crate::failure::Outcome;
use crate::output::Output;

#[cfg(not(feature = "libhdf5"))]
pub(crate) fn run(_: &ImportArgs, _: &mut Output) -> Outcome {
    Err(super::export::no_library())
}

/// A store that is not there yet is made whole under another name; one that is there takes all pairs at one moment.
#[cfg(feature = "libhdf5")]
pub(crate) fn run(args: &ImportArgs, output: &mut Output) -> Outcome {
    use cidstore::exchange::{self, ImportOptions};

    use crate::failure::Failure;
    use crate::names;
    use crate::output::Record;
    use crate::progress::StageBars;
    use crate::units::{count, counted, duration, rate};

    let destination = &args.store.store;
    let start = std::time::Instant::now();
    let mut bars = StageBars::default();
    let mut show = |progress| bars.show(progress);
    let imported = if destination.symlink_metadata().is_ok() {
        if args.keep_seed {
            let message = format!("{}: exists, and has a seed of its own", destination.display());
            return Err(Failure::Usage(message));
        }
        // Before it is opened: that would make an export a store in use, and its HDF5 objects go stale.
        if is_same_file(&args.file, destination) {
            let message = format!("{}: can't be imported into itself", destination.display());
            return Err(Failure::Usage(message));
        }
        let store = crate::access::open_to_change(&args.store)?;
        let imported = exchange::import_into(&args.file, &store, destination, &mut show);
        let closed = store.close();
        let imported = imported?;
        closed?;
        imported
    } else {
        if args.store.wal.is_some() {
            let message = "--wal: a new store's log comes with its first open, name it then";
            return Err(Failure::Usage(message.to_owned()));
        }
        names::check_copy(&args.file, destination)?;
        let options = ImportOptions { keep_hash_seed: args.keep_seed, ..ImportOptions::default() };
        let imported = exchange::import(&args.file, destination, &options, &mut show)?;
        names::copy(&args.file, destination, false)?;
        imported
    };
    bars.finish();
    let time = start.elapsed();
    let record = Record::Imported {
        pairs: imported.pairs,
        new_pairs: imported.new_pairs,
        seconds: time.as_secs_f64(),
    };
    output.answer(
        &record,
        format_args!(
            "{} from {}, {} new, in {} ({})",
            counted(imported.pairs, "pair"),
            args.file.display(),
            count(imported.new_pairs),
            duration(time),
            rate(imported.pairs, time)
        ),
    )
}

/// True if both names lead to one file.
#[cfg(feature = "libhdf5")]
fn is_same_file(one: &std::path::Path, other: &std::path::Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |path: &std::path::Path| path.metadata().map(|found| (found.dev(), found.ino()));
    // What can't be looked at is told when it is opened.
    matches!((id(one), id(other)), (Ok(one), Ok(other)) if one == other)
}
