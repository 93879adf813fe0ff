//! [`Scheduler`]: which step comes next, and when.
//!
//! Work goes in rounds. A round looks at all buckets without a lock ([`Step::Survey`]) and lists what is to be done by
//! danger, does it from the most dangerous on, then frees what was replaced and gives the file's end back. Between
//! rounds pages are compared with their checksums. A round after which nothing was written or changed is not repeated.

use std::collections::BTreeMap;
use std::time::Duration;

use cidstore_core::E;
use cidstore_core::layout::table::TableKind;

use super::budget::Budget;
use super::config::Maintenance;
use super::danger::{Visits, danger};

/// Chores that are listed at most; the least dangerous are left to the next round.
pub(crate) const QUEUE_MAX: usize = 4096;
/// Records are counted over at least this long.
const SAMPLE: Duration = Duration::from_millis(50);
/// How often the load is looked at while quiet is waited for.
const PAUSE_LOOKS: u32 = 8;
/// How long a step waits whose lock was taken.
const DEFERRED: Duration = Duration::from_millis(20);
/// How long to rest after an error, a full disk say.
const BACK_OFF: Duration = Duration::from_secs(30);

/// What the store is doing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    /// Last log record that is applied.
    pub(crate) lsn: u64,
    /// Somebody waits to write.
    pub(crate) waiting: bool,
}

/// Something to do about one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chore {
    /// Lay it out in hash order.
    Sort,
    /// Merge it with its buddy.
    Merge,
    /// Demote or compact the set of this key; of a large set the part that begins at the value.
    Set(E, E),
}

/// A chore that a survey found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Scan position of the bucket.
    pub(crate) position: u64,
    pub(crate) chore: Chore,
    /// Part of the bucket or set that is out of order or dead, in thousandths.
    pub(crate) disorder: u64,
    /// Log records of the bucket that no checkpoint has.
    pub(crate) records_pending: u64,
}

/// Where a scrub is: a table and a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScrubPlace {
    pub(crate) kind: TableKind,
    pub(crate) index: u32,
}

impl ScrubPlace {
    pub(crate) const START: Self = Self { kind: TableKind::Directory, index: 0 };
}

/// Where the shrinking of the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShrinkStage {
    /// Is it worth it?
    Check,
    /// Copy pages beyond their space's limit to memory, slot by slot.
    Move { from: ScrubPlace, limits: [u32; 2] },
    /// Let a checkpoint write them further in front.
    Checkpoint,
    /// Cut what is free then; so often it was tried in vain, because readers have yet to pass.
    Cut { tries: u32 },
}

/// One bounded piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Look at a few buckets from a scan position on.
    Survey {
        from: u64,
    },
    /// Do a chore.
    Tidy {
        position: u64,
        chore: Chore,
    },
    /// Learn which extents are free, from a logical page on.
    Discover {
        from: u32,
    },
    /// Move the sets out of one nearly empty page of extents, of a class, behind a page.
    Empty {
        class: usize,
        after: u32,
    },
    /// Free what was replaced.
    Collect,
    Shrink(ShrinkStage),
    Scrub(ScrubPlace),
}

/// What a step found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing was done: a lock was taken.
    Deferred,
    /// Where the survey goes on, and what is to be done.
    Surveyed {
        next: Option<u64>,
        found: Vec<Candidate>,
    },
    /// Whether something changed, and the rest of the chore.
    Tidied {
        changed: bool,
        rest: Option<Chore>,
    },
    Discovered {
        next: Option<u32>,
    },
    Emptied {
        moved: u64,
        next: Option<(usize, u32)>,
    },
    Collected,
    Shrunk {
        changed: bool,
        next: Option<ShrinkStage>,
    },
    Scrubbed {
        next: Option<ScrubPlace>,
    },
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing, for at most this long.
    Rest(Duration),
    Run(Step),
}

