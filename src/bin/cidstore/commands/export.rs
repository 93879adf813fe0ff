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
    use crate::output::Record;
    use crate::units::{bytes, counted, duration};

    let store = crate::access::open_to_read(&args.store)?;
    let compression = args.compress.map(|method| match method {
        CompressionMethod::Gzip => Compression::Gzip(args.level),
        CompressionMethod::Lzf => Compression::Lzf,
    });
    let options = ExportOptions { compression, replace: args.force, ..ExportOptions::default() };
    let start = std::time::Instant::now();
    let mut bars = Bars::default();
    let exported =
        exchange::export(&store, &args.destination, &options, &mut |progress| bars.show(progress));
    bars.finish();
    let exported = exported?;
    super::backup::copy_names(&args.store.store, &args.destination)?;
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

/// A bar for each stage of an export or import, one after another.
#[cfg(feature = "libhdf5")]
#[derive(Default)]
pub(super) struct Bars {
    shown: Option<(cidstore::exchange::Stage, indicatif::ProgressBar)>,
}

#[cfg(feature = "libhdf5")]
impl Bars {
    pub(super) fn show(&mut self, progress: cidstore::exchange::Progress) {
        use cidstore::exchange::Stage;
        let cidstore::exchange::Progress { stage, done, total } = progress;
        if self.shown.as_ref().is_none_or(|(shown, _)| *shown != stage) {
            self.finish();
            let what = match stage {
                Stage::Plan => "planning",
                Stage::Write => "writing",
                Stage::Compress => "compressing",
                Stage::Expand => "expanding",
                Stage::Read => "reading",
                _ => "storing",
            };
            self.shown = Some((stage, crate::progress::of_part(what, total)));
        }
        if let Some((_, bar)) = &self.shown {
            bar.set_position(done);
        }
    }

    pub(super) fn finish(&mut self) {
        if let Some((_, bar)) = self.shown.take() {
            bar.finish_and_clear();
        }
    }
}
