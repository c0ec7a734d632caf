//! `mercator benchmark` through a running Envoy: what it counts is what happened.

use std::path::Path;
use std::process::{Command, Stdio};

use jupiter_testkit::fake_provider::Script;
use jupiter_testkit::{Instance, target_dir};
use serde_json::{Value, json};

const POLICY: &str = include_str!("../../../examples/policies/quickstart.yaml");

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).expect(&self.stderr)
    }
}

async fn mercator(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(target_dir().join("debug/mercator"));
    command
        .current_dir(folder)
        .args(arguments)
        .stdin(Stdio::null());
    let output =
        tokio::task::spawn_blocking(move || command.output().expect("`mercator` is built"));
    let output = output.await.expect("it does not panic");
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

async fn instance() -> Instance {
    Instance::builder()
        .policy("quickstart", POLICY)
        .start()
        .await
}

#[tokio::test]
async fn benchmark_tells_denials_from_errors_and_its_numbers_are_those_of_the_evidence() {
    let instance = instance().await;
    let folder = tempfile::tempdir().expect("a folder");
    let target = instance.traffic().url("");
    let run = [
        "benchmark",
        "--target",
        &target,
        "--rate",
        "100",
        "--duration",
        "1s",
        "--stream",
        "--policy-mix",
        "20%",
        "--output",
        "a.json",
        "--plot",
        "a.html",
        "--format",
        "json",
    ];
    let ran = mercator(folder.path(), &run).await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let results = ran.json();
    assert_eq!(
        results["requests"],
        json!({"planned": 100, "sent": 100, "answered": 80, "denied": 20, "failed": 0})
    );
    assert_eq!(results["codes"], json!({"confidential_content": 20}));
    assert_eq!(results["first_token_ms"]["count"], 80);

    // The evidence counts the same, and what was denied cost nothing.
    let records = instance.admin().wait_for_records("", 100).await;
    let denied = records.iter().filter(|record| record["decision"] == "deny");
    assert_eq!(denied.count(), 20);
    assert_eq!(instance.provider().received().len(), 80);

    let same = mercator(folder.path(), &["benchmark", "compare", "a.json", "a.json"]).await;
    assert_eq!(same.code, Some(0), "{}{}", same.stdout, same.stderr);
    let plot = std::fs::read_to_string(folder.path().join("a.html")).expect("a plot");
    assert!(plot.contains(&target) && plot.ends_with("</html>\n"));
}

#[tokio::test]
async fn benchmark_fails_on_errors_of_the_provider_and_on_streams_that_are_cut() {
    let instance = instance().await;
    let folder = tempfile::tempdir().expect("a folder");
    let target = instance.traffic().url("");
    let run = [
        "benchmark",
        "--target",
        &target,
        "--rate",
        "50",
        "--duration",
        "1s",
        "--stream",
        "--format",
        "json",
        "--max-error-rate",
        "10%",
    ];
    let outage = Script {
        status: Some(500),
        ..Script::default()
    };
    let cut = Script {
        cut_after: Some(3),
        ..Script::default()
    };
    for (script, class) in [(outage, "http_5xx"), (cut, "cut")] {
        instance.provider().set_script(script);
        let ran = mercator(folder.path(), &run).await;
        assert_eq!(ran.code, Some(1), "{}{}", ran.stdout, ran.stderr);
        let results = ran.json();
        assert_eq!(results["requests"]["failed"], 50, "{}", results["errors"]);
        assert_eq!(results["errors"][class], 50, "{}", results["errors"]);
        assert_eq!(results["error_rate"], 1.0);
    }
}
