//! The whole comparison on few pairs: it runs, kills its child, finds every answer right and says what it promises to.

use std::io;
use std::process::{Command, Output};

const PEERS: [&str; 3] = ["cidstore", "hashbrown", "lmdb"];

fn compare(arguments: &[&str]) -> io::Result<Output> {
    let folder = tempfile::tempdir()?;
    Command::new(env!("CARGO_BIN_EXE_compare"))
        .args(["--pairs", "3000", "--reads", "2000", "--rounds", "2", "--builds", "2"])
        .args(["--kill-pairs", "2000", "--peers", &PEERS.join(",")])
        .arg("--dir")
        .arg(folder.path())
        .args(arguments)
        .output()
}

#[test]
fn every_peer_passes_every_workload() {
    let output = compare(&["--json"]).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let record = String::from_utf8(output.stdout).unwrap();
    assert_eq!(record.trim().lines().count(), 1, "a record is one line");
    for peer in PEERS {
        for workload in
            ["bulk_load", "batch_insert", "get_hit", "get_miss", "get_chained", "get_many_64"]
        {
            let figure = format!("{{\"workload\":\"{workload}\",\"peer\":\"{peer}\"");
            assert!(record.contains(&figure), "{figure} is missing in {record}");
        }
    }
    for peer in ["cidstore", "lmdb"] {
        for workload in ["open_clean", "open_killed", "file_bytes", "durable_fresh_file"] {
            let figure = format!("{{\"workload\":\"{workload}\",\"peer\":\"{peer}\"");
            assert!(record.contains(&figure), "{figure} is missing in {record}");
        }
    }
    assert!(!record.contains("null"), "a figure is not a number: {record}");
}

#[test]
fn the_table_has_a_column_for_each_peer() {
    let output = compare(&[]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.starts_with("3,000 random pairs"), "{table}");
    let head = table.lines().find(|line| line.starts_with("| workload")).unwrap();
    assert!(PEERS.iter().all(|peer| head.contains(peer)), "{table}");
    let width = head.len();
    assert!(table.lines().filter(|line| line.starts_with('|')).all(|line| line.len() == width));
}

#[test]
fn a_wrong_argument_is_a_usage_error() {
    let output = compare(&["--pears", "7"]).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--pears"));
}
