//! A snapshot bucket by bucket, for those who lay its content out anew: export, and nobody else so far.
//!
//! Hidden from the documentation: what a bucket is may change.

use std::fmt::Display;
use std::sync::atomic::Ordering;

use cidstore_core::E;
use cidstore_core::hash::HashSeed;
use cidstore_core::layout::bucket::BucketPage;
use cidstore_core::layout::{NO_PAGE, PAGE_WORDS};
use cidstore_core::probe;
use cidstore_core::protocol::bucket_write::BucketWriter;
use cidstore_core::protocol::content::Content;
use cidstore_core::protocol::lookup::{CycleGuard, LookupFault, View};

use crate::error::Result;
use crate::handle::Store;
use crate::shared::FrozenView;
use crate::snapshot::Snapshot;
use crate::valueset;

/// Words of a cache line.
const WORDS_PER_LINE: usize = 8;

impl Store {
    /// Seed of the hash that says in which bucket a key lies.
    #[doc(hidden)]
    #[must_use]
    pub fn hash_seed(&self) -> HashSeed {
        self.engine().shared.seed
    }
}

impl Snapshot {
    /// Calls `each` with every key of the bucket at a scan position (the lowest 32 hash bits, reversed) and what the
    /// bucket says about it, in no order. Answers where the next bucket begins: 2^32 after the last.
    ///
    /// # Errors
    ///
    /// As for reads of a [`Store`]; `each` may have been called by then.
    #[doc(hidden)]
    pub fn visit_bucket(&self, position: u64, mut each: impl FnMut(E, &Content)) -> Result<u64> {
        self.visit_chain(position, |page, view| {
            // Pages of a snapshot are not written to, so they may be read as their writer reads them.
            let bucket = BucketWriter::new(view.bucket(page));
            bucket.for_each(&mut each)
        })
    }

    /// Calls `each` with a copy of every page of the bucket at a scan position: what lies at dead positions, and all
    /// entry checksums, mean nothing. What `each` objects to is damage. Answers where the next bucket begins.
    ///
    /// # Errors
    ///
    /// As for reads of a [`Store`]; `each` may have been called by then.
    #[doc(hidden)]
    pub fn visit_bucket_pages<F: Display>(
        &self,
        position: u64,
        mut each: impl FnMut(&BucketPage) -> std::result::Result<(), F>,
    ) -> Result<u64> {
        self.visit_chain(position, |page, view| {
            let page = view.bucket(page);
            // Relaxed: the pin and the snapshot's tables made the page visible, and nobody stores to it.
            let words: [u64; PAGE_WORDS] =
                std::array::from_fn(|index| page[index].load(Ordering::Relaxed));
            each(zerocopy::transmute_ref!(&words))
        })
    }

    /// Brings a quarter (0 to 3) of the page of the bucket at a scan position near, for a visit that comes soon. A
    /// processor waits for so many lines at once and no more, so quarters between other work cost less than the whole.
    #[doc(hidden)]
    pub fn prefetch_bucket(&self, position: u64, quarter: usize) {
        // A snapshot that can't be read says so when it is.
        let _ = self.frozen().reading(|reader| {
            let bits = (position as u32).reverse_bits();
            let mask = ((1_u64 << reader.view.depth()) - 1) as u32;
            let page = reader.view.bucket(reader.view.directory_slot(bits & mask));
            let (lines, _) = page.as_chunks::<WORDS_PER_LINE>();
            let lines = lines.chunks(lines.len() / 4).nth(quarter).unwrap_or_default();
            lines.iter().flat_map(|line| line.first()).for_each(probe::prefetch);
            Ok(())
        });
    }

    /// Calls `each` with the number of every page of a bucket. Answers where the next bucket begins.
    fn visit_chain<F: Display>(
        &self,
        position: u64,
        mut each: impl FnMut(u32, &FrozenView<'_>) -> std::result::Result<(), F>,
    ) -> Result<u64> {
        self.frozen().reading(|reader| {
            let (mut page, end) = reader.bucket_at(position)?;
            let mut guard = CycleGuard::default();
            loop {
                each(page, &reader.view).map_err(|fault| {
                    reader.shared.corrupt(format!("bucket page {page}: {fault}"))
                })?;
                let overflow = BucketWriter::new(reader.view.bucket(page)).overflow();
                if overflow == NO_PAGE {
                    return Ok(end);
                }
                guard.step(overflow).map_err(|fault| reader.shared.corrupt(fault.to_string()))?;
                page = reader.view.overflow_slot(overflow);
                if page == NO_PAGE {
                    let fault = LookupFault::NoOverflow { logical: overflow };
                    return Err(reader.shared.corrupt(fault.to_string()));
                }
                reader.check_bucket(page)?;
            }
        })
    }

    /// Calls `each` with the values of a set that [`visit_bucket`](Self::visit_bucket) told of, a part at a time. The
    /// parts of a large set (more than `SMALL_SET_MAX` values) ascend, each in itself in no order; those of a small one don't.
    ///
    /// # Errors
    ///
    /// As for reads of a [`Store`]; `each` may have been called by then.
    #[doc(hidden)]
    pub fn visit_set(&self, reference: u64, each: impl FnMut(&[E])) -> Result<()> {
        self.frozen().reading(|reader| {
            valueset::read_all(&reader.view, reference, each)
                .map_err(|fault| reader.shared.corrupt(fault.to_string()))
        })
    }

    /// How many values such a set has.
    ///
    /// # Errors
    ///
    /// As for reads of a [`Store`].
    #[doc(hidden)]
    pub fn set_count(&self, reference: u64) -> Result<u64> {
        self.frozen().reading(|reader| {
            valueset::count(&reader.view, reference)
                .map_err(|fault| reader.shared.corrupt(fault.to_string()))
        })
    }
}
