//! `export`: the store as a clean HDF5 file. Needs the HDF5 library, which not every build has.

use crate::args::ExportArgs;
use crate::failure::Outcome;
use crate::output::Output;

#[cfg(not(feature = "libhdf5"))]
pub(crate) fn run(_: &ExportArgs, _: &mut Output) -> Outcome {
    Err(no_library())
}

/// What a command says that was built without the library.
#[cfg(not(feature = "libhdf5"))]
pub(super) fn no_library() -> crate::failure::Failure {
    let message = "this command was built without the HDF5 library; \
                   in its source, `cargo build --release --features libhdf5` builds one with it";
    crate::failure::Failure::Usage(message.to_owned())
}

#[cfg(feature = "libhdf5")]
pub(crate) fn run(args: &ExportArgs, output: &mut Output) -> Outcome {
    use cidstore::exchange::{self, Compression, ExportOptions};

    use crate::args::CompressionMethod;
    use crate::names;
    use crate::output::Record;
    use crate::progress::StageBars;
    use crate::units::{bytes, counted, duration};

    if !args.force {
        names::check_copy(&args.store.store, &args.destination)?;
    }
    let store = crate::access::open_to_copy(&args.store)?;
    let compression = args.compress.map(|method| match method {
        CompressionMethod::Gzip => Compression::Gzip(args.level),
        CompressionMethod::Lzf => Compression::Lzf,
    });
    let options = ExportOptions { compression, replace: args.force, ..ExportOptions::default() };
    let start = std::time::Instant::now();
    let mut bars = StageBars::default();
    let exported =
        exchange::export(&store, &args.destination, &options, &mut |progress| bars.show(progress));
    bars.finish();
    let exported = exported?;
    names::copy(&args.store.store, &args.destination, args.force)?;
    let time = start.elapsed();
    store.close()?;
    let record = Record::Exported {
        path: args.destination.display().to_string(),
        keys: exported.keys,
        values: exported.values,
        bytes: exported.bytes,
        seconds: time.as_secs_f64(),
    };
    output.answer(
        &record,
        format_args!(
            "{}, {} exported to {}: {} in {}",
            counted(exported.keys, "key"),
            counted(exported.values, "value"),
            args.destination.display(),
            bytes(exported.bytes),
            duration(time)
        ),
    )
}
