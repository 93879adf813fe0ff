//! What background maintenance has done, for everybody to see.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::sync::whole::Mutex;

/// Problems that are kept to look at.
const PROBLEMS_KEPT: usize = 64;

/// What background maintenance has done since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MaintenanceStats {
    /// True if it keeps still at present because of load.
    pub paused: bool,
    /// How often it began to keep still because of load.
    pub pauses: u64,
    /// Steps taken.
    pub steps: u64,
    /// Steps given up because somebody was writing, or a checkpoint was running.
    pub steps_deferred: u64,
    /// Time that all steps took.
    pub busy: Duration,
    /// Bytes of pages that steps read or changed.
    pub bytes: u64,
    /// Rounds over all buckets that were finished.
    pub rounds: u64,
    /// Chores that wait their turn, as of the last step.
    pub queue_length: u64,
    /// Danger of the chore that was done last, 0 to 1000: see docs/maintenance.md.
    pub danger_last: u64,
    /// Buckets laid out in hash order.
    pub buckets_sorted: u64,
    /// Buckets merged with their buddies.
    pub buckets_merged: u64,
    /// Value sets rewritten without their tombstones, and parts of large ones.
    pub sets_compacted: u64,
    /// Value sets brought back inline.
    pub sets_demoted: u64,
    /// Value sets moved out of nearly empty pages.
    pub sets_moved: u64,
    /// Times that what was replaced has been freed.
    pub collections: u64,
    /// Pages compared with their checksums.
    pub pages_scrubbed: u64,
    /// Times that all pages have been compared with their checksums.
    pub scrubs: u64,
    /// Damaged pages and sets that steps came upon. A page may be counted again in each pass.
    pub problems: u64,
    /// Pages, table nodes and superblocks that [`Store::scrub`](crate::Store::scrub), or table nodes that opening, has repaired.
    pub repairs: u64,
    /// Pages copied so that the file may become shorter.
    pub pages_moved: u64,
    /// Times the file was cut.
    pub shrinks: u64,
    /// Bytes by which the file was cut in all.
    pub bytes_cut: u64,
    /// Steps that ended with an error.
    pub errors: u64,
}

macro_rules! counters {
    ($($name:ident),* $(,)?) => {
        /// The same, while it is counted. One thread counts; anybody looks.
        #[derive(Debug, Default)]
        pub(crate) struct UpkeepCounters {
            pub(crate) paused: AtomicBool,
            pub(crate) busy_nanos: AtomicU64,
            pub(crate) problems: AtomicU64,
            $(pub(crate) $name: AtomicU64,)*
            problem_list: Mutex<VecDeque<(String, String)>>,
        }

        impl UpkeepCounters {
            /// A copy of all.
            pub(crate) fn stats(&self) -> MaintenanceStats {
                // Relaxed, here and below: figures to look at; nothing is concluded from them.
                MaintenanceStats {
                    paused: self.paused.load(Ordering::Relaxed),
                    busy: Duration::from_nanos(self.busy_nanos.load(Ordering::Relaxed)),
                    problems: self.problems.load(Ordering::Relaxed),
                    $($name: self.$name.load(Ordering::Relaxed),)*
                }
            }
        }
    };
}

counters!(
    pauses,
    steps,
    steps_deferred,
    bytes,
    rounds,
    queue_length,
    danger_last,
    buckets_sorted,
    buckets_merged,
    sets_compacted,
    sets_demoted,
    sets_moved,
    collections,
    pages_scrubbed,
    scrubs,
    repairs,
    pages_moved,
    shrinks,
    bytes_cut,
    errors,
);

impl UpkeepCounters {
    /// Counts a problem, tells the log of it, and keeps the newest for [`problems`](Self::problem_list).
    pub(crate) fn note_problem(&self, path: &Path, place: String, detail: String) {
        tracing::error!(path = %path.display(), place, detail, "damage found by maintenance");
        add(&self.problems, 1);
        let mut list = self.problem_list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.iter().any(|(known, _)| *known == place) {
            return;
        }
        if list.len() == PROBLEMS_KEPT {
            list.pop_front();
        }
        list.push_back((place, detail));
    }

    /// The newest problems, places and details.
    pub(crate) fn problem_list(&self) -> Vec<(String, String)> {
        let list = self.problem_list.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter().cloned().collect()
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}
