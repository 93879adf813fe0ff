//! [`Store::auto_tune`], and what it has decided.

use crate::error::Result;
use crate::handle::Store;
use crate::metrics::Metrics;
use crate::tuning::{Decision, TunedSettings};

impl Store {
    /// Looks at what happened in a window of time and, if the target was missed for a while, changes one setting: the
    /// largest group of writes, the flush interval, or when a checkpoint is due. Answers what it decided and why.
    ///
    /// The target is that of [`OpenOptions::tuning`](crate::OpenOptions::tuning), with which the store calls this itself
    /// each second. Without it, call it about once a second with the window since the last call; with all that
    /// happened since the store was opened it would be slow to notice a change.
    ///
    /// ```
    /// # use cidstore_engine::{Error, Store};
    /// # fn main() -> Result<(), Error> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let store = Store::open(folder.path().join("tuned.h5"))?;
    /// let before = store.metrics();
    /// store.insert(1, 10)?;
    /// let decision = store.auto_tune(&store.metrics().since(&before))?;
    /// println!("{decision}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Store`].
    pub fn auto_tune(&self, metrics: &Metrics) -> Result<Decision> {
        self.engine().check_writable()?;
        Ok(self.engine().tuned.decide(metrics))
    }

    /// The settings that auto-tuning has arrived at.
    #[must_use]
    pub fn tuned_settings(&self) -> TunedSettings {
        self.engine().tuned.state().0
    }

    /// The newest 64 decisions of auto-tuning, oldest first. Of a row of windows with nothing to do only the first is
    /// listed.
    #[must_use]
    pub fn tuning_decisions(&self) -> Vec<Decision> {
        self.engine().tuned.history()
    }
}
