//! Operations of every kind against the model.

use cidstore_engine::{Durability, Store};

use crate::driver::Driver;
use crate::generate::{Bounds, decode};

/// Longer inputs tell nothing new and take their time.
const INPUT_BYTES_MAX: usize = 1500;

/// Runs the operations that `bytes` encode, after one byte that chooses the world.
///
/// # Panics
///
/// If any answer differs from the model's.
pub fn operations(bytes: &[u8]) {
    let Some((world, rest)) = bytes.split_first() else { return };
    if rest.len() > INPUT_BYTES_MAX {
        return;
    }
    let bounds = if world & 1 == 0 { Bounds::HOT } else { Bounds::WIDE };
    let log_bytes = if world & 2 == 0 { 64 << 10 } else { 4 << 20 };
    let options = Store::options()
        .durability(Durability::Buffered)
        .wal_bytes(log_bytes)
        .verify_reads(world & 4 != 0);
    Driver::run(options, &decode(rest, bounds));
}
