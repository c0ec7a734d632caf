//! Starting: many at once, and what is refused with a reason.

use jupiter_control_plane::store::Store;
use jupiter_control_plane::store::contract::samples::{SampleEmitter, batch};
use jupiter_control_plane::store::postgres::PostgresStore;
use jupiter_testkit::postgres::{PASSWORD, PostgresCluster, USER, database};
use tokio::task::JoinSet;

use crate::support::{config, config_of, stored};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_control_planes_may_start_on_an_empty_database_at_once() {
    let database = database().await;
    let mut starting = JoinSet::new();
    for number in 0..8 {
        let config = config_of(&database, ", max_open_conns: 8");
        starting.spawn(async move {
            let name = format!("jupiter-{number}");
            let store = PostgresStore::open(config, "local", &name).await;
            let store = store.expect("a store");
            let records = SampleEmitter::new(number + 1).take(10);
            store
                .append_evidence(batch(records))
                .await
                .expect("appended");
            store
        });
    }
    let stores = starting.join_all().await;
    assert_eq!(stored(&stores[0]).await.len(), 80);
    for store in stores {
        store.close().await;
    }
}

async fn refusal(lines: &str) -> String {
    let opened = PostgresStore::open(config(lines), "local", "jupiter-test").await;
    opened.expect_err("no store").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_told_at_once_with_server_and_reason_and_no_password() {
    let database = database().await;
    let (port, name) = (database.port, &database.name);
    let host = format!("host: '127.0.0.1:{port}'");
    for (lines, expected) in [
        (
            format!("{host}, database: {name}, user: {USER}, password: wr0ng, ssl_mode: disable"),
            "password authentication failed",
        ),
        (
            format!(
                "{host}, database: nowhere, user: {USER}, password: '{PASSWORD}', ssl_mode: disable"
            ),
            "database \"nowhere\" does not exist",
        ),
        // The shared server has no certificate.
        (
            format!(
                "{host}, database: {name}, user: {USER}, password: '{PASSWORD}', ssl_mode: require"
            ),
            "does not support TLS",
        ),
        (
            format!(
                "{host}, database: {name}, user: {USER}, password: '{PASSWORD}', ssl_mode: verify-full"
            ),
            "does not support TLS",
        ),
    ] {
        let refusal = refusal(&lines).await;
        assert!(refusal.contains(expected), "{refusal}");
        assert!(refusal.contains(&format!("127.0.0.1:{port}")), "{refusal}");
        assert!(!refusal.contains("wr0ng") && !refusal.contains(PASSWORD));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modes_that_do_not_insist_use_a_server_without_tls() {
    let database = database().await;
    for mode in ["allow", "prefer"] {
        let lines = format!(
            "host: '127.0.0.1:{}', database: {}, user: {USER}, password: '{PASSWORD}', \
             ssl_mode: {mode}",
            database.port, database.name
        );
        let store = PostgresStore::open(config(&lines), "local", "jupiter-test").await;
        let store = store.expect("a store");
        store.probe_write().await.expect("a write");
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_would_weaken_an_acknowledgement_do_not_count() {
    let cluster = PostgresCluster::start(0, "").await;
    cluster.sql(
        0,
        &format!("ALTER ROLE {USER} SET synchronous_commit = off"),
    );
    cluster.sql(
        0,
        &format!("ALTER ROLE {USER} SET statement_timeout = '1ms'"),
    );
    let lines = format!(
        "host: '127.0.0.1:{}', database: {}, user: {USER}, password: '{PASSWORD}', \
         ssl_mode: disable",
        cluster.node(0).port,
        cluster.database()
    );
    let store = PostgresStore::open(config(&lines), "local", "jupiter-test").await;
    let store = store.expect("a store");
    let mut emitter = SampleEmitter::new(1);
    for _ in 0..5 {
        store
            .append_evidence(batch(emitter.take(500)))
            .await
            .expect("appended");
    }
    store.close().await;
}
