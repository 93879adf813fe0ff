//! The controller against a simulated store, whose latency and rate follow from its load and settings by a formula.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use super::controller::Controller;
use super::target::{TunedSettings, Tuning};
use super::*;
use crate::metrics::{Histogram, Metrics, Scale};

/// A disk that takes 10 ms for a sync, a checkpoint that holds writes up the more the more it brings down at once, and
/// costs something each time.
struct Plant {
    /// Writes a second that callers want to make.
    load: f64,
    noise: u64,
}

const SYNC_MS: f64 = 10.0;

impl Plant {
    fn new(load: f64) -> Self {
        Self { load, noise: 7 }
    }

    /// p99 in milliseconds, and operations a second.
    fn behaves(&self, settings: &TunedSettings) -> (f64, f64) {
        let group_max = f64::from(settings.group_writes_max);
        // Writes that come during one sync; those beyond a group wait for the next.
        let wanted = self.load * SYNC_MS / 1000.0;
        let syncs = (wanted / group_max).max(1.0);
        let part = f64::from(settings.checkpoint_permille) / 1000.0;
        let stall = 40.0 * part + 0.4 / part;
        let rate = self.load.min(group_max * 1000.0 / SYNC_MS);
        (SYNC_MS * syncs + stall, rate)
    }

    fn window(&mut self, settings: &TunedSettings) -> Metrics {
        let (p99, rate) = self.behaves(settings);
        // 4 % of noise to either side.
        self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
        let noise = 0.96 + (self.noise >> 40) as f64 / (1 << 24) as f64 * 0.08;
        let mut metrics = Metrics { window: Duration::from_secs(1), ..Metrics::default() };
        let mut latency = Histogram::new(Scale::Nanoseconds);
        (0..1000).for_each(|_| latency.record((p99 * noise * 1e6) as u64));
        metrics.commit_latency.immediate = latency;
        let group = (self.load * SYNC_MS / 1000.0).min(f64::from(settings.group_writes_max));
        let mut groups = Histogram::new(Scale::Count);
        (0..100).for_each(|_| groups.record(group.max(1.0) as u64));
        metrics.group_sizes = groups;
        metrics.checkpoint_latency.record(50_000_000);
        metrics.commits = rate as u64;
        metrics.operations.inserts = (rate * noise) as u64;
        metrics
    }
}

fn run(
    controller: &mut Controller,
    plant: &mut Plant,
    windows: u64,
    mut load: impl FnMut(u64) -> f64,
) -> Vec<Decision> {
    let run = (0..windows).map(|window| {
        plant.load = load(window);
        let before = controller.settings();
        let decision = controller.decide(&plant.window(&before));
        for knob in Knob::ALL {
            let (least, most) = knob.bounds();
            let value = decision.settings.get(knob);
            assert!((least..=most).contains(&value), "{knob:?} {value}");
        }
        decision
    });
    run.collect()
}

fn changes(decisions: &[Decision]) -> usize {
    decisions.iter().filter(|decision| decision.change.is_some()).count()
}

/// The first window from which on the target is met to the end.
fn settled(decisions: &[Decision]) -> usize {
    decisions.iter().rposition(|decision| decision.miss > 1.15).map_or(0, |last| last + 1)
}

fn p99(ms: u64) -> Tuning {
    Tuning::P99(Duration::from_millis(ms))
}

#[test]
fn a_step_is_followed_and_then_left_alone() {
    let (mut controller, mut plant) = (Controller::new(p99(36)), Plant::new(1.0));
    let before = run(&mut controller, &mut plant, 20, |_| 20_000.0);
    assert_eq!(changes(&before), 0, "{before:#?}");
    // Four groups' worth of writes for each sync.
    let after = run(&mut controller, &mut plant, 120, |_| 400_000.0);
    assert!(after[0].miss > 1.5, "{:?}", after[0]);
    let settled = settled(&after);
    assert!((8..60).contains(&settled), "settled after {settled}");
    assert_eq!(changes(&after[settled + 4..]), 0, "left alone afterwards");
    assert!(controller.settings().group_writes_max > 1024);
    let kept = after.iter().filter(|decision| decision.reason == Reason::Kept).count();
    assert!(kept > 0);
}

/// Untuned, the same load would miss the target for ever.
#[test]
fn the_simulated_load_needs_tuning() {
    let plant = Plant::new(400_000.0);
    assert!(plant.behaves(&TunedSettings::SAFE).0 > 36.0 * 1.5);
}

#[test]
fn a_ramp_is_followed() {
    let (mut controller, mut plant) = (Controller::new(p99(40)), Plant::new(1.0));
    let up = |window: u64| 20_000.0 + 4000.0 * window.min(150) as f64;
    let decisions = run(&mut controller, &mut plant, 260, up);
    let settled = settled(&decisions);
    assert!(settled < 200, "settled after {settled}");
    let missed = decisions.iter().filter(|decision| decision.miss > 1.15).count();
    assert!(missed < 60, "missed {missed} windows of 260");
    assert!(plant.behaves(&TunedSettings::SAFE).0 > 60.0);
}

