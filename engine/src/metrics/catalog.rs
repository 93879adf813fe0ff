//! The table of all exposed metrics: names, units, meanings, and where each figure comes from.
//!
//! `docs/metrics.md` says the same to people; a test keeps both together. Labels have few values, all of which are
//! in this table.

use super::upkeep::UPKEEP;
use super::{Histogram, Metrics};

/// A metric with all its labels.
#[derive(Debug)]
pub(super) struct Family {
    /// Without the unit, and without the `_total` of counters.
    pub(super) name: &'static str,
    /// Base unit; the name ends with it.
    pub(super) unit: Option<&'static str>,
    pub(super) help: &'static str,
    /// Name of the label, if there are several samples.
    pub(super) label: Option<&'static str>,
    /// One, or one for each value of the label.
    pub(super) samples: &'static [(&'static str, Read)],
}

/// How a sample is read from a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    Counter(fn(&Metrics) -> u64),
    Gauge(fn(&Metrics) -> u64),
    Fraction(fn(&Metrics) -> f64),
    /// A counter of something that is not counted in whole numbers.
    Amount(fn(&Metrics) -> f64),
    Histogram(fn(&Metrics) -> &Histogram),
}

use Read::{Counter, Fraction, Gauge};

pub(super) const fn row(
    name: &'static str,
    unit: Option<&'static str>,
    help: &'static str,
    samples: &'static [(&'static str, Read)],
) -> Family {
    Family { name, unit, help, label: None, samples }
}

pub(super) const fn rows(
    label: &'static str,
    name: &'static str,
    unit: Option<&'static str>,
    help: &'static str,
    samples: &'static [(&'static str, Read)],
) -> Family {
    Family { name, unit, help, label: Some(label), samples }
}

pub(super) const BYTES: Option<&str> = Some("bytes");
pub(super) const SECONDS: Option<&str> = Some("seconds");

/// What writes did.
pub(super) const WRITES: &[Family] = &[
    row(
        "cidstore_reads",
        None,
        "Calls that read keys, scans and snapshots aside; 0 unless the store was opened with count_reads",
        &[("", Counter(|m| m.reads))],
    ),
    rows(
        "op",
        "cidstore_operations",
        None,
        "Operations that writes asked for, those within batches and transactions included",
        &[
            ("insert", Counter(|m| m.operations.inserts)),
            ("delete", Counter(|m| m.operations.deletes)),
            ("delete_value", Counter(|m| m.operations.value_deletes)),
        ],
    ),
    rows(
        "change",
        "cidstore_pairs_changed",
        None,
        "Pairs that came or went, bulk loads aside",
        &[("added", Counter(|m| m.pairs_added)), ("removed", Counter(|m| m.pairs_removed))],
    ),
    rows(
        "outcome",
        "cidstore_commits",
        None,
        "Writes that were answered; a batch or transaction is one",
        &[("ok", Counter(|m| m.commits)), ("failed", Counter(|m| m.commits_failed))],
    ),
    rows(
        "durability",
        "cidstore_commit_duration",
        SECONDS,
        "Time from the call of a write to its answer; of interval and buffered writes one in 16 is measured",
        &[
            ("immediate", Read::Histogram(|m| &m.commit_latency.immediate)),
            ("interval", Read::Histogram(|m| &m.commit_latency.interval)),
            ("buffered", Read::Histogram(|m| &m.commit_latency.buffered)),
        ],
    ),
    row(
        "cidstore_batch_operations",
        None,
        "Operations in each batch and transaction",
        &[("", Read::Histogram(|m| &m.batch_sizes))],
    ),
    row(
        "cidstore_group_commit_writes",
        None,
        "Writes that were logged, and where needed synced, together",
        &[("", Read::Histogram(|m| &m.group_sizes))],
    ),
    row("cidstore_bulk_loads", None, "Bulk loads", &[("", Counter(|m| m.bulk_loads))]),
    row(
        "cidstore_bulk_pairs",
        None,
        "Pairs that bulk loads were given",
        &[("", Counter(|m| m.bulk_pairs))],
    ),
];

