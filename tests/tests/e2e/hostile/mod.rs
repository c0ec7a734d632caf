//! Whatever clients and providers send, the filter keeps its promises.
//!
//! Each case of a run is one exchange on sockets of its own, made from a seed:
//! a request of some dialect and an answer to it, with bodies, headers, paths,
//! framing and encodings changed at random, cut short, reset. Afterwards an
//! independent judge looks at what the provider got, what the client got and
//! what the record says: no trap, no hang, one record, and nothing that was
//! forbidden passed as `inspected`. Loopback only, and bounded.
//!
//! `./justw fuzz-envoy SECONDS` runs it for longer, each time from another seed;
//! `MERCATOR_FUZZ_SEED` and `MERCATOR_FUZZ_CASE` bring a case back.

mod chance;
mod messages;
mod parties;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use jupiter_evidence::rfc3339_micros;
use jupiter_testkit::{Instance, wait};
use serde_json::Value;

use chance::Chance;
use messages::{Case, FORBIDDEN};
use parties::{Provider, ask, header, parts};

const POLICY: &str = "
mpl_version: '1.0'
name: fuzz
version: 1.0.0
rules:
  - name: forbidden-requests
    when: request.text.contains('zq-forbidden-zq')
    actions: [{type: deny, code: forbidden_request, message: no}]
  - name: personal-data
    conditions: [{function: has_pii, args: [request.text]}]
    actions: [{type: redact, fields: ['request.messages[*].content'], method: tokenize}]
";

const ON_ANSWERS: &str = "
mpl_version: '1.0'
name: fuzz-answers
version: 1.0.0
rules:
  - name: forbidden-answers
    when: response.text.contains('zq-forbidden-zq')
    actions: [{type: deny, code: forbidden_answer, message: no}]
";

/// Of every commit: the same cases each time.
const SHORT: Duration = Duration::from_secs(10);
const SEED: u64 = 20_261_126;
/// Exchanges at a time, and in one batch, after which they are judged.
const AT_A_TIME: usize = 16;
const BATCH: usize = 256;

/// What became of one case.
struct Seen {
    id: String,
    case: Case,
    /// The body that reached the provider.
    received: Option<Vec<u8>>,
    /// What the client got; `None`: the exchange did not end.
    answer: Option<Vec<u8>>,
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_exchanges_are_recorded_once_and_never_pass_unread_as_inspected() {
    let seed = setting("MERCATOR_FUZZ_SEED").unwrap_or(SEED);
    let only = setting("MERCATOR_FUZZ_CASE");
    let lasts = setting("MERCATOR_FUZZ_SECONDS").map_or(SHORT, Duration::from_secs);
    let (provider, address) = Provider::start().await;
    let instance = instance(address).await;
    let envoy = instance.envoy_pid();

    let started = Instant::now();
    let (mut next, mut tally) = (only.unwrap_or(0), BTreeMap::new());
    while started.elapsed() < lasts {
        let since = now();
        let cases: Vec<u64> = match only {
            Some(case) => vec![case],
            None => (next..next + BATCH as u64).collect(),
        };
        next += cases.len() as u64;
        let mut seen = Vec::new();
        for cases in cases.chunks(AT_A_TIME) {
            let running = cases
                .iter()
                .map(|case| exchange(&instance, &provider, seed, *case));
            seen.extend(join_all(running).await);
        }
        let records = records_of(&instance, &since, &seen).await;
        let faults: Vec<String> = seen
            .iter()
            .flat_map(|it| judge(it, &records, &mut tally))
            .collect();
        assert!(faults.is_empty(), "seed {seed}: {}", faults.join("\n"));
        assert_eq!(
            instance.envoy_pid(),
            envoy,
            "seed {seed}: Envoy did not survive"
        );
        if only.is_some() {
            break;
        }
    }
    let logs = instance.all_logs();
    assert!(
        !logs.contains("Uncaught RuntimeError"),
        "seed {seed}: the filter trapped"
    );
    println!("seed {seed}, {next} cases, of which: {tally:#?}");
    // All of it came about, or the run shows less than it seems to.
    for what in [
        "request inspected",
        "request unscanned",
        "response inspected",
        "response unscanned",
        "withheld",
        "refused",
    ] {
        let met = tally.keys().any(|it: &String| it.starts_with(what));
        assert!(met || only.is_some(), "no {what} among {tally:#?}");
    }
}

async fn instance(provider: SocketAddr) -> Instance {
    let instance = Instance::builder()
        .provider_at(provider)
        .policy("fuzz", POLICY)
        .policy("fuzz-answers", ON_ANSWERS)
        .inspection("max_body_bytes: 65536")
        .inspection("max_response_body_bytes: 65536");
    instance.start().await
}

fn now() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    rfc3339_micros(u64::try_from(now.as_micros()).expect("before the year 500,000"))
}

async fn exchange(instance: &Instance, provider: &Arc<Provider>, seed: u64, number: u64) -> Seen {
    let id = format!("fuzz-{seed}-{number}");
    let case = Case::of(Chance::of(seed, number), &id);
    provider.expect(&id, case.answer.clone());
    let answer = ask(instance.traffic().port(), &case.request).await;
    Seen {
        id,
        case,
        received: None,
        answer,
    }
    .with(provider)
}

impl Seen {
    fn with(mut self, provider: &Provider) -> Self {
        self.received = provider.take(&self.id);
        self
    }

