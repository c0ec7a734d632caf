//! `mercator drill`: a fault on purpose, under load, judged.
//!
//! The fault is made and mended by commands of those who own the installation:
//! nobody else knows how to kill a pod there. `course` runs them under the load
//! of `mercator benchmark`, `evidence` looks for the record of every request
//! that was answered, `judge` holds all of it against the objectives, `report`
//! writes it down with its date.

mod course;
mod evidence;
mod judge;
mod report;
#[cfg(test)]
mod tests;

use super::benchmark::line::Dialer;
use super::benchmark::plan::{Pace, Share, Target};
use super::benchmark::{self, RequestArgs};
use crate::client::ServerArgs;
use crate::exit::{Answer, Failure};
use crate::output::{self, Format};
use course::Phases;
use judge::Limits;
use jupiter_control_plane::config;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

#[derive(Debug, clap::Args)]
pub struct DrillArgs {
    #[command(subcommand)]
    command: DrillCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DrillCommand {
    /// Make a fault under load, mend it, and judge what clients saw
    Run(Box<RunArgs>),
}

/// What is tried; each has objectives of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// An instance dies at once: kill -9, a pod deleted without grace
    KillInstance,
    /// An instance hangs: SIGSTOP, a paused container
    FreezeInstance,
    /// All instances of a zone are gone
    ZoneFailure,
    /// Packets are dropped between two parts
    Partition,
    /// The primary database dies and a standby takes over
    DatabaseFailover,
    /// The provider fails; traffic cannot go on, and must recover
    ProviderOutage,
    /// An instance is taken out as for maintenance: no client may notice
    PlannedDrain,
}

impl Kind {
    fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Share of requests that may fail, when nobody says otherwise.
    fn error_rate(self) -> f64 {
        match self {
            // Traffic waits for no database, and nobody is to notice a planned stop.
            Kind::PlannedDrain | Kind::DatabaseFailover => 0.0,
            Kind::KillInstance | Kind::FreezeInstance | Kind::ZoneFailure | Kind::Partition => 0.01,
            Kind::ProviderOutage => 1.0,
        }
    }

    /// Recovery counts from the fault, unless it cannot begin before the fault ends.
    fn recovers_from_its_end(self) -> bool {
        self == Kind::ProviderOutage
    }
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The commands run by `sh -c`. --on-end runs whatever happens, when --on-start ran.\n\
                  Exit codes: 0 all objectives held; 1 one did not; 2 there was no drill, such as when --on-start failed."
)]
struct RunArgs {
    /// What is tried
    #[arg(value_enum)]
    kind: Kind,
    /// Makes the fault
    #[arg(long, value_name = "COMMAND")]
    on_start: String,
    /// Mends it
    #[arg(long, value_name = "COMMAND")]
    on_end: Option<String>,

    /// Where requests go: the load balancer
    #[arg(long, value_name = "URL")]
    target: Target,
    /// Requests a second
    #[arg(long, value_name = "N", default_value = "50", value_parser = benchmark::rate)]
    rate: f64,
    /// Connections, and so the most requests under way at once
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    concurrency: u16,
    /// A request without its whole answer this long after it was sent has failed; one that
    /// waited this long for a connection is not sent
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = config::duration)]
    timeout: Duration,
    /// Load before the fault; nothing may fail in it
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = config::duration)]
    steady: Duration,
    /// From --on-start to --on-end
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = config::duration)]
    fault: Duration,
    /// Load after that
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = config::duration)]
    recovery: Duration,

    #[command(flatten)]
    requests: RequestArgs,
    #[command(flatten)]
    objectives: ObjectiveArgs,
    #[command(flatten)]
    server: ServerArgs,

    /// Folder for the report: Markdown and JSON, named by drill and date
    #[arg(
        long,
        value_name = "DIR",
        default_value = ".",
        help_heading = "Results"
    )]
    reports: PathBuf,
    /// What the report should say besides, such as who was there
    #[arg(long, value_name = "TEXT", help_heading = "Results")]
    note: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Objectives")]
struct ObjectiveArgs {
    /// Share of requests that may fail [default: 0 for planned-drain and database-failover,
    /// any for provider-outage, 0.01 for the others]
    #[arg(long, value_name = "SHARE")]
    max_error_rate: Option<Share>,
    /// From the fault to the last error; of a provider's outage, from its end
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = config::duration)]
    max_recovery: Duration,
    /// Until the record of every answered request is there; none may be missing
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = config::duration)]
    max_evidence_delay: Duration,
    /// Do not look for the records: there is no access to the admin API
    #[arg(long)]
    without_evidence: bool,
}

pub fn run(args: DrillArgs, format: Format) -> Result<Answer, Failure> {
    let DrillCommand::Run(args) = args.command;
    benchmark::current_thread()?.block_on(drill(*args, format))
}

async fn drill(args: RunArgs, format: Format) -> Result<Answer, Failure> {
    let phases = Phases {
        steady: args.steady,
        fault: args.fault,
        recovery: args.recovery,
    };
    let pace = Pace {
        rate: Some(args.rate),
        duration: phases.total(),
        concurrency: usize::from(args.concurrency),
        timeout: args.timeout,
        policy_mix: args.requests.policy_mix,
        idempotency_keys: args.requests.idempotency_keys,
        keep_decision_ids: !args.objectives.without_evidence,
    };
    let dialer = Dialer::new(&args.target, args.requests.ca_file.as_deref())?;
    let plan = args.requests.plan(args.target, pace)?;
    std::fs::create_dir_all(&args.reports).map_err(|cause| {
        Failure::new(format!("no folder `{}`: {cause}", args.reports.display()))
    })?;
    // Before anything is broken: what is missing then is not of the drill.
    let client = match args.objectives.without_evidence {
        true => None,
        false => Some(args.server.client()?),
    };
    let missing_before = match &client {
        Some(client) => Some(evidence::missing(client).await?),
        None => None,
    };

    let started = SystemTime::now();
    let commands = course::Commands {
        kind: args.kind.name(),
        on_start: args.on_start,
        on_end: args.on_end,
    };
    let course = course::run(&plan, dialer, phases, &commands, format).await?;
    let records = match (&client, missing_before) {
        (Some(client), Some(before)) => {
            output::say("looking for the record of every request that was answered");
            let within = args.objectives.max_evidence_delay;
            let ids = &course.ran.tally.decision_ids;
            Some(evidence::look(client, started, ids, before, within).await)
        }
        _ => None,
    };
    let limits = Limits {
        error_rate: args
            .objectives
            .max_error_rate
            .map_or(args.kind.error_rate(), |share| share.0),
        recovery: args.objectives.max_recovery,
        recovers_from_its_end: args.kind.recovers_from_its_end(),
    };
    let verdict = judge::judge(&plan, started, &course, phases, records, limits);
    let report = report::Report::new(&commands, args.note, phases, &course, verdict);
    let files = report.keep(&args.reports)?;
    match format {
        Format::Json => output::print_json(&report.json()),
        Format::Text => output::print(&report.summary(&files)),
    }
    Ok(match report.held() {
        true => Answer::Yes,
        false => Answer::No,
    })
}
