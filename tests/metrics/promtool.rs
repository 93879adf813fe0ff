//! Prometheus's own checker reads the alert rules and the metrics. Needs `promtool` (Debian: `prometheus`); the step `promtool` of
//! `cargo xtask test --slow` sees to that.

use std::collections::BTreeMap;
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
/// with its ending, and an info is a gauge with one.
fn older_format(text: &str) -> String {
    let mut endings = BTreeMap::new();
    for (name, kind) in
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
    {
        match kind {
            "counter" => _ = endings.insert(name, "_total"),
            "info" => _ = endings.insert(name, "_info"),
            _ => {}
        }
    }
    let declare = |line: &str| -> Option<String> {
        let (word, rest) = line.strip_prefix("# ")?.split_once(' ')?;
        let (name, rest) = rest.split_once(' ')?;
        let ending = endings.get(name).unwrap_or(&"");
        let rest = if (word, rest) == ("TYPE", "info") { "gauge" } else { rest };
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
    assert!(text.contains("# TYPE cidstore_commits_total counter\n"), "{text}");
    check(&["metrics"], &text);
}
