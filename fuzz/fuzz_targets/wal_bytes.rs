//! Logs of unknown origin; must never fail.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cidstore_testkit::fuzz::wal_bytes(bytes));
