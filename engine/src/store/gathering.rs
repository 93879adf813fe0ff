//! Company for a sync: a leader waits a moment for those who are about to write as well.
//!
//! A sync of one write and one of eight take the same time. But those whose writes were just answered are still on their
//! way back with the next ones when the first of them leads again; and of two threads that write in loops, each would
//! sync alone while the other waits. So before it logs, the leader of a synced write waits for as many writes as the last
//! group had, and as came while that was synced. It waits only for company that it has reason to expect, no longer
//! than an eighth of a sync for the next one and half a sync for all: a thread that writes alone never does, and with a
//! disk that syncs in no time nobody does for long.

use std::time::{Duration, Instant};

use super::commit::{Answer, Outcome, Patience, Request, Write};
use super::engine::{Engine, Leading};
use super::turns::Group;
use crate::error::{Error, Result};
use crate::options::Durability;
use crate::sync::whole::thread;

/// The part of a sync that a leader waits for the next write, and the part that it waits in all.
const PART_FOR_NEXT: u32 = 8;
const PART_FOR_ALL: u32 = 2;

/// What the last sync tells of the next one. The writer lock guards it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gathering {
    /// Writes that are likely to come for the next sync.
    expected: usize,
    /// How long the last sync took.
    sync_time: Duration,
}

impl Gathering {
    /// Notes a sync of `together` writes, during which `came` others queued up. To be called before any is answered.
    pub(super) fn note_sync(&mut self, together: usize, came: usize, sync_time: Duration) {
        *self = Self { expected: together + came, sync_time };
    }

    /// Waits until as many are `there` as are expected, or no more come.
    fn wait(self, there: impl Fn() -> usize) {
        let mut count = there();
        // The models have no clock. A wait that ends at once is among those that there are.
        if count >= self.expected || cfg!(any(loom, shuttle)) {
            return;
        }
        let start = Instant::now();
        let mut last_came = start;
        loop {
            thread::yield_now();
            let count_now = there();
            if count_now >= self.expected {
                return;
            }
            let now = Instant::now();
            if count_now > count {
                (count, last_came) = (count_now, now);
            }
            if now - last_came >= self.sync_time / PART_FOR_NEXT
                || now - start >= self.sync_time / PART_FOR_ALL
            {
                return;
            }
        }
    }
}

impl Engine {
    /// Leads one write, and those that come for its sync.
    pub(super) fn lead_alone<'a>(
        &'a self,
        state: Leading<'a>,
        write: &Write,
        durability: Durability,
        patience: Patience,
    ) -> Result<Outcome> {
        let mut outcome = None;
        let group = [(write, durability)];
        match self.gather(&state, &group) {
            None => drop(self.lead(state, &group, patience, |_, answer| outcome = Some(answer))),
            Some(company) => {
                let writes: Vec<_> = group.into_iter().chain(requests(&company)).collect();
                drop(self.lead(state, &writes, patience, |at, answer| match at.checked_sub(1) {
                    None => outcome = Some(answer),
                    Some(at) => company.answer(at, answer),
                }));
            }
        }
        outcome.unwrap_or(Err(Error::Closed))
    }

    /// Leads one group of those that wait, and those that come for its sync.
    pub(super) fn lead_group<'a>(&'a self, state: Leading<'a>, group: &Group<Request, Answer>) {
        let mut writes: Vec<_> = requests(group).collect();
        let here = writes.len();
        let company = self.gather(&state, &writes);
        writes.extend(company.iter().flat_map(requests));
        drop(self.lead(state, &writes, Patience::InTurn, |at, answer| {
            match (&company, at.checked_sub(here)) {
                (Some(company), Some(at)) => company.answer(at, answer),
                _ => group.answer(at, answer),
            }
        }));
    }

    /// Waits for company and takes it, if the group is to be synced.
    fn gather(
        &self,
        state: &Leading<'_>,
        group: &[(&Write, Durability)],
    ) -> Option<Group<Request, Answer>> {
        if group.iter().all(|(_, durability)| *durability != Durability::Immediate) {
            return None;
        }
        state.gathering.wait(|| group.len() + self.turns.waiting_writes());
        let room = self.tuned.group_writes_max().saturating_sub(group.len());
        state.take_waiting(room)
    }
}

fn requests(group: &Group<Request, Answer>) -> impl Iterator<Item = (&Write, Durability)> {
    group.writes().map(|(write, durability)| (write, *durability))
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::handle::Store;

    /// What a wait that may take an hour ends with: when it must not end by time.
    const AN_HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn who_is_expected_is_waited_for_and_nobody_else() {
        let there = Cell::new(1);
        let one_more_comes = || there.replace(there.get() + 1);
        let expecting = |expected| Gathering { expected, sync_time: AN_HOUR };
        expecting(5).wait(one_more_comes);
        assert_eq!(there.get(), 6, "it looked until five were there, and no more often");
        for expected in [0, 1, 6] {
            let looks = Cell::new(0);
            expecting(expected).wait(|| {
                looks.set(looks.get() + 1);
                6
            });
            assert_eq!(looks.get(), 1, "all who were expected are there");
        }
    }

    #[test]
    fn a_wait_for_nobody_ends_after_a_part_of_a_sync() {
        let start = Instant::now();
        let sync_time = Duration::from_millis(16);
        Gathering { expected: 2, sync_time }.wait(|| 1);
        assert!(start.elapsed() >= sync_time / PART_FOR_NEXT);
    }

    #[test]
    fn the_next_sync_expects_the_last_group_and_who_came_meanwhile() {
        let mut gathering = Gathering::default();
        gathering.note_sync(3, 2, AN_HOUR);
        assert_eq!((gathering.expected, gathering.sync_time), (5, AN_HOUR));
    }

    #[test]
    fn company_shares_the_sync_and_each_has_its_own_answer() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store.h5")).unwrap();
        store.insert(1, 1).unwrap();
        let before = store.metrics();
        // Each of two waits for the other, whoever leads.
        store.engine().writer().gathering = Gathering { expected: 2, sync_time: AN_HOUR };
        let answers = std::thread::scope(|scope| {
            let threads = [1, 2].map(|key| {
                scope.spawn({
                    let store = &store;
                    move || store.insert(key, 1).unwrap()
                })
            });
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(answers, [false, true]);
        let groups = store.metrics().since(&before).group_sizes;
        assert_eq!((groups.count(), groups.sum()), (1, 2));
    }
}
