//! `mercator benchmark`: how a gateway does under load, as its clients see it.
//!
//! `plan` says what is sent when, `load` sends it over the connections of
//! `line`, `answer` reads what comes back, `tally` counts it, `results` is what
//! is kept; `show`, `plot` and `compare` are for people.

mod answer;
mod compare;
pub mod line;
pub mod load;
pub mod plan;
mod plot;
pub mod results;
pub mod show;
pub mod tally;
#[cfg(test)]
mod tests;

use crate::exit::{Answer, Failure, with_causes};
use crate::output::{self, Format};
use jupiter_control_plane::config;
use line::Dialer;
use load::Ran;
use plan::{ApiArg, Ask, Header, Pace, Plan, Share, Target};
use results::{Limits, Results};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "With --rate each request has its time, and latency counts from then: a server that stalls \
                  shows it. Without, each of the connections sends as soon as it has its answer.\n\
                  Exit codes: 0 all objectives held; 1 one did not, such as --max-error-rate; 2 could not tell."
)]
pub struct BenchmarkArgs {
    #[command(subcommand)]
    command: Option<BenchmarkCommand>,

    /// Where requests go; without a path, to that of the API
    #[arg(long, value_name = "URL", required = true)]
    target: Option<Target>,
    /// How long requests are sent
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = config::duration)]
    duration: Duration,
    /// Requests a second [default: as many as the connections allow]
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// Connections, and so the most requests under way at once
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    concurrency: u16,
    /// A request without its whole answer this long after it was sent has failed; one that
    /// waited this long for a connection is not sent
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = config::duration)]
    timeout: Duration,

    #[command(flatten)]
    requests: RequestArgs,
    #[command(flatten)]
    objectives: ObjectiveArgs,
    #[command(flatten)]
    results: ResultArgs,
}

#[derive(Debug, clap::Subcommand)]
enum BenchmarkCommand {
    /// Compare two results: is the second as good as the first?
    Compare(compare::CompareArgs),
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Requests")]
pub struct RequestArgs {
    /// API to speak
    #[arg(long, value_enum, default_value_t = ApiArg::Openai, hide_possible_values = true, value_name = "openai|anthropic")]
    api: ApiArg,
    /// Ask for streams; measures the first token and the gaps between tokens
    #[arg(long)]
    stream: bool,
    /// Model to ask for [default: gpt-4o-mini, or claude-sonnet-4-5 for anthropic]
    #[arg(long)]
    model: Option<String>,
    /// Size of each prompt
    #[arg(long, value_name = "N", default_value_t = 256)]
    prompt_bytes: usize,
    /// Longest answer to ask for
    #[arg(long, value_name = "N", default_value_t = 64)]
    max_tokens: u32,
    /// Share of requests that a policy should deny, such as 0.1 or 10%; these count as
    /// errors when they are answered, and the others when they are denied
    #[arg(long, value_name = "SHARE", default_value_t = Share(0.0))]
    pub policy_mix: Share,
    /// What the prompts of these begin with [default: what the quickstart policy denies]
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "CONFIDENTIAL",
        hide_default_value = true
    )]
    denied_prompt: String,
    /// Environment variable that holds the API key; a gateway that puts in its own needs none
    #[arg(long, value_name = "NAME")]
    api_key_env: Option<String>,
    /// Header to send with each request, such as `X-Team: payments`; may be repeated
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<Header>,
    /// Send each request with an Idempotency-Key of its own
    #[arg(long)]
    pub idempotency_keys: bool,
    /// Certificates in PEM to trust besides those of this machine
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Objectives")]
struct ObjectiveArgs {
    /// Share of requests that may fail
    #[arg(long, value_name = "SHARE", default_value_t = Share(0.01))]
    max_error_rate: Share,
    /// Latency that 99 % of answers must keep
    #[arg(long, value_name = "TIME", value_parser = config::duration)]
    max_p99: Option<Duration>,
    /// Time to the first token that 99 % of streams must keep
    #[arg(long, value_name = "TIME", value_parser = config::duration, requires = "stream")]
    max_first_token_p99: Option<Duration>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Results")]
struct ResultArgs {
    /// Keep the results here, as JSON, to compare them later
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Draw them here: one file by itself, .svg or .html
    #[arg(long, value_name = "FILE", value_parser = plot::file)]
    plot: Option<plot::PlotFile>,
}

pub fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok();
    rate.filter(|rate| (0.001..=1_000_000.0).contains(rate))
        .ok_or_else(|| "write requests per second, from 0.001 to 1000000".to_owned())
}

