//! What the tests of CIDStore share.
//!
//! The idea of every test here is the same: run the store beside something dumber ([`Model`], ordered
//! maps of ordered sets) and let nothing differ. The crate is for tests and fuzz targets only; it reports
//! by panicking.
//!
//! Reading order, which is also the order in which the files may import each other:
//!
//! 1. [`random`]: a small generator whose whole state is its seed.
//! 2. [`model`]: the oracle, and the universe of numbers that tests draw from.
//! 3. [`fixed`]: a disk without chance. [`scratch`]: directories for stores, copies as a `kill -9` leaves them, fingerprints of files.
//! 4. [`content`]: the whole content of a store, a snapshot or a file image against the model.
//! 5. [`image`]: the bytes of a file against the model, by the independent reader of the format.
//! 6. [`forge`]: the bytes of a file, changed, with checksums that fit.
//! 7. [`hdf5`]: the same by an HDF5 reader that knows nothing of the format.
//! 8. [`operation`]: every public operation as plain data.
//! 9. [`generate`]: random operations, for proptest and from a fuzzer's bytes.
//! 10. [`driver`]: runs operations on a store and the model, answer by answer.
//! 11. [`history`]: short histories whose every prefix is known, for crashes and failing disks.
//! 12. [`process`]: other processes, for locks and for dying.
//! 13. [`fuzz`]: the bodies of the fuzz targets, shared with the test that replays their corpora.
//! 14. [`openmetrics`]: a strict reader of exposed metrics.

pub mod content;
pub mod driver;
pub mod fixed;
pub mod forge;
pub mod fuzz;
pub mod generate;
pub mod hdf5;
pub mod history;
pub mod image;
pub mod model;
pub mod openmetrics;
pub mod operation;
pub mod process;
pub mod random;
pub mod scratch;

pub use model::Model;
pub use scratch::Scratch;
