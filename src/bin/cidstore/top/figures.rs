//! The figures that `top` shows, of the time between two readings.

use serde::Serialize;

use super::scrape::Scrape;

/// Latencies in seconds; null where nothing was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) p999: Option<f64>,
}

/// What happened in a window, and how the store stands at its end. Sizes in bytes, times in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    /// Length of the window.
    pub(crate) seconds: f64,
    pub(crate) open_seconds: f64,
    pub(crate) reads_per_second: f64,
    pub(crate) inserts_per_second: f64,
    pub(crate) deletes_per_second: f64,
    pub(crate) commits_per_second: f64,
    pub(crate) commits_failed: f64,
    /// Mean writes in a group.
    pub(crate) group_writes: f64,
    pub(crate) commit_immediate: Latency,
    pub(crate) commit_interval: Latency,
    pub(crate) commit_buffered: Latency,
    pub(crate) log_sync: Latency,
    pub(crate) log_syncs_per_second: f64,
    pub(crate) log_bytes_per_second: f64,
    pub(crate) log_used_bytes: f64,
    pub(crate) log_max_bytes: f64,
    pub(crate) log_size_bytes: f64,
    pub(crate) checkpoints: f64,
    pub(crate) checkpoint: Latency,
    pub(crate) checkpoint_bytes_per_second: f64,
    pub(crate) keys: f64,
    pub(crate) pairs: f64,
    pub(crate) buckets: f64,
    pub(crate) bucket_pages: f64,
    pub(crate) value_pages: f64,
    pub(crate) free_pages: f64,
    pub(crate) live_bytes: f64,
    pub(crate) file_bytes: f64,
    pub(crate) pool_bytes: f64,
    pub(crate) retired: f64,
    pub(crate) snapshots: f64,
    pub(crate) oldest_pin_seconds: f64,
    /// Writes that a power cut would lose.
    pub(crate) not_durable: f64,
    pub(crate) splits: f64,
    pub(crate) merges: f64,
    pub(crate) failed: bool,
    pub(crate) read_only: bool,
}

impl Figures {
    /// The figures between two readings that are `seconds` apart; without an earlier one, since the opening.
    pub(crate) fn between(earlier: Option<(&Scrape, f64)>, now: &Scrape) -> Self {
        let open_seconds = now.value("cidstore_open_seconds");
        // Started anew in between: what was before is not this server's.
        let earlier =
            earlier.filter(|(then, _)| then.value("cidstore_open_seconds") <= open_seconds);
        let (then, seconds) = earlier.map_or((None, open_seconds), |(then, s)| (Some(then), s));
        let growth = |series: &str| now.growth(then, series);
        let rate = |series: &str| growth(series) / seconds.max(1e-9);
        let gauge = |name: &str| now.value(name);
        let latency = |series: &str| Latency {
            p50: now.quantile(then, series, 0.5),
            p99: now.quantile(then, series, 0.99),
            p999: now.quantile(then, series, 0.999),
        };
        let operations = |op| rate(&format!("cidstore_operations_total{{op=\"{op}\"}}"));
        let commit =
            |kind| latency(&format!("cidstore_commit_duration_seconds{{durability=\"{kind}\"}}"));
        let pages = |kind| gauge(&format!("cidstore_pages{{kind=\"{kind}\"}}"));
        let groups = growth("cidstore_group_commit_writes_count");
        Self {
            seconds,
            open_seconds,
            reads_per_second: rate("cidstore_reads_total"),
            inserts_per_second: operations("insert"),
            deletes_per_second: operations("delete") + operations("delete_value"),
            commits_per_second: rate("cidstore_commits_total{outcome=\"ok\"}"),
            commits_failed: growth("cidstore_commits_total{outcome=\"failed\"}"),
            group_writes: growth("cidstore_group_commit_writes_sum") / groups.max(1.0),
            commit_immediate: commit("immediate"),
            commit_interval: commit("interval"),
            commit_buffered: commit("buffered"),
            log_sync: latency("cidstore_sync_duration_seconds{file=\"log\"}"),
            log_syncs_per_second: rate("cidstore_sync_duration_seconds_count{file=\"log\"}"),
            log_bytes_per_second: rate("cidstore_log_written_bytes_total"),
            log_used_bytes: gauge("cidstore_log_used_bytes"),
            log_max_bytes: gauge("cidstore_log_max_bytes"),
            log_size_bytes: gauge("cidstore_log_size_bytes"),
            checkpoints: growth("cidstore_checkpoint_duration_seconds_count"),
            checkpoint: latency("cidstore_checkpoint_duration_seconds"),
            checkpoint_bytes_per_second: rate("cidstore_checkpoint_written_bytes_total"),
            keys: gauge("cidstore_keys"),
            pairs: gauge("cidstore_pairs"),
            buckets: gauge("cidstore_buckets"),
            bucket_pages: pages("bucket") + pages("overflow"),
            value_pages: pages("value"),
            free_pages: pages("free"),
            live_bytes: gauge("cidstore_live_bytes"),
            file_bytes: gauge("cidstore_file_size_bytes"),
            pool_bytes: gauge("cidstore_pool_bytes"),
            retired: gauge("cidstore_retired_things"),
            snapshots: gauge("cidstore_snapshots"),
            oldest_pin_seconds: gauge("cidstore_oldest_pin_seconds"),
            not_durable: (gauge("cidstore_lsn") - gauge("cidstore_durable_lsn")).max(0.0),
            splits: growth("cidstore_bucket_splits_total"),
            merges: growth("cidstore_bucket_merges_total"),
            failed: gauge("cidstore_failed") > 0.0,
            read_only: gauge("cidstore_read_only") > 0.0,
        }
    }

    /// Part of the log that holds records which are still needed: 0 to 1.
    pub(crate) fn log_fill(&self) -> f64 {
        if self.log_max_bytes > 0.0 {
            (self.log_used_bytes / self.log_max_bytes).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::scrape::tests::text;

    #[test]
    fn rates_are_of_the_window() {
        let scrape = |commits| Scrape::parse(&text(commits, 0)).unwrap();
        let since_opening = Figures::between(None, &scrape(100));
        assert_eq!((since_opening.inserts_per_second, since_opening.keys), (10.0, 1_234_567.0));
        assert_eq!(since_opening.log_fill(), 0.25);
        let window = Figures::between(Some((&scrape(100), 2.0)), &scrape(400));
        assert_eq!((window.inserts_per_second, window.seconds), (150.0, 2.0));
        assert_eq!(window.commit_buffered.p50, Some(1e-7));
        assert_eq!(window.commit_immediate, Latency::default());
    }

    /// Every name that is asked for is one that a store exposes.
    #[test]
    fn all_series_exist() {
        let folder = tempfile::tempdir().unwrap();
        let store = cidstore::Store::open(folder.path().join("s.h5")).unwrap();
        let text = store.expose_metrics().unwrap();
        let source = include_str!("figures.rs");
        let code = source.split("#[cfg(test)]").next().unwrap();
        let mut names = 0;
        for name in code.split('"').filter(|piece| piece.starts_with("cidstore_")) {
            // Labels that are filled in, and the suffixes of histograms, are looked for as far as they are told here.
            let name = name.split(['{', '\\']).next().unwrap();
            assert!(text.contains(&format!("\n{name}")), "{name}");
            names += 1;
        }
        assert!(names > 25, "{names}");
    }
}
