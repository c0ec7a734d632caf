//! What inspection costs an Envoy: `./justw bench envoy`.
//!
//! In one run, on one machine: Envoy alone, with a wasm filter that does
//! nothing, with one that makes the calls of ours and does nothing else, with
//! ext_authz to a server that says yes to everything, and with our filter deciding by twenty rules, all detectors at work, its control
//! plane running and taking in the records. Same listener settings, same
//! provider, same request of 2 KB over kept connections. Envoy has processor 0
//! to itself, all else shares processor 1. All take turns, round by round;
//! what counts is the median of the ratios within a round.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a measurement that cannot go on ends"
)]

mod contenders;
mod still;

use std::path::Path;
use std::process::{Command, Stdio};

use contenders::{
    Contender, authorization_cluster, authorization_filter, bench_filter, sink_cluster,
};
use jupiter_testkit::{Instance, wait};
use serde_json::json;

const POLICY: &str = include_str!("twenty-rules.yaml");
const ROUNDS: usize = 7;
const CONNECTIONS: u64 = 16;
/// Of one contender in one round.
const SECONDS: u64 = 3;
/// Of `/proc/PID/stat`, on every Linux.
const TICK_US: f64 = 10_000.0;

const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1772620200,"model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":{"role":"assistant","content":"Two of the open questions have been answered; the table follows."},"finish_reason":"stop"}],"usage":{"prompt_tokens":412,"completion_tokens":14,"total_tokens":426}}"#;

/// One contender in one round.
#[derive(Debug, Clone, Copy)]
struct Measured {
    requests: u64,
    per_second: f64,
    cpu_us: f64,
}

// On one thread, so that provider and authorization server cost as little as they can.
#[tokio::main(flavor = "current_thread")]
async fn main() {
    // What is started from here on inherits it.
    pin(std::process::id(), "1");
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{ANSWER}",
        ANSWER.len()
    );
    let provider = still::serve(answer.leak().as_bytes()).await;
    let authorization = still::serve(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let folder = tempfile::tempdir().expect("a folder");
    let instance = Instance::builder()
        .provider_at(provider)
        .policy("twenty-rules", POLICY)
        .envoy("concurrency: 1")
        .start()
        .await;
    let sink = still::serve(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let place = (&instance, folder.path());
    let with = async |name, filters, clusters| {
        Contender::with(name, filters, clusters, false, place).await
    };
    let contenders = [
        with("Envoy alone", vec![], vec![]).await,
        with("empty wasm filter", vec![bench_filter("empty")], vec![]).await,
        Contender::with(
            "our filter's calls, and nothing done",
            vec![bench_filter("calls")],
            vec![sink_cluster(sink)],
            true,
            place,
        )
        .await,
        with(
            "ext_authz, a server that says yes",
            vec![authorization_filter()],
            vec![authorization_cluster(authorization)],
        )
        .await,
        Contender::ours(&instance),
    ];
    for contender in &contenders {
        pin(contender.pid, "0");
    }
    let script = folder.path().join("request.lua");
    std::fs::write(&script, script_of(&request())).expect("a script");

    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let mut measured = Vec::new();
        for contender in &contenders {
            measured.push(measure(contender, &script).await);
        }
        eprintln!("round {}: {measured:.0?}", round + 1);
        rounds.push(measured);
    }
    show(&contenders, &rounds);
    delivered(
        &instance,
        rounds.iter().map(|round| round[4].requests).sum(),
    )
    .await;
}

/// A chat request of 2 KB: what a person asks, and the notes it is about.
fn request() -> String {
    let asked = "Our quarterly report is due on Friday. Please go through the notes below, sort \
                 them by customer, and tell me which of the open questions have been answered \
                 since the last meeting. Keep it short: a table with three columns will do.\n";
    let notes = "- The pilot in Lyon went well; they want 40 more seats from April on.\n\
                 - Delivery of the second batch is late by two weeks, the carrier says.\n\
                 - Invoice 2291 is still unpaid, accounting has sent a second reminder.\n\
                 - Whoever was at the fair should add their contacts before the week ends.\n";
    json!({
        "model": "gpt-4o",
        "max_tokens": 800,
        "temperature": 0.7,
        "user": "u-4711",
        "messages": [
            {"role": "system", "content": "You are the assistant of the sales team. Answer in \
                English, name your sources, and say so when you do not know."},
            {"role": "user", "content": format!("{asked}{}", notes.repeat(7))[..2_048]},
        ],
        "tools": [{"type": "function", "function": {
            "name": "search_documents",
            "description": "Finds documents of the team by their words.",
            "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
        }}],
    })
    .to_string()
}

