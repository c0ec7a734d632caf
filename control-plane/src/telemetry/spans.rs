//! Spans of the control plane's own work.
//!
//! They are `tracing` spans of a target of their own, so that log lines do not carry them
//! and a layer that exports picks them out. Where nothing is exported they are disabled.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Of all spans that are exported, and of nothing else.
pub const TARGET: &str = "mercator::trace";

/// The headers that tell the client's span.
pub(crate) const CLIENT_SPAN: [&str; 2] = ["traceparent", "tracestate"];

/// A request to the API, below the span that `header` tells of.
pub(crate) fn request<'a>(
    method: &'static str,
    route: &str,
    header: impl Fn(&str) -> Option<&'a str>,
) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
    );
    if !span.is_disabled() {
        let headers: HashMap<String, String> = CLIENT_SPAN
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), header(name)?.to_owned())))
            .collect();
        // It only fails where the span is not exported.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&headers));
    }
    span
}

/// How a request was answered.
pub(crate) fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", i64::from(status));
    if status >= 500 {
        failed(span);
    }
}

/// A batch of evidence from its arrival to its commit. Counts are signed, or they would be
/// exported as texts.
pub(crate) fn ingest(channel: &'static str) -> Span {
    tracing::info_span!(
        target: TARGET,
        "ingest",
        otel.status_code = Empty,
        mercator.channel = channel,
        mercator.accepted = Empty,
        mercator.duplicates = Empty,
        mercator.quarantined = Empty,
    )
}

/// A step of the log, up to its checkpoint.
pub(crate) fn seal(waiting: u64) -> Span {
    tracing::info_span!(
        target: TARGET,
        "seal",
        otel.status_code = Empty,
        mercator.waiting = waiting as i64,
    )
}

/// The question who has an idempotency key.
pub(crate) fn claim() -> Span {
    tracing::info_span!(target: TARGET, "claim", otel.status_code = Empty)
}

pub(crate) fn failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
}
