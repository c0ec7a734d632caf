//! The log: on stderr, as text for people or JSON lines for machines.
//!
//! How much is said comes from `MERCATOR_LOG`, else `RUST_LOG`, else from the
//! command.

use crate::exit::Failure;
use jupiter_control_plane::telemetry::{self, Telemetry};
use std::io::IsTerminal;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, fmt};

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

/// Starts logging, and hands spans to `telemetry`; `default` applies where the environment
/// says nothing.
pub fn start(args: LogArgs, default: &str, telemetry: &Telemetry) -> Result<(), Failure> {
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
    // Spans that are exported are no part of log lines.
    let filter = filter.and(filter_fn(|it| it.target() != telemetry::TARGET));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match args.log_format {
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
        LogFormat::Text => lines
            .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .with_target(false)
            .with_filter(filter)
            .boxed(),
    };
    let subscriber = tracing_subscriber::registry()
        .with(lines)
        .with(telemetry.layer());
    let started = subscriber.try_init();
    started.map_err(|error| Failure::new(format!("logging could not start: {error}")))
}
