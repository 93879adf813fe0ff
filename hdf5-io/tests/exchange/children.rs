//! A child process that is started meanwhile does not keep the library's files, nor its locks.

use std::process::{Child, Command};

use cidstore_hdf5::exchange::{self, Compression, ExportOptions, ImportOptions, Stage};
use cidstore_testkit::Scratch;

use super::{fill, rich, store_at};

/// A process that outlives the test's steps, until it is dropped.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self(Command::new("sleep").arg("60").spawn().unwrap())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_child_keeps_no_lock() {
    let scratch = Scratch::new();
    let store = store_at(&scratch.data());
    fill(&store, &rich());
    for (compression, stage) in
        [(None, Stage::Write), (Some(Compression::Gzip(1)), Stage::Compress)]
    {
        let (file, copy) = (scratch.path().join("export.h5"), scratch.path().join("copy.h5"));
        let mut sleeper = None;
        let options = ExportOptions { compression, replace: true, ..ExportOptions::default() };
        exchange::export(&store, &file, &options, &mut |progress| {
            if progress.stage == stage {
                sleeper.get_or_insert_with(Sleeper::start);
            }
        })
        .unwrap();
        assert!(sleeper.is_some());
        // Opening to write wants the file for oneself.
        hdf5::File::open_rw(&file).unwrap().close().unwrap();

        let mut sleeper = None;
        exchange::import(&file, &copy, &ImportOptions::default(), &mut |_| {
            sleeper.get_or_insert_with(Sleeper::start);
        })
        .unwrap();
        assert!(sleeper.is_some());
        hdf5::File::open_rw(&file).unwrap().close().unwrap();
        std::fs::remove_file(copy).unwrap();
    }
}
