//! The command line as a whole; each command's own arguments stand in its file.

use crate::commands::{
    benchmark::BenchmarkArgs, compile::CompileArgs, completion::CompletionArgs, decide::DecideArgs,
    demo::DemoArgs, doctor::DoctorArgs, drill::DrillArgs, envoy::EnvoyArgs, evidence::EvidenceArgs,
    fake_provider::FakeProviderArgs, instance::InstanceArgs, lint::LintArgs, policy::PolicyArgs,
    replay::ReplayArgs, run::RunArgs, test::TestArgs, token::TokenArgs, verify::VerifyArgs,
};
use crate::output::FormatArg;

/// Policies for calls to language models: enforced in Envoy, proven by evidence.
#[derive(Debug, clap::Parser)]
#[command(
    name = "mercator",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 yes or done; 1 no (refused, invalid, not there); 2 could not tell."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// How results are written to stdout
    #[arg(long, global = true, value_enum, default_value_t = FormatArg::Text, hide_possible_values = true, value_name = "text|json")]
    pub format: FormatArg,
}

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Run an instance: the control plane and the Envoy beside it
    Run(RunArgs),
    /// Check policies and their tests; needs no server
    Lint(LintArgs),
    /// Decide the cases of policies, and say which come out otherwise
    Test(TestArgs),
    /// Decide one exchange, and explain it rule by rule
    Decide(DecideArgs),
    /// Compile policies to the bundle the filter loads
    Compile(CompileArgs),
    /// List, show, change and compare the policies in force
    Policy(PolicyArgs),
    /// Tell which recorded decisions candidate policies would change
    Replay(ReplayArgs),
    /// Look at the records of what was decided
    Evidence(EvidenceArgs),
    /// Verify exported records offline: unchanged, complete, in order
    Verify(VerifyArgs),
    /// Create, list and revoke API tokens
    Token(TokenArgs),
    /// Take an instance out of rotation, and put it back
    Instance(InstanceArgs),
    /// Send load and measure how the target does, as its clients see it
    Benchmark(Box<BenchmarkArgs>),
    /// Make a fault under load on purpose, and judge what clients saw of it
    Drill(DrillArgs),
    /// Say what a live installation lacks for high availability
    Doctor(DoctorArgs),
    /// Print the Envoy configuration an instance would use
    Envoy(EnvoyArgs),
    /// Start an instance of its own, make three calls, show what happened
    #[command(hide = true)]
    Demo(DemoArgs),
    /// Answer as a language model provider would, without a model
    #[command(hide = true)]
    FakeProvider(FakeProviderArgs),
    /// Print the version
    Version,
    /// Print a completion script for a shell
    Completion(CompletionArgs),
}
