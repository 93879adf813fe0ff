//! What the machine's memory alone takes for a lookup: a slot that tells a page, then a line of that page, each load told
//! by the one before. No store that has a directory can answer a chain of lookups sooner.

use std::hint::black_box;
use std::time::Instant;

use memmap2::{Advice, MmapMut};

use crate::Result;

const PAGE_BYTES: usize = 4096;
const LINE_BYTES: usize = 64;
const SLOT_BYTES: usize = size_of::<u32>();
/// Of Knuth's multiplicative hashing: 2^64 by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Pages in memory and a directory that names them in random order, both in huge pages if the machine gives any.
pub struct Floor {
    slots: MmapMut,
    pages: MmapMut,
    page_bits: u32,
}

impl Floor {
    /// Memory like that of a store with so many live bytes: the nearest power of two pages.
    ///
    /// # Errors
    /// If there is not so much memory.
    pub fn like(live_bytes: u64) -> Result<Self> {
        let page_bits = (live_bytes as f64 / PAGE_BYTES as f64).max(1.0).log2().round() as u32;
        let count = 1_usize << page_bits;
        let mut pages = huge(count * PAGE_BYTES)?;
        let mut slots = huge(count * SLOT_BYTES)?;
        for page in pages.chunks_exact_mut(PAGE_BYTES) {
            // Or the kernel would let all of it be one page of zeros.
            page.fill(1);
        }
        let mut order: Vec<u32> = (0..count as u32).collect();
        let mut state = GOLDEN;
        for last in (1..count).rev() {
            state = next(state);
            order.swap(last, state as usize % (last + 1));
        }
        for (slot, page) in slots.chunks_exact_mut(SLOT_BYTES).zip(order) {
            slot.copy_from_slice(&page.to_ne_bytes());
        }
        Ok(Self { slots, pages, page_bits })
    }

    /// Nanoseconds of a slot and a line, in a chain of `reads`.
    #[must_use]
    pub fn chained(&self, reads: u64) -> f64 {
        let (mask, lines) = ((1 << self.page_bits) - 1, PAGE_BYTES / LINE_BYTES);
        let mut read = 0;
        let started = Instant::now();
        for count in 0..reads {
            let hash = count.wrapping_add(read).wrapping_mul(GOLDEN);
            let slot = (hash >> u32::BITS) as usize & mask;
            let page = word(&self.slots, slot * SLOT_BYTES) as usize;
            let line = hash as usize % lines;
            read = u64::from(word(&self.pages, page * PAGE_BYTES + line * LINE_BYTES));
        }
        black_box(read);
        started.elapsed().as_nanos() as f64 / reads as f64
    }
}

/// Anonymous memory in huge pages, if the kernel has some.
fn huge(bytes: usize) -> Result<MmapMut> {
    let memory = MmapMut::map_anon(bytes)?;
    // A hint: without huge pages the figure is that of a machine that has none.
    let _ = memory.advise(Advice::HugePage);
    Ok(memory)
}

fn word(memory: &MmapMut, at: usize) -> u32 {
    memory
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

/// The next state of a xorshift generator (Marsaglia, 2003).
fn next(state: u64) -> u64 {
    let state = state ^ (state << 13);
    let state = state ^ (state >> 7);
    state ^ (state << 17)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_names_each_page_once() -> Result<()> {
        for live_bytes in [0, PAGE_BYTES as u64, 1_000 * PAGE_BYTES as u64] {
            let floor = Floor::like(live_bytes)?;
            let slots = floor.slots.chunks_exact(SLOT_BYTES).map(word_of);
            let mut named: Vec<u32> = slots.collect();
            named.sort_unstable();
            assert!(named.iter().copied().eq(0..1 << floor.page_bits));
            assert!(floor.chained(1_000) > 0.0);
        }
        Ok(())
    }

    fn word_of(slot: &[u8]) -> u32 {
        slot.first_chunk().map_or(u32::MAX, |bytes| u32::from_ne_bytes(*bytes))
    }
}
