//! Prometheus's own checker reads the alert rules and the metrics. Needs `promtool` (Debian: `prometheus`); the step `promtool` of
//! `cargo xtask test --slow` sees to that.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use cidstore::Store;

/// Runs `promtool check` with this on standard input. Panics unless it finds nothing to say against it.
fn check(arguments: &[&str], input: &str) {
    let mut child = Command::new("promtool")
        .arg("check")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("promtool (Debian: prometheus): {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool check {arguments:?}: {out}{err}");
    assert!(!err.contains("error") && !out.contains("FAILED"), "{out}{err}");
}

/// OpenMetrics text as the older format has it, which is what `promtool check metrics` reads: there a counter is declared
/// with its ending.
fn older_format(text: &str) -> String {
    let names = |kind: &str| -> BTreeSet<&str> {
        let words = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let of_kind = words.filter_map(|words| words.strip_suffix(kind));
        of_kind.map(str::trim).collect()
    };
    let counters = names(" counter");
    let declare = |line: &str| -> Option<String> {
        let rest = line.strip_prefix("# ")?;
        let (word, rest) = rest.split_once(' ')?;
        let (name, rest) = rest.split_once(' ')?;
        let ending = if counters.contains(name) { "_total" } else { "" };
        Some(format!("# {word} {name}{ending} {rest}"))
    };
    let lines = text.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT"));
    lines.map(|line| declare(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

#[test]
#[ignore = "needs promtool; `cargo xtask test --slow` runs it"]
fn prometheus_accepts_the_alert_rules() {
    check(&["rules", concat!(env!("CARGO_MANIFEST_DIR"), "/ops/prometheus/alerts.yml")], "");
}

#[test]
#[ignore = "needs promtool; `cargo xtask test --slow` runs it"]
fn prometheus_accepts_the_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("s.h5")).unwrap();
    for key in 0..40_u64 {
        store.insert(key, key).unwrap();
    }
    store.checkpoint().unwrap();
    let text = older_format(&store.expose_metrics().unwrap());
    assert!(text.contains("# TYPE cidstore_log_syncs_total counter\n"), "{text}");
    check(&["metrics"], &text);
}
