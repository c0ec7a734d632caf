//! `mercator drill`: a fault on purpose, under load, judged.
//!
//! `run` is for an installation that is there: the fault is made and mended by
//! commands of those who own it, as nobody else knows how to kill a pod there.
//! `local` starts one of its own and breaks that. Either way `course` has it
//! happen under the load of `mercator benchmark`, `evidence` looks for the record
//! of every request that was answered, `judge` holds all of it against the
//! objectives, `report` writes it down with its date.

mod course;
mod evidence;
mod judge;
mod local;
mod report;
#[cfg(test)]
mod tests;

use super::benchmark::line::Dialer;
use super::benchmark::plan::{Pace, Plan, Share, Target};
use super::benchmark::{self, RequestArgs};
use crate::client::{Client, ServerArgs};
use crate::exit::{Answer, Failure};
use crate::output::{self, Format};
use crate::quickstart::stop_signal;
use course::{Fault, Phases};
use judge::Limits;
use jupiter_control_plane::config;
use report::Report;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Args)]
pub struct DrillArgs {
    #[command(subcommand)]
    command: DrillCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DrillCommand {
    /// Make a fault under load, mend it, and judge what clients saw
    Run(Box<RunArgs>),
    /// Start an installation on this machine, and make the faults there
    Local(Box<local::LocalArgs>),
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

    /// Whether an Envoy dies without notice, which may take its last records along.
    fn kills_envoy(self) -> bool {
        matches!(self, Kind::KillInstance | Kind::ZoneFailure)
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
    #[command(flatten)]
    report: ReportArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Results")]
struct ReportArgs {
    /// Folder for the report: Markdown and JSON, named by drill and date
    #[arg(long, value_name = "DIR", default_value = ".")]
    reports: PathBuf,
    /// What the report should say besides, such as who was there
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

impl ReportArgs {
    fn make_folder(&self) -> Result<(), Failure> {
        std::fs::create_dir_all(&self.reports).map_err(|cause| {
            let folder = self.reports.display();
            Failure::new(format!("no folder `{folder}`: {cause}"))
        })
    }
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

impl ObjectiveArgs {
    fn limits(&self, kind: Kind) -> Limits {
        let error_rate = self.max_error_rate;
        Limits {
            error_rate: error_rate.map_or(kind.error_rate(), |share| share.0),
            recovery: self.max_recovery,
            recovers_from_its_end: kind.recovers_from_its_end(),
        }
    }
}

pub fn run(args: DrillArgs, format: Format) -> Result<Answer, Failure> {
    benchmark::current_thread()?.block_on(async {
        match args.command {
            DrillCommand::Run(args) => drill(*args, format).await,
            DrillCommand::Local(args) => local::run(*args, format).await,
        }
    })
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
    args.report.make_folder()?;
    let client = match args.objectives.without_evidence {
        true => None,
        false => Some(args.server.client()?),
    };
    let mut commands = course::Commands {
        kind: args.kind.name(),
        on_start: args.on_start,
        on_end: args.on_end,
    };
    let mut drill = Drill {
        kind: args.kind,
        plan: &plan,
        dialer,
        phases,
        fault: &mut commands,
        client: client.as_ref(),
        objectives: &args.objectives,
        stop: &stop_signal()?,
        format,
    };
    let mut report = drill.conduct().await?;
    report.note = args.report.note;
    let files = report.keep(&args.report.reports)?;
    match format {
        Format::Json => output::print_json(&report.json()),
        Format::Text => output::print(&report.summary(&files)),
    }
    Ok(match report.held {
        true => Answer::Yes,
        false => Answer::No,
    })
}

/// A drill as it is settled before its load begins.
struct Drill<'a, F> {
    kind: Kind,
    plan: &'a Plan,
    dialer: Dialer,
    phases: Phases,
    fault: &'a mut F,
    /// Who knows the records; `None`: nobody looks for them.
    client: Option<&'a Client>,
    objectives: &'a ObjectiveArgs,
    stop: &'a CancellationToken,
    format: Format,
}

impl<F: Fault> Drill<'_, F> {
    async fn conduct(&mut self) -> Result<Report, Failure> {
        // Before anything is broken: what is missing then is not of the drill.
        let missing_before = match self.client {
            Some(client) => Some(evidence::missing(client).await?),
            None => None,
        };
        let started = SystemTime::now();
        let course = course::run(
            self.plan,
            self.dialer.clone(),
            self.phases,
            self.fault,
            self.stop,
            self.format,
        )
        .await?;
        let records = match (self.client, missing_before) {
            (Some(client), Some(before)) => {
                output::say("looking for the record of every request that was answered");
                let search = evidence::Search {
                    since: started,
                    ids: &course.ran.tally.decision_ids,
                    missing_before: before,
                    within: self.objectives.max_evidence_delay,
                    killed: self.kind.kills_envoy().then_some(self.plan.timeout),
                };
                let looked = evidence::look(client, &search);
                tokio::select! {
                    records = looked => Some(records),
                    () = self.stop.cancelled() => {
                        return Err(Failure::new("stopped before every record was found"));
                    }
                }
            }
            _ => None,
        };
        let limits = self.objectives.limits(self.kind);
        let verdict = judge::judge(self.plan, started, &course, self.phases, records, limits);
        Ok(Report::new(self.kind.name(), self.phases, &course, verdict))
    }
}
