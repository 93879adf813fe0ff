//! Random operations: strategies for proptest, which shrinks, and a decoder for a fuzzer's bytes.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::operation::{Change, End, Operation, Pairs, Promise};

/// How large the world of a run is.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Keys are below this index.
    pub keys: u16,
    /// Values of single writes are below this index.
    pub values: u16,
    /// Values of runs of values are below this index, and so is the length of a run.
    pub run: u16,
}

impl Bounds {
    /// Few keys that are hit again and again: promotions, demotions, small and large sets.
    pub const HOT: Self = Self { keys: 12, values: 9, run: 400 };
    /// Enough keys for splits, doublings and merges; few values each.
    pub const WIDE: Self = Self { keys: 900, values: 6, run: 24 };
}

/// Runs of up to `length` operations.
pub fn operations(bounds: Bounds, length: usize) -> impl Strategy<Value = Vec<Operation>> {
    vec(operation(bounds), 1..length)
}

/// One operation; cheap and frequent ones weigh more.
pub fn operation(bounds: Bounds) -> impl Strategy<Value = Operation> {
    prop_oneof![
        12 => writes(bounds),
        6 => batches(bounds),
        6 => reads(bounds),
        4 => upkeep(bounds),
        2 => Just(Operation::Reopen),
        1 => Just(Operation::ReopenReadOnly),
        3 => Just(Operation::Crash),
    ]
}

fn writes(bounds: Bounds) -> impl Strategy<Value = Operation> {
    let (key, value) = (0..bounds.keys, 0..bounds.values);
    let pair = (key.clone(), value);
    prop_oneof![
        6 => pair.clone().prop_map(|(key, value)| Operation::Insert(key, value)),
        2 => (pair.clone(), promise()).prop_map(|((key, value), promise)| Operation::InsertWith(key, value, promise)),
        2 => key.clone().prop_map(Operation::Delete),
        1 => (key, promise()).prop_map(|(key, promise)| Operation::DeleteWith(key, promise)),
        4 => pair.prop_map(|(key, value)| Operation::DeleteValue(key, value)),
    ]
}

fn batches(bounds: Bounds) -> impl Strategy<Value = Operation> {
    let transaction = (vec(change(bounds), 0..12), end());
    prop_oneof![
        3 => pairs(bounds).prop_map(Operation::BatchInsert),
        1 => (0..bounds.keys, 0..bounds.keys / 3).prop_map(|(first, count)| Operation::BatchDelete(first, count)),
        3 => transaction.prop_map(|(changes, end)| Operation::Transaction(changes, end)),
        1 => pairs(bounds).prop_map(Operation::BulkLoad),
        1 => (pairs(bounds), any::<bool>()).prop_map(|(pairs, finish)| Operation::BulkLoader(pairs, finish)),
    ]
}

fn reads(bounds: Bounds) -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (0..bounds.keys).prop_map(Operation::Look),
        1 => vec(0..bounds.keys, 0..40).prop_map(Operation::LookMany),
        1 => (0..bounds.keys).prop_map(Operation::ScanInTwo),
        2 => Just(Operation::TakeSnapshot),
        2 => Just(Operation::CheckSnapshots),
        1 => Just(Operation::DropSnapshot),
    ]
}

fn upkeep(bounds: Bounds) -> impl Strategy<Value = Operation> {
    prop_oneof![
        2 => Just(Operation::Sync),
        2 => Just(Operation::WaitDurable),
        4 => Just(Operation::Checkpoint),
        2 => Just(Operation::Compact),
        2 => Just(Operation::Merge),
        2 => Just(Operation::Gc),
        2 => Just(Operation::GcOnce),
        2 => Just(Operation::Maintain),
        4 => (0..bounds.keys).prop_map(Operation::Demote),
        2 => Just(Operation::Verify),
        1 => Just(Operation::Describe),
        1 => Just(Operation::Backup),
    ]
}

fn pairs(bounds: Bounds) -> impl Strategy<Value = Pairs> {
    let pair = (0..bounds.keys, 0..bounds.values);
    let values = (0..bounds.keys, 0..bounds.run, 0..bounds.run);
    let keys = (0..bounds.keys, 0..bounds.keys / 2, 0..bounds.values);
    prop_oneof![
        2 => vec(pair, 0..20).prop_map(Pairs::List),
        1 => values.prop_map(|(key, first, count)| Pairs::Values { key, first, count }),
        1 => keys.prop_map(|(first, count, value)| Pairs::Keys { first, count, value }),
    ]
}

