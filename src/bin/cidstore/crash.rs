//! A child process that writes until it is killed, and the parent that kills it.
//!
//! The child numbers its writes and tells each number over a pipe *after* the store acknowledged it.
//! The parent kills with SIGKILL while writes are under way, and takes from the pipe what was told by
//! then: every such write must be there after a reopen. Not told does not mean not there: a kill may
//! fall between the acknowledgement and the pipe.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use cidstore::{E, Store};

use crate::args::{CRASH_WRITER, CrashWriterArgs};
use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// Upper half of every key that the child writes. As UUIDs these would have version 0, so they are never
/// the id of a name.
const KEY_HIGH: u64 = 0x6163_6b6e_0000_0000;
/// Writes after which a child that nobody kills ends by itself.
const WRITES_MAX: u64 = 1 << 32;

/// How the child writes, and when it is killed: when both bounds are reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Threads that write at the same time.
    pub(crate) threads: u32,
    /// Pairs in a batch.
    pub(crate) batch: u64,
    /// Pairs that must be acknowledged before the kill.
    pub(crate) pairs_min: u64,
    /// Time from the first acknowledgement to the kill.
    pub(crate) time_min: Duration,
}

/// What is known after a kill.
#[derive(Debug)]
pub(crate) struct Killed {
    /// The process that was.
    pub(crate) pid: u32,
    /// From the first acknowledgement to the kill.
    pub(crate) time: Duration,
    /// Number of the first pair of each acknowledged batch.
    acknowledged: Vec<u64>,
    batch: u64,
}

impl Killed {
    /// How many pairs were acknowledged.
    pub(crate) fn pairs(&self) -> u64 {
        self.acknowledged.len() as u64 * self.batch
    }

    /// How many acknowledged pairs the store lacks.
    pub(crate) fn missing(&self, store: &Store) -> Outcome<u64> {
        let mut missing = 0;
        for first in &self.acknowledged {
            for number in *first..*first + self.batch {
                let (key, value) = pair(number);
                missing += u64::from(!store.contains(key, value)?);
            }
        }
        Ok(missing)
    }
}

fn pair(number: u64) -> (E, E) {
    (E::new(KEY_HIGH, number), E::from(number))
}

/// Starts a child that writes to this store, which nobody has open, and kills it in the middle.
pub(crate) fn kill_in_the_middle(store: &Path, plan: Plan) -> Outcome<Killed> {
    let program = std::env::current_exe().map_err(Failure::io(Path::new("cidstore"), "find"))?;
    let mut child = Command::new(&program)
        .arg(CRASH_WRITER)
        .args(["--threads", &plan.threads.to_string(), "--batch", &plan.batch.to_string()])
        .arg(store)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Failure::io(&program, "start"))?;
    let told = child.stdout.take();
    let read = match told {
        Some(told) => read_until_kill(&mut child, told, plan),
        None => Err(Failure::Negative("the child process has no output".to_owned())),
    };
    // Dead or not: this child goes no further than this function.
    let _ = child.kill();
    let status = child.wait().map_err(Failure::io(&program, "wait for"))?;
    let killed = read?;
    if !was_killed(status) {
        let message = format!("the child process ended by itself ({status})");
        return Err(Failure::Negative(message));
    }
    Ok(killed)
}

fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(9)
}

/// Reads acknowledgements, kills when the plan says so, and reads what the pipe still holds.
fn read_until_kill(child: &mut Child, told: ChildStdout, plan: Plan) -> Outcome<Killed> {
    let pipe = Path::new("pipe from the child process");
    let mut told = BufReader::new(told);
    let mut acknowledged = Vec::new();
    let mut first: Option<Instant> = None;
    let mut killed_after = None;
    let mut line = String::new();
    loop {
        line.clear();
        told.read_line(&mut line).map_err(Failure::io(pipe, "read"))?;
        // A line without its end is the last one, torn by the kill: not told.
        let Some(number) = line.strip_suffix('\n') else {
            break;
        };
        let number = number.parse::<u64>().map_err(|_| {
            Failure::Negative(format!("the child process told `{number}`, which is no number"))
        })?;
        acknowledged.push(number);
        let time = first.get_or_insert_with(Instant::now).elapsed();
        let pairs = acknowledged.len() as u64 * plan.batch;
        if killed_after.is_none() && pairs >= plan.pairs_min && time >= plan.time_min {
            child.kill().map_err(Failure::io(pipe, "kill"))?;
            killed_after = Some(time);
        }
    }
    let time = killed_after.unwrap_or_default();
    Ok(Killed { pid: child.id(), time, acknowledged, batch: plan.batch })
}

/// The child: writes numbered pairs, and tells the number of each write that was acknowledged.
pub(crate) fn write_until_killed(args: &CrashWriterArgs, output: &mut Output) -> Outcome {
    let store = Store::options().create(false).open(&args.store)?;
    let next = AtomicU64::new(0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            let sender = sender.clone();
            scope.spawn(|| write_numbers(&store, args.batch.max(1), &next, sender));
        }
        drop(sender);
        // Returns, and hangs up, at the first failure; the writers then end too.
        tell(receiver, output)
    })
}

fn write_numbers(store: &Store, batch: u64, next: &AtomicU64, sender: Sender<Outcome<u64>>) {
    loop {
        // Relaxed: only the uniqueness of the number matters, nothing is published with it.
        let first = next.fetch_add(batch, Ordering::Relaxed);
        if first >= WRITES_MAX {
            return;
        }
        let written = if batch == 1 {
            let (key, value) = pair(first);
            store.insert(key, value).map(|_| first)
        } else {
            let pairs: Vec<(E, E)> = (first..first + batch).map(pair).collect();
            store.batch_insert(&pairs).map(|_| first)
        };
        let failed = written.is_err();
        if sender.send(written.map_err(Failure::from)).is_err() || failed {
            return;
        }
    }
}

fn tell(receiver: Receiver<Outcome<u64>>, output: &mut Output) -> Outcome {
    while let Ok(first) = receiver.recv() {
        let writer = output.writer();
        writeln!(writer, "{}", first?).map_err(Failure::Output)?;
        for more in receiver.try_iter() {
            writeln!(writer, "{}", more?).map_err(Failure::Output)?;
        }
        output.flush()?;
    }
    Ok(())
}
