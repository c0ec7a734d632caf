//! How long `mercator verify` takes for a million records: wall and CPU.
//!
//! `cargo bench -p mercator --bench verify [-- RECORDS]`

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement"
)]

use jupiter_evidence::export::{ExportProof, PROOF_FORMAT};
use jupiter_evidence::tree::{Checkpoint, Edge, NoteSigner};
use jupiter_evidence::{
    DecisionKind, Emitter, EmitterChain, EvidenceRecord, InspectionStatus, MatchedRule, Outcome,
    PolicyInForce, RECORD_VERSION, rfc3339_micros, salted_digest,
};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::Command;
use std::time::Instant;

const BEGIN_US: u64 = 1_795_367_345_000_000;

fn record(number: u64) -> EvidenceRecord {
    let us = BEGIN_US + number * 50;
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    EvidenceRecord {
        v: RECORD_VERSION,
        id: uuid::Builder::from_unix_timestamp_millis(us / 1_000, &random).into_uuid(),
        time: rfc3339_micros(us),
        region: "local".into(),
        emitter: Emitter {
            id: "jupiter-1".into(),
            epoch: String::new(),
            seq: 0,
            prev: String::new(),
        },
        subject_digest: Some(salted_digest(&[3; 16], &number.to_be_bytes())),
        decision: DecisionKind::Allow,
        reason: None,
        outcome: Outcome::Completed,
        stored_first: None,
        idempotency_answer: None,
        idempotency_earlier: None,
        idempotency_key: None,
        idempotency_run: None,
        matched_rules: vec![MatchedRule {
            policy: "guard".into(),
            rule: "seen".into(),
            effect: "log".into(),
        }],
        shadow_rules: vec![],
        deciding_facts: vec!["request.model".into()],
        response_rules: vec![],
        attachments: vec![],
        findings: vec![],
        redactions: vec![],
        changed_fields: vec![],
        tags: vec![],
        actions_not_applied: vec![],
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
        response_model: Some("gpt-4o-2024-08-06".into()),
        response_id: Some(format!("chatcmpl-{number}")),
        finish_reasons: vec!["stop".into()],
        input_tokens: Some(12),
        output_tokens: Some(34),
        usage_estimated: vec![],
        cost_nano: None,
        currency: None,
        stream: false,
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        status_code: Some(200),
        request_id: None,
        trace_id: None,
        trace_sampled: None,
        span_id: None,
        duration_us: 1_234,
        request_bytes: 99,
        response_bytes: 345,
        request_digest: Some(salted_digest(&[1; 16], &number.to_be_bytes())),
        response_digest: Some(salted_digest(&[2; 16], &number.to_be_bytes())),
        forwarded_request_digest: None,
        delivered_response_digest: None,
    }
}

/// Seconds of CPU that ended children took: fields 16 and 17 of `proc_pid_stat(5)`.
fn children_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: f64 = [13, 14]
        .iter()
        .map(|at| fields[*at].parse::<f64>().unwrap())
        .sum();
    ticks / 100.0
}

fn main() {
    let wanted = std::env::args().find_map(|argument| argument.parse().ok());
    let count: u64 = wanted.unwrap_or(1_000_000);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("records.jsonl");
    let mut out = BufWriter::new(File::create(&file).unwrap());
    let mut chains: Vec<_> = (0..4)
        .map(|epoch| EmitterChain::start([epoch; 16]))
        .collect();
    let (mut edge, mut leaves) = (Edge::default(), Vec::new());
    for number in 0..count {
        let sealed = chains[number as usize % 4]
            .seal(&mut record(number))
            .unwrap();
        out.write_all(&sealed.canonical).unwrap();
        out.write_all(b"\n").unwrap();
        edge.push(sealed.leaf.0);
        leaves.push(sealed.leaf.0);
    }
    out.flush().unwrap();
    let key = NoteSigner::new("mercator/bench", &[1; 32]).unwrap();
    let checkpoint = Checkpoint {
        origin: "mercator/bench".into(),
        size: count,
        root: edge.root(),
    };
    let proof = ExportProof {
        format: PROOF_FORMAT.into(),
        checkpoint: checkpoint.sign([&key]),
        ranges: vec![(0, count)],
        leaves,
        between: vec![],
        consistency: vec![],
        retentions: vec![],
    };
    let proof_file = File::create(folder.path().join("records.jsonl.proof")).unwrap();
    serde_json::to_writer(BufWriter::new(proof_file), &proof).unwrap();
    let megabytes = std::fs::metadata(&file).unwrap().len() / 1_000_000;
    println!("{count} records, {megabytes} MB");
    for _ in 0..3 {
        let (begun, cpu) = (Instant::now(), children_cpu());
        let mut verify = Command::new(env!("CARGO_BIN_EXE_mercator"));
        let key = key.verifier().to_string();
        let output = verify
            .arg("verify")
            .arg(&file)
            .args(["--key", &key])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let (wall, cpu) = (begun.elapsed().as_secs_f64(), children_cpu() - cpu);
        println!("verified in {wall:.2} s, {cpu:.2} s of CPU");
    }
}
