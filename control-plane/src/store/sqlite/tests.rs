//! SQLite keeps the contract, and some promises of its own.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Instant;

use jupiter_evidence::tree::Edge;
use sqlx::AssertSqlSafe;

use super::*;
use crate::store::contract::samples::{SampleEmitter, at, batch};
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
            "evidence_by_subject_ref",
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

/// Everything that waits, behind the tree as it is.
async fn next_step(store: &SqliteStore) -> (u64, Sequenced) {
    let size = store.log_state().await.unwrap().size;
    let tiles = store.tiles(&Edge::tiles_of(size)).await.unwrap();
    let mut edge = Edge::restore(size, &tiles.into_iter().collect()).unwrap();
    let waiting = store.waiting_batches(u64::MAX).await.unwrap();
    for leaf in waiting.iter().flat_map(|batch| &batch.leaves) {
        edge.push(leaf.0);
    }
    let sequenced = Sequenced {
        batches: waiting.iter().map(|batch| batch.id).collect(),
        size: edge.size(),
        tiles: edge.take_changed(),
    };
    (size, sequenced)
}

/// As when the disk is full after some of a transaction's statements.
#[tokio::test]
async fn write_that_fails_in_its_middle_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let mut emitter = SampleEmitter::new(1);
    store.append_evidence(batch(emitter.take(3))).await.unwrap();
    let mut records = 3;
    let writes = [
        ("append", "INSERT ON evidence"),
        ("append", "INSERT ON evidence_rules"),
        ("append", "INSERT ON log_waiting"),
        ("append", "UPDATE ON log_state"),
        ("append", "UPDATE ON emitter_epochs"),
        ("sequence", "DELETE ON log_waiting"),
        ("sequence", "INSERT ON log_tiles"),
        ("sequence", "UPDATE ON log_state"),
        ("checkpoint", "INSERT ON log_checkpoints"),
    ];
    for (write, statement) in writes {
        let fails = format!(
            "CREATE TRIGGER fails BEFORE {statement} BEGIN SELECT RAISE(ABORT, 'full'); END"
        );
        let some = emitter.take(2);
        let (seen, step) = next_step(&store).await;
        let checkpoint = StoredCheckpoint {
            size: seen,
            root: [0; 32],
            note: statement.to_owned(),
            signed_at: at(0),
        };
        let newest = store.log_state().await.unwrap().checkpoint;
        let newest = newest.map_or(0, |checkpoint| checkpoint.size);
        let attempt = async || match write {
            "append" => {
                let appended = store.append_evidence(batch(some.clone())).await;
                appended.map(drop).map_err(|error| error.to_string())
            }
            "sequence" => {
                let sequenced = store.sequence_batches(seen, step.clone()).await;
                sequenced.map_err(|error| error.to_string())
            }
            _ => {
                let advanced = store.advance_checkpoint(newest, checkpoint.clone()).await;
                advanced.map_err(|error| error.to_string())
            }
        };
        let before = store.log_state().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(fails))
            .execute(&store.write)
            .await
            .unwrap();
        let failed = attempt().await;
        assert_eq!(
            failed.unwrap_err(),
            "the database cannot be used",
            "{statement}"
        );
        assert_eq!(store.log_state().await.unwrap(), before, "{statement}");
        let totals = store.evidence_totals().await.unwrap();
        assert_eq!(
            (totals.records, totals.missing),
            (records, 0),
            "{statement}"
        );
        sqlx::raw_sql("DROP TRIGGER fails")
            .execute(&store.write)
            .await
            .unwrap();
        attempt().await.unwrap();
        // What was not tried here, so that the next one has something to do.
        if write != "append" {
            store.append_evidence(batch(some)).await.unwrap();
        }
        records += 2;
    }
    let (seen, step) = next_step(&store).await;
    store.sequence_batches(seen, step).await.unwrap();
    let entries = store.log_entries(0, 1_000).await.unwrap();
    assert_eq!(entries.len() as u64, records);
    let whole: std::collections::BTreeSet<_> = entries.iter().map(|e| e.canonical()).collect();
    assert_eq!(whole.len() as u64, records);
}