fn script_of(body: &str) -> String {
    format!(
        "wrk.method = 'POST'\nwrk.path = '/v1/chat/completions'\n\
         wrk.headers['content-type'] = 'application/json'\n\
         wrk.headers['authorization'] = 'Bearer sk-test'\n\
         wrk.body = [==[{body}]==]\n"
    )
}

async fn measure(contender: &Contender, script: &Path) -> Measured {
    let before = cpu_us(contender.pid);
    let output = tokio::process::Command::new("wrk")
        .args(["--threads", "1", "--timeout", "20s"])
        .args(["--connections", &CONNECTIONS.to_string()])
        .args(["--duration", &format!("{SECONDS}s")])
        .arg("--script")
        .arg(script)
        .arg(format!("http://127.0.0.1:{}", contender.port))
        .output()
        .await
        .expect("no `wrk`; `./justw bench envoy` installs it, or Debian: `apt-get install wrk`");
    let cpu = cpu_us(contender.pid) - before;
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = ["Non-2xx", "Socket errors"];
    assert!(
        output.status.success() && !failed.iter().any(|it| text.contains(it)),
        "{}: {text}",
        contender.name
    );
    let requests = before_word(&text, " requests in")
        .parse()
        .expect("a number");
    let per_second = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"))
        .and_then(|number| number.trim().parse().ok())
        .expect("a rate");
    Measured {
        requests,
        per_second,
        cpu_us: cpu / requests as f64,
    }
}

/// The word that ends where `rest` begins.
fn before_word<'t>(text: &'t str, rest: &str) -> &'t str {
    let end = text.find(rest).unwrap_or_else(|| panic!("{text}"));
    text[..end].split_whitespace().next_back().unwrap_or("")
}

/// What the process has used of processors so far.
fn cpu_us(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running Envoy");
    // The name before may hold spaces; user and system time are the 14th and 15th field.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || -> f64 { fields.next().and_then(|it| it.parse().ok()).expect("ticks") };
    (next() + next()) * TICK_US
}

fn pin(pid: u32, processors: &str) {
    let status = Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", processors])
        .arg(pid.to_string())
        .stdout(Stdio::null())
        .status()
        .expect("no `taskset`; Debian: `apt-get install util-linux`");
    assert!(status.success(), "two processors are needed");
}

fn show(contenders: &[Contender], rounds: &[Vec<Measured>]) {
    let of = |what: &dyn Fn(&[Measured]) -> f64| {
        median(rounds.iter().map(|round| what(round)).collect())
    };
    println!(
        "| | of Envoy alone | of the empty filter | requests per second | Envoy CPU, µs per request | of the empty filter |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for (nth, contender) in contenders.iter().enumerate() {
        println!(
            "| {} | {:.2} | {:.2} | {:.0} | {:.0} | {:.2} |",
            contender.name,
            of(&|round| round[nth].per_second / round[0].per_second),
            of(&|round| round[nth].per_second / round[1].per_second),
            of(&|round| round[nth].per_second),
            of(&|round| round[nth].cpu_us),
            of(&|round| round[nth].cpu_us / round[1].cpu_us),
        );
    }
}

/// What was answered is recorded: nothing was fast because it was left out.
async fn delivered(instance: &Instance, answered: u64) {
    // What `wrk` broke off at the end of a round is recorded too, and not counted by it.
    let most = answered + CONNECTIONS * ROUNDS as u64;
    let records = wait::until("all records to be stored", async || {
        match instance.admin().emitter_totals().await {
            (records, 0) if (answered..=most).contains(&records) => Ok(records),
            other => Err((other, answered)),
        }
    })
    .await;
    println!("\n{answered} exchanges of this filter were counted, {records} records stored");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
