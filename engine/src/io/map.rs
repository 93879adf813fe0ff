//! A writable map of the front of a file, for records that must reach the kernel without a system call.
//!
//! Invariants:
//! - A store touches only bytes below `usable`, which the owner keeps at or below the file's length: a
//!   touch beyond the end would be a signal, not an error.
//! - Stores are atomic 64-bit words, so two threads that store the same bytes are a mistake but no
//!   undefined behaviour, and a store that power interrupts is torn at multiples of 8 bytes only.
//!
//! What is not defended against: another program that shortens the file while it is mapped. The lock
//! keeps openers of ours out; the file's mode keeps other users out.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use super::sys;

/// A shared, writable map of the first bytes of a file. See the module for what it promises.
#[derive(Debug)]
pub struct FileMap {
    raw: MmapRaw,
    usable: AtomicU64,
}

impl FileMap {
    /// Maps the first `bytes` bytes of the open file `descriptor`; nothing of it is usable yet.
    pub(super) fn new(descriptor: RawFd, bytes: u64) -> io::Result<Self> {
        let length = usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        let raw = MmapOptions::new().len(length).map_raw(descriptor)?;
        Ok(Self { raw, usable: AtomicU64::new(0) })
    }

    /// Bytes of address space.
    #[must_use]
    pub fn mapped_bytes(&self) -> u64 {
        self.raw.len() as u64
    }

    /// Bytes from the start that may be stored to.
    #[must_use]
    pub fn usable_bytes(&self) -> u64 {
        // Acquire: pairs with the Release in `set_usable`; the growth that came before it is seen.
        self.usable.load(Ordering::Acquire)
    }

    /// Says that the file has at least `bytes` bytes now and will not get shorter than that.
    /// More than is mapped counts as all that is mapped.
    pub fn set_usable(&self, bytes: u64) {
        // Release: whoever sees the new bound sees the growth of the file that its caller did first.
        self.usable.store(bytes.min(self.mapped_bytes()), Ordering::Release);
    }

    /// Copies `bytes` to `offset`; both are multiples of 8.
    pub(super) fn store(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        let (words, rest) = bytes.as_chunks::<8>();
        if end > self.usable_bytes() || !offset.is_multiple_of(8) || !rest.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a store to {offset}..{end} of {} usable bytes", self.usable_bytes()),
            ));
        }
        let targets = sys::map_words(&self.raw, offset as usize, words.len());
        for (target, word) in targets.iter().zip(words) {
            // Relaxed: no thread reads through the map. The kernel sees stores of a thread that calls
            // it, and those of other threads that happened before that call by their lock.
            target.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
        Ok(())
    }
}
