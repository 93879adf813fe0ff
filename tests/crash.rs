//! Power cuts at every write and every sync of short histories.
//!
//! A history runs once on a disk that records each change. Then, for each point of the record, the files
//! are rebuilt as a power cut there may leave them (synced content is there, each sector changed since is
//! old or new on its own), and the store is opened from them. It must hold the model after a prefix of the
//! steps: at least those whose promise was given before the cut, at most those begun. Before that, the file as the cut
//! left it must show such a prefix to an HDF5 reader, whole and unmixed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test reports"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use cidstore::{Durability, OpenOptions, Store};
use cidstore_engine::io::crash::{Choice, CrashImage, CrashModel};
use cidstore_engine::io::record::{Operation as Change, RecordingDisk};
use cidstore_engine::io::{Disk, OpenMode, OsDisk};
use cidstore_testkit::Scratch;
use cidstore_testkit::content::{assert_store, assert_verified, model_of};
use cidstore_testkit::hdf5::View;
use cidstore_testkit::history::{History, perform};
use cidstore_testkit::operation::{Operation, Pairs};
use cidstore_testkit::random::Random;

/// A log as small as it gets, so that histories wrap it and images are quick to write.
const LOG_BYTES: u64 = 64 << 10;
/// Random outcomes that are tried at each point, beside the four that always are.
const RANDOM_OUTCOMES: u64 = 2;
const THREADS: usize = 2;

fn options(durability: Durability) -> OpenOptions {
    Store::options().durability(durability).wal_bytes(LOG_BYTES)
}

/// A history, and the record of what its run did to the disk.
struct Recorded {
    history: History,
    durability: Durability,
    changes: Vec<Change>,
    /// Where the files were.
    directory: PathBuf,
    /// For each step, the lengths of the record when it began and when it had returned.
    steps: Vec<(usize, usize)>,
}

impl Recorded {
    fn run(history: History, durability: Durability) -> Self {
        let scratch = Scratch::new();
        let disk = RecordingDisk::new(Arc::new(OsDisk));
        let store = options(durability).open_on(Arc::new(disk.clone()), scratch.data()).unwrap();
        let mut steps = Vec::new();
        for step in history.steps() {
            let begun = disk.operation_count();
            perform(&store, step).unwrap();
            steps.push((begun, disk.operation_count()));
        }
        assert_eq!(&model_of(&store), history.state(history.steps().len()));
        store.close().unwrap();
        let directory = scratch.path().to_path_buf();
        Self { history, durability, changes: disk.operations(), directory, steps }
    }

    /// How many steps a cut after `changes` changes must leave.
    fn promised(&self, changes: usize) -> usize {
        let returned = self.steps.iter().take_while(|(_, returned)| *returned <= changes).count();
        if self.durability == Durability::Immediate {
            return returned;
        }
        // Without it, a step is promised by the first sync of everything that returned after it.
        let is_promise = |step: &Operation| {
            matches!(step, Operation::Sync | Operation::Checkpoint | Operation::BulkLoad(_))
        };
        let synced = self.history.steps()[..returned].iter().rposition(is_promise);
        synced.map_or(0, |index| index + 1)
    }

    /// How many steps a cut after `changes` changes may leave.
    fn begun(&self, changes: usize) -> usize {
        let begun = self.steps.iter().take_while(|(begun, _)| *begun < changes).count();
        // A step that changes nothing on disk begins and returns at the same change.
        begun.max(self.promised(changes))
    }

