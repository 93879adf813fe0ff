//! Reading: one key, many keys, one set. The same code for the live store and for snapshots.

use cidstore_core::E;
use cidstore_core::hash::{HashSeed, KeyHash, MAX_DEPTH};
use cidstore_core::layout::PAGE_WORDS;
use cidstore_core::layout::bucket::OVERFLOW_WORD;
use cidstore_core::layout::entry::SetReference;
use cidstore_core::protocol::batch;
use cidstore_core::protocol::lookup::{self, Answer, FoundSet, Glance, LookupFault, View};
use cidstore_core::protocol::word::Word;

use crate::error::Result;
use crate::shared::{Shared, bucket_place, fits_directory};
use crate::sync::PageWord;
use crate::values::Values;
use crate::valueset::{self, SetFault, SetView};

/// Positions of the scan order: one for each value of the lowest 32 hash bits, reversed.
pub(crate) const END: u64 = 1 << 32;

/// The pages and tables to read from: live under a pin, or a snapshot's.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a, V> {
    pub(crate) shared: &'a Shared,
    pub(crate) view: V,
}

impl<V: View<PAGE_WORDS> + SetView> Reader<'_, V> {
    fn seed(&self) -> HashSeed {
        self.shared.seed
    }

    #[inline]
    fn lookup(&self, key: E, hash: KeyHash) -> Result<Answer> {
        if self.view.verifies() {
            self.check_chain(hash)?;
        }
        lookup::lookup(&self.view, key, hash).map_err(|fault| self.lookup_fault(fault))
    }

    /// `Corrupt` if pages are to be checked and this bucket page is not what was written.
    pub(crate) fn check_bucket(&self, page: u32) -> Result<()> {
        if self.view.verifies() { self.shared.check_bucket_for_change(page) } else { Ok(()) }
    }

    /// Checks the pages that a lookup of this hash reads.
    #[cold]
    #[inline(never)]
    fn check_chain(&self, hash: KeyHash) -> Result<()> {
        let mut page = self.view.directory_slot(hash.directory_index(self.view.depth()));
        // A chain longer than this comes back to itself, which the lookup finds.
        for _ in 0..1 << 16 {
            self.check_bucket(page)?;
            let link = &self.view.bucket(page)[OVERFLOW_WORD];
            let next = Word::load(link, std::sync::atomic::Ordering::Acquire) as u32;
            if next == 0 {
                break;
            }
            page = self.view.overflow_slot(next);
        }
        Ok(())
    }

    #[cold]
    fn lookup_fault(&self, fault: LookupFault) -> crate::Error {
        self.shared.corrupt(fault.to_string())
    }

    #[cold]
    fn set_fault(&self, fault: SetFault) -> crate::Error {
        self.shared.corrupt(fault.to_string())
    }

    /// All values of a key.
    #[inline(always)]
    pub(crate) fn get(&self, key: E) -> Result<Values> {
        let hash = self.seed().hash(key);
        if self.view.verifies() {
            return self.get_by_search(key, hash);
        }
        match lookup::glance(&self.view, key, hash) {
            Glance::OneValue(value) => Ok(Values::one(value)),
            Glance::Set(set) => self.read_set(set),
            Glance::Absent => Ok(Values::default()),
            Glance::Unclear => self.get_by_search(key, hash),
        }
    }

    #[inline(never)]
    fn get_by_search(&self, key: E, hash: KeyHash) -> Result<Values> {
        if self.view.verifies() {
            self.check_chain(hash)?;
        }
        match lookup::search(&self.view, key, hash).map_err(|fault| self.lookup_fault(fault))? {
            Answer::Inline(values) => Ok(Values::inline(values)),
            Answer::Absent => Ok(Values::default()),
            Answer::Set(set) => self.read_set(set),
        }
    }

    #[inline(never)]
    fn read_set(&self, set: FoundSet) -> Result<Values> {
        valueset::ask_for(&self.view, set);
        let values = valueset::collect(&self.view, set.reference.encode());
        Ok(Values::many(values.map_err(|fault| self.set_fault(fault))?))
    }

    /// All values of each key, fetching the memory of later keys while earlier ones are read.
    pub(crate) fn get_many(&self, keys: &[E], mut each: impl FnMut(usize, Values)) -> Result<()> {
        if self.view.verifies() {
            for (at, &key) in keys.iter().enumerate() {
                let values = self.get(key)?;
                self.shared.check_not_ended()?;
                each(at, values);
            }
            return Ok(());
        }
        batch::glance_many(&self.view, keys, |at, hash, found| {
            let values = match found {
                Glance::OneValue(value) => Values::one(value),
                Glance::Set(set) => self.read_set(set)?,
                Glance::Absent => Values::default(),
                Glance::Unclear => self.get_by_search(keys[at], hash)?,
            };
            // Each time: `each` may close the store.
            self.shared.check_not_ended()?;
            each(at, values);
            Ok(())
        })
    }

    /// True if the key has values.
    pub(crate) fn contains_key(&self, key: E) -> Result<bool> {
        Ok(self.lookup(key, self.seed().hash(key))? != Answer::Absent)
    }

    /// True if the key has this value.
    pub(crate) fn contains(&self, key: E, value: E) -> Result<bool> {
        match self.lookup(key, self.seed().hash(key))? {
            Answer::Inline(values) => Ok(values.as_slice().contains(&value)),
            Answer::Absent => Ok(false),
            Answer::Set(set) => {
                valueset::ask_for(&self.view, set);
                valueset::contains(&self.view, set.reference.encode(), value)
                    .map_err(|fault| self.set_fault(fault))
            }
        }
    }

    /// How many values the key has.
    pub(crate) fn value_count(&self, key: E) -> Result<u64> {
        match self.lookup(key, self.seed().hash(key))? {
            Answer::Inline(values) => Ok(values.len() as u64),
            Answer::Absent => Ok(0),
            Answer::Set(set) => valueset::count(&self.view, set.reference.encode())
                .map_err(|fault| self.set_fault(fault)),
        }
    }

    /// How many tombstones the key's value set has; 0 if it has none or is inline.
    pub(crate) fn tombstone_count(&self, key: E) -> Result<u64> {
        match self.set_of(key)? {
            None => Ok(0),
            Some(set) => valueset::tombstones(&self.view, set.encode())
                .map_err(|fault| self.set_fault(fault)),
        }
    }

    /// The value set of a key whose values are not inline.
    pub(crate) fn set_of(&self, key: E) -> Result<Option<SetReference>> {
        match self.lookup(key, self.seed().hash(key))? {
            Answer::Set(set) => Ok(Some(set.reference)),
            Answer::Inline(_) | Answer::Absent => Ok(None),
        }
    }

    /// A walk through a key's values, a chunk at a time.
    pub(crate) fn walk(&self, key: E) -> Result<Walk> {
        Ok(match self.lookup(key, self.seed().hash(key))? {
            Answer::Inline(values) => Walk::Inline(valueset::Chunk::of(values.as_slice())),
            Answer::Absent => Walk::Inline(valueset::Chunk::new()),
            Answer::Set(set) => {
                valueset::ask_for(&self.view, set);
                Walk::Set(valueset::LeafCursor::new(set.reference.encode()))
            }
        })
    }

    /// The next chunk of a walk, empty at its end.
    pub(crate) fn next_chunk(&self, walk: &mut Walk, chunk: &mut valueset::Chunk) -> Result<()> {
        match walk {
            Walk::Inline(values) => *chunk = std::mem::take(values),
            Walk::Set(cursor) => {
                cursor.next(&self.view, chunk).map_err(|fault| self.set_fault(fault))?;
            }
        }
        Ok(())
    }
}

