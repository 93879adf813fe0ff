//! The whole comparison on few pairs: it runs, kills its child, finds every answer right and says what it promises to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test reports"
)]

use std::io;
use std::process::{Command, Output};

const DURABLE: [&str; 6] = ["cidstore", "lmdb", "redb", "fjall", "parity-db", "canopydb"];
const IN_MEMORY: [&str; 2] = ["hashbrown", "papaya"];

fn compare(arguments: &[&str]) -> io::Result<Output> {
    let folder = tempfile::tempdir()?;
    Command::new(env!("CARGO_BIN_EXE_compare"))
        .args(["--n", "3000", "--rounds", "2", "--seconds", "0.05", "--dir"])
        .arg(folder.path())
        .args(arguments)
        .output()
}

fn record(arguments: &[&str]) -> String {
    let output = compare(arguments).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let record = String::from_utf8(output.stdout).unwrap();
    assert_eq!(record.trim().lines().count(), 1, "a record is one line");
    assert!(!record.contains("null"), "a figure is not a number: {record}");
    record
}

#[track_caller]
fn assert_has(record: &str, workload: &str, peer: &str) {
    let figure = format!("{{\"workload\":\"{workload}\",\"peer\":\"{peer}\"");
    assert!(record.contains(&figure), "{figure} is missing in {record}");
}

#[test]
fn every_peer_passes_every_workload() {
    let record = record(&["--json"]);
    for peer in DURABLE.iter().chain(&IN_MEMORY) {
        for workload in [
            "bulk_load",
            "get_chained",
            "get_loop",
            "get_loop_2_threads",
            "get_many_64",
            "get_miss",
            "get_each_p9999",
            "batch_insert",
            "batch_build",
            "insert_each_p999",
        ] {
            assert_has(&record, workload, peer);
        }
    }
    for peer in DURABLE {
        for workload in [
            "open_clean",
            "open_killed",
            "lost_by_kill",
            "bulk_file_bytes",
            "beside_unpinned_p9999",
        ] {
            assert_has(&record, workload, peer);
        }
    }
    for peer in DURABLE.iter().filter(|peer| **peer != "parity-db") {
        for workload in [
            "durable_insert_1",
            "durable_insert_8",
            "values_4_get_all",
            "values_100_contains",
            "values_1m_iterate",
        ] {
            assert_has(&record, workload, peer);
        }
    }
    for workload in ["raw_fdatasync", "durable_fresh_file", "two_loads_chained"] {
        assert_has(&record, workload, "machine");
    }
}

#[test]
fn only_what_was_asked_for_is_measured() {
    let asked = ["--json", "--peer", "cidstore,lmdb", "--workload", "growth", "--sizes", "500,900"];
    let record = record(&asked);
    assert_has(&record, "get_chained", "lmdb");
    assert!(record.contains("\"pairs\":500") && record.contains("\"pairs\":900"), "{record}");
    assert!(!record.contains("redb") && !record.contains("batch_insert"), "{record}");
}

#[test]
fn the_table_has_a_column_for_each_peer() {
    let asked = ["--workload", "get_miss,values_4", "--peer", "cidstore,hashbrown,lmdb"];
    let output = compare(&asked).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.starts_with("3,000 random pairs"), "{table}");
    let head = table.lines().find(|line| line.starts_with("| figure")).unwrap();
    assert!(["cidstore", "hashbrown", "lmdb"].iter().all(|peer| head.contains(peer)), "{table}");
    let width = head.len();
    assert!(table.lines().filter(|line| line.starts_with('|')).all(|line| line.len() == width));
}

#[test]
fn a_wrong_argument_is_a_usage_error() {
    let output = compare(&["--pears", "7"]).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--pears"));
}
