//! Looking inside: entries, statistics, a dump of the structure.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cidstore_core::E;
use cidstore_core::layout::PAGE_BYTES;
use cidstore_core::layout::bucket::{ENTRIES_WORD, OVERFLOW_WORD};
use cidstore_core::layout::entry::{ENTRY_WORDS, HashEntry, SpillPointer};
use cidstore_core::layout::table::Space;
use cidstore_core::protocol::bucket_write::BucketWriter;
use cidstore_core::protocol::content::Content;

use crate::error::{Error, Result};
use crate::handle::Store;
use crate::report::Problem;
use crate::shared::Shared;
use crate::store::engine::WriterState;
use crate::transaction;
use crate::tuning::TuningStats;
use crate::upkeep::MaintenanceStats;
use crate::writer::pages::bucket_place;

/// The canonical entry of a key: what its bucket says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The key.
    pub key: E,
    /// The inline values; empty if they are in a set.
    pub values: Vec<E>,
    /// The first entry as it lies in the page: slots, state mask, flags, version.
    pub first: HashEntry,
    /// The second entry, of a key with more than two inline values.
    pub second: Option<HashEntry>,
    /// Decoded state mask: bit `i` says that inline value `i` of the key is valid.
    pub valid: u8,
    /// How often the first entry's position was published.
    pub version: u32,
    /// Where the values are, if they are in a set.
    pub spill: Option<SpillPointer>,
}

/// Counters of a store.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Keys.
    pub keys: u64,
    /// Pairs.
    pub values: u64,
    /// Lowest hash bits that index the directory.
    pub global_depth: u32,
    /// Buckets.
    pub buckets: u64,
    /// Bucket pages in use, overflow pages included.
    pub bucket_pages: u64,
    /// Overflow pages among them.
    pub overflow_pages: u64,
    /// Value pages in use.
    pub value_pages: u64,
    /// Table pages in use, those that only the older superblock needs included.
    pub table_pages: u64,
    /// Pages of the data file that nothing is in.
    pub free_pages: u64,
    /// Bytes of the pages in use, the tables that name them included.
    pub live_bytes: u64,
    /// Length of the data file, in bytes.
    pub file_bytes: u64,
    /// Length of the log file, in bytes.
    pub wal_bytes: u64,
    /// Length that the log file may reach, in bytes, its first page aside; 0 if the store was opened for reading only.
    pub wal_bytes_max: u64,
    /// Bytes of log records that are not yet in the data file.
    pub wal_used_bytes: u64,
    /// Bytes of memory that changed pages take.
    pub pool_bytes: u64,
    /// Things replaced that wait for readers, snapshots or superblocks.
    pub retired: u64,
    /// Checkpoints since the store was opened.
    pub checkpoints: u64,
    /// Snapshots alive.
    pub snapshots: u64,
    /// How long replaced pages have waited for readers at least: about the age of the oldest pin.
    pub oldest_pin: Option<Duration>,
    /// Last write that readers see.
    pub lsn: u64,
    /// Last write that survives a power cut.
    pub durable_lsn: u64,
    /// The store was opened for reading only.
    pub read_only: bool,
    /// What made the store refuse all further writes, if something did: a failed write or sync.
    pub failure: Option<String>,
    /// What background maintenance has done.
    pub maintenance: MaintenanceStats,
    /// What auto-tuning has set.
    pub tuning: TuningStats,
}

/// What of [`Stats`] is read under the writer lock. Cheap: a transaction takes it along.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriterFigures {
    keys: u64,
    values: u64,
    lsn: u64,
    global_depth: u32,
    buckets: u64,
    bucket_pages: u64,
    value_pages: u64,
    table_pages: u64,
    free_pages: u64,
    file_bytes: u64,
    pool_pages: u64,
    retired: u64,
    snapshots: u64,
    oldest_pin: Option<Duration>,
    wal_bytes: u64,
    wal_used_bytes: u64,
    /// Records and flushes of the log.
    pub(crate) log_counts: (u64, u64),
}

