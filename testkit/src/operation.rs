//! Every public operation as plain data, so that a run can be generated, shrunk, printed and replayed.
//!
//! Keys and values are indices into [`crate::model::universe`]: few enough that they meet again.

use std::time::Duration;

use cidstore_engine::Durability;

use crate::model::universe;

/// Pairs, in a form that stays short however many they are.
#[derive(Clone, Debug)]
pub enum Pairs {
    /// These pairs, in this order; repeats are welcome.
    List(Vec<(u16, u16)>),
    /// `count` values of one key.
    Values {
        /// The key.
        key: u16,
        /// The first value.
        first: u16,
        /// How many, in a row.
        count: u16,
    },
    /// One value for each of `count` keys.
    Keys {
        /// The first key.
        first: u16,
        /// How many, in a row.
        count: u16,
        /// The value.
        value: u16,
    },
}

impl Pairs {
    /// The pairs as numbers.
    #[must_use]
    pub fn numbers(&self) -> Vec<(u128, u128)> {
        let number = |(key, value)| (universe(key), universe(value));
        match *self {
            Self::List(ref list) => list.iter().copied().map(number).collect(),
            Self::Values { key, first, count } => {
                (first..first.saturating_add(count)).map(|value| number((key, value))).collect()
            }
            Self::Keys { first, count, value } => {
                (first..first.saturating_add(count)).map(|key| number((key, value))).collect()
            }
        }
    }
}

/// One change inside a transaction.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// Add a pair.
    Insert(u16, u16),
    /// Remove a key.
    Delete(u16),
    /// Remove a pair.
    DeleteValue(u16, u16),
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `Ok`: everything is applied.
    Commit,
    /// `Err`: nothing happened.
    Fail,
    /// A panic: nothing happened, and the panic goes on to the caller.
    Panic,
}

/// One call of a durability, as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// [`Durability::Immediate`].
    Immediate,
    /// [`Durability::Interval`] of ten milliseconds.
    Interval,
    /// [`Durability::Buffered`].
    Buffered,
}

impl From<Promise> for Durability {
    fn from(promise: Promise) -> Self {
        match promise {
            Promise::Immediate => Self::Immediate,
            Promise::Interval => Self::Interval(Duration::from_millis(10)),
            Promise::Buffered => Self::Buffered,
        }
    }
}

/// One operation on a store.
#[derive(Clone, Debug)]
pub enum Operation {
    /// `insert`.
    Insert(u16, u16),
    /// `insert_with`.
    InsertWith(u16, u16, Promise),
    /// `delete`.
    Delete(u16),
    /// `delete_with`.
    DeleteWith(u16, Promise),
    /// `delete_value`.
    DeleteValue(u16, u16),
    /// `batch_insert`.
    BatchInsert(Pairs),
    /// `batch_delete` of `count` keys from the first on.
    BatchDelete(u16, u16),
    /// `write`.
    Transaction(Vec<Change>, End),
    /// `bulk_load`.
    BulkLoad(Pairs),
    /// `bulk_loader`, finished or dropped.
    BulkLoader(Pairs, bool),
    /// Everything that can be asked about one key, through the store and through a guard.
    Look(u16),
    /// `get_many` and `get_many_with`.
    LookMany(Vec<u16>),
    /// A scan that stops after so many pairs and goes on from its cursor.
    ScanInTwo(u16),
    /// `snapshot`, kept.
    TakeSnapshot,
    /// All kept snapshots still tell their moment.
    CheckSnapshots,
    /// The oldest kept snapshot goes.
    DropSnapshot,
    /// `backup` of a snapshot, opened and compared.
    Backup,
    /// `sync`.
    Sync,
    /// `wait_durable` of the newest write.
    WaitDurable,
    /// `checkpoint`.
    Checkpoint,
    /// `compact`.
    Compact,
    /// `merge`.
    Merge,
    /// `gc`.
    Gc,
    /// `run_gc_once`.
    GcOnce,
    /// `background_maintenance`.
    Maintain,
    /// `demote_if_possible`.
    Demote(u16),
    /// `verify`.
    Verify,
    /// `debug_dump` and `stats`.
    Describe,
    /// `close`, and open again.
    Reopen,
    /// `close`, look at the file without the store, open read-only, and then open again.
    ReopenReadOnly,
    /// The process is killed; the store opens from what the files then are.
    Crash,
}
