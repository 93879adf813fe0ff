//! The rows of the table of metrics that tell of background maintenance and of auto-tuning.

use super::catalog::Read::{Amount, Counter, Fraction, Gauge};
use super::catalog::{BYTES, Family, SECONDS, row, rows};

/// What the store does by itself.
pub(super) const UPKEEP: &[Family] = &[
    row(
        "cidstore_maintenance_paused",
        None,
        "1 while background maintenance keeps still because of load, else 0",
        &[("", Gauge(|m| m.stats.maintenance.paused.into()))],
    ),
    row(
        "cidstore_maintenance_pauses",
        None,
        "Times that maintenance began to keep still because of load",
        &[("", Counter(|m| m.stats.maintenance.pauses))],
    ),
    rows(
        "outcome",
        "cidstore_maintenance_steps",
        None,
        "Steps of maintenance: taken, put off because somebody was writing or a checkpoint ran, ended with an error",
        &[
            ("taken", Counter(|m| m.stats.maintenance.steps)),
            ("deferred", Counter(|m| m.stats.maintenance.steps_deferred)),
            ("failed", Counter(|m| m.stats.maintenance.errors)),
        ],
    ),
    row(
        "cidstore_maintenance_busy",
        SECONDS,
        "Time that all steps of maintenance took",
        &[("", Amount(|m| m.stats.maintenance.busy.as_secs_f64()))],
    ),
    row(
        "cidstore_maintenance",
        BYTES,
        "Bytes of pages that steps of maintenance read or changed",
        &[("", Counter(|m| m.stats.maintenance.bytes))],
    ),
    row(
        "cidstore_maintenance_rounds",
        None,
        "Rounds of maintenance over all buckets",
        &[("", Counter(|m| m.stats.maintenance.rounds))],
    ),
    row(
        "cidstore_maintenance_queue",
        None,
        "Chores that wait their turn",
        &[("", Gauge(|m| m.stats.maintenance.queue_length))],
    ),
    row(
        "cidstore_maintenance_danger",
        None,
        "Danger of the chore that was done last, 0 to 1000",
        &[("", Gauge(|m| m.stats.maintenance.danger_last))],
    ),
    rows(
        "chore",
        "cidstore_maintenance_chores",
        None,
        "What maintenance did: buckets sorted and merged, sets compacted, brought inline and moved, collections, pages moved, cuts of the file",
        &[
            ("sort", Counter(|m| m.stats.maintenance.buckets_sorted)),
            ("merge", Counter(|m| m.stats.maintenance.buckets_merged)),
            ("compact", Counter(|m| m.stats.maintenance.sets_compacted)),
            ("demote", Counter(|m| m.stats.maintenance.sets_demoted)),
            ("move_set", Counter(|m| m.stats.maintenance.sets_moved)),
            ("collect", Counter(|m| m.stats.maintenance.collections)),
            ("move_page", Counter(|m| m.stats.maintenance.pages_moved)),
            ("shrink", Counter(|m| m.stats.maintenance.shrinks)),
        ],
    ),
    row(
        "cidstore_maintenance_pages_scrubbed",
        None,
        "Pages that maintenance compared with their checksums",
        &[("", Counter(|m| m.stats.maintenance.pages_scrubbed))],
    ),
    row(
        "cidstore_maintenance_problems",
        None,
        "Damaged pages and sets that maintenance came upon; one may be counted in each pass",
        &[("", Counter(|m| m.stats.maintenance.problems))],
    ),
    row(
        "cidstore_scrub_repairs",
        None,
        "Damaged pages, table nodes and superblocks that a scrub, or table nodes that opening, has repaired",
        &[("", Counter(|m| m.stats.maintenance.repairs))],
    ),
    row(
        "cidstore_maintenance_cut",
        BYTES,
        "Bytes by which maintenance has cut the file",
        &[("", Counter(|m| m.stats.maintenance.bytes_cut))],
    ),
    row(
        "cidstore_tuning_decisions",
        None,
        "Windows that auto-tuning has judged",
        &[("", Counter(|m| m.stats.tuning.decisions))],
    ),
    row(
        "cidstore_tuning_breaker_open",
        None,
        "1 while tuning waits with safe settings, else 0",
        &[("", Gauge(|m| m.stats.tuning.breaker_open.into()))],
    ),
    row(
        "cidstore_tuned_group_writes",
        None,
        "Most writes that are logged and synced together, as tuned",
        &[("", Gauge(|m| m.stats.tuning.settings.group_writes_max.into()))],
    ),
    row(
        "cidstore_tuned_flush_interval",
        SECONDS,
        "Longest wait of an interval write for its sync, as tuned",
        &[("", Fraction(|m| m.stats.tuning.settings.flush_interval.as_secs_f64()))],
    ),
    row(
        "cidstore_tuned_checkpoint_share",
        None,
        "Part of the log that makes a checkpoint due, as tuned",
        &[("", Fraction(|m| f64::from(m.stats.tuning.settings.checkpoint_permille) / 1000.0))],
    ),
];
