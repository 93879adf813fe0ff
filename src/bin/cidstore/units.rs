//! Numbers for people: grouped counts, sizes, durations, and tables whose columns line up.
//!
//! Nothing here reads or writes anything; each function gives a string. Three significant digits
//! everywhere, so that two figures beside each other can be compared by eye.

use std::fmt::{self, Display};
use std::time::Duration;

/// A count with thousands grouped: `282,432`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A count with its noun, plural unless it is one: `1 key`, `2 keys`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A size in bytes: `512 B`, `1.50 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut size = number as f64 / 1024.0;
    let mut unit = 0;
    // Not 1024: what would print as "1023.7 KiB" or round up to "1024 KiB" reads better as "1.00 MiB".
    while size >= 999.5 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{} {}", significant(size), UNITS[unit])
}

/// A duration in its natural unit: `210 ns`, `1.23 ms`, `2.10 s`.
pub(crate) fn duration(duration: Duration) -> String {
    nanoseconds(duration.as_nanos() as f64)
}

/// A time in nanoseconds, which may be a fraction of one, in its natural unit.
pub(crate) fn nanoseconds(time: f64) -> String {
    let (scaled, unit) = if time < 999.5 {
        (time, "ns")
    } else if time < 999.5e3 {
        (time / 1e3, "us")
    } else if time < 999.5e6 {
        (time / 1e6, "ms")
    } else {
        (time / 1e9, "s")
    };
    format!("{} {unit}", significant(scaled))
}

/// How many a second: `2.71 M/s`.
pub(crate) fn rate(number: u64, time: Duration) -> String {
    format!("{}/s", scaled(number as f64 / time.as_secs_f64().max(1e-9)))
}

/// A number with a decimal multiplier: `950`, `2.71 M`.
pub(crate) fn scaled(number: f64) -> String {
    let (scaled, unit) = if number < 999.5 {
        (number, "")
    } else if number < 999.5e3 {
        (number / 1e3, " k")
    } else if number < 999.5e6 {
        (number / 1e6, " M")
    } else {
        (number / 1e9, " G")
    };
    format!("{}{unit}", significant(scaled))
}

/// Three significant digits, without an exponent; all digits of the whole part.
pub(crate) fn significant(number: f64) -> String {
    let decimals = match number.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    format!("{number:.decimals$}")
}

/// Where the text of a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows whose columns line up. Rows may be short; the last column of a row is never padded.
#[derive(Debug)]
pub(crate) struct Table {
    columns: &'static [Align],
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    pub(crate) fn new(columns: &'static [Align]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row. Cells beyond the columns are left-aligned, as if there were more columns.
    pub(crate) fn row<const CELLS: usize>(&mut self, cells: [&str; CELLS]) {
        self.rows.push(cells.iter().map(|cell| (*cell).to_owned()).collect());
    }

    /// The lines of the table, without line ends.
    pub(crate) fn lines(&self) -> Vec<String> {
        let widths = self.widths();
        self.rows.iter().map(|row| self.line(row, &widths)).collect()
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = vec![0; self.rows.iter().map(Vec::len).max().unwrap_or(0)];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            if at > 0 {
                line.push_str("  ");
            }
            match self.columns.get(at) {
                Some(Align::Right) => line.push_str(&format!("{cell:>width$}")),
                _ => line.push_str(&format!("{cell:<width$}")),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

impl Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines() {
            writeln!(formatter, "{line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        assert_eq!(counted(1, "key"), "1 key");
        assert_eq!(counted(0, "key"), "0 keys");
    }

    #[test]
    fn sizes_change_unit_before_they_need_a_fourth_digit() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10_240, "10.0 KiB"),
            (1024 * 1024 - 1, "1.00 MiB"),
            (212_992, "208 KiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn durations_have_their_natural_unit() {
        for (nanoseconds, text) in [
            (0, "0.00 ns"),
            (999, "999 ns"),
            (1_234, "1.23 us"),
            (999_600, "1.00 ms"),
            (12_345_678, "12.3 ms"),
            (61_000_000_000, "61.0 s"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanoseconds)), text);
        }
        assert_eq!(rate(2_710_000, Duration::from_secs(1)), "2.71 M/s");
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[Align::Left, Align::Right, Align::Left]);
        table.row(["a", "1", "x"]);
        table.row(["long", "1,000", ""]);
        assert_eq!(table.to_string(), "a         1  x\nlong  1,000\n");
    }
}
