//! The `mercator` command.
//!
//! Parses the command line and hands over to one file per command in
//! `commands`; whatever comes of it ends as an [`exit::Answer`].

mod cli;
mod client;
mod commands;
mod exit;
mod logging;
mod output;
mod quickstart;
mod texts;

use clap::Parser;
use exit::Answer;

fn main() -> Answer {
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(answer) => answer,
        Err(failure) => {
            output::say(&failure.to_string());
            failure.answer()
        }
    }
}
