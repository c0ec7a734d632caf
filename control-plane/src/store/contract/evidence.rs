//! Promises about storing records.

use jupiter_evidence::LeafHash;
use std::sync::Arc;
use tokio::task::JoinSet;

use super::samples::{SampleEmitter, at, batch, provisional, sealed};
use crate::store::{
    EvidenceFilter, NewEvidence, Outcome, RejectedLine, Source, Store, StoredEvidence,
};

async fn stored(store: &dyn Store, evidence: &NewEvidence) -> Option<StoredEvidence> {
    store.evidence(evidence.envelope.record.id).await.unwrap()
}

async fn count(store: &dyn Store) -> usize {
    let page = store
        .query_evidence(&EvidenceFilter::default(), None, 100_000)
        .await;
    page.unwrap().records.len()
}

pub async fn record_comes_back_byte_for_byte(store: Arc<dyn Store>) {
    let evidence = SampleEmitter::new(1).next(|_| ());
    let mut delivery = batch(vec![evidence.clone()]);
    delivery.source = Source::Witness;
    let appended = store.append_evidence(delivery).await.unwrap();
    assert_eq!(appended.outcomes, [Outcome::Stored]);
    let back = stored(&*store, &evidence).await.unwrap();
    assert_eq!(back.canonical, evidence.envelope.canonical);
    assert_eq!(back.leaf, LeafHash::of(back.canonical.as_bytes()));
    assert_eq!(back.received_at, at(60_000_000));
    assert_eq!(back.source, Source::Witness);
    assert!(!back.provisional);
    let page = store
        .query_evidence(&EvidenceFilter::default(), None, 10)
        .await
        .unwrap();
    assert_eq!(page.records, [evidence.envelope.canonical]);
}

pub async fn batch_sent_again_is_all_duplicates(store: Arc<dyn Store>) {
    let records = SampleEmitter::new(1).take(250);
    store.append_evidence(batch(records.clone())).await.unwrap();
    let again = store.append_evidence(batch(records)).await.unwrap();
    assert!(
        again
            .outcomes
            .iter()
            .all(|outcome| *outcome == Outcome::Duplicate)
    );
    assert_eq!(again.chain_breaks, 0);
    assert_eq!(count(&*store).await, 250);
    let totals = store.evidence_totals().await.unwrap();
    assert_eq!((totals.records, totals.missing), (250, 0));
}

pub async fn partly_known_batch_stores_the_rest(store: Arc<dyn Store>) {
    let records = SampleEmitter::new(1).take(6);
    store
        .append_evidence(batch(records[1..3].to_vec()))
        .await
        .unwrap();
    let appended = store.append_evidence(batch(records.clone())).await.unwrap();
    use Outcome::{Duplicate, Stored};
    assert_eq!(
        appended.outcomes,
        [Stored, Duplicate, Duplicate, Stored, Stored, Stored]
    );
    assert_eq!(appended.chain_breaks, 0);
    assert_eq!(count(&*store).await, 6);
}

pub async fn record_twice_in_one_batch_is_stored_once(store: Arc<dyn Store>) {
    let evidence = SampleEmitter::new(1).next(|_| ());
    let twice = vec![evidence.clone(), evidence];
    let appended = store.append_evidence(batch(twice)).await.unwrap();
    assert_eq!(appended.outcomes, [Outcome::Stored, Outcome::Duplicate]);
    assert_eq!(count(&*store).await, 1);
}

pub async fn other_bytes_under_a_known_id_change_nothing(store: Arc<dyn Store>) {
    let evidence = SampleEmitter::new(1).next(|_| ());
    let mut changed = evidence.envelope.record.clone();
    changed.request_model = Some("another".to_owned());
    let changed = sealed(changed);
    store
        .append_evidence(batch(vec![evidence.clone()]))
        .await
        .unwrap();
    let appended = store
        .append_evidence(batch(vec![changed.clone()]))
        .await
        .unwrap();
    assert_eq!(appended.outcomes, [Outcome::Conflict]);
    let back = stored(&*store, &evidence).await.unwrap();
    assert_eq!(back.canonical, evidence.envelope.canonical);
    // The same within one batch, for another exchange.
    let mut first = changed.envelope.record.clone();
    first.id = super::samples::id(5_000, 99);
    let mut second = first.clone();
    second.duration_us += 1;
    let both = vec![sealed(first.clone()), sealed(second)];
    let appended = store.append_evidence(batch(both)).await.unwrap();
    assert_eq!(appended.outcomes, [Outcome::Stored, Outcome::Conflict]);
    let back = stored(&*store, &sealed(first.clone())).await.unwrap();
    assert_eq!(back.canonical, sealed(first).envelope.canonical);
}

