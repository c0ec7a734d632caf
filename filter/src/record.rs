//! Gathers what the record of an exchange will say.
//!
//! The inspector reports each thing as it happens; [`Recorder::finish`] adds
//! how it ended. Bodies leave only salted digests and sizes behind.

use crate::bundles::Settings;
mod noted;

use crate::inspector::{Redacted, RequestHead, StreamReport, UNREADABLE_RESPONSE};
use crate::usage::{Asked, Usage};
use jupiter_detect::detectors::Kind;
use jupiter_evidence::{
    AttachmentCount, DecisionKind, Emitter, EvidenceRecord, IdempotencyRun, InspectionStatus,
    MAX_INTEGER, MatchedRule, Outcome, PolicyInForce, RECORD_VERSION, Tag, hex, rfc3339_micros,
    salted_digest, subject_digest,
};
use jupiter_policy::facts::Attachment;
use jupiter_policy::{ActionRequest, Decision, Effect, Verdict};
use jupiter_provider::{Api, Dialect, ReadRequest, Summary};
use jupiter_tokens::prices::{CURRENCY, Price};
use noted::Noted;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Media types told apart in one record.
const MAX_MEDIA_TYPES: usize = 20;

/// What an exchange starts with: when, and randomness of its own.
#[derive(Debug, Clone, Copy)]
pub struct Seed {
    pub time_unix_us: u64,
    pub id_random: [u8; 10],
    pub salt: [u8; 16],
}

/// What the host knows of an exchange when it is over.
#[derive(Debug, Clone, Default)]
pub struct ExchangeEnd {
    pub time_unix_us: u64,
    /// The status that left for the client; `None` or 0: none did.
    pub status: Option<u16>,
    /// Envoy's `response.code_details`.
    pub details: Option<String>,
}

/// The record in the making.
#[derive(Debug)]
pub struct Recorder {
    record: EvidenceRecord,
    /// Who asks, which stays outside the record.
    subject: Option<String>,
    seed: Seed,
    response_hash: Sha256,
    response_ended: bool,
    has_response_body: bool,
    /// Of what the client got; absent while that is what the provider sent.
    delivered_hash: Option<Sha256>,
    withheld: bool,
    noted: Noted,
    /// What the model costs, where that is known.
    price: Option<Price>,
    /// What its provider counts as input, of an exchange that is answered in words.
    asked: Option<Asked>,
}

/// How far an exchange came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Undecided,
    /// Decided; its record was to be stored before it left.
    Unsent,
    Refused,
    /// Answered as an earlier one was.
    Replayed,
    Passed,
}

/// Longest text of the client's that a record takes over (model, path, ids).
const MAX_TEXT: usize = 256;

