//! The dashboard and the alert rules ask for what a store exposes, and for nothing else.

use std::collections::BTreeSet;

use cidstore::Store;
use cidstore_testkit::openmetrics::Exposition;
use serde_json::Value;

use crate::text::exposed;

/// What Prometheus adds by itself.
const TARGET_LABELS: [&str; 2] = ["job", "instance"];

/// One mention of a metric in a query: its name, and its matchers as label and value.
#[derive(Debug, PartialEq)]
struct Mention {
    name: String,
    matchers: Vec<(String, String)>,
}

/// All mentions of metrics of ours in a query.
fn mentions(query: &str) -> Vec<Mention> {
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(at) = rest.find("cidstore_") {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let from = &rest[at..];
        let end = from.find(|c| !is_word(c)).unwrap_or(from.len());
        let (name, behind) = from.split_at(end);
        let inside = behind.strip_prefix('{').and_then(|text| text.split_once('}'));
        let matchers = inside.map_or(Vec::new(), |(inside, _)| {
            let matcher = |text: &str| {
                let (label, value) = text.split_once('=').unwrap_or_else(|| panic!("{query}"));
                (label.to_owned(), value.trim_matches('"').to_owned())
            };
            inside.split(',').map(matcher).collect()
        });
        found.push(Mention { name: name.to_owned(), matchers });
        rest = behind;
    }
    found
}

/// Labels that a query groups by.
fn grouped(query: &str) -> BTreeSet<&str> {
    let lists = query.split(" by (").skip(1).filter_map(|rest| rest.split_once(')'));
    lists.flat_map(|(list, _)| list.split(',').map(str::trim)).collect()
}

/// Names that a legend or a text fills in: `{{op}}`, `{{ $labels.instance }}`.
fn filled_in(text: &str) -> BTreeSet<&str> {
    let holes = text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}"));
    let words = holes.map(|(hole, _)| hole.trim());
    words
        .map(|word| word.strip_prefix("$labels.").unwrap_or(word))
        .filter(|word| !word.starts_with("$value"))
        .collect()
}

/// Checks a query, and the labels that are shown with it, against what is exposed. Answers the names of metrics.
fn check(query: &str, shown: &str, text: &Exposition) -> BTreeSet<String> {
    let mentions = mentions(query);
    assert!(!mentions.is_empty(), "{query}");
    let mut labels: BTreeSet<&str> = TARGET_LABELS.into();
    for mention in &mentions {
        let samples: Vec<_> = text.samples().filter(|sample| sample.name == mention.name).collect();
        assert!(!samples.is_empty(), "{} is not exposed: {query}", mention.name);
        labels.extend(samples.iter().flat_map(|sample| sample.labels.keys().map(String::as_str)));
        for (label, value) in &mention.matchers {
            let known = TARGET_LABELS.contains(&label.as_str())
                || samples.iter().any(|sample| sample.has(label, value));
            assert!(known, "no {label}={value}: {query}");
        }
    }
    for label in grouped(query).union(&filled_in(shown)) {
        assert!(labels.contains(label), "no label {label}: {query} {shown}");
    }
    mentions.into_iter().map(|mention| mention.name).collect()
}

fn sample() -> Exposition {
    let folder = tempfile::tempdir().unwrap();
    exposed(&Store::open(folder.path().join("s.h5")).unwrap())
}

#[test]
fn the_dashboard_asks_for_what_is_exposed() {
    let text = sample();
    let dashboard: Value =
        serde_json::from_str(include_str!("../../ops/grafana/cidstore.json")).unwrap();
    let mut names = BTreeSet::new();
    let mut places = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(!panel["title"].as_str().unwrap().is_empty());
        assert!(!panel["description"].as_str().unwrap().is_empty());
        let place =
            (panel["gridPos"]["x"].as_u64().unwrap(), panel["gridPos"]["y"].as_u64().unwrap());
        assert!(places.insert(place), "two panels at {place:?}");
        for target in panel["targets"].as_array().unwrap() {
            let (query, legend) = (&target["expr"], &target["legendFormat"]);
            names.extend(check(query.as_str().unwrap(), legend.as_str().unwrap(), &text));
        }
    }
    // The variables that panels use are made from a metric that exists.
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let query = variable["query"].as_str().unwrap();
        assert!(query == "prometheus" || mentions(query)[0].name == "cidstore_lsn", "{query}");
    }
    // It shows what there is: most families have a place.
    let shown = |family: &&String| names.iter().any(|name| name.starts_with(family.as_str()));
    let ours = text.families.keys().filter(|name| name.starts_with("cidstore_"));
    assert!(ours.filter(shown).count() >= 30, "{names:?}");
}

#[test]
fn the_alerts_ask_for_what_is_exposed() {
    let text = sample();
    let rules = include_str!("../../ops/prometheus/alerts.yml");
    let mut alerts = BTreeSet::new();
    for rule in rules.split("\n      - alert: ").skip(1) {
        let (name, body) = rule.split_once('\n').unwrap();
        assert!(alerts.insert(name), "{name} twice");
        let expression = body.lines().find_map(|line| line.trim().strip_prefix("expr: "));
        check(expression.unwrap_or_else(|| panic!("{name}")), body, &text);
        for word in ["severity: ", "summary: ", "description: "] {
            assert!(body.contains(word), "{name} has no {word}");
        }
    }
    assert!(alerts.len() >= 8, "{alerts:?}");
}

/// The checks above find what is wrong.
#[test]
fn wrong_queries_are_found() {
    let text = sample();
    let right = "sum by (op) (rate(cidstore_operations_total{op=\"insert\",job=\"x\"}[5m]))";
    assert_eq!(check(right, "{{op}}", &text), BTreeSet::from(["cidstore_operations_total".into()]));
    let wrong = [
        ("cidstore_operations", ""),
        ("cidstore_operations_total{op=\"upsert\"}", ""),
        ("cidstore_operations_total{kind=\"insert\"}", ""),
        ("sum by (kind) (cidstore_operations_total)", ""),
        ("cidstore_operations_total", "{{kind}}"),
        ("cidstore_lsn", "{{ $labels.op }}"),
        ("up", ""),
    ];
    for (query, shown) in wrong {
        let checked = std::panic::catch_unwind(|| check(query, shown, &text));
        assert!(checked.is_err(), "{query} {shown}");
    }
}
