//! The command line: what can be said, and the words that explain it. No work is done here.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::ids::IdForm;
use crate::input::Format;

/// Where metrics are served, and looked for.
const DEFAULT_ADDRESS: &str = "127.0.0.1:9184";
const DEFAULT_URL: &str = "http://127.0.0.1:9184/metrics";

/// The first word of the child process of `demo` and `bench`.
pub(crate) const CRASH_WRITER: &str = "crash-writer";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  problems found, or nothing found
  2  usage, or malformed input
  3  the files are damaged, or not a store that this program can read
  4  another process has the store
  5  input or output failed; no such store; no space";

const LOAD_DETAILS: &str = "\
A line is a key and a value. TSV: a tab between them, no quotes. CSV: RFC 4180. Lines end with LF or
CRLF; empty lines are skipped; everything must be UTF-8. A malformed line is named by file, line and
column, and then nothing of any file is loaded.";

const TOP_DETAILS: &str = "\
A store belongs to the process that opened it: to watch a running program, let it serve its metrics
(cidstore::serve_metrics) and give --url. Given a STORE, top opens it for itself.

With --json each reading is a line. Keys: q quits.";

const CHECK_DETAILS: &str = "\
Without --repair nothing is written if the store was closed cleanly. A repair writes new pages and leaves the damaged
ones as they are until a checkpoint has made the new ones count. What cannot be repaired is told with the keys that it
concerns, and is not touched.";

const SERVE_DETAILS: &str = "\
Paths: /metrics (OpenMetrics text), /health, /ready. Ends well on SIGINT and SIGTERM.

A store that was closed cleanly is opened for reading only; others may read it meanwhile, nobody can
write. One that was not is recovered first. If another process writes to the store, its pid is told and
the exit code is 4: that program can serve its own metrics (cidstore::serve_metrics), which then tell of
its work as well.";

/// An embedded, durable, concurrent hash multimap: 128-bit keys to sets of 128-bit values
#[derive(Debug, Parser)]
#[command(name = "cidstore", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct CommandLine {
    /// Print answers as JSON, one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl CommandLine {
    /// What the program was started with.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let words: Vec<OsString> = std::env::args_os().collect();
        if words.get(1).is_some_and(|word| word == CRASH_WRITER) {
            let args = CrashWriterArgs::try_parse_from(words.into_iter().skip(1))?;
            return Ok(Self { json: false, command: Command::CrashWriter(args) });
        }
        Self::try_parse_from(words)
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the store at work on the package dependencies of Debian 12, a kill -9 included
    Demo(DemoArgs),
    /// Load pairs from TSV or CSV, all or nothing; creates the store
    #[command(after_help = LOAD_DETAILS)]
    Load(LoadArgs),
    /// Print the values of keys
    Get(GetArgs),
    /// Insert a pair; creates the store
    Insert(InsertArgs),
    /// Delete a key with all its values, or one value of it
    Delete(DeleteArgs),
    /// Print all pairs, in no particular order
    Scan(ScanArgs),
    /// Print counts and sizes
    Stat(StoreArgs),
    /// Verify every page, checksum and count, and repair flipped bits if told so
    #[command(after_help = CHECK_DETAILS)]
    Check(CheckArgs),
    /// Rewrite what is sparse, and give the space back to the file system
    Compact(StoreArgs),
    /// Print the structure of the store, or the entries of some keys, for debugging
    Dump(DumpArgs),
    /// Write a compact copy of the store to a new file
    Backup(BackupArgs),
    /// Write a clean HDF5 file for others; uncompressed, it is a read-only store as well
    Export(ExportArgs),
    /// Import an export, a store's file or a file of the original project; creates the store
    Import(ImportArgs),
    /// Measure this store on this machine
    Bench(BenchArgs),
    /// Serve the metrics of a store that no other process has open, until interrupted
    #[command(after_help = SERVE_DETAILS)]
    ServeMetrics(ServeArgs),
    /// Watch what a store does: operations, latencies, log, checkpoints, space
    #[command(after_help = TOP_DETAILS)]
    Top(TopArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or that of one command
    Man {
        /// The command
        command: Option<String>,
    },
    /// Write until killed (the child process of `demo` and `bench`). Nobody else's command: in no help, manual or completion
    #[command(skip)]
    CrashWriter(CrashWriterArgs),
}