/// What went to disk.
pub(super) const DISK: &[Family] = &[
    rows(
        "file",
        "cidstore_sync_duration",
        SECONDS,
        "Time that each fdatasync took that made writes or a checkpoint durable",
        &[
            ("log", Read::Histogram(|m| &m.log_sync_latency)),
            ("data", Read::Histogram(|m| &m.data_sync_latency)),
        ],
    ),
    row(
        "cidstore_log_records",
        None,
        "Records appended to the log, those that frame batches included",
        &[("", Counter(|m| m.log_records))],
    ),
    row(
        "cidstore_log_written",
        BYTES,
        "Bytes of records appended to the log",
        &[("", Counter(|m| m.log_bytes))],
    ),
    row(
        "cidstore_log_flushes",
        None,
        "Times that records were brought to the log file",
        &[("", Counter(|m| m.log_flushes))],
    ),
    row(
        "cidstore_log_size",
        BYTES,
        "Length of the log file",
        &[("", Gauge(|m| m.stats.wal_bytes))],
    ),
    row(
        "cidstore_log_used",
        BYTES,
        "Bytes of log records that are not yet in the data file",
        &[("", Gauge(|m| m.stats.wal_used_bytes))],
    ),
    row(
        "cidstore_log_max",
        BYTES,
        "Most bytes of records that the log may have; 0 if the store was opened for reading only",
        &[("", Gauge(|m| m.stats.wal_bytes_max))],
    ),
    row(
        "cidstore_checkpoint_duration",
        SECONDS,
        "Time that each checkpoint took",
        &[("", Read::Histogram(|m| &m.checkpoint_latency))],
    ),
    row(
        "cidstore_checkpoint_written",
        BYTES,
        "Bytes of pages that checkpoints wrote, table nodes and superblocks aside",
        &[("", Counter(|m| m.checkpoint_bytes))],
    ),
    row(
        "cidstore_checkpoint_failures",
        None,
        "Checkpoints that failed",
        &[("", Counter(|m| m.checkpoints_failed))],
    ),
    row(
        "cidstore_recovered_operations",
        None,
        "Operations replayed from the log when the store was opened",
        &[("", Gauge(|m| m.recovered_operations))],
    ),
];

/// What the pages did and how the store stands.
pub(super) const CONTENT: &[Family] = &[
    row("cidstore_bucket_splits", None, "Buckets split in two", &[("", Counter(|m| m.splits))]),
    row(
        "cidstore_bucket_merges",
        None,
        "Buckets merged with their buddies",
        &[("", Counter(|m| m.merges))],
    ),
    rows(
        "change",
        "cidstore_directory_resizes",
        None,
        "Doublings and halvings of the directory",
        &[("doubled", Counter(|m| m.doublings)), ("halved", Counter(|m| m.halvings))],
    ),
    rows(
        "change",
        "cidstore_set_moves",
        None,
        "Keys whose values moved to a set of their own, or came back inline",
        &[("promoted", Counter(|m| m.promotions)), ("demoted", Counter(|m| m.demotions))],
    ),
    row("cidstore_keys", None, "Keys", &[("", Gauge(|m| m.stats.keys))]),
    row("cidstore_pairs", None, "Pairs", &[("", Gauge(|m| m.stats.values))]),
    row("cidstore_buckets", None, "Buckets", &[("", Gauge(|m| m.stats.buckets))]),
    row(
        "cidstore_directory_depth",
        None,
        "Lowest hash bits that index the directory",
        &[("", Gauge(|m| u64::from(m.stats.global_depth)))],
    ),
    rows(
        "kind",
        "cidstore_pages",
        None,
        "Pages of 4096 bytes in use, those in memory included, and free ones in the data file",
        &[
            ("bucket", Gauge(|m| m.stats.bucket_pages - m.stats.overflow_pages)),
            ("overflow", Gauge(|m| m.stats.overflow_pages)),
            ("value", Gauge(|m| m.stats.value_pages)),
            ("table", Gauge(|m| m.stats.table_pages)),
            ("free", Gauge(|m| m.stats.free_pages)),
        ],
    ),
    row(
        "cidstore_live",
        BYTES,
        "Bytes of the pages in use",
        &[("", Gauge(|m| m.stats.live_bytes))],
    ),
    row(
        "cidstore_file_size",
        BYTES,
        "Length of the data file",
        &[("", Gauge(|m| m.stats.file_bytes))],
    ),
    row(
        "cidstore_pool",
        BYTES,
        "Bytes of memory that changed pages take",
        &[("", Gauge(|m| m.stats.pool_bytes))],
    ),
    row(
        "cidstore_retired_things",
        None,
        "Pages and extents replaced that wait for readers, snapshots or superblocks",
        &[("", Gauge(|m| m.stats.retired))],
    ),
    row("cidstore_snapshots", None, "Snapshots alive", &[("", Gauge(|m| m.stats.snapshots))]),
    row(
        "cidstore_oldest_pin",
        SECONDS,
        "How long replaced pages have waited for readers at least; 0 if none waits",
        &[("", Fraction(|m| m.stats.oldest_pin.unwrap_or_default().as_secs_f64()))],
    ),
    row("cidstore_lsn", None, "Last write that readers see", &[("", Gauge(|m| m.stats.lsn))]),
    row(
        "cidstore_durable_lsn",
        None,
        "Last write that survives a power cut",
        &[("", Gauge(|m| m.stats.durable_lsn))],
    ),
    row(
        "cidstore_failed",
        None,
        "1 once a failed write or sync has made the store refuse writes, else 0",
        &[("", Gauge(|m| u64::from(m.stats.failure.is_some())))],
    ),
    row(
        "cidstore_read_only",
        None,
        "1 if the store was opened for reading only, else 0",
        &[("", Gauge(|m| u64::from(m.stats.read_only)))],
    ),
    row(
        "cidstore_open",
        SECONDS,
        "Time since the store was opened",
        &[("", Fraction(|m| m.window.as_secs_f64()))],
    ),
];

