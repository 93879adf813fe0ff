//! The chores of the repository: one command per task, the same on a desk and in CI.
//!
//! ```text
//! cargo xtask test      everything that must hold before a change lands
//! cargo xtask tidy      only the rules on the tree itself
//! cargo xtask bench     the comparison with other stores
//! ```
//!
//! Reading order: [`console`], [`failure`], [`tree`], [`tally`], [`job`], [`system`], [`plan`], [`tidy`], [`fuzz`], [`tsan`], [`hdf5`],
//! [`hdf5_static`], [`tiers`], [`arguments`]. A file uses only files before it, but that [`hdf5_static`] counts tests as [`tiers`] does. Nothing here is part of what a user builds, and it has no
//! dependencies, so that the first step of a fresh clone compiles in a second.

mod arguments;
mod console;
mod failure;
mod fuzz;
mod hdf5;
mod hdf5_static;
mod job;
mod plan;
mod system;
mod tally;
mod tidy;
mod tiers;
mod tree;
mod tsan;

use std::process::ExitCode;

use arguments::Chore;
use failure::Failure;
use job::Job;
use tree::Tree;

/// Exit code for a command line that cannot be understood, as in the `cidstore` command.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let chore = match arguments::parse(std::env::args().skip(1)) {
        Ok(chore) => chore,
        Err(failure) => {
            console::error(&failure.to_string());
            console::error(arguments::USAGE);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match run(chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console::error(&format!("xtask: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<(), Failure> {
    match chore {
        Chore::Help => {
            console::line(arguments::USAGE);
            Ok(())
        }
        Chore::ListSteps => {
            for step in tiers::STEPS {
                console::line(&format!("{:<10} {:<6} {}", step.name, step.tier.name(), step.about));
            }
            Ok(())
        }
        Chore::Test(selection) => plan::run(&Tree::find()?, tiers::STEPS, &selection),
        Chore::Tidy => {
            let tree = Tree::find()?;
            console::line(&tidy::check(&tree)?);
            Ok(())
        }
        Chore::Bench(passed_on) => bench(&Tree::find()?, passed_on),
    }
}

/// Runs the comparison, then draws the pictures and writes the table of the documentation from all records.
fn bench(tree: &Tree, passed_on: Vec<String>) -> Result<(), Failure> {
    // RocksDB takes part where its package knows the system's library; see benches/peers/README.md.
    let rocksdb = std::env::var_os("ROCKSDB_LIB_DIR").map(|_| ["--features", "rocksdb"]);
    let run = |program| {
        Job::cargo(["run", "--release", "--locked", "--bin", program])
            .args(rocksdb.into_iter().flatten())
            .directory(tree.path("benches/peers"))
    };
    run("compare").args(["--", "--record"]).args(passed_on).run_in_foreground()?;
    run("figures").run_in_foreground()
}
