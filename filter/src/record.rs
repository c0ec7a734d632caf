//! Gathers what the record of an exchange will say.
//!
//! The inspector reports each thing as it happens; [`Recorder::finish`] adds
//! how it ended. Bodies leave only salted digests and sizes behind.

mod attachments;
mod blank;
mod noted;
mod outcome;
mod trace;

pub use outcome::Ending;

use crate::bundles::Settings;
use crate::inspector::{Redacted, RequestHead, StreamReport, UNREADABLE_RESPONSE};
use crate::usage::{Asked, Usage};
use attachments::attachments;
use blank::blank;
use jupiter_detect::detectors::Kind;
use jupiter_evidence::{
    DecisionKind, EvidenceRecord, IdempotencyRun, InspectionStatus, MAX_INTEGER, MatchedRule,
    Outcome, Tag, hex, salted_digest, subject_digest,
};
use jupiter_policy::{ActionRequest, Decision, Effect, Verdict};
use jupiter_provider::{Api, Dialect, ReadRequest, Summary};
use jupiter_tokens::prices::{CURRENCY, Price};
use noted::Noted;
use outcome::outcome;
use sha2::{Digest, Sha256};
use trace::trace_context;
use uuid::Uuid;

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

/// Longest text of the client's that a record takes over (model, path, ids).
const MAX_TEXT: usize = 256;

impl Recorder {
    pub fn new(settings: &Settings, seed: Seed) -> Recorder {
        let mut response_hash = Sha256::new();
        response_hash.update(seed.salt);
        Recorder {
            record: blank(settings, &seed),
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