impl Recorder {
    pub fn new(settings: &Settings, seed: Seed) -> Recorder {
        let id =
            uuid::Builder::from_unix_timestamp_millis(seed.time_unix_us / 1_000, &seed.id_random);
        let policy = settings.bundle.as_ref().map(|in_force| PolicyInForce {
            digest: in_force.digest.clone(),
            commit: in_force.commit.clone(),
            confirmed: in_force
                .confirmed_unix_s
                .map(|seconds| rfc3339_micros(seconds.saturating_mul(1_000_000))),
        });
        let record = EvidenceRecord {
            v: RECORD_VERSION,
            id: id.into_uuid(),
            time: rfc3339_micros(seed.time_unix_us),
            region: settings.config.region.clone(),
            emitter: Emitter {
                id: settings.config.instance.clone(),
                epoch: String::new(),
                seq: 0,
                prev: String::new(),
            },
            subject_digest: None,
            decision: DecisionKind::Error,
            reason: Some(NOT_DECIDED.to_owned()),
            outcome: Outcome::FilterFault,
            stored_first: None,
            idempotency_answer: None,
            idempotency_earlier: None,
            idempotency_key: None,
            idempotency_run: None,
            matched_rules: vec![],
            shadow_rules: vec![],
            deciding_facts: vec![],
            actions_not_applied: vec![],
            response_rules: vec![],
            attachments: vec![],
            findings: vec![],
            redactions: vec![],
            changed_fields: vec![],
            tags: vec![],
            policy,
            request_inspection: InspectionStatus::Unscanned,
            request_unscanned_reason: Some(NOT_DECIDED.to_owned()),
            response_inspection: InspectionStatus::None,
            response_unscanned_reason: None,
            operation: None,
            provider: None,
            request_model: None,
            response_model: None,
            response_id: None,
            finish_reasons: vec![],
            input_tokens: None,
            output_tokens: None,
            usage_estimated: vec![],
            cost_nano: None,
            currency: None,
            stream: false,
            method: String::new(),
            path: String::new(),
            status_code: None,
            request_id: None,
            trace_id: None,
            trace_sampled: None,
            span_id: None,
            duration_us: 0,
            request_bytes: 0,
            response_bytes: 0,
            request_digest: None,
            response_digest: None,
            forwarded_request_digest: None,
            delivered_response_digest: None,
        };
        let mut response_hash = Sha256::new();
        response_hash.update(seed.salt);
        Recorder {
            record,
            subject: None,
            seed,
            response_hash,
            response_ended: false,
            has_response_body: false,
            delivered_hash: None,
            withheld: false,
            noted: Noted::default(),
            price: None,
            asked: None,
        }
    }

    pub fn id(&self) -> String {
        self.record.id.to_string()
    }

    pub fn salt(&self) -> String {
        hex(&self.seed.salt)
    }

    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    pub fn on_subject(&mut self, subject: Option<String>) {
        self.record.subject_digest = subject
            .as_deref()
            .map(|subject| subject_digest(&self.seed.salt, subject));
        self.subject = subject;
    }

    pub fn on_request(
        &mut self,
        head: &RequestHead,
        path: &str,
        api: Option<Api>,
        dialect: Dialect,
    ) {
        let record = &mut self.record;
        record.method = clip(&head.method);
        record.path = clip(path);
        record.operation = api.map(|api| api.operation_name().to_owned());
        record.provider = api.map(|_| dialect.provider_name().to_owned());
        record.request_id = head.request_id.as_deref().map(clip);
        if let Some(client) = head.traceparent.as_deref().and_then(trace_context) {
            record.trace_id = Some(client.trace_id.to_owned());
            record.span_id = Some(client.span_id.to_owned());
            record.trace_sampled = Some(client.is_sampled);
        }
    }

    /// Bytes that were not kept for reading.
    pub fn on_request_bytes(&mut self, bytes: usize) {
        self.record.request_bytes += bytes as u64;
    }

    pub fn on_request_body(&mut self, body: &[u8]) {
        self.record.request_bytes = body.len() as u64;
        if !body.is_empty() {
            self.record.request_digest = Some(salted_digest(&self.seed.salt, body));
        }
    }

    pub fn on_read(&mut self, read: &ReadRequest, empty: bool) {
        let record = &mut self.record;
        record.request_model = read.facts.model.as_deref().map(clip);
        record.stream |= read.facts.stream.unwrap_or(false);
        record.attachments = attachments(&read.facts.attachments);
        (record.request_inspection, record.request_unscanned_reason) =
            if let Some(reason) = read.unscanned {
                (InspectionStatus::Unscanned, Some(reason.to_owned()))
            } else if empty {
                (InspectionStatus::None, None)
            } else {
                (InspectionStatus::Inspected, None)
            };
    }

    pub fn on_price(&mut self, price: Option<Price>) {
        self.price = price;
    }

    pub(crate) fn on_asked(&mut self, asked: Asked) {
        self.asked = Some(asked);
    }

    /// Bytes held at the moment.
    pub fn kept_bytes(&self) -> usize {
        self.asked.as_ref().map_or(0, Asked::kept_bytes)
    }