    /// Cuts the power after each change, and looks at several outcomes of each cut.
    fn cut_everywhere(&self) {
        let next = AtomicUsize::new(0);
        let look = || {
            let mut model = CrashModel::new();
            let mut applied = 0;
            loop {
                // Relaxed: only hands out numbers.
                let cut = next.fetch_add(1, Ordering::Relaxed);
                if cut > self.changes.len() {
                    return;
                }
                while applied < cut {
                    model.apply(&self.changes[applied]);
                    applied += 1;
                }
                self.look_at(&model, cut);
            }
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(look)).collect();
            workers.into_iter().for_each(|worker| worker.join().unwrap());
        });
    }

    fn look_at(&self, model: &CrashModel, cut: usize) {
        self.recover(&model.image_of_durable(), cut, "nothing unsynced arrived");
        self.recover(&model.image_of_latest(), cut, "everything arrived");
        let mut random = Random::new(cut as u64);
        let mut questions = 0;
        model.image(&mut |_, _| {
            questions += 1;
            0
        });
        if questions == 0 {
            return;
        }
        let odd = random.below(questions);
        let one_lost =
            model.image(&mut numbered(|number, later| if number == odd { 0 } else { later }));
        self.recover(&one_lost, cut, "all but one arrived");
        let one_kept =
            model.image(&mut numbered(|number, later| if number == odd { later } else { 0 }));
        self.recover(&one_kept, cut, "only one arrived");
        for _ in 0..RANDOM_OUTCOMES {
            let some = model.image(&mut |_, later| random.below(later as u64 + 1) as usize);
            self.recover(&some, cut, "some arrived");
        }
    }

    /// Opens what the cut left; answers how many steps it holds.
    fn recover(&self, image: &CrashImage, cut: usize, outcome: &str) -> usize {
        let scratch = Scratch::new();
        image.write_to(&self.directory, scratch.path()).unwrap();
        let what = format!("cut after {cut} of {} changes: {outcome}", self.changes.len());
        self.look_through_hdf5(image, cut, &what);
        let store = match options(self.durability).open(scratch.data()) {
            Ok(store) => store,
            Err(error) => self.fail(&scratch, &format!("{what}: {error}")),
        };
        let (promised, begun) = (self.promised(cut), self.begun(cut));
        let prefix = self.history.assert_prefix(&store, promised, begun);
        let state = self.history.state(prefix);
        assert_verified(&store, state);
        store.close().unwrap();
        let again = options(self.durability).open(scratch.data()).unwrap();
        assert_store(&again, state);
        // Life goes on.
        again.insert(1 << 40, 1).unwrap();
        again.close().unwrap();
        let again = options(self.durability).open(scratch.data()).unwrap();
        assert!(again.contains(1 << 40, 1).unwrap(), "{what}: a write after recovery is lost");
        prefix
    }

    /// The data file shows what the store was after some step, if the cut left one.
    fn look_through_hdf5(&self, image: &CrashImage, cut: usize, what: &str) {
        let data = image.files.iter().find(|(path, _)| path.ends_with("data.h5"));
        let Some((_, bytes)) = data else { return };
        let view = View::open(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
        let model = view.model();
        let known = (0..=self.begun(cut)).rev().any(|count| &model == self.history.state(count));
        assert!(known, "{what}: HDF5 shows a state that never was");
    }

    /// Keeps the image that does not open, and gives up.
    fn fail(&self, scratch: &Scratch, what: &str) -> ! {
        let kept = std::env::temp_dir().join(format!("cidstore-crash-{}", std::process::id()));
        drop(fs::create_dir_all(&kept));
        for file in [scratch.data(), scratch.log()] {
            drop(fs::copy(&file, kept.join(file.file_name().unwrap())));
        }
        panic!("{what} (files kept in {})", kept.display());
    }
}

/// A chooser that knows how many questions came before.
fn numbered(choose: impl Fn(u64, usize) -> usize) -> impl FnMut(Choice, usize) -> usize {
    let mut number = 0;
    move |_, later| {
        number += 1;
        choose(number - 1, later)
    }
}

#[test]
fn every_kind_of_change_synced() {
    Recorded::run(History::of_every_kind(), Durability::Immediate).cut_everywhere();
}

