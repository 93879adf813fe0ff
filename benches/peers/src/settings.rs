//! [`Settings`]: the command line of `compare`.

use std::path::PathBuf;

use crate::Result;
use crate::json::Json;

/// What `compare --help` prints.
pub const USAGE: &str = "\
usage: compare [OPTION]...
  --pairs N       pairs in each store [10000000]
  --reads N       reads in a round [1000000]
  --rounds N      rounds of each read and open; the median counts [5]
  --builds N      how often each store is built; the median counts [3]
  --kill-pairs N  pairs a child inserts before it is killed [1000000]
  --seed N        other pairs [1]
  --peers A,B     only these, of cidstore, hashbrown, lmdb
  --dir FOLDER    where the stores are built, in a folder of their own [target]
  --json          print the record as JSON instead of the table
  --record        also append the record to ../record/compare.jsonl and write the table to ../record/compare.md";

/// Peers in the order they run.
pub const PEERS: [&str; 3] = ["cidstore", "hashbrown", "lmdb"];

/// What to compare, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Pairs in each store.
    pub pairs: u64,
    /// Reads in a round.
    pub reads: u64,
    /// Rounds of each read and open.
    pub rounds: u64,
    /// How often each store is built.
    pub builds: u64,
    /// Pairs a child inserts before it is killed.
    pub kill_pairs: u64,
    /// Which pairs.
    pub seed: u64,
    /// Which peers.
    pub peers: Vec<String>,
    /// Where the stores are built.
    pub folder: PathBuf,
    /// Print JSON.
    pub json: bool,
    /// Keep the record.
    pub record: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pairs: 10_000_000,
            reads: 1_000_000,
            rounds: 5,
            builds: 3,
            kill_pairs: 1_000_000,
            seed: 1,
            peers: PEERS.map(str::to_owned).to_vec(),
            folder: PathBuf::from("target"),
            json: false,
            record: false,
        }
    }
}

impl Settings {
    /// Understands `arguments` (without the program's name).
    ///
    /// # Errors
    /// Names the argument that makes no sense.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut settings = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--pairs" => settings.pairs = positive(&argument, &value()?)?,
                "--reads" => settings.reads = positive(&argument, &value()?)?,
                "--rounds" => settings.rounds = positive(&argument, &value()?)?,
                "--builds" => settings.builds = positive(&argument, &value()?)?,
                "--kill-pairs" => settings.kill_pairs = positive(&argument, &value()?)?,
                "--seed" => settings.seed = number(&argument, &value()?)?,
                "--peers" => settings.peers = peers(&value()?)?,
                "--dir" => settings.folder = PathBuf::from(value()?),
                "--json" => settings.json = true,
                "--record" => settings.record = true,
                _ => return Err(format!("unknown argument {argument}").into()),
            }
        }
        Ok(settings)
    }

    /// The settings that decide about figures.
    #[must_use]
    pub fn to_json(&self) -> Json {
        Json::Object(vec![
            ("pairs", Json::Whole(self.pairs)),
            ("reads", Json::Whole(self.reads)),
            ("rounds", Json::Whole(self.rounds)),
            ("builds", Json::Whole(self.builds)),
            ("kill_pairs", Json::Whole(self.kill_pairs)),
            ("seed", Json::Whole(self.seed)),
        ])
    }
}

/// `10_000_000` and `10000000` alike.
fn number(argument: &str, text: &str) -> Result<u64> {
    text.replace('_', "").parse().map_err(|_| format!("{argument}: {text} is no number").into())
}

fn positive(argument: &str, text: &str) -> Result<u64> {
    match number(argument, text)? {
        0 => Err(format!("{argument} must be at least 1").into()),
        some => Ok(some),
    }
}

fn peers(list: &str) -> Result<Vec<String>> {
    list.split(',')
        .map(|name| match PEERS.contains(&name) {
            true => Ok(name.to_owned()),
            false => {
                Err(format!("--peers: there is no {name}; there are {}", PEERS.join(", ")).into())
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Settings> {
        Settings::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_change_what_they_name() {
        let settings =
            parsed("--pairs 5_000 --peers lmdb,cidstore --seed 0 --dir /x --json").unwrap();
        let expected = Settings {
            pairs: 5_000,
            seed: 0,
            peers: vec!["lmdb".to_owned(), "cidstore".to_owned()],
            folder: PathBuf::from("/x"),
            json: true,
            ..Settings::default()
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn nonsense_is_named() {
        for (line, word) in [
            ("--pairs", "--pairs"),
            ("--pairs 0", "--pairs"),
            ("--reads many", "many"),
            ("--peers redis", "redis"),
            ("--fast", "--fast"),
        ] {
            let error = parsed(line).unwrap_err().to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
