//! What a snapshot keeps of a table: the chunks that changed after it.
//!
//! The writer, before it changes a slot, copies the chunk around it into every snapshot that has not got
//! it yet. A snapshot's reader looks at the live slot first and then for a copy: if it saw a later value
//! in the slot, it sees the copy too, because the copy was published before the slot was swung.

use std::sync::atomic::Ordering;

use super::slots::SlotArray;
use crate::sync::{AtomicU32, OnceLock};

/// Slots in a chunk: one page of memory. A model checker is content with two.
const CHUNK_SLOTS: usize = if cfg!(loom) { 2 } else { 1024 };

/// A chunk as it was at the snapshot, but for swings between copies of equal content.
type Chunk = Box<[AtomicU32; CHUNK_SLOTS]>;

/// The chunks of one table that a snapshot holds copies of.
#[derive(Debug)]
pub(crate) struct FrozenTable {
    slot_count: u32,
    chunks: Box<[OnceLock<Chunk>]>,
}

impl FrozenTable {
    /// A table of this many slots, with nothing copied yet.
    pub(crate) fn new(slot_count: u32) -> Self {
        let chunk_count = (slot_count as usize).div_ceil(CHUNK_SLOTS);
        Self { slot_count, chunks: (0..chunk_count).map(|_| OnceLock::new()).collect() }
    }

    /// The page that a slot named when the snapshot was made.
    pub(crate) fn get(&self, live: &SlotArray, index: u32) -> u32 {
        if index >= self.slot_count {
            return 0;
        }
        // The order matters: slot (Acquire) first, then the copy. See the head of this file.
        let page = live.get(index);
        match self.chunks[index as usize / CHUNK_SLOTS].get() {
            // Acquire: the page may have been swung to a copy in the file after the freeze.
            Some(chunk) => chunk[index as usize % CHUNK_SLOTS].load(Ordering::Acquire),
            None => page,
        }
    }

    /// Keeps the chunk around a slot that is about to change. The writer only.
    pub(super) fn keep(&self, live: &SlotArray, index: u32) {
        let Some(chunk) = self.chunks.get(index as usize / CHUNK_SLOTS) else { return };
        chunk.get_or_init(|| {
            let first = index - index % CHUNK_SLOTS as u32;
            let slots: Vec<AtomicU32> =
                (first..).take(CHUNK_SLOTS).map(|slot| AtomicU32::new(live.get(slot))).collect();
            match slots.into_boxed_slice().try_into() {
                Ok(chunk) => chunk,
                Err(_) => unreachable!("a chunk of CHUNK_SLOTS slots was collected"),
            }
        });
    }

    /// Replaces `from` by `to`, a page of the same content, in a copied chunk. The writer only.
    pub(super) fn swing(&self, index: u32, from: u32, to: u32) {
        if index >= self.slot_count {
            return;
        }
        if let Some(chunk) = self.chunks[index as usize / CHUNK_SLOTS].get() {
            let slot = &chunk[index as usize % CHUNK_SLOTS];
            if slot.load(Ordering::Relaxed) == from {
                // Release: pairs with the reader's Acquire.
                slot.store(to, Ordering::Release);
            }
        }
    }
}