fn change(bounds: Bounds) -> impl Strategy<Value = Change> {
    let pair = (0..bounds.keys, 0..bounds.values);
    prop_oneof![
        4 => pair.clone().prop_map(|(key, value)| Change::Insert(key, value)),
        1 => (0..bounds.keys).prop_map(Change::Delete),
        2 => pair.prop_map(|(key, value)| Change::DeleteValue(key, value)),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![4 => Just(End::Commit), 1 => Just(End::Fail), 1 => Just(End::Panic)]
}

fn promise() -> impl Strategy<Value = Promise> {
    prop_oneof![Just(Promise::Immediate), Just(Promise::Interval), Just(Promise::Buffered)]
}

/// Reads operations from a fuzzer's bytes; every input is some run, and a byte changed is an operation changed.
#[must_use]
pub fn decode(bytes: &[u8], bounds: Bounds) -> Vec<Operation> {
    let mut input = Input { bytes, bounds };
    let mut operations = Vec::new();
    while !input.bytes.is_empty() {
        operations.push(input.operation());
    }
    operations
}

struct Input<'a> {
    bytes: &'a [u8],
    bounds: Bounds,
}

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    fn below(&mut self, bound: u16) -> u16 {
        // One byte reaches all of a small range; a wide one takes two.
        let low = u16::from(self.byte());
        let number = if bound > 256 { low | u16::from(self.byte()) << 8 } else { low };
        number % bound.max(1)
    }

    fn key(&mut self) -> u16 {
        self.below(self.bounds.keys)
    }

    fn value(&mut self) -> u16 {
        self.below(self.bounds.values)
    }

    fn pairs(&mut self) -> Pairs {
        match self.byte() % 4 {
            0 | 1 => {
                let count = self.below(20);
                Pairs::List((0..count).map(|_| (self.key(), self.value())).collect())
            }
            2 => {
                let run = self.bounds.run;
                Pairs::Values { key: self.key(), first: self.below(run), count: self.below(run) }
            }
            _ => {
                let half = self.bounds.keys / 2;
                Pairs::Keys { first: self.key(), count: self.below(half), value: self.value() }
            }
        }
    }

    fn changes(&mut self) -> Vec<Change> {
        let count = self.below(12);
        let change = |input: &mut Self| match input.byte() % 4 {
            0 => Change::Delete(input.key()),
            1 => Change::DeleteValue(input.key(), input.value()),
            _ => Change::Insert(input.key(), input.value()),
        };
        (0..count).map(|_| change(self)).collect()
    }

    fn promise(&mut self) -> Promise {
        [Promise::Immediate, Promise::Interval, Promise::Buffered][usize::from(self.byte() % 3)]
    }

    fn operation(&mut self) -> Operation {
        match self.byte() % 40 {
            0..=7 => Operation::Insert(self.key(), self.value()),
            8 => Operation::InsertWith(self.key(), self.value(), self.promise()),
            9 => Operation::Delete(self.key()),
            10 => Operation::DeleteWith(self.key(), self.promise()),
            11..=14 => Operation::DeleteValue(self.key(), self.value()),
            15..=17 => Operation::BatchInsert(self.pairs()),
            18 => Operation::BatchDelete(self.key(), self.key() / 3),
            19 | 20 => {
                let end = [End::Commit, End::Fail][usize::from(self.byte() % 2)];
                Operation::Transaction(self.changes(), end)
            }
            21 => Operation::BulkLoad(self.pairs()),
            22 => Operation::BulkLoader(self.pairs(), self.bytes.len().is_multiple_of(2)),
            23 | 24 => Operation::Look(self.key()),
            25 => Operation::ScanInTwo(self.key()),
            26 => Operation::TakeSnapshot,
            27 => Operation::CheckSnapshots,
            28 => Operation::DropSnapshot,
            29 => Operation::Sync,
            30 | 31 => Operation::Checkpoint,
            32 => Operation::Compact,
            33 => Operation::Merge,
            34 => Operation::Gc,
            35 => Operation::Maintain,
            36 | 37 => Operation::Demote(self.key()),
            38 => Operation::Reopen,
            _ => Operation::Crash,
        }
    }
}
