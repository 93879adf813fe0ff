//! What a person sees: plain lines on stdout, errors on stderr.
//!
//! A reader that went away (`cargo xtask test | head`) must not end a run in the middle, so a failed write to the
//! terminal is the one error that is dropped here, on purpose: the exit code still tells the result.

use std::io::{self, Write};

/// Prints one line on stdout.
pub(crate) fn line(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// Prints a heading that the eye finds in a long log.
pub(crate) fn heading(text: &str) {
    line(&format!("\n== {text} {}", "=".repeat(96_usize.saturating_sub(text.chars().count()))));
}

/// Prints one line on stderr.
pub(crate) fn error(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Passes bytes of a child on as they are.
pub(crate) fn pass_on(stream: Stream, bytes: &[u8]) {
    let _ = match stream {
        Stream::Out => io::stdout().lock().write_all(bytes),
        Stream::Error => io::stderr().lock().write_all(bytes),
    };
}

/// One of the two output streams of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Error,
}
