//! A strict reader of OpenMetrics text: everything that a scraper may stumble over is an error here.

use std::collections::{BTreeMap, BTreeSet};

/// A metric with all its samples.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// `counter`, `gauge`, `histogram`, `info`.
    pub kind: String,
    /// Base unit, if one is given.
    pub unit: Option<String>,
    /// What it means.
    pub help: String,
    /// In the order of the text.
    pub samples: Vec<Sample>,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Sample {
    /// With its suffix.
    pub name: String,
    /// By name.
    pub labels: BTreeMap<String, String>,
    /// What it says.
    pub value: f64,
}

/// A whole text, by family.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    /// By name, without the suffixes of samples.
    pub families: BTreeMap<String, Family>,
}

impl Exposition {
    /// The value of the one sample with this name that has all these labels.
    ///
    /// # Panics
    ///
    /// If there is none, or more than one.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found: Vec<f64> = self
            .samples()
            .filter(|sample| sample.name == name)
            .filter(|sample| labels.iter().all(|(label, value)| sample.has(label, value)))
            .map(|sample| sample.value)
            .collect();
        match found[..] {
            [value] => value,
            _ => panic!("{name} {labels:?}: {} samples", found.len()),
        }
    }

    /// All samples.
    pub fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.families.values().flat_map(|family| &family.samples)
    }
}

impl Sample {
    /// Whether it has a label with this value.
    pub fn has(&self, label: &str, value: &str) -> bool {
        self.labels.get(label).is_some_and(|found| found == value)
    }
}

/// Reads a text.
///
/// # Errors
///
/// The first rule that it breaks, with the line.
pub fn parse(text: &str) -> Result<Exposition, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("does not end with `# EOF`")?;
    let mut exposition = Exposition::default();
    let mut open: Option<(String, Family)> = None;
    for (at, line) in body.split_inclusive('\n').enumerate() {
        let named = |fault: String| format!("line {}: {fault}: {line:?}", at + 1);
        let line = line.strip_suffix('\n').ok_or_else(|| named("no end of line".into()))?;
        if let Some(rest) = line.strip_prefix("# ") {
            read_metadata(rest, &mut open, &mut exposition).map_err(named)?;
        } else {
            let sample = read_sample(line).map_err(named)?;
            let (name, family) = open.as_mut().ok_or_else(|| named("no family".into()))?;
            check_sample(name, family, &sample).map_err(named)?;
            family.samples.push(sample);
        }
    }
    close(open, &mut exposition)?;
    Ok(exposition)
}

fn read_metadata(
    rest: &str,
    open: &mut Option<(String, Family)>,
    exposition: &mut Exposition,
) -> Result<(), String> {
    let mut parts = rest.splitn(3, ' ');
    let (what, name, value) = (parts.next(), parts.next(), parts.next());
    let (Some(what), Some(name), Some(value)) = (what, name, value) else {
        return Err("a comment that is no metadata".into());
    };
    if !is_name(name, true) {
        return Err("no metric name".into());
    }
    if open.as_ref().is_none_or(|(present, _)| present != name) {
        close(open.take(), exposition)?;
        *open = Some((name.to_owned(), Family::default()));
    }
    let Some((_, family)) = open else { return Err("no family".into()) };
    if !family.samples.is_empty() {
        return Err("metadata behind samples".into());
    }
    match what {
        "HELP" if family.help.is_empty() => family.help = value.to_owned(),
        "TYPE" if family.kind.is_empty() => family.kind = value.to_owned(),
        "UNIT" if family.unit.is_none() => {
            if !name.ends_with(&format!("_{value}")) {
                return Err("the name does not end with the unit".into());
            }
            family.unit = Some(value.to_owned());
        }
        _ => return Err("unknown metadata, or twice".into()),
    }
    Ok(())
}

fn is_name(name: &str, colons: bool) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    !name.is_empty() && name.chars().all(valid) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn read_sample(line: &str) -> Result<Sample, String> {
    let (series, value) = line.rsplit_once(' ').ok_or("no value")?;
    let value = match value {
        "+Inf" | "-Inf" | "NaN" => return Err("not a finite number".into()),
        value => value.parse().map_err(|_| "no number")?,
    };
    let (name, labels) = match series.split_once('{') {
        None => (series, BTreeMap::new()),
        Some((name, rest)) => {
            (name, read_labels(rest.strip_suffix('}').ok_or("labels without an end")?)?)
        }
    };
    if !is_name(name, true) {
        return Err("no sample name".into());
    }
    Ok(Sample { name: name.to_owned(), labels, value })
}