impl WriterFigures {
    pub(crate) fn of(shared: &Shared, state: &WriterState) -> Self {
        let pages = &state.writer.pages;
        let (file_bytes, table_pages, free_pages) = {
            let files = pages.files();
            let tables = files.pages(Space::Tables);
            let free = Space::ALL.map(|space| u64::from(files.pages(space).free_count()));
            let table_pages = u64::from(tables.page_count() - tables.free_count());
            (files.length().bytes(), table_pages, free.iter().sum())
        };
        let log = state.log.as_ref();
        let buckets = pages.bucket_count();
        Self {
            keys: shared.counters.keys.load(Ordering::Relaxed),
            values: shared.counters.values.load(Ordering::Relaxed),
            lsn: shared.counters.applied_lsn.load(Ordering::Relaxed),
            global_depth: shared.tables.depth(),
            buckets,
            bucket_pages: buckets + pages.overflow_numbers.used(),
            value_pages: pages.value_numbers.used(),
            table_pages,
            free_pages,
            file_bytes,
            pool_pages: (pages.bucket_pool.used_pages() + pages.value_pool.used_pages()) as u64,
            retired: pages.limbo.len() as u64,
            snapshots: pages.tables.snapshot_count() as u64,
            oldest_pin: pages.limbo.oldest_wait(),
            wal_bytes: log.map_or(0, |log| log.file_bytes()),
            wal_used_bytes: log.map_or(0, |log| log.used_bytes()),
            log_counts: log.map_or((0, 0), |log| log.counts()),
        }
    }
}

