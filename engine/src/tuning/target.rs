//! What is wanted, and what may be set for it.

use std::time::Duration;

use super::decision::Knob;
use crate::error::{Error, Result};

/// What [`Store::auto_tune`](crate::Store::auto_tune) follows. Set with
/// [`OpenOptions::tuning`](crate::OpenOptions::tuning).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Tuning {
    /// Of 100 writes 99 are to be answered within this time.
    P99(Duration),
    /// So many operations a second are to be reached while there is that much to do.
    OperationsPerSecond(f64),
}

impl Default for Tuning {
    /// 99 of 100 writes within ten milliseconds.
    fn default() -> Self {
        Self::P99(Duration::from_millis(10))
    }
}

impl Tuning {
    /// Checks the target against its range.
    pub(crate) fn check(self) -> Result<()> {
        let sound = match self {
            Self::P99(latency) => latency > Duration::ZERO,
            Self::OperationsPerSecond(rate) => rate.is_finite() && rate > 0.0,
        };
        let detail = || format!("{self:?} is no target above zero");
        if sound {
            Ok(())
        } else {
            Err(Error::InvalidOption { option: "tuning", detail: detail() })
        }
    }
}

/// What auto-tuning sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TunedSettings {
    /// Most writes that are logged, and where needed synced, together: 16 to 8,192.
    pub group_writes_max: u32,
    /// Longest time that an `Interval` write waits for its sync: 1 ms to 1 s. What the write asks for is kept if it is
    /// shorter.
    pub flush_interval: Duration,
    /// Part of the log that makes a checkpoint due, and of the memory for changed pages, in thousandths: 30 to 750.
    pub checkpoint_permille: u32,
}

/// What auto-tuning has come to: part of [`Stats`](crate::Stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TuningStats {
    /// The settings of now.
    pub settings: TunedSettings,
    /// Windows that were judged since the store was opened.
    pub decisions: u64,
    /// True while tuning was given up for a while, with safe settings.
    pub breaker_open: bool,
}

impl Default for TunedSettings {
    /// What a store has that was never tuned.
    fn default() -> Self {
        Self::SAFE
    }
}

impl TunedSettings {
    /// What a store has that was never tuned, and what the breaker falls back to.
    pub(crate) const SAFE: Self = Self {
        group_writes_max: 1024,
        flush_interval: Duration::from_secs(1),
        checkpoint_permille: 500,
    };

    /// One setting as a number, for stepping: writes, microseconds, thousandths.
    pub(super) fn get(&self, knob: Knob) -> u64 {
        match knob {
            Knob::GroupWrites => u64::from(self.group_writes_max),
            Knob::FlushInterval => self.flush_interval.as_micros() as u64,
            Knob::Checkpoint => u64::from(self.checkpoint_permille),
        }
    }

    /// Sets one, within its bounds. False if nothing changed.
    pub(super) fn set(&mut self, knob: Knob, value: u64) -> bool {
        let (least, most) = knob.bounds();
        let value = value.clamp(least, most);
        let changed = value != self.get(knob);
        match knob {
            Knob::GroupWrites => self.group_writes_max = value as u32,
            Knob::FlushInterval => self.flush_interval = Duration::from_micros(value),
            Knob::Checkpoint => self.checkpoint_permille = value as u32,
        }
        changed
    }
}

impl Knob {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::GroupWrites, Self::FlushInterval, Self::Checkpoint];

    /// Least and most: writes, microseconds, thousandths. Beyond them lies what no measurement asked for: groups without
    /// others to share a sync, syncs back to back, a log that is full before its checkpoint ends.
    pub(super) fn bounds(self) -> (u64, u64) {
        match self {
            Self::GroupWrites => (16, 8192),
            Self::FlushInterval => (1000, 1_000_000),
            Self::Checkpoint => (30, 750),
        }
    }
}