    fn decision_id(&self) -> Option<String> {
        let (head, _) = parts(self.answer.as_deref().unwrap_or_default());
        header(&head, "x-mercator-decision-id")
    }
}

/// The records of a batch by the ids of their requests, once those that have to be are there.
async fn records_of(
    instance: &Instance,
    since: &str,
    seen: &[Seen],
) -> BTreeMap<String, Vec<Value>> {
    wait::until("the records of a batch", async || {
        let mut by_id: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for record in instance.admin().evidence(&format!("since={since}")).await {
            let id = record["request_id"].as_str().unwrap_or_default().to_owned();
            by_id.entry(id).or_default().push(record);
        }
        let lacking: Vec<&str> = seen
            .iter()
            .filter(|it| {
                it.received.is_some() || (it.decision_id().is_some() && !it.case.request.is_spoilt)
            })
            .map(|it| it.id.as_str())
            .filter(|id| !by_id.contains_key(*id))
            .collect();
        match lacking.is_empty() {
            true => Ok(by_id),
            false => Err(lacking.join(" ")),
        }
    })
    .await
}

/// What is wrong with an exchange.
fn judge(
    seen: &Seen,
    records: &BTreeMap<String, Vec<Value>>,
    tally: &mut BTreeMap<String, usize>,
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |what: &str| faults.push(format!("{}: {what}", seen.id));
    let Some(answer) = &seen.answer else {
        return vec![format!("{}: the exchange did not end", seen.id)];
    };
    let records = records.get(&seen.id).map_or(&[][..], Vec::as_slice);
    if records.len() > 1 {
        fault("more than one record");
    }
    let Some(record) = records.first() else {
        return faults;
    };
    let says = |key: &str, value: &str| record[key] == value;
    for key in ["request_inspection", "response_inspection", "outcome"] {
        let (side, _) = key.split_once('_').unwrap_or(("", ""));
        let reason = record[format!("{side}_unscanned_reason")]
            .as_str()
            .unwrap_or("");
        let what = format!("{side} {} {reason}", record[key].as_str().unwrap_or(""));
        *tally.entry(what.trim().to_owned()).or_default() += 1;
    }
    if says("outcome", "filter_fault") {
        fault("the filter trapped");
    }
    if let Some(body) = &seen.received {
        if says("request_inspection", "inspected") && is_said(body) {
            fault("what is forbidden reached the provider as inspected");
        }
        if seen.case.request.is_cut && !seen.case.request.is_spoilt {
            fault("half a request reached the provider");
        }
        // Envoy's own words in a provider's place are whole.
        let in_place = record["http.response.status_code"] == 503
            && String::from_utf8_lossy(answer).contains("\"provider_unreachable\"");
        let answer = &seen.case.answer;
        let half = answer.is_cut && !answer.is_spoilt && !says("outcome", "withheld");
        let half = half && !in_place;
        if half && says("response_inspection", "inspected") && !answer.is_told_to_its_end() {
            fault("half an answer counts as inspected");
        }
        if half && says("outcome", "completed") {
            fault("half an answer counts as complete");
        }
    }
    if seen.case.request.is_cut
        && !seen.case.request.is_spoilt
        && says("request_inspection", "inspected")
    {
        fault("half a request counts as inspected");
    }
    let (_, body) = parts(answer);
    if seen.case.is_answered_in_words && says("response_inspection", "inspected") && is_said(&body)
    {
        fault("what is forbidden reached the client as inspected");
    }
    match faults.is_empty() {
        true => faults,
        false => {
            let text = |bytes: &[u8]| {
                String::from_utf8_lossy(bytes)
                    .chars()
                    .take(1_500)
                    .collect::<String>()
            };
            let sent = text(&seen.case.request.pieces.concat());
            let answered = text(&seen.case.answer.pieces.concat());
            faults.push(format!(
                "{record:#}\nsent:\n{sent}\nanswered:\n{answered}\ngot:\n{}",
                text(answer)
            ));
            faults
        }
    }
}

/// Whether a body says what is forbidden, in one of its texts or across those of a stream.
fn is_said(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    if let Ok(json) = serde_json::from_slice::<Value>(body) {
        return any_text_says(&json);
    }
    let mut assembled = String::new();
    let mut said = false;
    for line in text.split(['\r', '\n']) {
        let data = line.strip_prefix("data:").unwrap_or(line);
        match serde_json::from_str::<Value>(data.trim_start()) {
            Ok(event) => {
                said |= any_text_says(&event);
                for place in ["/choices/0/delta/content", "/delta/text", "/delta"] {
                    assembled.push_str(event.pointer(place).and_then(Value::as_str).unwrap_or(""));
                }
            }
            Err(_) => said |= data.contains(FORBIDDEN),
        }
    }
    said || assembled.contains(FORBIDDEN)
}

fn any_text_says(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(FORBIDDEN),
        Value::Array(items) => items.iter().any(any_text_says),
        Value::Object(fields) => fields.values().any(any_text_says),
        _ => false,
    }
}

#[test]
fn judge_sees_what_is_said_in_whichever_way() {
    for said in [
        r#"{"a": ["zq-forbidden-zq"]}"#,
        r#"{"a": "zq-f\u006frbidden-zq"}"#,
        "zq-forbidden-zq",
        "data: {\"choices\":[{\"delta\":{\"content\":\"zq-for\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"bidden-zq\"}}]}\n\n",
    ] {
        assert!(is_said(said.as_bytes()), "{said}");
    }
    assert!(!is_said(br#"{"a": "zq-forbidden"}"#));
}
