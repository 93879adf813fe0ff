//! The steps of `cargo xtask test`, in the order they run: what fails fastest comes first.

use std::fs;

use crate::failure::Failure;
use crate::fuzz;
use crate::job::Job;
use crate::plan::{Outcome, Step, Tier};
use crate::system;
use crate::tally::Tally;
use crate::tidy;
use crate::tree::Tree;

/// All steps.
pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "system",
        tier: Tier::Quick,
        about: "what the system must have",
        needed_by_all: true,
        run: |_, tally| system::ensure(tally).map(Outcome::Found),
    },
    step("fmt", Tier::Quick, "formatting of every package", fmt),
    step("tidy", Tier::Quick, "rules on the tree", |tree, _| tidy::check(tree).map(Outcome::Found)),
    step("clippy", Tier::Quick, "lints, warnings denied", clippy),
    step("tests", Tier::Quick, "unit, integration and corpus tests", tests),
    step(
        "doctests",
        Tier::Full,
        "examples in the documentation, the README's program among them",
        doctests,
    ),
    step("rustdoc", Tier::Full, "the documentation builds without a warning", rustdoc),
    step("features", Tier::Full, "each crate alone with its default features", features),
    step("loom", Tier::Full, "the page protocol under every interleaving", loom),
    step("no_std", Tier::Full, "a program without std looks a key up in an image", no_std),
    step("outside", Tier::Full, "packages outside the workspace: lints and tests", outside),
    step("ignored", Tier::Slow, "tests marked `#[ignore = \"slow: ...\"]`", ignored),
    step("proptest", Tier::Slow, "property tests, many more cases", proptest),
    step("fuzz", Tier::Slow, "fuzz targets with the address sanitizer", fuzz),
];

/// Cases a property test runs in the slow tier; the default of proptest is 256.
const PROPTEST_CASES_SLOW: &str = "8192";

const fn step(
    name: &'static str,
    tier: Tier,
    about: &'static str,
    run: fn(&Tree, &mut Tally) -> Result<Outcome, Failure>,
) -> Step {
    Step { name, tier, about, needed_by_all: false, run }
}

fn fmt(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    Job::cargo(["fmt", "--all", "--check"]).directory(tree.path("")).run(tally)?;
    for package in tree.outside_packages() {
        Job::cargo(["fmt", "--check"]).directory(tree.path(package)).run(tally)?;
    }
    Ok(Outcome::Done)
}

fn clippy(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    Job::cargo_locked(["clippy"])
        .args(["--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"])
        .directory(tree.path(""))
        .run(tally)?;
    Ok(Outcome::Done)
}

fn tests(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    run_tests(tree, tally, &[], None)
}

/// The slow tests alone: the others ran before.
fn ignored(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    let only_ignored: &[&str] =
        if system::has_nextest() { &["--run-ignored=only"] } else { &["--", "--ignored"] };
    run_tests(tree, tally, only_ignored, None)
}

fn proptest(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    run_tests(tree, tally, &[], Some(("PROPTEST_CASES", PROPTEST_CASES_SLOW)))
}

fn run_tests(
    tree: &Tree,
    tally: &mut Tally,
    more: &[&str],
    variable: Option<(&str, &str)>,
) -> Result<Outcome, Failure> {
    const WHAT: [&str; 3] = ["--workspace", "--all-features", "--no-fail-fast"];
    let mut job = if system::has_nextest() {
        Job::cargo_locked(["nextest", "run"]).args(WHAT)
    } else {
        // Doctests are a step of their own.
        Job::cargo_locked(["test"]).args(WHAT).args(["--all-targets"])
    };
    if let Some((name, value)) = variable {
        job = job.env(name, value);
    }
    let mut counted = Tally::default();
    let result = job.args(more).directory(tree.path("")).run(&mut counted);
    *tally += counted;
    result?;
    if counted.passed == 0 {
        return Err(Failure::new("no test was executed"));
    }
    Ok(Outcome::Found(counted.to_string()))
}

fn doctests(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    Job::cargo_locked(["test"])
        .args(["--doc", "--workspace", "--all-features"])
        .directory(tree.path(""))
        .run(tally)?;
    Ok(Outcome::Done)
}

fn rustdoc(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    Job::cargo_locked(["doc"])
        .args(["--no-deps", "--workspace", "--all-features"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .directory(tree.path(""))
        .run(tally)?;
    Ok(Outcome::Done)
}

/// What a user builds has default features only; the other steps switch all of them on.
fn features(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    for package in ["cidstore-core", "cidstore-engine", "cidstore"] {
        Job::cargo_locked(["clippy"])
            .args(["--package", package, "--", "-D", "warnings"])
            .directory(tree.path(""))
            .run(tally)?;
    }
    Ok(Outcome::Done)
}

/// Loom replaces the atomics of the whole build, so it has a target folder of its own; it is run optimised because it
/// tries up to millions of interleavings.
fn loom(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    let models = loom_models(tree)?;
    if models.is_empty() {
        return Err(Failure::new("core/tests has no loom_*.rs"));
    }
    let mut counted = Tally::default();
    let result = Job::cargo_locked(["test"])
        .args(["--package", "cidstore-core", "--release"])
        .args(models.iter().flat_map(|model| ["--test", model]))
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", "target/loom")
        .env("CARGO_PROFILE_RELEASE_LTO", "false")
        .directory(tree.path(""))
        .run(&mut counted);
    *tally += counted;
    result?;
    if counted.passed == 0 {
        return Err(Failure::new("no model was executed"));
    }
    Ok(Outcome::Found(counted.to_string()))
}

fn loom_models(tree: &Tree) -> Result<Vec<String>, Failure> {
    let folder = tree.path("core/tests");
    let listing = fs::read_dir(&folder)
        .map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
    let mut models = Vec::new();
    for item in listing {
        let item = item.map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
        let name = item.file_name().to_string_lossy().into_owned();
        if let Some(model) = name.strip_suffix(".rs")
            && model.starts_with("loom_")
        {
            models.push(model.to_owned());
        }
    }
    models.sort();
    Ok(models)
}

fn no_std(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Ok(Outcome::Skipped("its entry point is written for x86-64 Linux".to_owned()));
    }
    // Started in its folder: the link flags that leave std out lie there.
    Job::cargo_locked(["run"])
        .args(["--release"])
        .directory(tree.path("tests/no_std"))
        .run(tally)?;
    Ok(Outcome::Done)
}

fn fuzz(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    if fuzz::is_supported() {
        fuzz::run(tree, tally).map(Outcome::Found)
    } else {
        Ok(Outcome::Skipped("set up for x86-64 Linux only".to_owned()))
    }
}

fn outside(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    for package in tree.outside_packages().filter(|package| *package != "tests/no_std") {
        Job::cargo_locked(["clippy"])
            .args(["--all-targets", "--", "-D", "warnings"])
            .directory(tree.path(package))
            .run(tally)?;
    }
    Job::cargo_locked(["test"]).directory(tree.path("benches/peers")).run(tally)?;
    Ok(Outcome::Done)
}
