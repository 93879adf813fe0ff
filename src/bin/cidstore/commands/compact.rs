//! `compact`: what is sparse is rewritten, and the file shrinks.

use crate::access::open_to_change;
use crate::args::StoreArgs;
use crate::failure::Outcome;
use crate::output::{Output, Record};
use crate::units::bytes;

pub(crate) fn run(args: &StoreArgs, output: &mut Output) -> Outcome {
    let store = open_to_change(args)?;
    let report = store.compact()?;
    store.close()?;
    let (before, after) = (report.bytes_before, report.bytes_after);
    output.answer(
        &Record::Compacted { bytes_before: before, bytes_after: after },
        format_args!("{} before, {} after", bytes(before), bytes(after)),
    )
}
