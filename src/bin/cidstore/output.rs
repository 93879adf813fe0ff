//! Standard output, and the schema of everything that `--json` prints.
//!
//! Answers go to standard output, everything else (errors, progress) to standard error. With `--json`
//! each line is one object whose `type` names its form; [`Record`] is the whole schema. Fields may be
//! added later; none changes its meaning or goes away.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

use crate::failure::{Failure, Outcome};

/// A key or value in an answer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Id<'a> {
    /// 32 hexadecimal digits.
    pub(crate) id: String,
    /// The name that it stands for, where the dictionary beside the store knows one.
    pub(crate) name: Option<Cow<'a, str>>,
}

/// One line of `--json` output.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Record<'a> {
    /// `get`, one a key: all values of the key. With `--count`, `values` is null.
    Values { key: Id<'a>, count: u64, values: Option<Vec<Id<'a>>> },
    /// `scan`: one pair.
    Pair { key: Id<'a>, value: Id<'a> },
    /// `scan --keys`: one key.
    Key { key: Id<'a> },
    /// `scan --limit`, last line: what to give to `--from` to go on; null when the scan is at its end.
    Cursor { next: Option<String> },
    /// `insert`: whether the pair is new.
    Inserted { new: bool, lsn: u64 },
    /// `delete`: how many values went.
    Deleted { values: u64 },
    /// `load`: pairs given and pairs that were new.
    Loaded { pairs: u64, new_pairs: u64, seconds: f64 },
    /// `stat`: the store's counters; sizes in bytes.
    Stat {
        keys: u64,
        values: u64,
        global_depth: u32,
        bucket_pages: u64,
        value_pages: u64,
        live_bytes: u64,
        file_bytes: u64,
        wal_bytes: u64,
        wal_used_bytes: u64,
        pool_bytes: u64,
        checkpoints: u64,
    },
    /// `check`: one problem.
    Problem { place: &'a str, detail: &'a str },
    /// `check`, last line.
    Checked { pages: u64, keys: u64, values: u64, problems: u64 },
    /// `compact`: size of the data file.
    Compacted { bytes_before: u64, bytes_after: u64 },
    /// `dump`: the canonical entry of one key. `values` is empty when the key's values are spilled.
    Entry { key: Id<'a>, count: u64, version: u32, valid: u8, spilled: bool, values: Vec<Id<'a>> },
    /// `backup`: the new file.
    BackedUp { path: String, keys: u64, values: u64, bytes: u64, seconds: f64 },
    /// `demo` and `bench`: one figure.
    Figure { name: &'a str, value: f64, unit: &'a str },
    /// `demo` and `bench`: one thing that was checked.
    Check { name: &'a str, passed: bool },
}

/// Standard output: buffered, locked, and either for people or for programs.
pub(crate) struct Output {
    writer: BufWriter<StdoutLock<'static>>,
    json: bool,
}

impl Output {
    /// Locks standard output.
    pub(crate) fn new(json: bool) -> Self {
        Self { writer: BufWriter::with_capacity(1 << 16, io::stdout().lock()), json }
    }

    /// True if the answer is for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Writes a line for people.
    pub(crate) fn line(&mut self, line: impl Display) -> Outcome {
        writeln!(self.writer, "{line}").map_err(Failure::Output)
    }

    /// Writes a line for programs.
    pub(crate) fn record(&mut self, record: &Record<'_>) -> Outcome {
        serde_json::to_writer(&mut self.writer, record)
            .map_err(|error| Failure::Output(error.into()))?;
        self.writer.write_all(b"\n").map_err(Failure::Output)
    }

    /// Writes `record` for programs or the line for people, whichever is asked for.
    pub(crate) fn answer(&mut self, record: &Record<'_>, line: impl Display) -> Outcome {
        if self.json { self.record(record) } else { self.line(line) }
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Outcome {
        self.writer.write_all(bytes).map_err(Failure::Output)
    }

    /// The writer itself, for what writes on its own. Its errors need [`Failure::Output`].
    pub(crate) fn writer(&mut self) -> &mut impl Write {
        &mut self.writer
    }

    /// Hands everything to the system: at the end, and where somebody watches.
    pub(crate) fn flush(&mut self) -> Outcome {
        self.writer.flush().map_err(Failure::Output)
    }
}
