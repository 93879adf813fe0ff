//! [`Settings`]: the command line of `compare`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Result;
use crate::peers;
use crate::workload::Workload;

/// What `compare --help` prints before the list of workloads.
const USAGE: &str = "\
usage: compare [OPTION]...
  --n N           pairs in each store [10000000]
  --peer A,B      only these peers [all]
  --workload A,B  only these workloads [all but growth]
  --reads N       reads in a round [as many as pairs, at most 1000000]
  --rounds N      rounds of each read and open; the median counts [5]
  --inserts N     random pairs inserted into the loaded store [as many as pairs, at most 1000000]
  --seconds N     length of each run of timed writes [10 from 5000000 pairs on, else 1]
  --sizes A,B     stores of the workload growth [1000000,10000000,50000000,100000000]
  --seed N        other pairs [1]
  --dir FOLDER    where the stores are built, in a folder of their own [target]
  --json          print the record as JSON instead of the table
  --record        also append the record to ../record/compare.jsonl and write the table to ../record/compare.md";

/// Pairs from which on a run counts as a long one.
const LONG_RUN_PAIRS: u64 = 5_000_000;
/// Most reads of a round, and random inserts, unless told otherwise.
const OPERATIONS: u64 = 1_000_000;

/// What to compare, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Pairs in each store.
    pub pairs: u64,
    /// Reads in a round.
    pub reads: u64,
    /// Rounds of each read and open.
    pub rounds: u64,
    /// Random pairs inserted into the loaded store.
    pub inserts: u64,
    /// Length of each run of timed writes.
    pub time: Duration,
    /// Sizes of the stores of [`Workload::Growth`].
    pub sizes: Vec<u64>,
    /// Which pairs.
    pub seed: u64,
    /// Which peers.
    pub peers: Vec<String>,
    /// Which workloads.
    pub workloads: Vec<Workload>,
    /// Where the stores are built.
    pub folder: PathBuf,
    /// Print JSON.
    pub json: bool,
    /// Keep the record.
    pub record: bool,
}

/// What `compare --help` prints.
#[must_use]
pub fn usage() -> String {
    let workloads =
        Workload::ALL.map(|workload| format!("  {:<18} {}\n", workload.name(), workload.about()));
    format!("{USAGE}\npeers: {}\nworkloads:\n{}", peers::names().join(", "), workloads.concat())
}

impl Settings {
    /// Understands `arguments` (without the program's name).
    ///
    /// # Errors
    /// Names the argument that makes no sense.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut settings = Self {
            pairs: 10_000_000,
            reads: 0,
            rounds: 5,
            inserts: 0,
            time: Duration::ZERO,
            sizes: vec![1_000_000, 10_000_000, 50_000_000, 100_000_000],
            seed: 1,
            peers: peers::names().into_iter().map(str::to_owned).collect(),
            workloads: Workload::ALL.into_iter().filter(|one| *one != Workload::Growth).collect(),
            folder: PathBuf::from("target"),
            json: false,
            record: false,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--n" => settings.pairs = positive(&argument, &value()?)?,
                "--reads" => settings.reads = positive(&argument, &value()?)?,
                "--rounds" => settings.rounds = positive(&argument, &value()?)?,
                "--inserts" => settings.inserts = positive(&argument, &value()?)?,
                "--seconds" => settings.time = seconds(&value()?)?,
                "--sizes" => {
                    settings.sizes = value()?
                        .split(',')
                        .map(|size| positive(&argument, size))
                        .collect::<Result<_>>()?;
                }
                "--seed" => settings.seed = number(&argument, &value()?)?,
                "--peer" => settings.peers = chosen_peers(&value()?)?,
                "--workload" => settings.workloads = chosen_workloads(&value()?)?,
                "--dir" => settings.folder = PathBuf::from(value()?),
                "--json" => settings.json = true,
                "--record" => settings.record = true,
                _ => return Err(format!("unknown argument {argument}").into()),
            }
        }
        Ok(settings.completed())
    }

    /// Fills in what depends on the number of pairs.
    fn completed(mut self) -> Self {
        for count in [&mut self.reads, &mut self.inserts] {
            if *count == 0 {
                *count = self.pairs.min(OPERATIONS);
            }
        }
        if self.time.is_zero() {
            self.time = Duration::from_secs(if self.pairs >= LONG_RUN_PAIRS { 10 } else { 1 });
        }
        self
    }

    /// Whether `workload` was asked for.
    #[must_use]
    pub fn wants(&self, workload: Workload) -> bool {
        self.workloads.contains(&workload)
    }

    /// The settings that decide about figures.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "pairs": self.pairs,
            "reads": self.reads,
            "rounds": self.rounds,
            "inserts": self.inserts,
            "seconds": self.time.as_secs_f64(),
            "seed": self.seed,
        })
    }
}

