//! The `cidstore` command.
//!
//! Reading order: [`args`] says what can be asked; [`failure`] how it can go wrong, with the exit codes;
//! [`output`] what is printed, with the JSON schema; [`ids`] and [`names`] how keys and values are
//! written; [`input`] how files are read; [`commands`] has one file a command; [`crash`] is the child
//! process that `demo` and `bench` kill; [`top`] draws what a store does.

mod access;
mod args;
mod bench;
mod commands;
mod crash;
mod demo;
mod failure;
mod ids;
mod input;
mod measure;
mod names;
mod output;
mod progress;
mod report;
mod top;
mod units;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::error::ErrorKind;
use signal_hook::consts::SIGXFSZ;

use crate::args::{Command, CommandLine};
use crate::failure::{Failure, IO, Outcome, USAGE};
use crate::output::Output;

fn main() -> ExitCode {
    let line = match CommandLine::read() {
        Ok(line) => line,
        Err(error) => return refuse(&error),
    };
    let mut output = Output::new(line.json);
    // A limit on the size of files is to be an error of the write, as a full disk is, and not the end of the process.
    let limit_met = Arc::new(AtomicBool::new(false));
    if let Err(error) = signal_hook::flag::register(SIGXFSZ, limit_met) {
        complain(&format!("signals: {error}"));
        return ExitCode::from(IO);
    }
    let outcome = run(&line.command, &mut output).and_then(|()| output.flush());
    if outcome.is_err() {
        // What was answered before the failure stands before it. If that can't be written, the
        // failure itself is still the better message.
        let _ = output.flush();
    }
    end(outcome)
}

/// Tells of a failure, if there is one to tell.
fn end(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // Names of files and words of libraries come from anywhere: one line, and no control characters.
            complain(&ids::shown(&failure.to_string()));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: &Command, output: &mut Output) -> Outcome {
    match command {
        Command::Demo(args) => demo::run(args, output),
        Command::Load(args) => commands::load::run(args, output),
        Command::Get(args) => commands::get::run(args, output),
        Command::Insert(args) => commands::insert::run(args, output),
        Command::Delete(args) => commands::delete::run(args, output),
        Command::Scan(args) => commands::scan::run(args, output),
        Command::Stat(args) => commands::stat::run(args, output),
        Command::Check(args) => commands::check::run(args, output),
        Command::Compact(args) => commands::compact::run(args, output),
        Command::Dump(args) => commands::dump::run(args, output),
        Command::Backup(args) => commands::backup::run(args, output),
        Command::Export(args) => commands::export::run(args, output),
        Command::Import(args) => commands::import::run(args, output),
        Command::Bench(args) => bench::run(args, output),
        Command::ServeMetrics(args) => commands::serve_metrics::run(args, output),
        Command::Top(args) => top::run(args, output),
        Command::Completions { shell } => commands::shell::completions(*shell, output),
        Command::Man { command } => commands::shell::man(command.as_deref(), output),
        Command::CrashWriter(args) => crash::write_until_killed(args, output),
    }
}

/// Tells what is wrong with the command line, or gives the help that was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Help and version are answers like others.
        let printed = error.print().and_then(|()| io::stdout().flush());
        return end(printed.map_err(Failure::Output));
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Nothing was said, so nothing is wrong with it: the help, as it is. If it can't be written, see `complain`.
        let _ = error.print();
        return ExitCode::from(USAGE);
    }
    let message = error.render().to_string();
    complain(message.strip_prefix("error: ").unwrap_or(&message).trim_end());
    ExitCode::from(USAGE)
}

fn complain(message: &str) {
    // If standard error is gone there is nobody left to tell; the exit code still says it.
    let _ = writeln!(io::stderr(), "cidstore: {message}");
}
