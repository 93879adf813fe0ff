//! Random runs of every public operation against ordered maps of ordered sets.
//!
//! The driver compares each answer; a run ends with a comparison of the whole content through `get`, a
//! snapshot, a scan and the independent reader of the file's bytes. Kills are copies of the files of the
//! open store (see [`Scratch::copy_as_killed`](cidstore_testkit::Scratch::copy_as_killed)).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test reports"
)]

use cidstore::{Durability, OpenOptions, Store};
use cidstore_testkit::driver::Driver;
use cidstore_testkit::generate::{Bounds, operations};
use proptest::prelude::*;
use proptest::test_runner::Config;

/// The smallest log that a store takes: checkpoints come often and the ring wraps.
const SMALL_LOG_BYTES: u64 = 64 << 10;

/// `cases` runs, or as many as `PROPTEST_CASES` says: the slow tier asks for many more.
fn config(cases: u32) -> Config {
    let asked_for = std::env::var_os("PROPTEST_CASES").map(|_| Config::default().cases);
    let cases = asked_for.unwrap_or(cases);
    // A run is a story of its own: shrinking by dropping operations is all that helps.
    Config { cases, max_shrink_iters: 4000, ..Config::default() }
}

fn buffered() -> OpenOptions {
    Store::options().durability(Durability::Buffered)
}

proptest! {
    #![proptest_config(config(96))]

    /// Few keys hit again and again: inline, second entries, small and large sets, and the ways between.
    #[test]
    fn few_keys_many_changes(operations in operations(Bounds::HOT, 60)) {
        Driver::run(buffered(), &operations);
    }

    /// Hundreds of keys come and go: splits, doublings, merges, overflow.
    #[test]
    fn many_keys_few_values(operations in operations(Bounds::WIDE, 60)) {
        Driver::run(buffered(), &operations);
    }

    /// Each write synced before it is applied.
    #[test]
    fn immediate(operations in operations(Bounds::HOT, 40)) {
        Driver::run(Store::options().durability(Durability::Immediate), &operations);
    }

    /// A log so small that checkpoints must make room again and again.
    #[test]
    fn a_small_log(operations in operations(Bounds { run: 450, ..Bounds::HOT }, 60)) {
        Driver::run(buffered().wal_bytes(SMALL_LOG_BYTES), &operations);
    }

    /// Checksums are checked on each read of a sealed page, and never wrongly.
    #[test]
    fn verified_reads(operations in operations(Bounds::WIDE, 40)) {
        Driver::run(buffered().verify_reads(true), &operations);
    }
}
