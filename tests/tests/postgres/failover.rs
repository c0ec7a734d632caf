//! The primary dies, freezes or hands over: nothing acknowledged is lost,
//! nothing is stored twice, and work goes on with the new primary.

use std::sync::Arc;

use jupiter_control_plane::metrics::Metrics;
use jupiter_control_plane::store::contract::samples::{SampleEmitter, batch};
use jupiter_control_plane::store::{Outcome, Store, StoreError};
use jupiter_testkit::postgres::PostgresCluster;
use jupiter_testkit::wait;

use crate::support::{
    Senders, assert_nothing_lost_or_doubled, config_of_cluster, open, wait_for_more,
};

/// What befalls the primary before another one is promoted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    Freeze,
    Stop,
}

async fn primary_is_followed_after(fault: Fault) {
    let mut cluster = PostgresCluster::start(2, "").await;
    let store = open(config_of_cluster(&cluster, "")).await;
    let metrics = Metrics::new();
    store.register(&metrics);
    let senders = Senders::start(&store, 1, 4);
    wait_for_more(&store, 200).await;
    match fault {
        Fault::Kill => cluster.kill(0).await,
        Fault::Freeze => cluster.freeze(0),
        Fault::Stop => cluster.stop(0).await,
    }
    let promoted = cluster.promote_best(0).await;
    wait_for_more(&store, 200).await;

    if fault == Fault::Freeze {
        // The old primary wakes up and still believes in itself.
        cluster.thaw(0);
        wait::until("the old primary to answer", async || {
            match cluster.sql(0, "SELECT pg_is_in_recovery()").as_str() {
                "f" => Ok(()),
                other => Err(other.to_owned()),
            }
        })
        .await;
        wait_for_more(&store, 200).await;
    }
    let sent = senders.stop().await;
    assert_nothing_lost_or_doubled(&store, &sent).await;
    let text = metrics.encode("").expect("metrics");
    assert!(text.contains("mercator_db_failovers_total 1"), "{text}");
    let primary = format!(
        "mercator_db_primary{{host=\"127.0.0.1:{}\"}} 1",
        cluster.node(promoted).port
    );
    assert!(text.contains(&primary), "{text}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_primary_is_replaced_and_nothing_acknowledged_is_lost() {
    primary_is_followed_after(Fault::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_primary_is_left_and_never_followed_again() {
    primary_is_followed_after(Fault::Freeze).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planned_switchover_loses_nothing() {
    primary_is_followed_after(Fault::Stop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_primary_that_comes_back_is_used_again() {
    let mut cluster = PostgresCluster::start(0, "").await;
    let store = open(config_of_cluster(&cluster, "")).await;
    let senders = Senders::start(&store, 1, 4);
    wait_for_more(&store, 100).await;
    cluster.kill(0).await;
    cluster.start_node(0).await;
    wait_for_more(&store, 100).await;
    let sent = senders.stop().await;
    assert_nothing_lost_or_doubled(&store, &sent).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_to_a_frozen_primary_ends_and_says_why() {
    let cluster = PostgresCluster::start(0, "").await;
    let store = open(config_of_cluster(&cluster, "")).await;
    cluster.freeze(0);
    // Twice: over a connection from before, and over one that must be opened.
    for _ in 0..2 {
        let (append, read) = tokio::join!(
            store.append_evidence(batch(SampleEmitter::new(1).take(1))),
            store.active_policies(),
        );
        for error in [append.unwrap_err(), read.unwrap_err()] {
            assert!(
                matches!(error, StoreError::TimedOut(_) | StoreError::Unavailable(_)),
                "{error:?}"
            );
        }
    }
    cluster.thaw(0);
    wait::until("the thawed primary to be used", async || {
        store
            .append_evidence(batch(SampleEmitter::new(1).take(1)))
            .await
    })
    .await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn primary_without_a_standby_acknowledges_nothing() {
    let cluster = PostgresCluster::start(1, "").await;
    let store = open(config_of_cluster(&cluster, "")).await;
    cluster.freeze(1);
    let records = SampleEmitter::new(1).take(3);
    let appended = store.append_evidence(batch(records.clone())).await;
    assert!(
        matches!(appended, Err(StoreError::TimedOut(_))),
        "{appended:?}"
    );
    cluster.thaw(1);
    let appended = wait::until("the batch to be acknowledged", async || {
        store.append_evidence(batch(records.clone())).await
    })
    .await;
    assert_eq!(appended.outcomes.len(), 3);
    store.close().await;
}

/// The server then reports the commit as done, and only warns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_that_was_cancelled_while_it_waited_is_not_acknowledged() {
    let cluster = PostgresCluster::start(1, "").await;
    let store = open(config_of_cluster(&cluster, "")).await;
    cluster.freeze(1);
    let records = SampleEmitter::new(1).take(3);
    let appending = {
        let (store, records) = (Arc::clone(&store), records.clone());
        tokio::spawn(async move { store.append_evidence(batch(records)).await })
    };
    wait::until("the commit to be cancelled", async || {
        let cancelled = cluster.sql(
            0,
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'",
        );
        match cancelled.as_str() {
            "t" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    let appended = appending.await.expect("an answer");
    assert!(appended.is_err(), "{appended:?}");
    cluster.thaw(1);
    let appended = wait::until("the batch to be acknowledged", async || {
        store.append_evidence(batch(records.clone())).await
    })
    .await;
    assert_eq!(appended.outcomes, [Outcome::Duplicate; 3]);
    store.close().await;
}
