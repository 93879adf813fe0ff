//! The bodies of the fuzz targets. Each takes a fuzzer's bytes and panics if the store does something wrong;
//! `fuzz/` feeds them from libFuzzer, and `tests/fuzz_corpus.rs` from the corpora that are checked in.
