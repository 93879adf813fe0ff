//! The workload of reads beside a writer, in rounds by turns.
//!
//! A tail of one read in ten thousand is what the machine does meanwhile (timer interrupts, the host's own work) as much as
//! what the store does, and changes from minute to minute. So the peers take turns here too, each opened for its turn alone.

use hdrhistogram::Histogram;

use crate::Result;
use crate::run::Run;
use crate::seat::Contender;
use crate::statistics::Unit;
use crate::workload::Workload;
use crate::workload::beside::Seen;
use crate::workload::writes::Limit;

/// Rounds: the median counts. Each waits for one checkpoint of a store that counts them.
const ROUNDS: usize = 3;
/// The reader's core: its own, or whichever it gets.
const PINNED: [(&str, bool); 2] = [("pinned", true), ("unpinned", false)];

impl Run<'_> {
    /// All rounds of all peers that can read beside a writer. `unwritten` has the first index of each that no pair was
    /// written of.
    pub(crate) fn besides(
        &mut self,
        seats: &mut [Box<dyn Contender>],
        unwritten: &mut [u64],
    ) -> Result<()> {
        let limit = Limit { time: self.settings.time, pairs: self.pairs.count(), checkpoints: 1 };
        let mut seen: Vec<[Vec<Seen>; PINNED.len()]> =
            seats.iter().map(|_| Default::default()).collect();
        for _ in 0..ROUNDS {
            for ((seat, next), seen) in seats.iter_mut().zip(&mut *unwritten).zip(&mut seen) {
                if !seat.abilities().concurrent {
                    continue;
                }
                for ((_, pinned), seen) in PINNED.into_iter().zip(seen) {
                    self.reopen(seat.as_mut())?;
                    let round = seat.beside(&self.pairs, *next, limit, pinned)?;
                    *next += round.written.pairs;
                    seen.push(round);
                }
                if seat.abilities().persistent {
                    seat.close()?;
                }
            }
        }
        for (seat, seen) in seats.iter().zip(seen) {
            for ((kind, _), rounds) in PINNED.into_iter().zip(seen) {
                if !rounds.is_empty() {
                    self.note_beside(kind, seat.name(), rounds);
                }
            }
        }
        Ok(())
    }

    fn note_beside(&mut self, kind: &str, peer: &'static str, rounds: Vec<Seen>) {
        let workload = format!("{}_{kind}", Workload::Beside.name());
        let rates = rounds.iter().map(|seen| seen.written.rate()).collect();
        let checkpoints: Option<u64> = rounds.iter().map(|seen| seen.checkpoints).sum();
        let times: Vec<Histogram<u64>> = rounds.into_iter().map(|seen| seen.reads).collect();
        self.shares(&workload, peer, Unit::NanosecondsPerRead, &times);
        self.note(&format!("{workload}_writer"), peer, Unit::PairsPerSecond, rates);
        if let Some(checkpoints) = checkpoints {
            let workload = format!("{workload}_checkpoints");
            self.note(&workload, peer, Unit::Count, vec![checkpoints as f64]);
        }
    }
}
