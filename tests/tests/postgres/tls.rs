//! What each `ssl_mode` encrypts, and what it checks.

use std::path::Path;

use jupiter_control_plane::store::Store;
use jupiter_control_plane::store::postgres::PostgresStore;
use jupiter_testkit::postgres::{Certificates, PASSWORD, PostgresCluster, USER};

use crate::support::config;

async fn open(
    cluster: &PostgresCluster,
    host: &str,
    mode: &str,
    authority: Option<&Path>,
) -> Result<PostgresStore, String> {
    let authority = authority.map(|path| format!(", ssl_root_cert: '{}'", path.display()));
    let lines = format!(
        "host: '{host}:{}', database: {}, user: {USER}, password: '{PASSWORD}', \
         ssl_mode: {mode}{}",
        cluster.node(0).port,
        cluster.database(),
        authority.unwrap_or_default()
    );
    let store = PostgresStore::open(config(&lines), "local", "jupiter-test").await;
    store.map_err(|error| error.to_string())
}

/// Whether all connections of the store are encrypted (`t`) or none is (`f`).
async fn encrypted(cluster: &PostgresCluster, store: PostgresStore) -> String {
    store.probe_write().await.expect("a write");
    let seen = cluster.sql(
        0,
        &format!(
            "SELECT string_agg(DISTINCT ssl::text, ',') FROM pg_stat_ssl
             JOIN pg_stat_activity USING (pid) WHERE usename = '{USER}'"
        ),
    );
    store.close().await;
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modes_encrypt_and_check_as_in_libpq() {
    let certificates = Certificates::make();
    let others = Certificates::make();
    let cluster = PostgresCluster::start(0, &certificates.settings()).await;
    let authority = certificates.authority();
    let authority = Some(authority.as_path());
    let stranger = others.authority();
    let stranger = Some(stranger.as_path());
    for (mode, host, authority, expected) in [
        ("disable", "localhost", None, Ok("false")),
        ("allow", "localhost", None, Ok("false")),
        ("prefer", "localhost", None, Ok("true")),
        ("require", "localhost", None, Ok("true")),
        ("require", "127.0.0.1", authority, Ok("true")),
        ("require", "localhost", stranger, Err("TLS")),
        ("verify-ca", "127.0.0.1", authority, Ok("true")),
        ("verify-ca", "localhost", stranger, Err("TLS")),
        ("verify-ca", "localhost", None, Err("TLS")),
        ("verify-full", "localhost", authority, Ok("true")),
        ("verify-full", "127.0.0.1", authority, Err("TLS")),
    ] {
        let what = format!("{mode} {host}");
        let opened = open(&cluster, host, mode, authority).await;
        match (opened, expected) {
            (Ok(store), Ok(expected)) => {
                assert_eq!(encrypted(&cluster, store).await, expected, "{what}");
            }
            (Err(refusal), Err(expected)) => {
                assert!(refusal.contains(expected), "{what}: {refusal}");
            }
            (opened, expected) => panic!("{what}: {opened:?} where {expected:?} was due"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_insists_on_tls_is_met_by_all_modes_but_disable() {
    let certificates = Certificates::make();
    let cluster = PostgresCluster::start(0, &certificates.settings()).await;
    cluster.refuse_plaintext(0);
    for mode in ["allow", "prefer", "require"] {
        let store = open(&cluster, "localhost", mode, None).await;
        let store = store.expect("a store");
        assert_eq!(encrypted(&cluster, store).await, "true", "{mode}");
    }
    let refusal = open(&cluster, "localhost", "disable", None).await;
    let refusal = refusal.expect_err("a refusal");
    assert!(refusal.contains("pg_hba.conf"), "{refusal}");
}
