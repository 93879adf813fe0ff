//! Proof that `cidstore-core` needs no std, no allocator and no C library: a static program with an entry
//! point and a panic handler of its own looks keys up in a data file that it carries.
//!
//! It exits with 0 if every answer is right, with the number of the first wrong one if not, and with 101
//! after a panic. Written for x86-64 Linux.
#![no_std]
#![no_main]

mod memory;
mod start;

use core::ops::RangeInclusive;
use core::panic::PanicInfo;

use cidstore_core::E;
use cidstore_core::image::{ImageError, ImageReader};

/// A sealed store; `core/tests/no_std_image.rs` makes it and says what is in it.
static IMAGE: &[u8] = include_bytes!("../image.h5");

/// Names, and the values that each has.
const CONTENT: [(&str, RangeInclusive<u64>); 4] =
    [("foo", 123..=123), ("four", 0..=3), ("five", 0..=4), ("many", 0..=299)];

/// The number of the first answer that is wrong; 0 if none is.
fn first_wrong_answer() -> Result<u8, ImageError> {
    let reader = ImageReader::open(IMAGE)?;
    reader.check()?;
    let mut number = 0;
    for (name, values) in CONTENT {
        let key = E::from_name(name);
        let mut sum = 0;
        let count = reader.get(key, |value| sum += value.low)?;
        let end = E::from(*values.end());
        let right = [
            count == values.clone().count() as u64,
            sum == values.sum(),
            reader.contains(key, end)?,
            !reader.contains(key, E::new(1, end.low))?,
        ];
        for right in right {
            number += 1;
            if !right {
                return Ok(number);
            }
        }
    }
    let missing_is_missing = !reader.contains_key(E::from_name("missing"))?;
    Ok(if missing_is_missing { 0 } else { number + 1 })
}

fn main() -> u8 {
    first_wrong_answer().unwrap_or(100)
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    start::exit(101)
}
