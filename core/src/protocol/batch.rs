//! Looking for many keys: while one is looked at, the memory of those behind it is on its way.
//!
//! A key passes four stations, and each asks for what the next one loads: its directory slot, the tags of its page, its
//! entry. A stretch of keys goes from station to station together, so that each station is a short loop, and between two of them
//! lies the work of the other stations on other stretches: about as long as memory takes to come.

use super::bucket_read;
use super::entry::Positions;
use super::lookup::{Glance, View, glance};
use crate::entity::E;
use crate::hash::KeyHash;
use crate::layout::NO_PAGE;
use crate::probe;

/// Keys of a stretch.
const STRETCH: usize = 16;
/// Stations, and stretches that are on their way.
const STATIONS: usize = 4;

/// What the stations so far have found out about a key.
#[derive(Clone, Copy)]
struct Passed {
    hash: KeyHash,
    page: u32,
    positions: Positions,
    /// The positions are all that the key can have, and no page comes after this one.
    is_last: bool,
}

/// Calls `each` for all keys in their order, with the index of the key, its hash, and what a [`glance`] at it says.
///
/// The caller's pin spans the call: each answer was right at one instant of it. These instants need not follow each other as
/// the keys do, since the page of a key is told some keys before it is looked at.
///
/// # Errors
///
/// The first of `each`.
#[inline]
pub fn glance_many<const WORDS: usize, V: View<WORDS>, Error>(
    view: &V,
    keys: &[E],
    mut each: impl FnMut(usize, KeyHash, Glance) -> Result<(), Error>,
) -> Result<(), Error> {
    let positions = Positions::all(0);
    let nothing = Passed { hash: KeyHash(0), page: NO_PAGE, positions, is_last: false };
    let depth = view.depth();
    let mut ways = [[nothing; STRETCH]; STATIONS];
    for step in 0..keys.len().div_ceil(STRETCH) + STATIONS - 1 {
        // The stretch that is at a station now, if one is.
        let at = |station: usize| {
            let stretch = step.checked_sub(station)?;
            let keys = keys.chunks(STRETCH).nth(stretch)?;
            Some((stretch, keys))
        };
        if let Some((stretch, keys)) = at(0) {
            for (passed, &key) in ways[stretch % STATIONS].iter_mut().zip(keys) {
                passed.hash = view.hash_of(key);
                view.prefetch_slot(passed.hash.directory_index(depth));
            }
        }
        if let Some((stretch, keys)) = at(1) {
            for (passed, _) in ways[stretch % STATIONS].iter_mut().zip(keys) {
                passed.page = view.directory_slot(passed.hash.directory_index(depth));
                match view.tag_copy(passed.page) {
                    Some(copy) => probe::prefetch(copy.line()),
                    None => bucket_read::prefetch_tags(view.bucket(passed.page)),
                }
            }
        }
        if let Some((stretch, keys)) = at(2) {
            for (passed, _) in ways[stretch % STATIONS].iter_mut().zip(keys) {
                let page = view.bucket(passed.page);
                let settled = view.tag_copy(passed.page).map(|copy| copy.tagged(page, passed.hash));
                passed.is_last = settled.is_some_and(|tagged| tagged.is_last);
                passed.positions = bucket_read::prefetch_tagged(page, settled, passed.hash);
            }
        }
        if let Some((stretch, keys)) = at(3) {
            let passed = &ways[stretch % STATIONS];
            for (nth, (passed, &key)) in passed.iter().zip(keys).enumerate() {
                let page = view.bucket(passed.page);
                let found = match bucket_read::glance_at(page, key, passed.positions) {
                    Some(bucket_read::Glance::OneValue(value)) => Glance::OneValue(value),
                    // As in `glance`: an older depth may have led to the wrong page.
                    None if passed.is_last && view.depth() == depth => Glance::Absent,
                    // The tags are from before; a miss takes a look of its own.
                    _ => glance(view, key, passed.hash),
                };
                each(stretch * STRETCH + nth, passed.hash, found)?;
            }
        }
    }
    Ok(())
}
