//! Who reads the log while it is written: how far each reader is, and the bulk loads, which are not in it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::PoisonError;

use crate::sync::whole::{Mutex, MutexGuard};

/// Bulk loads that are remembered. A feed that is behind older ones has lagged.
const LOADS_MAX: usize = 1024;

/// Readers of the log, by a number of their own.
#[derive(Debug, Default)]
pub(crate) struct Feeds {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_reader: u64,
    /// The next record that each reader needs.
    readers: BTreeMap<u64, u64>,
    /// Numbers of bulk loads, ascending.
    loads: VecDeque<u64>,
    /// The newest that is not remembered any more; 0 if all are.
    forgotten: u64,
    /// The last of them is not yet in the data file.
    unpublished: bool,
}

impl Feeds {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whole at every step, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new reader that needs the records from `lsn` on.
    pub(crate) fn enter(&self, lsn: u64) -> u64 {
        let mut state = self.state();
        state.next_reader += 1;
        let reader = state.next_reader;
        state.readers.insert(reader, lsn);
        reader
    }

    /// A reader is that far.
    pub(crate) fn advance(&self, reader: u64, lsn: u64) {
        self.state().readers.insert(reader, lsn);
    }

    /// A reader is gone.
    pub(crate) fn leave(&self, reader: u64) {
        self.state().readers.remove(&reader);
    }

    /// The next record that each reader needs, ascending.
    pub(crate) fn places(&self) -> Vec<u64> {
        let mut places: Vec<u64> = self.state().readers.values().copied().collect();
        places.sort_unstable();
        places
    }

    /// A bulk load has this number, and is not in the data file yet. Called before readers see the number.
    pub(crate) fn begin_load(&self, lsn: u64) {
        let mut state = self.state();
        if state.loads.len() == LOADS_MAX {
            state.forgotten = state.loads.pop_front().unwrap_or_default();
        }
        state.loads.push_back(lsn);
        state.unpublished = true;
    }

    /// The last bulk load is in the data file.
    pub(crate) fn publish_load(&self) {
        self.state().unpublished = false;
    }

    /// Whether this is the number of a bulk load.
    ///
    /// # Errors
    ///
    /// The newest number of which that is not known any more.
    pub(crate) fn is_load(&self, lsn: u64) -> Result<bool, u64> {
        let state = self.state();
        if lsn <= state.forgotten {
            return Err(state.forgotten);
        }
        Ok(state.loads.binary_search(&lsn).is_ok())
    }

    /// The last number that may be told, if that is less than what is applied.
    pub(crate) fn limit(&self) -> u64 {
        let state = self.state();
        match state.loads.back() {
            Some(&load) if state.unpublished => load - 1,
            _ => u64::MAX,
        }
    }
}
