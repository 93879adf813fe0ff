//! A child process that writes until it is killed, and the count of what it reported and is lost.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::pairs::Pairs;
use crate::peer::{Mode, Peer, Reader};
use crate::peers::ForPeer;
use crate::workload::Workload;
use crate::workload::writes::BATCH_PAIRS;

/// The argument that makes the program the child: `--child PEER FOLDER COUNT SEED FIRST`.
pub const CHILD: &str = "--child";

/// What is needed to start the child again and again on one store.
#[derive(Clone, Copy, Debug)]
pub struct Crash<'a> {
    /// The program that understands [`CHILD`].
    pub program: &'a Path,
    /// The pairs the store was built from.
    pub pairs: Pairs,
    /// The seed of `pairs`.
    pub seed: u64,
    /// How many pairs the child reports before it is killed ...
    pub pairs_min: u64,
    /// ... or how long it writes, whichever comes first.
    pub time: Duration,
}

/// What a kill left behind.
#[derive(Clone, Copy, Debug)]
pub struct Killed {
    /// From the call to open to the first answer.
    pub open: Duration,
    /// Pairs that the child had reported.
    pub reported: u64,
    /// Reported pairs that are not there.
    pub lost: u64,
    /// The first index that the child surely had not begun.
    pub next: u64,
}

impl Crash<'_> {
    /// Lets a child insert pairs from index `first` on into the store in `folder`, kills it and opens the store.
    ///
    /// # Errors
    /// The store's own; if the child ends by itself; if a pair is missing that was there before; if a reported pair is
    /// missing from a store that says it keeps them.
    pub fn kill_and_open<P: Peer>(&self, folder: &Path, first: u64) -> Result<Killed> {
        let name = Workload::OpenKilled.name();
        let reported = self.run_child(P::NAME, folder, first)?;
        let started = Instant::now();
        let peer = P::open(folder, Mode::BUFFERED)?;
        let answer = peer.read(|reader| reader.get(self.pairs.key(0)))?;
        let open = started.elapsed();
        if answer != Some(self.pairs.value(0)) {
            return Err(format!("{name}: the first pair reads {answer:?}").into());
        }
        let end = first + reported;
        let lost = peer.read(|reader| {
            let mut lost = 0;
            for index in first..end {
                match reader.get(self.pairs.key(index))? {
                    Some(value) if value == self.pairs.value(index) => {}
                    None => lost += 1,
                    other => return Err(format!("{name}: pair {index} reads {other:?}").into()),
                }
            }
            Ok(lost)
        })?;
        peer.close()?;
        if lost > 0 && P::ABILITIES.keeps_buffered {
            return Err(format!("{name}: {} lost {lost} reported pairs", P::NAME).into());
        }
        // One batch may have been under way when the child died.
        Ok(Killed { open, reported, lost, next: end + BATCH_PAIRS as u64 })
    }

    /// How many pairs the child reported before it died.
    fn run_child(&self, peer: &str, folder: &Path, first: u64) -> Result<u64> {
        let mut child = Command::new(self.program)
            .arg(CHILD)
            .arg(peer)
            .arg(folder)
            .args([self.pairs.count(), self.seed, first].map(|number| number.to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut reported = 0;
        let mut killed = false;
        let mut began = None;
        if let Some(out) = child.stdout.take() {
            for line in BufReader::new(out).lines() {
                // The last line may have been cut off by the kill: then its batch counts as not reported.
                reported = line?.parse().unwrap_or(reported);
                // Opening the store is no part of the writing.
                let began = *began.get_or_insert_with(Instant::now);
                let enough = reported >= self.pairs_min || began.elapsed() >= self.time;
                if enough && !killed {
                    child.kill()?;
                    killed = true;
                }
            }
        }
        let status = child.wait()?;
        if killed { Ok(reported) } else { Err(format!("the writing child {status}").into()) }
    }
}

/// The child: inserts batches for ever and reports after each how many pairs are in.
pub struct WriteUntilKilled<'a> {
    /// Where the store lies.
    pub folder: &'a Path,
    /// The pairs it was built from.
    pub pairs: Pairs,
    /// Index of the first pair to write.
    pub first: u64,
}

impl ForPeer for WriteUntilKilled<'_> {
    type Output = ();

    fn with<P: Peer>(self) -> Result<()> {
        let peer = P::open(self.folder, Mode::BUFFERED)?;
        let mut out = io::stdout().lock();
        let mut reported = 0;
        loop {
            let begin = self.first + reported;
            let batch: Vec<_> =
                (begin..begin + BATCH_PAIRS as u64).map(|index| self.pairs.pair(index)).collect();
            peer.insert_batch(&batch)?;
            reported += BATCH_PAIRS as u64;
            // A number of fixed width with its newline: a cut-off line is never taken for another number.
            writeln!(out, "{reported:020}")?;
            out.flush()?;
        }
    }
}
