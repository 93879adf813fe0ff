//! What the measuring examples have in common.

use std::error::Error;

use cidstore_core::E;

/// What this process has used of all processors, by `/proc`: in ticks of 10 ms.
pub(crate) fn processor_seconds() -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = text.rsplit_once(')').ok_or("/proc/self/stat has another form")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(ticks.sum::<Result<u64, _>>()? as f64 / 100.0)
}

/// A key that looks random: two rounds of a well-known mixer.
pub(crate) fn scramble(index: u64) -> E {
    let mix = |seed: u64| {
        let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    };
    E::new(mix(index), mix(!index))
}
