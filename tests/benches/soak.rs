//! Whether an Envoy with the filter keeps its memory: `./justw soak COUNT`.
//!
//! So many exchanges of every kind, in turn: dialects, whole answers and
//! streams, allowed, refused, redacted and withheld ones, errors of providers,
//! broken connections, clients that go away, bodies of 200 KB, bodies that
//! cannot be read. Envoy's memory is sampled all along; it counts as flat when
//! the median of the last fifth of the samples is at most 3 % above that of the
//! second: the first is when caches fill. And every exchange has left a record.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement that cannot go on ends"
)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jupiter_testkit::{Instance, Traffic, wait};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const COUNT: u64 = 200_000;
const AT_A_TIME: u64 = 16;
const SAMPLES: u64 = 100;
/// Of the second fifth, that the last may be above it.
const BOUND: f64 = 0.03;

const POLICY: &str = "
mpl_version: '1.0'
name: soak
version: 1.0.0
rules:
  - name: refused-models
    when: request.model.startsWith('gpt-4-turbo')
    actions: [{type: deny, code: model_not_approved, message: no}]
  - name: personal-data
    conditions: [{function: has_pii, args: [request.text]}]
    actions: [{type: redact, fields: ['request.messages[*].content'], method: tokenize}]
";

const ON_ANSWERS: &str = "
mpl_version: '1.0'
name: soak-answers
version: 1.0.0
rules:
  - name: withheld
    when: response.text.contains('zq-withheld')
    actions: [{type: deny, code: withheld, message: no}]
";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let count = std::env::args()
        .find_map(|it| it.parse().ok())
        .unwrap_or(COUNT);
    let instance = Instance::builder()
        .policy("soak", POLICY)
        .policy("soak-answers", ON_ANSWERS)
        .start()
        .await;
    let pid = instance.envoy_pid().expect("a running Envoy");
    let (started, next) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let (traffic, next) = (instance.traffic(), Arc::clone(&next));
        clients.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                exchange(&traffic, number).await;
            }
        });
    }
    let mut samples = Vec::new();
    while !clients.is_empty() {
        let due = count * samples.len() as u64 / SAMPLES;
        if next.load(Ordering::Relaxed) >= due {
            samples.push(Sample::take(&instance, pid).await);
            // What it remembers is the test's memory, not Envoy's.
            instance.provider().clear();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        while let Some(ended) = clients.try_join_next() {
            ended.expect("an exchange went as it had to");
        }
    }
    let seconds = started.elapsed().as_secs();
    assert_eq!(instance.envoy_pid(), Some(pid), "Envoy did not survive");
    let records = recorded(&instance, count).await;
    println!("{count} exchanges in {seconds} s, {records} records\n");
    match report(&samples) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Bytes.
#[derive(Debug, Clone, Copy)]
struct Sample {
    resident: u64,
    allocated: u64,
    heap: u64,
}

impl Sample {
    async fn take(instance: &Instance, pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Envoy runs");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|it| it.trim().strip_suffix(" kB"));
        let memory = instance
            .envoy_admin()
            .get("/memory")
            .await
            .expect(200)
            .json();
        let told = |key: &str| memory[key].as_str().and_then(|it| it.parse().ok());
        Self {
            resident: kib.and_then(|it| it.parse::<u64>().ok()).expect("a size") * 1_024,
            allocated: told("allocated").expect("what is allocated"),
            heap: told("heap_size").expect("the heap's size"),
        }
    }
}

async fn exchange(traffic: &Traffic, number: u64) {
    let text = format!("What is the capital of country {number}?");
    let chat = |model: &str, text: &str, stream: bool| json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]});
    let streams = number.is_multiple_of(2);
    let message = json!({"model": "claude-sonnet-4-5", "max_tokens": 100, "stream": streams,
        "messages": [{"role": "user", "content": text}]});
    let (path, body): (&str, Value) = match number % 16 {
        0 => ("/v1/chat/completions", chat("gpt-4o", &text, false)),
        1 | 12 => ("/v1/chat/completions", chat("gpt-4o", &text, true)),
        2 | 3 => ("/v1/messages", message),
        4 | 5 => (
            "/v1/responses",
            json!({"model": "gpt-4o", "input": text, "stream": streams}),
        ),
        6 => (
            "/v1/completions",
            json!({"model": "gpt-3.5-turbo-instruct", "prompt": text}),
        ),
        7 => (
            "/v1/embeddings",
            json!({"model": "text-embedding-3-small", "input": text}),
        ),
        8 => ("/v1/chat/completions", chat("gpt-4-turbo", &text, false)),
        9 => {
            let text = format!("{text} Ask user{number}@example.org.");
            (
                "/v1/chat/completions",
                chat("gpt-4o", &text, number % 32 == 9),
            )
        }
        10 => (
            "/v1/chat/completions",
            chat("gpt-4o", &"large ".repeat(34_000), false),
        ),
        _ => (
            "/v1/chat/completions",
            chat("gpt-4o", &text, number % 32 < 16),
        ),
    };
    let request = traffic.post(path, &body);
    let request = match path {
        "/v1/messages" => request.header("anthropic-version", "2023-06-01"),
        _ => request,
    };
    let request = match number % 16 {
        11 => request.header("x-fake-status", "500"),
        12 => request
            .header("x-fake-chunks", "40")
            .header("x-fake-chunk-interval-ms", "5"),
        13 => request.header("x-fake-cut-after", "1"),
        14 => request.header("content-encoding", "gzip"),
        15 => request.header("x-fake-reply", "some zq-withheld words"),
        _ => request,
    };
    if number % 16 == 12 {
        // The client goes away amid the stream.
        let answer = request.send().await.expect("the head of an answer");
        assert_eq!(answer.status(), 200);
        return;
    }
    let answer = traffic.try_complete(request).await;
    let due: &[u16] = match number % 16 {
        8 => &[403],
        // A stream that is withheld ends with an error event, and is broken off.
        15 if number % 32 < 16 => &[0, 200],
        15 => &[403],
        11 => &[500],
        13 => &[0, 200, 502, 503],
        14 => &[415],
        _ => &[200],
    };
    let status = answer.as_ref().map_or(0, |answer| answer.status);
    assert!(due.contains(&status), "exchange {number}: {answer:?}");
}

