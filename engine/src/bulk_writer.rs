//! Writing the pages of a bulk load: built on the thread that loads, written on another.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use cidstore_core::crc::page_checksum;
use cidstore_core::layout::table::{Space, TableSlot};
use cidstore_core::layout::{PAGE_BYTES, PAGE_WORDS};
use cidstore_core::protocol::bucket_build::{self, Header, Item};
use cidstore_core::protocol::bucket_seal;
use cidstore_core::protocol::word::Word;
use zerocopy::IntoBytes;

use crate::checkpoint::Checkpointer;
use crate::error::{Error, Result};
use crate::shared::Shared;
use crate::space::HUGE_PAGES;
use crate::store::engine::Engine;

/// Pages written with one call: see `checkpoint`.
const RUN_PAGES: usize = HUGE_PAGES as usize;
/// Runs that are built, on their way, or being written.
const RUNS: usize = 3;

/// A page that was written: which slots are to name it.
pub(crate) struct Placed {
    pub(crate) prefix: u32,
    pub(crate) local_depth: u32,
    pub(crate) slot: TableSlot,
}

type PageRun = Vec<[u64; PAGE_WORDS]>;

/// Builds pages and has them written in runs.
pub(crate) struct PageWriter<'scope> {
    engine: &'scope Engine,
    checkpointer: &'scope Checkpointer,
    generation: u64,
    page: Box<[AtomicU64; PAGE_WORDS]>,
    /// Pages that are built and have no place yet.
    run: PageRun,
    /// All pages so far, in the order in which they were built; those of `run` have no page number yet.
    placed: Vec<Placed>,
    /// Where the first page of `run` stands in `placed`.
    unplaced: usize,
    to_write: SyncSender<(PageRun, Range<u32>, u64)>,
    written: Receiver<PageRun>,
    writer: ScopedJoinHandle<'scope, Result<Vec<u32>>>,
}

impl<'scope> PageWriter<'scope> {
    /// A writer with a thread of its own.
    pub(crate) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        engine: &'scope Engine,
        checkpointer: &'scope Checkpointer,
        generation: u64,
    ) -> Self {
        let (to_write, runs) = sync_channel(RUNS);
        let (give_back, written) = channel();
        for _ in 1..RUNS {
            // The other end is held right here.
            let _ = give_back.send(Vec::with_capacity(RUN_PAGES));
        }
        let writer = scope.spawn(move || write_runs(&engine.shared, &runs, &give_back));
        Self {
            engine,
            checkpointer,
            generation,
            page: Box::new([const { AtomicU64::new(0) }; PAGE_WORDS]),
            run: Vec::with_capacity(RUN_PAGES),
            placed: Vec::new(),
            unplaced: 0,
            to_write,
            written,
            writer,
        }
    }

    /// Builds the page of a prefix.
    pub(crate) fn add(&mut self, prefix: u32, local_depth: u32, items: &[Item]) -> Result<()> {
        for word in self.page.iter() {
            word.store(0, Ordering::Relaxed);
        }
        let header = Header {
            local_depth: local_depth as u8,
            prefix: u64::from(prefix),
            generation: self.generation,
            overflow: 0,
        };
        if bucket_build::build(&self.page, &header, items).is_err() {
            unreachable!("the caller counted the positions");
        }
        let mut words = Word::load_all(&self.page);
        bucket_seal::seal_words(&mut words);
        self.run.push(words);
        self.placed.push(Placed { prefix, local_depth, slot: TableSlot::default() });
        if self.run.len() == RUN_PAGES { self.send_run() } else { Ok(()) }
    }

    /// Gives as many of the built pages a place as one run of free pages takes, and sends them off.
    fn send_run(&mut self) -> Result<()> {
        let shared = &self.engine.shared;
        let built = self.run.len() as u32;
        let (places, offset) = {
            let mut files = self.checkpointer.files();
            files.ensure_free(Space::Buckets, built.into(), &*shared.file, &shared.regions)?;
            files.take_run(Space::Buckets, built)
        }
        .ok_or_else(|| shared.corrupt("bucket pages that were reserved are not free"))?;
        for (placed, page) in self.placed[self.unplaced..].iter_mut().zip(places.clone()) {
            placed.slot.page = page;
        }
        self.unplaced += places.len();
        // If the thread is gone, `finish` tells why.
        let Ok(mut next) = self.written.recv() else { return Err(Error::Closed) };
        next.clear();
        next.extend_from_slice(&self.run[places.len()..]);
        self.run.truncate(places.len());
        let run = std::mem::replace(&mut self.run, next);
        self.to_write.send((run, places, offset)).map_err(|_| Error::Closed)
    }

    /// Waits until all pages are written and answers them. After a failure, here or before, it gives their
    /// places back to the file and answers what went wrong first.
    pub(crate) fn finish(mut self, mut built: Result<()>) -> Result<Vec<Placed>> {
        while built.is_ok() && !self.run.is_empty() {
            built = self.send_run();
        }
        drop(self.to_write);
        let written = match self.writer.join() {
            Ok(written) => written,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        match written.and_then(|checksums| built.map(|()| checksums)) {
            Ok(checksums) => {
                for (placed, checksum) in self.placed.iter_mut().zip(checksums) {
                    placed.slot.checksum = checksum;
                }
                Ok(self.placed)
            }
            Err(error) => {
                give_back(self.checkpointer, &self.placed[..self.unplaced]);
                Err(error)
            }
        }
    }
}

/// Gives the places of pages, which nothing names yet, back to the file.
pub(crate) fn give_back(checkpointer: &Checkpointer, placed: &[Placed]) {
    let mut files = checkpointer.files();
    for placed in placed {
        files.pages_mut(Space::Buckets).release(placed.slot.page);
    }
}

/// Writes runs of pages as they come, and answers the checksums of all pages in that order.
fn write_runs(
    shared: &Shared,
    runs: &Receiver<(PageRun, Range<u32>, u64)>,
    give_back: &Sender<PageRun>,
) -> Result<Vec<u32>> {
    let mut checksums = Vec::new();
    for (run, places, offset) in runs {
        for (words, page) in run.iter().zip(places) {
            let bytes: &[u8; PAGE_BYTES] = zerocopy::transmute_ref!(words);
            checksums.push(page_checksum(Space::Buckets, page, bytes));
            shared.copy_tags(page, words);
        }
        let bytes = run.as_bytes();
        shared.file.write_at(offset, bytes)?;
        // The disk would do nothing until the load is built, and then all at once.
        shared.file.begin_sync(offset, bytes.len() as u64);
        // Nobody waits for the last ones.
        let _ = give_back.send(run);
    }
    Ok(checksums)
}