/// Figures under the names that the original gave them, for dashboards that know these.
pub(super) const ALIASES: &[Family] = &[
    row(
        "cidstore_split_events",
        None,
        "By the original's name: cidstore_bucket_splits_total",
        &[("", Gauge(|m| m.splits))],
    ),
    row(
        "cidstore_merge_events",
        None,
        "By the original's name: cidstore_bucket_merges_total",
        &[("", Gauge(|m| m.merges))],
    ),
    row(
        "cidstore_directory_size",
        None,
        "By the original's name: two to the power of cidstore_directory_depth",
        &[("", Gauge(|m| 1 << m.stats.global_depth))],
    ),
    row(
        "cidstore_latency_p99",
        None,
        "By the original's name: 0.99 quantile in seconds of cidstore_commit_duration_seconds since the opening",
        &[("", Fraction(|m| m.commit_latency_all().p99().as_secs_f64()))],
    ),
    row(
        "cidstore_throughput_ops",
        None,
        "By the original's name: cidstore_operations_total a second since the opening",
        &[("", Fraction(Metrics::operations_per_second))],
    ),
    row(
        "cidstore_error_rate",
        None,
        "By the original's name: share of failed writes in cidstore_commits_total since the opening",
        &[("", Fraction(Metrics::failed_share))],
    ),
    row(
        "cidstore_buffer_occupancy",
        None,
        "By the original's name: cidstore_log_used_bytes as a share of cidstore_log_max_bytes",
        &[("", Fraction(Metrics::log_fill))],
    ),
    row(
        "cidstore_flush_duration",
        None,
        "By the original's name: mean in seconds of cidstore_sync_duration_seconds of the log since the opening",
        &[("", Fraction(|m| m.log_sync_latency.mean() / 1e9))],
    ),
    row(
        "cidtree_wal_records_appended",
        None,
        "By the original's name: cidstore_log_records_total",
        &[("", Counter(|m| m.log_records))],
    ),
    row(
        "cidtree_wal_buffer_capacity",
        BYTES,
        "By the original's name: cidstore_log_max_bytes",
        &[("", Gauge(|m| m.stats.wal_bytes_max))],
    ),
    row(
        "cidtree_wal_records_in_buffer",
        None,
        "By the original's name: records in cidstore_log_used_bytes",
        &[("", Gauge(|m| m.stats.wal_used_bytes / RECORD_BYTES))],
    ),
];

const RECORD_BYTES: u64 = cidstore_core::layout::record::RECORD_BYTES as u64;

/// All of them, in the order of the text.
pub(super) fn families() -> impl Iterator<Item = &'static Family> {
    [WRITES, DISK, CONTENT, UPKEEP, ALIASES].into_iter().flatten()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Name and type as a reader of the text sees them.
    fn shown(family: &Family) -> (String, &'static str) {
        let unit = family.unit.map(|unit| format!("_{unit}")).unwrap_or_default();
        let (kind, suffix) = match family.samples[0].1 {
            Read::Counter(_) | Read::Amount(_) => ("counter", "_total"),
            Read::Gauge(_) | Read::Fraction(_) => ("gauge", ""),
            Read::Histogram(_) => ("histogram", ""),
        };
        (format!("{}{unit}{suffix}", family.name), kind)
    }

    /// `docs/metrics.md` has a row for each metric, with its type, unit, labels and meaning, and no other rows.
    #[test]
    fn the_document_has_all_metrics() {
        let document = include_str!("../../../docs/metrics.md");
        let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| `cid")).collect();
        let metric_rows = rows.iter().filter(|row| !row.starts_with("| `cidstore "));
        let is_function = |row: &&&str| row.starts_with("| `cidstore::");
        assert_eq!(metric_rows.filter(|row| !is_function(row)).count(), families().count());
        for family in [WRITES, DISK, CONTENT, UPKEEP].into_iter().flatten() {
            let (name, kind) = shown(family);
            let values: Vec<String> =
                family.samples.iter().map(|(value, _)| format!("`{value}`")).collect();
            let labels = family.label.map(|label| format!("`{label}`: {}", values.join(", ")));
            let (unit, labels) = (family.unit.unwrap_or_default(), labels.unwrap_or_default());
            let row = format!("| `{name}` | {kind} | {unit} | {labels} | {} |", family.help);
            assert!(rows.contains(&row.as_str()), "{row}");
        }
        for family in ALIASES {
            let (name, kind) = shown(family);
            let start = format!("| `{name}` | {kind} | ");
            let row = rows.iter().find_map(|row| row.strip_prefix(&start));
            let meaning = row.unwrap_or_else(|| panic!("{start}")).trim_end_matches(" |");
            let told = family.help.strip_prefix("By the original's name: ").unwrap();
            assert_eq!(meaning.replace('`', ""), told);
        }
    }

    /// An alias tells of metrics that exist.
    #[test]
    fn aliases_name_metrics() {
        let names: Vec<String> = families().map(|family| shown(family).0).collect();
        for family in ALIASES {
            let named: Vec<&str> =
                family.help.split(' ').filter(|word| word.starts_with("cid")).collect();
            assert!(!named.is_empty(), "{}", family.help);
            for name in named {
                assert!(names.iter().any(|known| known == name), "{name}");
            }
        }
    }
}