    pub fn on_unscanned_request(&mut self, reason: &str) {
        self.record.request_inspection = InspectionStatus::Unscanned;
        self.record.request_unscanned_reason = Some(reason.to_owned());
    }

    pub fn on_decision(&mut self, decision: &Decision) {
        self.record.matched_rules = decision.matched.iter().map(matched_rule).collect();
        self.record.shadow_rules = decision.shadow.iter().map(matched_rule).collect();
        self.record.deciding_facts = decision.facts.clone();
        let code = decision.denial.as_ref().map(|denial| denial.code.as_str());
        match decision.verdict {
            Verdict::Allow => self.on_verdict(DecisionKind::Allow, None),
            Verdict::Deny => self.on_verdict(DecisionKind::Deny, code),
        }
    }

    pub fn on_verdict(&mut self, decision: DecisionKind, reason: Option<&str>) {
        self.record.decision = decision;
        self.record.reason = reason.map(str::to_owned);
    }

    /// The request has a key.
    pub fn on_key(&mut self, digest: &str) {
        self.record.idempotency_key = Some(digest.to_owned());
    }

    /// It goes on, so far as its key is concerned.
    pub fn on_run(&mut self, run: IdempotencyRun) {
        self.record.idempotency_run = Some(run);
    }

    pub fn run(&self) -> Option<IdempotencyRun> {
        self.record.idempotency_run
    }

    /// It gets what another one was answered: that cost nothing more.
    pub fn on_replayed(&mut self, body: &[u8]) {
        let record = &mut self.record;
        record.delivered_response_digest = Some(salted_digest(&self.seed.salt, body));
        record.input_tokens = Some(0);
        record.output_tokens = Some(0);
        record.cost_nano = Some(0);
        record.currency = Some(CURRENCY.to_owned());
    }

    /// Who had the key before.
    pub fn on_earlier(&mut self, exchange: Option<Uuid>) {
        self.record.idempotency_earlier = exchange;
    }

    pub fn earlier(&self) -> Option<Uuid> {
        self.record.idempotency_earlier
    }

    pub fn on_response_status(&mut self, status: Option<u16>) {
        self.record.status_code = status;
    }

    pub fn on_stream(&mut self) {
        self.record.stream = true;
    }

    pub fn on_response_bytes(&mut self, bytes: &[u8]) {
        self.has_response_body |= !bytes.is_empty();
        self.record.response_bytes += bytes.len() as u64;
        self.response_hash.update(bytes);
    }

    pub fn on_response_end(&mut self) {
        self.response_ended = true;
    }

    pub fn response_ended(&self) -> bool {
        self.response_ended
    }

    /// Rules on the answer, once they are decided.
    pub fn on_response_decision(&mut self, decision: &Decision) {
        let record = &mut self.record;
        record.response_rules = decision.matched.iter().map(matched_rule).collect();
        let shadow = decision.shadow.iter().map(matched_rule);
        record.shadow_rules.extend(shadow);
        for fact in &decision.facts {
            if !record.deciding_facts.contains(fact) {
                record.deciding_facts.push(fact.clone());
            }
        }
        if let Some(denial) = &decision.denial {
            self.on_verdict(DecisionKind::Deny, Some(&denial.code));
        }
    }

    pub fn on_finding(&mut self, place: &str, kind: Kind, count: u64) {
        self.noted.found(place, kind, count);
    }

    pub(crate) fn on_redacted(&mut self, redacted: &[Redacted]) {
        redacted.iter().for_each(|it| self.noted.redacted(it, 1));
    }

    pub fn on_set(&mut self, field: &str) {
        let fields = &mut self.record.changed_fields;
        if !fields.iter().any(|known| known == field) {
            fields.push(field.to_owned());
        }
    }

    pub fn on_tags(&mut self, tags: &[(String, String)]) {
        let tags = tags.iter().map(|(name, value)| Tag {
            name: name.clone(),
            value: clip(value),
        });
        self.record.tags.extend(tags);
    }

