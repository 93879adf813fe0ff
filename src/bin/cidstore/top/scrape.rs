//! Exposed metrics as this command reads them: by name and labels, with the quantiles of histograms.

use std::collections::BTreeMap;

/// One reading of all metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scrape {
    /// By name with labels, as in the text.
    values: BTreeMap<String, f64>,
    /// Upper bounds with the counts of all buckets up to there, by name with the labels but `le`.
    buckets: BTreeMap<String, Vec<(f64, f64)>>,
}

impl Scrape {
    /// Reads the text. What is no metric of a store's server is an error: another program may listen there.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut scrape = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (series, value) = line.rsplit_once(' ').ok_or("a line without a value")?;
            let value = value.parse().map_err(|_| format!("`{value}` is no number"))?;
            match series.split_once("_bucket{") {
                Some((name, labels)) => scrape.add_bucket(name, labels, value)?,
                None => _ = scrape.values.insert(series.to_owned(), value),
            }
        }
        if scrape.values.contains_key("cidstore_lsn") {
            Ok(scrape)
        } else {
            Err("these are not the metrics of a store".into())
        }
    }

    fn add_bucket(&mut self, name: &str, labels: &str, count: f64) -> Result<(), String> {
        let labels = labels.strip_suffix('}').ok_or("labels without an end")?;
        let mut bound = None;
        let mut others = Vec::new();
        for label in labels.split(',') {
            match label.strip_prefix("le=\"").and_then(|value| value.strip_suffix('"')) {
                Some(value) => {
                    bound = Some(value.parse().map_err(|_| format!("`{value}` is no bound"))?);
                }
                None => others.push(label),
            }
        }
        let series = if others.is_empty() {
            name.to_owned()
        } else {
            format!("{name}{{{}}}", others.join(","))
        };
        let bound = bound.ok_or("a bucket without a bound")?;
        self.buckets.entry(series).or_default().push((bound, count));
        Ok(())
    }

    /// A value, by name with labels; 0 if the server does not tell it.
    pub(crate) fn value(&self, series: &str) -> f64 {
        self.values.get(series).copied().unwrap_or(0.0)
    }

    /// How much a counter has grown since an earlier reading. After a restart of the server: all of it.
    pub(crate) fn growth(&self, earlier: Option<&Self>, series: &str) -> f64 {
        let (now, then) =
            (self.value(series), earlier.map_or(0.0, |earlier| earlier.value(series)));
        if now >= then { now - then } else { now }
    }

    /// A bound that `share` of the values since an earlier reading do not exceed; `None` if there were none.
    pub(crate) fn quantile(&self, earlier: Option<&Self>, series: &str, share: f64) -> Option<f64> {
        let now = self.buckets.get(series)?;
        let then = earlier.and_then(|earlier| earlier.buckets.get(series));
        let all = |buckets: &[(f64, f64)]| buckets.last().map_or(0.0, |(_, count)| *count);
        // After a restart the earlier reading is another life's.
        let then = then.filter(|then| then.len() == now.len() && all(then) <= all(now));
        let counts: Vec<(f64, f64)> = now
            .iter()
            .enumerate()
            .map(|(at, (bound, count))| (*bound, count - then.map_or(0.0, |then| then[at].1)))
            .collect();
        let total = all(&counts);
        if total <= 0.0 {
            return None;
        }
        let wanted = (share * total).ceil().max(1.0);
        let found = counts.iter().position(|(_, count)| *count >= wanted)?;
        // Beyond the last bound: at least that.
        let bound = counts.get(found).filter(|(bound, _)| bound.is_finite());
        bound.or_else(|| counts.iter().rev().nth(1)).map(|(bound, _)| *bound)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A text as a store serves it, with what a test needs.
    pub(crate) fn text(commits: u64, slow: u64) -> String {
        format!(
            "# TYPE cidstore_commit_duration_seconds histogram\n\
             cidstore_commit_duration_seconds_bucket{{le=\"1e-7\",durability=\"buffered\"}} {commits}\n\
             cidstore_commit_duration_seconds_bucket{{le=\"0.002\",durability=\"buffered\"}} {}\n\
             cidstore_commit_duration_seconds_bucket{{le=\"+Inf\",durability=\"buffered\"}} {}\n\
             cidstore_operations_total{{op=\"insert\"}} {commits}\ncidstore_lsn 9\n\
             cidstore_keys 1234567\ncidstore_log_used_bytes 1048576\ncidstore_log_max_bytes 4194304\n\
             cidstore_open_seconds 10.0\ncidstore_failed 0\n# EOF\n",
            commits + slow,
            commits + slow
        )
    }

    const LATENCY: &str = "cidstore_commit_duration_seconds{durability=\"buffered\"}";

    #[test]
    fn quantiles_are_of_the_time_between() {
        let first = Scrape::parse(&text(98, 2)).unwrap();
        assert_eq!(first.quantile(None, LATENCY, 0.5), Some(1e-7));
        assert_eq!(first.quantile(None, LATENCY, 0.99), Some(0.002));
        let second = Scrape::parse(&text(198, 2)).unwrap();
        assert_eq!(second.quantile(Some(&first), LATENCY, 1.0), Some(1e-7));
        assert_eq!(second.quantile(Some(&second), LATENCY, 0.5), None);
        assert_eq!(second.growth(Some(&first), "cidstore_operations_total{op=\"insert\"}"), 100.0);
        // The server was started anew.
        assert_eq!(first.growth(Some(&second), "cidstore_operations_total{op=\"insert\"}"), 98.0);
        assert_eq!(first.quantile(Some(&second), LATENCY, 0.5), Some(1e-7));
        assert_eq!(first.quantile(None, "cidstore_nothing", 0.5), None);
    }

    #[test]
    fn what_is_beyond_all_bounds_is_at_least_the_last() {
        let text = "a_bucket{le=\"1.0\"} 1\na_bucket{le=\"+Inf\"} 5\ncidstore_lsn 1\n";
        assert_eq!(Scrape::parse(text).unwrap().quantile(None, "a", 0.9), Some(1.0));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "up 1\n", "<html>\n", "cidstore_lsn x\n", "a_bucket{x=\"1\"} 1\ncidstore_lsn 1"]
        {
            assert!(Scrape::parse(text).is_err(), "{text}");
        }
    }
}
