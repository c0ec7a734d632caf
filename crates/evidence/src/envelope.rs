//! How a record travels: its canonical bytes, and beside them what must not
//! be part of the leaf.
//!
//! One envelope is one line of JSON, both in the outbox's batches and in
//! Envoy's access log. [`Envelope::parse`] accepts a record only in exactly
//! its canonical bytes, so that nobody can store one text and prove another.

use crate::record::EvidenceRecord;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::fmt;

/// One record on its way to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The record's canonical bytes, which are valid UTF-8.
    pub canonical: String,
    pub record: EvidenceRecord,
    /// Of the body digests, 32 hex digits.
    pub salt: String,
    /// Written before the exchange ended; counts only if nothing later is found.
    pub provisional: bool,
}

/// Why a line is not an envelope, without quoting it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvelopeError {
    NotJson { line: usize, column: usize },
    NotARecord { line: usize, column: usize },
    NotCanonical,
    BadSalt,
    UnknownVersion(u32),
    NotUuidV7,
    Unwritable,
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EnvelopeError::NotJson { line, column } => {
                write!(f, "not an envelope (line {line}, column {column})")
            }
            EnvelopeError::NotARecord { line, column } => {
                write!(
                    f,
                    "`record` is not an evidence record (line {line}, column {column} of it)"
                )
            }
            EnvelopeError::NotCanonical => f.write_str("`record` is not canonical JSON (RFC 8785)"),
            EnvelopeError::BadSalt => f.write_str("`salt` is not 32 lower-case hex digits"),
            EnvelopeError::UnknownVersion(v) => write!(f, "record version `{v}` is not known"),
            EnvelopeError::NotUuidV7 => f.write_str("`id` is not a UUIDv7"),
            EnvelopeError::Unwritable => f.write_str("the record cannot be written as JSON"),
        }
    }
}

impl std::error::Error for EnvelopeError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    #[serde(borrow)]
    record: &'a RawValue,
    salt: String,
    #[serde(default)]
    provisional: bool,
}

#[derive(Serialize)]
struct WireOut<'a> {
    record: &'a RawValue,
    salt: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    provisional: bool,
}

impl Envelope {
    /// Reads one line, checking that the record stands there canonically.
    pub fn parse(line: &[u8]) -> Result<Envelope, EnvelopeError> {
        let wire: Wire<'_> = serde_json::from_slice(line).map_err(|e| EnvelopeError::NotJson {
            line: e.line(),
            column: e.column(),
        })?;
        let raw = wire.record.get();
        let record: EvidenceRecord =
            serde_json::from_str(raw).map_err(|e| EnvelopeError::NotARecord {
                line: e.line(),
                column: e.column(),
            })?;
        if record.v != crate::RECORD_VERSION {
            return Err(EnvelopeError::UnknownVersion(record.v));
        }
        if record.id.get_version_num() != 7 {
            return Err(EnvelopeError::NotUuidV7);
        }
        if record.to_canonical()? != raw.as_bytes() {
            return Err(EnvelopeError::NotCanonical);
        }
        if wire.salt.len() != 32
            || !wire
                .salt
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(EnvelopeError::BadSalt);
        }
        let canonical = raw.to_owned();
        Ok(Envelope {
            canonical,
            record,
            salt: wire.salt,
            provisional: wire.provisional,
        })
    }

    /// One line, without its line end.
    pub fn write(canonical: &[u8], salt: &str, provisional: bool) -> Result<String, EnvelopeError> {
        let record: &RawValue =
            serde_json::from_slice(canonical).map_err(|_| EnvelopeError::Unwritable)?;
        serde_json::to_string(&WireOut {
            record,
            salt,
            provisional,
        })
        .map_err(|_| EnvelopeError::Unwritable)
    }
}

impl EvidenceRecord {
    /// The bytes that are hashed, stored and exported (RFC 8785).
    pub fn to_canonical(&self) -> Result<Vec<u8>, EnvelopeError> {
        serde_json_canonicalizer::to_vec(self).map_err(|_| EnvelopeError::Unwritable)
    }
}

