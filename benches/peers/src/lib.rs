//! The harness that puts CIDStore beside others: the same pairs, the same checks, the same run.
//!
//! [`run::compare`] takes each [`peer::Peer`] through the [`workload`]s by name. Every answer is checked; a peer that
//! answers wrongly has no figures. What is measured, on what and with which settings goes into a [`report::Record`]; [`plot`] draws
//! the pictures of the documentation from the records that are [`kept`].
//!
//! Reading order: [`pairs`], [`sets`], [`peer`], [`peers`], [`statistics`], [`machine`], [`floor`], [`workload`], [`crash`], [`seat`],
//! [`settings`], [`report`], [`run`], with its parts `many` (stores of sets) and `besides` (reads beside a writer), [`plot`], [`kept`].

mod besides;
pub mod crash;
pub mod floor;
pub mod kept;
pub mod machine;
mod many;
pub mod pairs;
pub mod peer;
pub mod peers;
pub mod plot;
pub mod report;
pub mod run;
pub mod seat;
pub mod sets;
pub mod settings;
pub mod statistics;
pub mod workload;

/// Why a comparison ended early: only ever shown to a person.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Result of this package.
pub type Result<T> = std::result::Result<T, Error>;
