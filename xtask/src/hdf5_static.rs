//! The command with an HDF5 library of its own: built from source, and put through the tests of export and import.
//!
//! The library's build needs cmake 3.26 or newer. Where the system's is older, the Python package has one, which goes to a
//! virtual environment below `target`.

use std::path::PathBuf;
use std::process::Command;

use crate::failure::Failure;
use crate::job::Job;
use crate::plan::Outcome;
use crate::tally::Tally;
use crate::tiers::count;
use crate::tree::Tree;

const MANIFEST: &str = "packaging/static/Cargo.toml";
const TARGET: &str = "target/static";
/// Oldest cmake that takes the library's sources.
const CMAKE_LEAST: (u32, u32) = (3, 26);

/// Builds it, tests it, and looks whether it needs the system's library all the same.
///
/// # Errors
/// If a build or test fails, or the command is linked with the system's library.
pub(crate) fn run(tree: &Tree, tally: &mut Tally) -> Result<Outcome, Failure> {
    let path = path_with_cmake(tree, tally)?;
    let job = |subcommand| {
        Job::cargo_locked([subcommand])
            .args(["--manifest-path", MANIFEST])
            .env("PATH", &path)
            .env("CARGO_TARGET_DIR", TARGET)
            .directory(tree.path(""))
    };
    job("build").run(tally)?;
    let outcome = count(job("test"), tally)?;
    let command = tree.path(TARGET).join("debug/cidstore");
    if linked_libraries(&command)?.contains("libhdf5") {
        return Err(Failure::new("the command was linked with the system's HDF5 library"));
    }
    Ok(outcome)
}

/// The search path, with a cmake in front that is new enough.
fn path_with_cmake(tree: &Tree, tally: &mut Tally) -> Result<String, Failure> {
    let path = std::env::var("PATH").unwrap_or_default();
    if cmake_version("cmake").is_some_and(|version| version >= CMAKE_LEAST) {
        return Ok(path);
    }
    let folder = tree.path("target/cmake");
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let programs = text(folder.join("bin"));
    if cmake_version(&text(folder.join("bin/cmake"))).is_none_or(|version| version < CMAKE_LEAST) {
        Job::new("python3", ["-m", "venv", &text(folder.clone())]).run(tally)?;
        let pip = text(folder.join("bin/pip"));
        Job::new(&pip, ["install", "--quiet", "cmake"]).run(tally)?;
    }
    Ok(format!("{programs}:{path}"))
}

/// The version that `cmake version 3.25.1` tells; `None` if there is no such program.
fn cmake_version(program: &str) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    parse_version(&String::from_utf8(output.stdout).ok()?)
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().nth(2)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn linked_libraries(program: &std::path::Path) -> Result<String, Failure> {
    let output = Command::new("ldd").arg(program).output();
    let output = output.map_err(|error| Failure::new(format!("ldd: {error}")))?;
    if !output.status.success() {
        return Err(Failure::new(format!("ldd can't read {}", program.display())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn versions_are_numbers_not_texts() {
        assert_eq!(parse_version("cmake version 3.25.1\n\nCMake suite"), Some((3, 25)));
        assert_eq!(parse_version("cmake version 4.1\n"), Some((4, 1)));
        assert!(parse_version("cmake version 3.9.0") < parse_version("cmake version 3.26.0"));
        assert_eq!(parse_version("not found"), None);
    }
}
