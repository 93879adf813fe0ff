//! The steps of `cargo xtask test`, in the order they run: what fails fastest comes first.

use std::fs;

use crate::failure::Failure;
use crate::fuzz;
use crate::hdf5;
use crate::hdf5_static;
use crate::job::Job;
use crate::plan::{Outcome, Step, Tier};
use crate::system;
use crate::tally::Tally;
use crate::tidy;
use crate::tree::Tree;
use crate::tsan;

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
    step("features", Tier::Full, "each crate alone, with its default features or none", features),
    step("loom", Tier::Full, "the lock-free parts under every interleaving", loom),
    step("no_std", Tier::Full, "a program without std looks a key up in an image", no_std),
    step(
        "hdf5_tools",
        Tier::Full,
        "h5dump, h5repack and h5py read the store's files",
        |tree, tally| count(hdf5::job(tree, tally)?, tally),
    ),
    step("outside", Tier::Full, "packages outside the workspace: lints and tests", outside),
    step("loom_all", Tier::Slow, "the same without bounds where that ends", loom_all),
    step("campaign", Tier::Slow, "the whole store under schedules drawn at random", campaign),
    step("tsan", Tier::Slow, "tests with threads under ThreadSanitizer", tsan::run),
    step("model", Tier::Slow, "random histories against the model, many more of them", model),
    step("hdf5_kills", Tier::Slow, "a thousand kills of a store that grows", hdf5_kills),
    step("hdf5_shards", Tier::Slow, "a directory that is cut at its real size", hdf5_shards),
    step("hdf5_languages", Tier::Slow, "R and Octave read the store's files", |tree, tally| {
        count(hdf5::languages(tree, tally)?, tally)
    }),
    step(
        "hdf5_static",
        Tier::Slow,
        "the command with an HDF5 library of its own",
        hdf5_static::run,
    ),
    step("promtool", Tier::Slow, "Prometheus's checker on alert rules and metrics", promtool),
    step("fuzz", Tier::Slow, "fuzz targets with the address sanitizer", fuzz),
];

/// Histories that each model test runs in the slow tier.
const MODEL_CASES_SLOW: &str = "4096";

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
    const WHAT: [&str; 3] = ["--workspace", "--all-features", "--no-fail-fast"];
    let job = if system::has_nextest() {
        Job::cargo_locked(["nextest", "run"]).args(WHAT)
    } else {
        // Doctests are a step of their own.
        Job::cargo_locked(["test"]).args(WHAT).args(["--all-targets"])
    };
    count(job.directory(tree.path("")), tally)
}

/// The longest histories of the store against its model. A run of this length takes more than nextest's patience with a
/// single test, so libtest runs it.
fn model(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    let job = Job::cargo_locked(["test"])
        .args(["--release", "--package", "cidstore", "--test", "model"])
        .env("PROPTEST_CASES", MODEL_CASES_SLOW)
        .env("CARGO_TARGET_DIR", "target/slow")
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true");
    count(job.directory(tree.path("")), tally)
}

/// Kills that a growing store must live through in the slow tier.
const HDF5_KILLS_SLOW: &str = "1000";

/// As in the quick tier, where there are fifty.
fn hdf5_kills(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    let job = Job::cargo_locked(["test"])
        .args(["--package", "cidstore", "--test", "hdf5_kill"])
        .env("CIDSTORE_KILLS", HDF5_KILLS_SLOW);
    count(job.directory(tree.path("")), tally)
}

/// Installs Prometheus's checker if it is missing.
fn promtool(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    system::ensure_promtool(tally)?;
    let job = Job::cargo_locked(["test"]).args([
        "--package",
        "cidstore",
        "--test",
        "metrics",
        "--",
        "--ignored",
        "promtool::",
    ]);
    count(job.directory(tree.path("")), tally)
}

fn hdf5_shards(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    let job = Job::cargo_locked(["test"]).args([
        "--package",
        "cidstore",
        "--test",
        "hdf5_shards",
        "--",
        "--ignored",
    ]);
    count(job.directory(tree.path("")), tally)
}

/// Runs `job`, and takes a run without a single test for a failure.
pub(crate) fn count(job: Job, tally: &mut Tally) -> Result<Outcome, Failure> {
    let mut counted = Tally::default();
    let result = job.run(&mut counted);
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

/// What a user builds has default features or fewer; the other steps switch all of them on.
fn features(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    const BUILDS: [&[&str]; 7] = [
        &["--package", "cidstore-core"],
        &["--package", "cidstore-engine"],
        &["--package", "cidstore-engine", "--features", "hdf5"],
        &["--package", "cidstore-async"],
        &["--package", "cidstore"],
        // The store without the command.
        &["--package", "cidstore", "--no-default-features"],
        &["--package", "cidstore", "--no-default-features", "--features", "serde,uuid"],
    ];
    for build in BUILDS {
        Job::cargo_locked(["clippy"])
            .args(build)
            .args(["--", "-D", "warnings"])
            .directory(tree.path(""))
            .run(tally)?;
    }
    // What only the slow tier runs is built here, so that a change that breaks it shows at once.
    for checker in ["shuttle", "tsan"] {
        Job::cargo_locked(["check"])
            .args(["--package", "cidstore-engine", "--lib", "--tests"])
            .env("RUSTFLAGS", &format!("--cfg {checker}"))
            .env("CARGO_TARGET_DIR", &format!("target/{checker}"))
            .directory(tree.path(""))
            .run(tally)?;
    }
    Ok(Outcome::Done)
}

/// Loom replaces the atomics of the whole build, so it has a target folder of its own; it is run optimised because it
/// tries up to millions of interleavings.
fn loom(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    run_loom(tree, tally, |job| job)
}

fn loom_all(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    run_loom(tree, tally, |job| job.env("LOOM_COMPLETE", "1"))
}

/// The models of the page protocol, then those of the engine.
fn run_loom(tree: &Tree, tally: &mut Tally, with: fn(Job) -> Job) -> Result<Outcome, Failure> {
    let models = loom_models(tree)?;
    if models.is_empty() {
        return Err(Failure::new("core/tests has no loom_*.rs"));
    }
    let core = models.iter().flat_map(|model| ["--test", model]);
    let core = checked_job("loom", "cidstore-core").args(core);
    let engine = checked_job("loom", "cidstore-engine").args(["--lib", ENGINE_MODELS]);
    let before = tally.passed;
    for job in [core, engine] {
        count(with(job).directory(tree.path("")), tally)?;
    }
    Ok(Outcome::Found(format!("{} passed", tally.passed - before)))
}

/// What the engine's models have in their paths.
const ENGINE_MODELS: &str = "interleavings::";

/// Tests of a package built for a model checker, which it is told by a `cfg` of its name.
fn checked_job(checker: &str, package: &str) -> Job {
    Job::cargo_locked(["test"])
        .args(["--package", package, "--release", "--no-fail-fast"])
        .env("RUSTFLAGS", &format!("--cfg {checker}"))
        .env("CARGO_TARGET_DIR", &format!("target/{checker}"))
        .env("CARGO_PROFILE_RELEASE_LTO", "false")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
}

/// Schedules of each kind, random and by priorities, that each scenario of the campaign has.
const CAMPAIGN_EXECUTIONS_SLOW: &str = "10000";

/// The whole store under a scheduler, with assertions.
fn campaign(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    let job = checked_job("shuttle", "cidstore-engine")
        .args(["--lib", "campaign::"])
        .env("CAMPAIGN_EXECUTIONS", CAMPAIGN_EXECUTIONS_SLOW)
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true");
    count(job.directory(tree.path("")), tally)
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
