//! `mercator drill local`: an installation on this machine, broken under load.
//!
//! `installation` starts it, `faults` breaks and mends it, the drills themselves are
//! those of `mercator drill run`. At the end `account` takes the evidence along and
//! verifies it, `overview` says what all of it came to. Nothing that was started
//! outlives this command, however it ends.

mod account;
mod faults;
mod installation;
mod overview;

use super::super::benchmark;
use super::super::benchmark::line::Dialer;
use super::super::benchmark::plan::{ApiArg, Ask, Pace, Plan, Share};
use super::course::Phases;
use super::report::Report;
use super::{Drill, Kind, ObjectiveArgs, ReportArgs};
use crate::exit::{Answer, Failure};
use crate::output::{self, Format};
use crate::quickstart::stop_signal;
use account::Account;
use clap::ValueEnum;
use faults::LocalFault;
use installation::{Installation, Steps};
use jupiter_control_plane::config;
use jupiter_evidence::rfc3339_micros;
use overview::{Outcome, Overview};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

/// Connections of the load.
const CONCURRENCY: usize = 100;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "HAProxy, three instances with their Envoys, a Postgres primary with two standbys and a \
                  fake provider run on loopback, on free ports; HAProxy, Postgres and Envoy must be \
                  installed. Partition needs root and nft.\n\
                  Exit codes: 0 all objectives held; 1 one did not; 2 a drill could not be made."
)]
pub struct LocalArgs {
    /// Drill to make; may be repeated [default: all, one after the other]
    #[arg(long = "drill", value_name = "NAME", value_enum)]
    drills: Vec<Kind>,
    /// Make none: with --keep, an installation to try things out
    #[arg(long, requires = "keep", conflicts_with = "drills")]
    without_drills: bool,
    /// Leave the installation running afterwards, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Folder for its data and logs, which stay there; empty, or not there yet [default: a
    /// temporary one, removed when all objectives held]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Requests a second
    #[arg(long, value_name = "N", default_value = "50", value_parser = benchmark::rate)]
    rate: f64,
    /// Ask for streams
    #[arg(long)]
    stream: bool,
    /// Share of requests that the policy denies
    #[arg(long, value_name = "SHARE", default_value = "10%")]
    policy_mix: Share,
    /// Send requests without an Idempotency-Key: those that an instance had in hand when it
    /// died then fail, as nobody may send them again
    #[arg(long)]
    without_keys: bool,
    /// A request without its whole answer this long after it was sent has failed
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = config::duration)]
    timeout: Duration,
    /// Load before each fault; nothing may fail in it
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = config::duration)]
    steady: Duration,
    /// From each fault until it is mended
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = config::duration)]
    fault: Duration,
    /// Load after that
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = config::duration)]
    recovery: Duration,

    #[command(flatten)]
    objectives: ObjectiveArgs,
    #[command(flatten)]
    report: ReportArgs,
}

pub async fn run(args: LocalArgs, format: Format) -> Result<Answer, Failure> {
    let stop = stop_signal()?;
    args.report.make_folder()?;
    let mut installation = tokio::select! {
        started = Installation::start(args.dir.as_deref()) => started?,
        () = stop.cancelled() => {
            return Err(Failure::new("stopped; what was started is ended"));
        }
    };
    let came = drills(&args, &mut installation, &stop, format).await;
    if let Ok(overview) = &came {
        overview.show(format);
    }
    if args.keep && !stop.is_cancelled() {
        if let Err(failure) = &came {
            output::say(&failure.to_string());
        }
        match format {
            Format::Text => output::print(&overview::invitation(&installation)),
            Format::Json => output::say(&overview::invitation(&installation)),
        }
        stop.cancelled().await;
    }
    let held = came
        .as_ref()
        .is_ok_and(|overview| overview.held() == Some(true));
    output::say("ending all of it …");
    installation.end(held || stop.is_cancelled());
    Ok(came?.answer())
}

