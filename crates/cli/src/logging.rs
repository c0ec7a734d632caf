//! The log: on stderr, as text for people or JSON lines for machines.
//!
//! How much is said comes from `MERCATOR_LOG`, else `RUST_LOG`, else from the
//! command.

use crate::exit::Failure;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// What commands that log take.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct LogArgs {
    /// How log lines are written to stderr; MERCATOR_LOG sets how much is said
    #[arg(long, value_enum, default_value_t = LogFormat::Text, hide_possible_values = true, value_name = "text|json")]
    log_format: LogFormat,
}

/// Starts logging; `default` applies where the environment says nothing.
pub fn start(args: LogArgs, default: &str) -> Result<(), Failure> {
    let asked = ["MERCATOR_LOG", "RUST_LOG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().map(|value| (name, value)));
    let filter = match &asked {
        Some((name, value)) => EnvFilter::try_new(value).map_err(|error| {
            Failure::new(format!("`{name}` is not a log filter: {error}"))
                .help("use a level (`info`, `debug`) or directives such as `info,hyper=warn`")
        })?,
        None => EnvFilter::new(default),
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match args.log_format {
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
        LogFormat::Text => subscriber
            .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .with_target(false)
            .try_init(),
    };
    started.map_err(|error| Failure::new(format!("logging could not start: {error}")))
}
