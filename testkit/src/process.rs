//! Other processes: the test binary starts itself again and plays a role there.
//!
//! A test file that needs children has one test that does nothing unless it runs as a child:
//!
//! ```text
//! #[test]
//! fn child() {
//!     if let Some(role) = Role::of_this_process() { .. }
//! }
//! ```
//!
//! and starts it by [`Child::spawn`]. Parent and child talk in lines that begin with a mark, because the test
//! harness writes to the same stream.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

const ROLE: &str = "CIDSTORE_TEST_ROLE";
const PATH: &str = "CIDSTORE_TEST_PATH";
/// Starts each line that a child means for its parent.
const MARK: char = '@';

/// What a child was started for.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// The file that it is to work on.
    pub path: PathBuf,
}

impl Role {
    /// The role of this process; `None` if it is no child.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        let name = std::env::var(ROLE).ok()?;
        let path = std::env::var_os(PATH)?.into();
        Some(Self { name, path })
    }
}

/// Sends a line to the parent.
///
/// # Panics
///
/// If the parent is gone.
pub fn tell_parent(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{MARK}{line}").expect("the parent listens");
    out.flush().expect("the parent listens");
}

/// Waits until the parent says something, or is gone.
pub fn wait_for_parent() {
    let mut line = String::new();
    // An error is as good as the end: in both cases nobody is there to wait for.
    drop(std::io::stdin().lock().read_line(&mut line));
}

/// A child process; killed when dropped.
pub struct Child {
    process: std::process::Child,
    input: Option<ChildStdin>,
    output: Lines,
}

/// What a child says, line by line; ends with the child.
pub struct Lines {
    output: BufReader<ChildStdout>,
}

impl Iterator for Lines {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            // A torn line without its end came from a child that died while writing it: no promise was made.
            if self.output.read_line(&mut line).ok()? == 0 || !line.ends_with('\n') {
                return None;
            }
            if let Some((_, message)) = line.trim_end().split_once(MARK) {
                return Some(message.to_owned());
            }
        }
    }
}

fn kill(process: &mut std::process::Child) {
    process.kill().expect("kill");
    process.wait().expect("wait");
}

impl Child {
    /// Starts this binary's test `test` in the role `name`, working on `path`.
    ///
    /// # Panics
    ///
    /// If the process cannot be started.
    #[must_use]
    pub fn spawn(test: &str, name: &str, path: &Path) -> Self {
        let binary: OsString = std::env::current_exe().expect("the test binary").into();
        let mut process = Command::new(binary)
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, name)
            .env(PATH, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child process");
        let input = process.stdin.take();
        let output = Lines { output: BufReader::new(process.stdout.take().expect("a pipe")) };
        Self { process, input, output }
    }

    /// Process id of the child.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The next line that the child meant for us; `None` when it has ended.
    pub fn next_line(&mut self) -> Option<String> {
        self.output.next()
    }

    /// Kills the child, as `kill -9` does, at some moment in the `moment` after it has said `lines` more lines; answers
    /// the last line that it got out, or nothing if it said none.
    ///
    /// Counted in lines rather than in time, so that a child on a slow machine gets as much done before its end.
    ///
    /// # Panics
    ///
    /// If the system refuses.
    pub fn kill_after(&mut self, lines: usize, moment: Duration) -> Option<String> {
        let mut last = self.output.by_ref().take(lines).last();
        let process = &mut self.process;
        thread::scope(|scope| {
            scope.spawn(move || {
                thread::sleep(moment);
                kill(process);
            });
            // What it says meanwhile must be taken from it, or it would wait for us in a full pipe.
            last = self.output.by_ref().last().or(last.take());
        });
        last
    }

    /// Waits for exactly this line.
    ///
    /// # Panics
    ///
    /// If the child says something else or ends.
    pub fn expect_line(&mut self, expected: &str) {
        assert_eq!(self.next_line().as_deref(), Some(expected), "from child {}", self.id());
    }

    /// Lets a child in [`wait_for_parent`] go on.
    ///
    /// # Panics
    ///
    /// If the child is gone.
    pub fn go_on(&mut self) {
        let input = self.input.as_mut().expect("a pipe");
        input.write_all(b"\n").expect("the child listens");
    }

    /// Kills the child, as `kill -9` does, and waits until it is gone.
    ///
    /// # Panics
    ///
    /// If the system refuses.
    pub fn kill(&mut self) {
        kill(&mut self.process);
    }

    /// Waits until the child ends by itself.
    ///
    /// # Panics
    ///
    /// If the system refuses.
    pub fn wait(&mut self) -> ExitStatus {
        drop(self.input.take());
        self.process.wait().expect("wait")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may be gone already, and then there is nothing to do.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