#[test]
fn buffered_writes_with_syncs_between() {
    let mut steps = Vec::new();
    for (index, step) in History::of_every_kind().steps().iter().enumerate() {
        steps.push(step.clone());
        if index % 5 == 4 {
            steps.push(Operation::Sync);
        }
    }
    Recorded::run(History::new(steps), Durability::Buffered).cut_everywhere();
}

#[test]
fn a_log_that_wraps() {
    // Batches of 150 records against a ring of a thousand: it goes round several times.
    let batch = |round: u16| match round % 3 {
        0 => Operation::BatchInsert(Pairs::Keys { first: 0, count: 150, value: round }),
        1 => Operation::BatchInsert(Pairs::Values { key: 7, first: round, count: 150 }),
        _ => Operation::BatchDelete(0, 140),
    };
    let history = History::new((0..24).map(batch).collect());
    Recorded::run(history, Durability::Immediate).cut_everywhere();
}

/// The file grows, shrinks and grows again; so does its directory.
#[test]
fn growing_and_shrinking() {
    let keys = |first| Operation::BatchInsert(Pairs::Keys { first, count: 480, value: 1 });
    let mut steps: Vec<_> = (0..5).map(|round| keys(round * 480)).collect();
    steps.insert(2, Operation::Checkpoint);
    steps.push(Operation::Checkpoint);
    steps.extend((0..4).map(|round| Operation::BatchDelete(round * 480, 480)));
    steps.extend([Operation::Compact, keys(9000), Operation::Checkpoint]);
    Recorded::run(History::new(steps), Durability::Buffered).cut_everywhere();
}

#[test]
fn single_writes_between_checkpoints() {
    let step = |index: u16| match index % 4 {
        3 => Operation::Checkpoint,
        rest => Operation::Insert(index / 4, rest),
    };
    let history = History::new((0..24).map(step).collect());
    Recorded::run(history, Durability::Immediate).cut_everywhere();
}

/// Writes an image through a recording disk and makes it durable, so that later cuts know what was there before.
fn lay_down(disk: &RecordingDisk, image: &CrashImage, recorded: &Path, scratch: &Scratch) {
    for (path, content) in &image.files {
        let Ok(relative) = path.strip_prefix(recorded) else { continue };
        let path = scratch.path().join(relative);
        let file = disk.open(&path, OpenMode::CreateNew).unwrap();
        file.write_at(0, content).unwrap();
        file.sync_all().unwrap();
        disk.sync_directory(&path).unwrap();
    }
}

/// A recovery that is itself cut short leaves a store that recovers to the same content.
#[test]
fn cuts_during_recovery() {
    let recorded = Recorded::run(History::of_every_kind(), Durability::Immediate);
    let stride = recorded.changes.len() / 12;
    for cut in (stride..recorded.changes.len()).step_by(stride) {
        let model = CrashModel::after(&recorded.changes[..cut]);
        let mut random = Random::new(cut as u64);
        let image = model.image(&mut |_, later| random.below(later as u64 + 1) as usize);
        let prefix = recorded.recover(&image, cut, "before the second cut");

        let scratch = Scratch::new();
        let disk = RecordingDisk::new(Arc::new(OsDisk));
        lay_down(&disk, &image, &recorded.directory, &scratch);
        let laid_down = disk.operation_count();
        let options = options(Durability::Immediate);
        let store = options.open_on(Arc::new(disk.clone()), scratch.data()).unwrap();
        let recovery = disk.operation_count();
        drop(store);
        let changes = disk.operations();
        for second in laid_down..=recovery {
            let model = CrashModel::after(&changes[..second]);
            let image = model.image(&mut |_, later| random.below(later as u64 + 1) as usize);
            if image.files.is_empty() {
                continue;
            }
            let twice = Scratch::new();
            image.write_to(scratch.path(), twice.path()).unwrap();
            let store = options.open(twice.data()).unwrap();
            assert_eq!(
                &model_of(&store),
                recorded.history.state(prefix),
                "cut after {cut} changes, and again after {second} of the recovery's {recovery}"
            );
        }
    }
}
