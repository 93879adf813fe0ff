//! The methods that write. All of them go through the queue, except those that say otherwise.

use cidstore_core::E;
#[cfg(doc)]
use cidstore_engine::Error;
use cidstore_engine::{
    Applied, BulkLoaded, Durability, GroupWrite, Result, Transaction, WhenDurable,
};

use crate::store::CidStore;

/// What a write with a durability of its own answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AsyncWritten {
    /// The pair was new (of an insert), or the key had values (of a delete).
    pub new: bool,
    /// Log sequence number of the write.
    pub lsn: u64,
    durable: WhenDurable,
}

impl AsyncWritten {
    /// Ends once the write is durable, asking for a sync if it must. Dropping it changes nothing. Does not keep the store open.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if the store fails before.
    pub async fn durable(&self) -> Result<()> {
        self.durable.clone().await
    }
}

impl CidStore {
    async fn write_one(&self, write: GroupWrite) -> Result<u64> {
        Ok(self.write_queued(write, self.store().durability()).await?.changed)
    }

    async fn write_with(&self, write: GroupWrite, durability: Durability) -> Result<AsyncWritten> {
        let Applied { changed, lsn } = self.write_queued(write, durability).await?;
        Ok(AsyncWritten { new: changed > 0, lsn, durable: self.store().when_durable(lsn) })
    }

    /// Adds a pair. True if it is new; a pair that is there stays as it is.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn insert(&self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        Ok(self.write_one(GroupWrite::insert(key.into(), value.into())).await? == 1)
    }

    /// Adds a pair with a durability of its own.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn insert_with(
        &self,
        key: impl Into<E>,
        value: impl Into<E>,
        durability: Durability,
    ) -> Result<AsyncWritten> {
        self.write_with(GroupWrite::insert(key.into(), value.into()), durability).await
    }

    /// Removes a key with all its values. Answers how many values went: 0 for a key that is not there.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn delete(&self, key: impl Into<E>) -> Result<u64> {
        self.write_one(GroupWrite::delete(key.into())).await
    }

    /// Removes a key with a durability of its own.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn delete_with(
        &self,
        key: impl Into<E>,
        durability: Durability,
    ) -> Result<AsyncWritten> {
        self.write_with(GroupWrite::delete(key.into()), durability).await
    }

    /// Removes one value of a key. True if it was there.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn delete_value(&self, key: impl Into<E>, value: impl Into<E>) -> Result<bool> {
        Ok(self.write_one(GroupWrite::delete_value(key.into(), value.into())).await? == 1)
    }

    /// Adds pairs, all or none of which survive a crash. Answers how many were new.
    ///
    /// # Errors
    ///
    /// [`Error::BatchTooLarge`] if the log can't take it; nothing was written then. Else see [`CidStore`].
    pub async fn batch_insert(&self, pairs: &[(E, E)]) -> Result<u64> {
        self.write_batch(GroupWrite::batch_insert(pairs)).await
    }

    /// Removes keys, all or none of which survive a crash. Answers how many values went; keys that are not there count
    /// nothing.
    ///
    /// # Errors
    ///
    /// As [`batch_insert`](Self::batch_insert).
    pub async fn batch_delete(&self, keys: &[E]) -> Result<u64> {
        self.write_batch(GroupWrite::batch_delete(keys)).await
    }

    async fn write_batch(&self, batch: GroupWrite) -> Result<u64> {
        if batch.change_count() == 0 {
            return self.store().admit(&batch).map(|()| 0);
        }
        self.write_one(batch).await
    }

    /// Runs `run` alone among writers, then writes its changes as one. Runs on the `blocking` pool, not in the queue: it may
    /// come before writes that were called earlier and not awaited.
    ///
    /// # Errors
    ///
    /// As [`Store::write`](cidstore_engine::Store::write).
    pub async fn write<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.on_pool(move |store| store.write(run)).await
    }

    /// Loads all pairs at once, many times faster than inserting them. Durable when it resolves. Runs on the `blocking`
    /// pool, not in the queue.
    ///
    /// # Errors
    ///
    /// As [`Store::bulk_load`](cidstore_engine::Store::bulk_load).
    pub async fn bulk_load<P>(&self, pairs: P) -> Result<BulkLoaded>
    where
        P: IntoIterator<Item = (E, E)> + Send + 'static,
    {
        self.on_pool(move |store| store.bulk_load(pairs)).await
    }

    /// Ends once the write with this number is durable, asking for a sync if it must.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for a number that no write has yet. Else see [`CidStore`].
    pub async fn wait_durable(&self, lsn: u64) -> Result<()> {
        // A closed store would say of old numbers that they are durable, which no other method says of anything.
        self.store().check_open()?;
        self.store().when_durable(lsn).await
    }

    /// Makes everything written so far durable: all that has resolved, whatever its durability.
    ///
    /// # Errors
    ///
    /// See [`CidStore`].
    pub async fn sync(&self) -> Result<()> {
        self.store().admit(&GroupWrite::batch_insert(&[]))?;
        self.wait_durable(self.lsn()).await
    }
}
