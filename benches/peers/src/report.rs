//! [`Record`]: everything a comparison found, as a table for people and as one line of JSON for keeping.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::machine::Machine;
use crate::settings::Settings;
use crate::statistics::{Figure, Unit};

/// Version of the JSON record.
pub(crate) const SCHEMA: u64 = 2;

/// The store that the others are compared with.
const CIDSTORE: &str = "cidstore";
/// Columns that are no durable store but this one.
const NOT_RIVALS: [&str; 4] = [CIDSTORE, "hashbrown", "papaya", "machine"];

/// A peer that took part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrant {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: String,
    /// Its settings.
    pub settings: Vec<(&'static str, String)>,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// When it ended, in seconds since 1970.
    pub unix_seconds: u64,
    /// On what.
    pub machine: Machine,
    /// With which settings.
    pub settings: Settings,
    /// Who took part.
    pub entrants: Vec<Entrant>,
    /// The numbers.
    pub figures: Vec<Figure>,
}

/// Now, in seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Record {
    /// One line of JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let machine = &self.machine;
        let entrant = |entrant: &Entrant| {
            let settings: Map<String, Value> = entrant
                .settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), json!(value)))
                .collect();
            json!({ "name": entrant.name, "version": entrant.version, "settings": settings })
        };
        let figure = |figure: &Figure| {
            json!({
                "workload": figure.workload,
                "peer": figure.peer,
                "pairs": figure.pairs,
                "unit": figure.unit.name(),
                "median": figure.median,
                "least": figure.least,
                "most": figure.most,
                "rounds": figure.rounds,
            })
        };
        json!({
            "schema": SCHEMA,
            "unix_seconds": self.unix_seconds,
            "commit": machine.commit,
            "toolchain": machine.toolchain,
            "processor": machine.processor,
            "cores": machine.cores,
            "memory_bytes": machine.memory_bytes,
            "kernel": machine.kernel,
            "file_system": machine.file_system,
            "huge_pages": machine.huge_pages,
            "free_memory": machine.free_memory,
            "load_before": machine.load_before,
            "settings": self.settings.to_json(),
            "peers": self.entrants.iter().map(entrant).collect::<Vec<_>>(),
            "figures": self.figures.iter().map(figure).collect::<Vec<_>>(),
        })
    }

    /// The figures as [`table`] gives them, below what they were measured on.
    #[must_use]
    pub fn to_table(&self) -> String {
        self.heading() + &table(&self.figures, self.settings.pairs)
    }

    fn heading(&self) -> String {
        let Self { machine, settings, .. } = self;
        let mut text = format!(
            "{} random pairs, {}; commit {}\n{}, {} cores, {:.1} GiB, {}, {}, huge pages {}, free memory {}, load before {}; {}\n",
            grouped(settings.pairs),
            date(self.unix_seconds),
            machine.commit,
            machine.processor,
            machine.cores,
            machine.memory_bytes as f64 / (1_u64 << 30) as f64,
            machine.kernel,
            machine.file_system,
            machine.huge_pages,
            machine.free_memory,
            machine.load_before,
            machine.toolchain,
        );
        for entrant in &self.entrants {
            let settings: Vec<String> =
                entrant.settings.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            // Writing to a string cannot fail.
            let _ =
                writeln!(text, "- {} {}: {}", entrant.name, entrant.version, settings.join("; "));
        }
        let _ = writeln!(
            text,
            "- reads: medians of {} rounds of {}, peers in turns; stores filled once, by bulk load; {} random inserts; timed \
             writes {} s\n",
            settings.rounds,
            grouped(settings.reads),
            grouped(settings.inserts),
            settings.time.as_secs_f64(),
        );
        text
    }
}

/// A Markdown table that reads well as plain text: a row a figure, a column a peer, medians; last, how many times
/// better this store is than the best of the durable others. A row of stores of another size says so.
#[must_use]
pub fn table(figures: &[Figure], pairs_of_run: u64) -> String {
    let mut columns: Vec<&str> = Vec::new();
    let mut lines: Vec<(&str, u64)> = Vec::new();
    for figure in figures {
        if !columns.contains(&figure.peer.as_str()) {
            columns.push(&figure.peer);
        }
        if !lines.contains(&(&figure.workload, figure.pairs)) {
            lines.push((&figure.workload, figure.pairs));
        }
    }
    let mut head = vec!["figure".to_owned()];
    head.extend(columns.iter().map(|&peer| peer.to_owned()));
    head.push("cidstore : best durable".to_owned());
    let mut rows = vec![head];
    for (workload, pairs) in lines {
        let figure = |peer: &str| {
            figures.iter().find(|f| {
                (f.workload.as_str(), f.pairs, f.peer.as_str()) == (workload, pairs, peer)
            })
        };
        let size =
            if pairs == pairs_of_run { String::new() } else { format!(" at {}", grouped(pairs)) };
        let mut row = vec![format!("{workload}{size}")];
        row.extend(columns.iter().map(|peer| figure(peer).map_or_else(String::new, shown)));
        let rivals = columns.iter().filter(|peer| !NOT_RIVALS.contains(peer));
        row.push(against_best(figure(CIDSTORE), rivals.filter_map(|peer| figure(peer))));
        rows.push(row);
    }
    aligned(&rows)
}

