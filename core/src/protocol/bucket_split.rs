//! Splitting a page in two by a bit of the hash.
//!
//! The halves come out as [`build`](super::bucket_build::build) would make them of the page's keys, without a list of these in
//! between. The page stays as it is: readers may be at it until table slots name the halves.

use super::bucket_build::{Header, fill};
use super::bucket_write::{BucketWriter, Located};
use super::draft::Draft;
use super::fault::Fault;
use super::ranked::Ranked;
use super::word::Word;
use crate::entity::E;
use crate::hash::KeyHash;
use crate::layout::entry::VALUES_PER_ENTRY;

/// The keys of a page, divided. Holds until the next change of the page.
#[derive(Debug)]
pub struct Halves<'a, W, const WORDS: usize> {
    source: BucketWriter<'a, W, WORDS>,
    /// The keys without the bit, and those with it.
    keys: [Ranked<Located>; 2],
}

impl<'a, W: Word, const WORDS: usize> Halves<'a, W, WORDS> {
    /// Divides the keys of a page that nobody stores to by `bit`, a mask with one bit of the hash. What comes behind the page in its chain is
    /// not looked at.
    ///
    /// # Errors
    ///
    /// The first [`Fault`] met.
    pub fn of(
        page: &'a [W; WORDS],
        bit: u64,
        hash_of: impl Fn(E) -> KeyHash,
    ) -> Result<Self, Fault> {
        let source = BucketWriter::new(page);
        source.prefetch_entries();
        let mut keys = [const { Ranked::new(Located::NOWHERE) }; 2];
        source.for_each_located(|key, located| {
            let hash = hash_of(key);
            let half = usize::from(hash.0 & bit != 0);
            keys[half].insert(hash, entries(located), *located);
        })?;
        Ok(Self { source, keys })
    }

    /// Fills a page of zeros with the keys without the bit (`half` 0) or with it (1), in hash order.
    pub fn fill(&self, half: usize, page: &[W; WORDS], header: &Header) {
        fill(page, header, &self.keys[half], |located| {
            (self.source.key_at(located.primary()), self.drafts(located))
        });
    }

    /// The entries of a key as they are to be written.
    fn drafts(&self, at: &Located) -> (Draft, Option<Draft>) {
        let read = |position, state| Draft::of_entry(state, self.source.slots_at(position));
        match at.second() {
            None if at.is_spilled() || at.primary_state.is_filled_in_order() => {
                (read(at.primary(), at.primary_state), None)
            }
            Some(second)
                if at.primary_state.slots() == 3 && at.second_state.is_filled_in_order() =>
            {
                (read(at.primary(), at.primary_state), Some(read(second, at.second_state)))
            }
            // Values have gone from between others.
            _ => Draft::of(&self.source.content(at)),
        }
    }
}

/// Positions that a key takes once its values lie one behind the other.
fn entries(at: &Located) -> usize {
    let values = at.primary_state.slots().count_ones() + at.second_state.slots().count_ones();
    if at.is_spilled() { 1 } else { (values as usize).div_ceil(VALUES_PER_ENTRY) }
}
