//! Records that are let go, and what keeps them.

use super::log::sequence;
use super::samples::{SUBJECT, SampleEmitter, at, batch, intent, line};
use crate::store::{
    EraseError, ErasureStamp, EvidenceBatch, EvidenceFilter, LetGo, LetGoError, LogRecord,
    NewEvidence, NewHold, Outcome, Retention, Store,
};
use jiff::Timestamp;
use std::sync::Arc;
use uuid::Uuid;

fn let_go(archive: &str, from: u64, records: &[NewEvidence]) -> LetGo {
    LetGo {
        retention: Retention {
            archive: archive.to_owned(),
            at: at(90_000_000),
            records: records.len() as u64,
            note: format!("about {archive}"),
        },
        leaves: (from..).zip(records.iter().map(|it| it.leaf.0)).collect(),
    }
}

fn hold(number: u128, subject: Option<&str>, time: (Option<u64>, Option<u64>)) -> NewHold {
    NewHold {
        id: Uuid::from_u128(number),
        subject: subject.map(str::to_owned),
        since: time.0.map(at),
        until: time.1.map(at),
        reason: "case 9".to_owned(),
        at: at(3),
        by: "bob".to_owned(),
    }
}

async fn filled(store: &dyn Store, count: usize) -> Vec<NewEvidence> {
    let records = SampleEmitter::new(1).take(count);
    store.append_evidence(batch(records.clone())).await.unwrap();
    sequence(store).await;
    records
}

async fn found(store: &dyn Store) -> usize {
    let all = EvidenceFilter::default();
    store
        .query_evidence(&all, None, 500)
        .await
        .unwrap()
        .records
        .len()
}

/// Of each leaf whether its record is there, and whether it was let go.
async fn places(store: &dyn Store) -> Vec<(bool, bool)> {
    let entries = store.log_entries(0, 1_000).await.unwrap();
    let place = |(index, entry): (usize, &crate::store::LogEntry)| {
        assert_eq!(entry.index, index as u64);
        let stored = matches!(entry.record, LogRecord::Stored(_));
        (stored, entry.record == LogRecord::LetGo)
    };
    entries.iter().enumerate().map(place).collect()
}

pub async fn records_that_were_let_go_leave_their_place_in_the_tree(store: Arc<dyn Store>) {
    let records = filled(&*store, 10).await;
    let before = store.log_state().await.unwrap();
    let tile = jupiter_evidence::tree::TileId { level: 0, index: 0 };
    let tiles = store.tiles(&[tile]).await.unwrap();
    store
        .let_go(&[], &let_go("one", 2, &records[2..5]))
        .await
        .unwrap();

    let mut expected = vec![(true, false); 10];
    expected[2..5].fill((false, true));
    assert_eq!(places(&*store).await, expected);
    assert_eq!(found(&*store).await, 7);
    assert_eq!(store.log_state().await.unwrap(), before);
    assert_eq!(store.tiles(&[tile]).await.unwrap(), tiles);
    let id = records[3].envelope.record.id;
    assert_eq!(store.evidence(id).await.unwrap(), None);
    let retired = store.retired(id).await.unwrap().unwrap();
    assert_eq!((retired.leaf_index, retired.archive.as_str()), (3, "one"));
    assert_eq!(retired.let_go_at, at(90_000_000));
    assert_eq!(
        store.retired(records[5].envelope.record.id).await.unwrap(),
        None
    );
    let rule = EvidenceFilter {
        rule: Some("guard/seen".to_owned()),
        ..EvidenceFilter::default()
    };
    let page = store.query_evidence(&rule, None, 50).await.unwrap();
    assert_eq!(page.records.len(), 7);
    // What went is not missing, also where something else is.
    let mut emitter = SampleEmitter::new(2);
    let mut gap = emitter.take(6);
    gap.remove(4);
    store.append_evidence(batch(gap.clone())).await.unwrap();
    sequence(&*store).await;
    store
        .let_go(&[], &let_go("two", 11, &gap[1..3]))
        .await
        .unwrap();
    let missing = store.evidence_gaps(10).await.unwrap().missing;
    let missing: Vec<_> = missing
        .iter()
        .map(|it| (it.first_seq, it.last_seq))
        .collect();
    assert_eq!(missing, [(4, 4)]);
    let noted = store.retentions().await.unwrap();
    let noted: Vec<_> = noted
        .iter()
        .map(|it| (it.archive.as_str(), it.records))
        .collect();
    assert_eq!(noted, [("one", 3), ("two", 2)]);
    store.give_back_room(at(0)).await.unwrap();
    store.close().await;
}

