//! Compares CIDStore with others and prints the table. All work is in the library.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use cidstore_peers::crash::{CHILD, WriteUntilKilled};
use cidstore_peers::pairs::Pairs;
use cidstore_peers::report::Record;
use cidstore_peers::settings::{self, Settings};
use cidstore_peers::{Result, peers, run};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["--help" | "-h"] => {
            println!("{}", settings::usage());
            return ExitCode::SUCCESS;
        }
        [CHILD, peer, folder, count, seed, first] => child(peer, folder, [count, seed, first]),
        _ => match Settings::parse(arguments) {
            Ok(settings) => compare(&settings),
            Err(error) => {
                eprintln!("compare: {error}\n{}", settings::usage());
                return ExitCode::from(2);
            }
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(settings: &Settings) -> Result<()> {
    let program = std::env::current_exe()?;
    let record = run::compare(settings, &program, &mut |line| eprintln!("{line}"))?;
    if settings.json {
        println!("{}", record.to_json());
    } else {
        println!("{}", record.to_table());
    }
    if settings.record { keep(&record) } else { Ok(()) }
}

/// Records lie beside this package; `cargo run` from its folder, as `cargo xtask bench` does.
fn keep(record: &Record) -> Result<()> {
    let folder = Path::new("../record");
    std::fs::create_dir_all(folder)?;
    let mut lines =
        OpenOptions::new().create(true).append(true).open(folder.join("compare.jsonl"))?;
    writeln!(lines, "{}", record.to_json())?;
    Ok(std::fs::write(folder.join("compare.md"), record.to_table())?)
}

fn child(peer: &str, folder: &str, numbers: [&str; 3]) -> Result<()> {
    let [count, seed, first] = numbers.map(str::parse::<u64>);
    let pairs = Pairs::new(count?, seed?);
    peers::named(peer, WriteUntilKilled { folder: Path::new(folder), pairs, first: first? })
}
