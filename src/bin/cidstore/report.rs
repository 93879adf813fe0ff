//! What `demo` and `bench` tell: sections, figures and checks, for people or for programs.

use std::fmt::Display;

use crate::failure::{Failure, Outcome};
use crate::output::{Output, Record};
use crate::units::counted;

/// Prints as it goes, and remembers which checks failed.
pub(crate) struct Report<'a> {
    output: &'a mut Output,
    passed: u64,
    failed: u64,
}

impl<'a> Report<'a> {
    /// A report with nothing in it.
    pub(crate) fn new(output: &'a mut Output) -> Self {
        Self { output, passed: 0, failed: 0 }
    }

    /// A heading, for people.
    pub(crate) fn section(&mut self, title: &str) -> Outcome {
        self.text("")?;
        self.text(title)
    }

    /// A line for people. Each is shown at once: somebody watches.
    pub(crate) fn text(&mut self, line: impl Display) -> Outcome {
        if self.output.is_json() {
            return Ok(());
        }
        self.output.line(line)?;
        self.output.flush()
    }

    /// A figure for programs.
    pub(crate) fn figure(&mut self, name: &str, value: f64, unit: &str) -> Outcome {
        if !self.output.is_json() {
            return Ok(());
        }
        self.output.record(&Record::Figure { name, value, unit })?;
        self.output.flush()
    }

    /// Something that must be so, for both.
    pub(crate) fn check(&mut self, name: &str, passed: bool) -> Outcome {
        let verdict = if passed { "ok" } else { "FAILED" };
        self.passed += u64::from(passed);
        self.failed += u64::from(!passed);
        self.output
            .answer(&Record::Check { name, passed }, format_args!("  {verdict:<6}  {name}"))?;
        self.output.flush()
    }

    /// The verdict over all checks.
    pub(crate) fn finish(self) -> Outcome {
        let total = self.passed + self.failed;
        if self.failed > 0 {
            let failed = self.failed;
            return Err(Failure::Negative(format!(
                "{failed} of {} failed",
                counted(total, "check")
            )));
        }
        if self.output.is_json() {
            return Ok(());
        }
        self.output.line(format_args!("\n{} passed.", counted(total, "check")))
    }
}
