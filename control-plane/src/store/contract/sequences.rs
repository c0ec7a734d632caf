//! Promises about emitters' sequences.

use std::sync::Arc;

use super::samples::{SampleEmitter, at, batch, id, provisional, sealed};
use crate::store::{EmitterEpoch, NewEvidence, Store};

async fn append(store: &dyn Store, records: &[NewEvidence]) -> u64 {
    let appended = store.append_evidence(batch(records.to_vec())).await;
    appended.unwrap().chain_breaks
}

async fn only_epoch(store: &dyn Store) -> EmitterEpoch {
    let page = store.emitters(None, 10).await.unwrap();
    assert_eq!(page.epochs.len(), 1);
    page.epochs.into_iter().next().unwrap()
}

pub async fn whole_sequence_misses_nothing(store: Arc<dyn Store>) {
    let records = SampleEmitter::new(3).take(5);
    assert_eq!(append(&*store, &records[..2]).await, 0);
    assert_eq!(append(&*store, &records[2..]).await, 0);
    assert_eq!(
        only_epoch(&*store).await,
        EmitterEpoch {
            emitter: "jupiter-1".to_owned(),
            epoch: "03".repeat(16),
            records: 5,
            first_seq: 0,
            last_seq: 4,
            missing: 0,
            chain_breaks: 0,
            first_received_at: at(60_000_000),
            last_received_at: at(60_000_000),
        }
    );
}

pub async fn gap_shows_until_it_is_filled(store: Arc<dyn Store>) {
    let records = SampleEmitter::new(1).take(10);
    // The beginning is missing as much as the middle.
    append(&*store, &records[2..4]).await;
    append(&*store, &records[7..]).await;
    let epoch = only_epoch(&*store).await;
    assert_eq!((epoch.first_seq, epoch.last_seq, epoch.missing), (2, 9, 5));
    assert_eq!(store.evidence_totals().await.unwrap().missing, 5);
    assert_eq!(append(&*store, &records[..7]).await, 0);
    let epoch = only_epoch(&*store).await;
    assert_eq!((epoch.records, epoch.first_seq, epoch.missing), (10, 0, 0));
}

pub async fn records_out_of_order_fit_all_the_same(store: Arc<dyn Store>) {
    let mut records = SampleEmitter::new(1).take(8);
    records.reverse();
    assert_eq!(append(&*store, &records[..3]).await, 0);
    records[3..].rotate_left(2);
    for record in &records[3..] {
        assert_eq!(append(&*store, std::slice::from_ref(record)).await, 0);
    }
    let epoch = only_epoch(&*store).await;
    assert_eq!(
        (epoch.records, epoch.missing, epoch.chain_breaks),
        (8, 0, 0)
    );
}

pub async fn wrong_predecessor_is_a_break_in_either_order(store: Arc<dyn Store>) {
    for (epoch, one_batch, swapped) in [
        (1, true, false),
        (2, true, true),
        (3, false, false),
        (4, false, true),
    ] {
        let records = SampleEmitter::new(epoch).take(3);
        let mut forged = records[1].envelope.record.clone();
        forged.duration_us += 1;
        // Its successor names the true record; it names its predecessor rightly.
        let mut sent = vec![records[0].clone(), sealed(forged), records[2].clone()];
        if swapped {
            sent.reverse();
        }
        let mut breaks = 0;
        if one_batch {
            breaks = append(&*store, &sent).await;
        } else {
            for record in &sent {
                breaks += append(&*store, std::slice::from_ref(record)).await;
            }
        }
        assert_eq!(breaks, 1, "{one_batch} {swapped}");
    }
    assert_eq!(store.evidence_totals().await.unwrap().chain_breaks, 4);
}

pub async fn place_taken_twice_is_a_break(store: Arc<dyn Store>) {
    let records = SampleEmitter::new(1).take(3);
    append(&*store, &records).await;
    let mut forked = records[1].envelope.record.clone();
    forked.id = id(9_000, 77);
    assert_eq!(append(&*store, &[sealed(forked)]).await, 1);
    let epoch = only_epoch(&*store).await;
    // It is kept: which of the two is the true one is not ours to decide.
    assert_eq!(
        (epoch.records, epoch.missing, epoch.chain_breaks),
        (4, 0, 1)
    );
}

pub async fn provisional_record_takes_no_place(store: Arc<dyn Store>) {
    let mut emitter = SampleEmitter::new(1);
    let first = emitter.next(|_| ());
    let second = emitter.next(|_| ());
    append(&*store, &[first, provisional(&second)]).await;
    let epoch = only_epoch(&*store).await;
    assert_eq!((epoch.records, epoch.last_seq, epoch.missing), (1, 0, 0));
    assert_eq!(append(&*store, &[second]).await, 0);
    let epoch = only_epoch(&*store).await;
    assert_eq!((epoch.records, epoch.last_seq, epoch.missing), (2, 1, 0));
}

pub async fn epochs_are_kept_apart_and_paged(store: Arc<dyn Store>) {
    for epoch in 1..=5 {
        append(&*store, &SampleEmitter::new(epoch).take(usize::from(epoch))).await;
    }
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = store.emitters(before, 2).await.unwrap();
        seen.extend(page.epochs.into_iter().map(|epoch| epoch.records));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
    let totals = store.evidence_totals().await.unwrap();
    assert_eq!((totals.epochs, totals.records, totals.missing), (5, 15, 0));
}