async fn drills(
    args: &LocalArgs,
    installation: &mut Installation,
    stop: &CancellationToken,
    format: Format,
) -> Result<Overview, Failure> {
    let started = SystemTime::now().duration_since(UNIX_EPOCH);
    let micros = u64::try_from(started.unwrap_or_default().as_micros()).unwrap_or(0);
    let mut overview = Overview::new(rfc3339_micros(micros));
    let kinds = match (args.without_drills, args.drills.as_slice()) {
        (true, _) => &[],
        (false, []) => Kind::value_variants(),
        (false, chosen) => chosen,
    };
    if kinds.is_empty() {
        return Ok(overview);
    }
    let account = tokio::select! {
        account = before(args, installation, overview.started_at()) => account?,
        () = stop.cancelled() => return Err(Failure::new("stopped before the first drill")),
    };
    for (number, kind) in kinds.iter().enumerate() {
        output::say(&format!(
            "\ndrill {} of {}: {}",
            number + 1,
            kinds.len(),
            kind.name()
        ));
        if let Some(why) = faults::obstacle(*kind) {
            output::say(&format!("cannot be made here: {why}"));
            overview.add(*kind, Outcome::not_made(&why));
            continue;
        }
        tokio::select! {
            well = well(args, installation) => well?,
            () = stop.cancelled() => return Err(Failure::new("stopped before the next drill")),
        }
        let report = one(args, installation, *kind, stop, format).await?;
        let files = report.keep(&args.report.reports)?;
        if format == Format::Text {
            output::print(&report.summary(&files));
        }
        overview.add(*kind, Outcome::Made(Box::new(report), files));
    }
    overview.account = tokio::select! {
        account = account.close(installation, overview.found_records()) => Some(account?),
        () = stop.cancelled() => return Err(Failure::new("stopped before the evidence was verified")),
    };
    overview.keep(&args.report.reports)?;
    Ok(overview)
}

/// All is well, and what the evidence is then.
async fn before(
    args: &LocalArgs,
    installation: &Installation,
    started_at: &str,
) -> Result<Account, Failure> {
    well(args, installation).await?;
    Account::open(installation, &args.report.reports, started_at).await
}

async fn well(args: &LocalArgs, installation: &Installation) -> Result<(), Failure> {
    let within = args.objectives.max_recovery;
    Steps::begin()
        .step("every part is well", installation.wait_until_well(within))
        .await
}

async fn one(
    args: &LocalArgs,
    installation: &mut Installation,
    kind: Kind,
    stop: &CancellationToken,
    format: Format,
) -> Result<Report, Failure> {
    let phases = Phases {
        steady: args.steady,
        fault: args.fault,
        recovery: args.recovery,
    };
    let plan = plan(args, &installation.traffic_url(), phases)?;
    let client = match args.objectives.without_evidence {
        true => None,
        false => Some(installation.client(0)?),
    };
    let mut drill = Drill {
        kind,
        plan: &plan,
        dialer: Dialer::new(&plan.target, None)?,
        phases,
        fault: &mut LocalFault::new(kind, installation),
        client: client.as_ref(),
        objectives: &args.objectives,
        stop,
        format,
    };
    let mut report = drill.conduct().await?;
    report.local = true;
    report.note.clone_from(&args.report.note);
    Ok(report)
}

fn plan(args: &LocalArgs, url: &str, phases: Phases) -> Result<Plan, Failure> {
    let api = ApiArg::Openai;
    let ask = Ask {
        api,
        model: api.default_model().to_owned(),
        stream: args.stream,
        prompt_bytes: 256,
        max_tokens: 64,
        refused_prompt: "CONFIDENTIAL".to_owned(),
        api_key: None,
        headers: Vec::new(),
    };
    let pace = Pace {
        rate: Some(args.rate),
        duration: phases.total(),
        concurrency: CONCURRENCY,
        timeout: args.timeout,
        policy_mix: args.policy_mix,
        idempotency_keys: !args.without_keys,
        keep_decision_ids: !args.objectives.without_evidence,
    };
    let target = url.parse().map_err(|e: String| Failure::new(e))?;
    Plan::new(target, &ask, pace)
}
