//! The published schema and the record agree, field by field.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers that fail, fail their test"
)]

use jupiter_evidence::{
    AttachmentCount, DecisionKind, Emitter, EvidenceRecord, FindingCount, IdempotencyAnswer,
    IdempotencyRun, InspectionStatus, MatchedRule, Outcome, PolicyInForce, RECORD_SCHEMA,
    RECORD_VERSION, RedactionCount, Tag, rfc3339_micros, salted_digest,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A record in which nothing is absent.
fn full() -> EvidenceRecord {
    let text = || Some("text".to_owned());
    let rule = MatchedRule {
        policy: "guard".into(),
        rule: "seen".into(),
        effect: "log".into(),
    };
    EvidenceRecord {
        v: RECORD_VERSION,
        id: uuid::Builder::from_unix_timestamp_millis(1_795_367_345_000, &[9; 10]).into_uuid(),
        time: rfc3339_micros(1_795_367_345_000_001),
        region: "local".into(),
        emitter: Emitter {
            id: "jupiter-1".into(),
            epoch: "0a".repeat(16),
            seq: 1,
            prev: "0b".repeat(32),
        },
        subject_digest: Some("ab".repeat(32)),
        decision: DecisionKind::Deny,
        reason: text(),
        outcome: Outcome::Refused,
        stored_first: Some(true),
        idempotency_answer: Some(IdempotencyAnswer::Kept),
        idempotency_earlier: Some(uuid::Builder::from_random_bytes([7; 16]).into_uuid()),
        idempotency_key: text(),
        idempotency_run: Some(IdempotencyRun::Again),
        matched_rules: vec![rule.clone()],
        shadow_rules: vec![rule.clone()],
        deciding_facts: vec!["request.model".into()],
        response_rules: vec![rule.clone()],
        attachments: vec![AttachmentCount {
            kind: "image".into(),
            media_type: Some("image/png".into()),
            count: 2,
            bytes: 4096,
        }],
        findings: vec![FindingCount {
            place: "request.text".into(),
            kind: "email".into(),
            count: 1,
        }],
        redactions: vec![RedactionCount {
            place: "request.text".into(),
            kind: "email".into(),
            method: "mask".into(),
            count: 1,
        }],
        changed_fields: vec!["request.model".into()],
        tags: vec![Tag {
            name: "team".into(),
            value: String::new(),
        }],
        actions_not_applied: vec!["guard/seen: redact".into()],
        policy: Some(PolicyInForce {
            digest: format!("sha256:{}", "ab".repeat(32)),
            commit: text(),
            confirmed: text(),
        }),
        request_inspection: InspectionStatus::Unscanned,
        request_unscanned_reason: text(),
        response_inspection: InspectionStatus::Unscanned,
        response_unscanned_reason: text(),
        operation: text(),
        provider: text(),
        request_model: text(),
        response_model: text(),
        response_id: text(),
        finish_reasons: vec!["stop".into()],
        input_tokens: Some(1),
        output_tokens: Some(2),
        usage_estimated: vec!["output_tokens".into()],
        cost_nano: Some(52_500),
        currency: text(),
        stream: true,
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        status_code: Some(403),
        request_id: text(),
        trace_id: text(),
        trace_sampled: Some(true),
        span_id: text(),
        duration_us: 1,
        request_bytes: 2,
        response_bytes: 3,
        request_digest: Some(salted_digest(&[1; 16], b"a")),
        response_digest: Some(salted_digest(&[1; 16], b"b")),
        forwarded_request_digest: Some(salted_digest(&[1; 16], b"c")),
        delivered_response_digest: Some(salted_digest(&[1; 16], b"d")),
    }
}

fn as_json(record: &EvidenceRecord) -> Value {
    serde_json::from_slice(&record.to_canonical().unwrap()).unwrap()
}

fn fields(value: &Value) -> BTreeSet<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn schema_has_the_fields_of_the_record_and_no_others() {
    let schema: Value = serde_json::from_str(RECORD_SCHEMA).unwrap();
    let record = as_json(&full());
    assert_eq!(fields(&schema["properties"]), fields(&record));
    for part in ["emitter", "policy"] {
        let properties = &schema["properties"][part]["properties"];
        assert_eq!(fields(properties), fields(&record[part]), "{part}");
    }
    // What may be absent is what the record leaves out when it is not known.
    let required: BTreeSet<&str> = schema["required"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| field.as_str().unwrap())
        .collect();
    for field in fields(&record) {
        let mut without = record.clone();
        without.as_object_mut().unwrap().remove(field);
        let read = serde_json::from_value::<EvidenceRecord>(without);
        assert_eq!(read.is_err(), required.contains(field), "{field}");
    }
}

#[test]
fn every_value_that_records_write_is_allowed() {
    let schema = serde_json::from_str(RECORD_SCHEMA).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let mut records = vec![full()];
    let mut with = |change: &dyn Fn(&mut EvidenceRecord)| {
        let mut record = full();
        change(&mut record);
        records.push(record);
    };
    for decision in [DecisionKind::Allow, DecisionKind::Deny, DecisionKind::Error] {
        with(&|record| record.decision = decision);
    }
    for outcome in [
        Outcome::Completed,
        Outcome::Refused,
        Outcome::Withheld,
        Outcome::ProviderError,
        Outcome::ProviderReset,
        Outcome::ClientAborted,
        Outcome::FilterFault,
    ] {
        with(&|record| record.outcome = outcome);
    }
    for run in [
        IdempotencyRun::First,
        IdempotencyRun::Again,
        IdempotencyRun::Unprotected,
        IdempotencyRun::Replayed,
    ] {
        with(&|record| record.idempotency_run = Some(run));
    }
    for answer in [
        IdempotencyAnswer::Kept,
        IdempotencyAnswer::TooLarge,
        IdempotencyAnswer::NoRoom,
        IdempotencyAnswer::Unreadable,
    ] {
        with(&|record| record.idempotency_answer = Some(answer));
    }
    for status in [
        InspectionStatus::Inspected,
        InspectionStatus::Unscanned,
        InspectionStatus::None,
    ] {
        with(&|record| record.request_inspection = status);
    }
    with(&|record| {
        record.emitter.epoch.clear();
        record.emitter.prev.clear();
    });
    with(&|record| {
        record.policy = None;
        record.matched_rules.clear();
        record.status_code = None;
    });
    for record in &records {
        let value = as_json(record);
        let errors: Vec<String> = schema.iter_errors(&value).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?} in {value:#}");
    }
    for (field, value) in [
        ("v", json!(2)),
        ("id", json!("00000000-0000-4000-8000-000000000000")),
        ("time", json!("2026-11-22 17:09:05")),
        ("decision", json!("maybe")),
        ("duration_us", json!(-1)),
        ("extra", json!(1)),
    ] {
        let mut record = as_json(&full());
        record[field] = value;
        assert!(!schema.is_valid(&record), "{field}");
    }
}
