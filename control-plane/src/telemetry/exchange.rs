//! Tells an exchange as a span, from its record.
//!
//! Names and attributes are those of OpenTelemetry's conventions for generative AI, and
//! our own under `mercator.`. What a record does not hold is in no span: no text of a
//! request or an answer, no credential. Its path and the subject's digest stay out, too.
//! Ids are made of the record's own, so that whoever has one finds the other.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jupiter_evidence::{EvidenceRecord, MatchedRule, Outcome};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Array, Context, InstrumentationScope, Key, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{
    Sampler, SamplingDecision, ShouldSample, SpanData, SpanEvents, SpanLinks,
};
use sha2::{Digest, Sha256};

/// The span of an exchange, unless `sampler` leaves it out.
pub(super) fn span(
    record: &EvidenceRecord,
    time: Timestamp,
    sampler: &Sampler,
    scope: &InstrumentationScope,
) -> Option<SpanData> {
    let parent = client_span(record);
    let trace_id = match &parent {
        Some(parent) => parent.trace_id(),
        None => own_trace_id(record),
    };
    let context = parent
        .clone()
        .map(|parent| Context::new().with_remote_span_context(parent));
    let name = name(record);
    let sampled = sampler.should_sample(
        context.as_ref(),
        trace_id,
        &name,
        &SpanKind::Client,
        &[],
        &[],
    );
    if sampled.decision != SamplingDecision::RecordAndSample {
        return None;
    }
    // No record is older than the epoch.
    let since_epoch = u64::try_from(time.as_microsecond()).unwrap_or(0);
    let start_time = SystemTime::UNIX_EPOCH + Duration::from_micros(since_epoch);
    let took = Duration::from_micros(record.duration_us);
    let parent_span_id = parent
        .as_ref()
        .map_or(SpanId::INVALID, SpanContext::span_id);
    Some(SpanData {
        span_context: SpanContext::new(
            trace_id,
            own_span_id(record),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id,
        parent_span_is_remote: parent.is_some(),
        span_kind: SpanKind::Client,
        name: Cow::Owned(name),
        start_time,
        end_time: start_time.checked_add(took).unwrap_or(start_time),
        attributes: attributes(record),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: status(record),
        instrumentation_scope: scope.clone(),
    })
}

/// The client's span, which is the parent. A record is what an emitter sent: ids that are
/// none count as absent.
fn client_span(record: &EvidenceRecord) -> Option<SpanContext> {
    let trace_id = TraceId::from_hex(record.trace_id.as_deref()?).ok()?;
    let span_id = SpanId::from_hex(record.span_id.as_deref()?).ok()?;
    let flags = TraceFlags::default().with_sampled(record.trace_sampled.unwrap_or(true));
    let parent = SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE);
    parent.is_valid().then_some(parent)
}

/// The last eight bytes of the exchange's id: random but for two bits, one of which is set.
fn own_span_id(record: &EvidenceRecord) -> SpanId {
    SpanId::from_bytes((record.id.as_u64_pair().1).to_be_bytes())
}

/// Of an exchange whose client has no trace. Hashed, since samplers take the last bytes of
/// a trace id for evenly distributed, and two bits of a UUID never change.
fn own_trace_id(record: &EvidenceRecord) -> TraceId {
    let hash: [u8; 32] = Sha256::digest(record.id.as_bytes()).into();
    let [first, _] = hash.as_chunks::<16>().0 else {
        return TraceId::INVALID;
    };
    TraceId::from_bytes(*first)
}

/// `chat gpt-4o`; `POST` of what is no operation on a model.
fn name(record: &EvidenceRecord) -> String {
    match (&record.operation, &record.request_model) {
        (Some(operation), Some(model)) => format!("{operation} {model}"),
        (Some(operation), None) => operation.clone(),
        (None, _) => match record.method.as_str() {
            known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH") => {
                known.to_owned()
            }
            _ => "HTTP".to_owned(),
        },
    }
}

fn status(record: &EvidenceRecord) -> Status {
    match record.outcome {
        Outcome::Completed => Status::Unset,
        _ => Status::error(record.reason.clone().unwrap_or_default()),
    }
}

/// What an exchange failed of, in few words: how it ended, or the provider's status.
pub(super) fn error_type(record: &EvidenceRecord) -> Option<Cow<'static, str>> {
    match (record.outcome, record.status_code) {
        (Outcome::Completed, _) => None,
        (Outcome::ProviderError, Some(status)) => Some(Cow::Owned(status.to_string())),
        (outcome, _) => Some(Cow::Borrowed(outcome.as_str())),
    }
}

