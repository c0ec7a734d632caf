//! How a record travels: its canonical bytes, and beside them what must not
//! be part of the leaf.
//!
//! One envelope is one line of JSON, both in the outbox's batches and in
//! Envoy's access log. [`Envelope::parse`] accepts a record only in exactly
//! its canonical bytes, so that nobody can store one text and prove another.

use crate::record::EvidenceRecord;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::fmt;

/// Longest name of a subject.
pub const MAX_SUBJECT_BYTES: usize = 1_024;

/// One record on its way to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The record's canonical bytes, which are valid UTF-8.
    pub canonical: String,
    pub record: EvidenceRecord,
    /// Of the digests, 32 hex digits.
    pub salt: String,
    /// Who asked: `jwt:` or `header:` and a name, or `key:` and a digest of the API key.
    pub subject: Option<String>,
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
    BadSubject,
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
            EnvelopeError::BadSubject => {
                f.write_str("`subject` does not fit `subject_digest`, or is too long")
            }
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
    subject: Option<String>,
    #[serde(default)]
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
        let salt = unhex(&wire.salt).ok_or(EnvelopeError::BadSalt)?;
        let subject = wire.subject;
        let too_long = subject
            .as_ref()
            .is_some_and(|subject| subject.len() > MAX_SUBJECT_BYTES);
        let digest = subject
            .as_ref()
            .map(|subject| subject_digest(&salt, subject));
        if too_long || digest != record.subject_digest {
            return Err(EnvelopeError::BadSubject);
        }
        let canonical = raw.to_owned();
        Ok(Envelope {
            canonical,
            record,
            salt: wire.salt,
            subject,
            provisional: wire.provisional,
        })
    }

    /// One line, without its line end, of a record's canonical bytes, its salt in hex and
    /// its subject.
    pub fn write(
        canonical: &[u8],
        salt: &str,
        subject: Option<&str>,
        provisional: bool,
    ) -> Result<String, EnvelopeError> {
        let record = std::str::from_utf8(canonical).map_err(|_| EnvelopeError::Unwritable)?;
        let provisional = if provisional {
            r#","provisional":true"#
        } else {
            ""
        };
        let subject = match subject {
            Some(subject) => {
                let text = serde_json::to_string(subject).map_err(|_| EnvelopeError::Unwritable)?;
                format!(r#","subject":{text}"#)
            }
            None => String::new(),
        };
        let parts = [
            r#"{"record":"#,
            record,
            r#","salt":""#,
            salt,
            "\"",
            &subject,
            provisional,
            "}",
        ];
        Ok(parts.concat())
    }
}

impl EvidenceRecord {
    /// The bytes that are hashed, stored and exported (RFC 8785): fields stand in the
    /// order that the canonical form asks for, and its way with texts and whole numbers
    /// is `serde_json`'s own.
    pub fn to_canonical(&self) -> Result<Vec<u8>, EnvelopeError> {
        match self.is_exact() {
            true => serde_json::to_vec(self).map_err(|_| EnvelopeError::Unwritable),
            false => Err(EnvelopeError::Unwritable),
        }
    }
}

/// SHA-256 over a salt and a body, in hex: proves a body to whoever has both,
/// and does not let a short prompt be guessed from the record alone.
pub fn salted_digest(salt: &[u8; 16], body: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(salt);
    hasher.update(body);
    let digest: [u8; 32] = hasher.finalize().into();
    hex(&digest)
}

/// Commits to who asked. A body never has the same digest: none begins so.
pub fn subject_digest(salt: &[u8; 16], subject: &str) -> String {
    salted_digest(salt, format!("\0mercator subject\0{subject}").as_bytes())
}

/// The bytes of lower-case hex digits, if it is so many.
fn unhex(text: &str) -> Option<[u8; 16]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect();
    bytes?.try_into().ok()
}