/// A figure in the unit a person would use.
fn shown(figure: &Figure) -> String {
    let number = figure.median;
    match figure.unit {
        Unit::PairsPerSecond if number >= 1e5 => format!("{:.2} M/s", number / 1e6),
        Unit::PairsPerSecond => format!("{:.1} k/s", number / 1e3),
        Unit::BytesPerSecond => format!("{:.0} MB/s", number / 1e6),
        Unit::NanosecondsPerValue => format!("{number:.1} ns"),
        Unit::NanosecondsPerRead | Unit::NanosecondsPerInsert if number >= 1e5 => {
            format!("{:.0} us", number / 1e3)
        }
        Unit::NanosecondsPerRead | Unit::NanosecondsPerInsert => format!("{number:.0} ns"),
        Unit::Milliseconds => format!("{number:.1} ms"),
        Unit::BytesPerPair => format!("{number:.1} B"),
        Unit::Count => grouped(number as u64),
    }
}

/// `4.10 x lmdb`: how many times better `ours` is than the best of `theirs`. Counts are neither better nor worse.
fn against_best<'a>(ours: Option<&Figure>, theirs: impl Iterator<Item = &'a Figure>) -> String {
    let Some(ours) = ours.filter(|ours| ours.unit != Unit::Count) else { return String::new() };
    let factor = |theirs: &Figure| {
        if ours.unit.more_is_better() {
            ours.median / theirs.median
        } else {
            theirs.median / ours.median
        }
    };
    let best = theirs.min_by(|one, other| factor(one).total_cmp(&factor(other)));
    best.map_or_else(String::new, |best| format!("{:.2} x {}", factor(best), best.peer))
}

/// Rows as a Markdown table, the first column to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.len()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).max(3)).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(text, "| {cell:<width$} |"),
                _ => write!(text, " {cell:>width$} |"),
            };
        }
        text.push('\n');
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let line = "-".repeat(*width);
                text.push_str(&if column == 0 {
                    format!("|-{line}-|")
                } else {
                    format!("-{line}:|")
                });
            }
            text.push('\n');
        }
    }
    text
}

/// `10,000,000`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `2026-03-01`, UTC. Counts from a March, so that the leap day is the last of a year.
#[must_use]
pub fn date(unix_seconds: u64) -> String {
    let days = unix_seconds / 86_400 + 719_468;
    let era_day = days % 146_097;
    let year_of_era = (era_day - era_day / 1_460 + era_day / 36_524 - era_day / 146_096) / 365;
    let day_of_year = era_day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = days / 146_097 * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (4_107_542_399, "2100-02-28"),
            (4_107_542_400, "2100-03-01"),
            (1_798_761_599, "2026-12-31"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1_000, 10_000_000].map(grouped), ["0", "999", "1,000", "10,000,000"]);
    }

    #[test]
    fn the_ratio_is_to_the_best_and_above_one_when_ours_is_better() {
        let figure = |peer, unit, number| Figure::of("w", peer, 9, unit, vec![number]);
        let ours = figure("cidstore", Unit::NanosecondsPerRead, 100.0);
        let theirs = [
            figure("slow", Unit::NanosecondsPerRead, 900.0),
            figure("lmdb", Unit::NanosecondsPerRead, 450.0),
        ];
        assert_eq!(against_best(Some(&ours), theirs.iter()), "4.50 x lmdb");
        let ours = figure("cidstore", Unit::PairsPerSecond, 2e6);
        let theirs =
            [figure("fast", Unit::PairsPerSecond, 4e6), figure("lmdb", Unit::PairsPerSecond, 1e6)];
        assert_eq!(against_best(Some(&ours), theirs.iter()), "0.50 x fast");
        assert_eq!(against_best(Some(&ours), [].iter()), "");
        assert_eq!(against_best(None, theirs.iter()), "");
    }

    #[test]
    fn columns_line_up() {
        let cell = |text: &str| text.to_owned();
        let rows = [vec![cell("a"), cell("bbbb")], vec![cell("cccc"), cell("d")]];
        assert_eq!(aligned(&rows), "| a    | bbbb |\n|------|-----:|\n| cccc |    d |\n");
    }
}
