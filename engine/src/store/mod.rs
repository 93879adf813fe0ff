//! The store: parts put together, operations from the first call to the answer.
//!
//! In reading order: [`turns`] says which thread leads, [`engine`] holds the parts, [`commit`] lets many threads write
//! through one leader, who waits in `gathering` for others; `group` takes what others have gathered, and `room` makes sure
//! of space before anything is promised, which `provisioning` has got ready; `interlude` keeps others away from a transaction
//! that waits for it. [`feeds`] knows who reads the log,
//! [`checkpointing`] runs checkpoints beside writers, [`background`] is the store's own threads, [`open`] creates, opens
//! and recovers, where `filling` fills the live tables and `mending` reads those that are damaged. [`scrubbing`] finds
//! damaged pages, `evidence` judges what they were and `repairing` puts them right, [`tidying`] has the pieces of
//! maintenance, [`upkeep`] takes them bit by bit.

pub(crate) mod background;
pub(crate) mod checkpointing;
pub(crate) mod closing;
pub(crate) mod commit;
pub(crate) mod create;
pub(crate) mod engine;
mod evidence;
pub(crate) mod feeds;
mod filling;
#[cfg(test)]
mod fork_tests;
mod gathering;
mod group;
pub(crate) mod interlude;
mod mending;
#[cfg(test)]
mod mending_tests;
pub(crate) mod open;
mod provisioning;
#[cfg(test)]
mod provisioning_tests;
mod repairing;
#[cfg(test)]
mod repairing_tests;
mod room;
pub(crate) mod scrubbing;
pub(crate) mod shrinking;
#[cfg(test)]
mod shrinking_tests;
#[cfg(test)]
mod spreading_tests;
pub(crate) mod tidying;
pub(crate) mod tuned;
pub(crate) mod turns;
pub(crate) mod upkeep;
#[cfg(test)]
mod upkeep_tests;
