//! Records and policies to test with.

use jiff::Timestamp;
use jupiter_evidence::{
    DecisionKind, Emitter, EmitterChain, Envelope, EvidenceRecord, InspectionStatus, LeafHash,
    MatchedRule, Outcome, PolicyInForce, RECORD_VERSION, rfc3339_micros, subject_digest,
};
use uuid::Uuid;

use crate::store::{EvidenceBatch, NewBundle, NewEvidence, NewPolicy, Source, Stamp};

/// Whose records these are.
pub const SUBJECT: &str = "key:0123456789abcdef";

const SALT: [u8; 16] = [7; 16];

/// 2026-11-22T17:09:05Z.
pub const BEGIN_US: u64 = 1_795_367_345_000_000;

/// `us` microseconds after [`BEGIN_US`].
pub fn at(us: u64) -> Timestamp {
    Timestamp::from_microsecond((BEGIN_US + us) as i64).unwrap()
}

/// The id of an exchange that began `us` microseconds after [`BEGIN_US`].
pub fn id(us: u64, number: u64) -> Uuid {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    uuid::Builder::from_unix_timestamp_millis((BEGIN_US + us) / 1_000, &random).into_uuid()
}

/// One filter VM.
#[derive(Debug)]
pub struct SampleEmitter {
    chain: EmitterChain,
    number: u64,
    epoch: u8,
}

impl SampleEmitter {
    pub fn new(epoch: u8) -> SampleEmitter {
        SampleEmitter {
            chain: EmitterChain::start([epoch; 16]),
            number: 0,
            epoch,
        }
    }

    /// The next record, a millisecond after the one before, after `change`.
    pub fn next(&mut self, change: impl FnOnce(&mut EvidenceRecord)) -> NewEvidence {
        self.next_of(Some(SUBJECT), change)
    }

    /// The same of another subject.
    pub fn next_of(
        &mut self,
        subject: Option<&str>,
        change: impl FnOnce(&mut EvidenceRecord),
    ) -> NewEvidence {
        self.number += 1;
        let us = self.number * 1_000;
        let mut record = record(us, u64::from(self.epoch) << 32 | self.number);
        record.subject_digest = subject.map(|subject| subject_digest(&SALT, subject));
        change(&mut record);
        let sealed = self.chain.seal(&mut record).unwrap();
        evidence(
            record,
            subject,
            String::from_utf8(sealed.canonical).unwrap(),
            sealed.leaf,
        )
    }

    /// So many records.
    pub fn take(&mut self, count: usize) -> Vec<NewEvidence> {
        (0..count).map(|_| self.next(|_| ())).collect()
    }
}

/// A record outside any chain.
pub fn record(us: u64, number: u64) -> EvidenceRecord {
    EvidenceRecord {
        v: RECORD_VERSION,
        id: id(us, number),
        time: rfc3339_micros(BEGIN_US + us),
        region: "local".into(),
        emitter: Emitter {
            id: "jupiter-1".into(),
            epoch: "00".repeat(16),
            seq: 0,
            prev: String::new(),
        },
        subject_digest: Some(subject_digest(&SALT, SUBJECT)),
        decision: DecisionKind::Allow,
        reason: None,
        outcome: Outcome::Completed,
        stored_first: None,
        idempotency_answer: None,
        idempotency_earlier: None,
        idempotency_key: None,
        idempotency_run: None,
        shadow_rules: vec![],
        deciding_facts: vec![],
        actions_not_applied: vec![],
        response_rules: vec![],
        attachments: vec![],
        findings: vec![],
        redactions: vec![],
        changed_fields: vec![],
        tags: vec![],
        matched_rules: vec![MatchedRule {
            policy: "guard".into(),
            rule: "seen".into(),
            effect: "log".into(),
        }],
        policy: Some(PolicyInForce {
            digest: format!("sha256:{}", "ab".repeat(32)),
            commit: None,
            confirmed: None,
        }),
        request_inspection: InspectionStatus::Inspected,
        request_unscanned_reason: None,
        response_inspection: InspectionStatus::Inspected,
        response_unscanned_reason: None,
        operation: Some("chat".into()),
        provider: Some("openai".into()),
        request_model: Some("gpt-4o".into()),
        response_model: Some("gpt-4o".into()),
        response_id: None,
        finish_reasons: vec!["stop".into()],
        input_tokens: Some(12),
        output_tokens: Some(34),
        usage_estimated: vec![],
        cost_nano: Some(52_500),
        currency: Some("USD".into()),
        stream: false,
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        status_code: Some(200),
        request_id: Some("\u{e9}\u{20ac}\n\"".into()),
        trace_id: None,
        trace_sampled: None,
        span_id: None,
        duration_us: 1_234,
        request_bytes: 99,
        response_bytes: 345,
        request_digest: Some("cd".repeat(32)),
        response_digest: None,
        forwarded_request_digest: None,
        delivered_response_digest: None,
    }
}

