//! Runs a list of named [`Step`]s, times each, goes on after a failure, and closes with a table and the count of tests.

use std::time::{Duration, Instant};

use crate::console;
use crate::failure::Failure;
use crate::tally::Tally;
use crate::tree::Tree;

/// How much of the plan a run takes; each tier holds those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// What a developer runs between two edits.
    Quick,
    /// What must be green before a change lands.
    Full,
    /// What runs for long: at night and before a release.
    Slow,
}

impl Tier {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Full => "full",
            Self::Slow => "slow",
        }
    }
}

/// One step of a plan.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) tier: Tier,
    pub(crate) about: &'static str,
    /// Later steps make no sense when this one fails.
    pub(crate) needed_by_all: bool,
    pub(crate) run: fn(&Tree, &mut Tally) -> Result<Outcome, Failure>,
}

/// How a step that did not fail ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// Done, and this is worth a line in the table.
    Found(String),
    /// Not run on this system, for the reason given.
    Skipped(String),
}

/// Which steps to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) tier: Tier,
    /// If not empty, exactly these steps, whatever their tier.
    pub(crate) only: Vec<String>,
    /// Stop at the first failure.
    pub(crate) fail_fast: bool,
}

impl Selection {
    fn takes(&self, step: &Step) -> bool {
        if self.only.is_empty() {
            step.tier <= self.tier
        } else {
            self.only.iter().any(|name| name == step.name)
        }
    }
}

/// Runs the selected steps of `steps`.
///
/// # Errors
/// If a name is unknown or a step failed.
pub(crate) fn run(tree: &Tree, steps: &[Step], selection: &Selection) -> Result<(), Failure> {
    if let Some(unknown) =
        selection.only.iter().find(|name| steps.iter().all(|step| step.name != **name))
    {
        return Err(Failure::new(format!("there is no step `{unknown}`; see `cargo xtask steps`")));
    }
    let chosen: Vec<&Step> = steps.iter().filter(|step| selection.takes(step)).collect();
    let report = execute(tree, &chosen, selection.fail_fast);
    show(&report);
    report.into_result()
}

/// What became of a run.
struct Report {
    rows: Vec<Row>,
    total: Duration,
    tally: Tally,
}

struct Row {
    step: &'static str,
    elapsed: Duration,
    result: Result<Outcome, Failure>,
}

impl Report {
    fn into_result(self) -> Result<(), Failure> {
        let failed: Vec<&str> =
            self.rows.iter().filter(|row| row.result.is_err()).map(|row| row.step).collect();
        if failed.is_empty() {
            Ok(())
        } else {
            Err(Failure::new(format!("failed: {}", failed.join(", "))))
        }
    }
}

fn execute(tree: &Tree, chosen: &[&Step], fail_fast: bool) -> Report {
    let begun = Instant::now();
    let mut tally = Tally::default();
    let mut rows = Vec::new();
    for (index, step) in chosen.iter().enumerate() {
        let number = index + 1;
        console::heading(&format!("{number}/{} {}: {}", chosen.len(), step.name, step.about));
        let started = Instant::now();
        let result = (step.run)(tree, &mut tally);
        if let Err(failure) = &result {
            console::error(&format!("{}: {failure}", step.name));
        }
        let ends_the_run = result.is_err() && (step.needed_by_all || fail_fast);
        rows.push(Row { step: step.name, elapsed: started.elapsed(), result });
        if ends_the_run {
            break;
        }
    }
    Report { rows, total: begun.elapsed(), tally }
}

/// The table, then the closing line, which a person and a program can read: `tests: N passed, N failed, N skipped`.
fn show(report: &Report) {
    console::heading("summary");
    for Row { step, elapsed, result } in &report.rows {
        let (mark, words) = match result {
            Ok(Outcome::Done) => ("ok", String::new()),
            Ok(Outcome::Found(words)) => ("ok", words.clone()),
            Ok(Outcome::Skipped(reason)) => ("skipped", reason.clone()),
            Err(failure) => ("FAILED", first_line(&failure.to_string())),
        };
        console::line(format!("{step:<10} {mark:<8} {:>8}  {words}", clock(*elapsed)).trim_end());
    }
    console::line(&format!("{:<10} {:<8} {:>8}", "total", "", clock(report.total)));
    if report.tally != Tally::default() {
        console::line(&format!("tests: {}", report.tally));
    }
}

/// All of it stands where the step ran.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// `1:02.3` for 62.3 seconds.
fn clock(elapsed: Duration) -> String {
    let tenths = elapsed.as_millis() / 100;
    format!("{}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn step(
        name: &'static str,
        tier: Tier,
        run: fn(&Tree, &mut Tally) -> Result<Outcome, Failure>,
    ) -> Step {
        Step { name, tier, about: "", needed_by_all: false, run }
    }

    fn good(_: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
        tally.passed += 1;
        Ok(Outcome::Done)
    }

    fn bad(_: &Tree, _: &mut Tally) -> Result<Outcome, Failure> {
        Err(Failure::new("planted"))
    }

    fn selection(tier: Tier, only: &[&str]) -> Selection {
        Selection { tier, only: only.iter().map(ToString::to_string).collect(), fail_fast: false }
    }

    #[test]
    fn a_tier_holds_those_before_it() {
        let quick = step("a", Tier::Quick, good);
        let slow = step("b", Tier::Slow, good);
        assert!(selection(Tier::Full, &[]).takes(&quick));
        assert!(!selection(Tier::Full, &[]).takes(&slow));
        assert!(selection(Tier::Quick, &["b"]).takes(&slow));
        assert!(!selection(Tier::Slow, &["b"]).takes(&quick));
    }

    #[test]
    fn one_failed_step_fails_the_run_and_is_named() {
        let tree = Tree::at(Path::new("."));
        let (first, second) = (step("a", Tier::Quick, bad), step("b", Tier::Quick, good));
        let report = execute(&tree, &[&first, &second], false);
        assert_eq!(report.tally.passed, 1, "the run went on after the failure");
        assert_eq!(report.into_result(), Err(Failure::new("failed: a")));
        assert_eq!(execute(&tree, &[&second], false).into_result(), Ok(()));
    }

    #[test]
    fn what_all_need_ends_the_run() {
        let tree = Tree::at(Path::new("."));
        let needed = Step { needed_by_all: true, ..step("a", Tier::Quick, bad) };
        let after = step("b", Tier::Quick, good);
        assert_eq!(execute(&tree, &[&needed, &after], false).rows.len(), 1);
        assert_eq!(execute(&tree, &[&step("a", Tier::Quick, bad), &after], true).rows.len(), 1);
    }

    #[test]
    fn an_unknown_step_is_an_error_not_an_empty_run() {
        let tree = Tree::at(Path::new("."));
        assert!(
            run(&tree, &[step("a", Tier::Quick, good)], &selection(Tier::Quick, &["c"])).is_err()
        );
    }

    #[test]
    fn times_read_as_minutes_and_seconds() {
        assert_eq!(clock(Duration::from_millis(62_340)), "1:02.3");
        assert_eq!(clock(Duration::from_millis(90)), "0:00.0");
    }
}
