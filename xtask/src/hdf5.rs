//! The steps `hdf5_tools`, where HDF5's own programs and two versions of h5py read files of the store, and
//! `hdf5_languages`, where R and Octave do.

use crate::failure::Failure;
use crate::job::Job;
use crate::system::{self, SYSTEM_PYTHON};
use crate::tally::Tally;
use crate::tree::Tree;

/// Where the newest h5py is installed.
const ENVIRONMENT: &str = "target/hdf5-python";

/// Installs what is missing.
///
/// # Errors
/// If something is missing and cannot be installed, the network among it; names it.
fn ensure(tree: &Tree, tally: &mut Tally) -> Result<String, Failure> {
    system::ensure(tally)?;
    let folder = tree.path(ENVIRONMENT);
    let python = folder.join("bin/python").to_string_lossy().into_owned();
    if !Job::new(&python, ["-c", "import h5py"]).succeeds() {
        let folder = folder.to_string_lossy().into_owned();
        Job::new(SYSTEM_PYTHON, ["-m", "venv", &folder]).run(tally)?;
        Job::new(&python, ["-m", "pip", "install", "--quiet", "--timeout", "60", "h5py", "numpy"])
            .run(tally)
            .map_err(|failure| Failure::new(format!("h5py from PyPI: {failure}")))?;
    }
    Ok(format!("{SYSTEM_PYTHON}:{python}"))
}

/// Runs the tests that need those programs.
///
/// # Errors
/// If a program is missing, or a test fails.
pub(crate) fn job(tree: &Tree, tally: &mut Tally) -> Result<Job, Failure> {
    let pythons = ensure(tree, tally)?;
    // The features of the step `tests`, which has built all of it.
    Ok(Job::cargo_locked(["test"])
        .args(["--workspace", "--all-features", "--test", "hdf5_tools", "--", "--ignored"])
        .env("CIDSTORE_PYTHONS", &pythons)
        .directory(tree.path("")))
}

/// Runs the tests that need R and Octave.
///
/// # Errors
/// If they are missing and cannot be installed, or a test fails.
pub(crate) fn languages(tree: &Tree, tally: &mut Tally) -> Result<Job, Failure> {
    system::ensure_languages(tally)?;
    Ok(Job::cargo_locked(["test"])
        .args(["--package", "cidstore", "--test", "hdf5_languages", "--", "--ignored"])
        .directory(tree.path("")))
}
