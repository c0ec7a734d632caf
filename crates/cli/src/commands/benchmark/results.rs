//! The results of a run: what is kept in a file, shown, plotted and compared.

use super::answer::Class;
use super::load::Ran;
use super::plan::Plan;
use super::tally::{Interval, Late, Percentiles};
use crate::exit::Failure;
use jupiter_evidence::rfc3339_micros;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const FORMAT: &str = "mercator-benchmark/1";

/// Everything a run has shown. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    pub format: String,
    /// Of the command that measured.
    pub version: String,
    pub started_at: String,
    pub setup: Setup,
    pub elapsed_seconds: f64,
    /// Requests under way when somebody stopped the run before its end.
    pub interrupted_with: Option<u64>,
    pub requests: Requests,
    /// Errors divided by all requests that ended or were not sent.
    pub error_rate: f64,
    /// Answers and refusals as they should be, per second.
    pub per_second: f64,
    pub errors: BTreeMap<Class, u64>,
    /// What refusals and errors were called.
    pub codes: BTreeMap<String, u64>,
    /// From the time a request was due to the end of its answer.
    pub latency_ms: Option<Percentiles>,
    pub denied_ms: Option<Percentiles>,
    pub failed_ms: Option<Percentiles>,
    /// From the time a request was due to the first token of its stream.
    pub first_token_ms: Option<Percentiles>,
    /// Between tokens of one stream, as they were read.
    pub token_gap_ms: Option<Percentiles>,
    /// From the time a request was due to its sending.
    pub send_delay_ms: Option<Percentiles>,
    /// Requests sent more than 10 ms after they were due.
    pub late: Late,
    /// Percentile and latency.
    pub curve: Vec<(f64, f64)>,
    pub intervals: Vec<Interval>,
    pub objectives: Vec<Objective>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    pub target: String,
    pub api: String,
    pub model: String,
    pub stream: bool,
    pub prompt_bytes: usize,
    pub policy_mix: f64,
    /// Per second; without one, as many as the connections allow.
    pub rate: Option<f64>,
    pub duration_seconds: f64,
    pub concurrency: usize,
    pub timeout_seconds: f64,
    pub idempotency_keys: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Rate times duration.
    pub planned: Option<u64>,
    pub sent: u64,
    pub answered: u64,
    pub denied: u64,
    pub failed: u64,
}

/// A limit, and whether it was kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    pub name: String,
    pub limit: f64,
    /// `None`: nothing was measured, which keeps no limit.
    pub found: Option<f64>,
    pub held: bool,
}

/// What a run is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub error_rate: f64,
    pub p99: Option<Duration>,
    pub first_token_p99: Option<Duration>,
}

impl Results {
    pub fn new(plan: &Plan, started: SystemTime, ran: &Ran, limits: Limits) -> Results {
        let tally = &ran.tally;
        let errors: BTreeMap<Class, u64> = Class::ERRORS
            .into_iter()
            .map(|class| (class, tally.count(class)))
            .collect();
        let failed = tally.errors();
        let (answered, denied) = (tally.count(Class::Answered), tally.count(Class::Denied));
        let ended = answered + denied + failed;
        let elapsed = ran.elapsed.as_secs_f64();
        let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut results = Results {
            format: FORMAT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: rfc3339_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX)),
            setup: Setup {
                target: plan.target.url(plan.api),
                api: plan.api.name().to_owned(),
                model: plan.model.clone(),
                stream: plan.stream,
                prompt_bytes: plan.prompt_bytes,
                policy_mix: plan.policy_mix.0,
                rate: plan.rate,
                duration_seconds: plan.duration.as_secs_f64(),
                concurrency: plan.concurrency,
                timeout_seconds: plan.timeout.as_secs_f64(),
                idempotency_keys: plan.idempotency_keys,
            },
            elapsed_seconds: round(elapsed, 3),
            interrupted_with: ran.interrupted.map(|n| n as u64),
            requests: Requests {
                planned: plan.total(),
                sent: tally.sent,
                answered,
                denied,
                failed,
            },
            error_rate: match ended {
                0 => 0.0,
                ended => failed as f64 / ended as f64,
            },
            per_second: round((answered + denied) as f64 / elapsed.max(1e-9), 1),
            errors,
            codes: tally.codes.clone(),
            latency_ms: tally.answered.summary(),
            denied_ms: tally.denied.summary(),
            failed_ms: tally.failed.summary(),
            first_token_ms: tally.first_token.summary(),
            token_gap_ms: tally.gaps.summary(),
            send_delay_ms: tally.send_delay.summary(),
            late: tally.late,
            curve: tally.answered.curve(),
            intervals: tally.intervals.clone(),
            objectives: vec![],
        };
        results.objectives = results.judge(limits);
        results
    }

    fn judge(&self, limits: Limits) -> Vec<Objective> {
        let objective = |name: &str, limit: f64, found: Option<f64>| Objective {
            name: name.to_owned(),
            limit,
            found,
            held: found.is_some_and(|found| found <= limit),
        };
        let ended = self.requests.answered + self.requests.denied + self.requests.failed;
        let rate = (ended > 0).then_some(self.error_rate);
        let mut objectives = vec![objective("error_rate", limits.error_rate, rate)];
        if self.setup.policy_mix > 0.0 {
            // However many errors are allowed, a policy that is not enforced is none of them.
            let through = self.errors.get(&Class::LetThrough).copied().unwrap_or(0);
            objectives.push(objective("let_through", 0.0, Some(through as f64)));
        }
        let millis = |limit: Duration| limit.as_secs_f64() * 1e3;
        if let Some(limit) = limits.p99 {
            let found = self.latency_ms.map(|times| times.p99);
            objectives.push(objective("latency_p99_ms", millis(limit), found));
        }
        if let Some(limit) = limits.first_token_p99 {
            let found = self.first_token_ms.map(|times| times.p99);
            objectives.push(objective("first_token_p99_ms", millis(limit), found));
        }
        objectives
    }

    pub fn held(&self) -> bool {
        self.objectives.iter().all(|objective| objective.held)
    }

    pub fn read(path: &Path) -> Result<Results, Failure> {
        let wrong = |why: String| {
            Failure::new(format!("no results in `{}`: {why}", path.display()))
                .help("`mercator benchmark --output FILE` writes them")
        };
        let text = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
        let results: Results = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        match results.format == FORMAT {
            true => Ok(results),
            false => Err(wrong("they are of another format".to_owned())),
        }
    }
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}
