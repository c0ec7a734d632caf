//! Promises about finding records.

use jupiter_evidence::{DecisionKind, MatchedRule};
use std::sync::Arc;
use uuid::Uuid;

use super::samples::{SampleEmitter, at, batch, provisional};
use crate::store::{EvidenceFilter, NewEvidence, Store};

/// Ids of everything that passes, page by page.
async fn found(store: &dyn Store, filter: &EvidenceFilter, limit: u32) -> Vec<Uuid> {
    let mut ids = Vec::new();
    let mut before = None;
    loop {
        let page = store.query_evidence(filter, before, limit).await.unwrap();
        assert!(page.records.len() <= limit as usize);
        for record in &page.records {
            let record: jupiter_evidence::EvidenceRecord = serde_json::from_str(record).unwrap();
            ids.push(record.id);
        }
        before = page.next;
        if before.is_none() {
            return ids;
        }
    }
}

fn rule(policy: &str, rule: &str) -> MatchedRule {
    MatchedRule {
        policy: policy.to_owned(),
        rule: rule.to_owned(),
        effect: "deny".to_owned(),
    }
}

/// A millisecond apart, beginning with 1 ms.
fn variety() -> Vec<NewEvidence> {
    let mut emitter = SampleEmitter::new(1);
    vec![
        emitter.next(|_| ()),
        emitter.next(|record| {
            record.decision = DecisionKind::Deny;
            record.matched_rules = vec![rule("guard", "models"), rule("other", "models")];
            record.request_model = Some("gpt-3".to_owned());
        }),
        emitter.next_of(None, |_| ()),
        emitter.next(|record| {
            record.decision = DecisionKind::Error;
            record.matched_rules = vec![];
            record.request_model = None;
        }),
        emitter.next_of(Some("key:ffffffffffffffff"), |record| {
            record.decision = DecisionKind::Deny;
            record.matched_rules = vec![rule("other", "models"), rule("other", "hours")];
        }),
    ]
}

pub async fn each_filter_selects_its_records(store: Arc<dyn Store>) {
    let records = variety();
    store.append_evidence(batch(records.clone())).await.unwrap();
    let any = EvidenceFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let deny = Some(DecisionKind::Deny);
    let cases: Vec<(EvidenceFilter, &[usize])> = vec![
        (any(), &[4, 3, 2, 1, 0]),
        (
            EvidenceFilter {
                since: Some(at(3_000)),
                ..any()
            },
            &[4, 3, 2],
        ),
        (
            EvidenceFilter {
                since: Some(at(3_001)),
                ..any()
            },
            &[4, 3],
        ),
        (
            EvidenceFilter {
                until: Some(at(3_000)),
                ..any()
            },
            &[1, 0],
        ),
        (
            EvidenceFilter {
                since: Some(at(2_000)),
                until: Some(at(4_000)),
                ..any()
            },
            &[2, 1],
        ),
        (
            EvidenceFilter {
                since: Some(at(9_000_000_000)),
                ..any()
            },
            &[],
        ),
        (
            EvidenceFilter {
                subject: text("key:0123456789abcdef"),
                ..any()
            },
            &[3, 1, 0],
        ),
        (
            EvidenceFilter {
                subject: text("key:ffffffffffffffff"),
                ..any()
            },
            &[4],
        ),
        (
            EvidenceFilter {
                subject: text("nobody"),
                ..any()
            },
            &[],
        ),
        (
            EvidenceFilter {
                model: text("gpt-4o"),
                ..any()
            },
            &[4, 2, 0],
        ),
        (
            EvidenceFilter {
                model: text("gpt-3"),
                ..any()
            },
            &[1],
        ),
        (
            EvidenceFilter {
                decision: Some(DecisionKind::Allow),
                ..any()
            },
            &[2, 0],
        ),
        (
            EvidenceFilter {
                decision: deny,
                ..any()
            },
            &[4, 1],
        ),
        (
            EvidenceFilter {
                decision: Some(DecisionKind::Error),
                ..any()
            },
            &[3],
        ),
        (
            EvidenceFilter {
                rule: text("models"),
                ..any()
            },
            &[4, 1],
        ),
        (
            EvidenceFilter {
                rule: text("guard/models"),
                ..any()
            },
            &[1],
        ),
        (
            EvidenceFilter {
                rule: text("other/models"),
                ..any()
            },
            &[4, 1],
        ),
        (
            EvidenceFilter {
                rule: text("hours"),
                ..any()
            },
            &[4],
        ),
        (
            EvidenceFilter {
                rule: text("model"),
                ..any()
            },
            &[],
        ),
        (
            EvidenceFilter {
                rule: text("models"),
                model: text("gpt-4o"),
                ..any()
            },
            &[4],
        ),
        (
            EvidenceFilter {
                rule: text("seen"),
                decision: deny,
                ..any()
            },
            &[],
        ),
        (
            EvidenceFilter {
                model: text("gpt-4o"),
                decision: deny,
                ..any()
            },
            &[4],
        ),
        (
            EvidenceFilter {
                rule: text("models"),
                since: Some(at(4_000)),
                decision: deny,
                ..any()
            },
            &[4],
        ),
    ];
    for (filter, expected) in cases {
        let expected: Vec<Uuid> = expected
            .iter()
            .map(|index| records[*index].envelope.record.id)
            .collect();
        for limit in [1, 2, 100] {
            assert_eq!(
                found(&*store, &filter, limit).await,
                expected,
                "{limit} {filter:?}"
            );
        }
    }
}

pub async fn pages_neither_repeat_nor_skip(store: Arc<dyn Store>) {
    let records = SampleEmitter::new(1).take(23);
    let mut expected: Vec<Uuid> = records.iter().map(|e| e.envelope.record.id).collect();
    expected.reverse();
    store.append_evidence(batch(records)).await.unwrap();
    for limit in [1, 7, 22, 23, 24] {
        assert_eq!(
            found(&*store, &EvidenceFilter::default(), limit).await,
            expected
        );
    }
}

pub async fn pages_hold_while_records_arrive(store: Arc<dyn Store>) {
    let mut emitter = SampleEmitter::new(1);
    let records = emitter.take(9);
    let mut expected: Vec<Uuid> = records.iter().map(|e| e.envelope.record.id).collect();
    expected.reverse();
    store.append_evidence(batch(records)).await.unwrap();
    let filter = EvidenceFilter {
        rule: Some("guard/seen".to_owned()),
        ..EvidenceFilter::default()
    };
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = store.query_evidence(&filter, before, 2).await.unwrap();
        for record in &page.records {
            let record: jupiter_evidence::EvidenceRecord = serde_json::from_str(record).unwrap();
            seen.push(record.id);
        }
        store.append_evidence(batch(emitter.take(3))).await.unwrap();
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, expected);
}

pub async fn superseded_record_is_found_by_its_last_rules(store: Arc<dyn Store>) {
    let evidence = SampleEmitter::new(1).next(|record| {
        record.matched_rules = vec![rule("guard", "late")];
    });
    let mut early = evidence.clone();
    early.envelope.record.matched_rules = vec![rule("guard", "early")];
    store
        .append_evidence(batch(vec![provisional(&early)]))
        .await
        .unwrap();
    store
        .append_evidence(batch(vec![evidence.clone()]))
        .await
        .unwrap();
    let by = |rule: &str| EvidenceFilter {
        rule: Some(rule.to_owned()),
        ..EvidenceFilter::default()
    };
    assert!(found(&*store, &by("early"), 10).await.is_empty());
    let id = evidence.envelope.record.id;
    assert_eq!(found(&*store, &by("late"), 10).await, [id]);
}