fn attributes(record: &EvidenceRecord) -> Vec<KeyValue> {
    let mut all = Attributes(Vec::with_capacity(24));
    all.text("gen_ai.operation.name", record.operation.as_deref());
    all.text("gen_ai.provider.name", record.provider.as_deref());
    all.text("gen_ai.request.model", record.request_model.as_deref());
    if record.stream {
        all.add("gen_ai.request.stream", true);
    }
    all.text("gen_ai.response.model", record.response_model.as_deref());
    all.text("gen_ai.response.id", record.response_id.as_deref());
    all.texts("gen_ai.response.finish_reasons", &record.finish_reasons);
    all.number("gen_ai.usage.input_tokens", record.input_tokens);
    all.number("gen_ai.usage.output_tokens", record.output_tokens);
    all.text("http.request.method", Some(&record.method));
    all.number(
        "http.response.status_code",
        record.status_code.map(u64::from),
    );
    all.text("error.type", error_type(record).as_deref());
    all.add("mercator.exchange.id", record.id.to_string());
    all.text("mercator.decision", Some(record.decision.as_str()));
    all.text("mercator.reason", record.reason.as_deref());
    all.text("mercator.outcome", Some(record.outcome.as_str()));
    all.texts("mercator.matched_rules", &rules(&record.matched_rules));
    all.texts("mercator.response_rules", &rules(&record.response_rules));
    all.texts("mercator.shadow_rules", &rules(&record.shadow_rules));
    let policy = record.policy.as_ref();
    all.text(
        "mercator.policy.digest",
        policy.map(|it| it.digest.as_str()),
    );
    let commit = policy.and_then(|it| it.commit.as_deref());
    all.text("mercator.policy.commit", commit);
    all.number("mercator.cost_nano", record.cost_nano);
    all.text("mercator.currency", record.currency.as_deref());
    all.texts("mercator.usage_estimated", &record.usage_estimated);
    all.text("mercator.region", Some(&record.region));
    all.text("mercator.instance", Some(&record.emitter.id));
    all.0
}

fn rules(matched: &[MatchedRule]) -> Vec<String> {
    let name = |rule: &MatchedRule| format!("{}/{}", rule.policy, rule.rule);
    matched.iter().map(name).collect()
}