/// Load that goes up and down faster than the controller decides changes next to nothing; slower, and it settles on what
/// serves the high times and does no harm in the low ones.
#[test]
fn an_oscillating_load_makes_it_settle() {
    for period in [1, 2, 5, 20] {
        let (mut controller, mut plant) = (Controller::new(p99(36)), Plant::new(1.0));
        let wave =
            |window: u64| if (window / period).is_multiple_of(2) { 20_000.0 } else { 300_000.0 };
        let decisions = run(&mut controller, &mut plant, 600, wave);
        // Two misses in a row are none.
        let bound = if period <= 2 { 0 } else { 24 };
        let made = changes(&decisions);
        assert!(made <= bound, "period {period}: {made} changes");
        if period > 2 {
            let late = &decisions[400..];
            let missed = late.iter().filter(|decision| decision.miss > 1.15).count();
            assert!(missed * 20 <= late.len(), "period {period}: {missed} missed at the end");
            assert!(changes(late) <= 4, "period {period}: {} late changes", changes(late));
        }
        assert!(decisions.iter().all(|decision| decision.breaker == Breaker::Closed));
    }
}

/// A rate is followed too, and a store that nobody asks more of does not miss it.
#[test]
fn a_rate_is_followed_while_there_is_that_much_to_do() {
    let target = Tuning::OperationsPerSecond(300_000.0);
    let (mut controller, mut plant) = (Controller::new(target), Plant::new(1.0));
    let idle = run(&mut controller, &mut plant, 50, |_| 100.0);
    assert_eq!(changes(&idle), 0);
    let busy = run(&mut controller, &mut plant, 80, |_| 500_000.0);
    assert!(busy[0].miss > 2.0 && settled(&busy) < 50, "{}", settled(&busy));
    assert!(plant.behaves(&controller.settings()).1 >= 300_000.0);
}

#[test]
fn the_breaker_opens_and_closes_again() {
    let (mut controller, mut plant) = (Controller::new(p99(36)), Plant::new(1.0));
    run(&mut controller, &mut plant, 60, |_| 300_000.0);
    assert_ne!(controller.settings(), TunedSettings::SAFE);
    // Nothing that can be set helps against this.
    let storm = run(&mut controller, &mut plant, 60, |_| 1e9);
    let opened = storm.iter().filter(|decision| decision.reason == Reason::BreakerOpened).count();
    let first = storm.iter().position(|decision| decision.breaker == Breaker::Open).unwrap();
    assert!(first <= 10, "opened at {first}");
    assert_eq!(storm[first].settings, TunedSettings::SAFE);
    assert!((2..=4).contains(&opened), "each time for longer: {opened}");
    assert!(storm[first..].iter().all(|decision| decision.settings == TunedSettings::SAFE));
    let calm = run(&mut controller, &mut plant, 120, |_| 20_000.0);
    assert!(calm.iter().any(|decision| decision.reason == Reason::BreakerClosed));
    assert_eq!(calm.last().unwrap().breaker, Breaker::Closed);
    // And it tunes again.
    let after = run(&mut controller, &mut plant, 100, |_| 300_000.0);
    assert!(settled(&after) < 60, "{}", settled(&after));
}

#[test]
fn failed_writes_open_the_breaker_at_once() {
    let (mut controller, mut plant) = (Controller::new(p99(36)), Plant::new(20_000.0));
    let mut window = plant.window(&controller.settings());
    window.commits_failed = 1;
    assert_eq!(controller.decide(&window).reason, Reason::BreakerOpened);
}

#[test]
fn too_few_writes_tell_nothing() {
    let mut controller = Controller::new(p99(1));
    let mut plant = Plant::new(49.0);
    for _ in 0..20 {
        let decision = controller.decide(&plant.window(&TunedSettings::SAFE));
        assert_eq!((decision.reason, decision.change), (Reason::TooLittle, None));
    }
    let bad = [Tuning::P99(Duration::ZERO), Tuning::OperationsPerSecond(f64::NAN)];
    for target in bad {
        let opened = crate::Store::options().tuning(target).open("/nonexistent/a.h5");
        assert!(matches!(opened, Err(crate::Error::InvalidOption { option: "tuning", .. })));
    }
}

/// On a real store: what is decided is what commits go by, and it is kept to look at.
#[test]
fn a_store_goes_by_what_was_decided() {
    let folder = tempfile::tempdir().unwrap();
    let target = p99(36);
    let store = crate::Store::options().tuning(target).open(folder.path().join("a.h5")).unwrap();
    let mut plant = Plant::new(400_000.0);
    assert_eq!(store.tuned_settings(), TunedSettings::SAFE);
    for _ in 0..3 {
        store.auto_tune(&plant.window(&store.tuned_settings())).unwrap();
    }
    let settings = store.tuned_settings();
    assert_eq!(settings.group_writes_max, 2048);
    assert_eq!(store.engine().tuned.group_writes_max(), 2048);
    let decisions = store.tuning_decisions();
    let last = decisions.iter().rfind(|decision| decision.change.is_some()).unwrap();
    let change = Change { knob: Knob::GroupWrites, from: 1024, to: 2048 };
    assert_eq!((last.reason, last.change), (Reason::Missed, Some(change)));
    let mut text = Vec::new();
    store.debug_dump(&mut text).unwrap();
    assert!(String::from_utf8(text).unwrap().contains("GroupWrites 1024 -> 2048"));
    store.close().unwrap();
    let closed = store.auto_tune(&Metrics::default());
    assert!(matches!(closed, Err(crate::Error::Closed)));
}
