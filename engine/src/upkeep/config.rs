//! What users may set.

use std::time::Duration;

use crate::error::{Error, Result};

/// What the store tidies by itself, how much of the machine it may take for it, and when it keeps still.
///
/// Set with [`OpenOptions::maintenance`](crate::OpenOptions::maintenance); name what differs and take the rest from
/// the default:
///
/// ```
/// # use cidstore_engine::{Error, Maintenance, Store};
/// # fn main() -> Result<(), Error> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("tidy.h5");
/// let maintenance = Maintenance { cpu_percent: 5, scrub: false, ..Maintenance::default() };
/// let store = Store::options().maintenance(maintenance).open(path)?;
/// # store.close()
/// # }
/// ```
///
/// Nothing of this changes an answer: what is tidied is where things lie, never what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// Lays buckets out in hash order again once more than a quarter of their entries is out of it.
    pub sort: bool,
    /// Merges buckets with their buddies once both together fill at most five eighths of a page.
    pub merge: bool,
    /// Rewrites value sets of which more than a quarter are tombstones, and brings sets of at most four values back
    /// inline.
    pub compact: bool,
    /// Frees what was replaced once no reader needs it, and moves sets out of value pages that are nearly empty.
    pub collect: bool,
    /// Reads every page of the last checkpoint and compares it with its checksum, over and over.
    pub scrub: bool,
    /// Moves pages to the front of the file and cuts its end off once a quarter of it would go.
    pub shrink: bool,
    /// Time that steps may take, in percent of one processor: 1 to 100. Waiting for a disk counts as work.
    pub cpu_percent: u32,
    /// Bytes of pages that steps may read or change a second: at least 65,536.
    pub bytes_per_second: u64,
    /// More log records a second than this are load, and so is anyone who waits to write.
    pub busy_records_per_second: u64,
    /// How long there must have been no load before a step runs.
    pub quiet: Duration,
    /// How long to rest after everything was looked at.
    pub rest: Duration,
    /// How long to rest after every page was compared with its checksum.
    pub scrub_rest: Duration,
}

impl Default for Maintenance {
    /// Everything on, at most 2 % of one processor and 8 MiB a second, after two seconds without load.
    fn default() -> Self {
        Self {
            sort: true,
            merge: true,
            compact: true,
            collect: true,
            scrub: true,
            shrink: true,
            cpu_percent: 2,
            bytes_per_second: 8 << 20,
            busy_records_per_second: 1000,
            quiet: Duration::from_secs(2),
            rest: Duration::from_secs(30),
            scrub_rest: Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl Maintenance {
    /// Everything off: no thread, no step. The methods that tidy at once work as ever.
    #[must_use]
    pub fn off() -> Self {
        Self {
            sort: false,
            merge: false,
            compact: false,
            collect: false,
            scrub: false,
            shrink: false,
            ..Self::default()
        }
    }

    /// True if there is nothing to do in the background.
    #[must_use]
    pub fn is_off(&self) -> bool {
        !(self.surveys() || self.collect || self.scrub || self.shrink)
    }

    /// Whether buckets are looked at for work.
    pub(crate) fn surveys(&self) -> bool {
        self.sort || self.merge || self.compact
    }

    /// Checks the figures against their ranges.
    pub(crate) fn check(&self) -> Result<()> {
        let detail = if self.cpu_percent == 0 || self.cpu_percent > 100 {
            format!("cpu_percent {} is outside 1 to 100", self.cpu_percent)
        } else if self.bytes_per_second < 1 << 16 {
            format!("bytes_per_second {} is below 65536", self.bytes_per_second)
        } else {
            return Ok(());
        };
        Err(Error::InvalidOption { option: "maintenance", detail })
    }
}
