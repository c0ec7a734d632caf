//! `mercator doctor` on a running instance: it finds what is there and what is not.

use std::process::Command;

use jupiter_testkit::{Instance, target_dir};
use serde_json::Value;

use crate::support::{ask, guarded, question};

/// The exit code, and all checks by id.
async fn doctor(instance: &Instance, token: &str) -> (Option<i32>, Vec<(String, String)>) {
    let mut command = Command::new(target_dir().join("debug/mercator"));
    command
        .args(["doctor", "--target", instance.admin().base_url()])
        .args(["--format", "json"])
        .env("MERCATOR_TOKEN", token);
    let output =
        tokio::task::spawn_blocking(move || command.output().expect("`mercator` is built"));
    let output = output.await.expect("it does not panic");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |check: &Value, key: &str| check[key].as_str().expect("text").to_owned();
    let checks = told["checks"].as_array().expect("checks").iter();
    let checks = checks.map(|check| (text(check, "id"), text(check, "verdict")));
    (output.status.code(), checks.collect())
}

fn verdict<'c>(checks: &'c [(String, String)], id: &str) -> &'c str {
    let found = checks.iter().find(|(known, _)| known == id);
    &found.expect("a check of that id").1
}

#[tokio::test]
async fn doctor_tells_what_one_instance_on_sqlite_lacks_and_what_it_has() {
    let instance = guarded().await;
    let answer = ask(&instance, &question("gpt-4o")).await;
    crate::support::record_of(&instance, &answer).await;
    let token = instance.admin().token().expect("a token").to_owned();

    let (code, checks) = doctor(&instance, &token).await;
    assert_eq!(code, Some(1), "{checks:?}");
    for id in [
        "health",
        "policy",
        "policy_source",
        "versions",
        "clocks",
        "gaps",
        "chains",
        "sealed",
        "unscanned",
        "admin_tls",
    ] {
        assert_eq!(verdict(&checks, id), "ok", "{id}: {checks:?}");
    }
    for id in ["instances", "database"] {
        assert_eq!(verdict(&checks, id), "missing", "{id}: {checks:?}");
    }
    for id in ["load_balancer", "backups", "evidence_key"] {
        assert_eq!(verdict(&checks, id), "by_hand", "{id}: {checks:?}");
    }

    instance
        .admin()
        .delete("/v1/policies/guard")
        .await
        .expect_success();
    let (_, checks) = doctor(&instance, &token).await;
    assert_eq!(verdict(&checks, "policy"), "missing", "{checks:?}");

    let (_, checks) = doctor(&instance, "mjt_of_somebody_else").await;
    for id in [
        "policy",
        "gaps",
        "chains",
        "sealed",
        "unscanned",
        "versions",
    ] {
        assert_eq!(verdict(&checks, id), "not_answered", "{id}: {checks:?}");
    }
}
