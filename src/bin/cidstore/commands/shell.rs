//! `completions` and `man`: what a shell and `man` need to know of the command line.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::CommandLine;
use crate::failure::{Failure, Outcome};
use crate::output::Output;

pub(crate) fn completions(shell: Shell, output: &mut Output) -> Outcome {
    // Into memory first: the generator would panic on a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "cidstore", &mut script);
    output.bytes(&script)
}

pub(crate) fn man(name: Option<&str>, output: &mut Output) -> Outcome {
    let mut root = CommandLine::command();
    root.build();
    let command = match name {
        None => root,
        Some(name) => {
            let found = root.get_subcommands().find(|command| command.get_name() == name);
            let no_such = || Failure::Usage(format!("no such command: {name}"));
            let command = found.ok_or_else(no_such)?.clone();
            command.display_name(format!("cidstore-{name}"))
        }
    };
    let mut page = Vec::new();
    let source = concat!("cidstore ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command).source(source).render(&mut page).map_err(Failure::Output)?;
    output.bytes(&page)
}
