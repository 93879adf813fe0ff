//! What was decided, and why.

use std::fmt;

use super::target::TunedSettings;

/// A setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Knob {
    /// [`TunedSettings::group_writes_max`].
    GroupWrites,
    /// [`TunedSettings::flush_interval`].
    FlushInterval,
    /// [`TunedSettings::checkpoint_permille`].
    Checkpoint,
}

/// A setting that changes: writes, microseconds or thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// Which.
    pub knob: Knob,
    /// What it was.
    pub from: u64,
    /// What it is now.
    pub to: u64,
}

/// Whether tuning goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Breaker {
    /// It does.
    #[default]
    Closed,
    /// It was given up for a while, and the settings are the safe ones.
    Open,
    /// The safe settings are on trial: good windows close it, bad ones open it again for longer.
    HalfOpen,
}

/// Why a decision is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Too few writes came to tell anything.
    TooLittle,
    /// The target is met.
    OnTarget,
    /// The target is missed, but not for long enough to do something.
    MissedBriefly,
    /// The target has been missed for a while: a change, on trial.
    Missed,
    /// A change is on trial.
    OnTrial,
    /// The change on trial made things better, and stays.
    Kept,
    /// The change on trial did not make things better, and was taken back.
    TakenBack,
    /// The target is missed, and no change is left to try for now.
    NothingLeft,
    /// Much too bad for too long, or writes failed: the breaker opens.
    BreakerOpened,
    /// The breaker is open.
    BreakerOpen,
    /// The safe settings are on trial.
    BreakerTrial,
    /// The safe settings are good enough: tuning goes on.
    BreakerClosed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLittle => "too few writes to tell",
            Self::OnTarget => "on target",
            Self::MissedBriefly => "missed, but not for long",
            Self::Missed => "missed for a while: trying a change",
            Self::OnTrial => "a change is on trial",
            Self::Kept => "the change was better and stays",
            Self::TakenBack => "the change was no better and is taken back",
            Self::NothingLeft => "missed, and nothing left to try for now",
            Self::BreakerOpened => "much too bad for too long: safe settings",
            Self::BreakerOpen => "waiting with safe settings",
            Self::BreakerTrial => "safe settings on trial",
            Self::BreakerClosed => "safe settings are good enough: tuning again",
        })
    }
}

/// What [`Store::auto_tune`](crate::Store::auto_tune) decided about one window.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Decision {
    /// Which window, counted from 1.
    pub window: u64,
    /// Why.
    pub reason: Reason,
    /// What changed, if one setting did; the breaker sets all.
    pub change: Option<Change>,
    /// What was measured, as a part of the target: above 1 is worse than the target, for latency and rate alike; 0 if
    /// nothing was.
    pub miss: f64,
    /// The settings from here on.
    pub settings: TunedSettings,
    /// Whether tuning goes on.
    pub breaker: Breaker,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "window {}: {:.2} of the target, {}", self.window, self.miss, self.reason)?;
        if let Some(Change { knob, from, to }) = self.change {
            write!(f, "; {knob:?} {from} -> {to}")?;
        }
        Ok(())
    }
}
