//! Following a target: how large groups may be, how long the log may wait for its sync, when a checkpoint is due.
//!
//! [`Controller`] is told what happened in a window of time and answers with a [`Decision`]: settings and the reason for
//! them. It holds no clock and no lock. `store::tuned` keeps one and applies what it decides; why it decides so:
//! docs/tuning.md.

mod controller;
mod decision;
mod target;
#[cfg(test)]
mod tests;

pub(crate) use controller::Controller;
pub use decision::{Breaker, Change, Decision, Knob, Reason};
pub use target::{TunedSettings, Tuning, TuningStats};
