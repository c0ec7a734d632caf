//! Gathers what the record of an exchange will say.
//!
//! The inspector reports each thing as it happens; [`Recorder::finish`] adds
//! how it ended. Bodies leave only salted digests and sizes behind.

use crate::bundles::Settings;
use crate::inspector::RequestHead;
use jupiter_evidence::{
    DecisionKind, Emitter, EvidenceRecord, InspectionStatus, MatchedRule, Outcome, PolicyInForce,
    RECORD_VERSION, rfc3339_micros, salted_digest,
};
use jupiter_policy::{Decision, Effect, Verdict};
use jupiter_provider::{Api, Dialect, ReadRequest, ResponseReader};
use sha2::{Digest, Sha256};

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
    seed: Seed,
    response_hash: Sha256,
    response_ended: bool,
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
            subject: None,
            decision: DecisionKind::Error,
            reason: Some(NOT_DECIDED.to_owned()),
            outcome: Outcome::FilterFault,
            matched_rules: vec![],
            shadow_rules: vec![],
            deciding_facts: vec![],
            actions_not_applied: vec![],
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
            stream: false,
            method: String::new(),
            path: String::new(),
            status_code: None,
            request_id: None,
            trace_id: None,
            span_id: None,
            duration_us: 0,
            request_bytes: 0,
            response_bytes: 0,
            request_digest: None,
            response_digest: None,
        };
        let mut response_hash = Sha256::new();
        response_hash.update(seed.salt);
        Recorder {
            record,
            seed,
            response_hash,
            response_ended: false,
        }
    }

    pub fn id(&self) -> String {
        self.record.id.to_string()
    }

    pub fn salt(&self) -> String {
        hex(&self.seed.salt)
    }

    pub fn subject(&self) -> Option<&str> {
        self.record.subject.as_deref()
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
        record.subject = subject(head);
        record.request_id = head.request_id.as_deref().map(clip);
        if let Some((trace_id, span_id)) = head.traceparent.as_deref().and_then(trace_context) {
            record.trace_id = Some(trace_id.to_owned());
            record.span_id = Some(span_id.to_owned());
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
        (record.request_inspection, record.request_unscanned_reason) =
            if let Some(reason) = read.unscanned {
                (InspectionStatus::Unscanned, Some(reason.to_owned()))
            } else if empty {
                (InspectionStatus::None, None)
            } else {
                (InspectionStatus::Inspected, None)
            };
    }

    pub fn on_unscanned_request(&mut self, reason: &str) {
        self.record.request_inspection = InspectionStatus::Unscanned;
        self.record.request_unscanned_reason = Some(reason.to_owned());
    }

    pub fn on_decision(&mut self, decision: &Decision) {
        self.record.matched_rules = decision.matched.iter().map(matched_rule).collect();
        self.record.shadow_rules = decision.shadow.iter().map(matched_rule).collect();
        self.record.deciding_facts = decision.facts.clone();
        // The filter refuses and lets pass; whatever else a rule asks for is told, not done.
        self.record.actions_not_applied = decision
            .actions
            .iter()
            .map(|asked| format!("{}/{}: {}", asked.policy, asked.rule, asked.action.kind()))
            .collect();
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

    pub fn on_response_status(&mut self, status: Option<u16>) {
        self.record.status_code = status;
    }

    pub fn on_stream(&mut self) {
        self.record.stream = true;
    }

    pub fn on_response_bytes(&mut self, bytes: &[u8]) {
        self.record.response_bytes += bytes.len() as u64;
        self.response_hash.update(bytes);
    }

    pub fn on_response_end(&mut self) {
        self.response_ended = true;
    }

    /// What can be said before the end; its place in the chain is not taken.
    pub fn provisional(&self) -> EvidenceRecord {
        self.record.clone()
    }

    /// The finished record, but for its place in the chain.
    pub fn finish(
        mut self,
        end: &ExchangeEnd,
        response: Option<ResponseReader>,
        undecided: bool,
        refused: bool,
    ) -> EvidenceRecord {
        let details = end.details.as_deref().unwrap_or_default();
        self.record.outcome = outcome(refused, undecided, self.response_ended, end.status, details);
        self.record.status_code = end.status.filter(|status| *status > 0);
        self.record.duration_us = end.time_unix_us.saturating_sub(self.seed.time_unix_us);
        if undecided {
            self.on_undecided(details);
        }
        if let Some(reader) = response {
            self.on_answer(reader);
        }
        self.record
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

    fn on_answer(&mut self, reader: ResponseReader) {
        let record = &mut self.record;
        if !reader.has_body() {
            return;
        }
        let digest: [u8; 32] = self.response_hash.finalize_reset().into();
        record.response_digest = Some(hex(&digest));
        let facts = reader.finish(self.response_ended);
        record.response_model = facts.model.as_deref().map(clip);
        record.response_id = facts.id.as_deref().map(clip);
        record.finish_reasons = facts
            .finish_reasons
            .iter()
            .take(16)
            .map(|r| clip(r))
            .collect();
        record.input_tokens = facts.input_tokens;
        record.output_tokens = facts.output_tokens;
        record.response_unscanned_reason = facts.unscanned.map(str::to_owned);
        record.response_inspection = match facts.unscanned {
            Some(_) => InspectionStatus::Unscanned,
            None => InspectionStatus::Inspected,
        };
    }
}

/// Until there is a verdict.
const NOT_DECIDED: &str = "not_decided";

/// From Envoy's response code details, as its documentation lists them.
fn outcome(
    refused: bool,
    undecided: bool,
    response_ended: bool,
    status: Option<u16>,
    details: &str,
) -> Outcome {
    if details.starts_with("wasm_fail_stream") {
        return Outcome::FilterFault;
    }
    if refused {
        return Outcome::Refused;
    }
    if details.starts_with("downstream") || details.starts_with("http2.remote_reset") {
        return Outcome::ClientAborted;
    }
    if undecided {
        return match details.starts_with("request_") {
            true => Outcome::Refused,
            false => Outcome::ClientAborted,
        };
    }
    match (details, status) {
        ("via_upstream", Some(400..)) => Outcome::ProviderError,
        ("via_upstream", Some(_)) if response_ended => Outcome::Completed,
        _ => Outcome::ProviderReset,
    }
}

/// The API key's digest: enough to tell callers apart, useless to log in with.
fn subject(head: &RequestHead) -> Option<String> {
    let bearer = head.authorization.as_deref().map(|value| {
        let (scheme, token) = value.split_once(' ').unwrap_or(("", value));
        if scheme.eq_ignore_ascii_case("bearer") {
            token.trim()
        } else {
            value
        }
    });
    let key = head
        .x_api_key
        .as_deref()
        .or(bearer)
        .filter(|key| !key.is_empty())?;
    let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    Some(format!("key:{}", hex(digest.get(..8)?)))
}

/// Trace and span id of a W3C `traceparent`.
fn trace_context(traceparent: &str) -> Option<(&str, &str)> {
    let mut parts = traceparent.split('-');
    let (_version, trace_id, span_id) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    (is_hex(trace_id, 32) && is_hex(span_id, 16)).then_some((trace_id, span_id))
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_follows_envoys_own_words() {
        use Outcome::*;
        for (refused, undecided, ended, status, details, expected) in [
            (false, false, true, Some(200), "via_upstream", Completed),
            (false, false, true, Some(429), "via_upstream", ProviderError),
            (
                false,
                false,
                false,
                Some(200),
                "via_upstream",
                ProviderReset,
            ),
            (
                false,
                false,
                false,
                Some(200),
                "upstream_reset_after_response_started{connection_termination}",
                ProviderReset,
            ),
            (
                false,
                false,
                true,
                Some(503),
                "no_healthy_upstream",
                ProviderReset,
            ),
            (
                false,
                false,
                false,
                Some(200),
                "downstream_remote_disconnect",
                ClientAborted,
            ),
            (
                false,
                true,
                false,
                None,
                "downstream_remote_disconnect",
                ClientAborted,
            ),
            (
                false,
                true,
                true,
                Some(413),
                "request_payload_too_large",
                Refused,
            ),
            (true, false, true, Some(403), "mercator_x", Refused),
            (
                false,
                false,
                true,
                Some(503),
                "wasm_fail_stream",
                FilterFault,
            ),
        ] {
            assert_eq!(
                outcome(refused, undecided, ended, status, details),
                expected,
                "{details}"
            );
        }
    }

    #[test]
    fn subject_is_a_digest_and_never_the_key() {
        let head = |authorization: Option<&str>, x_api_key: Option<&str>| RequestHead {
            authorization: authorization.map(str::to_owned),
            x_api_key: x_api_key.map(str::to_owned),
            ..RequestHead::default()
        };
        let by_bearer = subject(&head(Some("Bearer sk-test"), None));
        assert_eq!(by_bearer, subject(&head(None, Some("sk-test"))));
        assert_eq!(by_bearer.as_ref().map(String::len), Some("key:".len() + 16));
        assert!(!by_bearer.unwrap_or_default().contains("sk-test"));
        assert_eq!(subject(&head(None, None)), None);
    }

    #[test]
    fn trace_context_is_taken_only_in_its_standard_form() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(
            trace_context(good),
            Some(("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"))
        );
        for bad in [
            "",
            "00-x-y-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(trace_context(bad), None, "{bad}");
        }
    }
}
