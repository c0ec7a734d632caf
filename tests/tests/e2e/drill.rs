//! `mercator drill` on a running instance whose control plane is frozen: no client
//! notices, and every record is there afterwards.

use std::process::Command;

use jupiter_testkit::{Instance, target_dir};
use serde_json::Value;

const POLICY: &str = include_str!("../../../examples/policies/quickstart.yaml");

#[tokio::test]
async fn frozen_control_plane_costs_no_answer_and_no_record() {
    let instance = Instance::builder()
        .policy("quickstart", POLICY)
        .start()
        .await;
    let folder = tempfile::tempdir().expect("a folder");
    let pid = instance.control_plane_pid();
    let (freeze, thaw) = (format!("kill -STOP {pid}"), format!("kill -CONT {pid}"));
    let mut command = Command::new(target_dir().join("debug/mercator"));
    command
        .args([
            "drill",
            "run",
            "database-failover",
            "--target",
            &instance.traffic().url(""),
        ])
        .args(["--server", instance.admin().base_url(), "--format", "json"])
        .args([
            "--on-start",
            &freeze,
            "--on-end",
            &thaw,
            "--policy-mix",
            "10%",
        ])
        .args(["--steady", "1s", "--fault", "2s", "--recovery", "1s"])
        .args(["--reports", "reports"])
        .env("MERCATOR_TOKEN", instance.admin().token().expect("a token"))
        .current_dir(folder.path());
    let output =
        tokio::task::spawn_blocking(move || command.output().expect("`mercator` is built"));
    let output = output.await.expect("it does not panic");
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).expect(&said);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_eq!(report["results"]["requests"]["answered"], 180);
    assert_eq!(report["results"]["requests"]["denied"], 20);
    assert_eq!(report["records"]["expected"], 200);
    assert_eq!(report["records"]["not_found"], 0);
    let mut ask = Command::new(target_dir().join("debug/mercator"));
    ask.args(["doctor", "--target", instance.admin().base_url()])
        .args(["--drill-reports", "reports", "--format", "json"])
        .env("MERCATOR_TOKEN", instance.admin().token().expect("a token"))
        .current_dir(folder.path());
    let asked = tokio::task::spawn_blocking(move || ask.output().expect("`mercator` is built"));
    let asked = asked.await.expect("it does not panic");
    let told: Value = serde_json::from_slice(&asked.stdout).expect("JSON");
    let checks = told["checks"].as_array().expect("checks");
    let drill = checks.iter().find(|check| check["id"] == "drill");
    assert_eq!(
        drill.expect("a check of drills")["verdict"],
        "ok",
        "{told:#}"
    );
    let files = std::fs::read_dir(folder.path().join("reports")).expect("reports");
    assert_eq!(files.count(), 2);
}