/// Bytes in lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS.get(usize::from(value)).copied().unwrap_or(b'?'));
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
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
            subject_digest: Some(subject_digest(&[10; 16], "key:0123456789abcdef")),
            decision: DecisionKind::Deny,
            reason: Some("model_not_approved".into()),
            outcome: Outcome::Refused,
            stored_first: None,
            idempotency_answer: None,
            idempotency_earlier: None,
            idempotency_key: None,
            idempotency_run: None,
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
            usage_estimated: vec![],
            cost_nano: None,
            currency: None,
            stream: false,
            method: "POST".into(),
            path: "/v1/chat/completions".into(),
            status_code: Some(403),
            request_id: None,
            trace_id: None,
            trace_sampled: None,
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

    fn written(canonical: &[u8]) -> String {
        let subject = Some("key:0123456789abcdef");
        Envelope::write(canonical, &"0a".repeat(16), subject, false).unwrap()
    }

    #[test]
    fn envelope_survives_the_journey_byte_for_byte() {
        let canonical = sample().to_canonical().unwrap();
        let line = written(&canonical);
        let back = Envelope::parse(line.as_bytes()).unwrap();
        assert_eq!(back.canonical.as_bytes(), canonical);
        assert_eq!(back.record, sample());
        assert_eq!(back.subject.as_deref(), Some("key:0123456789abcdef"));
        assert!(!back.provisional);
        assert!(!back.canonical.contains("0123456789abcdef"));
    }

    /// A record in which nothing is left out, with `text` wherever a text may stand.
    fn full(text: &str) -> EvidenceRecord {
        let some = || Some(text.to_owned());
        let rule = || MatchedRule {
            policy: text.to_owned(),
            rule: text.to_owned(),
            effect: "log".to_owned(),
        };
        EvidenceRecord {
            subject_digest: some(),
            reason: some(),
            stored_first: Some(true),
            idempotency_answer: Some(IdempotencyAnswer::Unreadable),
            idempotency_earlier: Some(uuid::Uuid::max()),
            idempotency_key: some(),
            idempotency_run: Some(IdempotencyRun::Unprotected),
            matched_rules: vec![rule()],
            shadow_rules: vec![rule()],
            response_rules: vec![rule()],
            deciding_facts: vec![text.to_owned()],
            actions_not_applied: vec![text.to_owned()],
            attachments: vec![AttachmentCount {
                bytes: MAX_INTEGER,
                count: 1,
                kind: text.to_owned(),
                media_type: some(),
            }],
            changed_fields: vec![text.to_owned()],
            findings: vec![FindingCount {
                place: text.to_owned(),
                kind: text.to_owned(),
                count: 1,
            }],
            redactions: vec![RedactionCount {
                place: text.to_owned(),
                kind: text.to_owned(),
                method: text.to_owned(),
                count: MAX_INTEGER,
            }],
            tags: vec![Tag {
                name: text.to_owned(),
                value: text.to_owned(),
            }],
            policy: Some(PolicyInForce {
                digest: text.to_owned(),
                commit: some(),
                confirmed: some(),
            }),
            request_unscanned_reason: some(),
            response_unscanned_reason: some(),
            operation: some(),
            provider: some(),
            request_model: some(),
            response_model: some(),
            response_id: some(),
            finish_reasons: vec![text.to_owned(), text.to_owned()],
            input_tokens: Some(0),
            output_tokens: Some(MAX_INTEGER),
            usage_estimated: vec![text.to_owned(), text.to_owned()],
            cost_nano: Some(1),
            currency: some(),
            status_code: Some(200),
            request_id: some(),
            trace_id: some(),
            trace_sampled: Some(false),
            span_id: some(),
            request_digest: some(),
            response_digest: some(),
            forwarded_request_digest: some(),
            delivered_response_digest: some(),
            ..sample()
        }
    }

    proptest::proptest! {
        #[test]
        fn record_is_written_as_rfc_8785_asks(text in "\\PC*|(.|\\p{Cc}){0,20}") {
            let record = full(&text);
            let canonical = serde_json_canonicalizer::to_vec(&record).unwrap();
            proptest::prop_assert_eq!(record.to_canonical().unwrap(), canonical);
        }
    }

    #[test]
    fn every_field_is_in_the_full_record() {
        let record = serde_json::to_value(full("x")).unwrap();
        let schema: serde_json::Value = serde_json::from_str(crate::RECORD_SCHEMA).unwrap();
        let keys = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(keys(&record), keys(&schema["properties"]));
    }

    #[test]
    fn number_that_some_readers_would_round_is_not_written() {
        let mut record = sample();
        record.input_tokens = Some(MAX_INTEGER + 1);
        assert_eq!(record.to_canonical(), Err(EnvelopeError::Unwritable));
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
        let good = written(&sample().to_canonical().unwrap());
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
                good.replace("key:0123456789abcdef", "key:0123456789abcdee"),
                EnvelopeError::BadSubject,
            ),
            (
                good.replace(r#","subject":"key:0123456789abcdef""#, ""),
                EnvelopeError::BadSubject,
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
