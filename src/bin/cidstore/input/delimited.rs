//! Lines of two columns: TSV and CSV, read as a stream.
//!
//! Common to both: a line ends with LF or CRLF; the last line may lack its end; empty lines are
//! skipped; a UTF-8 byte order mark before the first line is skipped; a record has exactly two columns,
//! neither empty, both UTF-8, at most [`RECORD_BYTES_MAX`] in all. Everything else is refused with its
//! line and column: no record is ever guessed at or dropped.
//!
//! TSV has no quotes; a quote is a character like any other. With `comments`, lines that start with `#`
//! are skipped. CSV is RFC 4180: a field may be quoted, a quoted field may hold commas, line ends and
//! doubled quotes, and a quote inside an unquoted field is an error.

use std::io::{self, BufRead, Read};

use clap::ValueEnum;

/// Longest record that is read, line end included. Longer ones are a file of another kind.
pub(crate) const RECORD_BYTES_MAX: usize = 1 << 20;

/// How two columns are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Separated by a tab, no quotes.
    Tsv,
    /// Separated by a comma, quotes as in RFC 4180.
    Csv,
}

/// How an input is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// How columns are told apart.
    pub(crate) format: Format,
    /// Skip lines that start with `#` (TSV only).
    pub(crate) comments: bool,
    /// Skip the first record, whatever it holds.
    pub(crate) header: bool,
}

/// Why reading ended early.
#[derive(Debug)]
pub(crate) enum ReadFailure {
    /// The bytes make no sense.
    Malformed {
        /// Line, counted from one.
        line: u64,
        /// Column, counted from one, where it is one column's fault.
        column: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// The bytes can't be read.
    Io(io::Error),
}

impl From<io::Error> for ReadFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PairText<'a> {
    /// First column.
    pub(crate) key: &'a str,
    /// Second column.
    pub(crate) value: &'a str,
    /// Line on which the record starts, counted from one.
    pub(crate) line: u64,
}

/// Reads records one by one, in memory for one record.
pub(crate) struct PairReader<R> {
    reader: R,
    dialect: Dialect,
    /// The header was skipped, or there is none to skip.
    header_done: bool,
    /// Lines read so far; the number of the line that was read last.
    line: u64,
    /// The record as it stands in the input.
    raw: Vec<u8>,
    /// The first two fields, unquoted.
    fields: [Vec<u8>; 2],
    /// Fields seen; more than two is an error, found after the record was read whole.
    field_count: usize,
}

impl<R: BufRead> PairReader<R> {
    /// Reads from the first byte of an input.
    pub(crate) fn new(reader: R, dialect: Dialect) -> Self {
        Self {
            reader,
            dialect,
            header_done: !dialect.header,
            line: 0,
            raw: Vec::new(),
            fields: [Vec::new(), Vec::new()],
            field_count: 0,
        }
    }

