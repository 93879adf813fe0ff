//! Keys with many values.

use std::time::{Duration, Instant};

use super::Workload;
use super::reads::{Sum, per_read};
use crate::Result;
use crate::peer::{Peer, Reader};
use crate::sets::Sets;

/// Longest time of a round: a store that looks through all values of a key would take hours for a million of them.
const ROUND_TIME: Duration = Duration::from_secs(2);

/// Nanoseconds to get all values of a key, over `reads` random keys or [`ROUND_TIME`].
///
/// # Errors
/// The store's own, or a wrong answer.
pub fn get_all<P: Peer>(
    peer: &P,
    workload: Workload,
    sets: &Sets,
    round: u64,
    reads: u64,
) -> Result<f64> {
    let indices: Vec<u64> = sets.sample(round, reads).collect();
    let mut sum = Sum::default();
    let mut count = 0;
    let started = Instant::now();
    peer.read(|reader| {
        for index in &indices {
            let key = sets.key(*index);
            if workload == Workload::Values1M {
                reader.iterate(key, |value| sum.add(Some(value)))?;
            } else {
                reader.values(key, |value| sum.add(Some(value)))?;
            }
            count += 1;
            if count % 16 == 0 && started.elapsed() > ROUND_TIME {
                break;
            }
        }
        Ok(())
    })?;
    let elapsed = started.elapsed();
    let mut expected = Sum::default();
    for index in indices.iter().take(count) {
        for which in 0..sets.values_per_key() {
            expected.add(Some(sets.value(*index, which)));
        }
    }
    sum.agree(workload, &expected)?;
    Ok(per_read(elapsed, count as u64))
}

/// Nanoseconds to ask whether a key has a value, over `reads` questions or [`ROUND_TIME`]; every other answer is no.
///
/// # Errors
/// The store's own, or a wrong answer.
pub fn contains<P: Peer>(
    peer: &P,
    workload: Workload,
    sets: &Sets,
    round: u64,
    reads: u64,
) -> Result<f64> {
    let values = sets.values_per_key();
    let mut questions = Vec::with_capacity(reads as usize);
    // Other numbers than those of the keys: which value a key is asked for has nothing to do with which key it is.
    let which = sets.sample(round ^ (1 << 32), reads);
    for (turn, (index, which)) in sets.sample(round, reads).zip(which).enumerate() {
        let asked =
            if sets.key_count() == 1 { turn as u64 * 7_919 % values } else { which % values };
        let present = turn % 2 == 0;
        let value = if present { sets.value(index, asked) } else { sets.absent_value(index) };
        questions.push((sets.key(index), value, present));
    }
    let (mut count, mut wrong) = (0, 0);
    let started = Instant::now();
    peer.read(|reader| {
        for (key, value, present) in &questions {
            wrong += u64::from(reader.contains(*key, *value)? != *present);
            count += 1;
            if count % 16 == 0 && started.elapsed() > ROUND_TIME {
                break;
            }
        }
        Ok(())
    })?;
    let elapsed = started.elapsed();
    if wrong > 0 {
        return Err(format!("{}: {wrong} of {count} wrong answers", workload.name()).into());
    }
    Ok(per_read(elapsed, count))
}
