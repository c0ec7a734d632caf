//! Queries go to replicas that are near enough and have what was written;
//! writes never do.

use std::time::Duration;

use jupiter_control_plane::metrics::Metrics;
use jupiter_control_plane::store::contract::samples::{SampleEmitter, batch};
use jupiter_control_plane::store::postgres::PostgresStore;
use jupiter_control_plane::store::{EvidenceFilter, Store};
use jupiter_testkit::postgres::{PASSWORD, PostgresCluster, USER};
use jupiter_testkit::wait;

use crate::support::{config, hosts, open};

/// The first server as the primary's host, the others as replicas.
fn with_replicas(
    cluster: &PostgresCluster,
    more: &str,
) -> jupiter_control_plane::config::PostgresConfig {
    let ports = cluster.ports();
    config(&format!(
        "host: {}, read_replica_hosts: {}, database: {}, user: {USER}, password: '{PASSWORD}', \
         ssl_mode: disable{more}",
        hosts(&ports[..1]),
        hosts(&ports[1..]),
        cluster.database(),
    ))
}

fn metric(metrics: &Metrics, name: &str) -> u64 {
    let text = metrics.encode("").expect("metrics");
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

async fn count(store: &PostgresStore) -> usize {
    let page = store
        .query_evidence(&EvidenceFilter::default(), None, 10_000)
        .await;
    page.expect("a page").records.len()
}

/// Query until a replica has answered one more.
async fn wait_for_replica_reads(store: &PostgresStore, metrics: &Metrics) {
    let before = metric(metrics, "mercator_db_replica_reads_total");
    wait::until("a replica to answer", async || {
        count(store).await;
        match metric(metrics, "mercator_db_replica_reads_total") {
            seen if seen > before => Ok(()),
            seen => Err(seen),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn query_sees_what_was_written_before_it_wherever_it_is_answered() {
    let cluster = PostgresCluster::start(2, "").await;
    let store = open(with_replicas(&cluster, "")).await;
    let metrics = Metrics::new();
    store.register(&metrics);
    wait_for_replica_reads(&store, &metrics).await;
    let mut emitter = SampleEmitter::new(1);
    for round in 1..=60 {
        store
            .append_evidence(batch(emitter.take(3)))
            .await
            .expect("appended");
        assert_eq!(count(&store).await, round * 3);
    }
    // Replicas that replay nothing any more are not asked for what they lack.
    for replica in [1, 2] {
        cluster.sql(replica, "SELECT pg_wal_replay_pause()");
    }
    store
        .append_evidence(batch(emitter.take(3)))
        .await
        .expect("appended");
    let fallbacks = metric(&metrics, "mercator_db_replica_fallbacks_total");
    assert_eq!(count(&store).await, 183);
    assert!(metric(&metrics, "mercator_db_replica_fallbacks_total") > fallbacks);
    for replica in [1, 2] {
        cluster.sql(replica, "SELECT pg_wal_replay_resume()");
    }
    wait_for_replica_reads(&store, &metrics).await;
    assert_eq!(count(&store).await, 183);
    // Every write went to the primary.
    for replica in [1, 2] {
        let role = cluster.sql(replica, "SELECT pg_is_in_recovery()");
        assert_eq!(role, "t");
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_that_lags_is_not_asked_until_it_has_caught_up() {
    let cluster = PostgresCluster::start(1, "").await;
    let reader = open(with_replicas(&cluster, ", max_replica_lag: 1s")).await;
    let writer = open(with_replicas(&cluster, "")).await;
    let metrics = Metrics::new();
    reader.register(&metrics);
    wait_for_replica_reads(&reader, &metrics).await;
    cluster.sql(1, "SELECT pg_wal_replay_pause()");
    let mut emitter = SampleEmitter::new(1);
    writer
        .append_evidence(batch(emitter.take(4)))
        .await
        .expect("appended");
    // The reader has written nothing itself: only the bound makes it turn away.
    wait::until(
        "the reader to see another's records",
        async || match count(&reader).await {
            4 => Ok(()),
            seen => Err(seen),
        },
    )
    .await;
    let reads = metric(&metrics, "mercator_db_replica_reads_total");
    assert_eq!(count(&reader).await, 4);
    assert_eq!(metric(&metrics, "mercator_db_replica_reads_total"), reads);
    cluster.sql(1, "SELECT pg_wal_replay_resume()");
    wait_for_replica_reads(&reader, &metrics).await;
    assert_eq!(count(&reader).await, 4);
    writer.close().await;
    reader.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_or_frozen_replicas_are_done_without() {
    let mut cluster = PostgresCluster::start(3, "").await;
    let store = open(with_replicas(&cluster, "")).await;
    let metrics = Metrics::new();
    store.register(&metrics);
    store
        .append_evidence(batch(SampleEmitter::new(1).take(5)))
        .await
        .expect("appended");
    wait_for_replica_reads(&store, &metrics).await;
    cluster.kill(1).await;
    for _ in 0..50 {
        assert_eq!(count(&store).await, 5);
    }
    cluster.freeze(2);
    for _ in 0..50 {
        assert_eq!(count(&store).await, 5);
    }
    cluster.kill(3).await;
    let fallbacks = metric(&metrics, "mercator_db_replica_fallbacks_total");
    assert_eq!(count(&store).await, 5);
    assert!(metric(&metrics, "mercator_db_replica_fallbacks_total") > fallbacks);
    cluster.start_node(1).await;
    wait_for_replica_reads(&store, &metrics).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promoted_replica_becomes_the_primary() {
    let mut cluster = PostgresCluster::start(2, "").await;
    let store = open(with_replicas(&cluster, "")).await;
    let mut emitter = SampleEmitter::new(1);
    store
        .append_evidence(batch(emitter.take(5)))
        .await
        .expect("appended");
    cluster.kill(0).await;
    cluster.promote_best(0).await;
    let more = emitter.take(5);
    wait::until_within(
        Duration::from_secs(30),
        "the new primary to take a batch",
        async || store.append_evidence(batch(more.clone())).await,
    )
    .await;
    assert_eq!(count(&store).await, 10);
    store.close().await;
}
