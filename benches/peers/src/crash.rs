//! A child process that writes until it is killed, and the check that nothing it reported is lost.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::pairs::Pairs;
use crate::peer::{Durable, Reader};
use crate::workload::{BATCH_PAIRS, OPEN_KILLED};

/// The argument that makes the program the child: `--child PEER FOLDER COUNT SEED FIRST`.
pub const CHILD: &str = "--child";

/// What is needed to start the child again and again on one store.
#[derive(Clone, Copy, Debug)]
pub struct Crash<'a> {
    /// The program that understands [`CHILD`].
    pub program: &'a Path,
    /// Where the store lies.
    pub folder: &'a Path,
    /// The pairs it was built from.
    pub pairs: Pairs,
    /// The seed of `pairs`.
    pub seed: u64,
    /// How many pairs the child must have reported before it is killed.
    pub pairs_min: u64,
}

impl Crash<'_> {
    /// Lets a child insert pairs from index `first` on, kills it, and opens the store: how long that took until the first
    /// answer, and the first index that the child surely had not begun.
    ///
    /// # Errors
    /// The store's own; if the child ends by itself; if a pair is missing that the child had reported.
    pub fn kill_and_open<P: Durable>(&self, first: u64) -> Result<(Duration, u64)> {
        let reported = self.run_child::<P>(first)?;
        let started = Instant::now();
        let peer = P::open(self.folder)?;
        let reader = peer.reader()?;
        let answer = reader.get(self.pairs.key(0))?;
        let elapsed = started.elapsed();
        if answer != Some(self.pairs.value(0)) {
            return Err(format!("{OPEN_KILLED}: the first pair reads {answer:?}").into());
        }
        let end = first + reported;
        for index in first..end {
            if reader.get(self.pairs.key(index))? != Some(self.pairs.value(index)) {
                let name = P::NAME;
                return Err(format!("{OPEN_KILLED}: {name} lost the reported pair {index}").into());
            }
        }
        drop(reader);
        peer.close()?;
        // One batch may have been under way when the child died.
        Ok((elapsed, end + BATCH_PAIRS as u64))
    }

    /// How many pairs the child reported before it died.
    fn run_child<P: Durable>(&self, first: u64) -> Result<u64> {
        let mut child = Command::new(self.program)
            .arg(CHILD)
            .arg(P::NAME)
            .arg(self.folder)
            .args([self.pairs.count(), self.seed, first].map(|number| number.to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut reported = 0;
        let mut killed = false;
        if let Some(out) = child.stdout.take() {
            for line in BufReader::new(out).lines() {
                // The last line may have been cut off by the kill: then its batch counts as not reported.
                reported = line?.parse().unwrap_or(reported);
                if reported >= self.pairs_min && !killed {
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
///
/// # Errors
/// The store's own, or if nobody reads the reports any more.
pub fn write_until_killed<P: Durable>(folder: &Path, pairs: &Pairs, first: u64) -> Result<()> {
    let mut peer = P::open(folder)?;
    let mut out = io::stdout().lock();
    let mut reported = 0;
    loop {
        let begin = first + reported;
        let batch: Vec<_> =
            (begin..begin + BATCH_PAIRS as u64).map(|index| pairs.pair(index)).collect();
        peer.insert_batch(&batch)?;
        reported += BATCH_PAIRS as u64;
        // A number of fixed width with its newline: a cut-off line is never taken for another number.
        writeln!(out, "{reported:020}")?;
        out.flush()?;
    }
}