/// What a record lacks has no attribute.
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn add(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.push(KeyValue::new(Key::from_static_str(key), value));
    }

    fn text(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(key, value.to_owned());
        }
    }

    fn number(&mut self, key: &'static str, value: Option<u64>) {
        // Records hold no number that does not fit.
        if let Some(value) = value.and_then(|value| i64::try_from(value).ok()) {
            self.add(key, value);
        }
    }

    fn texts(&mut self, key: &'static str, values: &[String]) {
        if !values.is_empty() {
            let values = values.iter().cloned().map(StringValue::from).collect();
            self.add(key, Value::Array(Array::String(values)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::samples;
    use jupiter_evidence::{DecisionKind, PolicyInForce};

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn parent_based() -> Sampler {
        Sampler::ParentBased(Box::new(Sampler::AlwaysOn))
    }

    fn record() -> EvidenceRecord {
        EvidenceRecord {
            decision: DecisionKind::Allow,
            reason: None,
            outcome: Outcome::Completed,
            operation: Some("chat".to_owned()),
            provider: Some("openai".to_owned()),
            request_model: Some("gpt-4o".to_owned()),
            response_model: Some("gpt-4o-2024-08-06".to_owned()),
            response_id: Some("chatcmpl-1".to_owned()),
            finish_reasons: vec!["stop".to_owned()],
            input_tokens: Some(12),
            output_tokens: Some(34),
            status_code: Some(200),
            stream: true,
            trace_id: Some(TRACE.to_owned()),
            span_id: Some(SPAN.to_owned()),
            trace_sampled: Some(true),
            duration_us: 1_500_000,
            ..samples::record(0, 1)
        }
    }

    fn told(record: &EvidenceRecord, sampler: &Sampler) -> Option<SpanData> {
        let time = record.time.parse().unwrap();
        span(record, time, sampler, &InstrumentationScope::default())
    }

    fn attribute(span: &SpanData, key: &str) -> Option<String> {
        let found = span.attributes.iter().find(|it| it.key.as_str() == key);
        found.map(|it| it.value.to_string())
    }

    #[test]
    fn exchange_is_a_span_below_that_of_its_client() {
        let record = record();
        let span = told(&record, &parent_based()).unwrap();
        assert_eq!(span.name, "chat gpt-4o");
        assert_eq!(span.span_kind, SpanKind::Client);
        assert_eq!(span.span_context.trace_id().to_string(), TRACE);
        assert_eq!(span.parent_span_id.to_string(), SPAN);
        assert!(span.parent_span_is_remote);
        let own = record.id.as_u64_pair().1;
        assert_eq!(
            span.span_context.span_id().to_string(),
            format!("{own:016x}")
        );
        assert_eq!(span.status, Status::Unset);
        let took = span.end_time.duration_since(span.start_time).unwrap();
        assert_eq!(took, Duration::from_micros(record.duration_us));
        for (key, value) in [
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "openai"),
            ("gen_ai.request.model", "gpt-4o"),
            ("gen_ai.request.stream", "true"),
            ("gen_ai.response.model", "gpt-4o-2024-08-06"),
            ("gen_ai.response.id", "chatcmpl-1"),
            ("gen_ai.response.finish_reasons", "[\"stop\"]"),
            ("gen_ai.usage.input_tokens", "12"),
            ("gen_ai.usage.output_tokens", "34"),
            ("http.response.status_code", "200"),
            ("mercator.exchange.id", &record.id.to_string()),
            ("mercator.decision", "allow"),
            ("mercator.outcome", "completed"),
        ] {
            assert_eq!(attribute(&span, key).as_deref(), Some(value), "{key}");
        }
        assert_eq!(attribute(&span, "error.type"), None);
    }

    #[test]
    fn denial_is_a_failed_span_that_names_rule_and_policy() {
        let rule = MatchedRule {
            policy: "models".to_owned(),
            rule: "approved".to_owned(),
            effect: "deny".to_owned(),
        };
        let record = EvidenceRecord {
            decision: DecisionKind::Deny,
            reason: Some("model_not_approved".to_owned()),
            outcome: Outcome::Refused,
            status_code: Some(403),
            matched_rules: vec![rule],
            policy: Some(PolicyInForce {
                digest: "sha256:ab".to_owned(),
                commit: None,
                confirmed: None,
            }),
            ..record()
        };
        let span = told(&record, &parent_based()).unwrap();
        assert_eq!(span.status, Status::error("model_not_approved"));
        for (key, value) in [
            ("error.type", "refused"),
            ("mercator.decision", "deny"),
            ("mercator.reason", "model_not_approved"),
            ("mercator.matched_rules", "[\"models/approved\"]"),
            ("mercator.policy.digest", "sha256:ab"),
        ] {
            assert_eq!(attribute(&span, key).as_deref(), Some(value), "{key}");
        }
    }

    #[test]
    fn provider_error_is_classed_by_its_status() {
        let failed = |outcome, status_code| {
            let record = EvidenceRecord {
                outcome,
                status_code,
                ..record()
            };
            error_type(&record).map(Cow::into_owned)
        };
        assert_eq!(
            failed(Outcome::ProviderError, Some(429)).as_deref(),
            Some("429")
        );
        assert_eq!(
            failed(Outcome::ProviderReset, Some(200)).as_deref(),
            Some("provider_reset")
        );
        assert_eq!(failed(Outcome::Completed, Some(200)), None);
    }

    #[test]
    fn client_that_does_not_sample_has_no_span_here_either() {
        let record = EvidenceRecord {
            trace_sampled: Some(false),
            ..record()
        };
        assert_eq!(told(&record, &parent_based()), None);
        assert!(told(&record, &Sampler::AlwaysOn).is_some());
        // Of a filter that does not tell yet.
        let record = EvidenceRecord {
            trace_sampled: None,
            ..record
        };
        assert!(told(&record, &parent_based()).is_some());
    }

    #[test]
    fn exchange_without_a_trace_begins_one_and_is_sampled_evenly() {
        let half = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(0.5)));
        let mut kept = 0;
        for number in 0..1_000 {
            let record = EvidenceRecord {
                trace_id: (number % 2 == 0).then(|| "0".repeat(32)),
                span_id: Some(SPAN.to_owned()),
                ..samples::record(number * 1_000, number)
            };
            let span = told(&record, &parent_based()).unwrap();
            assert_eq!(span.parent_span_id, SpanId::INVALID);
            assert!(span.span_context.is_valid());
            assert_eq!(told(&record, &parent_based()), Some(span));
            kept += usize::from(told(&record, &half).is_some());
        }
        assert!((400..600).contains(&kept), "{kept}");
    }

    #[test]
    fn nothing_of_who_asked_and_no_path_is_in_a_span() {
        let record = EvidenceRecord {
            path: "/v1/chat/a-path".to_owned(),
            subject_digest: Some("a-digest".to_owned()),
            request_digest: Some("a-digest".to_owned()),
            request_id: Some("a-request".to_owned()),
            operation: None,
            method: "BREW".to_owned(),
            ..record()
        };
        let span = told(&record, &parent_based()).unwrap();
        assert_eq!(span.name, "HTTP");
        let told = format!("{span:?}");
        for secret in ["a-path", "a-digest", "a-request"] {
            assert!(!told.contains(secret), "{told}");
        }
    }
}
