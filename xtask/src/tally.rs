//! [`Tally`]: how many tests a run reported, read from the closing lines of nextest and of libtest.
//!
//! The exit code says whether a run is green; the tally says whether it *tested* anything. A run that executed no test
//! must not pass for one.

use std::fmt;
use std::ops::AddAssign;

/// Tests that ran, by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    /// Takes in one line of a run's output; lines that close no run are ignored.
    pub(crate) fn read(&mut self, line: &str) {
        let plain = without_colour(line);
        let text = plain.trim();
        // Indented, it is what nextest shows of a test that failed, and counts itself.
        let results = if let Some(rest) = plain.strip_prefix("test result: ") {
            // test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
            rest.split_once(". ").map(|(_, results)| results)
        } else if text.starts_with("Summary [") {
            // Summary [   1.204s] 7/8 tests run: 5 passed (1 slow), 1 failed, 1 timed out, 2 skipped
            text.split_once(" run: ").map(|(_, results)| results)
        } else {
            None
        };
        for result in results.unwrap_or_default().split([';', ',']) {
            let mut words = result.split_whitespace();
            let Some(Ok(count)) = words.next().map(str::parse::<u64>) else { continue };
            match words.next() {
                Some("passed") => self.passed += count,
                Some("failed" | "timed" | "exec") => self.failed += count,
                Some("skipped" | "ignored") => self.skipped += count,
                _ => {}
            }
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// `line` without terminal colour sequences (`ESC [ ... m`), which cargo puts around words on a terminal.
fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, sequence)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = sequence.split_once('m').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally_of(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for line in lines {
            tally.read(line);
        }
        tally
    }

    #[test]
    fn libtest_runs_add_up() {
        let tally = tally_of(&[
            "running 6 tests",
            "test a ... ok",
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s",
            "test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s",
        ]);
        assert_eq!(tally, Tally { passed: 7, failed: 4, skipped: 1 });
    }

    #[test]
    fn nextest_counts_every_kind_of_failure() {
        let tally = tally_of(&[
            "     Summary [   1.204s] 9/10 tests run: 5 passed (1 slow, 1 leaky), 1 failed, 2 timed out, 1 exec failed, 3 skipped",
        ]);
        assert_eq!(tally, Tally { passed: 5, failed: 4, skipped: 3 });
        assert_eq!(
            tally_of(&["Summary [ 0.1s] 1 test run: 1 passed, 0 skipped"]),
            Tally { passed: 1, failed: 0, skipped: 0 }
        );
    }

    #[test]
    fn what_nextest_shows_of_a_failed_test_is_not_counted_twice() {
        let tally = tally_of(&[
            "    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 130 filtered out; finished in 0.23s",
            "     Summary [   1.204s] 790 tests run: 789 passed, 1 failed, 8 skipped",
        ]);
        assert_eq!(tally, Tally { passed: 789, failed: 1, skipped: 8 });
    }

    #[test]
    fn colours_do_not_hide_a_closing_line() {
        let line = "test result: \u{1b}[32mok\u{1b}[m. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(tally_of(&[line]).passed, 3);
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(tally_of(&["", "12 passed", "error: 3 failed", "Summary"]), Tally::default());
    }
}
