//! `check`: every page, checksum and count verified, and before that repaired if that is wanted.

use cidstore::Problem;

use crate::access::{open_to_change, open_to_read};
use crate::args::CheckArgs;
use crate::failure::{Failure, Outcome};
use crate::output::{Output, Record};
use crate::units::counted;

pub(crate) fn run(args: &CheckArgs, output: &mut Output) -> Outcome {
    let store = if args.repair { open_to_change(&args.store)? } else { open_to_read(&args.store)? };
    let scrubbed = store.scrub(args.repair)?;
    for Problem { place, detail, .. } in &scrubbed.repaired {
        let record = Record::Repaired { place, detail };
        output.answer(&record, format_args!("repaired {place}: {detail}"))?;
    }
    let report = store.verify()?;
    // By bytes first: that tells whether a repair would help, and which keys are concerned.
    let mut problems = scrubbed.problems;
    for problem in report.problems {
        if problems.iter().all(|known| known.place != problem.place) {
            problems.push(problem);
        }
    }
    store.close()?;
    for Problem { place, detail, .. } in &problems {
        let record = Record::Problem { place, detail };
        output.answer(&record, format_args!("{place}: {detail}"))?;
    }
    let count = problems.len() as u64;
    let checked = Record::Checked {
        pages: report.pages_checked,
        keys: report.keys,
        values: report.values,
        repaired: scrubbed.repaired.len() as u64,
        problems: count,
    };
    let counts = format!(
        "{}, {}, {}",
        counted(report.pages_checked, "page"),
        counted(report.keys, "key"),
        counted(report.values, "value")
    );
    if count == 0 {
        return output.answer(&checked, format_args!("{counts}: all is well"));
    }
    output.answer(&checked, format_args!("{counts}"))?;
    let store = args.store.store.display();
    Err(Failure::Negative(format!("{store}: {}", counted(count, "problem"))))
}
