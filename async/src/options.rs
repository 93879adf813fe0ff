//! How a [`CidStore`](crate::CidStore) is opened.

use cidstore_engine::{OpenOptions, Store};

/// Changes that may be queued or wait for their sync, unless told otherwise.
const QUEUE_CHANGES_DEFAULT: u32 = 1 << 14;

/// Where a read runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// In the poll of the task that asks: an answer in a few hundred nanoseconds if the pages are in memory. A page that is
    /// not costs the executor's thread one read of the disk.
    #[default]
    Inline,
    /// On the pool of the `blocking` crate: a page that is not in memory delays no other task, and each read costs two
    /// changes of thread. For stores much larger than memory. Writes are then never applied by the task that calls, either.
    Pool,
}

/// Options of [`CidStore`](crate::CidStore); start with [`CidStore::options`](crate::CidStore::options).
///
/// The methods that open are [`open`](Self::open), [`open_files`](Self::open_files) and
/// [`open_with_consumer`](Self::open_with_consumer).
#[derive(Clone, Debug)]
#[must_use]
pub struct CidStoreOptions {
    pub(crate) store: OpenOptions,
    pub(crate) queue_changes: u32,
    pub(crate) reads: Reads,
}

impl Default for CidStoreOptions {
    fn default() -> Self {
        Self {
            store: Store::options(),
            queue_changes: QUEUE_CHANGES_DEFAULT,
            reads: Reads::default(),
        }
    }
}

impl CidStoreOptions {
    /// Options of the store itself: durability, size of the log and so on. Default: [`Store::options`].
    ///
    /// What they leave open is as there, but for maintenance: a `CidStore` tidies itself in the background
    /// ([`OpenOptions::maintained`]) unless they say [`Maintenance::off`](cidstore_engine::Maintenance::off).
    pub fn store(mut self, options: OpenOptions) -> Self {
        self.store = options;
        self
    }

    /// Most changes that are queued or wait for their sync at any time; calls beyond wait for their turn. At least 1 is
    /// taken. Default: 16,384. A change takes some 300 bytes of memory while it waits.
    pub fn queue_changes(mut self, changes: u32) -> Self {
        self.queue_changes = changes.max(1);
        self
    }

    /// Where reads run. Default: [`Reads::Inline`].
    pub fn reads(mut self, reads: Reads) -> Self {
        self.reads = reads;
        self
    }
}
