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
use crate::top::Figures;

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
#[cfg_attr(
    not(any(feature = "libhdf5", test)),
    expect(dead_code, reason = "some need the HDF5 library")
)]
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
    /// `check --repair`: one thing that was wrong and is not any more.
    Repaired { place: &'a str, detail: &'a str },
    /// `check`, last line.
    Checked { pages: u64, keys: u64, values: u64, repaired: u64, problems: u64 },
    /// `compact`: size of the data file.
    Compacted { bytes_before: u64, bytes_after: u64 },
    /// `dump`: the canonical entry of one key. `values` is empty when the key's values are spilled.
    Entry { key: Id<'a>, count: u64, version: u32, valid: u8, spilled: bool, values: Vec<Id<'a>> },
    /// `backup`: the new file.
    BackedUp { path: String, keys: u64, values: u64, bytes: u64, seconds: f64 },
    /// `serve-metrics`: where it listens, once it does.
    Serving { address: String, url: String },
    /// `export`: the new file.
    Exported { path: String, keys: u64, values: u64, bytes: u64, seconds: f64 },
    /// `import`: pairs in the file and pairs that were new.
    Imported { pairs: u64, new_pairs: u64, seconds: f64 },
    /// `top`, one a reading.
    Top {
        source: &'a str,
        #[serde(flatten)]
        figures: Box<Figures>,
    },
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

#[cfg(test)]
mod tests {
    use super::*;

    /// One record of each form.
    fn samples() -> Vec<Record<'static>> {
        let id = || Id { id: String::new(), name: None };
        let stat = Record::Stat {
            keys: 0,
            values: 0,
            global_depth: 0,
            bucket_pages: 0,
            value_pages: 0,
            live_bytes: 0,
            file_bytes: 0,
            wal_bytes: 0,
            wal_used_bytes: 0,
            pool_bytes: 0,
            checkpoints: 0,
        };
        let entry = Record::Entry {
            key: id(),
            count: 0,
            version: 0,
            valid: 0,
            spilled: false,
            values: vec![id()],
        };
        let backed_up =
            Record::BackedUp { path: String::new(), keys: 0, values: 0, bytes: 0, seconds: 0.0 };
        let exported =
            Record::Exported { path: String::new(), keys: 0, values: 0, bytes: 0, seconds: 0.0 };
        vec![
            Record::Values { key: id(), count: 0, values: None },
            Record::Pair { key: id(), value: id() },
            Record::Key { key: id() },
            Record::Cursor { next: None },
            Record::Inserted { new: true, lsn: 0 },
            Record::Deleted { values: 0 },
            Record::Loaded { pairs: 0, new_pairs: 0, seconds: 0.0 },
            stat,
            Record::Problem { place: "", detail: "" },
            Record::Repaired { place: "", detail: "" },
            Record::Checked { pages: 0, keys: 0, values: 0, repaired: 0, problems: 0 },
            Record::Compacted { bytes_before: 0, bytes_after: 0 },
            entry,
            backed_up,
            Record::Serving { address: String::new(), url: String::new() },
            exported,
            Record::Imported { pairs: 0, new_pairs: 0, seconds: 0.0 },
            Record::Top { source: "", figures: Box::default() },
            Record::Figure { name: "", value: 0.0, unit: "" },
            Record::Check { name: "", passed: true },
        ]
    }

    /// `docs/command.md` has a row for each form, and the row names each field.
    #[test]
    fn the_document_tells_the_schema() {
        let document = include_str!("../../../docs/command.md");
        let (_, json) = document.split_once("\n## JSON\n").unwrap();
        let samples = samples();
        for sample in &samples {
            let record = serde_json::to_value(sample).unwrap();
            let form = record["type"].as_str().unwrap();
            let start = format!("| `{form}` | ");
            let row = json.lines().find(|line| line.starts_with(&start));
            let row = row.unwrap_or_else(|| panic!("no row for {form}"));
            for field in record.as_object().unwrap().keys().filter(|field| *field != "type") {
                assert!(row.contains(&format!("`{field}`")), "{form}: {field}");
            }
        }
        let rows = json.lines().filter(|line| line.starts_with("| `") && !line.contains("fields"));
        assert_eq!(rows.count(), samples.len(), "a row for a form that is not printed");
    }
}
