//! The command line of `cargo xtask`.

use crate::failure::Failure;
use crate::plan::{Selection, Tier};

/// What `cargo xtask help` prints.
pub(crate) const USAGE: &str = "\
usage: cargo xtask test [--quick | --slow] [--only STEP]... [--fail-fast]
       cargo xtask steps              the steps of `test`, with their tier
       cargo xtask tidy               the rules on the tree: file and function length, unsafe inventory, links
       cargo xtask bench [ARGUMENT]...  the comparison with other stores; arguments go to benches/peers' `compare`";

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chore {
    Help,
    ListSteps,
    Test(Selection),
    Tidy,
    Bench(Vec<String>),
}

/// Understands `arguments` (without the program's name).
///
/// # Errors
/// Names the first argument that makes no sense.
pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Chore, Failure> {
    let mut arguments = arguments.into_iter();
    let chore = match arguments.next().as_deref() {
        None | Some("help" | "--help" | "-h") => Chore::Help,
        Some("steps") => Chore::ListSteps,
        Some("tidy") => Chore::Tidy,
        Some("bench") => return Ok(Chore::Bench(arguments.collect())),
        Some("test") => return parse_test(arguments),
        Some(other) => return Err(Failure::new(format!("unknown chore `{other}`"))),
    };
    match arguments.next() {
        None => Ok(chore),
        Some(extra) => Err(Failure::new(format!("unexpected argument `{extra}`"))),
    }
}

fn parse_test(mut arguments: impl Iterator<Item = String>) -> Result<Chore, Failure> {
    let mut tier = None;
    let mut only = Vec::new();
    let mut fail_fast = false;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" | "--slow" if tier.is_some() => {
                return Err(Failure::new("--quick and --slow exclude each other"));
            }
            "--quick" => tier = Some(Tier::Quick),
            "--slow" => tier = Some(Tier::Slow),
            "--fail-fast" => fail_fast = true,
            "--only" => {
                only.push(
                    arguments.next().ok_or_else(|| Failure::new("--only needs a step's name"))?,
                );
            }
            other => return Err(Failure::new(format!("unknown argument `{other}` of `test`"))),
        }
    }
    Ok(Chore::Test(Selection { tier: tier.unwrap_or(Tier::Full), only, fail_fast }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Chore, Failure> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn test_takes_the_full_tier_unless_told() {
        let Ok(Chore::Test(selection)) = parsed("test") else { panic!("not understood") };
        assert_eq!(
            (selection.tier, selection.only.len(), selection.fail_fast),
            (Tier::Full, 0, false)
        );
        let Ok(Chore::Test(selection)) = parsed("test --slow --only loom --only fmt --fail-fast")
        else {
            panic!("not understood")
        };
        assert_eq!(selection.tier, Tier::Slow);
        assert_eq!(selection.only, ["loom", "fmt"]);
        assert!(selection.fail_fast);
    }

    #[test]
    fn nonsense_is_named() {
        for (line, word) in [
            ("tset", "tset"),
            ("test --qiuck", "--qiuck"),
            ("test --only", "--only"),
            ("test --quick --slow", "--slow"),
            ("tidy now", "now"),
        ] {
            let failure = parsed(line).unwrap_err().to_string();
            assert!(failure.contains(word), "{line}: {failure}");
        }
    }

    #[test]
    fn bench_passes_its_arguments_on() {
        assert_eq!(
            parsed("bench --n 1000"),
            Ok(Chore::Bench(vec!["--n".to_owned(), "1000".to_owned()]))
        );
    }
}
