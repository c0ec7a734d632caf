//! Subjects, their erasure, and what stands against it.

use super::samples::{SUBJECT, SampleEmitter, at, batch, intent};
use crate::store::{
    EraseError, Erasure, ErasureStamp, EvidenceFilter, Hold, NewHold, Release, Store, Subject,
};
use std::sync::Arc;
use uuid::Uuid;

const OTHER: &str = "jwt:ada";

fn stamp() -> ErasureStamp {
    ErasureStamp {
        at: at(5),
        by: "ann".to_owned(),
        reason: "request 7".to_owned(),
    }
}

fn hold(number: u128, subject: Option<&str>) -> NewHold {
    NewHold {
        id: Uuid::from_u128(number),
        subject: subject.map(str::to_owned),
        since: None,
        until: None,
        reason: "case 9".to_owned(),
        at: at(3),
        by: "bob".to_owned(),
    }
}

/// Two records of one subject, one of another, one of nobody.
async fn filled(store: &dyn Store) -> Vec<Uuid> {
    let mut emitter = SampleEmitter::new(1);
    let records = vec![
        emitter.next(|_| ()),
        emitter.next_of(Some(OTHER), |_| ()),
        emitter.next(|_| ()),
        emitter.next_of(None, |_| ()),
    ];
    let ids = records.iter().map(|it| it.envelope.record.id).collect();
    store.append_evidence(batch(records)).await.unwrap();
    ids
}

/// Of all records, the earliest first.
async fn subjects(store: &dyn Store) -> Vec<Subject> {
    let all = EvidenceFilter::default();
    let page = store.query_evidence(&all, None, 10).await.unwrap();
    let mut subjects = page.subjects;
    subjects.reverse();
    subjects
}

fn known(name: &str) -> Subject {
    Subject::Known(name.to_owned())
}

async fn found(store: &dyn Store, subject: &str) -> usize {
    let filter = EvidenceFilter {
        subject: Some(subject.to_owned()),
        ..EvidenceFilter::default()
    };
    let page = store.query_evidence(&filter, None, 10).await.unwrap();
    page.records.len()
}

pub async fn record_is_told_with_its_subject_and_salt(store: Arc<dyn Store>) {
    let ids = filled(&*store).await;
    assert_eq!(
        subjects(&*store).await,
        [
            known(SUBJECT),
            known(OTHER),
            known(SUBJECT),
            Subject::Unknown
        ]
    );
    for (id, subject) in ids.iter().zip(subjects(&*store).await) {
        let evidence = store.evidence(*id).await.unwrap().unwrap();
        assert_eq!((evidence.subject, evidence.salt), (subject, Some([7; 16])));
        assert!(!evidence.canonical.contains("jwt:ada"));
    }
    let summary = store.subject(SUBJECT).await.unwrap().unwrap();
    assert_eq!((summary.records, summary.holds), (2, vec![]));
    assert_eq!(store.subject("jwt:eve").await.unwrap(), None);
    store.close().await;
}

pub async fn erased_subject_is_nobody_and_its_records_stay(store: Arc<dyn Store>) {
    let ids = filled(&*store).await;
    let before = store.evidence(ids[0]).await.unwrap().unwrap();
    let erasure = store.erase_subject(SUBJECT, stamp()).await.unwrap();
    assert_eq!(
        subjects(&*store).await,
        [
            Subject::Erased,
            known(OTHER),
            Subject::Erased,
            Subject::Unknown
        ]
    );
    let after = store.evidence(ids[0]).await.unwrap().unwrap();
    assert_eq!((after.subject, after.salt), (Subject::Erased, None));
    assert_eq!(
        (after.canonical, after.leaf),
        (before.canonical, before.leaf)
    );
    let other = store.evidence(ids[1]).await.unwrap().unwrap();
    assert_eq!(other.salt, Some([7; 16]));
    assert_eq!(
        (found(&*store, SUBJECT).await, found(&*store, OTHER).await),
        (0, 1)
    );
    assert_eq!(store.erasures().await.unwrap(), [erasure]);
    let again = store.erase_subject(SUBJECT, stamp()).await;
    assert!(matches!(again, Err(EraseError::Unknown)), "{again:?}");
    store.close().await;
}

