//! Running the command.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A folder of its own for each test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a file; gives its path.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), bytes).unwrap();
        self.text(name)
    }

    /// Names of what is in the folder, ordered.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// What a run of the command gave.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    fn new(output: Output) -> Self {
        let code = output.status.code().unwrap_or_else(|| panic!("{output:?}"));
        Self {
            code,
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Must have gone well; gives standard output.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// Must have failed with this code and one message that has all these words.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.starts_with("cidstore: "), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "`{word}` is not in {self:?}");
        }
    }

    /// Must have gone well; gives the lines of standard output, ordered.
    #[track_caller]
    pub(crate) fn lines(self) -> Vec<String> {
        let mut lines: Vec<String> = self.ok().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// Must have gone well; gives the JSON objects of standard output.
    #[track_caller]
    pub(crate) fn records(self) -> Vec<Value> {
        self.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Must have gone well; gives the one JSON object of standard output.
    #[track_caller]
    pub(crate) fn record(self) -> Value {
        let mut records = self.records();
        assert_eq!(records.len(), 1, "{records:?}");
        records.remove(0)
    }
}

pub(crate) fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_cidstore"))
}

/// Runs the command with these arguments and nothing on standard input.
pub(crate) fn run<Argument: AsRef<str>>(arguments: &[Argument]) -> Run {
    let arguments = arguments.iter().map(AsRef::as_ref);
    Run::new(command().args(arguments).stdin(Stdio::null()).output().unwrap())
}

/// Runs the command with these bytes on standard input.
pub(crate) fn run_with(arguments: &[&str], input: &[u8]) -> Run {
    let mut child = command()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A child that refuses early closes its end: that is its answer, not a failure of the test.
    let _ = child.stdin.take().unwrap().write_all(input);
    Run::new(child.wait_with_output().unwrap())
}

/// All bytes of a file.
pub(crate) fn bytes(path: impl AsRef<Path>) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// A TSV of `keys` keys, where key `k<n>` has `n % 7 + 1` values.
pub(crate) fn tsv(keys: usize) -> String {
    let mut text = String::new();
    for key in 0..keys {
        for value in 0..=key % 7 {
            text.push_str(&format!("k{key}\tv{value}\n"));
        }
    }
    text
}

/// The lines of [`tsv`], ordered.
pub(crate) fn tsv_lines(keys: usize) -> Vec<String> {
    let mut lines: Vec<String> = tsv(keys).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}
