//! [`Store::scrub`]: every page that the last checkpoint left in the file against its checksum, and what can be put
//! right for certain.
//!
//! Goes over the tables a stretch at a time and lets checkpoints run in between. What it finds is judged at the end, in one
//! hold of the checkpointer, so that pages of one set are judged together.

use cidstore_core::layout::table::TableKind;

use crate::error::Result;
use crate::handle::Store;
use crate::report::Report;
use crate::transaction;
use crate::upkeep::add;

/// Pages that are read under one hold of the checkpointer: 4 MiB.
const STRETCH_PAGES: u64 = 1024;

impl Store {
    /// Compares every page that the last checkpoint left in the data file with the checksum in its table: pages of
    /// buckets and sets, table nodes, both superblocks. Looks at bytes only; [`verify`](Self::verify) also at
    /// what they mean. Reads, writes and checkpoints go on meanwhile.
    ///
    /// With `repair`, what can be told for certain is put right, by copy and in one checkpoint, so that a crash leaves the
    /// store as it was or repaired; [`Report::repaired`] lists it. That is one flipped bit of a page (in a bucket
    /// page also one in each of several entries), provided that what the page says is right again: the entries' own
    /// checksums, places and codes, the sets' hashes. Table nodes and superblocks are written again from memory. What cannot be
    /// repaired is in [`Report::problems`] with the keys that it concerns, and is not touched.
    ///
    /// [`Report::keys`] and [`Report::values`] stay 0: nothing is counted.
    ///
    /// # Errors
    ///
    /// See [`Store`]. [`NoSpace`](crate::Error::NoSpace) if there is no room for the repaired pages; with `repair`,
    /// [`ReadOnly`](crate::Error::ReadOnly) on such a store. Damage is no error: it is in the report.
    pub fn scrub(&self, repair: bool) -> Result<Report> {
        let engine = self.engine();
        transaction::check_not_nested(engine)?;
        engine.shared.check_open()?;
        if repair {
            engine.check_writable()?;
        }
        let mut report = Report::default();
        let mut damaged = Vec::new();
        for kind in TableKind::ALL {
            let mut from = Some(0);
            while let Some(at) = from {
                let checkpointer = engine.checkpointer();
                // With the lock, here and below: whoever closes the store meanwhile waits for it.
                engine.shared.check_open()?;
                let pages_max = report.pages_checked + STRETCH_PAGES;
                let found = |found| damaged.push(found);
                from =
                    engine.scrub_stretch(&checkpointer, (kind, at), pages_max, &mut report, found);
            }
        }
        let mut checkpointer = engine.checkpointer();
        engine.shared.check_open()?;
        engine.settle(&mut checkpointer, damaged, repair, &mut report)?;
        drop(checkpointer);
        add(&engine.shared.upkeep.repairs, report.repaired.len() as u64);
        Ok(report)
    }
}