/// `record` as it stands, checked and ready to be stored.
pub fn sealed(record: EvidenceRecord) -> NewEvidence {
    let canonical = record.to_canonical().unwrap();
    let leaf = LeafHash::of(&canonical);
    let subject = record.subject_digest.is_some().then_some(SUBJECT);
    evidence(record, subject, String::from_utf8(canonical).unwrap(), leaf)
}

fn evidence(
    record: EvidenceRecord,
    subject: Option<&str>,
    canonical: String,
    leaf: LeafHash,
) -> NewEvidence {
    NewEvidence {
        time: record.time.parse().unwrap(),
        leaf,
        salt: SALT,
        envelope: Envelope {
            canonical,
            record,
            salt: "07".repeat(16),
            subject: subject.map(str::to_owned),
            provisional: false,
        },
    }
}

/// The same record as it stood before its exchange ended.
pub fn provisional(evidence: &NewEvidence) -> NewEvidence {
    before_its_end(evidence, Outcome::FilterFault)
}

/// The same record as it was stored before its request left.
pub fn intent(evidence: &NewEvidence) -> NewEvidence {
    before_its_end(evidence, Outcome::Pending)
}

fn before_its_end(evidence: &NewEvidence, outcome: Outcome) -> NewEvidence {
    let mut record = evidence.envelope.record.clone();
    record.outcome = outcome;
    record.emitter.epoch = String::new();
    record.emitter.seq = 0;
    record.emitter.prev = String::new();
    let mut provisional = sealed(record);
    provisional.envelope.subject = evidence.envelope.subject.clone();
    provisional.envelope.provisional = true;
    provisional
}

/// The line that carries a record.
pub fn line(evidence: &NewEvidence) -> String {
    let envelope = &evidence.envelope;
    let canonical = envelope.canonical.as_bytes();
    let subject = envelope.subject.as_deref();
    Envelope::write(canonical, &envelope.salt, subject, envelope.provisional).unwrap()
}

/// A delivery of the outbox.
pub fn batch(records: Vec<NewEvidence>) -> EvidenceBatch {
    EvidenceBatch {
        source: Source::Outbox,
        received_at: at(60_000_000),
        records,
        rejected: Vec::new(),
    }
}

/// A policy nobody reads the text of.
pub fn policy(name: &str, source: &str) -> NewPolicy {
    NewPolicy {
        name: name.to_owned(),
        source: source.to_owned(),
        version: "1.0.0".to_owned(),
        description: None,
    }
}

/// A bundle nobody loads.
pub fn bundle(text: &str) -> NewBundle {
    NewBundle {
        digest: format!("sha256:{}", text.repeat(8)),
        bytes: text.as_bytes().to_vec(),
    }
}

pub fn stamp(author: &str, us: u64) -> Stamp {
    Stamp {
        author: author.to_owned(),
        at: at(us),
        commit: None,
    }
}

/// A stamp of a change that came with a Git commit.
pub fn stamp_of_commit(author: &str, us: u64, commit: &str) -> Stamp {
    Stamp {
        commit: Some(commit.to_owned()),
        ..stamp(author, us)
    }
}