impl<V: View<PAGE_WORDS, W = PageWord> + SetView> Reader<'_, V> {
    /// The first page of the bucket at a scan position, sound, and where the next bucket begins.
    pub(crate) fn bucket_at(&self, position: u64) -> Result<(u32, u64)> {
        let bits = (position as u32).reverse_bits();
        let mut depth = self.view.depth();
        loop {
            let page = self.view.directory_slot(bits & ((1_u64 << depth) - 1) as u32);
            self.check_bucket(page)?;
            let (prefix, local_depth) = bucket_place(self.view.bucket(page));
            let start = u64::from(prefix.reverse_bits());
            let end = start + (END >> local_depth.min(32));
            if local_depth <= MAX_DEPTH && (start..end).contains(&position) {
                self.check_place(page, (prefix, local_depth), (bits, depth))?;
                return Ok((page, end));
            }
            // With a depth from before a doubling, the slot may by now name the other half of a split. As in a
            // lookup, the depth loaded now is at least as new as that page; the same depth means a damaged one.
            let depth_now = self.view.depth();
            if depth_now == depth {
                let detail = format!("bucket page {page} is not where the directory puts it");
                return Err(self.shared.corrupt(detail));
            }
            depth = depth_now;
        }
    }

    /// Looks at a page more closely if the directory does not agree with its header, which would have a walk leave buckets out:
    /// the header is damaged, or a writer is just replacing the page.
    fn check_place(&self, page: u32, place: (u32, u32), (bits, depth): (u32, u32)) -> Result<()> {
        let index = bits & ((1_u64 << depth) - 1) as u32;
        if fits_directory(place, page, (index, depth), |slot| self.view.directory_slot(slot)) {
            return Ok(());
        }
        self.shared.check_bucket_for_change(page)
    }
}

/// Where a walk through the values of one key is. Belongs to one pin.
#[derive(Debug)]
pub(crate) enum Walk {
    Inline(valueset::Chunk),
    Set(valueset::LeafCursor),
}
