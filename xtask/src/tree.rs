//! [`Tree`]: the repository on disk, wherever it was cloned to.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Folders that hold no source of ours.
const NOT_SOURCE: [&str; 4] = ["target", ".git", "corpus", "artifacts"];

/// Packages outside the workspace, each with a lock file of its own. See `exclude` in the workspace manifest.
const OUTSIDE: [&str; 3] = ["benches/peers", "fuzz", "tests/no_std"];

/// The repository on disk.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The tree that this `xtask` was started in.
    ///
    /// # Errors
    /// If not started through cargo, which tells where the package lies.
    pub(crate) fn find() -> Result<Self, Failure> {
        // Read at run time: a path that was compiled in would be wrong after the clone was moved.
        let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR").ok_or_else(|| {
            Failure::new("start this as `cargo xtask`, from within the repository")
        })?;
        let root = Path::new(&manifest_dir)
            .parent()
            .ok_or_else(|| Failure::new("the xtask package has no parent folder"))?;
        Ok(Self::at(root))
    }

    /// The tree at `root`.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// `relative` inside the tree.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// The text of a file of the tree.
    ///
    /// # Errors
    /// If it cannot be read as UTF-8.
    pub(crate) fn read(&self, relative: &str) -> Result<String, Failure> {
        fs::read_to_string(self.path(relative))
            .map_err(|error| Failure::new(format!("{relative}: {error}")))
    }

    /// The packages outside the workspace that exist, as folders relative to the root.
    pub(crate) fn outside_packages(&self) -> impl Iterator<Item = &'static str> + '_ {
        OUTSIDE.into_iter().filter(|folder| self.path(folder).join("Cargo.toml").is_file())
    }

    /// All files of ours whose name ends with `.extension`, as `/`-separated relative paths in order.
    ///
    /// Walks folders instead of asking git, so that it answers the same in an unpacked archive.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub(crate) fn files(&self, extension: &str) -> Result<Vec<String>, Failure> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let listing = fs::read_dir(&folder)
                .map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
            for item in listing {
                let item =
                    item.map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
                let path = item.path();
                if path.is_symlink() {
                    continue;
                }
                if path.is_dir() {
                    if !NOT_SOURCE.iter().any(|name| item.file_name() == *name) {
                        folders.push(path);
                    }
                } else if path.extension().is_some_and(|found| found == extension) {
                    found.push(self.relative(&path));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().replace('\\', "/")
    }
}
