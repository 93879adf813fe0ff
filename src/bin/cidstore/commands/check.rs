//! `check`: every page, checksum and count verified.

use crate::access::open_to_read;
use crate::args::StoreArgs;
use crate::failure::{Failure, Outcome};
use crate::output::{Output, Record};
use crate::units::counted;

pub(crate) fn run(args: &StoreArgs, output: &mut Output) -> Outcome {
    let store = open_to_read(args)?;
    let report = store.verify()?;
    store.close()?;
    for problem in &report.problems {
        let record = Record::Problem { place: &problem.place, detail: &problem.detail };
        output.answer(&record, format_args!("{}: {}", problem.place, problem.detail))?;
    }
    let problems = report.problems.len() as u64;
    let checked = Record::Checked {
        pages: report.pages_checked,
        keys: report.keys,
        values: report.values,
        problems,
    };
    let counts = format!(
        "{}, {}, {}",
        counted(report.pages_checked, "page"),
        counted(report.keys, "key"),
        counted(report.values, "value")
    );
    if problems == 0 {
        return output.answer(&checked, format_args!("{counts}: all is well"));
    }
    output.answer(&checked, format_args!("{counts}"))?;
    Err(Failure::Negative(format!("{}: {}", args.store.display(), counted(problems, "problem"))))
}
