//! Instances behind a real HAProxy, with both configurations that are shipped:
//! what is planned costs no request, what dies costs what physics asks for, and
//! policies hold throughout.

use std::collections::BTreeSet;
use std::process::Command;

use jupiter_testkit::load::{Fault, Kind, OpenLoad, Tally, listed_as_lost};
use jupiter_testkit::{HaProxy, Instance, Shipped, check_haproxy_config, target_dir, wait};
use reqwest::Method;

use crate::support::{
    REFUSED_MODEL, assert_refused, assert_sequences_are_whole, guarded, question,
};

/// Requests that are due each second.
const RATE: u32 = 40;

/// No record that a client has an answer for is missing, and none is there
/// twice. What a killed Envoy had not sent is read from its access log, in time; what it had
/// not written there either is listed.
async fn assert_recorded(tally: &Tally, instances: &[&Instance]) {
    let all = wait::until("a record of every exchange", async || {
        let (mut all, mut missing) = (Vec::new(), 0);
        for instance in instances {
            let emitters = instance.admin().get("/v1/emitters").await.expect(200);
            let emitters = emitters.json()["emitters"].clone();
            let places = emitters.as_array().into_iter().flatten();
            missing += places.filter_map(|e| e["missing"].as_u64()).sum::<u64>();
            all.extend(instance.admin().evidence("").await);
        }
        let recorded: BTreeSet<&str> = all.iter().filter_map(|r| r["id"].as_str()).collect();
        let unrecorded = tally.unrecorded(&recorded);
        let lost = unrecorded.len() - listed_as_lost(&unrecorded, instances).await;
        match (lost, missing) {
            (0, 0) => Ok(all),
            seen => Err(seen),
        }
    })
    .await;
    assert_sequences_are_whole(&all);
    let ids: BTreeSet<&str> = all.iter().filter_map(|r| r["id"].as_str()).collect();
    assert_eq!(ids.len(), all.len(), "a record is there twice");
}

/// What must hold whatever happens.
fn assert_honest(tally: &Tally) {
    for (asked, fault) in tally.faults() {
        let allowed = !matches!(fault, Fault::SilentlyCut | Fault::NotEnforced);
        assert!(allowed, "{asked:?}");
    }
}

async fn standing(instance: &Instance) -> serde_json::Value {
    let answer = instance.admin().get("/v1/instance").await.expect(200);
    answer.json()
}

