//! Envoy under `mercator run`: taken over, replaced, drained, its log read.

use std::process::{Command, Stdio};

use jupiter_testkit::{Instance, envoy_binary, project_root, target_dir, wait};
use reqwest::Method;
use serde_json::json;

use crate::support::{ask, guarded, question, record_of};

/// The value of a metric without labels.
async fn metric(instance: &Instance, name: &str) -> u64 {
    let answer = instance.metrics().get("/metrics").await.expect(200);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.expect("the metric").parse().expect("a number")
}

/// Make `count` exchanges and return their decision ids.
async fn exchanges(instance: &Instance, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let answer = ask(instance, &question("gpt-4o")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        ids.push(answer.decision_id());
    }
    ids
}

async fn another_envoy(instance: &Instance, than: u32) {
    wait::until("another Envoy", async || match instance.envoy_pid() {
        Some(pid) if pid != than => Ok(()),
        other => Err(other),
    })
    .await;
}

async fn wait_for_lines(instance: &Instance, lines: usize) {
    wait::until("the access log to be written", async || {
        match instance.access_log().len() {
            length if length >= lines => Ok(()),
            length => Err(length),
        }
    })
    .await;
}

#[tokio::test]
async fn envoy_that_outlived_its_control_plane_is_taken_over() {
    let mut instance = guarded().await;
    let pid = instance.envoy_pid().expect("a running Envoy");
    instance.kill_control_plane();
    let made = exchanges(&instance, 3).await;
    instance.start_control_plane().await;
    wait::until("Envoy to be looked after", async || {
        match metric(&instance, "mercator_envoy_up").await {
            1 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    assert_eq!(instance.envoy_pid(), Some(pid), "it was not taken over");
    for id in made {
        instance.admin().wait_for_record(&id).await;
    }
    // Taken over in full: it is started again when it dies, and stopped at the end.
    instance.kill_envoy().await;
    another_envoy(&instance, pid).await;
    instance.wait_for_traffic().await;
    assert_eq!(metric(&instance, "mercator_envoy_restarts_total").await, 1);
    assert!(instance.stop().await.success());
    assert_eq!(instance.envoy_pid(), None);
}

#[tokio::test]
async fn envoy_left_with_another_configuration_is_replaced() {
    let mut instance = guarded().await;
    let pid = instance.envoy_pid().expect("a running Envoy");
    instance.kill_control_plane();
    let file = instance.config_file().to_owned();
    let text = std::fs::read_to_string(&file).expect("the configuration");
    let text = text.replacen("envoy:\n", "envoy:\n  stream_idle_timeout: 77s\n", 1);
    std::fs::write(&file, text).expect("the configuration");
    instance.start_control_plane().await;
    another_envoy(&instance, pid).await;
    instance.wait_for_traffic().await;
    let written = std::fs::read_to_string(instance.data_dir().join("envoy/envoy.yaml"));
    assert!(written.expect("its configuration").contains("77s"));
    assert_eq!(ask(&instance, &question("gpt-4o")).await.status, 200);
}

#[tokio::test]
async fn stop_waits_for_exchanges_in_flight() {
    let mut instance = guarded().await;
    let traffic = instance.traffic();
    let request = traffic
        .chat(&question("gpt-4o"))
        .header("x-fake-latency-ms", 1500);
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
    assert!(instance.stop().await.success());
    let answer = waiting.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    instance.start_control_plane().await;
    record_of(&instance, &answer).await;
}

#[tokio::test]
async fn what_a_killed_envoy_had_not_delivered_is_recovered_from_its_log() {
    let mut instance = guarded().await;
    // Frozen: it answers no delivery, so the records stay in the outbox.
    instance.freeze_control_plane();
    let made = exchanges(&instance, 20).await;
    wait_for_lines(&instance, made.len()).await;
    instance.kill_envoy().await;
    instance.thaw_control_plane();
    instance.wait_for_traffic().await;
    for id in &made {
        instance.admin().wait_for_record(id).await;
    }
    assert_eq!(instance.admin().evidence("").await.len(), made.len());
    assert!(metric(&instance, "mercator_evidence_recovered_total").await > 0);
    let unrecorded = "mercator_evidence_unrecorded_exchanges_total";
    assert_eq!(metric(&instance, unrecorded).await, 0);
}

#[tokio::test]
async fn access_log_renamed_under_way_is_read_to_its_end() {
    let mut instance = guarded().await;
    instance.freeze_control_plane();
    let mut made = exchanges(&instance, 10).await;
    wait_for_lines(&instance, made.len()).await;
    let log = instance.data_dir().join("envoy/access.log");
    std::fs::rename(&log, log.with_extension("log.1")).expect("renamed");
    instance
        .envoy_admin()
        .send(Method::POST, "/reopen_logs", "", Vec::new())
        .await
        .expect(200);
    made.extend(exchanges(&instance, 10).await);
    wait_for_lines(&instance, 10).await;
    instance.kill_envoy().await;
    // Not even the place in the log is in memory any more.
    instance.kill_control_plane();
    instance.start_control_plane().await;
    for id in &made {
        instance.admin().wait_for_record(id).await;
    }
    assert_eq!(instance.admin().evidence("").await.len(), made.len());
}

#[tokio::test]
async fn address_in_use_is_told_with_its_key() {
    let instance = guarded().await;
    let text = std::fs::read_to_string(instance.config_file()).expect("the configuration");
    let folder = instance.data_dir().join("second");
    std::fs::create_dir(&folder).expect("a folder");
    let data = format!("data_dir: {}\n", folder.display());
    let text: String = text
        .lines()
        .map(|line| match line.split(':').next() {
            Some("data_dir") => data.clone(),
            Some("admin" | "metrics" | "agent") => {
                line.replace(line.split("127.0.0.1:").nth(1).expect("an address"), "0\"}") + "\n"
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let file = folder.join("mercator.yaml");
    std::fs::write(&file, text).expect("the configuration");
    // Envoy itself would share the port in silence, and take half the traffic.
    let second = Command::new(target_dir().join("debug/mercator"))
        .args(["run", "--config"])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .expect("`./justw test` builds mercator");
    assert!(!second.status.success());
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(told.contains("envoy.listen"), "{told}");
    assert_eq!(ask(&instance, &question("gpt-4o")).await.status, 200);
}

#[tokio::test]
async fn example_configuration_is_one_that_envoy_takes() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |path: &str| folder.path().join(path);
    for made in [
        "data/envoy/xds",
        "data/envoy/secrets",
        "target/wasm32-unknown-unknown/filter",
    ] {
        std::fs::create_dir_all(at(made)).expect("a folder");
    }
    let module = "wasm32-unknown-unknown/filter/jupiter_filter.wasm";
    std::fs::copy(target_dir().join(module), at("target").join(module))
        .expect("`./justw test` builds the filter");
    let discovered = Command::new(target_dir().join("debug/mercator"))
        .args(["envoy", "--ecds", "--format", "json", "--config"])
        .arg(project_root().join("envoy/mercator.yaml"))
        .output()
        .expect("`./justw test` builds mercator");
    std::fs::write(at("data/envoy/xds/ecds.json"), &discovered.stdout).expect("a file");
    let secret = json!({"resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "emitter", "generic_secret": {"secret": {"inline_string": "mjt_x"}},
    }]});
    std::fs::write(at("data/envoy/secrets/emitter.yaml"), secret.to_string()).expect("a file");
    let checked = Command::new(envoy_binary())
        .args([
            "--mode",
            "validate",
            "--disable-hot-restart",
            "--config-path",
        ])
        .arg(project_root().join("envoy/envoy.yaml"))
        .current_dir(folder.path())
        .output()
        .expect("Envoy runs");
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success(), "{told}");
    assert!(!told.contains("deprecated"), "{told}");
}
