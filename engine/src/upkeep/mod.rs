//! What background maintenance does when: decisions without a thread, a clock or a file.
//!
//! [`Scheduler`] is told the time, the load, and what the last step found, and answers with the next [`Step`] or
//! with how long to rest. `store::upkeep` carries the steps out; `store::background` has the thread. Why none of it
//! delays a reader: docs/maintenance.md.

mod budget;
mod config;
mod counters;
mod danger;
mod scheduler;
#[cfg(test)]
mod tests;

pub use config::Maintenance;
pub use counters::MaintenanceStats;
pub(crate) use counters::UpkeepCounters;
pub(crate) use counters::add;
pub(crate) use danger::Activity;
pub(crate) use scheduler::{
    Candidate, Chore, Load, Next, Outcome, Scheduler, ScrubPlace, ShrinkStage, Step,
};