    /// The next record, or `None` at the end of the input.
    ///
    /// # Errors
    /// The input can't be read, or a record is malformed; both name the place. There is no going on.
    pub(crate) fn next_pair(&mut self) -> Result<Option<PairText<'_>>, ReadFailure> {
        let Some(mut line) = self.next_record()? else {
            return Ok(None);
        };
        if !self.header_done {
            self.header_done = true;
            match self.next_record()? {
                Some(second) => line = second,
                None => return Ok(None),
            }
        }
        if self.field_count != 2 {
            return Err(self.wrong_count(line));
        }
        let [key, value] = &self.fields;
        Ok(Some(PairText {
            key: field_text(key, line, 1)?,
            value: field_text(value, line, 2)?,
            line,
        }))
    }

    /// Reads and splits the next record that is one; gives the line on which it starts.
    fn next_record(&mut self) -> Result<Option<u64>, ReadFailure> {
        let line = loop {
            self.raw.clear();
            if !self.read_line()? {
                return Ok(None);
            }
            if self.line == 1 && self.raw.starts_with(b"\xef\xbb\xbf") {
                self.raw.drain(..3);
            }
            let is_comment = self.dialect.comments && self.raw.starts_with(b"#");
            if !is_comment && !line_text(&self.raw).is_empty() {
                break self.line;
            }
        };
        self.fields.iter_mut().for_each(Vec::clear);
        self.field_count = 0;
        match self.dialect.format {
            Format::Tsv => self.split_tsv()?,
            Format::Csv => self.split_csv(line)?,
        }
        Ok(Some(line))
    }

    /// Appends a line, with its end, to `raw`. False at the end of the input.
    fn read_line(&mut self) -> Result<bool, ReadFailure> {
        let room = RECORD_BYTES_MAX - self.raw.len();
        let read = (&mut self.reader).take(room as u64 + 1).read_until(b'\n', &mut self.raw)?;
        if read == 0 {
            return Ok(false);
        }
        self.line += 1;
        if read > room {
            let reason = format!("a record of more than {RECORD_BYTES_MAX} bytes");
            return Err(malformed(self.line, None, reason));
        }
        Ok(true)
    }

    fn split_tsv(&mut self) -> Result<(), ReadFailure> {
        for field in line_text(&self.raw).split(|byte| *byte == b'\t') {
            self.field_count += 1;
            if field.contains(&b'\r') {
                return Err(bare_return(self.line, self.field_count));
            }
            if let Some(kept) = self.fields.get_mut(self.field_count - 1) {
                kept.extend_from_slice(field);
            }
        }
        Ok(())
    }

    fn split_csv(&mut self, start: u64) -> Result<(), ReadFailure> {
        let mut at = 0;
        loop {
            self.field_count += 1;
            at = if self.raw.get(at) == Some(&b'"') {
                self.quoted_field(at + 1, start)?
            } else {
                self.bare_field(at)?
            };
            if self.raw.get(at) != Some(&b',') {
                return Ok(());
            }
            at += 1;
        }
    }

    /// Takes an unquoted field that starts at `at`; gives the place after it.
    fn bare_field(&mut self, at: usize) -> Result<usize, ReadFailure> {
        let rest = line_text(&self.raw).get(at..).unwrap_or_default();
        let field = rest.split(|byte| *byte == b',').next().unwrap_or_default();
        if field.contains(&b'"') {
            let reason = "a quote inside an unquoted field".to_owned();
            return Err(malformed(self.line, Some(self.field_count), reason));
        }
        if field.contains(&b'\r') {
            return Err(bare_return(self.line, self.field_count));
        }
        if let Some(kept) = self.fields.get_mut(self.field_count - 1) {
            kept.extend_from_slice(field);
        }
        Ok(at + field.len())
    }

    /// Takes a quoted field whose text starts at `at`; gives the place after the closing quote.
    fn quoted_field(&mut self, mut at: usize, start: u64) -> Result<usize, ReadFailure> {
        let opened = self.line;
        loop {
            let rest = self.raw.get(at..).unwrap_or_default();
            let quote = rest.iter().position(|byte| *byte == b'"');
            let text = rest.get(..quote.unwrap_or(rest.len())).unwrap_or_default();
            if let Some(kept) = self.fields.get_mut(self.field_count - 1) {
                kept.extend_from_slice(text);
            }
            at += text.len();
            if quote.is_none() {
                // The field goes on in the next line.
                if !self.read_line()? {
                    let reason = if opened == start {
                        "a quote that is never closed".to_owned()
                    } else {
                        format!("a quote, opened on line {opened}, that is never closed")
                    };
                    return Err(malformed(start, Some(self.field_count), reason));
                }
                continue;
            }
            if self.raw.get(at + 1) == Some(&b'"') {
                if let Some(kept) = self.fields.get_mut(self.field_count - 1) {
                    kept.push(b'"');
                }
                at += 2;
                continue;
            }
            let after = at + 1;
            let ends = after >= line_text(&self.raw).len() || self.raw.get(after) == Some(&b',');
            if !ends {
                let reason = "text after the closing quote".to_owned();
                return Err(malformed(self.line, Some(self.field_count), reason));
            }
            return Ok(after);
        }
    }

    fn wrong_count(&self, line: u64) -> ReadFailure {
        let plural = if self.field_count == 1 { "" } else { "s" };
        let mut reason = format!("{} column{plural} where 2 are expected", self.field_count);
        if self.dialect.format == Format::Tsv && self.raw.starts_with(b"#") {
            reason.push_str(" (--comments skips lines that start with `#`)");
        }
        malformed(line, None, reason)
    }
}

