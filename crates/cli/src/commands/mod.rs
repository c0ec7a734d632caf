//! One file per command: its arguments, what it asks for, how it shows the answer.

pub mod benchmark;
pub mod compile;
pub mod completion;
pub mod decide;
pub mod demo;
pub mod doctor;
pub mod drill;
pub mod envoy;
pub mod evidence;
pub mod fake_provider;
pub mod instance;
pub mod lint;
pub mod policy;
pub mod replay;
pub mod run;
pub mod test;
pub mod token;
pub mod verify;
pub mod version;

use crate::cli::{Cli, Command};
use crate::exit::{Answer, Failure};
use std::future::Future;

/// Carries out what the command line asks for.
pub fn run(cli: Cli) -> Result<Answer, Failure> {
    let Cli { command, format } = cli;
    match command {
        Command::Run(args) => block_on(run::run(args)),
        Command::Lint(args) => lint::run(&args, format.plain()?),
        Command::Test(args) => test::run(&args, format.plain()?),
        Command::Decide(args) => decide::run(&args, format.plain()?),
        Command::Compile(args) => compile::run(&args, format.plain()?),
        Command::Policy(args) => block_on(policy::run(args, format.plain()?)),
        Command::Replay(args) => block_on(replay::run(args, format.plain()?)),
        Command::Evidence(args) => block_on(evidence::run(args, format)),
        Command::Verify(args) => verify::run(&args, format.plain()?),
        Command::Token(args) => block_on(token::run(args, format.plain()?)),
        Command::Instance(args) => block_on(instance::run(args, format.plain()?)),
        Command::Benchmark(args) => benchmark::run(*args, format.plain()?),
        Command::Drill(args) => drill::run(args, format.plain()?),
        Command::Doctor(args) => block_on(doctor::run(args, format.plain()?)),
        Command::Envoy(args) => envoy::run(&args, format.plain()?),
        Command::Demo(args) => block_on(demo::run(args, format.plain()?)),
        Command::FakeProvider(args) => block_on(fake_provider::run(args)),
        Command::Version => Ok(version::run(format.plain()?)),
        Command::Completion(args) => Ok(completion::run(&args)),
    }
}

fn block_on<F>(future: F) -> Result<Answer, Failure>
where
    F: Future<Output = Result<Answer, Failure>>,
{
    tokio::runtime::Runtime::new()
        .map_err(|e| Failure::new(format!("the runtime could not start: {e}")))?
        .block_on(future)
}
