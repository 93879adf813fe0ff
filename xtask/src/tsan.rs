//! Runs tests that have threads under ThreadSanitizer.
//!
//! The sanitizer is for nightly compilers only. It watches plain memory: what locks guard, what is handed from thread to
//! thread, what is freed. The words of pages are atomics, for which loom and the campaign are there. The standard library
//! is not built anew for it; `engine/src/sync/told.rs` says how the store's locks are seen nevertheless, and
//! `.config/tsan.supp` what is left out.

use crate::failure::Failure;
use crate::job::Job;
use crate::plan::Outcome;
use crate::tally::Tally;
use crate::tree::Tree;

const PLATFORM: &str = "x86_64-unknown-linux-gnu";
const TOOLCHAIN: &str = "nightly";
const FLAGS: &str = "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg tsan";

/// Tests of the engine that start threads, by parts of their paths. The first holds the race that must be reported.
const ENGINE_TESTS: [&str; 5] =
    ["sync::canary", "turns::", "stress::", "upkeep_tests::", "limbo::"];

/// The threads of a bulk load speak through a channel of the standard library: what that orders the detector does not see.
const WITH_BULK_LOADS: &str = "transactions_that_wait_for_a_checkpoint";

/// Builds and runs them.
///
/// # Errors
/// If a test fails or a race is reported, or the one that is planted is not.
pub(crate) fn run(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Ok(Outcome::Skipped("set up for x86-64 Linux only".to_owned()));
    }
    if !Job::new("rustup", ["run", TOOLCHAIN, "rustc", "--version"]).succeeds() {
        let reason = format!("needs a {TOOLCHAIN} compiler: rustup toolchain install {TOOLCHAIN}");
        return Ok(Outcome::Skipped(reason));
    }
    let before = tally.passed;
    let engine = ["--package", "cidstore-engine", "--features", "testing", "--lib", "--"];
    // One after another: what two tests do at a time is slower than both.
    cargo(tree, &engine, tally, &[&ENGINE_TESTS[..], &["--test-threads=1"]].concat())?;
    let facade = ["--package", "cidstore", "--no-default-features", "--test", "concurrency", "--"];
    cargo(tree, &facade, tally, &["--test-threads=1", "--skip", WITH_BULK_LOADS])?;
    let passed = tally.passed - before;
    if passed == 0 {
        return Err(Failure::new("no test was run"));
    }
    Ok(Outcome::Found(format!("{passed} passed, no race but the planted one")))
}

fn cargo(tree: &Tree, what: &[&str], tally: &mut Tally, tests: &[&str]) -> Result<(), Failure> {
    let suppressions = tree.path(".config/tsan.supp");
    Job::new("rustup", ["run", TOOLCHAIN, "cargo", "test", "--target", PLATFORM])
        .args(what)
        .args(tests)
        .env("RUSTFLAGS", FLAGS)
        .env("CARGO_TARGET_DIR", "target/tsan")
        .env("TSAN_OPTIONS", &format!("suppressions={}", suppressions.display()))
        .directory(tree.path(""))
        .run(tally)
}
