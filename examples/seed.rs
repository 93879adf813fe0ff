//! The example program of the original CIDStore, line by line. Any executor can run it; this one is the smallest.
//!
//! `cargo run --example seed [FOLDER]` leaves its two files in FOLDER, or nothing in a temporary one.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;

use cidstore::{CidStore, E, Error, Storage, Wal};

/// The program.
pub(crate) async fn run(folder: &Path) -> Result<Vec<E>, Error> {
    let storage = Storage::open(folder.join("mydata.h5"))?;
    let wal = Wal::open(folder.join("mywal.log"))?;
    let store = CidStore::new(storage, wal).await?;

    store.insert(E::from_name("foo"), E::from(123)).await?;
    let values = store.get(E::from_name("foo")).await?;
    store.delete(E::from_name("foo")).await?;
    store.close().await?;
    Ok(values.to_vec())
}

#[cfg_attr(test, allow(dead_code, reason = "the test calls `run` itself"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let temporary = tempfile::tempdir()?;
    let folder = std::env::args_os().nth(1);
    let folder = folder.as_ref().map_or(temporary.path(), Path::new);
    let values = futures::executor::block_on(run(folder))?;
    println!("foo -> {values:?}");
    Ok(())
}
