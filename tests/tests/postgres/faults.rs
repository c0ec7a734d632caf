//! Ingest fails before, during and after each of its writes: a batch is stored
//! completely or not at all, and sending it again completes it.

use jupiter_control_plane::store::contract::samples::{SampleEmitter, batch, provisional};
use jupiter_control_plane::store::{Outcome, RejectedLine, Store};
use jupiter_testkit::postgres::{Database, database};

use crate::support::{config_of, open, stored};

/// Tables that an append writes to, in the order it does.
const WRITES: [&str; 4] = ["emitter_epochs", "evidence", "evidence_rules", "quarantine"];

/// Where in a write the fault strikes.
#[derive(Debug, Clone, Copy)]
enum Strike {
    /// The write is refused.
    Before,
    /// The write is done, then its transaction is refused.
    After,
    /// The connection is cut while the write is under way.
    Cut,
    /// All is written and the commit is refused.
    Commit,
}

impl Strike {
    /// A trigger on `table` that strikes once, then never again.
    fn set(self, database: &Database, table: &str) {
        let (timing, action) = match self {
            Strike::Before => ("BEFORE INSERT OR UPDATE", "RAISE EXCEPTION 'told to fail'"),
            Strike::After => ("AFTER INSERT OR UPDATE", "RAISE EXCEPTION 'told to fail'"),
            Strike::Cut => (
                "BEFORE INSERT OR UPDATE",
                "PERFORM pg_terminate_backend(pg_backend_pid())",
            ),
            Strike::Commit => ("AFTER INSERT OR UPDATE", "RAISE EXCEPTION 'told to fail'"),
        };
        let (constraint, deferred) = match self {
            Strike::Commit => ("CONSTRAINT", "DEFERRABLE INITIALLY DEFERRED"),
            _ => ("", ""),
        };
        database.sql(&format!(
            "CREATE SEQUENCE strikes;
             GRANT ALL ON SEQUENCE strikes TO public;
             CREATE FUNCTION strike() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
             BEGIN
                 -- A sequence is not rolled back: it strikes once.
                 IF nextval('strikes') = 1 THEN {action}; END IF;
                 RETURN NEW;
             END $$;
             CREATE {constraint} TRIGGER strike {timing} ON {table} {deferred}
             FOR EACH ROW EXECUTE FUNCTION strike();"
        ));
    }
}

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
