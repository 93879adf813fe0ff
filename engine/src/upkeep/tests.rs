//! The scheduler and its parts against a clock that the tests turn.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use cidstore_core::E;
use cidstore_core::hash::KeyHash;

use super::budget::Budget;
use super::danger::{Activity, danger};
use super::scheduler::QUEUE_MAX;
use super::*;

const MS: Duration = Duration::from_millis(1);

fn random(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

/// Whatever the steps cost: in each stretch of time the work is at most the rate, a burst and a step; and in the long
/// run nearly the whole rate is used.
#[test]
fn work_stays_within_the_budget_in_each_stretch_of_time() {
    let config =
        Maintenance { cpu_percent: 7, bytes_per_second: 1 << 20, ..Maintenance::default() };
    for (costs_us, costs_bytes) in [(400, 1), (1, 40_000), (120, 3000)] {
        let mut state = 5;
        let (mut now, mut steps) = (Duration::ZERO, Vec::new());
        let mut budget = Budget::new(&config, now);
        while steps.len() < 3000 {
            let rest = budget.rest(now);
            if rest > Duration::ZERO {
                // The thread may oversleep.
                now += rest + Duration::from_micros(random(&mut state, 300));
                continue;
            }
            let busy = Duration::from_micros(random(&mut state, costs_us) + 1);
            let bytes = random(&mut state, costs_bytes) + 1;
            steps.push((now, busy, bytes));
            now += busy;
            budget.charge(now, busy, bytes);
        }
        let largest = (Duration::from_micros(costs_us), costs_bytes);
        for start in (0..steps.len()).step_by(17) {
            let (mut busy, mut bytes) = (Duration::ZERO, 0);
            for &(at, step_busy, step_bytes) in steps.iter().skip(start).take(600) {
                busy += step_busy;
                bytes += step_bytes;
                let stretch = at + step_busy - steps[start].0;
                // A burst may begin with as much debt as a burst less a step leaves.
                let busy_max = stretch * 7 / 100 + 2 * MS + largest.0;
                assert!(busy <= busy_max, "{busy:?} of {stretch:?}");
                let bytes_max = stretch.as_secs_f64() * 1_048_576.0 + 131_072.0;
                assert!(bytes as f64 <= bytes_max + largest.1 as f64, "{bytes} in {stretch:?}");
            }
        }
        let busy: Duration = steps.iter().map(|step| step.1).sum();
        let bytes: u64 = steps.iter().map(|step| step.2).sum();
        let used = (busy.as_secs_f64() / now.as_secs_f64() / 0.07)
            .max(bytes as f64 / now.as_secs_f64() / 1_048_576.0);
        assert!((0.85..1.01).contains(&used), "{used} of the budget was used");
    }
}

#[test]
fn danger_grows_with_each_of_its_parts() {
    let hour = Duration::from_secs(3600);
    assert_eq!(danger(0, 0, Duration::ZERO), 0);
    assert_eq!(danger(1000, 1 << 40, hour * 9), 1000);
    assert!(danger(300, 10, hour / 2) < danger(400, 10, hour / 2));
    assert!(danger(300, 10, hour / 2) < danger(300, 90, hour / 2));
    assert!(danger(300, 10, hour / 2) < danger(300, 10, hour));
    // Complete disorder outweighs any one of the others.
    assert!(danger(1000, 0, Duration::ZERO) > danger(0, 1 << 40, Duration::ZERO));
}

#[test]
fn records_are_counted_by_bucket() {
    let activity = Activity::default();
    for hash in 0..(1_u64 << 15) {
        if hash & 0b111 == 0b101 {
            activity.note(KeyHash(hash));
        }
    }
    assert_eq!(activity.of(0b101, 3), 1 << 12);
    assert_eq!(activity.of(0b01, 2), 1 << 12);
    assert_eq!(activity.of(0b011, 3), 0);
    assert_eq!(activity.of(0, 0), 1 << 12);
    // Deeper than the counters: about its part of what it shares.
    assert_eq!(activity.of(0b1000_0000_0101, 13), 4);
    activity.reset();
    assert_eq!(activity.of(0, 0), 0);
}

/// A store of `buckets` buckets, some of which need sorting, as far as a scheduler can see.
struct Sketch {
    scheduler: Scheduler,
    now: Duration,
    load: Load,
    untidy: Vec<(u64, u64)>,
    done: Vec<u64>,
    surveys: u64,
}

impl Sketch {
    fn new(config: Maintenance, untidy: Vec<(u64, u64)>) -> Self {
        let scheduler = Scheduler::new(config, Duration::ZERO, 0);
        let load = Load::default();
        Self { scheduler, now: Duration::ZERO, load, untidy, done: Vec::new(), surveys: 0 }
    }

    /// Takes turns for a while; answers how many steps were taken.
    fn run(&mut self, time: Duration) -> u64 {
        let (end, mut steps) = (self.now + time, 0);
        while self.now < end {
            let step = match self.scheduler.next(self.now, self.load) {
                Next::Rest(rest) => {
                    assert!(rest > Duration::ZERO, "a rest of nothing is no rest");
                    // A bell may wake the thread early.
                    self.now += rest.min(end - self.now);
                    continue;
                }
                Next::Run(step) => step,
            };
            steps += 1;
            self.now += Duration::from_micros(50);
            let outcome = self.carry_out(step);
            self.scheduler.done(self.now, Duration::from_micros(50), 4096, outcome);
        }
        steps
    }

    fn carry_out(&mut self, step: Step) -> Outcome {
        match step {
            Step::Survey { .. } => {
                self.surveys += 1;
                let found = self.untidy.iter().map(|&(position, disorder)| Candidate {
                    position,
                    chore: Chore::Sort,
                    disorder,
                    records_pending: 0,
                });
                Outcome::Surveyed { next: None, found: found.collect() }
            }
            Step::Tidy { position, chore: Chore::Set(key, from) } => {
                self.done.push(position);
                let rest = (from < E::from(3)).then(|| Chore::Set(key, E::new(0, from.low + 1)));
                Outcome::Tidied { changed: true, rest }
            }
            Step::Tidy { position, .. } => {
                self.done.push(position);
                self.untidy.retain(|&(at, _)| at != position);
                Outcome::Tidied { changed: true, rest: None }
            }
            Step::Discover { .. } => Outcome::Discovered { next: None },
            Step::Empty { .. } => Outcome::Emptied { moved: 0, next: None },
            Step::Collect => Outcome::Collected,
            Step::Shrink(_) => Outcome::Shrunk { changed: false, next: None },
            Step::Scrub(_) => Outcome::Scrubbed { next: None },
        }
    }
}

#[test]
fn the_most_dangerous_bucket_comes_first() {
    let untidy: Vec<(u64, u64)> = (0..200).map(|at| (at, at * 7 % 200 * 5)).collect();
    let mut sketch = Sketch::new(Maintenance::default(), untidy.clone());
    sketch.run(Duration::from_secs(60));
    let disorder: Vec<u64> = sketch.done.iter().map(|&at| untidy[at as usize].1).collect();
    assert_eq!(disorder.len(), 200);
    // Two steps of disorder may score the same.
    assert!(disorder.is_sorted_by(|one, two| one + 2 > *two), "{disorder:?}");
}

#[test]
fn chores_beyond_the_queue_are_left_to_the_next_round() {
    let untidy = (0..2 * QUEUE_MAX as u64).map(|at| (at, at % 1000)).collect();
    let mut sketch = Sketch::new(Maintenance::default(), untidy);
    sketch.run(Duration::from_secs(300));
    assert!(sketch.untidy.is_empty());
    assert!(sketch.surveys >= 2);
}

#[test]
fn a_long_chore_goes_on_where_it_stopped() {
    let mut sketch = Sketch::new(Maintenance::default(), Vec::new());
    sketch.now = Duration::from_secs(10);
    let load = sketch.load;
    assert_eq!(sketch.scheduler.next(sketch.now, load), Next::Run(Step::Survey { from: 0 }));
    let set = Candidate {
        position: 77,
        chore: Chore::Set(E::from(9), E::ZERO),
        disorder: 500,
        records_pending: 1,
    };
    let outcome = Outcome::Surveyed { next: None, found: vec![set] };
    sketch.scheduler.done(sketch.now, MS / 10, 0, outcome);
    sketch.run(Duration::from_secs(5));
    assert_eq!(sketch.done, [77; 4]);
}

#[test]
fn load_stops_it_and_quiet_lets_it_go_on() {
    let untidy = (0..100_000).map(|at| (at, 500)).collect();
    let mut sketch = Sketch::new(Maintenance::default(), untidy);
    let quiet = Maintenance::default().quiet;
    assert_eq!(sketch.run(quiet - MS), 0, "opening counts as load");
    assert!(sketch.run(Duration::from_secs(5)) > 100);
    // Somebody waits to write.
    sketch.load.waiting = true;
    sketch.run(MS * 200);
    assert_eq!(sketch.run(Duration::from_secs(60)), 0);
    sketch.load.waiting = false;
    assert_eq!(sketch.run(quiet - MS * 300), 0, "not before there has been quiet for a while");
    assert!(sketch.run(Duration::from_secs(5)) > 100);
    // More records than are allowed a second.
    let mut steps = 0;
    for at in 0..600 {
        sketch.load.lsn += 20;
        let taken = sketch.run(MS * 10);
        // The first of them are not many yet.
        steps += if at >= 10 { taken } else { 0 };
    }
    assert_eq!(steps, 0);
    // Few records are no load.
    sketch.run(quiet * 2);
    let mut steps = 0;
    for _ in 0..50 {
        sketch.load.lsn += 10;
        steps += sketch.run(MS * 100);
    }
    assert!(steps > 100, "{steps}");
}

#[test]
fn a_tidy_store_is_not_looked_at_again_before_it_changes() {
    let config = Maintenance { scrub: false, ..Maintenance::default() };
    let mut sketch = Sketch::new(config, vec![(1, 900)]);
    sketch.run(Duration::from_secs(300));
    assert_eq!((sketch.surveys, sketch.done.len()), (2, 1), "one round more after a change");
    sketch.load.lsn += 1;
    sketch.run(Duration::from_secs(300));
    assert_eq!(sketch.surveys, 3);
}

#[test]
fn what_is_switched_off_is_not_done() {
    let off = Maintenance::off();
    assert!(off.is_off());
    let mut sketch = Sketch::new(off, vec![(1, 900)]);
    assert_eq!(sketch.run(Duration::from_secs(100)), sketch.surveys);
    assert!(sketch.done.is_empty());
    let mut sketch = Sketch::new(Maintenance { scrub: true, ..off }, vec![(1, 900)]);
    assert_eq!(sketch.run(Duration::from_secs(3600)), 1, "one scrub a day");
    assert_eq!(sketch.surveys, 0);
    assert!(!Maintenance { collect: true, ..off }.is_off());
}

#[test]
fn an_error_is_followed_by_a_long_rest() {
    let mut sketch = Sketch::new(Maintenance::default(), vec![(1, 900)]);
    sketch.now = Duration::from_secs(10);
    let load = sketch.load;
    assert!(matches!(sketch.scheduler.next(sketch.now, load), Next::Run(_)));
    sketch.scheduler.failed(sketch.now, MS);
    assert_eq!(sketch.run(Duration::from_secs(29)), 0);
    assert!(sketch.run(Duration::from_secs(60)) > 0);
}

#[test]
fn figures_out_of_range_are_refused() {
    let bad = [
        Maintenance { cpu_percent: 0, ..Maintenance::default() },
        Maintenance { cpu_percent: 101, ..Maintenance::default() },
        Maintenance { bytes_per_second: 1000, ..Maintenance::default() },
    ];
    for config in bad {
        let error = crate::Store::options().maintenance(config).open("/nonexistent/a.h5");
        assert!(matches!(error, Err(crate::Error::InvalidOption { option: "maintenance", .. })));
    }
}
