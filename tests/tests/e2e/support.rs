//! Words that the tests share.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jupiter_evidence::{EvidenceRecord, LeafHash};
use jupiter_testkit::{Answer, Instance, Traffic, wait};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Refuses `gpt-4-turbo…` and `claude-opus…` with `model_not_approved`.
pub(crate) const GUARD: &str = include_str!("policies/guard.yaml");

/// A model that [`GUARD`] refuses.
pub(crate) const REFUSED_MODEL: &str = "gpt-4-turbo";

/// An instance guarded by [`GUARD`].
pub(crate) async fn guarded() -> Instance {
    Instance::builder().policy("guard", GUARD).start().await
}

/// A chat completion request, six words long.
pub(crate) fn question(model: &str) -> Value {
    json!({"model": model, "messages": [
        {"role": "user", "content": "What is the capital of France?"},
    ]})
}

/// The same as a stream that tells its usage.
pub(crate) fn streamed(model: &str) -> Value {
    let mut body = question(model);
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    body
}

/// An Anthropic request, six words long.
pub(crate) fn message(model: &str) -> Value {
    let mut body = question(model);
    body["max_tokens"] = json!(100);
    body
}

/// Send an Anthropic request as its own clients do.
pub(crate) async fn ask_anthropic(instance: &Instance, body: &Value) -> Answer {
    let traffic = instance.traffic();
    let request = traffic
        .request(reqwest::Method::POST, "/v1/messages")
        .header("x-api-key", "sk-ant-test")
        .header("anthropic-version", "2023-06-01")
        .header("content-type", "application/json")
        .body(body.to_string());
    traffic.complete(request).await
}

/// Send a chat completion request.
pub(crate) async fn ask(instance: &Instance, body: &Value) -> Answer {
    let traffic = instance.traffic();
    traffic.complete(traffic.chat(body)).await
}

/// The record of the exchange that `answer` belongs to.
pub(crate) async fn record_of(instance: &Instance, answer: &Answer) -> Value {
    instance
        .admin()
        .wait_for_record(&answer.decision_id())
        .await
}

/// How many requests to models reached the provider.
pub(crate) fn reached_provider(instance: &Instance) -> usize {
    instance.provider().received().len()
}

/// What three of the same request are answered that are in flight together.
pub(crate) async fn three_in_flight(
    instance: &Instance,
    request: impl Fn() -> RequestBuilder,
) -> [Answer; 3] {
    let ask = || async {
        let slow = request().header("x-fake-latency-ms", 1_000);
        instance.traffic().complete(slow).await
    };
    tokio::join!(ask(), ask(), ask()).into()
}

/// Wait until so many requests to models have reached the provider.
pub(crate) async fn wait_for_provider(instance: &Instance, requests: usize) {
    wait::until(
        "the request to reach the provider",
        async || match reached_provider(instance) {
            seen if seen == requests => Ok(()),
            other => Err(other),
        },
    )
    .await;
}

/// Whoever owns the database writes what they like.
pub(crate) fn alter(instance: &Instance, statements: &str) {
    let script = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); \
                  db.executescript(sys.argv[2]); db.commit()";
    let altered = Command::new("python3")
        .args(["-c", script])
        .arg(instance.data_dir().join("mercator.db"))
        .arg(statements)
        .output()
        .expect("python3 runs");
    let said = String::from_utf8_lossy(&altered.stderr);
    assert!(altered.status.success(), "{said}");
}

/// Assert what a record says, key by key; the record is shown on failure.
#[track_caller]
pub(crate) fn assert_record(record: &Value, expected: &Value) {
    for (key, value) in expected.as_object().expect("an object of expectations") {
        let found = record.get(key).unwrap_or(&Value::Null);
        assert_eq!(found, value, "`{key}` in {record:#}");
    }
}

/// Assert that an answer is the refusal of [`GUARD`], in OpenAI's words.
#[track_caller]
pub(crate) fn assert_refused(answer: &Answer) {
    assert_eq!(answer.status, 403, "{}", answer.text());
    let error = &answer.json()["error"];
    assert_eq!(error["type"], "policy_violation");
    assert_eq!(error["code"], "model_not_approved");
    assert_eq!(error["param"], Value::Null);
    assert_eq!(error["decision_id"], json!(answer.decision_id()));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}

/// Clients that ask on and on, an allowed and a refused request in turn.
pub(crate) struct Load {
    running: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Asked>>,
}

/// What came of the requests of a [`Load`].
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Decision ids of the exchanges that were answered as they had to be.
    pub(crate) answered: Vec<String>,
    /// Requests without a whole answer, each with its error.
    pub(crate) failed: Vec<reqwest::Error>,
}

impl Load {
    pub(crate) fn start(instance: &Instance, clients: usize) -> Load {
        let running = Arc::new(AtomicBool::new(true));
        let clients = (0..clients)
            .map(|_| tokio::spawn(ask_on(instance.traffic(), Arc::clone(&running))))
            .collect();
        Load { running, clients }
    }

    /// Stop asking; what was asked is answered first. Panics on a wrong answer.
    pub(crate) async fn stop(self) -> Asked {
        self.running.store(false, Ordering::Relaxed);
        let mut all = Asked::default();
        for client in self.clients {
            let asked = client.await.expect("every answer was a due one");
            all.answered.extend(asked.answered);
            all.failed.extend(asked.failed);
        }
        all
    }
}

async fn ask_on(traffic: Traffic, running: Arc<AtomicBool>) -> Asked {
    let mut asked = Asked::default();
    let kinds = [("gpt-4o", 200), (REFUSED_MODEL, 403)];
    for (model, due) in kinds.into_iter().cycle() {
        if !running.load(Ordering::Relaxed) {
            break;
        }
        match traffic.try_complete(traffic.chat(&question(model))).await {
            Ok(answer) => {
                assert_eq!(answer.status, due, "{}", answer.text());
                asked.answered.push(answer.decision_id());
            }
            Err(error) => {
                asked.failed.push(error);
                // Nobody listens: asking faster would not help.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    asked
}

/// Wait until the emitters' sequences hold so many records and lack none.
pub(crate) async fn wait_for_totals(instance: &Instance, records: u64) {
    let what = format!("{records} records without a gap");
    wait::until_within(Duration::from_secs(60), &what, async || {
        match instance.admin().emitter_totals().await {
            (seen, 0) if seen == records => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

/// Assert that each emitter's records are numbered without a gap and chained.
pub(crate) fn assert_sequences_are_whole(records: &[Value]) {
    let mut sequences: BTreeMap<String, BTreeMap<u64, EvidenceRecord>> = BTreeMap::new();
    for record in records {
        let mut record = record.clone();
        // It stands beside the record.
        if let Value::Object(fields) = &mut record {
            fields.remove("subject");
        }
        let record: EvidenceRecord = serde_json::from_value(record).expect("an evidence record");
        let sequence = sequences.entry(record.emitter.epoch.clone()).or_default();
        let twice = sequence.insert(record.emitter.seq, record);
        assert!(twice.is_none(), "two records with one number: {twice:?}");
    }
    for (epoch, sequence) in sequences {
        let mut prev = String::new();
        for (due, (seq, record)) in (0_u64..).zip(sequence) {
            assert_eq!(seq, due, "a gap in {epoch}");
            assert_eq!(record.emitter.prev, prev, "{epoch} forks at {seq}");
            prev = LeafHash::of(&record.to_canonical().expect("canonical bytes")).to_string();
        }
    }
}
