//! SQLite keeps the contract, and some promises of its own.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::store::contract::samples::{SampleEmitter, batch};
use crate::store::{Outcome, Store};

async fn open(folder: &tempfile::TempDir) -> SqliteStore {
    SqliteStore::open(&folder.path().join("mercator.db"))
        .await
        .unwrap()
}

async fn empty() -> (Arc<dyn Store>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Arc::new(open(&folder).await), folder)
}

crate::store_contract!(super::empty);

#[tokio::test]
async fn database_belongs_to_its_owner_and_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let records = SampleEmitter::new(1).take(3);
    store.append_evidence(batch(records.clone())).await.unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}", entry.path());
    }
    store.close().await;
    let again = open(&folder).await;
    let appended = again.append_evidence(batch(records)).await.unwrap();
    assert_eq!(appended.outcomes, [Outcome::Duplicate; 3]);
}

#[tokio::test]
async fn acknowledged_record_survives_a_copy_of_the_files() {
    // What a power cut leaves: the files as they are after the answer.
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let records = SampleEmitter::new(1).take(3);
    store.append_evidence(batch(records.clone())).await.unwrap();
    let copy = tempfile::tempdir().unwrap();
    for name in ["mercator.db", "mercator.db-wal"] {
        std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let appended = open(&copy)
        .await
        .append_evidence(batch(records))
        .await
        .unwrap();
    assert_eq!(appended.outcomes, [Outcome::Duplicate; 3]);
}

#[tokio::test]
async fn settings_that_promises_rest_on_are_in_effect() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    for (pool, pragma, expected) in [
        (&store.write, "PRAGMA journal_mode", "wal"),
        (&store.write, "PRAGMA synchronous", "2"),
        (&store.write, "PRAGMA foreign_keys", "1"),
        (&store.read, "PRAGMA query_only", "1"),
    ] {
        let row = sqlx::query(pragma).fetch_one(pool).await.unwrap();
        let text: String = sqlx::Row::try_get::<String, _>(&row, 0)
            .or_else(|_| sqlx::Row::try_get::<i64, _>(&row, 0).map(|n| n.to_string()))
            .unwrap();
        assert_eq!(text, expected, "{pragma}");
    }
}

#[tokio::test]
async fn every_filter_is_served_by_its_index() {
    use crate::store::EvidenceFilter;
    use jupiter_evidence::DecisionKind;
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let text = || Some("x".to_owned());
    let any = EvidenceFilter::default;
    let time = Some(crate::store::contract::samples::at(0));
    for (filter, index) in [
        (any(), "evidence_1"),
        (
            EvidenceFilter {
                since: time,
                until: time,
                ..any()
            },
            "evidence_1",
        ),
        (
            EvidenceFilter {
                subject: text(),
                ..any()
            },
            "evidence_by_subject",
        ),
        (
            EvidenceFilter {
                model: text(),
                ..any()
            },
            "evidence_by_model",
        ),
        (
            EvidenceFilter {
                decision: Some(DecisionKind::Deny),
                ..any()
            },
            "evidence_denied",
        ),
        (
            EvidenceFilter {
                decision: Some(DecisionKind::Error),
                ..any()
            },
            "evidence_errored",
        ),
        (
            EvidenceFilter {
                rule: text(),
                ..any()
            },
            "SEARCH r USING PRIMARY KEY",
        ),
    ] {
        let plan = crate::store::sqlite::evidence::plan(&store.read, &filter).await;
        assert!(plan.contains(index), "{filter:?}: {plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{filter:?}: {plan}");
    }
}

/// Not a benchmark, but a floor: far below what any machine reaches, and far
/// above what a statement for each record, or a scan, would.
#[tokio::test(flavor = "multi_thread")]
async fn appending_does_not_take_a_commit_for_each_record() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&folder).await);
    let mut emitter = SampleEmitter::new(1);
    let batches: Vec<_> = (0..40).map(|_| batch(emitter.take(250))).collect();
    let started = Instant::now();
    let mut senders = tokio::task::JoinSet::new();
    for batch in batches {
        let store = Arc::clone(&store);
        senders.spawn(async move { store.append_evidence(batch).await.unwrap() });
    }
    senders.join_all().await;
    let per_second = 10_000.0 / started.elapsed().as_secs_f64();
    println!("{per_second:.0} records per second");
    assert!(per_second > 1_000.0, "{per_second:.0} records per second");
}
