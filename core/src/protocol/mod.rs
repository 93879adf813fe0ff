//! The lock-free page protocol: what a single writer may store to a page that readers are reading, and
//! what a reader may conclude from what it loads. Rules R1..R7 and V1..V5 of `docs/design.md`.

pub mod word;

pub mod run;

pub mod extent;
pub mod inner;
pub mod leaf;
