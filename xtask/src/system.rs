//! What the chores need from the system: programs from its packages, and components of the Rust toolchain.
//!
//! A missing program is installed with apt when this runs as root on a system that has it, as in CI; otherwise the
//! failure names the package, and nothing on a person's machine is changed.

use std::path::Path;

use crate::failure::Failure;
use crate::job::Job;
use crate::tally::Tally;

/// Debian's interpreter, which sees Debian's h5py whatever else is on the path.
pub(crate) const SYSTEM_PYTHON: &str = "/usr/bin/python3";

/// Something that must be there, and who has it.
struct Program {
    name: &'static str,
    debian_package: &'static str,
    needed_for: &'static str,
    /// What shows that it is there; empty for a program that only has to be on the path.
    probe: &'static [&'static str],
}

const PROGRAMS: [Program; 7] = [
    Program {
        name: "cc",
        debian_package: "build-essential",
        needed_for: "linking every program",
        probe: &[],
    },
    Program {
        name: "c++",
        debian_package: "build-essential",
        needed_for: "the fuzz targets' driver",
        probe: &[],
    },
    Program {
        name: "pkg-config",
        debian_package: "pkg-config",
        needed_for: "finding libraries",
        probe: &[],
    },
    Program {
        name: "libhdf5",
        debian_package: "libhdf5-dev",
        needed_for: "export and import",
        probe: &["pkg-config", "--exists", "hdf5"],
    },
    Program {
        name: "h5dump",
        debian_package: "hdf5-tools",
        needed_for: "reading files as others do",
        probe: &[],
    },
    Program {
        name: "h5py",
        debian_package: "python3-h5py",
        needed_for: "reading files as others do",
        probe: &[SYSTEM_PYTHON, "-c", "import h5py"],
    },
    Program {
        name: "python3-venv",
        debian_package: "python3-venv",
        needed_for: "reading files with the newest h5py",
        probe: &[SYSTEM_PYTHON, "-c", "import ensurepip"],
    },
];

/// Prometheus's checker of rules and metrics: for one step of the slow tier only.
const PROMTOOL: Program = Program {
    name: "promtool",
    debian_package: "prometheus",
    needed_for: "checking alert rules and metrics as Prometheus does",
    probe: &[],
};

/// What the slow tier needs besides: interpreters that read HDF5.
const LANGUAGES: [Program; 3] = [
    Program {
        name: "Rscript",
        debian_package: "r-base-core",
        needed_for: "reading files with R",
        probe: &[],
    },
    Program {
        name: "hdf5r",
        debian_package: "r-cran-hdf5r",
        needed_for: "reading files with R",
        probe: &["Rscript", "-e", "library(hdf5r)"],
    },
    Program {
        name: "octave-cli",
        debian_package: "octave",
        needed_for: "reading files with Octave",
        probe: &[],
    },
];

impl Program {
    fn is_there(&self) -> bool {
        match self.probe {
            [] => is_on_path(self.name),
            [program, arguments @ ..] => Job::new(program, arguments).succeeds(),
        }
    }
}

/// Components of the toolchain: the cargo subcommand that shows that one is there.
const COMPONENTS: [(&str, &str); 2] = [("fmt", "rustfmt"), ("clippy", "clippy")];

/// Makes sure that all is there, and says in one line what was.
///
/// # Errors
/// If something is missing and cannot be installed; names the package.
pub(crate) fn ensure(tally: &mut Tally) -> Result<String, Failure> {
    ensure_programs(&PROGRAMS, tally)?;
    for (subcommand, component) in COMPONENTS {
        if !Job::cargo([subcommand, "--version"]).succeeds() {
            Job::new("rustup", ["component", "add", component]).run(tally).map_err(|failure| {
                Failure::new(format!("the toolchain lacks {component}: {failure}"))
            })?;
        }
    }
    let runner = if has_nextest() { "nextest" } else { "cargo test (no nextest here)" };
    Ok(format!("test runner: {runner}"))
}

/// Makes sure that `promtool` is there.
///
/// # Errors
/// If it is missing and cannot be installed.
pub(crate) fn ensure_promtool(tally: &mut Tally) -> Result<(), Failure> {
    ensure_programs(std::slice::from_ref(&PROMTOOL), tally)
}

/// Makes sure that R and Octave are there.
///
/// # Errors
/// If something is missing and cannot be installed; names the package.
pub(crate) fn ensure_languages(tally: &mut Tally) -> Result<(), Failure> {
    ensure_programs(&LANGUAGES, tally)
}

fn ensure_programs(programs: &[Program], tally: &mut Tally) -> Result<(), Failure> {
    let missing: Vec<&Program> = programs.iter().filter(|program| !program.is_there()).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing, tally) }
}

/// True if `cargo nextest` is installed. It runs tests in processes of their own and in parallel across packages.
pub(crate) fn has_nextest() -> bool {
    Job::cargo(["nextest", "--version"]).succeeds()
}

fn install(missing: &[&Program], tally: &mut Tally) -> Result<(), Failure> {
    let wanted = missing
        .iter()
        .map(|program| {
            format!(
                "`{}` for {} (Debian: {})",
                program.name, program.needed_for, program.debian_package
            )
        })
        .collect::<Vec<_>>()
        .join(", ");
    if !(is_root() && is_on_path("apt-get")) {
        return Err(Failure::new(format!("this system lacks {wanted}; install it and run again")));
    }
    let mut packages: Vec<&str> = missing.iter().map(|program| program.debian_package).collect();
    packages.dedup();
    let apt = |args: &[&str]| {
        Job::new("apt-get", args.iter().copied()).env("DEBIAN_FRONTEND", "noninteractive")
    };
    apt(&["update", "--quiet"]).run(tally)?;
    apt(&["install", "--yes", "--quiet", "--no-install-recommends"]).args(packages).run(tally)?;
    match missing.iter().find(|program| !program.is_there()) {
        None => Ok(()),
        Some(program) => Err(Failure::new(format!(
            "{} is installed, and there is still no `{}`",
            program.debian_package, program.name
        ))),
    }
}

fn is_on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
}

/// Asks the owner of this process's own folder in `/proc`; where there is none, nothing is installed.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self").metadata().is_ok_and(|metadata| metadata.uid() == 0)
}
