//! R and Octave on a store in use and on a closed one: what the document says they read, they read.
//!
//! Run by `cargo xtask test --slow --only hdf5_languages`, which installs them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test reports"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cidstore::{E, Stats, Store};
use cidstore_testkit::Scratch;

/// The name of the file in the document's programs.
const FILE: &str = "debian.h5";
const KEYS: u64 = 40_000;

/// A store under the name that the document's programs open: a directory that is a dataset, several segments, some sets.
fn filled() -> (Scratch, PathBuf, Store) {
    let scratch = Scratch::on_disk();
    let path = scratch.path().join(FILE);
    let store = Store::open(&path).unwrap();
    let pairs = (0..KEYS).flat_map(|key| {
        (0..if key % 100 == 0 { 50 } else { 2 }).map(move |value| (E::new(key, 1), E::from(value)))
    });
    store.bulk_load(pairs).unwrap();
    (scratch, path, store)
}

/// Runs a program in the folder of the file; answers what it said.
fn run(program: &str, arguments: &[&str], file: &Path) -> Output {
    let folder = file.parent().unwrap();
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    output.unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// The program of the document in this language.
fn documented(language: &str) -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/hdf5.md");
    let document = fs::read_to_string(document).unwrap();
    let (_, rest) = document.split_once(&format!("\n```{language}\n")).expect("no such program");
    rest.split_once("\n```").unwrap().0.to_owned()
}

fn check_r(file: &Path, stats: &Stats) {
    let output = run("Rscript", &["-e", &documented("r")], file);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text.lines().collect();
    let expected = format!("{} keys, {} values", stats.keys, stats.values);
    assert_eq!(lines[..2], [expected, format!("{} buckets", stats.buckets)]);
    let fields: Vec<&str> = lines[2].split_whitespace().skip(1).collect();
    assert_eq!(fields, ["\"header\"", "\"tags\"", "\"tags_spare\"", "\"entries\""]);
}

fn check_octave(file: &Path) {
    let program = documented("octave");
    let output = run("octave-cli", &["--no-init-file", "--quiet", "--eval", &program], file);
    let groups = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: Vec<&str> = groups.split_whitespace().collect();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert_eq!(found, ["buckets", "config", "tables", "types", "values"], "{said}");
    assert!(said.contains("can't read 'pages' (unknown datatype)"), "{said}");
    assert!(said.contains("can't read 'dir' (unknown datatype)"), "{said}");
}

#[test]
#[ignore = "needs R and Octave: cargo xtask test --slow --only hdf5_languages"]
fn r_and_octave_read_what_the_document_says() {
    let (_scratch, file, store) = filled();
    let stats = store.stats();
    assert_eq!(stats.keys, KEYS);
    check_r(&file, &stats);
    check_octave(&file);
    store.close().unwrap();
    let before = fs::read(&file).unwrap();
    check_r(&file, &stats);
    check_octave(&file);
    assert!(fs::read(&file).unwrap() == before, "a reader wrote");
}
