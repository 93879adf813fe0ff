//! Proves that the harness can fail: this target must, within seconds.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cidstore_testkit::fuzz::canary(bytes));