    /// Actions that matched rules asked for and that were not carried out.
    pub fn on_not_applied(&mut self, actions: Vec<String>) {
        self.record.actions_not_applied.extend(actions);
    }

    /// What went to the provider instead of what the client sent.
    pub fn on_forwarded(&mut self, body: &[u8]) {
        self.record.forwarded_request_digest = Some(salted_digest(&self.seed.salt, body));
    }

    /// What of a judged answer left for the client, piece by piece.
    pub fn on_delivered(&mut self, bytes: &[u8]) {
        let hash = self.delivered_hash.get_or_insert_with(|| {
            let mut hash = Sha256::new();
            hash.update(self.seed.salt);
            hash
        });
        hash.update(bytes);
    }

    /// The answer is refused.
    pub fn on_withheld(&mut self) {
        self.withheld = true;
    }

    /// So many bytes of a body are held that is not read.
    pub fn on_request_size(&mut self, bytes: usize) {
        self.record.request_bytes = bytes as u64;
    }

    /// A body of so many bytes that were not handed over.
    pub fn on_response_size(&mut self, bytes: usize) {
        self.record.response_bytes = bytes as u64;
    }

    pub fn on_unscanned_response(&mut self, reason: &str) {
        self.record.response_inspection = InspectionStatus::Unscanned;
        self.record.response_unscanned_reason = Some(reason.to_owned());
    }

    /// What a stream that was judged came to.
    pub(crate) fn on_stream_report(&mut self, report: StreamReport) {
        for ((place, kind), count) in report.found {
            self.on_finding(place, kind, count);
        }
        for (redacted, count) in &report.redacted {
            self.noted.redacted(redacted, *count);
        }
        self.on_not_applied(report.not_applied);
        if let Some(decision) = &report.decision {
            self.on_response_decision(decision);
            for asked in &decision.actions {
                if let ActionRequest::Tag { tags } = &asked.action {
                    self.on_tags(tags);
                }
            }
        }
        if report.is_unread_refusal {
            self.on_verdict(DecisionKind::Error, Some(UNREADABLE_RESPONSE));
        }
        self.withheld |= report.is_stopped;
        self.on_summary(&report.summary);
    }

    /// What can be said before the end; its place in the chain is not taken.
    pub fn provisional(&self) -> EvidenceRecord {
        let mut record = self.record.clone();
        (record.findings, record.redactions) = self.noted.clone().into_counts();
        record
    }

    /// What is to be stored before the request leaves.
    pub fn intent(&self) -> EvidenceRecord {
        let mut record = self.provisional();
        record.outcome = Outcome::Pending;
        record
    }

    /// Whether the record that had to be stored before the request leaves was.
    pub fn on_stored_first(&mut self, stored: bool) {
        self.record.stored_first = Some(stored);
    }

    /// The finished record, but for its place in the chain.
    pub fn finish(mut self, end: &ExchangeEnd, ending: Ending) -> EvidenceRecord {
        let details = end.details.as_deref().unwrap_or_default();
        self.record.outcome = match self.withheld {
            true => Outcome::Withheld,
            false => outcome(ending, self.response_ended, end.status, details),
        };
        self.record.status_code = end.status.filter(|status| *status > 0);
        self.record.duration_us = end.time_unix_us.saturating_sub(self.seed.time_unix_us);
        if ending == Ending::Undecided {
            self.on_undecided(details);
        }
        self.on_digests(ending);
        (self.record.findings, self.record.redactions) = self.noted.into_counts();
        self.record
    }

    fn on_digests(&mut self, ending: Ending) {
        if ending != Ending::Passed || !self.has_response_body {
            return;
        }
        let sent: [u8; 32] = self.response_hash.finalize_reset().into();
        let delivered = self.delivered_hash.take();
        let delivered = delivered.map(|hash| <[u8; 32]>::from(hash.finalize()));
        self.record.response_digest = Some(hex(&sent));
        let changed = delivered.filter(|delivered| *delivered != sent);
        self.record.delivered_response_digest = changed.map(|digest| hex(&digest));
    }

