//! As many connections as configured, and none for longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jupiter_control_plane::store::Store;
use jupiter_testkit::postgres::{Database, USER, database};
use jupiter_testkit::wait;
use tokio::task::JoinSet;

use crate::support::{Senders, assert_nothing_lost_or_doubled, config_of, open};

fn connections(database: &Database) -> usize {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{USER}' AND datname = '{}'",
        database.name
    );
    database.sql(&sql).parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_stay_within_their_bounds() {
    let database = database().await;
    let store = open(config_of(
        &database,
        ", max_open_conns: 6, max_idle_conns: 2",
    ))
    .await;
    let senders = Senders::start(&store, 1, 8);
    let running = Arc::new(AtomicBool::new(true));
    let mut readers = JoinSet::new();
    for _ in 0..40 {
        let (store, running) = (Arc::clone(&store), Arc::clone(&running));
        readers.spawn(async move {
            while running.load(Ordering::Relaxed) {
                store.active_policies().await.expect("policies");
            }
        });
    }
    let mut most = 0;
    for _ in 0..100 {
        let seen = connections(&database);
        assert!(seen <= 6, "{seen} connections");
        most = most.max(seen);
    }
    assert!(most > 3, "only {most} connections under load");
    running.store(false, Ordering::Relaxed);
    readers.join_all().await;
    let sent = senders.stop().await;
    assert_eq!(sent.repeated, 0);
    assert_nothing_lost_or_doubled(&store, &sent).await;
    // Two idle ones, and the one that watches the server.
    wait::until(
        "idle connections to be closed",
        async || match connections(&database) {
            seen if seen <= 3 => Ok(()),
            seen => Err(seen),
        },
    )
    .await;
    store.close().await;
    wait::until("all connections to be closed", async || {
        match connections(&database) {
            0 => Ok(()),
            seen => Err(seen),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_replaced_when_their_time_is_over() {
    let database = database().await;
    let store = open(config_of(&database, ", conn_max_lifetime: 300ms")).await;
    let senders = Senders::start(&store, 1, 4);
    let backends = || {
        let sql = format!(
            "SELECT pid FROM pg_stat_activity WHERE usename = '{USER}' AND datname = '{}'
             AND query NOT LIKE '%pg_walfile_name%'",
            database.name
        );
        database.sql(&sql)
    };
    let first = wait::until("connections", async || match backends() {
        none if none.is_empty() => Err("none"),
        some => Ok(some),
    })
    .await;
    let first: Vec<&str> = first.lines().collect();
    wait::until("other connections", async || {
        let now = backends();
        match now.lines().any(|pid| first.contains(&pid)) {
            true => Err(now),
            false => Ok(()),
        }
    })
    .await;
    let sent = senders.stop().await;
    // Nobody noticed.
    assert_eq!(sent.repeated, 0);
    assert_nothing_lost_or_doubled(&store, &sent).await;
    store.close().await;
}
