//! Runs operations on a store and on the model, and lets no answer differ.
//!
//! The driver is the store's only writer, so every answer is determined: what a call answers, what a
//! snapshot tells for as long as it is kept, what a killed process leaves behind (all that was applied: a
//! kill takes nothing from the page cache, whatever durability was asked for).

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cidstore_core::E;
use cidstore_engine::error::Result;
use cidstore_engine::{Cursor, Error, OpenOptions, Snapshot, Store, Transaction};

use crate::content::{assert_scan, assert_snapshot, assert_store, assert_verified, pair, set_of};
use crate::image::assert_image;
use crate::model::{Model, element, number, universe};
use crate::operation::{Change, End, Operation, Pairs};
use crate::scratch::Scratch;

/// Snapshots kept at a time.
const SNAPSHOTS_MAX: usize = 3;
/// Message of the panics that transactions are made to raise.
const PANIC: &str = "planned panic inside a transaction";

/// A store, the model beside it, and the snapshots that are being kept.
pub struct Driver {
    options: OpenOptions,
    scratch: Scratch,
    store: Store,
    model: Model,
    snapshots: Vec<(Snapshot, Model)>,
    lsn: u64,
}

impl Driver {
    /// An empty store with these options.
    ///
    /// # Panics
    ///
    /// If it does not open.
    #[must_use]
    pub fn new(options: OpenOptions) -> Self {
        let scratch = Scratch::new();
        let store = options.open(scratch.data()).expect("a new store");
        let lsn = store.lsn();
        Self { options, scratch, store, model: Model::new(), snapshots: Vec::new(), lsn }
    }

    /// Runs operations on an empty store, then compares all there is.
    ///
    /// # Panics
    ///
    /// If any answer differs from the model's.
    pub fn run(options: OpenOptions, operations: &[Operation]) {
        let mut driver = Self::new(options);
        for operation in operations {
            driver.step(operation);
        }
        driver.finish();
    }

    /// Runs one operation and compares its answer.
    ///
    /// # Panics
    ///
    /// If it differs.
    pub fn step(&mut self, operation: &Operation) {
        match operation {
            Operation::TakeSnapshot
            | Operation::CheckSnapshots
            | Operation::DropSnapshot
            | Operation::Backup => self.keep(operation),
            Operation::Reopen => self.reopen(),
            Operation::ReopenReadOnly => self.reopen_read_only(),
            Operation::Crash => self.crash(),
            Operation::Look(key) => self.look(universe(*key)),
            Operation::LookMany(keys) => self.look_many(keys),
            Operation::ScanInTwo(stop) => self.scan_in_two(usize::from(*stop)),
            _ => {
                self.write(operation);
                self.maintain(operation);
            }
        }
        let lsn = self.store.lsn();
        assert!(lsn >= self.lsn, "the log went back from {} to {lsn}", self.lsn);
        assert!(self.store.durable_lsn() <= lsn, "durable before it was written");
        self.lsn = lsn;
        assert_eq!(self.store.len(), self.model.len(), "keys after {operation:?}");
        assert_eq!(self.store.value_len(), self.model.value_len(), "values after {operation:?}");
    }

    /// Compares all there is, on every road, and once more after closing.
    ///
    /// # Panics
    ///
    /// If anything differs.
    pub fn finish(mut self) {
        self.check_snapshots();
        assert_store(&self.store, &self.model);
        assert_verified(&self.store, &self.model);
        self.crash();
        self.close();
        assert_image(&self.scratch.data_bytes(), &self.model);
    }

