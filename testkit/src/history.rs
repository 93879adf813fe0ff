//! Short histories whose every prefix is known, for power cuts and failing disks.
//!
//! A history is run once, step by step, on a disk that may fail. Whatever happens to the disk, the state
//! that a later open finds must be the model after some prefix of the steps: one that holds at least all
//! steps whose promise was given, and at most those that had begun. A step is atomic: no state lies between
//! two prefixes.

use cidstore_core::E;
use cidstore_engine::error::Result;
use cidstore_engine::{Error, Store};

use crate::content::model_of;
use crate::model::{Model, element, universe};
use crate::operation::{Change, End, Operation, Pairs};

/// A list of steps, and the model after each prefix of it.
#[derive(Clone, Debug)]
pub struct History {
    steps: Vec<Operation>,
    states: Vec<Model>,
}

impl History {
    /// The history of these steps on an empty store.
    #[must_use]
    pub fn new(steps: Vec<Operation>) -> Self {
        let mut states = vec![Model::new()];
        for step in &steps {
            let mut state = states.last().expect("the empty state").clone();
            effect(&mut state, step);
            states.push(state);
        }
        Self { steps, states }
    }

    /// The steps.
    #[must_use]
    pub fn steps(&self) -> &[Operation] {
        &self.steps
    }

    /// The model after the first `count` steps.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[must_use]
    pub fn state(&self, count: usize) -> &Model {
        &self.states[count]
    }

    /// Compares what a store holds with the states after `promised` to `begun` steps, and answers which
    /// one it is (the last, if several are equal).
    ///
    /// # Panics
    ///
    /// If it is none of them.
    pub fn assert_prefix(&self, store: &Store, promised: usize, begun: usize) -> usize {
        assert!(promised <= begun, "{promised} steps promised, only {begun} begun");
        let found = model_of(store);
        let prefix = (promised..=begun).rev().find(|&count| self.states[count] == found);
        let Some(prefix) = prefix else {
            let elsewhere: Vec<usize> =
                (0..self.states.len()).filter(|&count| self.states[count] == found).collect();
            panic!(
                "promised {promised} steps, begun {begun}; found {} keys and {} values, which is the \
                 state after {elsewhere:?} steps (empty: after none, a step was torn)",
                found.len(),
                found.value_len()
            );
        };
        prefix
    }

    /// Every kind of change at least once, with promotion, demotion, a large set, a split of buckets, and
    /// checkpoints between; a few dozen synced steps.
    #[must_use]
    pub fn of_every_kind() -> Self {
        let mut steps: Vec<Operation> = (0..5).map(|value| Operation::Insert(1, value)).collect();
        steps.extend([
            Operation::DeleteValue(1, 2),
            Operation::Demote(1),
            Operation::Checkpoint,
            Operation::BatchInsert(Pairs::Keys { first: 2, count: 80, value: 3 }),
            Operation::Delete(1),
            Operation::Transaction(
                vec![Change::Insert(4, 1), Change::Delete(3), Change::DeleteValue(5, 3)],
                End::Commit,
            ),
            Operation::Checkpoint,
            Operation::BatchInsert(Pairs::Values { key: 90, first: 0, count: 260 }),
            Operation::DeleteValue(90, 7),
            Operation::BatchDelete(10, 30),
            Operation::Checkpoint,
            Operation::Insert(91, 0),
            Operation::Compact,
            Operation::BulkLoad(Pairs::Keys { first: 50, count: 60, value: 5 }),
            Operation::Delete(90),
            Operation::Insert(0, 0),
        ]);
        Self::new(steps)
    }
}

/// Runs a step on a store. Which error a failing disk gives is the caller's question.
///
/// # Errors
///
/// Those of the store.
///
/// # Panics
///
/// If the step is none that a history can hold.
pub fn perform(store: &Store, step: &Operation) -> Result<()> {
    match *step {
        Operation::Insert(key, value) => {
            store.insert(element(universe(key)), element(universe(value))).map(drop)
        }
        Operation::Delete(key) => store.delete(element(universe(key))).map(drop),
        Operation::DeleteValue(key, value) => {
            store.delete_value(element(universe(key)), element(universe(value))).map(drop)
        }
        Operation::BatchInsert(ref pairs) => store.batch_insert(&elements(pairs)).map(drop),
        Operation::BatchDelete(first, count) => {
            let keys = first..first.saturating_add(count);
            let keys: Vec<E> = keys.map(|key| element(universe(key))).collect();
            store.batch_delete(&keys).map(drop)
        }
        Operation::Transaction(ref changes, End::Commit) => transact(store, changes),
        Operation::BulkLoad(ref pairs) => store.bulk_load(elements(pairs)).map(drop),
        Operation::Sync => store.sync(),
        Operation::Checkpoint => store.checkpoint(),
        Operation::Compact => store.compact().map(drop),
        Operation::Merge => store.merge().map(drop),
        Operation::Gc => store.gc().map(drop),
        Operation::Demote(key) => store.demote_if_possible(element(universe(key))).map(drop),
        ref other => panic!("{other:?} is not a step of a history"),
    }
}

/// True for the errors that a failed write or sync gives: the store has failed, or this call's outcome is
/// unknown.
#[must_use]
pub fn is_failure(error: &Error) -> bool {
    matches!(error, Error::Failed { .. } | Error::OutcomeUnknown { .. } | Error::Io { .. })
}

fn transact(store: &Store, changes: &[Change]) -> Result<()> {
    store.write(|transaction| {
        for change in changes {
            match *change {
                Change::Insert(key, value) => {
                    transaction.insert(element(universe(key)), element(universe(value)))?;
                }
                Change::Delete(key) => drop(transaction.delete(element(universe(key)))?),
                Change::DeleteValue(key, value) => {
                    transaction.delete_value(element(universe(key)), element(universe(value)))?;
                }
            }
        }
        Ok(())
    })
}

/// What a step does to the model.
pub fn effect(model: &mut Model, step: &Operation) {
    match *step {
        Operation::Insert(key, value) => {
            model.insert(universe(key), universe(value));
        }
        Operation::Delete(key) => {
            model.delete(universe(key));
        }
        Operation::DeleteValue(key, value) => {
            model.delete_value(universe(key), universe(value));
        }
        Operation::BatchInsert(ref pairs) | Operation::BulkLoad(ref pairs) => {
            model.insert_all(pairs.numbers());
        }
        Operation::BatchDelete(first, count) => {
            model.delete_all((first..first.saturating_add(count)).map(universe));
        }
        Operation::Transaction(ref changes, End::Commit) => {
            for change in changes {
                match *change {
                    Change::Insert(key, value) => {
                        model.insert(universe(key), universe(value));
                    }
                    Change::Delete(key) => {
                        model.delete(universe(key));
                    }
                    Change::DeleteValue(key, value) => {
                        model.delete_value(universe(key), universe(value));
                    }
                }
            }
        }
        _ => {}
    }
}

fn elements(pairs: &Pairs) -> Vec<(E, E)> {
    pairs.numbers().into_iter().map(|(key, value)| (element(key), element(value))).collect()
}