/// `10_000_000` and `10000000` alike.
fn number(argument: &str, text: &str) -> Result<u64> {
    text.replace('_', "").parse().map_err(|_| format!("{argument}: {text} is no number").into())
}

fn seconds(text: &str) -> Result<Duration> {
    let time = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let time = time.filter(|time| !time.is_zero());
    time.ok_or_else(|| format!("--seconds: {text} is no length of time").into())
}

fn positive(argument: &str, text: &str) -> Result<u64> {
    match number(argument, text)? {
        0 => Err(format!("{argument} must be at least 1").into()),
        some => Ok(some),
    }
}

fn chosen_peers(list: &str) -> Result<Vec<String>> {
    let names = peers::names();
    let known = |name: &str| match names.contains(&name) {
        true => Ok(name.to_owned()),
        false => Err(format!("--peer: there is no {name}; there are {}", names.join(", ")).into()),
    };
    list.split(',').map(known).collect()
}

fn chosen_workloads(list: &str) -> Result<Vec<Workload>> {
    let known = |name: &str| {
        Workload::named(name).ok_or_else(|| format!("--workload: there is no {name}").into())
    };
    list.split(',').map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Settings> {
        Settings::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_change_what_they_name() {
        let line =
            "--n 5_000 --peer lmdb,cidstore --workload get_miss,growth --seed 0 --dir /x --json";
        let settings = parsed(line).unwrap();
        assert_eq!((settings.pairs, settings.reads, settings.inserts), (5_000, 5_000, 5_000));
        assert_eq!(settings.peers, ["lmdb", "cidstore"]);
        assert_eq!(settings.workloads, [Workload::GetMiss, Workload::Growth]);
        assert_eq!((settings.seed, settings.json, settings.record), (0, true, false));
        assert_eq!(settings.folder, PathBuf::from("/x"));
    }

    #[test]
    fn a_long_run_reads_no_more_than_a_million_and_writes_longer() {
        let settings = parsed("").unwrap();
        assert_eq!((settings.pairs, settings.reads), (10_000_000, 1_000_000));
        assert_eq!((settings.inserts, settings.time.as_secs()), (1_000_000, 10));
        assert!(!settings.wants(Workload::Growth) && settings.wants(Workload::Values1M));
        assert_eq!(parsed("--seconds 0.25").unwrap().time.as_millis(), 250);
    }

    #[test]
    fn nonsense_is_named() {
        for (line, word) in [
            ("--n", "--n"),
            ("--n 0", "--n"),
            ("--reads many", "many"),
            ("--peer redis", "redis"),
            ("--workload get", "get"),
            ("--seconds 0", "--seconds"),
            ("--seconds -1", "-1"),
            ("--fast", "--fast"),
        ] {
            let error = parsed(line).unwrap_err().to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn the_usage_names_every_workload_and_peer() {
        let usage = usage();
        assert!(Workload::ALL.iter().all(|workload| usage.contains(workload.name())));
        assert!(peers::names().iter().all(|peer| usage.contains(peer)));
    }
}