pub async fn final_record_replaces_a_provisional_one(store: Arc<dyn Store>) {
    let evidence = SampleEmitter::new(1).next(|_| ());
    let early = provisional(&evidence);
    let appended = store
        .append_evidence(batch(vec![early.clone()]))
        .await
        .unwrap();
    assert_eq!(appended.outcomes, [Outcome::Stored]);
    assert!(stored(&*store, &evidence).await.unwrap().provisional);
    let appended = store
        .append_evidence(batch(vec![evidence.clone()]))
        .await
        .unwrap();
    assert_eq!(appended.outcomes, [Outcome::Stored]);
    let back = stored(&*store, &evidence).await.unwrap();
    assert_eq!(back.canonical, evidence.envelope.canonical);
    assert!(!back.provisional);
    assert_eq!(count(&*store).await, 1);
}

pub async fn provisional_record_after_the_final_one_is_a_duplicate(store: Arc<dyn Store>) {
    let evidence = SampleEmitter::new(1).next(|_| ());
    store
        .append_evidence(batch(vec![evidence.clone()]))
        .await
        .unwrap();
    let late = store
        .append_evidence(batch(vec![provisional(&evidence)]))
        .await
        .unwrap();
    assert_eq!(late.outcomes, [Outcome::Duplicate]);
    let back = stored(&*store, &evidence).await.unwrap();
    assert_eq!(back.canonical, evidence.envelope.canonical);
}

pub async fn provisional_and_final_record_in_one_batch_leave_the_final_one(store: Arc<dyn Store>) {
    let evidence = SampleEmitter::new(1).next(|_| ());
    let both = vec![
        provisional(&evidence),
        evidence.clone(),
        provisional(&evidence),
    ];
    let appended = store.append_evidence(batch(both)).await.unwrap();
    assert_eq!(
        appended.outcomes,
        [Outcome::Stored, Outcome::Stored, Outcome::Duplicate]
    );
    let back = stored(&*store, &evidence).await.unwrap();
    assert_eq!(back.canonical, evidence.envelope.canonical);
    assert_eq!(count(&*store).await, 1);
}

pub async fn rejected_lines_do_not_disturb_records(store: Arc<dyn Store>) {
    let rejected = |byte| RejectedLine {
        reason: "not_an_envelope",
        sha256: [byte; 32],
        line: vec![byte; 3],
    };
    let mut delivery = batch(SampleEmitter::new(1).take(2));
    delivery.rejected = vec![rejected(0), rejected(255), rejected(0)];
    let appended = store.append_evidence(delivery.clone()).await.unwrap();
    assert_eq!(appended.outcomes.len(), 2);
    delivery.records.clear();
    let appended = store.append_evidence(delivery).await.unwrap();
    assert_eq!(appended.outcomes, []);
    assert_eq!(count(&*store).await, 2);
}

pub async fn concurrent_senders_of_the_same_records_store_each_once(store: Arc<dyn Store>) {
    let records = SampleEmitter::new(1).take(120);
    let mut senders = JoinSet::new();
    for sender in 0..12 {
        let store = Arc::clone(&store);
        // Overlapping windows in steps of ten.
        let some: Vec<_> = records[sender * 10..].iter().take(40).cloned().collect();
        senders.spawn(async move { store.append_evidence(batch(some)).await.unwrap() });
    }
    let appended = senders.join_all().await;
    let outcomes = appended.iter().flat_map(|appended| &appended.outcomes);
    let stored = outcomes
        .filter(|outcome| **outcome == Outcome::Stored)
        .count();
    assert_eq!(stored, 120);
    assert_eq!(
        appended
            .iter()
            .map(|appended| appended.chain_breaks)
            .sum::<u64>(),
        0
    );
    let totals = store.evidence_totals().await.unwrap();
    assert_eq!(
        (totals.records, totals.missing, totals.chain_breaks),
        (120, 0, 0)
    );
}
