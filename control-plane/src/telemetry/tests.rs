//! What a receiver gets, and what becomes of evidence when there is none.

use axum::body::Body;
use axum::http::Method;
use jupiter_evidence::Outcome as Ended;
use jupiter_testkit::collector::{CollectedSpan, Collector};
use serde_json::json;
use tracing_subscriber::prelude::*;

use super::*;
use crate::auth::Role;
use crate::ingest::{Channel, ingest};
use crate::store::contract::samples::{self, SampleEmitter, intent, line};
use crate::store::faults::Fault;
use crate::testing::{TestApp, eventually, policy};

/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:1";

fn telemetry(endpoint: &str, more: &[(&str, &str)]) -> Telemetry {
    let own = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "10"),
    ];
    let get = |name: &str| {
        let found = more.iter().chain(&own).find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Telemetry::start(&Settings::read(&get).unwrap(), "jupiter-1").unwrap()
}

async fn instance(telemetry: &Telemetry) -> TestApp {
    let mut test = TestApp::start().await;
    test.app.telemetry = telemetry.clone();
    test.app.telemetry.register(&test.app.metrics);
    test
}

async fn take(test: &TestApp, channel: Channel, lines: &[String]) {
    let body = lines.join("\n");
    let report = ingest(&test.app, channel, body.as_bytes()).await.unwrap();
    assert_eq!(report.quarantined, []);
}

fn chat(emitter: &mut SampleEmitter, model: &str) -> NewEvidence {
    emitter.next(|record| {
        record.operation = Some("chat".to_owned());
        record.provider = Some("openai".to_owned());
        record.request_model = Some(model.to_owned());
        record.outcome = Ended::Completed;
        record.input_tokens = Some(10);
        record.output_tokens = Some(20);
        record.duration_us = 500_000;
    })
}

