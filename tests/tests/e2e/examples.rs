//! The example policies do through Envoy what their cases say.
//!
//! A case whose facts a client's request can bring is asked for real; those
//! that speak of time, place or the caller's attributes are decided in the
//! policy crate's own tests.

use std::path::{Path, PathBuf};

use jupiter_testkit::{Answer, Instance};
use serde_json::{Map, Value, json};

use crate::support::record_of;

pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

pub(crate) fn case_files() -> Vec<(PathBuf, Value)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(examples().join("cases"))
        .expect("examples/cases")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a case file");
        let cases = serde_saphyr::from_str(&text).expect("cases");
        (path, cases)
    };
    files.into_iter().map(read).collect()
}

/// The body that brings exactly these facts; `None` where no body can.
fn body(facts: &Value) -> Option<Value> {
    let facts = facts.as_object()?;
    if facts.keys().any(|key| key != "request") {
        return None;
    }
    let mut body = facts.get("request")?.as_object()?.clone();
    if let Some(tools) = body.get("tools").and_then(Value::as_array) {
        let tool = |name: &Value| json!({"type": "function", "function": {"name": name}});
        let tools = tools.iter().map(tool).collect();
        body.insert("tools".to_owned(), tools);
    }
    let sent = [
        "model",
        "messages",
        "temperature",
        "max_tokens",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
        "stop",
        "stream",
        "user",
        "tools",
    ];
    let fits = |body: &Map<String, Value>| body.keys().all(|key| sent.contains(&key.as_str()));
    (body.contains_key("model") && fits(&body)).then(|| {
        body.entry("messages").or_insert_with(|| json!([]));
        Value::Object(body)
    })
}

/// The given policies, and no others, in force.
async fn enforce(instance: &Instance, names: &[String]) {
    let admin = instance.admin();
    for name in names {
        let path = examples().join("policies").join(format!("{name}.yaml"));
        let text = std::fs::read_to_string(path).expect("an example policy");
        admin.put_policy(name, &text).await.expect_success();
    }
    let listed = admin.get("/v1/policies").await.expect_success().json();
    for policy in listed["policies"].as_array().expect("a list") {
        let name = policy["name"].as_str().expect("a name").to_owned();
        if !names.contains(&name) {
            let path = format!("/v1/policies/{name}");
            admin.delete(&path).await.expect_success();
        }
    }
    instance.wait_for_bundle().await;
}

fn assert_decided(name: &str, expect: &Value, answer: &Answer, record: &Value) {
    assert_eq!(record["decision"], expect["verdict"], "{name}: {record}");
    assert_eq!(record["reason"], expect["code"], "{name}: {record}");
    let denied = expect["verdict"] == "deny";
    assert_eq!(answer.status == 403, denied, "{name}: {}", answer.text());
    for (key, recorded) in [("matched", "matched_rules"), ("shadow", "shadow_rules")] {
        let rules: Vec<String> = record[recorded]
            .as_array()
            .into_iter()
            .flatten()
            .map(rule)
            .collect();
        let expected: Vec<&str> = expect[key]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(rules, expected, "{name}: {recorded}");
    }
}

fn rule(rule: &Value) -> String {
    let text = |key: &str| rule[key].as_str().unwrap_or_default().to_owned();
    format!("{}/{} {}", text("policy"), text("rule"), text("effect"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn examples_decide_through_envoy_as_their_cases_say() {
    let instance = Instance::builder().envoy("concurrency: 1").start().await;
    let (mut asked, mut policies) = (0, 0);
    for (path, file) in case_files() {
        let names: Vec<String> = file["policies"]
            .as_array()
            .expect("policies")
            .iter()
            .map(|name| name.as_str().expect("a name").to_owned())
            .collect();
        let cases: Vec<(&Value, Value)> = file["cases"]
            .as_array()
            .expect("cases")
            .iter()
            .filter_map(|case| Some((case, body(&case["facts"])?)))
            .collect();
        if cases.is_empty() {
            continue;
        }
        enforce(&instance, &names).await;
        policies += 1;
        for (case, body) in cases {
            let name = format!("{}: {}", path.display(), case["name"]);
            let traffic = instance.traffic();
            let answer = traffic.complete(traffic.chat(&body)).await;
            let record = record_of(&instance, &answer).await;
            assert_decided(&name, &case["expect"], &answer, &record);
            asked += 1;
        }
    }
    assert!(
        policies >= 5 && asked >= 9,
        "only {asked} cases of {policies} files were asked"
    );
}