    fn write(&mut self, operation: &Operation) {
        let (store, model) = (&self.store, &mut self.model);
        match *operation {
            Operation::Insert(key, value) => {
                let (key, value) = (universe(key), universe(value));
                let new = store.insert(element(key), element(value)).expect("insert");
                assert_eq!(new, model.insert(key, value), "insert of ({key:#x}, {value:#x})");
            }
            Operation::InsertWith(key, value, promise) => {
                let (key, value) = (universe(key), universe(value));
                let written = store.insert_with(element(key), element(value), promise.into());
                let written = written.expect("insert_with");
                assert_eq!(written.new, model.insert(key, value));
                assert!(written.lsn <= store.lsn(), "{written:?} above {}", store.lsn());
                store.wait_durable(written.lsn).expect("wait_durable");
                assert!(store.durable_lsn() >= written.lsn);
            }
            Operation::Delete(key) => {
                let count = store.delete(element(universe(key))).expect("delete");
                assert_eq!(count, model.delete(universe(key)), "delete of key {key}");
            }
            Operation::DeleteWith(key, promise) => {
                let written = store.delete_with(element(universe(key)), promise.into());
                let went = model.delete(universe(key)) > 0;
                assert_eq!(written.expect("delete_with").new, went, "delete_with of key {key}");
            }
            Operation::DeleteValue(key, value) => {
                let (key, value) = (universe(key), universe(value));
                let went = store.delete_value(element(key), element(value)).expect("delete_value");
                assert_eq!(went, model.delete_value(key, value), "({key:#x}, {value:#x})");
            }
            Operation::BatchInsert(ref pairs) => {
                let new = store.batch_insert(&elements(pairs)).expect("batch_insert");
                assert_eq!(new, model.insert_all(pairs.numbers()), "batch_insert of {pairs:?}");
            }
            Operation::BatchDelete(first, count) => {
                let keys: Vec<u128> = (first..first.saturating_add(count)).map(universe).collect();
                let elements: Vec<E> = keys.iter().copied().map(element).collect();
                let went = store.batch_delete(&elements).expect("batch_delete");
                assert_eq!(went, model.delete_all(keys), "batch_delete of {count} from {first}");
            }
            Operation::Transaction(ref changes, end) => transact(store, model, changes, end),
            Operation::BulkLoad(ref pairs) => {
                let loaded = store.bulk_load(elements(pairs)).expect("bulk_load");
                assert_eq!(loaded.pairs, pairs.numbers().len() as u64);
                assert_eq!(loaded.new_pairs, model.insert_all(pairs.numbers()), "bulk_load");
            }
            Operation::BulkLoader(ref pairs, finish) => bulk_loader(store, model, pairs, finish),
            _ => {}
        }
    }

    fn maintain(&self, operation: &Operation) {
        let store = &self.store;
        match *operation {
            Operation::Sync => {
                let lsn = store.lsn();
                store.sync().expect("sync");
                assert!(store.durable_lsn() >= lsn, "sync left something behind");
            }
            Operation::WaitDurable => {
                store.wait_durable(self.lsn).expect("wait_durable");
                assert!(store.durable_lsn() >= self.lsn);
            }
            Operation::Checkpoint => {
                store.checkpoint().expect("checkpoint");
                assert_image(&self.scratch.data_bytes(), &self.model);
            }
            Operation::Compact => {
                let report = store.compact().expect("compact");
                // Snapshots keep what is replaced.
                let is_shorter = report.bytes_after <= report.bytes_before;
                assert!(is_shorter || !self.snapshots.is_empty(), "{report:?}");
                for (key, _) in self.model.sets().take(3) {
                    assert_eq!(store.get_tombstone_count(element(key)).expect("tombstones"), 0);
                }
            }
            Operation::Merge => drop(store.merge().expect("merge")),
            Operation::Gc => drop(store.gc().expect("gc")),
            Operation::GcOnce => drop(store.run_gc_once().expect("run_gc_once")),
            Operation::Maintain => drop(store.background_maintenance().expect("maintenance")),
            Operation::Demote(key) => self.demote(universe(key)),
            Operation::Verify => assert_verified(store, &self.model),
            Operation::Describe => {
                let mut text = Vec::new();
                store.debug_dump(&mut text).expect("debug_dump");
                assert!(!text.is_empty(), "a dump says something");
                let stats = store.stats();
                assert_eq!((stats.keys, stats.values), (self.model.len(), self.model.value_len()));
                assert!(stats.snapshots >= self.snapshots.len() as u64, "{stats:?}");
            }
            _ => {}
        }
    }

    fn keep(&mut self, operation: &Operation) {
        match operation {
            Operation::TakeSnapshot => {
                if self.snapshots.len() < SNAPSHOTS_MAX {
                    let snapshot = self.store.snapshot().expect("a snapshot");
                    self.snapshots.push((snapshot, self.model.clone()));
                }
            }
            Operation::DropSnapshot => {
                if !self.snapshots.is_empty() {
                    self.snapshots.remove(0);
                }
            }
            Operation::Backup => {
                let scratch = Scratch::new();
                let snapshot = self.store.snapshot().expect("a snapshot");
                snapshot.backup(scratch.data()).expect("backup");
                assert_image(&scratch.data_bytes(), &self.model);
                let backup = Store::open(scratch.data()).expect("a backup opens");
                assert_store(&backup, &self.model);
            }
            _ => self.check_snapshots(),
        }
    }

    fn check_snapshots(&self) {
        for (snapshot, model) in &self.snapshots {
            assert_snapshot(snapshot, model);
        }
    }

