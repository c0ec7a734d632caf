//! Evidence lies in weeks that are made when they are needed.

use jupiter_control_plane::store::contract::samples::{BEGIN_US, SampleEmitter, batch, sealed};
use jupiter_control_plane::store::{Outcome, Store};
use jupiter_testkit::postgres::{Database, database};
use uuid::Uuid;

use crate::support::{config_of, open, stored};

fn weeks(database: &Database, table: &str) -> usize {
    let sql =
        format!("SELECT count(*) FROM pg_partition_tree('{table}') WHERE isleaf AND level = 2");
    database.sql(&sql).parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weeks_to_come_are_there_before_their_time() {
    let database = database().await;
    let store = open(config_of(&database, "")).await;
    for table in ["evidence", "evidence_rules"] {
        assert_eq!(weeks(&database, table), 5, "{table}");
    }
    store.close().await;
}

/// One batch with records of many weeks, one of them half a century old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_of_any_week_is_stored_beside_the_others() {
    let database = database().await;
    let store = open(config_of(&database, "")).await;
    let mut records = SampleEmitter::new(1).take(6);
    for (number, evidence) in records.iter_mut().enumerate() {
        let mut record = evidence.envelope.record.clone();
        let millis = BEGIN_US / 1_000 - number as u64 * 8 * 86_400_000;
        let millis = if number == 5 { 1_000 } else { millis };
        record.id = uuid_of(millis, number as u64);
        // Outside any chain: only its place in time matters here.
        record.emitter.epoch = format!("{number:032x}");
        record.emitter.seq = 0;
        record.emitter.prev = String::new();
        *evidence = sealed(record);
    }
    let appended = store.append_evidence(batch(records.clone())).await;
    assert_eq!(appended.expect("appended").outcomes, [Outcome::Stored; 6]);
    assert_eq!(stored(&store).await.len(), 6);
    store.close().await;
}

fn uuid_of(millis: u64, number: u64) -> Uuid {
    let random = u128::from(number) | 0x7000_8000_0000_0000_0000;
    Uuid::from_u128(u128::from(millis) << 80 | random)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn week_that_was_dropped_is_made_again_when_a_late_record_comes() {
    let database = database().await;
    let store = open(config_of(&database, "")).await;
    let mut emitter = SampleEmitter::new(1);
    store
        .append_evidence(batch(emitter.take(2)))
        .await
        .expect("appended");
    let of = |table: &str| {
        database.sql(&format!(
            "SELECT relid::text FROM pg_partition_tree('{table}')
             WHERE isleaf AND level = 2 ORDER BY relid::text COLLATE \"C\" LIMIT 1"
        ))
    };
    for table in ["evidence", "evidence_rules"] {
        let oldest = of(table);
        database.sql(&format!("DROP TABLE {oldest}"));
    }
    let appended = store.append_evidence(batch(emitter.take(2))).await;
    assert_eq!(appended.expect("appended").outcomes, [Outcome::Stored; 2]);
    assert_eq!(stored(&store).await.len(), 2);
    store.close().await;
}
