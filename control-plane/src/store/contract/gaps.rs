//! Promises about what is missing.

use std::sync::Arc;

use super::samples::{SampleEmitter, at, batch, id, intent, provisional};
use crate::store::{EnvoyEnd, EvidenceGaps, Outcome, Source, Store, UnrecordedExchange};

async fn gaps(store: &dyn Store) -> EvidenceGaps {
    store.evidence_gaps(10).await.unwrap()
}

async fn places(store: &dyn Store) -> Vec<(u64, u64)> {
    let missing = gaps(store).await.missing.into_iter();
    missing.map(|gap| (gap.first_seq, gap.last_seq)).collect()
}

pub async fn empty_store_misses_nothing(store: Arc<dyn Store>) {
    assert_eq!(gaps(&*store).await, EvidenceGaps::default());
}

pub async fn missing_places_are_listed_until_they_are_filled(store: Arc<dyn Store>) {
    let whole = SampleEmitter::new(1).take(4);
    store.append_evidence(batch(whole)).await.unwrap();
    let records = SampleEmitter::new(2).take(10);
    for some in [&records[2..4], &records[7..8], &records[9..]] {
        store.append_evidence(batch(some.to_vec())).await.unwrap();
    }
    assert_eq!(places(&*store).await, [(8, 8), (4, 6), (0, 1)]);
    let gap = gaps(&*store).await.missing.remove(0);
    assert_eq!(
        (gap.emitter, gap.epoch),
        ("jupiter-1".into(), "02".repeat(16))
    );
    assert_eq!(gap.last_received_at, at(60_000_000));
    store
        .append_evidence(batch(records[..6].to_vec()))
        .await
        .unwrap();
    assert_eq!(places(&*store).await, [(8, 8), (6, 6)]);
    store.append_evidence(batch(records)).await.unwrap();
    assert_eq!(places(&*store).await, []);
}

pub async fn unrecorded_exchange_counts_once(store: Arc<dyn Store>) {
    let exchange = |line: &str, us| UnrecordedExchange {
        line: line.to_owned(),
        found_at: at(us),
        instance: "jupiter-1".to_owned(),
        request_id: (us > 1).then(|| id(us, 7)),
        status_code: 503,
        details: "wasm_fail_stream".to_owned(),
    };
    let (first, second) = (exchange("a:1", 1), exchange("a:2", 2));
    store
        .note_unrecorded(&[first.clone(), second.clone()])
        .await
        .unwrap();
    store.note_unrecorded(&[exchange("a:1", 9)]).await.unwrap();
    let gaps = gaps(&*store).await;
    assert_eq!(gaps.unrecorded, [second, first]);
    assert_eq!(gaps.unrecorded_total, 2);
    assert_eq!(store.evidence_gaps(1).await.unwrap().unrecorded.len(), 1);
}

pub async fn recovered_records_are_listed(store: Arc<dyn Store>) {
    let records = SampleEmitter::new(1).take(3);
    let by_witness = |records| {
        let mut batch = batch(records);
        batch.source = Source::Witness;
        batch
    };
    store
        .append_evidence(batch(records[..1].to_vec()))
        .await
        .unwrap();
    let recovered = vec![records[0].clone(), provisional(&records[2])];
    store.append_evidence(by_witness(recovered)).await.unwrap();
    let gaps = gaps(&*store).await;
    assert_eq!(gaps.recovered_total, 1);
    assert_eq!(gaps.recovered[0].id, records[2].envelope.record.id);
    assert!(gaps.recovered[0].provisional);
}

pub async fn stored_intent_is_listed_until_its_exchange_is_over(store: Arc<dyn Store>) {
    let [ended, stopped, lost] = SampleEmitter::new(1).take(3).try_into().unwrap();
    let intents = [&ended, &stopped, &lost].map(intent);
    store
        .append_evidence(batch(intents.to_vec()))
        .await
        .unwrap();
    let sent_again = store.append_evidence(batch(intents.to_vec())).await;
    assert_eq!(sent_again.unwrap().outcomes, [Outcome::Duplicate; 3]);
    let listed = gaps(&*store).await;
    assert_eq!((listed.unfinished_total, listed.unfinished.len()), (3, 3));

    store
        .append_evidence(batch(vec![ended.clone()]))
        .await
        .unwrap();
    let mut witnessed = batch(vec![provisional(&stopped), provisional(&ended)]);
    witnessed.source = Source::Witness;
    let outcomes = store.append_evidence(witnessed).await.unwrap().outcomes;
    assert_eq!(outcomes, [Outcome::Stored, Outcome::Duplicate]);
    let late = store.append_evidence(batch(intents.to_vec())).await;
    assert_eq!(late.unwrap().outcomes, [Outcome::Duplicate; 3]);

    let listed = gaps(&*store).await;
    let id = lost.envelope.record.id;
    assert_eq!(listed.unfinished_total, 1);
    assert_eq!(
        (listed.unfinished[0].id, listed.unfinished[0].received_at),
        (id, at(60_000_000))
    );
    assert_eq!(listed.recovered_total, 1);
    let log = store.log_state().await.unwrap();
    assert_eq!(log.waiting, 5, "each word is a leaf");
}

pub async fn end_of_an_envoy_counts_once(store: Arc<dyn Store>) {
    let end = |instance: &str, us| EnvoyEnd {
        instance: instance.to_owned(),
        since: at(us - 1_000_000),
        until: at(us),
        how: "signal: 9 (SIGKILL)".to_owned(),
    };
    let ends = [end("jupiter-1", 2_000_000), end("jupiter-1", 3_000_000)];
    store.note_envoy_ends(&ends).await.unwrap();
    let again = [ends[0].clone(), end("jupiter-2", 3_000_000)];
    store.note_envoy_ends(&again).await.unwrap();
    let listed = gaps(&*store).await;
    assert_eq!(listed.envoy_ends_total, 3);
    let [first, second] = ends;
    assert_eq!(listed.envoy_ends, [second, again[1].clone(), first]);
    store.note_envoy_ends(&[]).await.unwrap();
}
