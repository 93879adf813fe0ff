//! The asynchronous face: what each method answers, under each executor, with tasks that come, go and fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test reports"
)]

mod harness;

mod cancel;
mod close;
mod faults;
mod feed;
mod here;
mod methods;
mod model;
mod nested;
mod queue;
mod runtimes;
mod streams;