pub async fn erased_subject_that_comes_again_is_another_one(store: Arc<dyn Store>) {
    filled(&*store).await;
    let erasure = store.erase_subject(SUBJECT, stamp()).await.unwrap();
    let mut emitter = SampleEmitter::new(2);
    let record = emitter.next(|record| record.id = super::samples::id(900_000, 1));
    // Stored before its request left, then replaced: its salt stays sealed.
    store
        .append_evidence(batch(vec![intent(&record)]))
        .await
        .unwrap();
    store
        .append_evidence(batch(vec![record.clone()]))
        .await
        .unwrap();
    let summary = store.subject(SUBJECT).await.unwrap().unwrap();
    assert_eq!(summary.records, 1);
    assert_ne!(summary.reference, erasure.reference);
    // An older erasure made again does not concern it.
    let again = store.repeat_erasures(&[erasure]).await.unwrap();
    assert_eq!((again, found(&*store, SUBJECT).await), (0, 1));
    store.close().await;
}

pub async fn erasure_that_was_undone_can_be_made_again(store: Arc<dyn Store>) {
    filled(&*store).await;
    let reference = store.subject(SUBJECT).await.unwrap().unwrap().reference;
    store.place_hold(hold(1, Some(SUBJECT))).await.unwrap();
    // As the ledger knows it, and this copy of the database does not.
    let erasure = Erasure {
        reference,
        at: at(5),
        by: "ann".to_owned(),
        reason: "request 7".to_owned(),
    };
    let erasures = [erasure];
    assert_eq!(store.repeat_erasures(&erasures).await.unwrap(), 1);
    assert_eq!(store.repeat_erasures(&erasures).await.unwrap(), 0);
    assert_eq!(subjects(&*store).await[0], Subject::Erased);
    assert_eq!(store.erasures().await.unwrap(), erasures);
    store.close().await;
}

pub async fn hold_keeps_what_it_covers_until_it_is_released(store: Arc<dyn Store>) {
    filled(&*store).await;
    let placed = store.place_hold(hold(1, Some(SUBJECT))).await.unwrap();
    let refused = store.erase_subject(SUBJECT, stamp()).await;
    assert!(
        matches!(&refused, Err(EraseError::Held(holds)) if *holds == [placed.clone()]),
        "{refused:?}"
    );
    store.erase_subject(OTHER, stamp()).await.unwrap();
    assert_eq!(subjects(&*store).await[0], known(SUBJECT));
    let release = |us| Release {
        at: at(us),
        by: "eve".to_owned(),
    };
    let released = store.release_hold(placed.id, release(8)).await.unwrap();
    let expected = Hold {
        released: Some(release(8)),
        ..placed.clone()
    };
    assert_eq!(released, Some(expected.clone()));
    // The first release counts.
    let again = store.release_hold(placed.id, release(9)).await.unwrap();
    assert_eq!(again, Some(expected));
    let unknown = store.release_hold(Uuid::nil(), release(9)).await.unwrap();
    assert_eq!(unknown, None);
    store.erase_subject(SUBJECT, stamp()).await.unwrap();
    let listed = store.holds().await.unwrap();
    assert_eq!((listed.len(), &listed[0].subject), (1, &None));
    store.close().await;
}

pub async fn hold_on_everything_or_on_somebody_to_come_holds(store: Arc<dyn Store>) {
    store.place_hold(hold(1, Some("jwt:new"))).await.unwrap();
    filled(&*store).await;
    let mut emitter = SampleEmitter::new(2);
    let record = emitter.next_of(Some("jwt:new"), |_| ());
    store.append_evidence(batch(vec![record])).await.unwrap();
    assert_eq!(found(&*store, "jwt:new").await, 1);
    let held = store.erase_subject("jwt:new", stamp()).await;
    assert!(matches!(held, Err(EraseError::Held(_))), "{held:?}");
    let everything = store.place_hold(hold(2, None)).await.unwrap();
    for subject in [SUBJECT, OTHER] {
        let held = store.erase_subject(subject, stamp()).await;
        assert!(matches!(held, Err(EraseError::Held(_))), "{held:?}");
    }
    let summary = store.subject(OTHER).await.unwrap().unwrap();
    assert_eq!(summary.holds, [everything]);
    store.close().await;
}