/// As many records as exchanges, none missing, once they are stored.
async fn recorded(instance: &Instance, count: u64) -> u64 {
    wait::until_within(
        Duration::from_secs(120),
        "all records",
        async || match instance.admin().emitter_totals().await {
            (records, 0) if records == count => Ok(records),
            other => Err(other),
        },
    )
    .await
}

fn report(samples: &[Sample]) -> bool {
    let fifth = samples.len() / 5;
    let of = |of: fn(&Sample) -> u64| samples.iter().map(of).collect::<Vec<u64>>();
    let kinds = [
        ("resident", of(|it| it.resident)),
        ("allocated by Envoy", of(|it| it.allocated)),
        ("Envoy's heap", of(|it| it.heap)),
    ];
    println!("| MiB, medians | second fifth | last fifth | growth |\n| --- | ---: | ---: | ---: |");
    let mut is_flat = true;
    for (name, values) in kinds {
        let mib = |values: &[u64]| {
            let mut values = values.to_vec();
            values.sort_unstable();
            values[values.len() / 2] as f64 / f64::from(1 << 20)
        };
        let before = mib(&values[fifth..2 * fifth]);
        let after = mib(&values[values.len() - fifth..]);
        let growth = after / before - 1.0;
        println!(
            "| {name} | {before:.1} | {after:.1} | {:.1} % |",
            growth * 100.0
        );
        is_flat &= growth <= BOUND || name != "resident";
    }
    println!(
        "\nflat: {is_flat} (resident memory may grow by {} %)",
        BOUND * 100.0
    );
    is_flat
}
