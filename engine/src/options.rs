//! How a store is opened: options, their ranges, their defaults.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cidstore_core::hash::HashSeed;
use cidstore_core::layout::PAGE_BYTES;

use crate::error::{Error, Result};
use crate::tuning::Tuning;
use crate::upkeep::Maintenance;
use crate::view::{FileView, default_view};

/// Log bytes of a store unless told otherwise.
pub(crate) const WAL_BYTES_DEFAULT: u64 = 256 << 20;
/// Smallest log.
pub(crate) const WAL_BYTES_MIN: u64 = 64 << 10;
/// Largest log.
pub(crate) const WAL_BYTES_MAX: u64 = 64 << 30;
/// Smallest `max_bytes`: below 640 KiB a store has no room for what an insert might need, and takes none.
pub(crate) const FILE_BYTES_MIN: u64 = 1 << 20;
/// Largest `max_bytes`: the file offsets that segments can name.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 44;

/// Longest rest: longer than any store stays open, and short enough to be added to any time.
const REST_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// When a write counts as done.
///
/// | | panic, exit | `kill -9` | power loss |
/// |---|---|---|---|
/// | `Immediate` | kept | kept | kept |
/// | `Interval(d)` | kept | kept | all but the last `d` |
/// | `Buffered` | kept | kept | up to the last sync or checkpoint |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When the log record is on disk. Readers see the write only then.
    #[default]
    Immediate,
    /// At once; the log is synced at most this much later.
    Interval(Duration),
    /// At once; the log is synced when something else asks for it.
    Buffered,
}

/// Options of [`Store::open`](crate::Store::open); start with [`Store::options`](crate::Store::options).
#[derive(Clone, Debug)]
#[must_use]
pub struct OpenOptions {
    create: bool,
    read_only: bool,
    wal_path: Option<PathBuf>,
    wal_bytes: u64,
    durability: Durability,
    verify_reads: bool,
    count_reads: bool,
    max_bytes: Option<u64>,
    view: Option<Arc<dyn FileView>>,
    maintenance: Option<Maintenance>,
    tuning: Option<Tuning>,
    hash_seed: Option<HashSeed>,
    feed_bytes: Option<u64>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            create: true,
            read_only: false,
            wal_path: None,
            wal_bytes: WAL_BYTES_DEFAULT,
            durability: Durability::default(),
            verify_reads: false,
            count_reads: false,
            max_bytes: None,
            view: default_view(),
            maintenance: None,
            tuning: None,
            hash_seed: None,
            feed_bytes: None,
        }
    }
}

impl OpenOptions {
    /// Whether a store that does not exist is created. Default: yes.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Opens for reading only: nothing is written, and a store that was not closed cleanly is refused.
    /// Default: no.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Where the log lies. Default: beside the data file, with `-wal` added to its name.
    ///
    /// After a crash the store opens only with the log that it was last opened with; once closed, with any path. A log that is
    /// no longer used stays where it is, and may be removed.
    pub fn wal_path(mut self, path: impl AsRef<Path>) -> Self {
        self.wal_path = Some(path.as_ref().into());
        self
    }

    /// Most bytes of log, a multiple of 4096 from 64 KiB to 64 GiB. Default: 256 MiB.
    ///
    /// The log file starts at 1 MiB (or this, if it is less) and grows as it is needed. One batch may take half of this; a larger
    /// log means fewer checkpoints and a longer recovery.
    pub fn wal_bytes(mut self, bytes: u64) -> Self {
        self.wal_bytes = bytes;
        self
    }

    /// Durability of writes that do not name their own. Default: `Immediate`.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Checks the checksum of each sealed page that a read touches. Default: no. Writes check bucket pages in any case
    /// before they change them, and refuse with [`Error::Corrupt`](crate::Error::Corrupt): a damaged page is never written again as a sound one.
    pub fn verify_reads(mut self, verify: bool) -> Self {
        self.verify_reads = verify;
        self
    }

    /// Counts reads for [`metrics`](crate::Store::metrics), at a cost to each: see `docs/metrics.md`. Default: no.
    pub fn count_reads(mut self, count: bool) -> Self {
        self.count_reads = count;
        self
    }

    /// Most bytes of data file, a multiple of 4096 of at least 1 MiB, which has room for some 3,800 keys. Writes beyond are refused with
    /// `NoSpace`. Default: no limit but the disk's.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// In which other format the file describes itself; `None` for no other. Default: HDF5, if the feature `hdf5` is on.
    ///
    /// A file that is opened without a view that it has had loses it; one can be added at any time.
    pub fn view(mut self, view: Option<Arc<dyn FileView>>) -> Self {
        self.view = view;
        self
    }