/// A line without its end.
fn line_text(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn field_text(field: &[u8], line: u64, column: usize) -> Result<&str, ReadFailure> {
    if field.is_empty() {
        return Err(malformed(line, Some(column), "empty".to_owned()));
    }
    std::str::from_utf8(field).map_err(|error| {
        let byte = field.get(error.valid_up_to()).copied().unwrap_or_default();
        malformed(line, Some(column), format!("not UTF-8 (byte 0x{byte:02x})"))
    })
}

fn bare_return(line: u64, column: usize) -> ReadFailure {
    let reason = "a carriage return that does not end the line".to_owned();
    malformed(line, Some(column), reason)
}

fn malformed(line: u64, column: Option<usize>, reason: String) -> ReadFailure {
    ReadFailure::Malformed { line, column, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pair = (String, String, u64);

    /// All pairs, or line, column and reason of what is wrong. The reader gets one byte at a time, so
    /// that no answer can depend on how the input is cut.
    fn read(format: Format, comments: bool, text: &[u8]) -> Result<Vec<Pair>, String> {
        read_as(Dialect { format, comments, header: false }, text)
    }

    fn read_as(dialect: Dialect, text: &[u8]) -> Result<Vec<Pair>, String> {
        let mut reader = PairReader::new(io::BufReader::with_capacity(1, text), dialect);
        let mut pairs = Vec::new();
        loop {
            match reader.next_pair() {
                Ok(Some(pair)) => pairs.push((pair.key.into(), pair.value.into(), pair.line)),
                Ok(None) => return Ok(pairs),
                Err(ReadFailure::Malformed { line, column: Some(column), reason }) => {
                    return Err(format!("{line}:{column}: {reason}"));
                }
                Err(ReadFailure::Malformed { line, column: None, reason }) => {
                    return Err(format!("{line}: {reason}"));
                }
                Err(ReadFailure::Io(error)) => return Err(error.to_string()),
            }
        }
    }

    fn pairs(list: &[(&str, &str, u64)]) -> Result<Vec<Pair>, String> {
        Ok(list.iter().map(|(key, value, line)| ((*key).into(), (*value).into(), *line)).collect())
    }

    #[test]
    fn tsv_that_is_fine() {
        let tsv = |text: &str| read(Format::Tsv, false, text.as_bytes());
        assert_eq!(tsv(""), pairs(&[]));
        assert_eq!(tsv("\n\r\n"), pairs(&[]));
        assert_eq!(tsv("a\tb"), pairs(&[("a", "b", 1)]));
        assert_eq!(tsv("a\tb\r\n\nc\td\r"), pairs(&[("a", "b", 1), ("c", "d", 3)]));
        assert_eq!(tsv("\u{feff}a\t\"b, \"\n"), pairs(&[("a", "\"b, \"", 1)]));
        assert_eq!(tsv("#a\tb\n"), pairs(&[("#a", "b", 1)]));
        assert_eq!(
            read(Format::Tsv, true, b"# x\ta\n#\na\tb\n#c\td"),
            pairs(&[("a", "b", 3)]),
            "comments"
        );
    }

    #[test]
    fn tsv_that_is_not() {
        let table: &[(&[u8], &str)] = &[
            (b"a\tb\nc\n", "2: 1 column where 2 are expected"),
            (b"a\tb\tc\n", "1: 3 columns where 2 are expected"),
            (
                b"# x\na\tb\n",
                "1: 1 column where 2 are expected (--comments skips lines that start with `#`)",
            ),
            (b"\tb\n", "1:1: empty"),
            (b"a\t\r\n", "1:2: empty"),
            (b"a\rb\tc\n", "1:1: a carriage return that does not end the line"),
            (b"a\tb\r\r\n", "1:2: a carriage return that does not end the line"),
            (b"x\ty\na\tb\xffc\n", "2:2: not UTF-8 (byte 0xff)"),
            (b"\xc3\tb", "1:1: not UTF-8 (byte 0xc3)"),
        ];
        for (text, error) in table {
            assert_eq!(read(Format::Tsv, false, text), Err((*error).to_owned()), "{text:?}");
        }
    }

    #[test]
    fn csv_that_is_fine() {
        let csv = |text: &str| read(Format::Csv, false, text.as_bytes());
        assert_eq!(csv("a,b\r\nc,d"), pairs(&[("a", "b", 1), ("c", "d", 2)]));
        assert_eq!(csv("\"a\",\"b\"\r\n"), pairs(&[("a", "b", 1)]));
        assert_eq!(csv("\"a,\"\"x\"\"\",b\n"), pairs(&[("a,\"x\"", "b", 1)]));
        assert_eq!(csv("\"\"\"\"\"\",b"), pairs(&[("\"\"", "b", 1)]));
        assert_eq!(
            csv("\"a\r\nb\n\",\"c\nd\"\nx,y\n"),
            pairs(&[("a\r\nb\n", "c\nd", 1), ("x", "y", 5)])
        );
        assert_eq!(csv("a b, c\n"), pairs(&[("a b", " c", 1)]));
        assert_eq!(csv("\u{feff}\"a\",b"), pairs(&[("a", "b", 1)]));
    }

    #[test]
    fn csv_that_is_not() {
        let table: &[(&[u8], &str)] = &[
            (b"a\n", "1: 1 column where 2 are expected"),
            (b"a,b,\n", "1: 3 columns where 2 are expected"),
            (b"a,\n", "1:2: empty"),
            (b"\"\",b\n", "1:1: empty"),
            (b"a,b\"c\"\n", "1:2: a quote inside an unquoted field"),
            (b"\"a\"x,b\n", "1:1: text after the closing quote"),
            (b"\"a\" ,b\n", "1:1: text after the closing quote"),
            (b"x,y\na,\"b\nc\n", "2:2: a quote that is never closed"),
            (b"\"a\n\",\"b\n", "1:2: a quote, opened on line 2, that is never closed"),
            (b"\"a\nb\"x,c\n", "2:1: text after the closing quote"),
            (b"\"a\nb\",\xff\n", "1:2: not UTF-8 (byte 0xff)"),
            (b"a\rb,c\n", "1:1: a carriage return that does not end the line"),
        ];
        for (text, error) in table {
            assert_eq!(read(Format::Csv, false, text), Err((*error).to_owned()), "{text:?}");
        }
    }

    #[test]
    fn a_header_is_skipped_whatever_it_holds() {
        let dialect = |format| Dialect { format, comments: false, header: true };
        for (format, text, line) in [
            (Format::Csv, "\"package\nname\",b,c\nx,y\n", 3),
            (Format::Csv, "\n\nname\nx,y\n", 4),
            (Format::Tsv, "name\nx\ty\n", 2),
        ] {
            assert_eq!(read_as(dialect(format), text.as_bytes()), pairs(&[("x", "y", line)]));
        }
        assert_eq!(read_as(dialect(Format::Tsv), b"a\tb\n"), pairs(&[]));
        assert_eq!(read_as(dialect(Format::Tsv), b""), pairs(&[]));
    }

    #[test]
    fn a_record_has_a_longest_length() {
        let half = RECORD_BYTES_MAX / 2;
        let fits = format!("{}\t{}\n", "k".repeat(half - 1), "v".repeat(half - 1));
        assert_eq!(fits.len(), RECORD_BYTES_MAX);
        assert!(read(Format::Tsv, false, fits.as_bytes()).is_ok());
        let reason = format!("2: a record of more than {RECORD_BYTES_MAX} bytes");
        let long = format!("a\tb\nk{fits}");
        assert_eq!(read(Format::Tsv, false, long.as_bytes()), Err(reason.clone()));
        // Spread over many lines inside one quoted field.
        let long = format!("a,\"{}", "b\n".repeat(half));
        assert!(
            read(Format::Csv, false, long.as_bytes())
                .is_err_and(|error| error.contains("a record of"))
        );
    }

    /// Whatever pairs there are: written with all their fields quoted, they come back.
    #[test]
    fn csv_reads_what_a_writer_quotes() {
        let alphabet = ["a", "\"", ",", "\r\n", "\n", "é", " "];
        for seed in 0..alphabet.len().pow(4) {
            let pick = |place: u32| alphabet[seed / alphabet.len().pow(place) % alphabet.len()];
            let (key, value) = (pick(0).to_owned() + pick(1), pick(2).to_owned() + pick(3));
            let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
            let text = format!("{},{}\nx,y\n", quoted(&key), quoted(&value));
            let lines = text.matches('\n').count() as u64;
            let wanted = pairs(&[(&key, &value, 1), ("x", "y", lines)]);
            assert_eq!(read(Format::Csv, false, text.as_bytes()), wanted, "{text:?}");
        }
    }
}
