//! Erasures: what is noted of them, what stands against them, and what a restore meets.

use super::*;
use crate::store::contract::samples::{SUBJECT, SampleEmitter, at, batch};
use crate::store::faults::Fault;
use crate::store::sqlite::SqliteStore;
use crate::store::{NewHold, Store, Subject};
use crate::testing::TestApp;
use std::sync::Arc;

async fn with_records(store: &dyn Store) {
    let records = SampleEmitter::new(1).take(3);
    store.append_evidence(batch(records)).await.unwrap();
}

async fn subjects(store: &dyn Store) -> Vec<Subject> {
    let page = store.query_evidence(&Default::default(), None, 10).await;
    page.unwrap().subjects
}

#[tokio::test]
async fn restored_copy_of_the_database_is_erased_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut test = TestApp::start().await;
    test.app.ledger.keep_in(folder.path()).await;
    with_records(&*test.app.store).await;
    let copy = folder.path().join("mercator.db");
    for end in ["", "-wal"] {
        let file = test.folder.path().join(format!("mercator.db{end}"));
        fs::copy(file, format!("{}{end}", copy.display())).unwrap();
    }

    erase(&test.app, SUBJECT, "ann", "request 7").await.unwrap();
    assert_eq!(subjects(&*test.app.store).await, vec![Subject::Erased; 3]);

    let restored = Arc::new(SqliteStore::open(&copy).await.unwrap());
    let known = Subject::Known(SUBJECT.to_owned());
    assert_eq!(subjects(&*restored).await, vec![known; 3]);
    test.app.store = restored;
    let done = reconcile(&test.app).await.unwrap();
    assert_eq!(done, Reconciled { again: 1, noted: 0 });
    assert_eq!(subjects(&*test.app.store).await, vec![Subject::Erased; 3]);
    assert_eq!(test.app.store.erasures().await.unwrap().len(), 1);
    assert_eq!(
        reconcile(&test.app).await.unwrap(),
        Reconciled::default(),
        "once is enough"
    );
}

#[tokio::test]
async fn ledger_says_who_and_why_and_not_whom() {
    let folder = tempfile::tempdir().unwrap();
    let test = TestApp::start().await;
    test.app.ledger.keep_in(folder.path()).await;
    with_records(&*test.app.store).await;
    erase(&test.app, SUBJECT, "ann", "request 7").await.unwrap();
    let text = fs::read_to_string(folder.path().join(LEDGER_FILE)).unwrap();
    assert!(
        text.contains(r#""by":"ann""#) && text.contains("request 7"),
        "{text}"
    );
    assert!(!text.contains("0123456789abcdef"), "{text}");
}

#[tokio::test]
async fn erasure_that_others_made_is_noted_here_too() {
    let folder = tempfile::tempdir().unwrap();
    let test = TestApp::start().await;
    with_records(&*test.app.store).await;
    // No ledger yet: as if it was another control plane.
    erase(&test.app, SUBJECT, "ann", "request 7").await.unwrap();
    test.app.ledger.keep_in(folder.path()).await;
    let done = reconcile(&test.app).await.unwrap();
    assert_eq!(done, Reconciled { again: 0, noted: 1 });
}

#[tokio::test]
async fn subject_under_hold_is_not_erased_until_it_is_released() {
    let test = TestApp::start().await;
    with_records(&*test.app.store).await;
    let hold = NewHold {
        id: Uuid::from_u128(1),
        subject: Some(SUBJECT.to_owned()),
        since: None,
        until: None,
        reason: "case 9".to_owned(),
        at: at(0),
        by: "bob".to_owned(),
    };
    test.app.store.place_hold(hold).await.unwrap();
    let refused = erase(&test.app, SUBJECT, "ann", "request 7").await;
    assert!(matches!(
        refused,
        Err(ErasureError::Refused(EraseError::Held(holds))) if holds[0].reason == "case 9"
    ));
    assert!(
        subjects(&*test.app.store)
            .await
            .iter()
            .all(|it| it.name().is_some())
    );
}

#[tokio::test]
async fn fault_at_any_point_leaves_the_subject_erased_and_noted_or_neither() {
    for fault in [Fault::Before, Fault::After] {
        let folder = tempfile::tempdir().unwrap();
        let test = TestApp::start().await;
        test.app.ledger.keep_in(folder.path()).await;
        with_records(&*test.app.store).await;
        test.faults.set_on("erase_subject", fault);
        erase(&test.app, SUBJECT, "ann", "request 7")
            .await
            .unwrap_err();
        test.faults.set(None);
        let noted = reconcile(&test.app).await.unwrap().noted;
        let erased = subjects(&*test.app.store).await[0] == Subject::Erased;
        assert_eq!(
            (erased, noted),
            (fault == Fault::After, usize::from(erased))
        );
    }
}

#[tokio::test]
async fn ledger_that_cannot_be_read_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let test = TestApp::start().await;
    test.app.ledger.keep_in(folder.path()).await;
    let path = folder.path().join(LEDGER_FILE);
    fs::write(&path, "not a line\n").unwrap();
    with_records(&*test.app.store).await;
    let told = erase(&test.app, SUBJECT, "ann", "request 7").await;
    assert!(matches!(
        told,
        Err(ErasureError::NotNoted(LedgerError::BadLine { line: 1, .. }))
    ));
    assert_eq!(fs::read_to_string(&path).unwrap(), "not a line\n");
}