    /// Envoy or the client ended it before we could decide.
    fn on_undecided(&mut self, details: &str) {
        let reason = match details.starts_with("request_payload_too_large") {
            true => "body_too_large",
            false => "request_incomplete",
        };
        self.on_verdict(DecisionKind::Error, Some(reason));
        self.on_unscanned_request(reason);
    }

    /// What an answer said of itself.
    pub fn on_summary(&mut self, summary: &Summary) {
        let record = &mut self.record;
        record.response_model = summary.model.as_deref().map(clip);
        record.response_id = summary.id.as_deref().map(clip);
        record.finish_reasons = summary
            .finish_reasons
            .iter()
            .take(16)
            .map(|it| clip(it))
            .collect();
        let usage = Usage::of(
            summary,
            self.asked.as_ref(),
            record.request_model.as_deref(),
        );
        let told = |tokens: Option<u64>| tokens.map(|tokens| tokens.min(MAX_INTEGER));
        record.input_tokens = told(usage.input);
        record.output_tokens = told(usage.output);
        record.usage_estimated = usage.estimated.iter().map(|it| (*it).to_owned()).collect();
        if let (Some(price), Some(input), Some(output)) = (self.price, usage.input, usage.output) {
            let cost = price.of(input, output).total_nano();
            record.cost_nano = Some(cost.min(MAX_INTEGER));
            record.currency = Some(CURRENCY.to_owned());
        }
        record.response_inspection = match summary.unscanned {
            Some(_) => InspectionStatus::Unscanned,
            None => InspectionStatus::Inspected,
        };
        record.response_unscanned_reason = summary.unscanned.map(str::to_owned);
    }
}

/// Until there is a verdict.
const NOT_DECIDED: &str = "not_decided";

/// From Envoy's response code details, as its documentation lists them.
fn outcome(ending: Ending, response_ended: bool, status: Option<u16>, details: &str) -> Outcome {
    if details.starts_with("wasm_fail_stream") {
        return Outcome::FilterFault;
    }
    let aborted = details.starts_with("downstream") || details.starts_with("http2.remote_reset");
    match ending {
        Ending::Refused => Outcome::Refused,
        _ if aborted => Outcome::ClientAborted,
        Ending::Replayed => Outcome::Completed,
        Ending::Undecided | Ending::Unsent if details.starts_with("request_") => Outcome::Refused,
        Ending::Undecided | Ending::Unsent => Outcome::ClientAborted,
        Ending::Passed => match (details, status) {
            ("via_upstream", Some(400..)) => Outcome::ProviderError,
            ("via_upstream", Some(_)) if response_ended => Outcome::Completed,
            _ => Outcome::ProviderReset,
        },
    }
}

/// What a W3C `traceparent` says of the client's span.
#[derive(Debug, PartialEq, Eq)]
struct TraceContext<'a> {
    trace_id: &'a str,
    span_id: &'a str,
    is_sampled: bool,
}

/// Reads a `traceparent`; versions to come may say more behind the flags.
fn trace_context(traceparent: &str) -> Option<TraceContext<'_>> {
    let mut parts = traceparent.split('-');
    let mut part = |digits: usize| {
        let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        let text = parts.next()?;
        (text.len() == digits && text.bytes().all(is_hex)).then_some(text)
    };
    let (version, trace_id, span_id, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    let is_nothing = |id: &str| id.bytes().all(|b| b == b'0');
    let says_more = parts.next().is_some();
    if version == "ff" || (version == "00" && says_more) {
        return None;
    }
    if is_nothing(trace_id) || is_nothing(span_id) {
        return None;
    }
    Some(TraceContext {
        trace_id,
        span_id,
        is_sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
    })
}

