//! `mercator completion`: a shell's completion script, on stdout.

use crate::exit::Answer;
use crate::output;
use clap::CommandFactory;

#[derive(Debug, clap::Args)]
pub struct CompletionArgs {
    /// The shell to complete for
    shell: clap_complete::Shell,
}

pub fn run(args: &CompletionArgs) -> Answer {
    let mut script = Vec::new();
    let mut command = crate::cli::Cli::command();
    clap_complete::generate(args.shell, &mut command, "mercator", &mut script);
    output::print(&String::from_utf8_lossy(&script));
    Answer::Yes
}