/// SHA-256 over a salt and a body, in hex: proves a body to whoever has both,
/// and does not let a short prompt be guessed from the record alone.
pub fn salted_digest(salt: &[u8; 16], body: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(salt);
    hasher.update(body);
    let digest: [u8; 32] = hasher.finalize().into();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::record::*;

    pub(crate) fn sample() -> EvidenceRecord {
        EvidenceRecord {
            v: RECORD_VERSION,
            id: uuid::Builder::from_unix_timestamp_millis(1_795_367_345_000, &[9; 10]).into_uuid(),
            time: rfc3339_micros(1_795_367_345_000_001),
            region: "local".into(),
            emitter: Emitter {
                id: "jupiter-1".into(),
                epoch: "00".repeat(16),
                seq: 0,
                prev: String::new(),
            },
            subject: Some("key:0123456789abcdef".into()),
            decision: DecisionKind::Deny,
            reason: Some("model_not_approved".into()),
            outcome: Outcome::Refused,
            stored_first: None,
            matched_rules: vec![MatchedRule {
                policy: "quickstart".into(),
                rule: "block".into(),
                effect: "deny".into(),
            }],
            shadow_rules: vec![],
            deciding_facts: vec!["request.model".into()],
            actions_not_applied: vec![],
            response_rules: vec![],
            attachments: vec![],
            findings: vec![],
            redactions: vec![],
            changed_fields: vec![],
            tags: vec![],
            policy: Some(PolicyInForce {
                digest: format!("sha256:{}", "ab".repeat(32)),
                commit: Some("0f".repeat(20)),
                confirmed: None,
            }),
            request_inspection: InspectionStatus::Inspected,
            request_unscanned_reason: None,
            response_inspection: InspectionStatus::None,
            response_unscanned_reason: None,
            operation: Some("chat".into()),
            provider: Some("openai".into()),
            request_model: Some("gpt-\u{e9}\u{20ac}\n\"".into()),
            response_model: None,
            response_id: None,
            finish_reasons: vec![],
            input_tokens: Some(12),
            output_tokens: None,
            cost_nano: None,
            currency: None,
            stream: false,
            method: "POST".into(),
            path: "/v1/chat/completions".into(),
            status_code: Some(403),
            request_id: None,
            trace_id: None,
            span_id: None,
            duration_us: 1234,
            request_bytes: 99,
            response_bytes: 0,
            request_digest: Some(salted_digest(&[1; 16], b"body")),
            response_digest: None,
            forwarded_request_digest: None,
            delivered_response_digest: None,
        }
    }

    #[test]
    fn envelope_survives_the_journey_byte_for_byte() {
        let canonical = sample().to_canonical().unwrap();
        let line = Envelope::write(&canonical, &"0a".repeat(16), false).unwrap();
        let back = Envelope::parse(line.as_bytes()).unwrap();
        assert_eq!(back.canonical.as_bytes(), canonical);
        assert_eq!(back.record, sample());
        assert!(!back.provisional);
    }

    #[test]
    fn record_out_of_canonical_order_is_refused() {
        let canonical = String::from_utf8(sample().to_canonical().unwrap()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&canonical).unwrap();
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let line = format!(r#"{{"record":{pretty},"salt":"{}"}}"#, "0a".repeat(16));
        assert_eq!(
            Envelope::parse(line.as_bytes()),
            Err(EnvelopeError::NotCanonical)
        );
    }

    #[test]
    fn bad_lines_say_what_is_wrong_without_quoting() {
        let good =
            Envelope::write(&sample().to_canonical().unwrap(), &"0a".repeat(16), false).unwrap();
        for (line, expected) in [
            (
                "nonsense".to_owned(),
                EnvelopeError::NotJson { line: 1, column: 2 },
            ),
            (
                good.replace(&"0a".repeat(16), "short"),
                EnvelopeError::BadSalt,
            ),
            (
                good.replace(r#""v":1"#, r#""v":2"#),
                EnvelopeError::UnknownVersion(2),
            ),
        ] {
            assert_eq!(Envelope::parse(line.as_bytes()), Err(expected), "{line}");
        }
        assert!(Envelope::parse(good.replace("duration_us", "duration").as_bytes()).is_err());
    }
}
