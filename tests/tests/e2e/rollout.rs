//! A policy takes effect within a second, at once for each request, and never
//! by half; what is broken changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jupiter_testkit::wait;
use jupiter_testkit::{Answer, Instance, Traffic};
use serde_json::json;

use crate::support::{
    GUARD, REFUSED_MODEL, ask, assert_record, assert_sequences_are_whole, question, record_of,
    wait_for_totals,
};

const VERSION_A: &str = include_str!("policies/refuse-a.yaml");
const VERSION_B: &str = include_str!("policies/refuse-b.yaml");

fn code(answer: &Answer) -> String {
    assert_eq!(answer.status, 403, "{}", answer.text());
    let code = answer.json()["error"]["code"].as_str().map(str::to_owned);
    code.expect("a code")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policy_changes_while_requests_flow() {
    let instance = Instance::builder()
        .policy("versioned", VERSION_A)
        .start()
        .await;
    let running = Arc::new(AtomicBool::new(true));
    let flows: Vec<_> = (0..8)
        .map(|_| tokio::spawn(flow(instance.traffic(), Arc::clone(&running))))
        .collect();

    let admin = instance.admin();
    let mut enforced = Vec::new();
    let mut fresh_ones = 0;
    for round in 0..6 {
        let (text, due) = match round % 2 {
            0 => (VERSION_B, "version_b"),
            _ => (VERSION_A, "version_a"),
        };
        admin.put_policy("versioned", text).await.expect_success();
        let published = Instant::now();
        // Both workers must have it: several answers in a row, each on a new connection.
        wait::until("the new version to be enforced", async || {
            for _ in 0..8 {
                fresh_ones += 1;
                let code = code(&fresh(&instance).await);
                if code != due {
                    return Err(code);
                }
            }
            Ok(())
        })
        .await;
        enforced.push(published.elapsed());
    }
    running.store(false, Ordering::Relaxed);
    let mut requests = fresh_ones;
    for flow in flows {
        requests += flow
            .await
            .expect("no request failed or saw neither version");
    }
    assert!(requests > 200, "only {requests} requests flowed meanwhile");
    // For whoever reads the log: the promise is a second, but a busy machine may pause longer.
    eprintln!("enforced after {enforced:?}");
    // Each worker's filter was replaced six times, and no record went missing.
    wait_for_totals(&instance, requests).await;
    assert_sequences_are_whole(&instance.admin().evidence("").await);
}

/// One request on a connection of its own.
async fn fresh(instance: &Instance) -> Answer {
    let traffic = instance.traffic();
    let request = traffic
        .chat(&question(REFUSED_MODEL))
        .header("connection", "close");
    traffic.complete(request).await
}

/// Ask until told to stop: what is refused stays refused, what is allowed allowed.
async fn flow(traffic: Traffic, running: Arc<AtomicBool>) -> u64 {
    let mut requests = 0;
    while running.load(Ordering::Relaxed) {
        let refused = traffic
            .complete(traffic.chat(&question(REFUSED_MODEL)))
            .await;
        assert!(["version_a", "version_b"].contains(&code(&refused).as_str()));
        let allowed = traffic.complete(traffic.chat(&question("gpt-4o"))).await;
        assert_eq!(allowed.status, 200, "{}", allowed.text());
        requests += 2;
    }
    requests
}

#[tokio::test]
async fn request_in_flight_survives_a_change_of_policy() {
    let instance = Instance::builder()
        .policy("versioned", VERSION_A)
        .start()
        .await;
    let traffic = instance.traffic();
    let request = traffic
        .chat(&question("gpt-4o"))
        .header("x-fake-latency-ms", 2_000);
    let in_flight = tokio::spawn(async move { traffic.complete(request).await });
    wait::until("the request to reach the provider", async || match instance
        .provider()
        .received()
        .len()
    {
        0 => Err("nothing yet"),
        _ => Ok(()),
    })
    .await;
    let before = instance.digest_in_force().await;
    let admin = instance.admin();
    admin
        .put_policy("versioned", VERSION_B)
        .await
        .expect_success();
    instance.wait_for_bundle().await;
    assert_eq!(code(&fresh(&instance).await), "version_b");
    let answer = in_flight.await.expect("no panic");
    assert_eq!(answer.status, 200, "{}", answer.text());
    // The record names the bundle that decided, not the one that followed.
    assert_record(
        &record_of(&instance, &answer).await,
        &json!({"outcome": "completed", "policy": {"digest": before}}),
    );
}

#[tokio::test]
async fn broken_policy_never_replaces_a_good_one() {
    let instance = Instance::builder()
        .policy("versioned", VERSION_A)
        .start()
        .await;
    let admin = instance.admin();
    let digest = instance.digest_in_force().await;
    let broken = [
        "rules: [",
        "",
        "just text",
        &VERSION_B.replace("request.model", "request.modle"),
        &VERSION_B.replace("operator: \"==\"", "operator: \"resembles\""),
        &VERSION_B.replace("type: deny", "type: denny"),
        &VERSION_B.replace("mpl_version", "mpl_vresion"),
        &VERSION_B.replace("value: gpt-4-turbo", "value: \"{{ variables.none }}\""),
    ];
    for text in broken {
        let reply = admin.put_policy("versioned", text).await.expect(422);
        assert_eq!(
            reply.header("content-type"),
            Some("application/problem+json")
        );
        let problem = reply.json();
        let diagnostics = problem["diagnostics"].as_array().expect("diagnostics");
        assert!(!diagnostics.is_empty(), "{problem:#}");
        for diagnostic in diagnostics {
            assert!(diagnostic["code"].is_string(), "{problem:#}");
            assert!(diagnostic["message"].is_string(), "{problem:#}");
        }
    }
    assert_eq!(instance.digest_in_force().await, digest);
    assert_eq!(code(&fresh(&instance).await), "version_a");
}

#[tokio::test]
async fn deleted_policy_is_out_of_force() {
    let instance = Instance::builder()
        .policy("guard", GUARD)
        .policy("versioned", VERSION_A)
        .start()
        .await;
    let admin = instance.admin();
    let path = "/v1/policies/versioned";
    admin.delete(path).await.expect_success();
    admin.get(path).await.expect(404);
    instance.wait_for_bundle().await;
    assert_eq!(code(&fresh(&instance).await), "model_not_approved");
}

#[tokio::test]
async fn policies_survive_a_restart_of_everything() {
    let mut instance = Instance::builder()
        .policy("versioned", VERSION_A)
        .start()
        .await;
    let digest = instance.digest_in_force().await;
    assert!(instance.stop().await.success());
    assert!(instance.envoy_pid().is_none(), "Envoy outlived the stop");
    instance.start_control_plane().await;
    instance.wait_for_bundle().await;
    assert_eq!(instance.digest_in_force().await, digest);
    assert_eq!(code(&fresh(&instance).await), "version_a");
}

#[tokio::test]
async fn envoy_that_polls_the_control_plane_follows_it_and_outlives_it() {
    let mut instance = Instance::builder()
        .envoy("bundle_source: rest")
        .policy("versioned", VERSION_A)
        .start()
        .await;
    assert_eq!(code(&fresh(&instance).await), "version_a");
    let admin = instance.admin();
    admin
        .put_policy("versioned", VERSION_B)
        .await
        .expect_success();
    instance.wait_for_bundle().await;
    assert_eq!(code(&fresh(&instance).await), "version_b");

    instance.kill_control_plane();
    for _ in 0..20 {
        assert_eq!(code(&fresh(&instance).await), "version_b");
        let allowed = ask(&instance, &question("gpt-4o")).await;
        assert_eq!(allowed.status, 200, "{}", allowed.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn envoy_of_a_mesh_follows_the_control_plane_and_outlives_it() {
    let mut instance = Instance::builder()
        .policy("versioned", VERSION_A)
        .start()
        .await;
    let mesh = instance.start_polling_envoy().await;
    let ask = async || {
        let request = mesh.traffic.chat(&question(REFUSED_MODEL));
        mesh.traffic.try_complete(request).await
    };
    // Until it has a bundle it refuses everything with 503, never lets through.
    let due = async |version: &str| {
        wait::until(version, async || match ask().await {
            Ok(answer) if answer.status == 403 && code(&answer) == version => Ok(answer),
            Ok(answer) => {
                assert_ne!(answer.status, 200);
                Err(answer.text())
            }
            Err(error) => Err(error.to_string()),
        })
        .await
    };
    let first = due("version_a").await;
    let admin = instance.admin();
    admin
        .put_policy("versioned", VERSION_B)
        .await
        .expect_success();
    due("version_b").await;
    admin.wait_for_record(&first.decision_id()).await;

    instance.kill_control_plane();
    let mut meanwhile = Vec::new();
    for _ in 0..10 {
        meanwhile.push(due("version_b").await);
        let allowed = mesh.traffic.chat(&question("gpt-4o"));
        let allowed = mesh.traffic.complete(allowed).await;
        assert_eq!(allowed.status, 200, "{}", allowed.text());
        meanwhile.push(allowed);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    instance.start_control_plane().await;
    for answer in &meanwhile {
        admin.wait_for_record(&answer.decision_id()).await;
    }
}
