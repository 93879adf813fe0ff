//! What the records of earlier runs say: the figures that the pictures and the table of the documentation are made of.

use serde_json::Value;

use crate::Result;
use crate::plot::{Plot, Series};
use crate::report::{self, SCHEMA};
use crate::run::{SHARES, THREADS};
use crate::statistics::{Figure, Unit};

/// Fewer columns are no comparison.
const PEERS_MIN: usize = 3;

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// On what, in one line.
    pub heading: String,
    /// Pairs in its stores.
    pub pairs: u64,
    /// Its figures.
    pub figures: Vec<Figure>,
}

/// The records in `lines`, oldest first; those of an older schema, whose workloads were others, are left out.
///
/// # Errors
/// If a line is no record.
pub fn read(lines: &str) -> Result<Vec<Kept>> {
    let records = lines.lines().map(serde_json::from_str::<Value>);
    let mut kept = Vec::new();
    for record in records {
        let record = record?;
        if record["schema"] == SCHEMA {
            kept.push(one(&record).ok_or("a record lacks a member")?);
        }
    }
    Ok(kept)
}

fn one(record: &Value) -> Option<Kept> {
    let figure = |figure: &Value| {
        Some(Figure {
            workload: figure["workload"].as_str()?.to_owned(),
            peer: figure["peer"].as_str()?.to_owned(),
            pairs: figure["pairs"].as_u64()?,
            unit: Unit::named(figure["unit"].as_str()?)?,
            median: figure["median"].as_f64()?,
            least: figure["least"].as_f64()?,
            most: figure["most"].as_f64()?,
            rounds: figure["rounds"].as_u64()? as usize,
        })
    };
    // Records from before it was looked at do not say.
    let memory = record["free_memory"].as_str();
    let memory = memory.map_or_else(String::new, |what| format!(", free memory {what}"));
    let heading = format!(
        "{}, {} cores, {}, {}{memory}; {}; commit {}",
        record["processor"].as_str()?,
        record["cores"].as_u64()?,
        record["kernel"].as_str()?,
        record["file_system"].as_str()?,
        report::date(record["unix_seconds"].as_u64()?),
        record["commit"].as_str()?,
    );
    Some(Kept {
        heading,
        pairs: record["settings"]["pairs"].as_u64()?,
        figures: record["figures"].as_array()?.iter().map(figure).collect::<Option<_>>()?,
    })
}

impl Kept {
    fn peers(&self) -> Vec<&str> {
        let mut peers: Vec<&str> = Vec::new();
        for figure in &self.figures {
            if !peers.contains(&figure.peer.as_str()) {
                peers.push(&figure.peer);
            }
        }
        peers
    }

    fn median(&self, workload: &str, peer: &str, pairs: u64) -> Option<f64> {
        let found = self
            .figures
            .iter()
            .find(|f| (f.workload.as_str(), f.peer.as_str(), f.pairs) == (workload, peer, pairs))?;
        Some(found.median)
    }

    /// A line a peer: the medians of `workloads`, each at the place given with it.
    fn lines(&self, workloads: &[(f64, String)]) -> Vec<Series> {
        let line = |peer: &str| Series {
            name: peer.to_owned(),
            points: workloads
                .iter()
                .filter_map(|(place, workload)| {
                    Some((*place, self.median(workload, peer, self.pairs)?))
                })
                .collect(),
        };
        self.peers().into_iter().map(line).collect()
    }

    fn subtitle(&self) -> String {
        format!("{} pairs; {}", report::grouped(self.pairs), self.heading)
    }
}

/// The newest of the comparisons with the most pairs that has a figure of each of `workloads`.
#[must_use]
pub fn main_record<'a>(records: &'a [Kept], workloads: &[&str]) -> Option<&'a Kept> {
    let has = |record: &Kept, workload: &str| record.figures.iter().any(|f| f.workload == workload);
    records
        .iter()
        .filter(|record| record.peers().len() >= PEERS_MIN)
        .filter(|record| workloads.iter().all(|workload| has(record, workload)))
        .max_by_key(|record| record.pairs)
}

/// The pictures that the records give, with the names of their files.
#[must_use]
pub fn plots(records: &[Kept]) -> Vec<(&'static str, Plot)> {
    let percentiles = || main_record(records, &["beside_pinned_p9999"]).map(percentiles);
    let threads = || main_record(records, &["durable_insert_1"]).map(by_threads);
    [
        ("lookup-by-size.svg", by_size(records)),
        ("reads-beside-a-writer.svg", percentiles()),
        ("durable-inserts-by-threads.svg", threads()),
    ]
    .into_iter()
    .filter_map(|(name, plot)| Some((name, plot?)))
    .collect()
}