/// Attachments by kind and media type; beyond so many types they are counted by kind alone.
fn attachments(all: &[Attachment]) -> Vec<AttachmentCount> {
    let mut counts: Vec<AttachmentCount> = Vec::new();
    for attachment in all {
        let kind = attachment.kind.as_str();
        let is = |it: &AttachmentCount, media_type: &Option<String>| {
            it.kind == kind && it.media_type == *media_type
        };
        let known = counts.iter().any(|it| is(it, &attachment.media_type));
        let media_type = match known || counts.len() < MAX_MEDIA_TYPES {
            true => attachment.media_type.clone(),
            false => None,
        };
        let bytes = attachment.bytes.unwrap_or(0);
        match counts.iter_mut().find(|it| is(it, &media_type)) {
            Some(counted) => {
                counted.count += 1;
                counted.bytes += bytes;
            }
            None => counts.push(AttachmentCount {
                kind: kind.to_owned(),
                media_type,
                count: 1,
                bytes,
            }),
        }
    }
    counts
}

fn matched_rule(matched: &jupiter_policy::MatchedRule) -> MatchedRule {
    MatchedRule {
        policy: matched.policy.clone(),
        rule: matched.rule.clone(),
        effect: effect_name(matched.effect).to_owned(),
    }
}

fn effect_name(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "allow",
        Effect::Deny => "deny",
        Effect::Log => "log",
    }
}

fn clip(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_follows_envoys_own_words() {
        use Outcome::*;
        for (ending, ended, status, details, expected) in [
            (Ending::Passed, true, Some(200), "via_upstream", Completed),
            (
                Ending::Passed,
                true,
                Some(429),
                "via_upstream",
                ProviderError,
            ),
            (
                Ending::Passed,
                false,
                Some(200),
                "via_upstream",
                ProviderReset,
            ),
            (
                Ending::Passed,
                false,
                Some(200),
                "upstream_reset_after_response_started{connection_termination}",
                ProviderReset,
            ),
            (
                Ending::Passed,
                true,
                Some(503),
                "no_healthy_upstream",
                ProviderReset,
            ),
            (
                Ending::Passed,
                false,
                Some(200),
                "downstream_remote_disconnect",
                ClientAborted,
            ),
            (
                Ending::Undecided,
                false,
                None,
                "downstream_remote_disconnect",
                ClientAborted,
            ),
            (
                Ending::Undecided,
                true,
                Some(413),
                "request_payload_too_large",
                Refused,
            ),
            (Ending::Refused, true, Some(403), "mercator_x", Refused),
            (
                Ending::Passed,
                true,
                Some(503),
                "wasm_fail_stream",
                FilterFault,
            ),
            (
                Ending::Replayed,
                true,
                Some(200),
                "mercator_idempotency_replayed",
                Completed,
            ),
            (
                Ending::Replayed,
                false,
                Some(200),
                "downstream_remote_disconnect",
                ClientAborted,
            ),
        ] {
            assert_eq!(
                outcome(ending, ended, status, details),
                expected,
                "{details}"
            );
        }
    }

    #[test]
    fn trace_context_is_taken_only_in_its_standard_form() {
        let (trace_id, span_id) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        for (good, is_sampled) in [
            (format!("00-{trace_id}-{span_id}-01"), true),
            (format!("00-{trace_id}-{span_id}-03"), true),
            (format!("00-{trace_id}-{span_id}-00"), false),
            (format!("00-{trace_id}-{span_id}-02"), false),
            (format!("01-{trace_id}-{span_id}-01-what-is-to-come"), true),
        ] {
            let expected = TraceContext {
                trace_id,
                span_id,
                is_sampled,
            };
            assert_eq!(trace_context(&good), Some(expected), "{good}");
        }
        for bad in [
            "",
            "00-x-y-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(trace_context(bad), None, "{bad}");
        }
    }
}
