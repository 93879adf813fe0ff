//! [`Controller`]: windows in, decisions out.
//!
//! It knows no model of the machine. When the target has been missed for several windows it changes one setting, the most likely
//! one first, and looks at the next few windows: what made things better stays, what did not is taken back and not
//! tried again for a while. A setting changes by half or double, so a change shows beside the noise, or not at all.

use super::decision::{Breaker, Change, Decision, Knob, Reason};
use super::target::{TunedSettings, Tuning};
use crate::metrics::Metrics;

/// Fewer writes than this in a window tell nothing.
const COMMITS_MIN: u64 = 50;
/// A miss by less than this part is none: two windows of the same load differ by more.
const TOLERANCE: f64 = 0.10;
/// Windows in a row that must miss before something is changed.
const MISSES: u32 = 3;
/// Windows that a change is on trial; the first is not counted, half of it was before the change.
const TRIAL: u32 = 4;
/// A change stays if it makes the miss smaller by this part.
const GAIN: f64 = 0.05;
/// Windows during which a change that did not help is not tried again.
const BARRED: u64 = 60;
/// A checkpoint this many windows ago may still be why writes wait: its pages are written back for a while.
const CHECKPOINT_RECENT: u64 = 30;
/// A miss by this factor is much too bad.
const FAR: f64 = 4.0;
/// Windows in a row that must be much too bad for the breaker to open.
const FAR_WINDOWS: u32 = 6;
/// Windows that the breaker stays open at first, and at most; each time in a row twice as long.
const OPEN_WINDOWS: u64 = 10;
const OPEN_WINDOWS_MAX: u64 = 320;
/// Good windows in a row that close it.
const GOOD_WINDOWS: u32 = 3;

/// A change that was made and not judged yet.
#[derive(Clone, Copy, Debug)]
struct Trial {
    change: Change,
    miss_before: f64,
    windows: u32,
    sum: f64,
}

/// Decides. The same windows always give the same decisions.
#[derive(Debug)]
pub(crate) struct Controller {
    target: Tuning,
    settings: TunedSettings,
    window: u64,
    misses: u32,
    miss_sum: f64,
    far: u32,
    trial: Option<Trial>,
    /// Window until which a step of a knob, down or up, is not tried.
    barred: [[u64; 2]; Knob::ALL.len()],
    /// Last window with a checkpoint in it; 0 before the first.
    checkpoint_window: u64,
    breaker: Breaker,
    open_until: u64,
    open_windows: u64,
    good: u32,
}

impl Controller {
    pub(crate) fn new(target: Tuning) -> Self {
        Self {
            target,
            settings: TunedSettings::SAFE,
            window: 0,
            misses: 0,
            miss_sum: 0.0,
            far: 0,
            trial: None,
            barred: [[0; 2]; Knob::ALL.len()],
            checkpoint_window: 0,
            breaker: Breaker::Closed,
            open_until: 0,
            open_windows: OPEN_WINDOWS,
            good: 0,
        }
    }

    /// The settings of now.
    pub(crate) fn settings(&self) -> TunedSettings {
        self.settings
    }

    /// What to do after a window.
    pub(crate) fn decide(&mut self, metrics: &Metrics) -> Decision {
        self.window += 1;
        if metrics.checkpoint_latency.count() > 0 {
            self.checkpoint_window = self.window;
        }
        let miss = self.miss(metrics);
        let trouble = metrics.commits_failed > 0 || metrics.checkpoints_failed > 0;
        let (reason, change) = match (self.breaker, miss) {
            (Breaker::Open, _) => self.while_open(),
            (_, _) if trouble => self.open_breaker(),
            (_, None) => (Reason::TooLittle, None),
            (Breaker::HalfOpen, Some(miss)) => self.half_open(miss),
            (Breaker::Closed, Some(miss)) => self.closed(miss, metrics),
        };
        Decision {
            window: self.window,
            reason,
            change,
            miss: miss.unwrap_or(0.0),
            settings: self.settings,
            breaker: self.breaker,
        }
    }

    /// What was measured as a part of the target, above 1 if it is missed; `None` if too little was.
    fn miss(&self, metrics: &Metrics) -> Option<f64> {
        if metrics.commits < COMMITS_MIN {
            return None;
        }
        match self.target {
            Tuning::P99(target) => {
                let latency = metrics.commit_latency_all();
                (latency.count() > 0)
                    .then(|| latency.latency(0.99).as_secs_f64() / target.as_secs_f64())
            }
            Tuning::OperationsPerSecond(target) => {
                let rate = metrics.operations_per_second();
                // Where one write a group is the rule nobody waits: there is no more to do.
                let is_wanted = metrics.group_sizes.mean() >= 1.5;
                (rate > 0.0)
                    .then(|| if is_wanted { target / rate } else { (target / rate).min(1.0) })
            }
        }
    }