    fn look(&self, key: u128) {
        let (store, model, e) = (&self.store, &self.model, element(key));
        let set = model.get(key);
        assert_eq!(set_of(&store.get(e).expect("get")), set, "get of {key:#x}");
        assert_eq!(store.value_count(e).expect("value_count"), model.count(key));
        assert_eq!(store.contains_key(e).expect("contains_key"), model.contains_key(key));
        let candidates: Vec<u128> = set.iter().copied().chain((0..9).map(universe)).collect();
        for value in &candidates {
            let contains = store.contains(e, element(*value)).expect("contains");
            assert_eq!(contains, set.contains(value), "({key:#x}, {value:#x})");
        }
        let guard = store.pin();
        assert_eq!(set_of(&guard.get(e).expect("get")), set, "a guard's get of {key:#x}");
        assert_eq!(guard.value_count(e).expect("value_count"), model.count(key));
        assert_eq!(guard.contains_key(e).expect("contains_key"), model.contains_key(key));
        let values: Vec<u128> =
            guard.values(e).expect("values").map(|value| number(value.expect("a value"))).collect();
        assert_eq!(values.len(), set.len(), "a guard's values come once");
        assert_eq!(values.into_iter().collect::<BTreeSet<_>>(), set);
        for value in &candidates {
            let contains = guard.contains(e, element(*value)).expect("contains");
            assert_eq!(contains, set.contains(value), "({key:#x}, {value:#x}) by a guard");
        }
        self.look_at_entry(key, &set);
    }

    fn look_at_entry(&self, key: u128, set: &BTreeSet<u128>) {
        let (store, e) = (&self.store, element(key));
        let spilled = store.is_spilled(e).expect("is_spilled");
        assert!(spilled || set.len() <= 4, "{} values cannot be inline", set.len());
        assert_eq!(store.valueset_exists(e).expect("valueset_exists"), spilled);
        let tombstones = store.get_tombstone_count(e).expect("get_tombstone_count");
        assert!(spilled || tombstones == 0, "inline values leave no tombstones");
        let Some(entry) = store.get_entry(e).expect("get_entry") else {
            assert!(set.is_empty(), "{key:#x} has no entry but {} values", set.len());
            return;
        };
        assert!(!set.is_empty(), "{key:#x} has an entry but no value");
        assert_eq!(entry.key, e);
        assert_eq!(entry.spill.is_some(), spilled);
        if let Some(pointer) = entry.spill {
            assert!(entry.values.is_empty() && entry.valid == 0, "{entry:?}");
            assert_eq!(u64::from(pointer.value_count), set.len() as u64, "{entry:?}");
        } else {
            assert_eq!(entry.valid.count_ones() as usize, set.len(), "{entry:?}");
            let inline: BTreeSet<u128> = entry.values.iter().copied().map(number).collect();
            assert_eq!(&inline, set);
        }
    }

    fn look_many(&self, keys: &[u16]) {
        let keys: Vec<u128> = keys.iter().copied().map(universe).collect();
        let elements: Vec<E> = keys.iter().copied().map(element).collect();
        let many = self.store.get_many(&elements).expect("get_many");
        assert_eq!(many.len(), keys.len());
        for (key, values) in keys.iter().zip(&many) {
            assert_eq!(set_of(values), self.model.get(*key), "get_many of {key:#x}");
        }
        let mut answered = Vec::new();
        let each = |index, values| answered.push((index, values));
        self.store.get_many_with(&elements, each).expect("get_many_with");
        answered.sort_by_key(|(index, _)| *index);
        let expected: Vec<_> = many.into_iter().enumerate().collect();
        let sets = |list: &[(usize, cidstore_engine::Values)]| {
            list.iter().map(|(index, values)| (*index, set_of(values))).collect::<Vec<_>>()
        };
        assert_eq!(sets(&answered), sets(&expected), "get_many_with answers each key once");
    }

    fn scan_in_two(&self, stop: usize) {
        let mut scan = self.store.iter();
        let mut seen: BTreeSet<(u128, u128)> = scan.by_ref().take(stop).map(pair).collect();
        let cursor = Cursor(scan.cursor().0);
        drop(scan);
        // A cursor names the start of the bucket it is in, so the rest may repeat some pairs but not itself.
        let rest: Vec<_> = self.store.scan(cursor).map(pair).collect();
        let distinct: BTreeSet<_> = rest.iter().copied().collect();
        assert_eq!(rest.len(), distinct.len(), "a scan gave a pair twice");
        seen.extend(distinct);
        let expected: BTreeSet<_> = self.model.pairs().collect();
        assert_eq!(seen, expected, "a scan that stopped after {stop} and went on");
    }

    fn demote(&self, key: u128) {
        let e = element(key);
        let spilled = self.store.is_spilled(e).expect("is_spilled");
        let fits = self.model.count(key) <= 4;
        let demoted = self.store.demote_if_possible(e).expect("demote_if_possible");
        assert_eq!(demoted, spilled && fits, "demotion of {key:#x}: {}", self.model.count(key));
        let still = self.store.is_spilled(e).expect("is_spilled");
        assert_eq!(still, spilled && !fits, "spilled after a demotion");
        self.look(key);
    }

