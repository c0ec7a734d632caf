//! What is dead or frozen is not asked: the policy holds, nothing allowed
//! fails, and the evidence arrives once somebody can take it.

use std::collections::BTreeSet;
use std::time::Duration;

use jupiter_testkit::{Instance, wait};
use serde_json::{Value, json};

use crate::support::{
    GUARD, Load, REFUSED_MODEL, ask, assert_record, assert_refused, assert_sequences_are_whole,
    guarded, question, wait_for_totals,
};

/// Make some exchanges of both kinds; the ids of their records, and the decisions.
async fn exchanges(instance: &Instance, pairs: usize) -> Vec<(String, &'static str)> {
    let mut made = Vec::new();
    for _ in 0..pairs {
        let allowed = ask(instance, &question("gpt-4o")).await;
        assert_eq!(allowed.status, 200, "{}", allowed.text());
        made.push((allowed.decision_id(), "allow"));
        let refused = ask(instance, &question(REFUSED_MODEL)).await;
        assert_refused(&refused);
        made.push((refused.decision_id(), "deny"));
    }
    made
}

async fn assert_recorded(instance: &Instance, made: &[(String, &'static str)]) {
    for (id, decision) in made {
        let record = instance.admin().wait_for_record(id).await;
        assert_record(&record, &json!({"id": id, "decision": decision}));
    }
}

/// Wait until Envoy's log has a line for each of these exchanges.
async fn wait_for_access_log(instance: &Instance, lines: usize) {
    wait::until("Envoy's access log", async || {
        let seen = instance.access_log().len();
        if seen >= lines { Ok(()) } else { Err(seen) }
    })
    .await;
}

#[tokio::test]
async fn control_plane_dead_at_request_time() {
    let mut instance = guarded().await;
    instance.kill_control_plane();
    let made = exchanges(&instance, 10).await;
    assert_eq!(instance.provider().received().len(), 10);
    assert_eq!(instance.traffic().get("/health").await.status, 200);
    instance.start_control_plane().await;
    assert_recorded(&instance, &made).await;
    assert_eq!(instance.admin().evidence("").await.len(), made.len());
}

#[tokio::test]
async fn control_plane_frozen_at_request_time() {
    let instance = guarded().await;
    instance.freeze_control_plane();
    let made = exchanges(&instance, 10).await;
    instance.thaw_control_plane();
    assert_recorded(&instance, &made).await;
    assert_eq!(instance.admin().evidence("").await.len(), made.len());
}

#[tokio::test]
async fn control_plane_dead_at_envoys_start() {
    let mut instance = guarded().await;
    let digest = instance.digest_in_force().await;
    instance.kill_control_plane();
    instance.kill_envoy().await;
    instance.start_envoy_alone().await;
    assert_eq!(instance.digest_in_force().await, digest);
    let made = exchanges(&instance, 5).await;

    // Both are dead now; only what Envoy's own log witnessed is left.
    wait_for_access_log(&instance, made.len()).await;
    instance.kill_envoy().await;
    instance.start_control_plane().await;
    assert_recorded(&instance, &made).await;
    assert_eq!(instance.admin().evidence("").await.len(), made.len());
}

#[tokio::test]
async fn envoy_polling_a_dead_control_plane_refuses_at_its_start() {
    let mut instance = Instance::builder()
        .envoy("bundle_source: rest")
        .policy("guard", GUARD)
        .start()
        .await;
    instance.kill_control_plane();
    instance.kill_envoy().await;
    // It has no last good bundle, so it must not let anything through.
    instance.start_envoy_alone().await;
    let answer = ask(&instance, &question("gpt-4o")).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.json()["error"]["code"], "no_policy_bundle");
    assert!(instance.provider().received().is_empty());
}

#[tokio::test]
async fn killed_envoy_is_started_again() {
    let mut instance = guarded().await;
    let made = exchanges(&instance, 5).await;
    wait_for_access_log(&instance, made.len()).await;
    let first = instance.envoy_pid().expect("a running Envoy");
    instance.kill_envoy().await;
    wait::until("another Envoy", async || match instance.envoy_pid() {
        Some(pid) if pid != first => Ok(()),
        other => Err(other),
    })
    .await;
    instance.wait_for_traffic().await;
    instance.wait_for_bundle().await;
    let more = exchanges(&instance, 5).await;
    assert_recorded(&instance, &made).await;
    assert_recorded(&instance, &more).await;
    assert_eq!(instance.admin().evidence("").await.len(), 20);
}

#[tokio::test]
async fn request_that_envoys_death_cuts_is_an_honest_error() {
    let mut instance = guarded().await;
    let traffic = instance.traffic();
    let request = traffic
        .chat(&question("gpt-4o"))
        .header("x-fake-never", "true");
    let waiting = tokio::spawn(async move { traffic.try_complete(request).await });
    wait::until("the request to reach the provider", async || match instance
        .provider()
        .received()
        .len()
    {
        0 => Err("nothing yet"),
        _ => Ok(()),
    })
    .await;
    instance.kill_envoy().await;
    assert!(
        waiting.await.expect("no panic").is_err(),
        "not an honest error"
    );
    instance.wait_for_traffic().await;
    instance.wait_for_bundle().await;
    let after = exchanges(&instance, 1).await;
    assert_recorded(&instance, &after).await;
}

#[tokio::test]
async fn provider_that_is_down_is_an_honest_error() {
    let instance = guarded().await;
    instance
        .provider()
        .set_script(jupiter_testkit::fake_provider::Script {
            cut_after: Some(0),
            ..Default::default()
        });
    let traffic = instance.traffic();
    let mut ids = Vec::new();
    for _ in 0..5 {
        let answer = ask(&instance, &question("gpt-4o")).await;
        assert!([502, 503].contains(&answer.status), "{}", answer.text());
        ids.push(answer.decision_id());
    }
    // Health is about this instance, not about whom it forwards to.
    assert_eq!(traffic.get("/health").await.status, 200);
    for id in ids {
        let record = instance.admin().wait_for_record(&id).await;
        assert_record(&record, &json!({"outcome": "provider_reset"}));
    }
    instance.provider().set_script(Default::default());
    wait::until("the provider to be used again", async || {
        let answer = ask(&instance, &question("gpt-4o")).await;
        match answer.status {
            200 => Ok(()),
            status => Err((status, answer.text())),
        }
    })
    .await;
}

#[tokio::test]
async fn sequences_have_no_gap_after_an_outage() {
    let mut instance = guarded().await;
    let made = exchanges(&instance, 5).await;
    instance.kill_control_plane();
    let more = exchanges(&instance, 5).await;
    instance.start_control_plane().await;
    let last = exchanges(&instance, 5).await;
    for made in [made, more, last] {
        assert_recorded(&instance, &made).await;
    }
    wait_for_totals(&instance, 30).await;
    assert_sequences_are_whole(&instance.admin().evidence("").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_plane_killed_again_and_again_loses_nothing() {
    let mut instance = guarded().await;
    let load = Load::start(&instance, 4);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        instance.kill_control_plane();
        tokio::time::sleep(Duration::from_millis(700)).await;
        instance.start_control_plane().await;
    }
    let asked = load.stop().await;
    assert!(asked.failed.is_empty(), "{:?}", asked.failed);
    assert!(asked.answered.len() > 100, "{}", asked.answered.len());
    wait_for_totals(&instance, asked.answered.len() as u64).await;
    let records = instance.admin().evidence("").await;
    assert_sequences_are_whole(&records);
    assert_eq!(ids_of(&records), asked.answered.into_iter().collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_under_load_finishes_what_it_began() {
    let mut instance = guarded().await;
    let load = Load::start(&instance, 4);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(instance.stop().await.success());
    let asked = load.stop().await;
    for error in &asked.failed {
        // Nobody there, or gone before it answered: never half an answer.
        assert!(error.is_request(), "{error:?}");
    }
    instance.start_control_plane().await;
    let admin = instance.admin();
    for id in &asked.answered {
        admin.wait_for_record(id).await;
    }
    assert_sequences_are_whole(&admin.evidence("").await);
}

#[tokio::test]
async fn full_outbox_stops_traffic_where_evidence_is_required() {
    let mut instance = Instance::builder()
        .policy("guard", GUARD)
        .evidence("capacity: 5")
        .evidence("on_full: deny")
        .start()
        .await;
    instance.kill_control_plane();
    let refused = wait::until("the outboxes to be full", async || {
        let answer = ask(&instance, &question("gpt-4o")).await;
        match answer.status {
            503 => Ok(answer),
            status => Err(status),
        }
    })
    .await;
    assert_eq!(refused.json()["error"]["code"], "evidence_unavailable");
    assert_eq!(refused.header("retry-after"), Some("1"));
    // One outbox a worker.
    let reached = instance.provider().received().len();
    assert!(
        (5..=10).contains(&reached),
        "{reached} requests were let through"
    );

    instance.start_control_plane().await;
    wait::until("traffic to flow again", async || {
        let answer = ask(&instance, &question("gpt-4o")).await;
        match answer.status {
            200 => Ok(()),
            status => Err(status),
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_full_outbox_drops_the_witness_recovers() {
    let mut instance = Instance::builder()
        .policy("guard", GUARD)
        .evidence("capacity: 5")
        .evidence("on_full: drop_counted")
        .start()
        .await;
    instance.kill_control_plane();
    let made = exchanges(&instance, 20).await;
    instance.start_control_plane().await;
    assert_recorded(&instance, &made).await;
    wait_for_totals(&instance, made.len() as u64).await;
    assert_sequences_are_whole(&instance.admin().evidence("").await);
}

fn ids_of(records: &[Value]) -> BTreeSet<String> {
    let ids = records.iter().filter_map(|record| record["id"].as_str());
    ids.map(str::to_owned).collect()
}
