//! `demo` and `bench`: all their checks pass, and the documented JSON is what they print.

use std::collections::BTreeMap;

use cidstore::E;
use serde_json::{Value, json};

use crate::harness::{Folder, run};

/// Figures by name; every check must have passed.
fn figures(records: &[Value]) -> BTreeMap<&str, f64> {
    let mut figures = BTreeMap::new();
    for record in records {
        match record["type"].as_str() {
            Some("figure") => {
                assert!(record["unit"].is_string(), "{record}");
                figures.insert(record["name"].as_str().unwrap(), record["value"].as_f64().unwrap());
            }
            Some("check") => assert_eq!(record["passed"], json!(true), "{record}"),
            _ => panic!("{record}"),
        }
    }
    figures
}

#[test]
fn the_demo_shows_what_it_promises() {
    let folder = Folder::new();
    let records = run(&["demo", "--json", "--dir", &folder.text("d")]).records();
    let figures = figures(&records);
    assert_eq!(figures["load_pairs"], 564_864.0);
    assert_eq!(figures["acknowledged_missing"], 0.0);
    assert!(figures["acknowledged_writes"] >= 200.0);
    let checks = records.iter().filter(|record| record["type"] == json!("check")).count();
    assert!(checks >= 9, "{records:?}");

    // What it leaves is a store with the names that it told of.
    let store = folder.text("d/debian-12.h5");
    let bash = run(&["get", "--ids", "name", &store, "bash"]).ok();
    assert_eq!(bash, "base-files\nlibc6\nlibtinfo6\n", "debianutils was deleted");
    let reverse = ["get", "--count", "--ids", "name", &store, "needed-by:libc6"];
    assert_eq!(run(&reverse).ok(), "10904\n");
    run(&["get", "--ids", "name", &store, "coreutils"]).fails(1, &["no such key"]);

    run(&["demo", "--dir", &folder.text("d")]).fails(2, &["debian-12.h5", "exists"]);
}

#[test]
fn the_demo_reads_well() {
    let text = run(&["demo"]).ok();
    for words in [
        "Load\n",
        "Look up\n",
        "  hello                 1 value   libc6\n",
        "  needed-by:libc6  21,809 values  0ad, ",
        "Kill -9\n",
        "  ok      0 of ",
        "checks passed.\n",
    ] {
        assert!(text.contains(words), "`{words}` is not in\n{text}");
    }
    let hash = E::from_name("libc6").to_string();
    assert!(!text.contains(&hash), "names rather than hashes\n{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn bench_measures_and_checks() {
    let folder = Folder::new();
    let base = folder.text("");
    let line = ["bench", "--json", "--pairs", "3000", "--runs", "1", "--dir", &base];
    let records = run(&line).records();
    let figures = figures(&records);
    for name in [
        "bulk_load",
        "batched_insert",
        "get_hit",
        "get_miss",
        "get_chained",
        "get_many",
        "open_clean",
        "open_killed",
        "live_bytes_per_pair",
        "file_bytes_per_pair",
        "bulk_file_bytes_per_pair",
    ] {
        assert!(figures[name] > 0.0, "{name}");
    }
    assert!(folder.names().is_empty(), "bench takes its files away");
}
