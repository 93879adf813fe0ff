//! What is looked at before anything is logged or changed: the pages that an operation will copy must be what was written.
//! What is in the log must be applied, and a damaged page that is copied gets a checksum that fits.

use cidstore_core::E;
use cidstore_core::hash::KeyHash;
use cidstore_core::layout::entry::{INLINE_VALUES_MAX, SpillPointer};
use cidstore_core::protocol::content::Content;

use super::apply::{Operation, Writer};
use crate::error::Result;
use crate::valueset::{self, Reach};

impl Writer {
    /// Looks whether what an operation will change is what was written: the pages of the bucket, and those of the set that the
    /// operation reaches.
    ///
    /// # Errors
    ///
    /// `Corrupt`, naming the page.
    pub(crate) fn check(&self, operation: &Operation) -> Result<()> {
        let (key, reach) = match *operation {
            Operation::Insert(key, value) | Operation::DeleteValue(key, value) => {
                (key, Reach::Value(value))
            }
            Operation::DeleteKey(key) => (key, Reach::Nodes),
        };
        let hash = self.pages.shared.seed.hash(key);
        self.check_bucket_of(hash)?;
        if !self.pages.has_value_pages_in_file() {
            return Ok(());
        }
        match self.look_up(key, hash)? {
            Some((_, Content::Spilled(set))) => self.check_set(key, &set, reach),
            _ => Ok(()),
        }
    }

    /// [`check`](Self::check), then [`apply`](Self::apply).
    pub(crate) fn apply_checked(&mut self, operation: Operation) -> Result<u64> {
        self.check(&operation)?;
        self.apply(operation)
    }

    /// As [`check`](Self::check), of a key's set.
    pub(crate) fn check_set(&self, key: E, set: &SpillPointer, reach: Reach) -> Result<()> {
        valueset::check(&self.pages, key, set, reach).map_err(|fault| self.set_fault(fault))
    }

    /// As [`check`](Self::check), of the bucket that a hash leads to.
    pub(crate) fn check_bucket_of(&self, hash: KeyHash) -> Result<()> {
        self.pages.check_chain(hash.directory_index(self.pages.shared.tables.depth()))
    }

    /// Whether a key has a set, of no more values than an entry holds. Looks at nothing but the set's count, however large it is.
    pub(crate) fn has_set_that_fits_inline(&self, key: E) -> Result<bool> {
        let hash = self.pages.shared.seed.hash(key);
        self.check_bucket_of(hash)?;
        match self.look_up(key, hash)? {
            Some((_, Content::Spilled(set))) => {
                let (values, _) = self.set_counts(&set)?;
                Ok(values <= INLINE_VALUES_MAX as u64)
            }
            _ => Ok(false),
        }
    }

    /// As [`check`](Self::check), of the bucket of a key, and of its set if it has one.
    pub(crate) fn check_set_of(&self, key: E, reach: Reach) -> Result<()> {
        let hash = self.pages.shared.seed.hash(key);
        self.check_bucket_of(hash)?;
        match self.look_up(key, hash)? {
            Some((_, Content::Spilled(set))) => self.check_set(key, &set, reach),
            _ => Ok(()),
        }
    }
}
