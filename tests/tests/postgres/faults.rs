//! Ingest fails before, during and after each of its writes: a batch is stored
//! completely or not at all, and sending it again completes it.

use jupiter_control_plane::store::contract::samples::{SampleEmitter, batch, provisional};
use jupiter_control_plane::store::{Outcome, RejectedLine, Store};
use jupiter_testkit::postgres::database;

use crate::support::{Strike, config_of, open, stored};

/// Tables that an append writes to, in the order it does.
const WRITES: [&str; 4] = ["emitter_epochs", "evidence", "evidence_rules", "quarantine"];

async fn batch_survives(strike: Strike, table: &str) {
    let database = database().await;
    let store = open(config_of(&database, "")).await;
    let mut emitter = SampleEmitter::new(1);
    let known = emitter.take(3);
    store
        .append_evidence(batch(known.clone()))
        .await
        .expect("appended");
    // New records, one known already, a provisional one, a line that is none.
    let mut sent = batch(emitter.take(4));
    sent.records.push(known[1].clone());
    let unfinished = emitter.next(|_| ());
    sent.records.push(provisional(&unfinished));
    sent.rejected.push(RejectedLine {
        reason: "not_an_envelope",
        sha256: [7; 32],
        line: b"?".to_vec(),
    });
    strike.set(&database, table);
    let failed = store.append_evidence(sent.clone()).await;
    let what = format!("{strike:?} {table}");
    assert!(failed.is_err(), "{what}: {failed:?}");
    assert_eq!(stored(&store).await.len(), 3, "{what}");
    assert_eq!(
        database.sql("SELECT count(*) FROM quarantine"),
        "0",
        "{what}"
    );
    let totals = store.evidence_totals().await.expect("totals");
    assert_eq!((totals.records, totals.missing), (3, 0), "{what}");

    let appended = store.append_evidence(sent).await.expect("appended");
    use Outcome::{Duplicate, Stored};
    let due = [Stored, Stored, Stored, Stored, Duplicate, Stored];
    assert_eq!(appended.outcomes, due, "{what}");
    assert_eq!(appended.chain_breaks, 0, "{what}");
    assert_eq!(stored(&store).await.len(), 8, "{what}");
    assert_eq!(
        database.sql("SELECT count(*) FROM quarantine"),
        "1",
        "{what}"
    );
    let totals = store.evidence_totals().await.expect("totals");
    assert_eq!((totals.records, totals.missing), (7, 0), "{what}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_is_whole_whatever_write_fails_first() {
    for table in WRITES {
        batch_survives(Strike::Before, table).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_is_whole_whatever_write_fails_afterwards() {
    for table in WRITES {
        batch_survives(Strike::After, table).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_is_whole_wherever_the_connection_is_cut() {
    for table in WRITES {
        batch_survives(Strike::Cut, table).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_is_whole_when_the_commit_fails() {
    for table in WRITES {
        batch_survives(Strike::Commit, table).await;
    }
}