    /// What the store tidies in the background, and how much it may take for that. Default: nothing:
    /// see docs/maintenance.md for why.
    pub fn maintenance(mut self, maintenance: Maintenance) -> Self {
        self.maintenance = Some(maintenance);
        self
    }

    /// As [`maintenance`](Self::maintenance) with [`Maintenance::default`], unless it was set before: to anything, also to
    /// [`Maintenance::off`].
    pub fn maintained(mut self) -> Self {
        self.maintenance.get_or_insert_default();
        self
    }

    /// Lets the store follow a target by itself: each second it looks at what happened and may change a setting, as
    /// [`Store::auto_tune`](crate::Store::auto_tune) does. Default: it does not; `auto_tune` then follows
    /// [`Tuning::default`].
    pub fn tuning(mut self, target: Tuning) -> Self {
        self.tuning = Some(target);
        self
    }

    /// Seed of the key hash of a store that is created. Default: random.
    ///
    /// For stores that are to have the layout of another one. Whoever knows the seed can choose keys that all fall
    /// together, and make the store slow.
    pub fn hash_seed(mut self, seed: HashSeed) -> Self {
        self.hash_seed = Some(seed);
        self
    }

    /// Most bytes of log that are kept for change feeds which are behind. Default: a quarter of `wal_bytes`.
    ///
    /// A feed that is further behind, or whose records a write needs the room of, ends with
    /// [`Error::Lagged`]; those that are nearer keep theirs.
    pub fn feed_retention_bytes(mut self, bytes: u64) -> Self {
        self.feed_bytes = Some(bytes);
        self
    }

    /// Checks all options against their ranges.
    pub(crate) fn settings(&self, path: &Path) -> Result<Settings> {
        check("wal_bytes", self.wal_bytes, WAL_BYTES_MIN, WAL_BYTES_MAX)?;
        let max_bytes = self.max_bytes.unwrap_or(FILE_BYTES_MAX);
        check("max_bytes", max_bytes, FILE_BYTES_MIN, FILE_BYTES_MAX)?;
        let mut maintenance = self.maintenance.unwrap_or_else(Maintenance::off);
        maintenance.check()?;
        for rest in [&mut maintenance.quiet, &mut maintenance.rest, &mut maintenance.scrub_rest] {
            *rest = REST_MAX.min(*rest);
        }
        self.tuning.map_or(Ok(()), Tuning::check)?;
        if path.as_os_str().is_empty() {
            return Err(Error::InvalidOption { option: "path", detail: "is empty".into() });
        }
        let wal_path = self.wal_path.clone().unwrap_or_else(|| {
            let mut name = path.as_os_str().to_owned();
            name.push("-wal");
            name.into()
        });
        let wrong = if wal_path.as_os_str().is_empty() {
            Some("is empty")
        } else {
            (wal_path == path).then_some("is the data file itself")
        };
        if let Some(detail) = wrong {
            return Err(Error::InvalidOption { option: "wal_path", detail: detail.into() });
        }
        Ok(Settings {
            create: self.create && !self.read_only,
            read_only: self.read_only,
            wal_path,
            wal_bytes: self.wal_bytes,
            durability: self.durability,
            verify_reads: self.verify_reads,
            count_reads: self.count_reads,
            max_bytes,
            view: self.view.clone(),
            maintenance,
            tuning: self.tuning,
            hash_seed: self.hash_seed,
            feed_bytes: self.feed_bytes.unwrap_or(self.wal_bytes / 4),
        })
    }
}

/// Options that have been checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    pub(crate) wal_path: PathBuf,
    pub(crate) wal_bytes: u64,
    pub(crate) durability: Durability,
    pub(crate) verify_reads: bool,
    pub(crate) count_reads: bool,
    pub(crate) max_bytes: u64,
    pub(crate) view: Option<Arc<dyn FileView>>,
    pub(crate) maintenance: Maintenance,
    pub(crate) tuning: Option<Tuning>,
    pub(crate) hash_seed: Option<HashSeed>,
    pub(crate) feed_bytes: u64,
}

fn check(option: &'static str, bytes: u64, min: u64, max: u64) -> Result<()> {
    let detail = if bytes < min || bytes > max {
        format!("{bytes} is outside {min} to {max} bytes")
    } else if !bytes.is_multiple_of(PAGE_BYTES as u64) {
        format!("{bytes} is not a multiple of {PAGE_BYTES}")
    } else {
        return Ok(());
    };
    Err(Error::InvalidOption { option, detail })
}
