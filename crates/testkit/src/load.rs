//! Asks at a fixed rate, whatever becomes of the answers.
//!
//! An open loop: requests begin when they are due, not when earlier ones have
//! ended, so that a stall is seen by all who would have asked meanwhile. Every
//! request has a connection of its own and nothing is tried again: what a
//! client would have noticed is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::instance::Instance;
use crate::traffic::Traffic;
use crate::wait::OrFail;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `GET /v1/models`.
    Get,
    /// A chat completion.
    Post,
    /// A chat completion with an `Idempotency-Key`.
    Keyed,
    /// The same, and its answer takes half a second: some are always in flight.
    SlowKeyed,
    /// A chat completion of a model that the policy refuses.
    Refused,
    /// A streamed chat completion that takes a second.
    Stream,
}

impl Kind {
    /// What is asked in turn where nothing else is said.
    pub const ALL: [Kind; 5] = [
        Kind::Get,
        Kind::Post,
        Kind::Keyed,
        Kind::Refused,
        Kind::Stream,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Get => "GET",
            Kind::Post => "POST",
            Kind::Keyed => "keyed POST",
            Kind::SlowKeyed => "slow keyed POST",
            Kind::Refused => "refused POST",
            Kind::Stream => "stream",
        }
    }
}

/// What a client noticed instead of the answer that was due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nobody took the connection.
    NotConnected,
    /// The connection ended, or stayed silent, before there was an answer.
    NoAnswer,
    /// An answer of another status.
    Status(u16),
    /// Refused, for its key was answered: by an answer that never arrived, as nobody here
    /// asks twice.
    AnsweredBefore,
    /// A stream, or an answer, that ended in an error the client can see.
    Cut,
    /// A stream that ended early as if it were complete: this must never be.
    SilentlyCut,
    /// What the policy refuses was let through: this must never be.
    NotEnforced,
}

/// One request and what came of it.
#[derive(Debug, Clone)]
pub struct Asked {
    pub kind: Kind,
    /// When it was due, since the load began.
    pub due: Duration,
    pub began: Timestamp,
    pub ended: Timestamp,
    /// The decision id, once there was a head of an answer of Jupiter's.
    pub id: Option<String>,
    pub fault: Option<Fault>,
}

/// All that was asked.
#[derive(Debug, Default)]
pub struct Tally {
    pub asked: Vec<Asked>,
}

impl Tally {
    pub fn count(&self, kind: Kind) -> usize {
        self.asked.iter().filter(|asked| asked.kind == kind).count()
    }

    pub fn faults(&self) -> impl Iterator<Item = (&Asked, &Fault)> {
        let faulty = |asked: &'_ Asked| asked.fault.is_some();
        self.asked
            .iter()
            .filter(move |asked| faulty(asked))
            .filter_map(|asked| Some((asked, asked.fault.as_ref()?)))
    }

    pub fn faults_of(&self, kind: Kind) -> usize {
        self.faults()
            .filter(|(asked, _)| asked.kind == kind)
            .count()
    }

    /// From the first request that failed to the last.
    pub fn gap(&self) -> Duration {
        let due = || self.faults().map(|(asked, _)| asked.due);
        match (due().min(), due().max()) {
            (Some(first), Some(last)) => last - first,
            _ => Duration::ZERO,
        }
    }

    /// What was answered in full and is none of these records.
    pub fn unrecorded(&self, recorded: &BTreeSet<&str>) -> Vec<&Asked> {
        let lacks = |asked: &&Asked| {
            let id = asked.id.as_deref();
            asked.fault.is_none() && id.is_some_and(|id| !recorded.contains(id))
        };
        self.asked.iter().filter(lacks).collect()
    }
}

/// How many of these were lost as `docs/concepts/evidence.md` says that they may be: under
/// way, or just over, when an Envoy ended that `evidence gaps` lists, and in no access log.
pub async fn listed_as_lost(unrecorded: &[&Asked], instances: &[&Instance]) -> usize {
    if unrecorded.is_empty() {
        return 0;
    }
    let (mut ends, mut logs) = (Vec::new(), String::new());
    for instance in instances {
        ends.extend(listed_ends(instance).await);
        logs.extend(instance.access_log().iter().map(|line| line.to_string()));
    }
    let is_listed = |asked: &&&Asked| {
        let id = asked.id.as_deref().unwrap_or_default();
        let at_an_end =
            |[since, until]: &[Timestamp; 2]| *since <= asked.ended && asked.began <= *until;
        !logs.contains(id) && ends.iter().any(at_an_end)
    };
    unrecorded.iter().filter(is_listed).count()
}

/// From when to when exchanges may be lost, as an instance lists it.
async fn listed_ends(instance: &Instance) -> Vec<[Timestamp; 2]> {
    let gaps = instance.admin().get("/v1/evidence/gaps?limit=1000").await;
    let gaps = gaps.expect(200).json();
    let ends = gaps.get("envoy_ends").and_then(Value::as_array);
    let ends = ends.or_fail("no `envoy_ends` among the gaps");
    let time = |end: &Value, key| {
        let time = end.get(key).and_then(Value::as_str);
        let time = time.and_then(|time| time.parse().ok());
        time.or_fail("no time of an Envoy's end")
    };
    ends.iter()
        .map(|end| ["since", "until"].map(|key| time(end, key)))
        .collect()
}

/// How many of each kind, and what became of those that failed.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked: BTreeSet<Kind> = self.asked.iter().map(|asked| asked.kind).collect();
        for kind in asked {
            let mut faults: BTreeMap<String, usize> = BTreeMap::new();
            for (_, fault) in self.faults().filter(|(asked, _)| asked.kind == kind) {
                *faults.entry(format!("{fault:?}")).or_default() += 1;
            }
            writeln!(
                f,
                "{}: {} asked, {faults:?}",
                kind.as_str(),
                self.count(kind)
            )?;
        }
        write!(f, "gap {:?}", self.gap())
    }
}