pub fn run(args: BenchmarkArgs, format: Format) -> Result<Answer, Failure> {
    if let Some(BenchmarkCommand::Compare(args)) = &args.command {
        return compare::run(args, format);
    }
    let target = args.target.clone();
    let target = target.ok_or_else(|| Failure::new("there is no --target"))?;
    for file in args.results.files() {
        check_folder(file)?;
    }
    let ca = args.requests.ca_file.clone();
    let dialer = Dialer::new(&target, ca.as_deref())?;
    let plan = args.requests.plan(target, args.pace())?;

    let started = SystemTime::now();
    let ran = measure(plan.clone(), dialer, format)?;
    let limits = Limits {
        error_rate: args.objectives.max_error_rate.0,
        p99: args.objectives.max_p99,
        first_token_p99: args.objectives.max_first_token_p99,
    };
    let results = Results::new(&plan, started, &ran, limits);
    match format {
        Format::Json => output::print_json(&json(&results)),
        Format::Text => output::print(&show::summary(&results)),
    }
    args.results.keep(&results)?;
    Ok(match results.held() {
        true => Answer::Yes,
        false => Answer::No,
    })
}

impl BenchmarkArgs {
    fn pace(&self) -> Pace {
        Pace {
            rate: self.rate,
            duration: self.duration,
            concurrency: usize::from(self.concurrency),
            timeout: self.timeout,
            policy_mix: self.requests.policy_mix,
            idempotency_keys: self.requests.idempotency_keys,
            keep_decision_ids: false,
        }
    }
}

impl RequestArgs {
    /// The same requests, whatever sends them.
    pub fn plan(&self, target: Target, pace: Pace) -> Result<Plan, Failure> {
        let api_key = match &self.api_key_env {
            Some(name) => Some(std::env::var(name).map_err(|_| {
                Failure::new(format!(
                    "there is no API key in the environment variable `{name}`"
                ))
            })?),
            None => None,
        };
        let model = self.model.clone();
        let ask = Ask {
            api: self.api,
            model: model.unwrap_or_else(|| self.api.default_model().to_owned()),
            stream: self.stream,
            prompt_bytes: self.prompt_bytes,
            max_tokens: self.max_tokens,
            refused_prompt: self.denied_prompt.clone(),
            api_key,
            headers: self.header.clone(),
        };
        Plan::new(target, &ask, pace)
    }
}

/// One thread: to move work between threads costs more than it gains here, and
/// leaves the other cores to the target where that is on this machine.
pub fn current_thread() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(format!("the runtime could not start: {e}")))
}

fn measure(plan: Plan, dialer: Dialer, format: Format) -> Result<Ran, Failure> {
    current_thread()?.block_on(async {
        let url = plan.target.url(plan.api);
        let stop = CancellationToken::new();
        let stop_on_signal = {
            let stop = stop.clone();
            tokio::spawn(async move {
                if tokio::signal::ctrl_c().await.is_ok() {
                    stop.cancel();
                }
            })
        };
        let mut shown = show::Live::start(&plan, format);
        let ran = load::run(plan, dialer, stop, |progress| shown.tell(progress)).await;
        shown.end();
        stop_on_signal.abort();
        ran.map_err(|e| {
            Failure::new(format!("nobody answers at {url}: {}", with_causes(&e)))
                .help("is it running, and is this its address for traffic?")
        })
    })
}

impl ResultArgs {
    fn files(&self) -> impl Iterator<Item = &Path> {
        let plot = self.plot.as_ref().map(plot::PlotFile::path);
        self.output.as_deref().into_iter().chain(plot)
    }

    fn keep(&self, results: &Results) -> Result<(), Failure> {
        if let Some(path) = &self.output {
            write(path, &format!("{:#}\n", json(results)))?;
        }
        if let Some(file) = &self.plot {
            write(file.path(), &plot::draw(results, file))?;
        }
        Ok(())
    }
}

/// A long run must not end in a file that cannot be.
fn check_folder(file: &Path) -> Result<(), Failure> {
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    match folder.is_dir() {
        true => Ok(()),
        false => Err(Failure::new(format!(
            "`{}` cannot be written: there is no folder `{}`",
            file.display(),
            folder.display()
        ))),
    }
}

pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text)
        .map_err(|cause| Failure::new(format!("`{}` cannot be written: {cause}", path.display())))
}

fn json(results: &Results) -> serde_json::Value {
    // Its keys are text and its numbers finite, so it always has a JSON form.
    serde_json::to_value(results).unwrap_or_default()
}