/// Chained gets against pairs: of each peer and size the newest figure.
fn by_size(records: &[Kept]) -> Option<Plot> {
    const WORKLOAD: &str = "get_chained";
    let mut newest: Vec<&Figure> = Vec::new();
    for figure in records.iter().flat_map(|record| &record.figures) {
        if figure.workload == WORKLOAD {
            newest.retain(|older| (&older.peer, older.pairs) != (&figure.peer, figure.pairs));
            newest.push(figure);
        }
    }
    newest.sort_by_key(|figure| figure.pairs);
    let mut sizes: Vec<u64> = newest.iter().map(|figure| figure.pairs).collect();
    sizes.dedup();
    let mut peers: Vec<&str> = newest.iter().map(|figure| figure.peer.as_str()).collect();
    peers.sort_unstable();
    peers.dedup();
    let place = |pairs: u64| (pairs as f64).log10();
    let line = |peer: &&str| Series {
        name: (*peer).to_owned(),
        points: newest
            .iter()
            .filter(|figure| figure.peer == *peer)
            .map(|figure| (place(figure.pairs), figure.median))
            .collect(),
    };
    Some(Plot {
        title: "Time of a get against the number of pairs".to_owned(),
        subtitle: format!("chained gets; {}", records.last()?.heading),
        x_label: "pairs in the store".to_owned(),
        x_ticks: sizes.iter().map(|size| (place(*size), short(*size as f64))).collect(),
        y_label: "time of a get".to_owned(),
        y_text: time,
        series: peers.iter().map(line).collect(),
    })
}

fn percentiles(record: &Kept) -> Plot {
    const SHOWN: [&str; 4] = ["50 %", "99 %", "99.9 %", "99.99 %"];
    let workloads: Vec<(f64, String)> = SHARES
        .iter()
        .enumerate()
        .map(|(place, (share, _))| (place as f64, format!("beside_pinned_{share}")))
        .collect();
    Plot {
        title: "Gets beside a saturating writer: how long the slow ones take".to_owned(),
        subtitle: record.subtitle(),
        x_label: "share of gets that took at most this long (reader and writer on a core each)"
            .to_owned(),
        x_ticks: SHOWN
            .iter()
            .enumerate()
            .map(|(place, share)| (place as f64, (*share).to_owned()))
            .collect(),
        y_label: "time of a get".to_owned(),
        y_text: time,
        series: record.lines(&workloads),
    }
}

fn by_threads(record: &Kept) -> Plot {
    let place = |threads: usize| (threads as f64).log2();
    let workloads: Vec<(f64, String)> = THREADS
        .iter()
        .map(|threads| (place(*threads), format!("durable_insert_{threads}")))
        .collect();
    let mut series = record.lines(&workloads);
    let floor = record.figures.iter().find(|figure| figure.workload == "raw_fdatasync");
    series.extend(floor.map(|floor| Series {
        name: "raw fdatasync".to_owned(),
        points: workloads.iter().map(|(place, _)| (*place, floor.median)).collect(),
    }));
    Plot {
        title: "Durable single inserts against threads".to_owned(),
        subtitle: record.subtitle(),
        x_label: "threads; each insert is on disk when it returns".to_owned(),
        x_ticks: THREADS.iter().map(|threads| (place(*threads), threads.to_string())).collect(),
        y_label: "inserts a second".to_owned(),
        y_text: short,
        series,
    }
}

/// `200 ns`, `5 us`, `20 ms`.
fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.0} us", ns / 1e3),
        ns => format!("{:.0} ms", ns / 1e6),
    }
}

/// `100`, `2 k`, `10 M`.
fn short(number: f64) -> String {
    match number {
        number if number < 1e3 => format!("{number}"),
        number if number < 1e6 => format!("{} k", number / 1e3),
        number => format!("{} M", number / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(schema: u64, pairs: u64, nanoseconds: f64) -> String {
        let figures: Vec<String> = ["cidstore", "lmdb", "redb"]
            .iter()
            .map(|peer| {
                format!(
                    r#"{{"workload":"get_chained","peer":"{peer}","pairs":{pairs},"unit":"ns","median":{nanoseconds},"least":1,"most":9,"rounds":5}}"#
                )
            })
            .collect();
        format!(
            r#"{{"schema":{schema},"unix_seconds":0,"commit":"c","processor":"p","cores":2,"kernel":"k","file_system":"f","settings":{{"pairs":{pairs}}},"figures":[{}]}}"#,
            figures.join(",")
        ) + "\n"
    }

    #[test]
    fn the_newest_figure_of_each_size_is_drawn_and_old_schemas_are_not() {
        let lines = record(1, 500, 1.0)
            + &record(SCHEMA, 1_000, 7.0)
            + &record(SCHEMA, 1_000, 8.0)
            + &record(SCHEMA, 100, 3.0);
        let records = read(&lines).unwrap();
        assert_eq!(records.len(), 3);
        let plot = by_size(&records).unwrap();
        assert_eq!(plot.series.len(), 3);
        for series in &plot.series {
            assert_eq!(series.points, [(2.0, 3.0), (3.0, 8.0)]);
        }
        assert_eq!(plot.x_ticks[1].1, "1 k");
        let main = main_record(&records, &["get_chained"]).unwrap();
        assert_eq!((main.pairs, main.figures[0].median), (1_000, 8.0));
        assert_eq!(main_record(&records, &["get_miss"]), None);
        assert!(read("{}").unwrap().is_empty());
        assert!(read(&format!("{{\"schema\":{SCHEMA}}}")).is_err());
    }

    #[test]
    fn numbers_on_axes_are_short() {
        assert_eq!([200.0, 5e3, 2e7].map(time), ["200 ns", "5 us", "20 ms"]);
        assert_eq!([50.0, 2e3, 1e7].map(short), ["50", "2 k", "10 M"]);
    }
}
