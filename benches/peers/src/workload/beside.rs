//! Reads timed one by one beside a thread that writes batches as fast as it can.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use hdrhistogram::Histogram;
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

use super::Workload;
use super::writes::{BATCH_PAIRS, Limit, Written, checkpoints_since, histogram};
use crate::Result;
use crate::pairs::Pairs;
use crate::peer::{Peer, Reader};

/// Reads through one handle: a store whose handle is a snapshot must take a new one to see what was written.
const READS_A_HANDLE: usize = 64;

/// What was seen.
pub struct Seen {
    /// Nanoseconds of each read; taking the handle counts to the first read through it.
    pub reads: Histogram<u64>,
    /// What the writer did.
    pub written: Written,
    /// Checkpoints meanwhile, if the store counts them.
    pub checkpoints: Option<u64>,
}

/// Reads random pairs of the store while pairs from index `first` on are written. `pinned`: the reader has the first core
/// for itself, the writer and the store's own threads have the second.
///
/// # Errors
/// The store's own, a wrong answer, or less than two cores for `pinned`.
pub fn run<P: Peer>(
    peer: &P,
    pairs: &Pairs,
    first: u64,
    limit: Limit,
    pinned: bool,
) -> Result<Seen> {
    let cores = if pinned { Some(Cores::take()?) } else { None };
    let over = AtomicBool::new(false);
    let before = peer.checkpoints();
    let read = || -> Result<Histogram<u64>> {
        if let Some(cores) = &cores {
            sched_setaffinity(None, &cores.reader)?;
        }
        read_until(peer, pairs, &over)
    };
    let write = || -> Result<Written> {
        let started = Instant::now();
        let mut count = 0;
        let mut batch = Vec::with_capacity(BATCH_PAIRS);
        while !limit.is_reached(started, count, checkpoints_since(peer, before)) {
            batch.clear();
            let begin = first + count;
            batch.extend((begin..begin + BATCH_PAIRS as u64).map(|index| pairs.pair(index)));
            peer.insert_batch(&batch)?;
            count += BATCH_PAIRS as u64;
        }
        Ok(Written { pairs: count, elapsed: started.elapsed() })
    };
    let seen = thread::scope(|scope| {
        let reader = scope.spawn(read);
        let written = scope.spawn(write).join();
        // Before anything can fail: the reader waits for it. Relaxed: it carries nothing but itself.
        over.store(true, Ordering::Relaxed);
        let reads = reader.join().map_err(|_| "the reading thread panicked")??;
        let written = written.map_err(|_| "the writing thread panicked")??;
        Ok(Seen { reads, written, checkpoints: checkpoints_since(peer, before) })
    });
    if let Some(cores) = &cores {
        cores.give_back()?;
    }
    seen
}

fn read_until<P: Peer>(peer: &P, pairs: &Pairs, over: &AtomicBool) -> Result<Histogram<u64>> {
    let mut times = histogram()?;
    let mut round = 0;
    while !over.load(Ordering::Relaxed) {
        round += 1;
        let indices: Vec<u64> = pairs.sample(round, READS_A_HANDLE as u64).collect();
        let mut answers = Vec::with_capacity(indices.len());
        let keys: Vec<_> = indices.iter().map(|index| pairs.key(*index)).collect();
        let mut last = Instant::now();
        peer.read(|reader| {
            for key in &keys {
                answers.push(reader.get(*key)?);
                let now = Instant::now();
                times.saturating_record((now - last).as_nanos() as u64);
                last = now;
            }
            Ok(())
        })?;
        for (index, answer) in indices.iter().zip(&answers) {
            if *answer != Some(pairs.value(*index)) {
                let name = Workload::Beside.name();
                return Err(format!("{name}: pair {index} reads {answer:?}").into());
            }
        }
    }
    Ok(times)
}

/// The process's threads on one core, another free for the reader.
struct Cores {
    before: CpuSet,
    reader: CpuSet,
}

impl Cores {
    /// Moves all threads there are to the second core; those they start later follow them.
    fn take() -> Result<Self> {
        let before = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| before.is_set(*core));
        let (Some(first), Some(second)) = (cores.next(), cores.next()) else {
            return Err("to pin the reader takes two cores".into());
        };
        let one = |core| {
            let mut set = CpuSet::new();
            set.set(core);
            set
        };
        all_threads(&one(second))?;
        Ok(Self { before, reader: one(first) })
    }

    fn give_back(&self) -> Result<()> {
        all_threads(&self.before)
    }
}

/// Puts each thread of this process on `cores`.
fn all_threads(cores: &CpuSet) -> Result<()> {
    for task in fs::read_dir("/proc/self/task")? {
        let id: i32 = task?.file_name().to_string_lossy().parse()?;
        match sched_setaffinity(Pid::from_raw(id), cores) {
            // The thread ended meanwhile.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