/// How many spans were dropped for this reason.
async fn dropped(test: &TestApp, reason: &str) -> u64 {
    let text = test.metrics().await;
    let start = format!("mercator_otel_dropped_spans_total{{reason=\"{reason}\"}} ");
    let count = text.lines().find_map(|line| line.strip_prefix(&start));
    count.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn exchange_is_told_once_when_its_record_is_stored() {
    let collector = Collector::start().await;
    let telemetry = telemetry(&collector.endpoint(), &[]);
    let test = instance(&telemetry).await;
    let mut emitter = SampleEmitter::new(1);
    let records: Vec<_> = (0..3).map(|_| chat(&mut emitter, "gpt-4o")).collect();
    let lines: Vec<String> = records.iter().map(line).collect();
    let intents: Vec<String> = records.iter().map(|it| line(&intent(it))).collect();

    for begun in &intents {
        take(&test, Channel::Intent, std::slice::from_ref(begun)).await;
    }
    test.faults.set(Some(Fault::Before));
    let refused = ingest(&test.app, Channel::Outbox, lines.join("\n").as_bytes()).await;
    assert!(refused.is_err(), "{refused:?}");
    test.faults.set(None);
    take(&test, Channel::Outbox, &lines).await;
    take(&test, Channel::Outbox, &lines).await;
    take(&test, Channel::Witness, &lines).await;
    telemetry.stop().await;

    let ids = |spans: &[CollectedSpan]| -> Vec<String> {
        let id = |span: &CollectedSpan| span.attributes["mercator.exchange.id"].to_string();
        spans.iter().map(id).collect()
    };
    let expected: Vec<String> = records
        .iter()
        .map(|it| json!(it.envelope.record.id).to_string())
        .collect();
    let spans = collector.spans();
    assert_eq!(ids(&spans), expected);
    assert_eq!(spans[0].resource["service.name"], "mercator");
    assert_eq!(spans[0].resource["service.instance.id"], "jupiter-1");
    assert_eq!(spans[0].end_unix_us - spans[0].start_unix_us, 500_000);

    let histograms = collector.histograms();
    let series = |name: &str, key: &str, value: &str| {
        let found = histograms
            .iter()
            .find(|it| it.name == name && it.attributes.get(key) == Some(&json!(value)));
        found.unwrap_or_else(|| panic!("{name} in {histograms:?}"))
    };
    let duration = "gen_ai.client.operation.duration";
    let took = series(duration, "gen_ai.request.model", "gpt-4o");
    assert_eq!((took.count, took.sum, took.unit.as_str()), (3, 1.5, "s"));
    assert_eq!((took.bounds[0], took.bounds[13]), (0.01, 81.92));
    let output = series("gen_ai.client.token.usage", "gen_ai.token.type", "output");
    assert_eq!((output.count, output.sum), (3, 60.0));
    assert_eq!((output.bounds[0], output.bounds[13]), (1.0, 67_108_864.0));
}

#[tokio::test]
async fn evidence_is_stored_and_spans_are_counted_when_nobody_takes_them() {
    let telemetry = telemetry(
        NOBODY,
        &[
            ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
            ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
        ],
    );
    let test = instance(&telemetry).await;
    let mut emitter = SampleEmitter::new(1);
    let lines: Vec<String> = (0..50)
        .map(|_| line(&chat(&mut emitter, "gpt-4o")))
        .collect();
    take(&test, Channel::Outbox, &lines).await;
    assert_eq!(dropped(&test, "queue_full").await, 40);
    telemetry.stop().await;
    assert_eq!(dropped(&test, "send_failed").await, 10);
    let failed = "mercator_otel_failed_exports_total{signal=\"traces\"} 1";
    let text = test.metrics().await;
    assert!(text.contains(failed), "{text}");
}

#[tokio::test]
async fn what_a_receiver_refuses_is_counted() {
    let collector = Collector::start().await;
    let telemetry = telemetry(&collector.endpoint(), &[]);
    let test = instance(&telemetry).await;
    let mut emitter = SampleEmitter::new(1);
    collector.reject_spans(2);
    let lines: Vec<String> = (0..3)
        .map(|_| line(&chat(&mut emitter, "gpt-4o")))
        .collect();
    take(&test, Channel::Outbox, &lines).await;
    eventually(|| collector.spans().len() == 3).await;
    collector.refuse(Some(400));
    let lines = [line(&chat(&mut emitter, "gpt-4o"))];
    take(&test, Channel::Outbox, &lines).await;
    telemetry.stop().await;
    assert_eq!(dropped(&test, "rejected").await, 2);
    assert_eq!(dropped(&test, "send_failed").await, 1);
}

#[tokio::test]
async fn request_to_the_receiver_has_the_headers_asked_for_and_is_compressed() {
    let collector = Collector::start().await;
    let telemetry = telemetry(
        &collector.endpoint(),
        &[
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=one%2Ctwo"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_METRICS_EXPORTER", "none"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=other"),
        ],
    );
    let test = instance(&telemetry).await;
    let lines = [line(&chat(&mut SampleEmitter::new(1), "gpt-4o"))];
    take(&test, Channel::Outbox, &lines).await;
    telemetry.stop().await;
    let [request] = &collector.requests()[..] else {
        panic!("{:?}", collector.requests());
    };
    assert_eq!(request.path, "/v1/traces");
    assert_eq!(request.headers["api-key"], "one,two");
    assert_eq!(request.headers["content-type"], "application/x-protobuf");
    assert_eq!(request.headers["content-encoding"], "gzip");
    assert_eq!(
        collector.spans()[0].resource["service.instance.id"],
        "other"
    );
}

#[tokio::test]
async fn models_that_only_clients_name_are_not_told_apart() {
    let collector = Collector::start().await;
    let telemetry = telemetry(&collector.endpoint(), &[("OTEL_TRACES_EXPORTER", "none")]);
    let test = instance(&telemetry).await;
    let mut emitter = SampleEmitter::new(1);
    let denied = |emitter: &mut SampleEmitter, number: u64| {
        line(&emitter.next(|record| {
            record.operation = Some("chat".to_owned());
            record.request_model = Some(format!("invented-{number}"));
            record.outcome = Ended::Refused;
            record.response_model = None;
            record.input_tokens = None;
            record.output_tokens = None;
        }))
    };
    let lines: Vec<String> = (0..5).map(|number| denied(&mut emitter, number)).collect();
    take(&test, Channel::Outbox, &lines).await;
    telemetry.stop().await;
    let series = collector.histograms();
    assert_eq!(series.len(), 1, "{series:?}");
    assert_eq!(series[0].count, 5);
    assert_eq!(series[0].attributes["gen_ai.request.model"], "_OTHER");
    assert_eq!(series[0].attributes["error.type"], "refused");
}

#[tokio::test]
async fn own_work_has_spans_below_that_of_whoever_asked() {
    let collector = Collector::start().await;
    let telemetry = telemetry(&collector.endpoint(), &[("OTEL_METRICS_EXPORTER", "none")]);
    let subscriber = tracing_subscriber::registry().with(telemetry.layer());
    // Other tests' threads, which have no subscriber, must not be the first to come by there.
    drop((
        spans::ingest("outbox"),
        spans::request("GET", "/", |_| None),
    ));
    let guard = tracing::subscriber::set_default(subscriber);
    tracing::callsite::rebuild_interest_cache();
    let test = TestApp::start().await;
    let client = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let unsampled = "traceparent: 00-0bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let text = policy("models", "gpt-4o");
    let reply = test.put_policy("models", &text, &[client]).await;
    assert!(reply.status.is_success());
    let admin = Some(Role::Admin);
    let uri = "/v1/policies/models";
    test.send(admin, Method::GET, uri, &[unsampled], Body::empty())
        .await;
    test.get("/health").await;
    let lines = line(&chat(&mut SampleEmitter::new(1), "gpt-4o"));
    assert!(test.deliver(&lines).await.status.is_success());
    test.faults.set_on("append_evidence", Fault::Before);
    let later = line(&samples::sealed(samples::record(9_000, 9)));
    assert_eq!(test.deliver(&later).await.status, 503);
    drop(guard);
    telemetry.stop().await;

    let spans = collector.spans();
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "PUT /v1/policies/{name}",
            "ingest",
            "POST /v1/evidence",
            "ingest",
            "POST /v1/evidence"
        ]
    );
    let [published, ingest, delivered, .., refused] = &spans[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(published.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(published.parent_span_id, "00f067aa0ba902b7");
    assert_eq!(published.kind, "Server");
    let status = "http.response.status_code";
    assert_eq!(published.attributes["http.route"], "/v1/policies/{name}");
    assert_eq!(published.attributes[status], 201);
    assert_eq!(ingest.parent_span_id, delivered.span_id);
    assert_eq!(ingest.trace_id, delivered.trace_id);
    assert_eq!(delivered.parent_span_id, "");
    assert_eq!(ingest.attributes["mercator.accepted"], 1);
    assert!(!delivered.is_error && refused.is_error);
    assert_eq!(refused.attributes[status], 503);
}

#[tokio::test]
async fn nothing_is_exported_when_nothing_asks() {
    let off = Telemetry::start(&Settings::read(&|_| None).unwrap(), "jupiter-1").unwrap();
    assert!(off.0.is_none() && off.layer::<tracing_subscriber::Registry>().is_none());
}