/// Decides. Times are those of any clock that does not go backwards.
#[derive(Debug)]
pub(crate) struct Scheduler {
    config: Maintenance,
    budget: Budget,
    visits: Visits,
    /// Chores of this round by danger, then position, then the order in which they were found.
    queue: BTreeMap<(u32, u64, u64), Chore>,
    found: u64,
    danger_last: u32,
    /// Next step of the round; `None` between rounds.
    round: Option<Step>,
    round_due: Duration,
    /// Last record when the round began; `None` before the first.
    round_lsn: Option<u64>,
    changed: bool,
    rounds: u64,
    extents_known: bool,
    scrub: ScrubPlace,
    scrub_due: Duration,
    /// When the load was looked at, and the last record then.
    sample: (Duration, u64),
    quiet_from: Duration,
    not_before: Duration,
}

impl Scheduler {
    /// Opening the store counts as load: the first step comes after a time of quiet.
    pub(crate) fn new(config: Maintenance, now: Duration, lsn: u64) -> Self {
        Self {
            budget: Budget::new(&config, now),
            visits: Visits::new(now),
            queue: BTreeMap::new(),
            found: 0,
            danger_last: 0,
            round: None,
            round_due: now,
            round_lsn: None,
            changed: false,
            rounds: 0,
            extents_known: false,
            scrub: ScrubPlace::START,
            scrub_due: now,
            sample: (now, lsn),
            quiet_from: now + config.quiet,
            not_before: now,
            config,
        }
    }

    /// True if load keeps it still.
    pub(crate) fn is_paused(&self, now: Duration) -> bool {
        now < self.quiet_from
    }

    /// Rounds that were finished.
    pub(crate) fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Chores that wait.
    pub(crate) fn queue_length(&self) -> usize {
        self.queue.len()
    }

    /// Danger of the chore that was handed out last.
    pub(crate) fn danger_last(&self) -> u32 {
        self.danger_last
    }

    /// The next step, or how long to rest: at most until the load should be looked at again.
    pub(crate) fn next(&mut self, now: Duration, load: Load) -> Next {
        self.note_load(now, load);
        let waits = [self.quiet_from, self.not_before].map(|until| until.saturating_sub(now));
        if self.is_paused(now) {
            // Looks again often, so that load which goes on is not taken for quiet.
            let look = (self.config.quiet / PAUSE_LOOKS).max(SAMPLE);
            return Next::Rest(waits[0].min(look));
        }
        let rest = waits[1].max(self.budget.rest(now));
        if rest > Duration::ZERO {
            return self.rest(rest);
        }
        if self.round.is_none() && now >= self.round_due {
            self.begin_round(now, load.lsn);
        }
        if let Some(step) = self.round {
            return Next::Run(step);
        }
        if self.config.scrub && now >= self.scrub_due {
            return Next::Run(Step::Scrub(self.scrub));
        }
        let due =
            if self.config.scrub { self.round_due.min(self.scrub_due) } else { self.round_due };
        self.rest(due.saturating_sub(now))
    }

    fn rest(&self, rest: Duration) -> Next {
        Next::Rest(rest.min(self.config.quiet.max(SAMPLE)))
    }

    fn note_load(&mut self, now: Duration, load: Load) {
        let (at, lsn) = self.sample;
        let passed = now.saturating_sub(at);
        let records = u128::from(load.lsn.saturating_sub(lsn)) * 1_000_000_000;
        let allowed =
            u128::from(self.config.busy_records_per_second) * passed.max(SAMPLE).as_nanos();
        if load.waiting || records > allowed {
            self.quiet_from = self.quiet_from.max(now + self.config.quiet);
        }
        if passed >= SAMPLE {
            self.sample = (now, load.lsn);
        }
    }

    /// Begins a round, unless the last one found a tidy store that nobody has written to since.
    fn begin_round(&mut self, now: Duration, lsn: u64) {
        if self.round_lsn == Some(lsn) && !self.changed {
            self.round_due = now + self.config.rest;
            return;
        }
        self.round_lsn = Some(lsn);
        self.changed = false;
        self.round = if self.config.surveys() {
            Some(Step::Survey { from: 0 })
        } else {
            self.after_chores(now)
        };
    }

