//! Where in the ring records lie: one place for some thousand of them, for readers that come while the log is written.

use std::collections::VecDeque;

/// Records from one noted place to the next, at least.
const APART: u64 = 4096;

/// A record at which a group begins, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogPlace {
    pub(crate) lsn: u64,
    pub(crate) offset: u64,
}

/// Places in ascending order, all of them of records that were not given up.
#[derive(Debug)]
pub(super) struct Places(VecDeque<LogPlace>);

impl Places {
    /// The log begins here.
    pub(super) fn new(first: LogPlace) -> Self {
        Self(VecDeque::from([first]))
    }

    /// A group begins here.
    pub(super) fn note(&mut self, place: LogPlace) {
        if self.0.back().is_none_or(|last| place.lsn >= last.lsn + APART) {
            self.0.push_back(place);
        }
    }

    /// All before `oldest` was given up.
    pub(super) fn give_up(&mut self, oldest: LogPlace) {
        while self.0.front().is_some_and(|place| place.lsn <= oldest.lsn) {
            self.0.pop_front();
        }
        self.0.push_front(oldest);
    }

    /// The last place at or before a record; `None` if it was given up.
    pub(super) fn before(&self, lsn: u64) -> Option<LogPlace> {
        let count = self.0.partition_point(|place| place.lsn <= lsn);
        self.0.get(count.checked_sub(1)?).copied()
    }

    /// The oldest record that was not given up.
    pub(super) fn oldest(&self) -> u64 {
        self.0.front().map_or(u64::MAX, |place| place.lsn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(lsn: u64) -> LogPlace {
        LogPlace { lsn, offset: lsn * 64 }
    }

    #[test]
    fn finds_the_last_place_before_a_record() {
        let mut places = Places::new(place(10));
        for lsn in (11..30_000).step_by(100) {
            places.note(place(lsn));
        }
        assert!(places.0.len() < 9, "one in 4096 records");
        assert_eq!(places.before(9), None);
        assert_eq!(places.before(10), Some(place(10)));
        let found = places.before(9000).unwrap();
        assert!(found.lsn <= 9000 && found.lsn + APART + 100 > 9000, "{found:?}");
        places.give_up(place(9000));
        assert_eq!((places.before(8999), places.oldest()), (None, 9000));
        assert_eq!(places.before(9000), Some(place(9000)));
        // Beyond all that is noted.
        places.give_up(place(40_000));
        assert_eq!((places.0.len(), places.oldest()), (1, 40_000));
    }
}
