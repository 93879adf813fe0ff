//! Reading all pairs of a store that was opened for an import, by one thread or by all processors.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use cidstore_core::E;
use cidstore_core::hash::HashSeed;
use cidstore_core::layout::bucket::BucketPage;
use cidstore_engine::{BulkLoader, Snapshot, Store};

use super::canonical::lines::{LineFault, for_each_line};
use super::canonical::plan::SCAN_END;
use super::error::{ExchangeError, Result};
use super::threads;

/// Pieces into which the scan order is divided: what a thread takes at once, and what lies between two reports.
const PIECES: u64 = 1 << 10;

/// The content of a file that is a store.
pub(super) struct Content<'a> {
    path: &'a Path,
    snapshot: Snapshot,
    seed: HashSeed,
}

/// Keys and values that were read.
#[derive(Clone, Copy, Default)]
struct Counts {
    keys: u64,
    values: u64,
}

impl<'a> Content<'a> {
    /// What is in `store`, which is the file at `path`.
    pub(super) fn of(path: &'a Path, store: &Store) -> Result<Self> {
        Ok(Self { path, snapshot: store.snapshot()?, seed: store.hash_seed() })
    }

    /// Values that the file says to have.
    pub(super) fn values_said(&self) -> u64 {
        self.snapshot.value_len()
    }

    /// Gives all pairs to `take`, and holds their number against what the file says. `progress` gets the pieces that are
    /// done, and their number.
    pub(super) fn read(
        &self,
        take: &mut dyn FnMut(E, E) -> Result<()>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        let mut counts = Counts::default();
        for piece in 0..PIECES {
            progress(piece, PIECES);
            self.read_piece(piece, &mut counts, &mut *take)?;
        }
        self.check(counts)
    }

    /// As [`read`](Self::read), into a loader for `store`, on all processors.
    pub(super) fn read_into<'s>(
        &self,
        store: &'s Store,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<BulkLoader<'s>> {
        let next = AtomicU64::new(0);
        let work = |tell: &mut dyn FnMut(u64)| {
            let (mut loader, mut counts) = (store.bulk_loader(), Counts::default());
            loop {
                // Relaxed: a number is all that is handed over.
                let piece = next.fetch_add(1, Ordering::Relaxed);
                if piece >= PIECES {
                    return Ok((loader, counts));
                }
                tell(piece);
                let read = self
                    .read_piece(piece, &mut counts, &mut |key, value| Ok(loader.push(key, value)?));
                // What is more than the file says is not taken in: it may be without end.
                let said = self.snapshot.value_len();
                let read = read.and_then(|()| match counts.values {
                    found if found > said => Err(self.miscount("values or more", found, said)),
                    _ => Ok(()),
                });
                read.inspect_err(|_| next.store(PIECES, Ordering::Relaxed))?;
            }
        };
        let mut counts = Counts::default();
        let mut all = store.bulk_loader();
        for (loader, read) in threads::on_all(work, &mut |piece| progress(piece, PIECES))? {
            counts.keys += read.keys;
            counts.values += read.values;
            all.append(loader);
        }
        self.check(counts)?;
        Ok(all)
    }

    /// Gives the pairs of all keys of a piece of the scan order to `take`.
    fn read_piece(
        &self,
        piece: u64,
        counts: &mut Counts,
        take: &mut (impl FnMut(E, E) -> Result<()> + ?Sized),
    ) -> Result<()> {
        const LENGTH: u64 = SCAN_END / PIECES;
        let (mut position, end) = (piece * LENGTH, (piece + 1) * LENGTH);
        let mut sets = Vec::new();
        while position < end {
            // A bucket of a small store reaches over several pieces: each takes its own keys.
            let wanted = position..end;
            let mut taken = Ok(());
            position = self.snapshot.visit_bucket_pages(position, |page| {
                self.read_page(page, &wanted, counts, &mut sets, |key, value| {
                    if taken.is_ok() {
                        taken = take(key, value);
                    }
                })
            })?;
            taken?;
            for (key, reference) in sets.drain(..) {
                let mut taken = Ok(());
                self.snapshot.visit_set(reference, |part| {
                    for &value in part {
                        counts.values += 1;
                        if taken.is_ok() {
                            taken = take(key, value);
                        }
                    }
                })?;
                taken?;
            }
        }
        Ok(())
    }

    /// Gives the inline values of the wanted keys of a page to `take`, and adds those that have a set to `sets`.
    fn read_page(
        &self,
        page: &BucketPage,
        wanted: &Range<u64>,
        counts: &mut Counts,
        sets: &mut Vec<(E, u64)>,
        mut take: impl FnMut(E, E),
    ) -> std::result::Result<(), LineFault> {
        let start = u64::from((page.header.prefix as u32).reverse_bits());
        let bucket = start..start + (SCAN_END >> page.header.local_depth.min(32));
        let mut misplaced = None;
        for_each_line(page, |line| {
            let at = u64::from(self.seed.hash(line.key).scan_position());
            if !bucket.contains(&at) {
                misplaced = Some(line.key);
            }
            if !wanted.contains(&at) {
                return;
            }
            counts.keys += u64::from(!line.is_second());
            if line.is_spilled() {
                sets.push((line.key, line.slots[0]));
            }
            for value in line.values() {
                counts.values += 1;
                take(line.key, value);
            }
        })?;
        misplaced.map_or(Ok(()), |key| Err(LineFault::Misplaced(key)))
    }

    /// Holds what was read against what the file says.
    fn check(&self, counts: Counts) -> Result<()> {
        for (what, found, said) in [
            ("keys", counts.keys, self.snapshot.len()),
            ("values", counts.values, self.snapshot.value_len()),
        ] {
            if found != said {
                return Err(self.miscount(what, found, said));
            }
        }
        Ok(())
    }

    fn miscount(&self, what: &str, found: u64, said: u64) -> ExchangeError {
        let detail = format!("has {found} {what}, and says to have {said}");
        ExchangeError::content(self.path, "/config", detail)
    }
}
