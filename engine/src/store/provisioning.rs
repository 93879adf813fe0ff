//! Room made before a write must wait for it: in the log, in the data file, in the memory for changed pages. Each has a thread of
//! its own that sees to it, so that neither a checkpoint nor a sync comes first.

use std::ops::Range;

use super::background::RoomDue;
use super::engine::{Engine, WriterState};
use crate::error::{Error, Result};
use crate::space::pool::Pool;
use crate::wal::Appender;

impl Engine {
    /// Which of the three below have something to do.
    pub(super) fn room_due(&self, state: &WriterState) -> RoomDue {
        let pages = &state.writer.pages;
        RoomDue {
            log: state
                .log
                .as_ref()
                .is_some_and(|log| log.is_growth_due() || log.is_reservation_due()),
            file: self.file_length.is_due(),
            memory: pages.bucket_pool.is_memory_due() || pages.value_pool.is_memory_due(),
        }
    }

    /// Has the disk reserve the blocks that the data file will need.
    pub(super) fn provide_file(&self) {
        self.file_length.reach_wanted(&*self.shared.file);
    }

    /// Has the kernel give the pools the memory that they will need.
    pub(super) fn provide_memory(&self) {
        let regions = &self.shared.regions;
        let [buckets, values] = {
            let pages = &mut self.turns.lock_shortly().writer.pages;
            [&mut pages.bucket_pool, &mut pages.value_pool].map(Pool::take_memory_due)
        };
        let count = |pages: &Range<u32>| pages.len() as u32;
        regions.buckets.touch_pool(buckets.start, count(&buckets));
        regions.values.touch_pool(values.start, count(&values));
    }

    /// Has the disk reserve the blocks that the log will need, grows it, and makes durable what writes in haste have grown it by.
    pub(super) fn provide_log(&self) {
        let reservation = self.writer().log.as_mut().and_then(Appender::begin_reservation);
        if let Some(reservation) = reservation {
            reservation.carry_out();
        }
        if let Err(error) = self.grow_log() {
            tracing::warn!(%error, "growing the log");
        }
    }

    fn grow_log(&self) -> Result<()> {
        let begun = self.writer().log.as_mut().and_then(Appender::begin_growth);
        let Some(growth) = begun else { return Ok(()) };
        let made = growth.carry_out();
        let Some(log) = &mut self.writer().log else { return made.map(drop) };
        log.end_growth(made).inspect_err(|error| {
            if !matches!(error, Error::NoSpace { .. }) {
                self.shared.mark_failed(error);
            }
        })
    }
}