/// Requests that begin at a fixed rate until they are stopped.
#[derive(Debug)]
pub struct OpenLoad {
    running: Arc<AtomicBool>,
    task: JoinHandle<Tally>,
}

impl OpenLoad {
    /// `per_second` requests, of the kinds in turn.
    pub fn start(traffic: &Traffic, per_second: u32, kinds: &[Kind]) -> OpenLoad {
        let running = Arc::new(AtomicBool::new(true));
        let task = ask_on(
            // Its own client, without connections kept.
            Traffic::new(one_time_client(), traffic.port()),
            Duration::from_secs(1) / per_second,
            kinds.to_vec(),
            Arc::clone(&running),
        );
        OpenLoad {
            running,
            task: tokio::spawn(task),
        }
    }

    /// Asks no more, and waits for what was asked.
    pub async fn stop(self) -> Tally {
        self.running.store(false, Ordering::Relaxed);
        self.task.await.or_fail("the load failed")
    }
}

async fn ask_on(
    traffic: Traffic,
    period: Duration,
    kinds: Vec<Kind>,
    running: Arc<AtomicBool>,
) -> Tally {
    let began = Instant::now();
    let mut asking = JoinSet::new();
    for (number, kind) in (0_u32..).zip(kinds.into_iter().cycle()) {
        if !running.load(Ordering::Relaxed) {
            break;
        }
        let due = period * number;
        sleep_until(began + due).await;
        let traffic = traffic.clone();
        asking.spawn(async move { ask(&traffic, kind, due).await });
    }
    let asked = asking.join_all().await;
    Tally { asked }
}

async fn ask(traffic: &Traffic, kind: Kind, due: Duration) -> Asked {
    let began = Timestamp::now();
    let mut id = None;
    let fault = attempt(traffic, kind, &mut id).await.err();
    Asked {
        kind,
        due,
        began,
        ended: Timestamp::now(),
        id,
        fault,
    }
}

async fn attempt(traffic: &Traffic, kind: Kind, id: &mut Option<String>) -> Result<(), Fault> {
    let response = request(traffic, kind).send().await;
    let response = response.map_err(|error| match error.is_connect() {
        true => Fault::NotConnected,
        false => Fault::NoAnswer,
    })?;
    let told = response.headers().get("x-mercator-decision-id");
    *id = told.and_then(|id| id.to_str().ok()).map(str::to_owned);
    let status = response.status().as_u16();
    let body = response.bytes().await.map_err(|_| Fault::Cut)?;
    match (kind, status) {
        (Kind::Refused, 403) => Ok(()),
        (Kind::Refused, 200) => Err(Fault::NotEnforced),
        (Kind::Stream, 200) => stream_end(&String::from_utf8_lossy(&body)),
        (Kind::Get | Kind::Post | Kind::Keyed | Kind::SlowKeyed, 200) => Ok(()),
        (_, 409) if String::from_utf8_lossy(&body).contains("idempotency_finished") => {
            Err(Fault::AnsweredBefore)
        }
        (_, status) => Err(Fault::Status(status)),
    }
}

fn stream_end(body: &str) -> Result<(), Fault> {
    match (body.contains("data: [DONE]"), body.contains("\"error\"")) {
        (true, _) => Ok(()),
        (false, true) => Err(Fault::Cut),
        (false, false) => Err(Fault::SilentlyCut),
    }
}

fn request(traffic: &Traffic, kind: Kind) -> reqwest::RequestBuilder {
    let question = |model: &str, stream: bool| {
        let messages = json!([{"role": "user", "content": "What is the capital of France?"}]);
        json!({"model": model, "stream": stream, "messages": messages})
    };
    let asked = match kind {
        Kind::Get => traffic
            .request(Method::GET, "/v1/models")
            .bearer_auth("sk-test"),
        Kind::Post => traffic.chat(&question("gpt-4o", false)),
        Kind::Keyed | Kind::SlowKeyed => traffic
            .chat(&question("gpt-4o", false))
            .header("idempotency-key", new_key()),
        Kind::Refused => traffic.chat(&question("gpt-4-turbo", false)),
        Kind::Stream => traffic
            .chat(&question("gpt-4o", true))
            .header("x-fake-chunks", "20")
            .header("x-fake-chunk-interval-ms", "50"),
    };
    match kind {
        Kind::Post | Kind::Keyed => asked.header("x-fake-latency-ms", "50"),
        Kind::SlowKeyed => asked.header("x-fake-latency-ms", "500"),
        Kind::Get | Kind::Refused | Kind::Stream => asked,
    }
}

/// No request shares its key with another, of whichever load.
fn new_key() -> String {
    static KEYS: AtomicU32 = AtomicU32::new(0);
    format!("load-{}", KEYS.fetch_add(1, Ordering::Relaxed))
}

fn one_time_client() -> reqwest::Client {
    reqwest::Client::builder()
        .http1_only()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .timeout(Duration::from_secs(30))
        .build()
        .or_fail("cannot make an HTTP client")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_without_its_end_is_never_taken_for_whole() {
        let word = "data: {\"choices\":[]}\n\n";
        let ends = [
            (format!("{word}data: [DONE]\n\n"), Ok(())),
            (word.to_owned(), Err(Fault::SilentlyCut)),
            (String::new(), Err(Fault::SilentlyCut)),
            (
                format!("{word}data: {{\"error\":{{}}}}\n\n"),
                Err(Fault::Cut),
            ),
        ];
        for (body, expected) in ends {
            assert_eq!(stream_end(&body), expected, "{body}");
        }
    }
}