    fn close(&mut self) {
        self.check_snapshots();
        self.snapshots.clear();
        self.store.close().expect("close");
        assert!(matches!(self.store.get(E::ZERO), Err(Error::Closed)), "closed means closed");
    }

    fn open(&mut self) {
        self.store = self.options.open(self.scratch.data()).expect("open again");
        assert_store(&self.store, &self.model);
    }

    fn reopen(&mut self) {
        self.close();
        self.open();
    }

    fn reopen_read_only(&mut self) {
        self.close();
        assert_image(&self.scratch.data_bytes(), &self.model);
        let before = self.scratch.fingerprint();
        let store = self.options.clone().read_only(true).open(self.scratch.data());
        let store = store.expect("a clean store opens read-only");
        assert_scan(store.iter(), &self.model);
        assert!(matches!(store.insert(1, 1), Err(Error::ReadOnly)), "read-only means that");
        store.close().expect("close");
        assert_eq!(self.scratch.fingerprint(), before, "a read-only open wrote something");
        self.open();
    }

    fn crash(&mut self) {
        self.check_snapshots();
        self.snapshots.clear();
        let copy = self.scratch.copy_as_killed(&self.store);
        // What the original does from here on is nobody's business; its directory goes with it.
        let original = std::mem::replace(&mut self.scratch, copy);
        let store = self.options.open(self.scratch.data()).expect("open after a kill");
        drop(std::mem::replace(&mut self.store, store));
        drop(original);
        assert_store(&self.store, &self.model);
    }
}

fn elements(pairs: &Pairs) -> Vec<(E, E)> {
    pairs.numbers().into_iter().map(|(key, value)| (element(key), element(value))).collect()
}

fn transact(store: &Store, model: &mut Model, changes: &[Change], end: End) {
    let mut draft = model.clone();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        store.write(|transaction| {
            for change in changes {
                apply(transaction, &mut draft, *change)?;
            }
            match end {
                End::Commit => Ok(changes.len()),
                End::Fail => Err(Error::RolledBack("planned".to_owned())),
                // Not `panic!`: the hook would print thousands of planned backtraces.
                End::Panic => std::panic::resume_unwind(Box::new(PANIC)),
            }
        })
    }));
    match (end, outcome) {
        (End::Commit, Ok(answer)) => {
            assert_eq!(answer.expect("a commit"), changes.len());
            *model = draft;
        }
        (End::Fail, Ok(answer)) => {
            assert!(matches!(answer, Err(Error::RolledBack(_))), "{answer:?}");
        }
        (End::Panic, Err(payload)) => assert_eq!(payload.downcast_ref(), Some(&PANIC)),
        (end, outcome) => panic!("{end:?} gave {outcome:?}"),
    }
}

fn apply(transaction: &mut Transaction<'_>, draft: &mut Model, change: Change) -> Result<()> {
    let key = match change {
        Change::Insert(key, value) => {
            let (key, value) = (universe(key), universe(value));
            let new = transaction.insert(element(key), element(value))?;
            assert_eq!(new, draft.insert(key, value), "insert in a transaction");
            assert!(transaction.contains(element(key), element(value))?);
            key
        }
        Change::Delete(key) => {
            let key = universe(key);
            let went = transaction.delete(element(key))?;
            assert_eq!(went, draft.delete(key), "delete in a transaction");
            key
        }
        Change::DeleteValue(key, value) => {
            let (key, value) = (universe(key), universe(value));
            let went = transaction.delete_value(element(key), element(value))?;
            assert_eq!(went, draft.delete_value(key, value), "delete_value in a transaction");
            assert!(!transaction.contains(element(key), element(value))?);
            key
        }
    };
    // A transaction reads its own writes.
    assert_eq!(set_of(&transaction.get(element(key))?), draft.get(key));
    assert_eq!(transaction.contains_key(element(key))?, draft.contains_key(key));
    Ok(())
}

fn bulk_loader(store: &Store, model: &mut Model, pairs: &Pairs, finish: bool) {
    let mut loader = store.bulk_loader();
    for (key, value) in elements(pairs) {
        loader.push(key, value).expect("push");
    }
    assert_eq!(store.value_len(), model.value_len(), "a load shows nothing before it ends");
    if !finish {
        return;
    }
    let total = pairs.numbers().len() as u64;
    let mut last = 0;
    let progress = |progress: cidstore_engine::BulkProgress| {
        assert!(progress.done >= last && progress.done <= total, "{progress:?} of {total}");
        last = progress.done;
    };
    let loaded = loader.finish(progress).expect("finish");
    assert_eq!(loaded.pairs, total);
    assert_eq!(loaded.new_pairs, model.insert_all(pairs.numbers()), "a finished loader");
}
