//! [`Record`]: everything a comparison found, as a table for people and as one line of JSON for keeping.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::json::Json;
use crate::machine::Machine;
use crate::settings::Settings;
use crate::statistics::{Figure, Unit};

/// Version of the JSON record.
const SCHEMA: u64 = 1;

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
    pub fn to_json(&self) -> Json {
        let machine = &self.machine;
        let figure = |figure: &Figure| {
            Json::Object(vec![
                ("workload", Json::from(figure.workload)),
                ("peer", Json::from(figure.peer)),
                ("unit", Json::from(figure.unit.name())),
                ("median", Json::Number(figure.median)),
                ("least", Json::Number(figure.least)),
                ("most", Json::Number(figure.most)),
                ("rounds", Json::Whole(figure.rounds as u64)),
            ])
        };
        let entrant = |entrant: &Entrant| {
            let settings =
                entrant.settings.iter().map(|(name, value)| (*name, Json::from(value.as_str())));
            Json::Object(vec![
                ("name", Json::from(entrant.name)),
                ("version", Json::from(entrant.version.as_str())),
                ("settings", Json::Object(settings.collect())),
            ])
        };
        Json::Object(vec![
            ("schema", Json::Whole(SCHEMA)),
            ("unix_seconds", Json::Whole(self.unix_seconds)),
            ("commit", Json::from(machine.commit.as_str())),
            ("toolchain", Json::from(machine.toolchain.as_str())),
            ("processor", Json::from(machine.processor.as_str())),
            ("cores", Json::Whole(machine.cores as u64)),
            ("memory_bytes", Json::Whole(machine.memory_bytes)),
            ("kernel", Json::from(machine.kernel.as_str())),
            ("file_system", Json::from(machine.file_system.as_str())),
            ("huge_pages", Json::from(machine.huge_pages.as_str())),
            ("load_before", Json::from(machine.load_before.as_str())),
            ("settings", self.settings.to_json()),
            ("peers", Json::List(self.entrants.iter().map(entrant).collect())),
            ("figures", Json::List(self.figures.iter().map(figure).collect())),
        ])
    }

    /// A Markdown table that reads well as plain text: a row a workload, a column a peer, medians.
    #[must_use]
    pub fn to_table(&self) -> String {
        let mut text = self.heading();
        let mut columns: Vec<&str> = Vec::new();
        let mut workloads: Vec<&str> = Vec::new();
        for figure in &self.figures {
            if !columns.contains(&figure.peer) {
                columns.push(figure.peer);
            }
            if !workloads.contains(&figure.workload) {
                workloads.push(figure.workload);
            }
        }
        let ratio = ["cidstore", "lmdb"].iter().all(|peer| columns.contains(peer));
        let mut rows = vec![vec!["workload".to_owned()]];
        if let Some(head) = rows.first_mut() {
            head.extend(columns.iter().map(|&peer| peer.to_owned()));
            head.extend(ratio.then(|| "cidstore : lmdb".to_owned()));
        }
        for workload in workloads {
            let figure =
                |peer: &str| self.figures.iter().find(|f| f.workload == workload && f.peer == peer);
            let mut row = vec![workload.to_owned()];
            row.extend(columns.iter().map(|peer| figure(peer).map_or_else(String::new, shown)));
            row.extend(ratio.then(|| times_better(figure("cidstore"), figure("lmdb"))));
            rows.push(row);
        }
        text.push_str(&aligned(&rows));
        text
    }

    fn heading(&self) -> String {
        let Self { machine, settings, .. } = self;
        let mut text = format!(
            "{} random pairs, {}; commit {}\n{}, {} cores, {:.1} GiB, {}, {}, huge pages {}, load before {}; {}\n",
            grouped(settings.pairs),
            date(self.unix_seconds),
            machine.commit,
            machine.processor,
            machine.cores,
            machine.memory_bytes as f64 / (1_u64 << 30) as f64,
            machine.kernel,
            machine.file_system,
            machine.huge_pages,
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
            "- medians: builds of {}, reads of {} rounds of {}, opens of {}\n",
            settings.builds,
            settings.rounds,
            grouped(settings.reads),
            settings.rounds
        );
        text
    }
}

/// A figure in the unit a person would use.
fn shown(figure: &Figure) -> String {
    let number = figure.median;
    match figure.unit {
        Unit::PairsPerSecond => format!("{:.2} M/s", number / 1e6),
        Unit::BytesPerSecond => format!("{:.0} MB/s", number / 1e6),
        Unit::NanosecondsPerRead => format!("{number:.0} ns"),
        Unit::Milliseconds => format!("{number:.1} ms"),
        Unit::BytesPerPair => format!("{number:.1} B"),
    }
}

fn times_better(ours: Option<&Figure>, theirs: Option<&Figure>) -> String {
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return String::new() };
    let factor = if ours.unit.more_is_better() {
        ours.median / theirs.median
    } else {
        theirs.median / ours.median
    };
    format!("{factor:.2} x")
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
fn grouped(number: u64) -> String {
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
fn date(unix_seconds: u64) -> String {
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
    fn the_ratio_is_above_one_when_ours_is_better() {
        let figure = |peer, unit, number| Figure::of("w", peer, unit, vec![number]);
        let ours = figure("cidstore", Unit::NanosecondsPerRead, 100.0);
        let theirs = figure("lmdb", Unit::NanosecondsPerRead, 450.0);
        assert_eq!(times_better(Some(&ours), Some(&theirs)), "4.50 x");
        let ours = figure("cidstore", Unit::PairsPerSecond, 2e6);
        let theirs = figure("lmdb", Unit::PairsPerSecond, 1e6);
        assert_eq!(times_better(Some(&ours), Some(&theirs)), "2.00 x");
        assert_eq!(times_better(Some(&ours), None), "");
    }

    #[test]
    fn columns_line_up() {
        let cell = |text: &str| text.to_owned();
        let rows = [vec![cell("a"), cell("bbbb")], vec![cell("cccc"), cell("d")]];
        assert_eq!(aligned(&rows), "| a    | bbbb |\n|------|-----:|\n| cccc |    d |\n");
    }
}
