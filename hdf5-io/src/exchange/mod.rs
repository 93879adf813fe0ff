//! Export and import: clean HDF5 files for others, and pairs from theirs. Needs the HDF5 library (feature `libhdf5`).
//!
//! [`export`] writes a snapshot of a store as a canonical file; uncompressed, that file *is* a cleanly closed store, which
//! the engine opens read-only in place. [`import`] makes a new store of an export, of a store's own file, or of a file
//! of the original project; [`import_into`] adds such a file to an open store. Every file is there whole or not at all, and
//! what is read is checked: see [`ExchangeError`]. `docs/exchange.md` describes the files.
//!
//! The library never has a live store open. Reading order: `error`, `dtype` (pages as HDF5 types), `canonical` (which key lies
//! where), `image` (tables and superblocks), `library_file`, `container` (the HDF5 objects), `threads`, `pages`, `compress`, `export`, `original`, `read`, `import`.
//!
//! ```
//! use cidstore_engine::Store;
//! use cidstore_hdf5::exchange::{self, ExportOptions};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (live, copy) = (folder.path().join("live.h5"), folder.path().join("copy.h5"));
//! let store = Store::open(live)?;
//! store.insert(1, 2)?;
//! exchange::export(&store, &copy, &ExportOptions::default(), &mut |_| ())?;
//! let copy = Store::options().read_only(true).open(copy)?;
//! assert!(copy.contains(1, 2)?);
//! # Ok(())
//! # }
//! ```

mod canonical;
mod compress;
mod container;
mod dtype;
mod error;
mod export;
mod image;
mod import;
mod library_file;
mod original;
mod pages;
mod read;
mod threads;

pub use error::{ExchangeError, Result};
pub use export::export;
pub use import::{import, import_into};

/// How the datasets of an export are compressed. Bytes are shuffled first in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Read by everything. The level is 1 (fast) to 9 (small).
    Gzip(u8),
    /// Faster; read by h5py, and by others with its plugin.
    Lzf,
}

/// How an export is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Compressed files are smaller, and can be imported but not opened in place. Default: not compressed.
    pub compression: Option<Compression>,
    /// Whether a file at the destination is replaced. Default: no.
    pub replace: bool,
    /// When the file says it was made, in nanoseconds since 1970. Default: now. All other bytes follow from the content
    /// and the hash seed.
    pub created: Option<u64>,
}

/// How an import is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// Whether the new store takes over the file's hash seed, so that exporting it again gives the same bytes. Default: no.
    /// Whoever made the file knows the seed, and can choose keys that all fall together: only for files that you trust.
    pub keep_hash_seed: bool,
    /// Pairs that are held in memory at once, 40 bytes each. The first so many are loaded much faster than those
    /// that follow. Default: 64 Mi.
    pub part_pairs: u64,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self { keep_hash_seed: false, part_pairs: 64 << 20 }
    }
}

/// What an export wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Keys.
    pub keys: u64,
    /// Values of all keys together.
    pub values: u64,
    /// Length of the file.
    pub bytes: u64,
}

/// What an import read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Pairs in the file.
    pub pairs: u64,
    /// Pairs that the store did not have.
    pub new_pairs: u64,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Export: finding out which pages there will be.
    Plan,
    /// Export: writing pages.
    Write,
    /// Export: compressing them.
    Compress,
    /// Import: undoing the compression.
    Expand,
    /// Import: reading pairs.
    Read,
    /// Import: making pages of them.
    Load,
}

/// How far an export or import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// How much of it is done, in units of its own.
    pub done: u64,
    /// How much there is.
    pub total: u64,
}