pub async fn nothing_goes_under_another_hold_or_twice(store: Arc<dyn Store>) {
    let records = filled(&*store, 6).await;
    let seen = store.holds().await.unwrap();
    let held = store.place_hold(hold(1, None, (None, None))).await.unwrap();
    let late = store.let_go(&seen, &let_go("one", 0, &records[..2])).await;
    assert!(matches!(late, Err(LetGoError::Stale)));
    assert_eq!(
        (found(&*store).await, store.retentions().await.unwrap()),
        (6, vec![])
    );

    // Whoever knows the hold has looked at what it covers.
    let seen = [held];
    store
        .let_go(&seen, &let_go("one", 0, &records[..2]))
        .await
        .unwrap();
    let again = store.let_go(&seen, &let_go("two", 1, &records[1..4])).await;
    assert!(matches!(again, Err(LetGoError::Stale)), "one of them went");
    let mut others = let_go("two", 2, &records[2..4]);
    others.leaves[1].1 = [9; 32];
    let other = store.let_go(&seen, &others).await;
    assert!(
        matches!(other, Err(LetGoError::Stale)),
        "another record is there"
    );
    assert_eq!(found(&*store).await, 4);
    assert_eq!(store.retentions().await.unwrap().len(), 1);
    store.close().await;
}

pub async fn restored_records_go_again_whatever_holds(store: Arc<dyn Store>) {
    let records = filled(&*store, 6).await;
    store.place_hold(hold(1, None, (None, None))).await.unwrap();
    let mut of_another_log = let_go("one", 0, &records[..3]);
    of_another_log.leaves[2].1 = [9; 32];
    assert_eq!(store.let_go_again(&of_another_log).await.unwrap(), 2);
    assert_eq!(store.let_go_again(&of_another_log).await.unwrap(), 0);
    assert_eq!(found(&*store).await, 4);
    assert_eq!(store.retentions().await.unwrap().len(), 1);
    store.close().await;
}

pub async fn record_that_was_let_go_is_known_when_it_comes_again(store: Arc<dyn Store>) {
    let records = filled(&*store, 4).await;
    store
        .let_go(&[], &let_go("one", 0, &records))
        .await
        .unwrap();
    let late = EvidenceBatch {
        received_at: at(3 * 86_400_000_000),
        ..batch(records)
    };
    let appended = store.append_evidence(late).await.unwrap();
    assert_eq!(appended.outcomes, [Outcome::Duplicate; 4]);
    let state = store.log_state().await.unwrap();
    assert_eq!((state.size, state.waiting), (4, 0));
    store.close().await;
}

pub async fn replaced_provisional_record_goes_too(store: Arc<dyn Store>) {
    let last = SampleEmitter::new(1).next(|_| ());
    let first = intent(&last);
    assert!(line(&first).contains("pending"));
    store
        .append_evidence(batch(vec![first.clone()]))
        .await
        .unwrap();
    sequence(&*store).await;
    store
        .append_evidence(batch(vec![last.clone()]))
        .await
        .unwrap();
    sequence(&*store).await;
    // It is told with the subject of the record that replaced it.
    let entries = store.log_entries(0, 10).await.unwrap();
    let subjects = entries.iter().map(|entry| match &entry.record {
        LogRecord::Stored(record) => record.subject_ref.unwrap(),
        _ => panic!("it is there"),
    });
    let subjects: Vec<Uuid> = subjects.collect();
    assert_eq!(subjects[0], subjects[1]);

    let both = [first, last.clone()];
    store.let_go(&[], &let_go("one", 0, &both)).await.unwrap();
    assert_eq!(places(&*store).await, [(false, true); 2]);
    let retired = store.retired(last.envelope.record.id).await.unwrap();
    assert_eq!(retired.unwrap().leaf_index, 1);
    store.close().await;
}

pub async fn hold_on_a_time_covers_its_exchanges_alone(store: Arc<dyn Store>) {
    // One a millisecond, from one on.
    let records = filled(&*store, 5).await;
    let of_a_time = hold(1, None, (Some(2_000), Some(4_000)));
    let held = store.place_hold(of_a_time).await.unwrap();
    assert_eq!((held.since, held.until), (Some(at(2_000)), Some(at(4_000))));
    assert_eq!(store.holds().await.unwrap(), std::slice::from_ref(&held));
    let times: Vec<Timestamp> = records.iter().map(|it| it.time).collect();
    let covered: Vec<bool> = times.iter().map(|time| held.covers(None, *time)).collect();
    assert_eq!(covered, [false, true, true, false, false]);
    let stamp = || ErasureStamp {
        at: at(5),
        by: "ann".to_owned(),
        reason: "request 7".to_owned(),
    };
    let refused = store.erase_subject(SUBJECT, stamp()).await;
    assert!(
        matches!(refused, Err(EraseError::Held(_))),
        "it has records of then"
    );

    let of_one = store
        .place_hold(hold(2, Some(SUBJECT), (Some(9_000), None)))
        .await
        .unwrap();
    assert!(of_one.covers(of_one.reference, at(9_000)));
    assert!(!of_one.covers(of_one.reference, at(8_999)) && !of_one.covers(None, at(9_000)));
    let release = crate::store::Release {
        at: at(6),
        by: "bob".to_owned(),
    };
    store.release_hold(held.id, release).await.unwrap();
    store.erase_subject(SUBJECT, stamp()).await.unwrap();
    store.close().await;
}
