//! Each exchange is a span below its client's, for whoever takes it; whoever does not take
//! it stands in nobody's way.

use jupiter_testkit::collector::{CollectedSpan, Collector};
use jupiter_testkit::{Answer, Instance, wait};
use serde_json::{Value, json};

use crate::support::{GUARD, REFUSED_MODEL, question, record_of, streamed};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

async fn ask(instance: &Instance, body: &Value, flags: Option<&str>) -> Answer {
    let traffic = instance.traffic();
    let mut request = traffic.chat(body);
    if let Some(flags) = flags {
        request = request.header("traceparent", format!("00-{TRACE}-{SPAN}-{flags}"));
    }
    traffic.complete(request).await
}

/// The one span of an exchange, once it is there.
async fn span_of(collector: &Collector, answer: &Answer) -> CollectedSpan {
    let id = answer.decision_id();
    wait::until("the span of an exchange", async || {
        let mut spans = collector.spans();
        spans.retain(|span| span.attributes.get("mercator.exchange.id") == Some(&json!(id)));
        match spans.pop() {
            Some(span) if spans.is_empty() => Ok(span),
            _ => Err(spans.len()),
        }
    })
    .await
}

#[track_caller]
fn assert_attributes(span: &CollectedSpan, expected: &[(&str, Value)]) {
    for (key, value) in expected {
        assert_eq!(span.attributes.get(*key), Some(value), "{key} of {span:?}");
    }
}

async fn dropped(instance: &Instance) -> f64 {
    let scraped = instance.metrics().get("/metrics").await.expect(200);
    let text = String::from_utf8(scraped.body).expect("text");
    text.lines()
        .filter(|line| line.starts_with("mercator_otel_dropped_spans_total{"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

#[tokio::test]
async fn exchanges_are_told_below_their_clients_spans_and_wait_for_no_receiver() {
    let collector = Collector::start().await;
    let mut instance = Instance::builder()
        .policy("guard", GUARD)
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())
        .variable(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20hush-hush",
        )
        .variable("OTEL_BSP_SCHEDULE_DELAY", "100")
        // Only a stop sends them.
        .variable("OTEL_METRIC_EXPORT_INTERVAL", "3600000")
        .start()
        .await;

    let unsampled = ask(&instance, &question("gpt-4o"), Some("00")).await;
    let allowed = ask(&instance, &question("gpt-4o"), Some("01")).await;
    let denied = ask(&instance, &question(REFUSED_MODEL), Some("01")).await;
    let stream = ask(&instance, &streamed("gpt-4o"), Some("01")).await;
    let alone = ask(&instance, &question("gpt-4o"), None).await;

    let span = span_of(&collector, &allowed).await;
    let record = record_of(&instance, &allowed).await;
    assert_eq!(
        (span.trace_id.as_str(), span.parent_span_id.as_str()),
        (TRACE, SPAN)
    );
    assert_eq!(
        (span.name.as_str(), span.kind.as_str()),
        ("chat gpt-4o", "Client")
    );
    assert!(!span.is_error, "{span:?}");
    assert_eq!(span.end_unix_us - span.start_unix_us, record["duration_us"]);
    assert_attributes(
        &span,
        &[
            ("gen_ai.operation.name", json!("chat")),
            ("gen_ai.provider.name", json!("openai")),
            ("gen_ai.request.model", json!("gpt-4o")),
            ("gen_ai.response.id", record["gen_ai.response.id"].clone()),
            (
                "gen_ai.usage.input_tokens",
                record["gen_ai.usage.input_tokens"].clone(),
            ),
            (
                "gen_ai.usage.output_tokens",
                record["gen_ai.usage.output_tokens"].clone(),
            ),
            ("http.response.status_code", json!(200)),
            ("mercator.decision", json!("allow")),
            ("mercator.policy.digest", record["policy"]["digest"].clone()),
        ],
    );

    let span = span_of(&collector, &denied).await;
    assert_eq!(span.parent_span_id, SPAN);
    assert!(span.is_error, "{span:?}");
    let rule = &record_of(&instance, &denied).await["matched_rules"][0];
    let rule = format!("guard/{}", rule["rule"].as_str().expect("a rule"));
    assert_attributes(
        &span,
        &[
            ("error.type", json!("refused")),
            ("http.response.status_code", json!(403)),
            ("mercator.decision", json!("deny")),
            ("mercator.reason", json!("model_not_approved")),
            ("mercator.matched_rules", json!([rule])),
        ],
    );

    let span = span_of(&collector, &stream).await;
    let record = record_of(&instance, &stream).await;
    assert_eq!(
        (span.trace_id.as_str(), span.parent_span_id.as_str()),
        (TRACE, SPAN)
    );
    assert_attributes(
        &span,
        &[
            ("gen_ai.request.stream", json!(true)),
            (
                "gen_ai.usage.output_tokens",
                record["gen_ai.usage.output_tokens"].clone(),
            ),
            ("gen_ai.response.finish_reasons", json!(["stop"])),
        ],
    );

    let span = span_of(&collector, &alone).await;
    assert_eq!(span.parent_span_id, "");
    assert_ne!(span.trace_id, TRACE);

    // It came first of all: its span would be there.
    let record = record_of(&instance, &unsampled).await;
    assert_eq!(
        (&record["trace_id"], &record["trace_sampled"]),
        (&json!(TRACE), &json!(false))
    );
    let spans = collector.spans();
    let id = json!(unsampled.decision_id());
    assert!(
        !spans
            .iter()
            .any(|span| span.attributes.get("mercator.exchange.id") == Some(&id))
    );
    for own in [
        "PUT /v1/policies/{name}",
        "POST /v1/evidence",
        "ingest",
        "seal",
    ] {
        wait::until("the control plane's own spans", async || {
            let spans = collector.spans();
            spans
                .iter()
                .any(|it| it.name == own)
                .then_some(())
                .ok_or(own)
        })
        .await;
    }

    collector.refuse(Some(503));
    let untold = ask(&instance, &question("gpt-4o"), Some("01")).await;
    assert_eq!(untold.status, 200);
    record_of(&instance, &untold).await;
    wait::until("spans to be dropped and counted", async || {
        let count = dropped(&instance).await;
        (count > 0.0).then_some(()).ok_or(count)
    })
    .await;
    collector.refuse(None);
    let told = ask(&instance, &question("gpt-4o"), Some("01")).await;
    span_of(&collector, &told).await;

    assert!(collector.histograms().is_empty());
    assert!(instance.stop().await.success());
    let histograms = collector.histograms();
    for (name, error) in [
        ("gen_ai.client.token.usage", None),
        ("gen_ai.client.operation.duration", None),
        ("gen_ai.client.operation.duration", Some(&json!("refused"))),
    ] {
        let found = histograms
            .iter()
            .any(|it| it.name == name && it.attributes.get("error.type") == error);
        assert!(found, "{name} in {histograms:?}");
    }
    let requests = collector.requests();
    assert!(
        requests
            .iter()
            .all(|it| it.headers["authorization"] == "Bearer hush-hush")
    );
    let logs = instance.all_logs();
    assert!(!logs.contains("hush-hush"));
    assert_eq!(logs.matches("telemetry is not exported").count(), 1);
    assert_eq!(logs.matches("telemetry is exported again").count(), 1);
}