    fn closed(&mut self, miss: f64, metrics: &Metrics) -> (Reason, Option<Change>) {
        self.far = if miss > FAR { self.far + 1 } else { 0 };
        if self.far >= FAR_WINDOWS {
            return self.open_breaker();
        }
        if let Some(trial) = self.trial {
            return self.judge(trial, miss);
        }
        if miss <= 1.0 + TOLERANCE {
            (self.misses, self.miss_sum) = (0, 0.0);
            return (Reason::OnTarget, None);
        }
        self.misses += 1;
        self.miss_sum += miss;
        if self.misses < MISSES {
            return (Reason::MissedBriefly, None);
        }
        let miss_before = self.miss_sum / f64::from(self.misses);
        (self.misses, self.miss_sum) = (0, 0.0);
        match self.try_a_change(metrics) {
            Some(change) => {
                self.trial = Some(Trial { change, miss_before, windows: 0, sum: 0.0 });
                (Reason::Missed, Some(change))
            }
            None => (Reason::NothingLeft, None),
        }
    }

    /// Makes the likeliest change that is not barred and not at its bound.
    fn try_a_change(&mut self, metrics: &Metrics) -> Option<Change> {
        for (knob, up) in self.candidates(metrics) {
            if self.barred[knob as usize][usize::from(up)] > self.window {
                continue;
            }
            let from = self.settings.get(knob);
            // Half of what is not reached would change nothing.
            let reached = if knob == Knob::FlushInterval { micros_of_sync(metrics) } else { from };
            if self.settings.set(knob, if up { from * 2 } else { from.min(reached) / 2 }) {
                return Some(Change { knob, from, to: self.settings.get(knob) });
            }
        }
        None
    }

    /// Changes in the order in which they are likely to help.
    fn candidates(&self, metrics: &Metrics) -> Vec<(Knob, bool)> {
        let group_max = u64::from(self.settings.group_writes_max);
        let groups_full = metrics.group_sizes.quantile(0.9) * 8 >= group_max * 7;
        let checkpoints =
            self.checkpoint_window > 0 && self.window - self.checkpoint_window < CHECKPOINT_RECENT;
        let intervals = metrics.commit_latency.interval.count() > 0;
        let mut order = Vec::new();
        if groups_full {
            // Some wait for more than one sync.
            order.push((Knob::GroupWrites, true));
        }
        if checkpoints {
            // Writes wait beside a checkpoint: for a rate fewer of them are better, for a latency shorter ones may be.
            let fewer = matches!(self.target, Tuning::OperationsPerSecond(_));
            order.push((Knob::Checkpoint, fewer));
            order.push((Knob::Checkpoint, !fewer));
        }
        if intervals {
            // Each sync of the log holds up those of others.
            order.push((Knob::FlushInterval, true));
            order.push((Knob::FlushInterval, false));
        }
        // The first of a group waits for all of it to be logged; a limit above all groups changes nothing.
        if metrics.group_sizes.quantile(0.99) * 2 > group_max {
            order.push((Knob::GroupWrites, false));
        }
        order
    }

    fn judge(&mut self, mut trial: Trial, miss: f64) -> (Reason, Option<Change>) {
        trial.windows += 1;
        if trial.windows > 1 {
            trial.sum += miss;
        }
        if trial.windows < TRIAL {
            self.trial = Some(trial);
            return (Reason::OnTrial, None);
        }
        self.trial = None;
        let Change { knob, from, to } = trial.change;
        let mean = trial.sum / f64::from(TRIAL - 1);
        if mean <= 1.0 + TOLERANCE || mean <= trial.miss_before * (1.0 - GAIN) {
            // The way back is known to be worse.
            self.barred[knob as usize][usize::from(to < from)] = self.window + BARRED;
            return (Reason::Kept, None);
        }
        self.settings.set(knob, from);
        self.barred[knob as usize][usize::from(to > from)] = self.window + BARRED;
        (Reason::TakenBack, Some(Change { knob, from: to, to: from }))
    }

    fn open_breaker(&mut self) -> (Reason, Option<Change>) {
        self.breaker = Breaker::Open;
        self.open_until = self.window + self.open_windows;
        self.open_windows = (self.open_windows * 2).min(OPEN_WINDOWS_MAX);
        self.settings = TunedSettings::SAFE;
        (self.trial, self.misses, self.miss_sum, self.far, self.good) = (None, 0, 0.0, 0, 0);
        (Reason::BreakerOpened, None)
    }

    fn while_open(&mut self) -> (Reason, Option<Change>) {
        if self.window < self.open_until {
            return (Reason::BreakerOpen, None);
        }
        self.breaker = Breaker::HalfOpen;
        (Reason::BreakerTrial, None)
    }

    fn half_open(&mut self, miss: f64) -> (Reason, Option<Change>) {
        if miss > FAR {
            return self.open_breaker();
        }
        self.good += 1;
        if self.good < GOOD_WINDOWS {
            return (Reason::BreakerTrial, None);
        }
        self.breaker = Breaker::Closed;
        self.open_windows = OPEN_WINDOWS;
        self.barred = [[0; 2]; Knob::ALL.len()];
        (Reason::BreakerClosed, None)
    }
}

/// Time from one sync of the log to the next.
fn micros_of_sync(metrics: &Metrics) -> u64 {
    let syncs = metrics.log_sync_latency.count().max(1);
    u64::try_from(metrics.window.as_micros()).unwrap_or(u64::MAX) / syncs
}
