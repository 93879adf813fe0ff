//! The command, run as a user runs it: one process a call, its output and its exit code.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod commands;
mod endings;
mod exchange;
mod figures;
mod harness;
mod load;
mod serving;
