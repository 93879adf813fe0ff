//! Metrics: each moves when its event comes and at no other time; the text is what a scraper expects.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod counts;
mod http;
mod ops;
mod promtool;
mod text;
