//! What the tests share: stores in folders of their own, and patience that ends.

use std::future::Future;
use std::time::Duration;

use cidstore_async::CidStore;
use cidstore_core::E;
use cidstore_engine::{Durability, Maintenance, OpenOptions, Store};
use cidstore_testkit::Scratch;

/// Longer than anything here takes on a loaded machine; a future that is pending for so long hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a future on this thread, and fails the test instead of waiting for ever.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let hung = async {
        smol::Timer::after(PATIENCE).await;
        panic!("still pending after {PATIENCE:?}")
    };
    smol::block_on(smol::future::or(future, hung))
}

/// Options for a small store that does not sync unless it is told to.
pub(crate) fn buffered() -> OpenOptions {
    // What a test has done it finds as it left it, however long the machine kept it waiting.
    let options = Store::options().maintenance(Maintenance::off());
    options.durability(Durability::Buffered).wal_bytes(1 << 20)
}

/// An open store in a folder of its own, with `Buffered` writes.
pub(crate) async fn fresh() -> (Scratch, CidStore) {
    let scratch = Scratch::new();
    let options = CidStore::options().store(buffered());
    let store = options.open(scratch.data()).await.unwrap();
    (scratch, store)
}

/// A number as key or value.
pub(crate) fn e(number: u64) -> E {
    E::from(number)
}

/// The values of a key, in ascending order.
pub(crate) async fn sorted(store: &CidStore, key: u64) -> Vec<E> {
    store.get(key).await.unwrap().sorted().to_vec()
}