fn read_labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    for pair in text.split(',') {
        let (name, value) = pair.split_once('=').ok_or("a label without a value")?;
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        let value = value.ok_or("a label value without quotes")?;
        // What would need an escape does not come up in values of few, known words.
        if !is_name(name, false) || value.is_empty() || value.contains(['"', '\\', ' ']) {
            return Err("a strange label".into());
        }
        if labels.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err("a label twice".into());
        }
    }
    Ok(labels)
}

fn check_sample(name: &str, family: &Family, sample: &Sample) -> Result<(), String> {
    let suffix = sample.name.strip_prefix(name).ok_or("a sample of another family")?;
    let fits = match family.kind.as_str() {
        "counter" => suffix == "_total",
        "gauge" => suffix.is_empty(),
        "info" => suffix == "_info" && sample.value == 1.0,
        "histogram" => matches!(suffix, "_bucket" | "_sum" | "_count"),
        _ => false,
    };
    if !fits {
        return Err("the sample does not fit its type".into());
    }
    if sample.value < 0.0 || (suffix == "_bucket") != sample.labels.contains_key("le") {
        return Err("a negative value, or `le` in the wrong place".into());
    }
    let twice = family
        .samples
        .iter()
        .any(|other| other.name == sample.name && other.labels == sample.labels);
    if twice { Err("a sample twice".into()) } else { Ok(()) }
}

fn close(open: Option<(String, Family)>, exposition: &mut Exposition) -> Result<(), String> {
    let Some((name, family)) = open else { return Ok(()) };
    if family.samples.is_empty() || family.help.is_empty() || family.kind.is_empty() {
        return Err(format!("{name}: no samples, help or type"));
    }
    if family.kind == "histogram" {
        check_histogram(&name, &family)?;
    }
    match exposition.families.insert(name.clone(), family) {
        None => Ok(()),
        Some(_) => Err(format!("{name}: in two places")),
    }
}

fn check_histogram(name: &str, family: &Family) -> Result<(), String> {
    let without_bound = |sample: &Sample| {
        let mut labels = sample.labels.clone();
        labels.remove("le");
        labels
    };
    let series: BTreeSet<_> = family.samples.iter().map(without_bound).collect();
    for labels in series {
        let of = |suffix: &str| -> Vec<&Sample> {
            let full = format!("{name}{suffix}");
            let all = family.samples.iter();
            all.filter(|sample| sample.name == full && without_bound(sample) == labels).collect()
        };
        let bounds: Vec<f64> = of("_bucket")
            .iter()
            .map(|sample| sample.labels["le"].parse().map_err(|_| format!("{name}: {sample:?}")))
            .collect::<Result<_, String>>()?;
        let counts: Vec<f64> = of("_bucket").iter().map(|sample| sample.value).collect();
        let rising = bounds.is_sorted_by(|one, two| one < two) && counts.is_sorted();
        let ends = bounds.last() == Some(&f64::INFINITY);
        let [count] = of("_count")[..] else { return Err(format!("{name}: counts")) };
        if !rising || !ends || counts.last() != Some(&count.value) || of("_sum").len() != 1 {
            return Err(format!("{name} {labels:?}: buckets that do not add up"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_seconds Time.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
        a_seconds_sum{op=\"x\"} 1.5\na_seconds_count{op=\"x\"} 2\na_seconds_bucket{le=\"1.0\",op=\"x\"} 1\n\
        a_seconds_bucket{le=\"+Inf\",op=\"x\"} 2\n# HELP b Count.\n# TYPE b counter\nb_total 3\n# EOF\n";

    #[test]
    fn good_text_is_read() {
        let read = parse(GOOD).unwrap();
        assert_eq!(read.value("b_total", &[]), 3.0);
        assert_eq!(read.value("a_seconds_bucket", &[("op", "x"), ("le", "1.0")]), 1.0);
    }

    /// Each of these breaks one rule.
    #[test]
    fn bad_text_is_refused() {
        let broken = [
            ("# EOF\n", ""),
            ("b_total 3", "b 3"),
            ("b_total 3", "b_total three"),
            ("b_total 3", "b_total 3\nb_total 3"),
            ("b_total 3", "c_total 3"),
            ("b_total 3", "b_total{x=1} 3"),
            ("b_total 3", "b_total{x=\"1\"} -3"),
            ("# TYPE b counter\n", ""),
            ("# HELP b Count.\n", ""),
            ("# UNIT a_seconds seconds", "# UNIT a_seconds bytes"),
            ("le=\"+Inf\"", "le=\"2.0\""),
            ("_count{op=\"x\"} 2", "_count{op=\"x\"} 3"),
            ("le=\"1.0\",op=\"x\"} 1", "le=\"1.0\",op=\"x\"} 5"),
        ];
        for (good, bad) in broken {
            assert!(GOOD.contains(good));
            assert!(parse(&GOOD.replacen(good, bad, 1)).is_err(), "{good} -> {bad}");
        }
    }
}
