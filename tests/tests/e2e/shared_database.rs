//! Instances on a Postgres that they share: what one publishes all enforce, and
//! a database that is gone stops neither traffic nor policies.

use std::collections::BTreeSet;

use jupiter_testkit::postgres::{PASSWORD, PostgresCluster};
use jupiter_testkit::{Instance, InstanceBuilder, wait};
use serde_json::{Value, json};

use crate::tamper::{audit, keep_checkpoint, wait_until_sealed};

use crate::support::{
    GUARD, Load, REFUSED_MODEL, ask, assert_refused, assert_sequences_are_whole, question,
};

fn on(cluster: &PostgresCluster, name: &str) -> InstanceBuilder {
    let builder = Instance::builder().named(name);
    let lines = cluster.evidence_lines();
    lines
        .iter()
        .fold(builder, |builder, line| builder.evidence(line))
}

async fn wait_for_database(instance: &Instance, well: bool) {
    wait::until("the state of the database", async || {
        let deep = instance.admin().get("/health/deep").await;
        let database = deep.json()["checks"]["database"].clone();
        match (database == json!("ok")) == well {
            true => Ok(()),
            false => Err(database),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_gone_for_a_while_costs_no_exchange_and_no_record() {
    let mut cluster = PostgresCluster::start(0, "").await;
    let instance = on(&cluster, "jupiter-1")
        .policy("guard", GUARD)
        .start()
        .await;
    let load = Load::start(&instance, 4);
    instance.admin().wait_for_records("", 20).await;

    let deep = instance.admin().get("/health/deep").await.json();
    let server = &deep["database_servers"][0];
    assert_eq!(server["role"], "primary", "{deep:#}");
    let stranger = instance.admin().with_token(None);
    let deep = stranger.get("/health/deep").await.json();
    assert_eq!(deep["database_servers"], Value::Null);

    cluster.stop(0).await;
    wait_for_database(&instance, false).await;
    assert_eq!(instance.traffic().get("/health").await.status, 200);
    let mut made = BTreeSet::new();
    for _ in 0..25 {
        let allowed = ask(&instance, &question("gpt-4o")).await;
        assert_eq!(allowed.status, 200, "{}", allowed.text());
        made.insert(allowed.decision_id());
        let refused = ask(&instance, &question(REFUSED_MODEL)).await;
        assert_refused(&refused);
        made.insert(refused.decision_id());
    }
    cluster.start_node(0).await;
    wait_for_database(&instance, true).await;
    let asked = load.stop().await;
    assert!(asked.failed.is_empty(), "{:?}", asked.failed);
    made.extend(asked.answered);

    let records = wait::until("a record of every exchange", async || {
        let records = instance.admin().evidence("").await;
        // Those of deep health come besides.
        let of_clients = records.iter().filter(|r| r["reason"] != "health_probe");
        let ids = of_clients.filter_map(|record| record["id"].as_str());
        let recorded: BTreeSet<String> = ids.map(str::to_owned).collect();
        let lost = made.difference(&recorded).count();
        let more = recorded.difference(&made).count();
        match (lost, more) {
            (0, 0) => Ok(records),
            seen => Err(seen),
        }
    })
    .await;
    assert_sequences_are_whole(&records);
    let rows = cluster.sql(0, "SELECT count(*) - count(DISTINCT id) FROM evidence");
    assert_eq!(rows, "0", "records are there twice");
    assert!(!instance.all_logs().contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policy_published_on_one_instance_is_enforced_by_the_others() {
    let cluster = PostgresCluster::start(0, "").await;
    let first = on(&cluster, "jupiter-1")
        .policy("guard", GUARD)
        .start()
        .await;
    // One region, one log, one key.
    let key = std::fs::read_to_string(first.data_dir().join("evidence.key")).expect("a key");
    let second = on(&cluster, "jupiter-2")
        .evidence(&format!("signing_key: \"{}\"", key.trim()))
        .start()
        .await;
    second.wait_for_bundle().await;
    assert_refused(&ask(&second, &question(REFUSED_MODEL)).await);

    let text = GUARD.replace(REFUSED_MODEL, "gpt-5-forbidden");
    second
        .admin()
        .put_policy("guard", &text)
        .await
        .expect_success();
    second.wait_for_bundle().await;
    let digest = second.digest_in_force().await;
    wait::until("the first instance to enforce it", async || {
        match first.digest_in_force().await {
            seen if seen == digest => Ok(()),
            seen => Err(seen),
        }
    })
    .await;
    assert_refused(&ask(&first, &question("gpt-5-forbidden")).await);
    let allowed = ask(&first, &question(REFUSED_MODEL)).await;
    assert_eq!(allowed.status, 200, "{}", allowed.text());

    // Each of them shows the evidence of both.
    for instance in [&first, &second] {
        instance.admin().wait_for_records("", 3).await;
    }
    log_goes_on_without_one_of_those_who_seal(first, &second).await;
}

/// Either of them seals, and one of them ends.
async fn log_goes_on_without_one_of_those_who_seal(mut first: Instance, second: &Instance) {
    let folder = tempfile::tempdir().expect("a folder");
    let key = second.data_dir().join("evidence.pub");
    wait_until_sealed(second, 3).await;
    keep_checkpoint(second, folder.path(), &key);
    first.kill().await;
    let allowed = ask(second, &question("gpt-4o")).await;
    assert_eq!(allowed.status, 200, "{}", allowed.text());
    wait_until_sealed(second, 4).await;
    let (code, text) = audit(second, folder.path(), &key);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("contains the trusted checkpoint over 3 records"),
        "{text}"
    );
}
