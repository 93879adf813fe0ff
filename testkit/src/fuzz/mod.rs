//! The bodies of the fuzz targets. Each takes a fuzzer's bytes and panics if the store does something wrong;
//! `fuzz/` feeds them from libFuzzer, and `tests/fuzz_corpus.rs` from the corpora that are checked in.

pub mod edit;
mod file_bytes;
mod operations;
mod wal_bytes;

pub use file_bytes::file_bytes;
pub use operations::operations;
pub use wal_bytes::wal_bytes;

/// A body of a fuzz target.
pub type Target = fn(&[u8]);

/// The targets by name; the name is also that of the corpus' directory.
pub const TARGETS: [(&str, Target); 3] =
    [("operations", operations), ("file_bytes", file_bytes), ("wal_bytes", wal_bytes)];

/// The target that proves the others: it must fail. A harness that swallows panics, runs nothing or reads an
/// empty corpus is found by it.
///
/// # Panics
///
/// On input that begins with `bad`.
pub fn canary(bytes: &[u8]) {
    assert!(!bytes.starts_with(b"bad"), "the canary sings");
}
