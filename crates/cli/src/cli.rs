//! The command line as a whole; each command's own arguments stand in its file.

use crate::commands::{
    completion::CompletionArgs, demo::DemoArgs, envoy::EnvoyArgs, evidence::EvidenceArgs,
    fake_provider::FakeProviderArgs, lint::LintArgs, policy::PolicyArgs, run::RunArgs,
    token::TokenArgs, verify::VerifyArgs,
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
    /// Check policy files; needs no server
    Lint(LintArgs),
    /// List, show, change and compare the policies in force
    Policy(PolicyArgs),
    /// Look at the records of what was decided
    Evidence(EvidenceArgs),
    /// Verify exported records offline: unchanged, complete, in order
    Verify(VerifyArgs),
    /// Create, list and revoke API tokens
    Token(TokenArgs),
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