impl Store {
    /// The entry of a key; `None` if it is not there. For looking inside, not for speed.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn get_entry(&self, key: impl Into<E>) -> Result<Option<Entry>> {
        let key = key.into();
        let engine = self.engine();
        engine.shared.check_open()?;
        transaction::check_not_nested(engine)?;
        if engine.shared.verify_reads {
            // Checks the pages on the way, as every read does then.
            self.contains_key(key)?;
        }
        let state = engine.writer();
        // With the lock: it may have been closed meanwhile.
        engine.shared.check_open()?;
        let hash = engine.shared.seed.hash(key);
        let Some((place, content)) = state.writer.look_up(key, hash)? else { return Ok(None) };
        let words = state.writer.pages.bucket(state.writer.pages.link_page(place.link));
        let entry = |position: usize| -> HashEntry {
            let at = ENTRIES_WORD + position * ENTRY_WORDS;
            let line: [u64; ENTRY_WORDS] =
                std::array::from_fn(|word| words[at + word].load(Ordering::Relaxed));
            zerocopy::transmute!(line)
        };
        let first = entry(place.located.primary());
        let second = place.located.second().map(entry);
        let mask = |entry: &HashEntry| cidstore_core::ecc::DECODE[entry.state_mask as usize] & 15;
        let (values, spill) = match content {
            Content::Inline(inline) => (inline.as_slice().to_vec(), None),
            Content::Spilled(pointer) => (Vec::new(), Some(pointer)),
        };
        let valid = mask(&first) | second.as_ref().map_or(0, mask);
        Ok(Some(Entry { key, values, first, second, valid, version: first.version, spill }))
    }

    /// True if the key's values lie in a set of their own; false if they are inline or the key is not there.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn is_spilled(&self, key: impl Into<E>) -> Result<bool> {
        let key = key.into();
        self.reading(|reader| Ok(reader.set_of(key)?.is_some()))
    }

    /// True if a value set exists for the key: the same as [`is_spilled`](Self::is_spilled), by its other name.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn valueset_exists(&self, key: impl Into<E>) -> Result<bool> {
        self.is_spilled(key)
    }

    /// Deleted positions in the key's value set that are not yet reused; 0 if it has no set or is not there.
    ///
    /// Tombstones are bits beside the values: a stored [`E::ZERO`] is none.
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn get_tombstone_count(&self, key: impl Into<E>) -> Result<u64> {
        let key = key.into();
        self.reading(|reader| reader.tombstone_count(key))
    }

    /// The counters of the store, at one time between two writes: within [`write`](Self::write), when it began.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats_of(&self.writer_figures())
    }

    /// What the writer knows now, or knew when this thread's transaction began: nothing has changed since.
    pub(crate) fn writer_figures(&self) -> WriterFigures {
        let engine = self.engine();
        transaction::figures_inside(engine)
            .unwrap_or_else(|| WriterFigures::of(&engine.shared, &engine.writer()))
    }

    /// [`Stats`] with what the writer knew.
    pub(crate) fn stats_of(&self, figures: &WriterFigures) -> Stats {
        let engine = self.engine();
        let WriterFigures { bucket_pages, value_pages, table_pages, .. } = *figures;
        Stats {
            keys: figures.keys,
            values: figures.values,
            global_depth: figures.global_depth,
            buckets: figures.buckets,
            bucket_pages,
            overflow_pages: bucket_pages - figures.buckets,
            value_pages,
            table_pages,
            free_pages: figures.free_pages,
            live_bytes: (bucket_pages + value_pages + table_pages) * PAGE_BYTES as u64,
            file_bytes: figures.file_bytes,
            wal_bytes: figures.wal_bytes,
            wal_bytes_max: engine.wal.as_ref().map_or(0, |_| engine.settings.wal_bytes),
            wal_used_bytes: figures.wal_used_bytes,
            pool_bytes: figures.pool_pages * PAGE_BYTES as u64,
            retired: figures.retired,
            checkpoints: engine.shared.counters.checkpoints.load(Ordering::Relaxed),
            snapshots: figures.snapshots,
            oldest_pin: figures.oldest_pin,
            lsn: figures.lsn,
            durable_lsn: self.durable_lsn(),
            read_only: engine.settings.read_only,
            failure: engine.shared.failure(),
            maintenance: engine.shared.upkeep.stats(),
            tuning: engine.tuned.stats(),
        }
    }

    /// Writes the whole structure as text: counters, then each bucket with its keys and values.
    ///
    /// Buckets are read one after another; writes may come in between.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if `out` fails. Else see [`Store`].
    pub fn debug_dump(&self, out: &mut impl io::Write) -> Result<()> {
        transaction::check_not_nested(self.engine())?;
        self.engine().shared.check_open()?;
        let path = self.engine().shared.path.clone();
        let io_error = |source| Error::Io { path: path.clone(), action: "dump", source };
        let stats = self.stats();
        writeln!(
            out,
            "{}: {} keys, {} values, depth {}, {} buckets, {} value pages",
            path.display(),
            stats.keys,
            stats.values,
            stats.global_depth,
            stats.buckets,
            stats.value_pages,
        )
        .map_err(io_error)?;
        for decision in self.tuning_decisions() {
            writeln!(out, "tuning: {decision}").map_err(io_error)?;
        }
        for Problem { place, detail } in self.maintenance_problems() {
            writeln!(out, "damage: {place}: {detail}").map_err(io_error)?;
        }
        let mut position = 0_u64;
        while position < 1 << 32 {
            let mut text = Vec::new();
            position = self.dump_bucket(position, &mut text)?;
            out.write_all(&text).map_err(io_error)?;
        }
        Ok(())
    }

    /// Writes the bucket at a scan position; answers where the next one begins.
    fn dump_bucket(&self, position: u64, text: &mut Vec<u8>) -> Result<u64> {
        use std::fmt::Write;
        let engine = self.engine();
        let state = engine.writer();
        engine.shared.check_open()?;
        let pages = &state.writer.pages;
        let mask = ((1_u64 << engine.shared.tables.depth()) - 1) as u32;
        let index = (position as u32).reverse_bits() & mask;
        if let Err(error) = pages.check_chain(index) {
            // How far the bucket reaches is not known: this slot of the directory is passed over.
            text.extend_from_slice(format!("directory slot {index:#x}: {error}\n").as_bytes());
            return Ok(position + ((1 << 32) >> engine.shared.tables.depth()));
        }
        let mut lines = String::new();
        let (prefix, local_depth) = bucket_place(pages.bucket(pages.bucket_at(index)));
        for link in pages.chain(index) {
            let number = pages.link_page(link);
            let page = pages.bucket(number);
            let writer = BucketWriter::new(page);
            let (entries, sorted) = (writer.entry_count(), writer.sorted_count());
            let overflow = page[OVERFLOW_WORD].load(Ordering::Relaxed) as u32;
            let width = local_depth as usize;
            // Writing to a string cannot fail.
            let _ = writeln!(
                lines,
                "bucket {prefix:0width$b}/{local_depth} page {number} generation {}: \
                 {entries} entries, {sorted} sorted, overflow {overflow}",
                writer.generation(),
            );
            let dumped = writer.for_each(|key, content| {
                let _ = match content {
                    Content::Inline(values) => {
                        writeln!(lines, "  {key} -> {:?}", values.as_slice())
                    }
                    Content::Spilled(pointer) => {
                        writeln!(lines, "  {key} -> set of {} {pointer:?}", pointer.value_count)
                    }
                };
            });
            dumped.map_err(|fault| pages.bucket_fault(number, fault))?;
        }
        text.extend_from_slice(lines.as_bytes());
        Ok(u64::from(prefix.reverse_bits()) + ((1 << 32) >> local_depth))
    }
}
