//! The record of an exchange of which nothing is known but when it began.
//!
//! It claims nothing: not decided, not inspected. [`super::Recorder`] writes over it what
//! happens, so what did not happen stays said as such.

use super::Seed;
use crate::bundles::Settings;
use jupiter_evidence::{
    DecisionKind, Emitter, EvidenceRecord, InspectionStatus, Outcome, PolicyInForce,
    RECORD_VERSION, rfc3339_micros,
};

/// Until there is a verdict.
const NOT_DECIDED: &str = "not_decided";

pub(super) fn blank(settings: &Settings, seed: &Seed) -> EvidenceRecord {
    let id = uuid::Builder::from_unix_timestamp_millis(seed.time_unix_us / 1_000, &seed.id_random);
    let policy = settings.bundle.as_ref().map(|in_force| PolicyInForce {
        digest: in_force.digest.clone(),
        commit: in_force.commit.clone(),
        confirmed: in_force
            .confirmed_unix_s
            .map(|seconds| rfc3339_micros(seconds.saturating_mul(1_000_000))),
    });
    EvidenceRecord {
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
    }
}