/// What `mercator instance …` prints; it must succeed.
fn instance_command(instance: &Instance, arguments: &[&str]) -> String {
    let admin = instance.admin();
    let ran = Command::new(target_dir().join("debug/mercator"))
        .arg("instance")
        .args(["--server", admin.base_url(), "--token"])
        .arg(admin.token().expect("an admin has a token"))
        .args(arguments)
        .output()
        .expect("`./justw test` builds mercator");
    assert!(ran.status.success(), "{ran:?}");
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

async fn uptime(instance: &Instance) -> u64 {
    let deep = instance.admin().get("/health/deep").await.json();
    deep["uptime_seconds"].as_u64().expect("seconds")
}

async fn post(instance: &Instance, path: &str) -> serde_json::Value {
    let admin = instance.admin();
    let answer = admin.send(Method::POST, path, "", Vec::new()).await;
    answer.expect(200).json()
}

#[test]
fn shipped_configurations_are_valid() {
    for shipped in [Shipped::Seed, Shipped::Hardened] {
        let told = check_haproxy_config(&shipped.file()).expect("a valid configuration");
        assert!(!told.contains("WARNING"), "{told}");
    }
    let text = |shipped: Shipped| std::fs::read_to_string(shipped.file()).expect("it is shipped");
    // 15 s until a dead server is noticed, as the guide says.
    assert!(text(Shipped::Seed).contains("check inter 5s fall 3 rise 2"));
    let hardened = text(Shipped::Hardened);
    assert!(hardened.contains("check inter 1s fastinter 200ms downinter 500ms fall 2 rise 2"));
    // The providers' client libraries wait 600 s.
    assert!(hardened.contains("timeout client  660s") && hardened.contains("timeout server  660s"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configuration_of_the_seed_routes_around_a_dead_instance_and_back() {
    let (mut first, second) = tokio::join!(guarded(), guarded());
    let haproxy = HaProxy::start(Shipped::Seed, &[&first, &second]).await;
    let traffic = haproxy.traffic();
    for _ in 0..10 {
        let answer = traffic.complete(traffic.chat(&question("gpt-4o"))).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_refused(
            &traffic
                .complete(traffic.chat(&question(REFUSED_MODEL)))
                .await,
        );
    }
    let shares = ["jupiter1", "jupiter2"].map(|name| haproxy.server(name).sessions);
    assert_eq!(shares, [10, 10]);
    let metrics = haproxy.metrics().get("/metrics").await;
    assert!(metrics.text().contains("mercator_envoy_up 1"));
    assert!(haproxy.log().contains("POST /v1/chat/completions HTTP/1.1"));
    assert_eq!(haproxy.info("Maxconn"), "4096");

    first.kill().await;
    haproxy.wait_for("jupiter1", "DOWN").await;
    for _ in 0..10 {
        let answer = traffic.complete(traffic.chat(&question("gpt-4o"))).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    first.start_control_plane().await;
    haproxy.wait_for("jupiter1", "UP").await;
    let before = haproxy.server("jupiter1").sessions;
    for _ in 0..8 {
        assert_refused(
            &traffic
                .complete(traffic.chat(&question(REFUSED_MODEL)))
                .await,
        );
    }
    assert_eq!(haproxy.server("jupiter1").sessions, before + 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_that_the_seeds_checks_notice_costs_no_request() {
    let (first, second) = tokio::join!(guarded(), guarded());
    let haproxy = HaProxy::start(Shipped::Seed, &[&first, &second]).await;
    let load = OpenLoad::start(&haproxy.traffic(), RATE, &Kind::ALL);
    post(&first, "/v1/instance/drain").await;
    haproxy.wait_for("jupiter1", "DOWN").await;
    let before = haproxy.server("jupiter1").sessions;
    assert_eq!(first.traffic().get("/health").await.status, 503);
    post(&first, "/v1/instance/undrain").await;
    haproxy.wait_for("jupiter1", "UP").await;
    let after = haproxy.server("jupiter1").sessions;
    let tally = load.stop().await;
    assert_eq!(tally.faults().count(), 0, "{tally}");
    assert!(after - before <= 2, "{} requests meanwhile", after - before);
    assert_recorded(&tally, &[&first, &second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_and_rolling_restart_cost_no_request() {
    let (mut first, mut second) = tokio::join!(guarded(), guarded());
    let haproxy = HaProxy::start(Shipped::Hardened, &[&first, &second]).await;
    let load = OpenLoad::start(&haproxy.traffic(), RATE, &Kind::ALL);

    // Out of rotation on request, with what is in flight, and back.
    assert_eq!(standing(&first).await["standing"], "serving");
    assert_eq!(
        post(&first, "/v1/instance/drain").await["standing"],
        "draining"
    );
    haproxy.wait_until_drained("jupiter1").await;
    assert_eq!(first.traffic().get("/health").await.status, 503);
    assert_eq!(
        first.traffic().get("/health?draining=404").await.status,
        404
    );
    assert_eq!(first.admin().get("/health").await.status, 503);
    let ready = first.admin().get("/readyz?verbose").await.expect(503);
    let ready = String::from_utf8_lossy(&ready.body).into_owned();
    assert!(ready.contains("[-]standing failed: draining"), "{ready}");
    let waited = instance_command(&first, &["drain", "--wait", "30"]);
    assert_eq!(waited, "draining, 0 exchanges in flight\n");
    let before = haproxy.server("jupiter1").sessions;

    // A new Envoy of a drained instance is drained, too.
    let pid = first.envoy_pid().expect("an Envoy");
    first.kill_envoy().await;
    wait::until("another Envoy, drained", async || {
        let traffic = first.traffic();
        let health = traffic.request(Method::GET, "/health");
        match (first.envoy_pid(), traffic.try_complete(health).await) {
            (Some(other), Ok(answer)) if other != pid && answer.status == 503 => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await;
    assert_eq!(haproxy.server("jupiter1").sessions, before);
    assert_eq!(
        post(&first, "/v1/instance/undrain").await["standing"],
        "serving"
    );
    haproxy.wait_for("jupiter1", "UP").await;

    for (name, instance) in [("jupiter1", &mut first), ("jupiter2", &mut second)] {
        let before = uptime(instance).await;
        assert!(instance.stop().await.success(), "exit status");
        instance.start_control_plane().await;
        assert!(uptime(instance).await < before);
        haproxy.wait_for(name, "UP").await;
    }
    let tally = load.stop().await;
    let faults: Vec<_> = tally.faults().collect();
    assert!(faults.is_empty(), "{tally}\n{faults:#?}\n{}", haproxy.log());
    assert!(tally.count(Kind::Stream) > 10, "{tally}");
    assert_recorded(&tally, &[&first, &second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_envoy_costs_only_what_it_had_in_hand() {
    let (mut first, second) = tokio::join!(guarded(), guarded());
    let haproxy = HaProxy::start(Shipped::Hardened, &[&first, &second]).await;
    let load = OpenLoad::start(&haproxy.traffic(), RATE, &Kind::ALL);
    wait::until("both to be at work", async || {
        match (
            first.provider().received().len(),
            second.provider().received().len(),
        ) {
            (one, other) if one > 10 && other > 10 => Ok(()),
            seen => Err(seen),
        }
    })
    .await;
    first.kill_envoy().await;
    haproxy.wait_for("jupiter1", "DOWN").await;
    // Its control plane starts another.
    first.wait_for_traffic().await;
    haproxy.wait_for("jupiter1", "UP").await;
    let tally = load.stop().await;
    assert_honest(&tally);
    // At most what can be in flight on one of two: 8 streams a second, and 50 ms of posts.
    assert!(tally.faults().count() < 16, "{tally}");
    assert_recorded(&tally, &[&first, &second]).await;
}
