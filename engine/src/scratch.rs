//! Where tests that sync without end keep their files.

use std::path::Path;

use tempfile::TempDir;

/// A directory in memory, if the system has files there: what a sync costs is not what such a test is about.
pub(crate) fn in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}
