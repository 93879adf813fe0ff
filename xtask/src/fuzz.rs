//! Runs the fuzz targets for a fixed time each, with the toolchain that is there.
//!
//! libFuzzer needs coverage counters and the address sanitizer, which the compiler keeps for nightly versions; the flags below are
//! those that `cargo fuzz` gives. `RUSTC_BOOTSTRAP` unlocks them in a stable compiler, which is fine for a test and for
//! nothing else. What a run finds in new inputs stays in `target/fuzz`; the corpora that are checked in are only read.

use std::fs;

use crate::failure::Failure;
use crate::job::Job;
use crate::tally::Tally;
use crate::tree::Tree;

/// Targets that must never fail, as in `testkit`'s list.
const TARGETS: [&str; 3] = ["operations", "file_bytes", "wal_bytes"];
/// The target that must fail, or the others prove nothing.
const CANARY: &str = "canary";
/// How long each target runs.
const SECONDS: u32 = 300;
/// The only platform for which this is set up.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

const FLAGS: &[&str] = &[
    "--cfg",
    "fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Clink-dead-code",
    "-Cdebug-assertions",
    "-Ccodegen-units=1",
    "-Zsanitizer=address",
];

/// Whether the targets can be run here.
pub(crate) fn is_supported() -> bool {
    cfg!(all(target_os = "linux", target_arch = "x86_64"))
}

/// Runs all targets, the canary first.
///
/// # Errors
/// If a target finds something, or the canary does not.
pub(crate) fn run(tree: &Tree, tally: &mut Tally) -> Result<String, Failure> {
    // Built before it is started: a broken build must not be taken for a canary that fails.
    build(tree, CANARY, tally)?;
    if start(tree, CANARY, tally).is_ok() {
        return Err(Failure::new("the canary did not fail: the fuzzer finds nothing at all"));
    }
    for target in TARGETS {
        build(tree, target, tally)?;
        start(tree, target, tally)?;
    }
    Ok(format!("{} targets, {SECONDS} s each; the canary failed as it must", TARGETS.len()))
}

fn start(tree: &Tree, target: &str, tally: &mut Tally) -> Result<(), Failure> {
    let found = tree.path("target/fuzz").join(target);
    fs::create_dir_all(&found)
        .map_err(|error| Failure::new(format!("{}: {error}", found.display())))?;
    let program = tree.path("fuzz/target").join(PLATFORM).join("release").join(target);
    let corpus = tree.path("fuzz/corpus").join(target);
    Job::new(&program.to_string_lossy(), [found.as_os_str()])
        .args(corpus.is_dir().then(|| corpus.clone()))
        .args([format!("-max_total_time={SECONDS}"), "-rss_limit_mb=6000".to_owned()])
        .args([format!("-artifact_prefix={}/", found.display())])
        .run(tally)
}

fn build(tree: &Tree, target: &str, tally: &mut Tally) -> Result<(), Failure> {
    Job::cargo_locked(["build"])
        .args(["--release", "--target", PLATFORM, "--bin", target])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", &FLAGS.join(" "))
        .env("CARGO_PROFILE_RELEASE_LTO", "false")
        .directory(tree.path("fuzz"))
        .run(tally)
}
