//! Settings that change while the store runs, who changes them, and what was decided when.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::engine::Engine;
use crate::inspect::Stats;
use crate::metrics::{Histogram, LogEvents, Metrics};
use crate::sync::whole::Mutex;
use crate::tuning::{Breaker, Controller, Decision, Reason, TunedSettings, Tuning, TuningStats};
use crate::wal::Appender;

/// Decisions that are kept to look at.
const DECISIONS_KEPT: usize = 64;

/// What commits and checkpoints go by, and the controller that sets it.
#[derive(Debug)]
pub(crate) struct Tuned {
    group_writes_max: AtomicU32,
    /// `u64::MAX` until something was decided: what the write asks for is all that counts.
    flush_micros: AtomicU64,
    checkpoint_permille: AtomicU32,
    tuner: Mutex<Tuner>,
}

#[derive(Debug)]
struct Tuner {
    controller: Controller,
    /// All but the windows in which nothing happened.
    history: VecDeque<Decision>,
}

impl Tuned {
    pub(crate) fn new(target: Tuning) -> Self {
        let controller = Controller::new(target);
        let safe = controller.settings();
        Self {
            group_writes_max: AtomicU32::new(safe.group_writes_max),
            flush_micros: AtomicU64::new(u64::MAX),
            checkpoint_permille: AtomicU32::new(safe.checkpoint_permille),
            tuner: Mutex::new(Tuner { controller, history: VecDeque::new() }),
        }
    }

    // Relaxed, in all of them: limits without a bond to other memory, and a group or two by the old ones do no harm.

    /// Most writes that one group takes.
    pub(crate) fn group_writes_max(&self) -> usize {
        self.group_writes_max.load(Ordering::Relaxed) as usize
    }

    /// When the log is synced for a write that asked for this interval.
    pub(crate) fn flush_within(&self, asked: Duration) -> Duration {
        asked.min(Duration::from_micros(self.flush_micros.load(Ordering::Relaxed)))
    }

    /// Part of `whole` that makes a checkpoint due.
    pub(crate) fn checkpoint_part(&self, whole: u64) -> u64 {
        let permille = u64::from(self.checkpoint_permille.load(Ordering::Relaxed));
        (u128::from(whole) * u128::from(permille) / 1000) as u64
    }

    fn apply(&self, settings: &TunedSettings) {
        let flush = u64::try_from(settings.flush_interval.as_micros()).unwrap_or(u64::MAX);
        self.group_writes_max.store(settings.group_writes_max, Ordering::Relaxed);
        self.flush_micros.store(flush, Ordering::Relaxed);
        self.checkpoint_permille.store(settings.checkpoint_permille, Ordering::Relaxed);
    }

    /// Decides about a window and applies what was decided.
    pub(crate) fn decide(&self, window: &Metrics) -> Decision {
        let mut tuner = self.tuner.lock().unwrap_or_else(PoisonError::into_inner);
        let before = tuner.controller.settings();
        let decision = tuner.controller.decide(window);
        if decision.settings != before {
            self.apply(&decision.settings);
        }
        match decision.reason {
            Reason::BreakerOpened => tracing::warn!(%decision, "auto-tuning"),
            _ if decision.change.is_some() => tracing::info!(%decision, "auto-tuning"),
            _ => tracing::debug!(%decision, "auto-tuning"),
        }
        let is_dull = |reason| matches!(reason, Reason::TooLittle | Reason::OnTarget);
        let last = tuner.history.back().map(|last| last.reason);
        if !(is_dull(decision.reason) && last.is_some_and(is_dull)) {
            if tuner.history.len() == DECISIONS_KEPT {
                tuner.history.pop_front();
            }
            tuner.history.push_back(decision);
        }
        decision
    }

    /// The newest decisions, oldest first; in a row of windows with nothing to do only the first is kept.
    pub(crate) fn history(&self) -> Vec<Decision> {
        let tuner = self.tuner.lock().unwrap_or_else(PoisonError::into_inner);
        tuner.history.iter().copied().collect()
    }

    /// What was decided so far.
    pub(crate) fn stats(&self) -> TuningStats {
        let tuner = self.tuner.lock().unwrap_or_else(PoisonError::into_inner);
        let last = tuner.history.back();
        TuningStats {
            settings: tuner.controller.settings(),
            decisions: last.map_or(0, |last| last.window),
            breaker_open: last.is_some_and(|last| last.breaker == Breaker::Open),
        }
    }

    /// The settings of now, and whether the breaker is closed.
    pub(crate) fn state(&self) -> (TunedSettings, Breaker) {
        let tuner = self.tuner.lock().unwrap_or_else(PoisonError::into_inner);
        let last = tuner.history.back().map(|last| last.breaker);
        (tuner.controller.settings(), last.unwrap_or_default())
    }
}

impl Engine {
    /// How long the syncs of the log took so far.
    pub(crate) fn log_syncs(&self) -> Histogram {
        self.wal.as_ref().map_or_else(Histogram::default, |wal| wal.sync_latency.snapshot())
    }

    /// What happened since the store was opened, without how it stands: takes the writer lock for a copy of the log's
    /// own counts.
    pub(crate) fn events_so_far(&self) -> Metrics {
        let syncs = self.log_syncs();
        let counts = self.writer().log.as_ref().map_or((0, 0), Appender::counts);
        let log = LogEvents::new(counts, syncs);
        self.shared.events.snapshot(log, Stats::default())
    }
}
