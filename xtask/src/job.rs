//! [`Job`]: one child process of a chore.
//!
//! A child gets no standard input, so nothing can wait for a person. Its output is passed on as it comes, and read along
//! for the [`Tally`].

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use crate::console::{self, Stream};
use crate::failure::Failure;
use crate::tally::Tally;

/// A child process to be run.
#[derive(Debug)]
pub(crate) struct Job {
    command: Command,
    /// What a person would have typed.
    shown: String,
}

impl Job {
    /// `program` with `args`.
    pub(crate) fn new<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>) -> Self {
        Self { command: Command::new(program), shown: program.to_owned() }.args(args)
    }

    /// The cargo that runs this `xtask`, with `args`.
    pub(crate) fn cargo<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut job = Self { command: Command::new(cargo), shown: "cargo".to_owned() }.args(args);
        if io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
            // The pipe that the tally reads hides the terminal from the child.
            job.command.env("CARGO_TERM_COLOR", "always");
        }
        job
    }

    /// A cargo `subcommand` that resolves dependencies: in CI a lock file that does not fit is an error, on a desk it is
    /// brought up to date.
    pub(crate) fn cargo_locked(subcommand: impl IntoIterator<Item = &'static str>) -> Self {
        let locked = std::env::var_os("CI").map(|_| "--locked");
        Self::cargo(subcommand).args(locked)
    }

    /// Adds arguments.
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        for arg in args {
            self.shown.push(' ');
            self.shown.push_str(&arg.as_ref().to_string_lossy());
            self.command.arg(arg);
        }
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.shown = format!("{name}={value:?} {}", self.shown);
        self.command.env(name, value);
        self
    }

    /// Runs in `directory`.
    pub(crate) fn directory(mut self, directory: PathBuf) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Runs it and adds to `tally` what its output reports, also when it fails.
    ///
    /// # Errors
    /// If it cannot be started, or ends with anything but success.
    pub(crate) fn run(mut self, tally: &mut Tally) -> Result<(), Failure> {
        console::line(&format!("$ {}", self.shown));
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().map_err(|error| cannot(&self.shown, &error))?;
        let out = child.stdout.take();
        let error = child.stderr.take();
        // Two threads, or a child that fills one pipe while the other is being read would stop for ever.
        thread::scope(|scope| {
            let beside = scope.spawn(|| read_along(Stream::Error, error));
            *tally += read_along(Stream::Out, out);
            *tally += beside.join().unwrap_or_default();
        });
        let status = child.wait().map_err(|error| cannot(&self.shown, &error))?;
        if status.success() { Ok(()) } else { Err(ended_badly(&self.shown, status)) }
    }

    /// Runs it on the terminal as it is, for chores a person watches.
    ///
    /// # Errors
    /// If it cannot be started, or ends with anything but success.
    pub(crate) fn run_in_foreground(mut self) -> Result<(), Failure> {
        let status = self
            .command
            .stdin(Stdio::null())
            .status()
            .map_err(|error| cannot(&self.shown, &error))?;
        if status.success() { Ok(()) } else { Err(ended_badly(&self.shown, status)) }
    }

    /// True if it starts and succeeds; nothing is shown.
    pub(crate) fn succeeds(mut self) -> bool {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

fn read_along(stream: Stream, pipe: Option<impl Read>) -> Tally {
    let mut tally = Tally::default();
    let Some(pipe) = pipe else { return tally };
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    // A pipe that breaks ends the reading; the exit status, read afterwards, tells what became of the child.
    while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
        console::pass_on(stream, &line);
        tally.read(&String::from_utf8_lossy(&line));
        line.clear();
    }
    tally
}

fn cannot(shown: &str, error: &io::Error) -> Failure {
    Failure::new(format!("cannot run `{shown}`: {error}"))
}

fn ended_badly(shown: &str, status: ExitStatus) -> Failure {
    Failure::new(format!("`{shown}` ended with {status}"))
}