/// Which store.
#[derive(Args, Debug)]
pub(crate) struct StoreArgs {
    /// The data file; its log lies beside it as STORE-wal
    pub(crate) store: PathBuf,
    /// The log, if it lies elsewhere
    #[arg(long, value_name = "FILE")]
    pub(crate) wal: Option<PathBuf>,
}

/// What to check.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// First put right what can be told for certain: a flipped bit of a page, a damaged superblock
    #[arg(long)]
    pub(crate) repair: bool,
}

/// How ids are read and shown.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct IdArgs {
    /// How ids are written [default: hex]. Answers show names where the dictionary beside the store
    /// (STORE.names) has them; `--ids hex` shows digits always
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) ids: Option<IdForm>,
}

impl IdArgs {
    /// How ids are read.
    pub(crate) fn form(self) -> IdForm {
        self.ids.unwrap_or(IdForm::Hex)
    }

    /// Whether answers show names.
    pub(crate) fn show_names(self) -> bool {
        self.ids != Some(IdForm::Hex)
    }
}

/// `demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Keep the store in this directory, which must not have one yet [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// `load`.
#[derive(Args, Debug)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Files to load, plain or gzip; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// How ids are written
    #[arg(long, value_enum, value_name = "FORM", default_value_t = IdForm::Hex)]
    pub(crate) ids: IdForm,
    /// How columns are told apart [default: by the name of the file; tsv for standard input]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Skip lines that start with # (TSV only)
    #[arg(long)]
    pub(crate) comments: bool,
    /// Skip the first record of each file
    #[arg(long)]
    pub(crate) header: bool,
    /// Load each pair the other way round too, under the key named PREFIX + value (with --ids name)
    #[arg(
        long, value_name = "PREFIX", num_args = 0..=1, require_equals = true,
        default_missing_value = "reverse:"
    )]
    pub(crate) reverse: Option<String>,
    /// Do not add names to the dictionary beside the store
    #[arg(long)]
    pub(crate) no_names: bool,
}

/// `get`.
#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// The keys
    #[arg(required = true, value_name = "KEY")]
    pub(crate) keys: Vec<String>,
    #[command(flatten)]
    pub(crate) ids: IdArgs,
    /// Print how many values there are instead of the values
    #[arg(long)]
    pub(crate) count: bool,
}

/// `insert`.
#[derive(Args, Debug)]
pub(crate) struct InsertArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// The key
    pub(crate) key: String,
    /// The value
    pub(crate) value: String,
    #[command(flatten)]
    pub(crate) ids: IdArgs,
}

/// `delete`.
#[derive(Args, Debug)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// The key
    pub(crate) key: String,
    /// The value [default: all values of the key]
    pub(crate) value: Option<String>,
    #[command(flatten)]
    pub(crate) ids: IdArgs,
}

/// `scan`.
#[derive(Args, Debug)]
pub(crate) struct ScanArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(flatten)]
    pub(crate) ids: IdArgs,
    /// Print keys only
    #[arg(long, conflicts_with_all = ["limit", "from"])]
    pub(crate) keys: bool,
    /// Stop at the end of the bucket in which this many pairs, at least 1, are reached, and tell where to go on
    #[arg(long, value_name = "PAIRS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// Go on from where a scan with --limit stopped
    #[arg(long, value_name = "CURSOR")]
    pub(crate) from: Option<u64>,
}

/// `dump`.
#[derive(Args, Debug)]
pub(crate) struct DumpArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Keys whose entries to print [default: the whole structure; with --json, all keys]
    #[arg(value_name = "KEY")]
    pub(crate) keys: Vec<String>,
    #[command(flatten)]
    pub(crate) ids: IdArgs,
}