    /// Notes what the step that [`next`](Self::next) gave has cost and found.
    pub(crate) fn done(&mut self, now: Duration, busy: Duration, bytes: u64, outcome: Outcome) {
        self.budget.charge(now, busy, bytes);
        let step = self.round;
        match outcome {
            Outcome::Deferred => self.not_before = now + DEFERRED,
            Outcome::Scrubbed { next } => {
                self.scrub = next.unwrap_or(ScrubPlace::START);
                if next.is_none() {
                    self.scrub_due = now + self.config.scrub_rest;
                }
            }
            Outcome::Surveyed { next, found } => {
                self.enlist(now, found);
                self.round = match next {
                    Some(from) => Some(Step::Survey { from }),
                    None => self.next_chore(now),
                };
            }
            Outcome::Tidied { changed, rest } => {
                self.changed |= changed;
                if let (Some(Step::Tidy { position, .. }), true) = (step, changed) {
                    self.visits.note(position, now);
                }
                self.round = match (step, rest) {
                    (Some(Step::Tidy { position, .. }), Some(chore)) => {
                        Some(Step::Tidy { position, chore })
                    }
                    _ => self.next_chore(now),
                };
            }
            Outcome::Discovered { next: Some(from) } => {
                self.round = Some(Step::Discover { from });
            }
            Outcome::Discovered { next: None } => {
                self.extents_known = true;
                self.round = Some(Step::Empty { class: 0, after: 0 });
            }
            Outcome::Emptied { moved, next } => {
                self.changed |= moved > 0;
                self.round = Some(match next {
                    Some((class, after)) => Step::Empty { class, after },
                    None => Step::Collect,
                });
            }
            Outcome::Collected => self.round = self.after_collect(now),
            Outcome::Shrunk { changed, next } => {
                self.changed |= changed;
                self.round = next.map(Step::Shrink);
                if next.is_none() {
                    self.end_round(now);
                }
            }
        }
    }

    /// The step failed, and the store goes on: no room, or damage that was found in time. The rest of the round is
    /// given up.
    pub(crate) fn failed(&mut self, now: Duration, busy: Duration) {
        self.budget.charge(now, busy, 0);
        self.not_before = now + BACK_OFF;
        self.queue.clear();
        self.end_round(now);
    }

    fn enlist(&mut self, now: Duration, found: Vec<Candidate>) {
        for candidate in found {
            let Candidate { position, chore, disorder, records_pending } = candidate;
            let age = self.visits.age(position, now);
            self.found += 1;
            let key = (danger(disorder, records_pending, age), position, self.found);
            self.queue.insert(key, chore);
            if self.queue.len() > QUEUE_MAX {
                self.queue.pop_first();
                // What is left out makes another round worth it.
                self.changed = true;
            }
        }
    }

    fn next_chore(&mut self, now: Duration) -> Option<Step> {
        match self.queue.pop_last() {
            Some(((danger, position, _), chore)) => {
                self.danger_last = danger;
                Some(Step::Tidy { position, chore })
            }
            None => self.after_chores(now),
        }
    }

    fn after_chores(&mut self, now: Duration) -> Option<Step> {
        match (self.config.collect, self.extents_known) {
            (true, false) => Some(Step::Discover { from: 1 }),
            (true, true) => Some(Step::Empty { class: 0, after: 0 }),
            (false, _) => self.after_collect(now),
        }
    }

    fn after_collect(&mut self, now: Duration) -> Option<Step> {
        if self.config.shrink {
            return Some(Step::Shrink(ShrinkStage::Check));
        }
        self.end_round(now);
        None
    }

    fn end_round(&mut self, now: Duration) {
        self.round = None;
        self.rounds += 1;
        // After changes there may be more: buddies merge level by level.
        let rest = if self.changed { Duration::ZERO } else { self.config.rest };
        self.round_due = now + rest;
    }
}
