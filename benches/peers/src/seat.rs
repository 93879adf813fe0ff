//! [`Contender`]: a [`Peer`] whose type is only known at run time, with whole rounds of a workload as its methods.
//!
//! So that all stores can be open side by side and take turns, round by round: what the machine does to one of them in a
//! slow minute it then does to all. One virtual call per round is in no figure.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cidstore_core::E;
use hdrhistogram::Histogram;

use crate::Result;
use crate::crash::{Crash, Killed};
use crate::machine;
use crate::pairs::Pairs;
use crate::peer::{Abilities, Mode, Peer, Reader};
use crate::peers::{self, ForPeer};
use crate::sets::Sets;
use crate::workload::beside::{self, Seen};
use crate::workload::writes::{self, Limit, Written};
use crate::workload::{Workload, reads, sets};

/// A peer and its store in a folder, open or closed. Methods other than [`Contender::open`] are for an open store.
pub trait Contender {
    /// See [`Peer::NAME`].
    fn name(&self) -> &'static str;
    /// See [`Peer::ABILITIES`].
    fn abilities(&self) -> Abilities;
    /// See [`Peer::version`].
    fn version(&self) -> String;
    /// See [`Peer::settings`].
    fn settings(&self) -> Vec<(&'static str, String)>;
    /// Opens what is in the folder.
    ///
    /// # Errors
    /// The store's own.
    fn open(&mut self, mode: Mode) -> Result<()>;
    /// Closes the store cleanly if it is open.
    ///
    /// # Errors
    /// The store's own.
    fn close(&mut self) -> Result<()>;
    /// Closes the store and removes all it has.
    ///
    /// # Errors
    /// The store's own.
    fn clear(&mut self) -> Result<()>;
    /// Brings everything on disk.
    ///
    /// # Errors
    /// The store's own.
    fn sync(&mut self) -> Result<()>;
    /// See [`Peer::bulk_load`].
    ///
    /// # Errors
    /// The store's own.
    fn bulk_load(&self, pairs: &mut dyn Iterator<Item = (E, E)>) -> Result<()>;
    /// See [`writes::batches`].
    ///
    /// # Errors
    /// The store's own.
    fn batches(&self, pairs: &mut dyn Iterator<Item = (E, E)>, time: Duration) -> Result<Written>;
    /// See [`reads::round`].
    ///
    /// # Errors
    /// The store's own, or a wrong answer.
    fn read(&self, workload: Workload, pairs: &Pairs, round: u64, reads: u64) -> Result<f64>;
    /// See [`reads::get_each`].
    ///
    /// # Errors
    /// The store's own, or a wrong answer.
    fn get_each(&self, pairs: &Pairs, round: u64, reads: u64) -> Result<Vec<f64>>;
    /// See [`writes::each`].
    ///
    /// # Errors
    /// The store's own.
    fn insert_each(
        &self,
        pairs: &Pairs,
        first: u64,
        limit: Limit,
    ) -> Result<(Written, Histogram<u64>)>;
    /// See [`writes::threads`].
    ///
    /// # Errors
    /// The store's own.
    fn insert_threads(
        &self,
        pairs: &Pairs,
        first: u64,
        threads: usize,
        time: Duration,
    ) -> Result<Written>;
    /// See [`beside::run`].
    ///
    /// # Errors
    /// The store's own, or a wrong answer.
    fn beside(&self, pairs: &Pairs, first: u64, limit: Limit, pinned: bool) -> Result<Seen>;
    /// See [`sets::get_all`].
    ///
    /// # Errors
    /// The store's own, or a wrong answer.
    fn get_all(&self, workload: Workload, sets: &Sets, round: u64, reads: u64) -> Result<f64>;
    /// See [`sets::contains`].
    ///
    /// # Errors
    /// The store's own, or a wrong answer.
    fn contains(&self, workload: Workload, sets: &Sets, round: u64, reads: u64) -> Result<f64>;
    /// Opens the closed store, reads a pair and closes it: how long that took until the answer.
    ///
    /// # Errors
    /// The store's own, or a wrong answer.
    fn open_clean(&self, pairs: &Pairs) -> Result<Duration>;
    /// See [`Crash::kill_and_open`]; for a closed store.
    ///
    /// # Errors
    /// As there.
    fn kill(&self, crash: &Crash<'_>, first: u64) -> Result<Killed>;
    /// See [`Peer::live_bytes`].
    ///
    /// # Errors
    /// The store's own.
    fn live_bytes(&self) -> Result<Option<u64>>;
    /// Bytes on disk of the files that hold the data.
    ///
    /// # Errors
    /// If they cannot be read.
    fn data_bytes(&self) -> Result<u64>;
}

/// The contender called `name`, with an empty folder of its own in `folder`.
///
/// # Errors
/// If there is no such peer, or its folder cannot be made.
pub fn contender(name: &str, folder: &Path) -> Result<Box<dyn Contender>> {
    struct Take(PathBuf);
    impl ForPeer for Take {
        type Output = Box<dyn Contender>;
        fn with<P: Peer>(self) -> Result<Self::Output> {
            let mut seat = Seat::<P> { folder: self.0.join(P::NAME), peer: None };
            seat.clear()?;
            Ok(Box::new(seat))
        }
    }
    peers::named(name, Take(folder.to_path_buf()))
}

struct Seat<P> {
    folder: PathBuf,
    peer: Option<P>,
}

impl<P: Peer> Seat<P> {
    fn peer(&self) -> Result<&P> {
        Ok(self.peer.as_ref().ok_or_else(|| format!("{} is not open", P::NAME))?)
    }
}

impl<P: Peer> Contender for Seat<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn abilities(&self) -> Abilities {
        P::ABILITIES
    }

    fn version(&self) -> String {
        P::version()
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        P::settings()
    }

    fn open(&mut self, mode: Mode) -> Result<()> {
        self.close()?;
        self.peer = Some(P::open(&self.folder, mode)?);
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.peer.take().map_or(Ok(()), P::close)
    }

    fn clear(&mut self) -> Result<()> {
        self.close()?;
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        Ok(fs::create_dir_all(&self.folder)?)
    }

    fn sync(&mut self) -> Result<()> {
        self.peer = self.peer.take().map(P::sync).transpose()?;
        Ok(())
    }

    fn bulk_load(&self, pairs: &mut dyn Iterator<Item = (E, E)>) -> Result<()> {
        self.peer()?.bulk_load(pairs)
    }

    fn batches(&self, pairs: &mut dyn Iterator<Item = (E, E)>, time: Duration) -> Result<Written> {
        writes::batches(self.peer()?, pairs, time)
    }

    fn read(&self, workload: Workload, pairs: &Pairs, round: u64, reads: u64) -> Result<f64> {
        reads::round(self.peer()?, workload, pairs, round, reads)
    }

    fn get_each(&self, pairs: &Pairs, round: u64, reads: u64) -> Result<Vec<f64>> {
        reads::get_each(self.peer()?, pairs, round, reads)
    }

    fn insert_each(
        &self,
        pairs: &Pairs,
        first: u64,
        limit: Limit,
    ) -> Result<(Written, Histogram<u64>)> {
        writes::each(self.peer()?, pairs, first, limit)
    }

    fn insert_threads(
        &self,
        pairs: &Pairs,
        first: u64,
        threads: usize,
        time: Duration,
    ) -> Result<Written> {
        writes::threads(self.peer()?, pairs, first, threads, time)
    }

    fn beside(&self, pairs: &Pairs, first: u64, limit: Limit, pinned: bool) -> Result<Seen> {
        beside::run(self.peer()?, pairs, first, limit, pinned)
    }

    fn get_all(&self, workload: Workload, sets: &Sets, round: u64, reads: u64) -> Result<f64> {
        sets::get_all(self.peer()?, workload, sets, round, reads)
    }

    fn contains(&self, workload: Workload, sets: &Sets, round: u64, reads: u64) -> Result<f64> {
        sets::contains(self.peer()?, workload, sets, round, reads)
    }

    fn open_clean(&self, pairs: &Pairs) -> Result<Duration> {
        let started = Instant::now();
        let peer = P::open(&self.folder, Mode::BUFFERED)?;
        let answer = peer.read(|reader| reader.get(pairs.key(0)))?;
        let elapsed = started.elapsed();
        peer.close()?;
        if answer == Some(pairs.value(0)) {
            Ok(elapsed)
        } else {
            Err(format!("{}: the first pair reads {answer:?}", Workload::OpenClean.name()).into())
        }
    }

    fn kill(&self, crash: &Crash<'_>, first: u64) -> Result<Killed> {
        crash.kill_and_open::<P>(&self.folder, first)
    }

    fn live_bytes(&self) -> Result<Option<u64>> {
        self.peer()?.live_bytes()
    }

    fn data_bytes(&self) -> Result<u64> {
        machine::disk_bytes(&self.folder, |name| !P::is_beside_the_data(name))
    }
}