/// `backup`.
#[derive(Args, Debug)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// The new file; must not exist
    #[arg(value_name = "DESTINATION")]
    pub(crate) destination: PathBuf,
}

/// `export`.
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// The new file
    #[arg(value_name = "DESTINATION")]
    pub(crate) destination: PathBuf,
    /// Compress the file: it can be imported then, but not opened
    #[arg(long, value_enum, value_name = "METHOD")]
    pub(crate) compress: Option<CompressionMethod>,
    /// How hard gzip tries, from 1 (fast) to 9 (small)
    #[arg(
        long, value_name = "LEVEL", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=9)
    )]
    pub(crate) level: u8,
    /// Replace a file that is there, and the dictionary beside it
    #[arg(long)]
    pub(crate) force: bool,
}

/// How an export is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompressionMethod {
    /// Read by everything
    Gzip,
    /// Faster; read by h5py
    Lzf,
}

/// `import`.
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// The file to import
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Give a new store the file's hash seed, so that exporting it again gives the same bytes. Only for
    /// files from people you trust: who knows the seed can choose keys that make the store slow
    #[arg(long)]
    pub(crate) keep_seed: bool,
}

/// `bench`.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// How many pairs
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    pub(crate) pairs: u64,
    /// Where to put the stores; the disk that is measured [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// How many times to measure; the median is told
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) runs: u32,
}

/// `serve-metrics`.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Where to listen; port 0 takes a free one, which is printed
    #[arg(long, value_name = "ADDRESS:PORT", default_value = DEFAULT_ADDRESS)]
    pub(crate) listen: SocketAddr,
}

/// `top`.
#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// A store that no other process writes to [default: ask the server at --url]
    #[arg(value_name = "STORE")]
    pub(crate) store: Option<PathBuf>,
    /// The log, if it lies elsewhere
    #[arg(long, value_name = "FILE", requires = "store")]
    pub(crate) wal: Option<PathBuf>,
    /// Where a program, or serve-metrics, serves the metrics of its store
    #[arg(long, default_value = DEFAULT_URL, conflicts_with = "store", value_parser = url)]
    pub(crate) url: String,
    /// Seconds between two readings
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
    interval: f64,
    /// Print the figures since the opening once, and end
    #[arg(long)]
    pub(crate) once: bool,
}

impl TopArgs {
    /// Time between two readings.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs_f64(self.interval)
    }
}

fn interval(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number from 0.1 to 3600 is wanted".into()),
    }
}

/// A server's address is usage, and told as such before anybody is asked.
fn url(text: &str) -> Result<String, String> {
    let url: ureq::http::Uri = text.parse().map_err(|error| format!("{error}"))?;
    match url.scheme_str() {
        Some("http") if url.host().is_some_and(|host| !host.is_empty()) => Ok(text.to_owned()),
        _ => Err("http://ADDRESS:PORT/PATH is wanted".into()),
    }
}

/// The child process of `demo` and `bench`.
#[derive(Debug, Parser)]
#[command(name = CRASH_WRITER)]
pub(crate) struct CrashWriterArgs {
    /// The data file, which must exist
    pub(crate) store: PathBuf,
    /// How many threads write
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: u32,
    /// How many pairs a batch has; one pair is a plain insert
    #[arg(long, default_value_t = 1)]
    pub(crate) batch: u64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn reverse_takes_its_prefix_only_with_an_equals_sign() {
        let load = |arguments: &[&str]| {
            let line = ["cidstore", "load", "s.h5"].iter().chain(arguments);
            match CommandLine::try_parse_from(line) {
                Ok(CommandLine { command: Command::Load(load), .. }) => (load.reverse, load.files),
                other => panic!("{other:?}"),
            }
        };
        let file = vec![PathBuf::from("x")];
        assert_eq!(load(&["x"]), (None, file.clone()));
        assert_eq!(load(&["--reverse", "x"]), (Some("reverse:".into()), file.clone()));
        assert_eq!(load(&["--reverse=by:", "x"]), (Some("by:".into()), file));
    }
}
